package camera

import (
	"bytes"
	"cmp"
	"strings"
	"time"

	"parkstream/shared/parking"
	"parkstream/shared/site"
)

// genetec is what AutoVu Sharp cameras of Genetec export: the events of the HTTP
// extension in JSON or XML, and those of a template, which name the parts of the time.
var genetec = Format{
	Name: "genetec",
	Recognise: func(r Request) bool {
		switch r.root() {
		case "AutoVu":
			return true
		case "Plate":
			return bytes.Contains(r.document(), []byte("<PlateRead"))
		}
		members := r.example()
		return hasAny(members, "plateread") || hasAll(members, "plate") && hasAny(members, "dateutc", "utcdate") ||
			hasAll(members, "cameraname", "dateutc", "timeutc")
	},
	Parse: func(r Request, c site.Camera) (Message, error) {
		if documentKind(r.document()) != "xml" {
			return each(r, func(g genetecRead) (Message, error) { return g.message(r, c) })
		}
		var g genetecRead
		if err := decodeXML(r.document(), &g); err != nil {
			return Message{}, err
		}
		return g.message(r, c)
	},
}

// genetecRead is one event. The fields of a template have the names that Genetec's
// examples give them.
type genetecRead struct {
	// Of the HTTP extension.
	PlateRead *scalar               `json:"PlateRead"      xml:"PlateRead"`
	ID        loose                 `json:"Id"             xml:"Id"`
	Timestamp loose                 `json:"Timestamp"      xml:"Timestamp"`
	Analytics many[genetecAnalytic] `json:"PlateAnalytics" xml:"PlateAnalytics>PlateAnalytics"`

	// Of a template.
	Plate      *scalar                  `json:"Plate"           xml:"Plate"`
	GUID       loose                    `json:"Guid"            xml:"Guid"`
	State      loose                    `json:"State"           xml:"State"`
	Confidence loose                    `json:"ConfidenceScore" xml:"ConfidenceScore"`
	Motion     loose                    `json:"RelativeMotion"  xml:"RelativeMotion"`
	Lane       loose                    `json:"Lane"            xml:"Lane"`
	DateUTC    loose                    `json:"DateUtc"         xml:"DateUtc"`
	TimeUTC    loose                    `json:"TimeUtc"         xml:"TimeUtc"`
	UTCDate    loose                    `json:"UTCDate"         xml:"UTCDate"`
	UTCTime    loose                    `json:"UTCTime"         xml:"UTCTime"`
	LocalDate  loose                    `json:"LocalDate"       xml:"LocalDate"`
	LocalTime  loose                    `json:"LocalTime"       xml:"LocalTime"`
	Attributes detail[map[string]loose] `json:"Attributes"      xml:"-"`

	ContextImage loose `json:"ContextImage" xml:"ContextImage"`
	PlateImage   loose `json:"PlateImage"   xml:"PlateImage"`
}

// genetecAnalytic is one property of a vehicle or plate. Its name is the same in
// Attributes.
type genetecAnalytic struct {
	Key   loose `json:"Key"   xml:"Key"`
	Value loose `json:"Value" xml:"Value"`
}

// genetecDates are the dates of templates, whose form is the user's.
var genetecDates = []string{"02/01/2006", "2006:01:02", "2006-01-02", "2006/01/02"}

func (g genetecRead) message(r Request, c site.Camera) (Message, error) {
	if g.PlateRead == nil && g.Plate == nil {
		return Message{}, parking.Invalid("the event has neither PlateRead nor Plate")
	}
	at, err := g.time(r, c)
	if err != nil {
		return Message{}, err
	}
	properties := g.properties()
	read := Read{
		Plate: Plate(string(*cmp.Or(g.PlateRead, g.Plate))), Time: at.Time, AmbiguousTime: at.Ambiguous,
		Vehicle:   cmp.Or(identity(string(g.ID)), identity(string(g.GUID))),
		Direction: direction(c, string(g.Motion), properties["relative motion"], string(g.Lane), properties["lane"]),
		Country:   cmp.Or(told(string(g.State)), properties["state name"], properties["context"]),
		Make:      properties["vehicle make"], Color: properties["vehicle color"],
	}
	if read.Plate != "" {
		read.Confidence = confidence(cmp.Or(told(string(g.Confidence)), properties["confidence score"]), ofHundred)
	}
	for _, picture := range []loose{g.ContextImage, g.PlateImage} {
		read.Pictures = append(read.Pictures, base64Picture(decodeBase64([]byte(picture))).pictures()...)
	}
	read.Pictures = append(read.Pictures, r.pictures()...)
	return Message{Reads: []Read{read}}, nil
}

// properties returns what is told of vehicle and plate by its name in lower case.
func (g genetecRead) properties() map[string]string {
	properties := map[string]string{}
	for name, value := range g.Attributes.Value {
		properties[strings.ToLower(strings.TrimSpace(name))] = told(string(value))
	}
	for _, a := range g.Analytics {
		properties[strings.ToLower(strings.TrimSpace(string(a.Key)))] = told(string(a.Value))
	}
	return properties
}

// time returns the time of an event.
func (g genetecRead) time(r Request, c site.Camera) (clock, error) {
	if timestamp := told(string(g.Timestamp)); timestamp != "" {
		return readTime(timestamp, c.Location, r.Received)
	}
	zone, date, clockTime := time.UTC, cmp.Or(g.DateUTC, g.UTCDate), cmp.Or(g.TimeUTC, g.UTCTime)
	if date == "" {
		zone, date, clockTime = c.Location, g.LocalDate, g.LocalTime
	}
	if told(string(date)) == "" {
		return clock{}, nil
	}
	var layouts []string
	for _, layout := range genetecDates {
		layouts = append(layouts, layout+" "+time.TimeOnly)
	}
	return readTime(strings.TrimSpace(string(date))+" "+strings.TrimSpace(string(clockTime)), zone, r.Received, layouts...)
}
