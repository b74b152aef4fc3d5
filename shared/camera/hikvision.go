package camera

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"parkstream/shared/parking"
	"parkstream/shared/site"
)

// hikvision is ISAPI of Hikvision and the brands that it makes cameras for: an
// EventNotificationAlert as a bare document, as the first part of a form with pictures,
// or many of them as the parts of an alert stream; and the answer of a camera that is
// asked for its latest plates.
var hikvision = Format{
	Name: "hikvision",
	Recognise: func(r Request) bool {
		return r.root() == hikvisionAlertRoot || r.root() == hikvisionPlatesRoot ||
			r.has("eventtype", "eventstate") || r.has("eventtype", "anpr") || r.has("eventnotificationalert")
	},
	Parse: func(r Request, c site.Camera) (Message, error) {
		if r.root() == hikvisionPlatesRoot {
			return hikvisionPull(r, c)
		}
		return hikvisionAlerts(r, c)
	},
}

const (
	hikvisionAlertRoot  = "EventNotificationAlert"
	hikvisionPlatesRoot = "Plates"
)

// hikvisionAlert is one event of a device, in XML or JSON.
type hikvisionAlert struct {
	EventType  loose                         `json:"eventType"  xml:"eventType"`
	EventState loose                         `json:"eventState" xml:"eventState"`
	DateTime   loose                         `json:"dateTime"   xml:"dateTime"`
	UUID       loose                         `json:"UUID"       xml:"UUID"`
	ANPR       many[element[hikvisionPlate]] `json:"ANPR"       xml:"ANPR"`
	// Alert is the event itself, where a JSON document has it as a member.
	Alert *hikvisionAlert `json:"EventNotificationAlert" xml:"-"`
}

// hikvisionPlate is one vehicle of an event.
type hikvisionPlate struct {
	Plate      scalar `json:"licensePlate"         xml:"licensePlate"`
	Original   loose  `json:"originalLicensePlate" xml:"originalLicensePlate"`
	Confidence loose  `json:"confidenceLevel"      xml:"confidenceLevel"`
	Direction  loose  `json:"direction"            xml:"direction"`
	Country    loose  `json:"country"              xml:"country"`
	Color      loose  `json:"-"                    xml:"vehicleInfo>color"`
	Vehicle    detail[struct {
		Color loose `json:"color"`
	}] `json:"vehicleInfo" xml:"-"`
	Pictures []struct {
		Time loose `xml:"absTime"`
	} `json:"-" xml:"pictureInfoList>pictureInfo"`
}

// hikvisionAlerts reads the alerts of a request. The pictures that follow an alert are
// those of its vehicles, and so are pictures before the first alert.
func hikvisionAlerts(r Request, c site.Camera) (Message, error) {
	parts, err := r.form()
	if err != nil {
		return Message{}, err
	}
	if len(parts) == 0 {
		parts = []part{{Data: r.document()}}
	}
	var (
		m              Message
		alerts, first  int       // first is the first read of the current alert
		scenes, plates []Picture // of the current alert
	)
	finish := func() {
		for i := range m.Reads[first:] {
			m.Reads[first+i].Pictures = slices.Concat(scenes, plates)
		}
		first, scenes, plates = len(m.Reads), nil, nil
	}
	for _, p := range parts {
		text := trimmed(p.Data)
		switch contentType := pictureType(p.Data); {
		case contentType != "" && strings.Contains(strings.ToLower(p.Name+p.Filename), "plate"):
			plates = append(plates, Picture{ContentType: contentType, Data: p.Data})
		case contentType != "":
			scenes = append(scenes, Picture{ContentType: contentType, Data: p.Data})
		case documentKind(text) == "json", rootOf(text) == hikvisionAlertRoot:
			if alerts++; alerts > 1 {
				finish()
			}
			m.add(hikvisionMessage(text, r, c))
		}
	}
	finish()
	if alerts == 0 {
		if documentKind(r.document()) == "xml" {
			if err := decodeXML(r.document(), new(struct{})); err != nil {
				return Message{}, err
			}
		}
		return Message{}, parking.Invalid("the request has no document EventNotificationAlert or Plates")
	}
	return m, nil
}

// hikvisionMessage returns what one alert tells.
func hikvisionMessage(text []byte, r Request, c site.Camera) (Message, error) {
	var alert hikvisionAlert
	if documentKind(text) == "json" {
		if err := checkJSON(text); err != nil {
			return Message{}, err
		}
		if err := decodeJSON(text, &alert); err != nil {
			return Message{}, err
		}
		if alert.Alert != nil {
			alert = *alert.Alert
		}
	} else if err := decodeXML(text, &alert); err != nil {
		return Message{}, err
	}
	kind := strings.ToLower(told(string(alert.EventType)))
	switch {
	case strings.EqualFold(told(string(alert.EventState)), "inactive"), kind == "heartbeat":
		return Message{Heartbeat: true}, nil
	case len(alert.ANPR) == 0 && kind == "anpr":
		return Message{}, parking.Invalid("the event is of the type ANPR and has no element ANPR with a licensePlate")
	case len(alert.ANPR) == 0 && kind == "":
		return Message{}, parking.Invalid("the event has neither an eventType nor an element ANPR with a licensePlate")
	}
	var m Message
	for i, plate := range alert.ANPR {
		read, err := Read{}, plate.Err
		if err == nil {
			read, err = plate.Value.read(string(alert.DateTime), r, c)
		}
		if read.Vehicle = identity(string(alert.UUID)); read.Vehicle != "" && i > 0 {
			read.Vehicle += ":" + strconv.Itoa(i+1)
		}
		m.addRead(read, err)
	}
	return m, nil
}

