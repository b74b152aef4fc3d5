package camera

import (
	"encoding/json"
	"strings"
	"time"

	"parkstream/shared/parking"
	"parkstream/shared/site"
)

// blueiris is what Blue Iris posts on an alert: what CodeProject.AI answered, alone or
// beside other macros, or the plate or the memo instead of it.
var blueiris = Format{Name: "blueiris", Recognise: isBlueIris, Parse: parseBlueIris}

func isBlueIris(r Request) bool {
	e := r.example()
	return hasAll(e, "api", "found") || hasAll(e, "predictions", "success") || hasAll(e, "memo", "camera") ||
		hasAny(e, "ai_dump", "alert_path", "alert_clip") ||
		hasAny(e, "plate_number") && !hasAny(e, "data_type") // that is OpenALPR's
}

// blueIrisAlert is the object of an alert: the names are those of the widespread
// template, the values are macros. Or it is one of the answers of the dump.
type blueIrisAlert struct {
	Dump        json.RawMessage `json:"ai_dump"`
	JSON        json.RawMessage `json:"json"`
	PlateNumber present         `json:"plate_number"`
	Plate       present         `json:"plate"`
	Memo        present         `json:"memo"`
	Image       base64Picture   `json:"Image"`
	Timestamp   loose           `json:"timestamp"`
	AlertTime   loose           `json:"alert_time"`
	Time        loose           `json:"time"`
	aiAnswer
}

// aiAnswer is an answer as Blue Iris keeps it, in Found, or as CodeProject.AI sends it.
type aiAnswer struct {
	API         present           `json:"api"`
	Found       detail[*aiAnswer] `json:"found"`
	Predictions json.RawMessage   `json:"predictions"`
	Time        loose             `json:"timestampUTC"`
}

type aiPrediction struct {
	Plate      present `json:"plate"`
	Label      loose   `json:"label"`
	Confidence loose   `json:"confidence"`
}

func parseBlueIris(r Request, c site.Camera) (Message, error) {
	alerts, err := decodeElements[blueIrisAlert](r)
	if err != nil {
		return Message{}, err
	}
	var m Message
	places := map[string]int{} // of plates in the message
	for _, a := range alerts {
		reads, err := a.reads(r, c)
		if err != nil {
			return Message{}, err
		}
		for _, read := range reads {
			m.add(read, places)
		}
		if len(m.Reads) > maxElements {
			return Message{}, parking.Invalid("the alert has more than %d plates", maxElements)
		}
	}
	return m.withPictures(r), nil
}

// add adds a read of an alert. Several pictures of an alert are analysed, and a plate may
// be in more than one: its most confident read counts, at the time of the first one.
func (m *Message) add(read Read, places map[string]int) {
	key := parking.NormalizePlate(read.Plate)
	at, found := places[key]
	switch {
	case read.Plate == "" || !found:
		places[key] = len(m.Reads)
		m.Reads = append(m.Reads, read)
	case moreConfident(read, m.Reads[at]):
		read.Time, read.AmbiguousTime = m.Reads[at].Time, m.Reads[at].AmbiguousTime
		m.Reads[at] = read
	}
}

func moreConfident(a, b Read) bool {
	return a.Confidence != nil && (b.Confidence == nil || *a.Confidence > *b.Confidence)
}

