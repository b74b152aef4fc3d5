package camera

import (
	"cmp"
	"strconv"
	"strings"
	"time"

	"parkstream/shared/parking"
	"parkstream/shared/site"
)

// platerecognizer is the webhook of Plate Recognizer Stream, and of Snapshot: the form
// field json beside a picture, or a bare document. In its vehicle mode the plate is an
// object, or null if the vehicle shows none.
var platerecognizer = Format{
	Name: "platerecognizer",
	Recognise: func(r Request) bool {
		members := r.example()
		return hasAll(members, "hook", "data") ||
			hasAll(members, "results", "timestamp") && hasAny(members, "camera_id", "filename", "timestamp_local") && !hasAny(members, "data_type")
	},
	Parse: func(r Request, c site.Camera) (Message, error) {
		return each(r, func(m recognizerMessage) (Message, error) { return m.message(r, c) })
	},
}

// recognizerMessage is a webhook, or its data alone.
type recognizerMessage struct {
	Hook detail[struct {
		Event loose `json:"event"`
	}] `json:"hook"`
	Data *recognizerData `json:"data"`
	recognizerData
}

type recognizerData struct {
	Timestamp      loose                           `json:"timestamp"`
	TimestampLocal loose                           `json:"timestamp_local"`
	Results        many[element[recognizerResult]] `json:"results"`
}

// recognizerResult is one vehicle or plate.
type recognizerResult struct {
	Plate       textOr[recognizerPlate]       `json:"plate"`
	Score       loose                         `json:"score"`
	Candidates  many[textOr[recognizerGuess]] `json:"candidates"`
	Region      many[textOr[recognizerGuess]] `json:"region"`
	MakeModel   many[textOr[recognizerGuess]] `json:"model_make"`
	Color       many[textOr[recognizerGuess]] `json:"color"`
	Orientation many[textOr[recognizerGuess]] `json:"orientation"`
	Direction   loose                         `json:"direction"`
	Vehicle     detail[struct {
		Props recognizerProps `json:"props"`
	}] `json:"vehicle"`
}

// recognizerProps are the properties of a vehicle or a plate in the vehicle mode.
type recognizerProps struct {
	Plate       many[textOr[recognizerGuess]] `json:"plate"`
	Region      many[textOr[recognizerGuess]] `json:"region"`
	MakeModel   many[textOr[recognizerGuess]] `json:"make_model"`
	Color       many[textOr[recognizerGuess]] `json:"color"`
	Orientation many[textOr[recognizerGuess]] `json:"orientation"`
}

// recognizerPlate is what a plate is in the vehicle mode; in the other it is a text.
type recognizerPlate struct {
	Props recognizerProps `json:"props"`
}

// recognizerGuess is one of several values of a property, whose name depends on the
// property and the mode. Some versions send the value alone.
type recognizerGuess struct {
	Value       loose `json:"value"`
	Plate       loose `json:"plate"`
	Code        loose `json:"code"`
	Make        loose `json:"make"`
	Color       loose `json:"color"`
	Orientation loose `json:"orientation"`
	Score       loose `json:"score"`
}

// guess is a value and its score.
type guess struct {
	Value string
	Score loose
}

// guesses returns the values of a property.
func guesses(given ...many[textOr[recognizerGuess]]) []guess {
	var all []guess
	for _, of := range given {
		for _, g := range of {
			o := g.Object
			all = append(all, guess{cmp.Or(g.Text, string(cmp.Or(o.Value, o.Plate, o.Code, o.Make, o.Color, o.Orientation))), o.Score})
		}
	}
	return all
}

// mostLikely returns the guess of the highest score that tells something. The lists are
// in no order that could be relied on.
func mostLikely(of []guess) guess {
	var best guess
	for _, g := range of {
		g.Value = told(g.Value)
		if g.Value != "" && (best.Value == "" || score(g.Score) > score(best.Score)) {
			best = g
		}
	}
	return best
}

func score(text loose) float64 {
	s, _ := strconv.ParseFloat(string(text), 64)
	return s
}

func (m recognizerMessage) message(r Request, c site.Camera) (Message, error) {
	data := m.recognizerData
	if m.Data != nil {
		data = *m.Data
	}
	event := strings.ToLower(string(m.Hook.Value.Event))
	switch {
	case strings.Contains(event, "heartbeat"):
		return Message{Heartbeat: true}, nil
	case strings.Contains(event, "dwell"): // it tells how long a vehicle was seen, which has been sent before
		return Message{}, nil
	case m.Data == nil && m.Results == nil:
		return Message{}, parking.Invalid("the message has neither data nor results")
	}
	at, err := readTime(told(string(data.Timestamp)), time.UTC, r.Received)
	if err == nil && at.Time.IsZero() {
		at, err = readTime(told(string(data.TimestampLocal)), c.Location, r.Received)
	}
	if err != nil {
		return Message{}, err
	}
	pictures := r.pictures()
	var all Message
	for _, result := range data.Results {
		read := result.Value.read(c)
		read.Time, read.AmbiguousTime, read.Pictures = at.Time, at.Ambiguous, pictures
		all.addRead(read, result.Err)
	}
	return all, nil
}

func (v recognizerResult) read(c site.Camera) Read {
	vehicle, props := v.Vehicle.Value.Props, v.Plate.Object.Props
	plate, readings := guess{v.Plate.Text, v.Score}, guesses(v.Candidates)
	if v.Plate.Text == "" {
		readings = guesses(props.Plate)
		plate = mostLikely(readings)
	}
	read := Read{
		Plate:     Plate(plate.Value),
		Direction: direction(c, string(v.Direction), mostLikely(guesses(v.Orientation, vehicle.Orientation)).Value),
		Country:   mostLikely(guesses(v.Region, props.Region)).Value,
		Make:      mostLikely(guesses(v.MakeModel, vehicle.MakeModel)).Value,
		Color:     mostLikely(guesses(v.Color, vehicle.Color)).Value,
	}
	if read.Plate == "" {
		return read
	}
	read.Confidence = confidence(string(plate.Score), ofEither)
	for _, g := range readings {
		read.Candidates = append(read.Candidates, parking.Candidate{Plate: g.Value, Confidence: confidence(string(g.Score), ofEither)})
	}
	return read
}
