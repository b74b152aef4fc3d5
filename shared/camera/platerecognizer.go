package camera

import (
	"cmp"
	"encoding/json"
	"fmt"
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
	Plate       recognizerPlate       `json:"plate"`
	Score       loose                 `json:"score"`
	Candidates  many[recognizerGuess] `json:"candidates"`
	Region      many[recognizerGuess] `json:"region"`
	MakeModel   many[recognizerGuess] `json:"model_make"`
	Color       many[recognizerGuess] `json:"color"`
	Orientation many[recognizerGuess] `json:"orientation"`
	Direction   loose                 `json:"direction"`
	Vehicle     detail[struct {
		Props recognizerProps `json:"props"`
	}] `json:"vehicle"`
}

// recognizerProps are the properties of a vehicle or a plate in the vehicle mode.
type recognizerProps struct {
	Plate       many[recognizerGuess] `json:"plate"`
	Region      many[recognizerGuess] `json:"region"`
	MakeModel   many[recognizerGuess] `json:"make_model"`
	Color       many[recognizerGuess] `json:"color"`
	Orientation many[recognizerGuess] `json:"orientation"`
}

// recognizerPlate is a text, or in the vehicle mode an object.
type recognizerPlate struct {
	Text  string
	Props recognizerProps
}

// UnmarshalJSON implements json.Unmarshaler.
func (p *recognizerPlate) UnmarshalJSON(text []byte) error {
	*p = recognizerPlate{}
	if text[0] != '{' {
		return (*scalar)(&p.Text).UnmarshalJSON(text)
	}
	object := struct {
		Props *recognizerProps `json:"props"`
	}{&p.Props}
	if err := json.Unmarshal(text, &object); err != nil {
		return fmt.Errorf("decode a plate: %w", err)
	}
	return nil
}

// recognizerGuess is one of several values of a property, whose name depends on the
// property and the mode. Some versions send the value alone.
type recognizerGuess struct {
	Value string
	Score loose
}

// UnmarshalJSON implements json.Unmarshaler.
func (g *recognizerGuess) UnmarshalJSON(text []byte) error {
	*g = recognizerGuess{}
	if text[0] != '{' {
		return (*loose)(&g.Value).UnmarshalJSON(text)
	}
	var named struct {
		Value       loose `json:"value"`
		Plate       loose `json:"plate"`
		Code        loose `json:"code"`
		Make        loose `json:"make"`
		Color       loose `json:"color"`
		Orientation loose `json:"orientation"`
		Score       loose `json:"score"`
	}
	if err := json.Unmarshal(text, &named); err != nil {
		return fmt.Errorf("decode a property: %w", err)
	}
	g.Value = string(cmp.Or(named.Value, named.Plate, named.Code, named.Make, named.Color, named.Orientation))
	g.Score = named.Score
	return nil
}

// mostLikely returns the guess of the highest score that tells something. The lists are
// in no order that could be relied on.
func mostLikely(guesses ...recognizerGuess) recognizerGuess {
	var best recognizerGuess
	for _, g := range guesses {
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
	vehicle := v.Vehicle.Value.Props
	plate := recognizerGuess{Value: v.Plate.Text, Score: v.Score}
	guesses := v.Candidates
	if v.Plate.Text == "" {
		plate, guesses = mostLikely(v.Plate.Props.Plate...), v.Plate.Props.Plate
	}
	read := Read{
		Plate: Plate(plate.Value),
		Direction: direction(c, string(v.Direction),
			mostLikely(append(v.Orientation, vehicle.Orientation...)...).Value),
		Country: mostLikely(append(v.Region, v.Plate.Props.Region...)...).Value,
		Make:    mostLikely(append(v.MakeModel, vehicle.MakeModel...)...).Value,
		Color:   mostLikely(append(v.Color, vehicle.Color...)...).Value,
	}
	if read.Plate == "" {
		return read
	}
	read.Confidence = confidence(string(plate.Score), ofEither)
	for _, g := range guesses {
		read.Candidates = append(read.Candidates, parking.Candidate{Plate: g.Value, Confidence: confidence(string(g.Score), ofEither)})
	}
	return read
}