func (p hikvisionPlate) read(dateTime string, r Request, c site.Camera) (Read, error) {
	for _, picture := range p.Pictures {
		if told(dateTime) == "" {
			dateTime = hikvisionPictureTime(string(picture.Time))
		}
	}
	at, err := readTime(dateTime, c.Location, r.Received)
	if err != nil {
		return Read{}, err
	}
	read := Read{
		Direction: direction(c, string(p.Direction)),
		Plate:     hikvisionPlateText(string(p.Plate)), Time: at.Time, AmbiguousTime: at.Ambiguous,
		Country: hikvisionCountry(string(p.Country)), Color: told(string(cmp.Or(p.Color, p.Vehicle.Value.Color))),
	}
	original := hikvisionPlateText(string(p.Original))
	switch {
	case p.Plate == "":
		read.Plate = original
	case original != "" && original != read.Plate: // what was read, before it was made fit the camera's own list
		read.Candidates = []parking.Candidate{{Plate: original}}
	}
	if read.Plate != "" {
		read.Confidence = confidence(string(p.Confidence), ofHundred)
	}
	return read, nil
}

// hikvisionPictureTime returns the local time of a picture, 20231102211032591, in the
// shape of ISO 8601.
func hikvisionPictureTime(text string) string {
	const date = len("20231102")
	if len(text) < date {
		return ""
	}
	return text[:date] + "T" + text[date:]
}

// hikvisionPlateText returns a plate without the colour that precedes those of China.
func hikvisionPlateText(text string) string {
	text = Plate(text)
	colour, width := utf8.DecodeRuneInString(text)
	province, _ := utf8.DecodeRuneInString(text[width:])
	if strings.ContainsRune("蓝黄绿白黑", colour) && unicode.Is(unicode.Han, province) {
		return text[width:]
	}
	return text
}

// hikvisionPull reads the answer of a camera to the request for its latest plates.
func hikvisionPull(r Request, c site.Camera) (Message, error) {
	var plates struct {
		Plates []struct {
			Time      string `xml:"captureTime"`
			Plate     string `xml:"plateNumber"`
			Direction string `xml:"direction"`
			Country   string `xml:"country"`
		} `xml:"Plate"`
	}
	if err := decodeXML(r.document(), &plates); err != nil {
		return Message{}, err
	}
	var m Message
	for _, p := range plates.Plates {
		// Digits after the seconds are no offset, although they look like one.
		at, err := readTime(p.Time, c.Location, r.Received)
		m.addRead(Read{
			Direction: direction(c, p.Direction), Plate: hikvisionPlateText(p.Plate),
			Time: at.Time, AmbiguousTime: at.Ambiguous, Country: hikvisionCountry(p.Country),
		}, err)
	}
	return m, nil
}

// hikvisionCountry returns the code of ISO 3166 of a country that is given by Hikvision's
// number, and another text as it is.
func hikvisionCountry(text string) string {
	text = told(text)
	number, err := strconv.Atoi(text)
	if err != nil {
		return text
	}
	if number < 0 || number >= len(hikvisionCountries) || hikvisionCountries[number] == "-" {
		return ""
	}
	return hikvisionCountries[number]
}

// hikvisionCountries are the countries by their numbers from 0. Those without a code of
// their own, and numbers that are reserved, have a hyphen.
var hikvisionCountries = strings.Fields(`
	- CZ FR DE ES IT NL PL SK BY MD RU UA BE BG DK FI GB GR HR
	HU IL LU MK NO PT RO RS AZ GE KZ LT TM UZ LV EE AL AT BA IE
	IS VA MT SE CH CY TR SI ME XK AD AM MC LI SM - - - - CN
	BH KR LB NP TH PK AE BT OM KP PH KH QA KG MV MY MN SA BN LA
	JP TR PS TJ KW SY IN ID AF LK IQ VN IR YE JO MM - BD SG TL
	- - - - EG LY SD TN DZ MA ET ER SO DJ KE TZ UG RW BI SC
	TD CF CM GQ GA CG CD ST MR EH SN GM ML BF GN GW CV SL LR CI
	GH TG BJ NE ZM AO ZW MW MZ BW NA ZA SZ LS MG KM MU NG SS SH
	YT RE - - - - - - - CA GL PM US BM MX GT BZ SV HN NI
	CR PA BS TC CU JM KY HT DO PR VI VG AI AG MF SX BL KN MS GP
	DM MQ LC VC GD BB TT CW AW AN CO VE GY SR GF EC PE BO PY CL
	BR UY AR - - - - AU NZ PG SB VU NC PW FM MH MP GU NR KI
	FJ TO TV WF WS AS TK NU CK PF PN`)
