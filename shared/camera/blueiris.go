package camera

import (
	"cmp"
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
	return hasAll(e, "api", "found") || hasAny(e, "ai_dump", "alert_path", "alert_clip") ||
		hasAll(e, "predictions") && hasAny(e, "success", "code", "moduleid", "timestamputc") ||
		hasAll(e, "memo") && hasAny(e, "camera", "timestamp", "image") ||
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
	API         present         `json:"api"`
	Found       json.RawMessage `json:"found"`
	Predictions json.RawMessage `json:"predictions"`
	Time        loose           `json:"timestampUTC"`
}

type aiPrediction struct {
	Plate      present `json:"plate"`
	Label      loose   `json:"label"`
	Confidence loose   `json:"confidence"`
}

func parseBlueIris(r Request, c site.Camera) (Message, error) {
	alerts, err := each(r, func(a blueIrisAlert) (Message, error) { return a.message(r, c) })
	if err != nil {
		return Message{}, err
	}
	m := Message{Unread: alerts.Unread}
	places := map[string]int{} // of plates in the message
	for _, read := range alerts.Reads {
		m.addPlate(read, places)
	}
	return m.withPictures(r), nil
}

// addPlate adds a read of an alert. Several pictures of an alert are analysed, and a plate
// may be in more than one: its most confident read counts, at the time of the first one.
func (m *Message) addPlate(read Read, places map[string]int) {
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

// message returns the vehicles of an alert: those of the answers, or else of the plate or
// the memo. Their time is that of the alert, or else that of the answer.
func (a blueIrisAlert) message(r Request, c site.Camera) (Message, error) {
	alerted := func() (clock, error) {
		text := macro(firstOf(a.Timestamp, a.AlertTime, a.Time))
		return firstClock(
			func() (clock, error) { return r.anyTime(text, c) },
			func() (clock, error) { return readTime(text, c.Location, r.Received, blueIrisTimes...) },
		)
	}
	answers, err := a.answers()
	if err != nil {
		return Message{}, err
	}
	var m Message
	for _, answer := range answers {
		m.addAnswer(answer, alerted, r)
	}
	if len(m.Reads) == 0 {
		if m.Reads, err = a.macroReads(alerted, len(answers) > 0); err != nil {
			return Message{}, err
		}
	}
	for i := range m.Reads {
		m.Reads[i].Pictures = a.Image.pictures()
	}
	return m, nil
}

// blueIrisTimes are what Windows writes in the United States.
var blueIrisTimes = []string{"1/2/2006 3:04:05 PM", "1/2/2006 3:04:05.000 PM"}

// macroReads returns the vehicles of the plate or the memo. An empty plate is a vehicle
// without one, unless there were answers, which found none.
func (a blueIrisAlert) macroReads(alerted func() (clock, error), answered bool) ([]Read, error) {
	var reads []Read
	plate := Plate(macro(firstOf(a.PlateNumber.Text, a.Plate.Text)))
	switch {
	case plate != "", (a.PlateNumber.Given || a.Plate.Given) && !answered:
		reads = []Read{{Plate: plate}}
	case a.Memo.Given:
		var err error
		if reads, err = memoReads(macro(string(a.Memo.Text))); err != nil {
			return nil, err
		}
	case !answered && a.Dump == nil && a.JSON == nil:
		return nil, parking.Invalid("want ai_dump, plate_number or memo in the JSON of Blue Iris, or the dump of CodeProject.AI alone")
	}
	at, err := alerted()
	if err != nil && len(reads) > 0 {
		return nil, err
	}
	for i := range reads {
		reads[i].Time, reads[i].AmbiguousTime = at.Time, at.Ambiguous
	}
	return reads, nil
}

// answers returns the answers that an alert has.
func (a blueIrisAlert) answers() ([]element[aiAnswer], error) {
	if a.API.Given || a.Predictions != nil {
		return []element[aiAnswer]{{Value: a.aiAnswer}}, nil
	}
	dump := a.Dump
	if dump == nil {
		dump = a.JSON
	}
	var text string // the macro was quoted
	if json.Unmarshal(dump, &text) == nil {
		dump = []byte(macro(text))
	}
	return decodeList[element[aiAnswer]](dump, maxElements)
}

// addAnswer adds the plates of an answer. One about objects has none.
func (m *Message) addAnswer(answer element[aiAnswer], alerted func() (clock, error), r Request) {
	found, err := answer.Value.found()
	predictions, wrong := decodeList[element[aiPrediction]](found.Predictions, maxElements)
	if err := cmp.Or(answer.Err, err, wrong); err != nil {
		m.Unread = append(m.Unread, err)
		return
	}
	at, noTime := firstClock(alerted, func() (clock, error) { return aiTime(string(found.Time), r) })
	for _, prediction := range predictions {
		p := prediction.Value
		label, labelled := strings.CutPrefix(string(p.Label), "Plate:")
		if prediction.Err == nil && !p.Plate.Given && !labelled {
			continue
		}
		m.addRead(Read{
			Plate: Plate(firstOf(string(p.Plate.Text), label)), Time: at.Time, AmbiguousTime: at.Ambiguous,
			Confidence: confidence(string(p.Confidence), ofEither),
		}, cmp.Or(prediction.Err, noTime))
	}
}

// found returns the answer itself. Some have only the predictions, as a list, and some
// nothing.
func (a aiAnswer) found() (aiAnswer, error) {
	var answer aiAnswer
	switch text := trimmed(a.Found); {
	case len(text) == 0:
		return a, nil
	case text[0] == '{':
		if err := decodeJSON(text, &answer); err != nil {
			return aiAnswer{}, err
		}
	case text[0] == '[':
		answer.Predictions = a.Found
	}
	return answer, nil
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

// memoReads returns the plates of a memo.
func memoReads(memo string) ([]Read, error) {
	if strings.Count(memo, ",") >= maxElements {
		return nil, parking.Invalid("the memo has more than %d entries", maxElements)
	}
	var reads []Read
	for entry := range strings.SplitSeq(memo, ",") {
		if read, isPlate := memoRead(entry); isPlate {
			reads = append(reads, read)
		}
	}
	return reads, nil
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
