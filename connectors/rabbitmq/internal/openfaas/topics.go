package openfaas

import (
	"path"
	"slices"
	"strings"
)

// Topics decides which topics are queues of this connector. Connectors for Kafka,
// SQS, cron and others read the same annotation, so a topic may be meant for one of
// them. The elements are names or patterns, in which * stands for any characters and ?
// for one.
type Topics struct {
	Served  []string // empty: every topic that is not ignored
	Ignored []string
}

// split returns the topics of an annotation: those that are queues here, sorted, and
// the others. A topic counts once.
func (t Topics) split(annotation string) (queues, foreign []string) {
	for topic := range strings.SplitSeq(annotation, ",") {
		topic = strings.TrimSpace(topic)
		switch {
		case topic == "":
		case slices.Contains(queues, topic) || slices.Contains(foreign, topic):
		case matches(t.Ignored, topic) || len(t.Served) > 0 && !matches(t.Served, topic):
			foreign = append(foreign, topic)
		default:
			queues = append(queues, topic)
		}
	}
	slices.Sort(queues)
	return queues, foreign
}

// literal has only the star and the question mark stand for other characters, and the
// star for a slash, too.
var literal = strings.NewReplacer("/", "\x00", "[", `\[`, `\`, `\\`)

func matches(patterns []string, topic string) bool {
	topic = strings.ReplaceAll(topic, "/", "\x00")
	return slices.ContainsFunc(patterns, func(pattern string) bool {
		matched, _ := path.Match(literal.Replace(pattern), topic) // none is malformed
		return matched
	})
}
