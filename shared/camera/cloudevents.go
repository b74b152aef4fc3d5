package camera

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"parkstream/shared/parking"
	"parkstream/shared/site"
)

// cloudevents is CloudEvents 1.0 in its binary, structured and batched mode. The data of
// an event is a request of any other format. It is no variable, because that would be
// initialised with itself.
func cloudevents() Format {
	return Format{Name: "cloudevents", Recognise: isCloudEvent, Parse: parseCloudEvents}
}

// The header fields of the binary mode.
const ceHeader = "Ce-"

// ceAttributes are required of an event.
var ceAttributes = []string{"specversion", "type", "source", "id"}

func isCloudEvent(r Request) bool {
	contentType := mediaType(r.Header.Get("Content-Type"))
	return isBinaryCloudEvent(r) || strings.HasPrefix(contentType, "application/cloudevents") || hasAll(r.example(), ceAttributes...)
}

func isBinaryCloudEvent(r Request) bool { return r.Header.Get(ceHeader+"Specversion") != "" }

// cloudEvent is an event in the structured mode.
type cloudEvent struct {
	SpecVersion scalar          `json:"specversion"`
	Type        scalar          `json:"type"`
	Time        scalar          `json:"time"`
	ContentType scalar          `json:"datacontenttype"`
	Data        json.RawMessage `json:"data"`
	DataBase64  scalar          `json:"data_base64"`
}

func parseCloudEvents(r Request, c site.Camera) (Message, error) {
	if isBinaryCloudEvent(r) {
		header := func(name string) scalar { return scalar(r.Header.Get(ceHeader + name)) }
		e := cloudEvent{
			SpecVersion: header("Specversion"), Type: header("Type"), Time: header("Time"),
			ContentType: scalar(r.Header.Get("Content-Type")),
		}
		return e.parse(r.Body, r, c)
	}
	return each(r, func(e cloudEvent) (Message, error) {
		data, err := e.data()
		if err != nil {
			return Message{}, err
		}
		return e.parse(data, r, c)
	})
}

// data returns the data of a structured event. Data that is no JSON is in a string.
func (e cloudEvent) data() ([]byte, error) {
	if e.DataBase64 != "" {
		encoded := strings.NewReplacer("-", "+", "_", "/").Replace(string(e.DataBase64))
		data, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(encoded, "= \r\n"))
		if err != nil {
			return nil, parking.Invalid("data_base64 of the CloudEvent of type %s is not base64", quote(string(e.Type)))
		}
		return data, nil
	}
	var text string
	if json.Unmarshal(e.Data, &text) == nil {
		return []byte(text), nil
	}
	return e.Data, nil
}

// parse returns what the data of an event tells. Reads without a time have that of the
// event.
func (e cloudEvent) parse(data []byte, r Request, c site.Camera) (Message, error) {
	if version := string(e.SpecVersion); version != "1" && !strings.HasPrefix(version, "1.") {
		return Message{}, parking.Invalid("the CloudEvent of type %s has the specversion %s, want 1.0", quote(string(e.Type)), quote(version))
	}
	if len(trimmed(data)) == 0 {
		return Message{}, parking.Invalid("the CloudEvent of type %s has no data", quote(string(e.Type)))
	}
	inner := Request{Header: http.Header{}, Body: data, Received: r.Received}
	if e.ContentType != "" {
		inner.Header.Set("Content-Type", string(e.ContentType))
	}
	if isCloudEvent(inner) {
		return Message{}, parking.Invalid("the data of the CloudEvent of type %s is a CloudEvent", quote(string(e.Type)))
	}
	c.Format = site.Auto
	_, m, err := Parse(inner, c)
	if err != nil {
		return Message{}, fmt.Errorf("the data of the CloudEvent of type %s: %w", quote(string(e.Type)), err)
	}
	at, err := readTime(string(e.Time), c.Location, r.Received)
	if err != nil {
		return Message{}, err
	}
	for i := range m.Reads {
		if m.Reads[i].Time.IsZero() {
			m.Reads[i].Time, m.Reads[i].AmbiguousTime = at.Time, at.Ambiguous
		}
	}
	return m, nil
}