// reads returns the vehicles of an alert. Their time is that of the alert, or else that
// of the answer.
func (a blueIrisAlert) reads(r Request, c site.Camera) ([]Read, error) {
	at, err := r.anyTime(macro(firstOf(a.Timestamp, a.AlertTime, a.Time)), c)
	if err != nil {
		return nil, err
	}
	answers, err := a.answers()
	if err != nil {
		return nil, err
	}
	var reads []Read
	switch {
	case len(answers) > 0:
		if reads, err = readsOf(answers, at, r); err != nil {
			return nil, err
		}
	case a.PlateNumber.Given || a.Plate.Given:
		plate := Plate(macro(firstOf(a.PlateNumber.Text, a.Plate.Text)))
		reads = []Read{{Plate: plate, Time: at.Time, AmbiguousTime: at.Ambiguous}}
	case a.Memo.Given:
		memo := macro(string(a.Memo.Text))
		if strings.Count(memo, ",") >= maxElements {
			return nil, parking.Invalid("the memo has more than %d entries", maxElements)
		}
		for entry := range strings.SplitSeq(memo, ",") {
			if read, isPlate := memoRead(entry); isPlate {
				read.Time, read.AmbiguousTime = at.Time, at.Ambiguous
				reads = append(reads, read)
			}
		}
	case a.Dump == nil && a.JSON == nil:
		return nil, parking.Invalid("want ai_dump, plate_number or memo in the JSON of Blue Iris, or the dump of CodeProject.AI alone")
	}
	for i := range reads {
		reads[i].Pictures = a.Image.pictures()
	}
	return reads, nil
}

// answers returns the answers that an alert has.
func (a blueIrisAlert) answers() ([]aiAnswer, error) {
	if a.API.Given || a.Predictions != nil {
		return []aiAnswer{a.aiAnswer}, nil
	}
	dump := a.Dump
	if dump == nil {
		dump = a.JSON
	}
	var text string // the macro was quoted
	if json.Unmarshal(dump, &text) == nil {
		dump = []byte(macro(text))
	}
	return decodeList[aiAnswer](dump, maxElements)
}

// readsOf returns the plates of answers. Answers about objects have none.
func readsOf(answers []aiAnswer, at clock, r Request) ([]Read, error) {
	var reads []Read
	for _, a := range answers {
		if a.Found.Value != nil {
			a = *a.Found.Value
		}
		predictions, err := decodeList[aiPrediction](a.Predictions, maxElements)
		if err != nil {
			return nil, err
		}
		for _, p := range predictions {
			label, labelled := strings.CutPrefix(string(p.Label), "Plate:")
			if !p.Plate.Given && !labelled {
				continue
			}
			seen := at
			if seen.Time.IsZero() {
				if seen, err = aiTime(string(a.Time), r); err != nil {
					return nil, err
				}
			}
			reads = append(reads, Read{
				Plate: Plate(firstOf(string(p.Plate.Text), label)), Time: seen.Time, AmbiguousTime: seen.Ambiguous,
				Confidence: confidence(string(p.Confidence), ofEither),
			})
		}
		if len(reads) > maxElements {
			return nil, parking.Invalid("the answers have more than %d plates", maxElements)
		}
	}
	return reads, nil
}

// aiTime reads a timestampUTC. The module that a version of CodeProject.AI has writes it
// with a comma after the day of the week, or without.
func aiTime(text string, r Request) (clock, error) {
	return firstClock(
		func() (clock, error) {
			return readTime(text, time.UTC, r.Received, "Mon, 2 Jan 2006 15:04:05 MST", "Mon 2 Jan 2006 15:04:05 MST")
		},
		func() (clock, error) { return readTime(text, time.UTC, r.Received) },
	)
}

// memoRead returns the read of an entry of a memo, such as ABC1234:92%, if it is one. A
// memo has objects, too. A plate is in brackets or in capitals, or has a digit; objects
// are written in small letters.
func memoRead(entry string) (read Read, isPlate bool) {
	label, score := strings.TrimSpace(entry), ""
	if at := strings.LastIndexByte(label, ':'); at >= 0 && strings.HasSuffix(label, "%") {
		label, score = label[:at], label[at+1:]
	}
	label, labelled := strings.CutPrefix(label, "Plate:")
	if _, after, found := strings.Cut(label, "["); found {
		label, _, labelled = strings.Cut(after, "]")
	}
	isPlate = labelled || strings.ContainsAny(label, "0123456789") || label == strings.ToUpper(label)
	plate := Plate(label)
	return Read{Plate: plate, Confidence: confidence(score, ofHundred)}, isPlate && plate != ""
}

// macro returns the text that a macro was replaced by. Blue Iris leaves the macro there
// if it has nothing for it.
func macro(text string) string {
	if strings.HasPrefix(text, "&") {
		return ""
	}
	return text
}
