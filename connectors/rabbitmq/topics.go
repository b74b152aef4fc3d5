package rabbitmq

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// topics decides which topics are queues of this connector. Connectors for Kafka,
// SQS, cron and others read the same annotation, so a topic may be meant for one of
// them. The elements are names or patterns in the syntax of [path.Match], except that a
// slash is a character as any other.
type topics struct {
	served  []string // empty: every topic that is not ignored
	ignored []string
}

// split returns the topics of an annotation: those that are queues here, sorted, and
// the others. A topic counts once.
func (t topics) split(annotation string) (queues, foreign []string) {
	for topic := range strings.SplitSeq(annotation, ",") {
		topic = strings.TrimSpace(topic)
		switch {
		case topic == "" || slices.Contains(queues, topic) || slices.Contains(foreign, topic):
		case matches(t.ignored, topic) || len(t.served) > 0 && !matches(t.served, topic):
			foreign = append(foreign, topic)
		default:
			queues = append(queues, topic)
		}
	}
	slices.Sort(queues)
	return queues, foreign
}

var noSlash = strings.NewReplacer("/", "\x00")

func matches(patterns []string, topic string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool {
		matched, err := path.Match(noSlash.Replace(pattern), noSlash.Replace(topic))
		return topic == pattern || err == nil && matched
	})
}

// checkPatterns reports the elements of a setting that are no patterns.
func checkPatterns(setting string, patterns []string) (errs []error) {
	for _, pattern := range patterns {
		if _, err := path.Match(pattern, ""); err != nil {
			errs = append(errs, fmt.Errorf("%s has %q; it takes names and patterns such as vehicle_*, separated by commas, in which * ? [a-z] stand for other characters", setting, pattern))
		}
	}
	return errs
}
