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
// or many of them as the parts of an alert stream or one after the other; and the answer
// of a camera that is asked for its latest plates.
var hikvision = Format{
	Name: "hikvision",
	Recognise: func(r Request) bool {
		if root := r.root(); root != "" {
			return isHikvisionRoot(root) || root == hikvisionPlatesRoot
		}
		e := r.example()
		return hasAll(e, "eventtype", "eventstate") || hasAny(e, "anpr", "eventnotificationalert") ||
			hasAny(e, "licenseplate", "originallicenseplate") && hasAny(e, "eventtype", "datetime", "confidencelevel")
	},
	Parse: func(r Request, c site.Camera) (Message, error) {
		if r.root() == hikvisionPlatesRoot {
			return hikvisionPull(r, c)
		}
		return hikvisionAlerts(r, c)
	},
}

const hikvisionPlatesRoot = "Plates"

// isHikvisionRoot reports whether an XML document is an alert, several of them, or what
// an alert tells of a vehicle.
func isHikvisionRoot(root string) bool {
	return strings.HasPrefix(root, "EventNotificationAlert") || root == "ANPR"
}

// hikvisionAlert is one event of a device, in XML or JSON.
type hikvisionAlert struct {
	EventType  loose                         `json:"eventType"  xml:"eventType"`
	EventState loose                         `json:"eventState" xml:"eventState"`
	UUID       loose                         `json:"UUID"       xml:"UUID"`
	ANPR       many[element[hikvisionPlate]] `json:"ANPR"       xml:"ANPR"`
	// hikvisionPlate is what some versions have beside ANPR, or instead of it.
	hikvisionPlate
	// Alerts are the events themselves, where a document has them as members.
	Alerts many[element[hikvisionAlert]] `json:"EventNotificationAlert" xml:"EventNotificationAlert"`
}

// hikvisionPlate is one vehicle of an event.
type hikvisionPlate struct {
	Plate        scalar `json:"licensePlate"         xml:"licensePlate"`
	Number       scalar `json:"plateNumber"          xml:"plateNumber"`
	Original     loose  `json:"originalLicensePlate" xml:"originalLicensePlate"`
	Confidence   loose  `json:"confidenceLevel"      xml:"confidenceLevel"`
	Confidence2  loose  `json:"confidence"           xml:"confidence"`
	DateTime     loose  `json:"dateTime"             xml:"dateTime"`
	CaptureTime  loose  `json:"captureTime"          xml:"captureTime"`
	Direction    loose  `json:"direction"            xml:"direction"`
	Country      loose  `json:"country"              xml:"country"`
	Abbreviation loose  `json:"countryAbbreviation"  xml:"countryAbbreviation"`
	Color        loose  `json:"-"                    xml:"vehicleInfo>color"`
	Vehicle      many[struct {
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
		text := inUTF8(trimmed(p.Data), p.Charset)
		switch contentType := pictureType(p.Data); {
		case contentType != "" && strings.Contains(strings.ToLower(p.Name+p.Filename), "plate"):
			plates = append(plates, Picture{ContentType: contentType, Data: p.Data})
		case contentType != "":
			scenes = append(scenes, Picture{ContentType: contentType, Data: p.Data})
		case documentKind(text) == "json", isHikvisionRoot(rootOf(text)):
			if alerts++; alerts > 1 {
				finish()
			}
			m.add(hikvisionDocument(text, r, c))
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

// hikvisionDocument returns what the alerts of a document tell. There may be several, in
// a list or one after the other.
func hikvisionDocument(text []byte, r Request, c site.Camera) (Message, error) {
	if documentKind(text) == "json" {
		if err := checkJSON(text); err != nil {
			return Message{}, err
		}
		texts, err := split(text, maxElements)
		if err != nil {
			return Message{}, err
		}
		return eachOf(texts, func(alert hikvisionAlert) (Message, error) { return alert.message(r, c) })
	}
	var m Message
	for range maxParts {
		var alert hikvisionAlert
		rest, err := decodeFirstXML(text, &alert)
		if err != nil {
			m.add(Message{}, err)
			return m, nil // where the next one begins is not known
		}
		m.add(alert.message(r, c))
		if text = trimmed(rest); len(text) == 0 {
			return m, nil
		}
	}
	return Message{}, parking.Invalid("the request has more than %d alerts", maxParts)
}

// message returns what one alert tells.
func (a hikvisionAlert) message(r Request, c site.Camera) (Message, error) {
	if len(a.Alerts) > 0 {
		var m Message
		for _, alert := range a.Alerts {
			one, err := Message{}, alert.Err
			if err == nil {
				one, err = alert.Value.message(r, c)
			}
			m.add(one, err)
		}
		return m, nil
	}
	plates := a.plates()
	kind := strings.ToLower(told(string(a.EventType)))
	switch {
	case len(plates) > 0:
	case strings.EqualFold(told(string(a.EventState)), "inactive"), kind == "heartbeat":
		return Message{Heartbeat: true}, nil
	case kind == "anpr":
		return Message{}, parking.Invalid("the event is of the type ANPR and has no element ANPR with a licensePlate")
	case kind == "":
		return Message{}, parking.Invalid("the event has neither an eventType nor an element ANPR with a licensePlate")
	}
	var m Message
	for i, plate := range plates {
		read, err := Read{}, plate.Err
		if err == nil {
			read, err = plate.Value.read(r, c)
		}
		if read.Vehicle = identity(string(a.UUID)); read.Vehicle != "" && i > 0 {
			read.Vehicle += ":" + strconv.Itoa(i+1)
		}
		m.addRead(read, err)
	}
	return m, nil
}

// plates returns the vehicles of an alert. What is told beside ANPR is of each of them
// that does not tell it.
func (a hikvisionAlert) plates() []element[hikvisionPlate] {
	beside := a.hikvisionPlate
	if len(a.ANPR) == 0 && cmp.Or(string(beside.Plate), string(beside.Number), string(beside.Original)) != "" {
		return []element[hikvisionPlate]{{Value: beside}}
	}
	for i := range a.ANPR {
		p := &a.ANPR[i].Value
		if len(a.ANPR) == 1 && p.Plate == "" && p.Number == "" && p.Original == "" {
			p.Plate, p.Number, p.Original = beside.Plate, beside.Number, beside.Original
		}
		p.Confidence = cmp.Or(p.Confidence, p.Confidence2, beside.Confidence, beside.Confidence2)
		p.DateTime = cmp.Or(loose(told(string(p.DateTime))), loose(told(string(p.CaptureTime))), beside.DateTime, beside.CaptureTime)
		p.Direction = cmp.Or(loose(told(string(p.Direction))), beside.Direction)
		p.Country = cmp.Or(p.Country, beside.Country)
		p.Abbreviation = cmp.Or(p.Abbreviation, beside.Abbreviation)
	}
	return a.ANPR
}

func (p hikvisionPlate) read(r Request, c site.Camera) (Read, error) {
	dateTime := cmp.Or(told(string(p.DateTime)), told(string(p.CaptureTime)))
	for _, picture := range p.Pictures {
		dateTime = cmp.Or(dateTime, told(string(picture.Time)))
	}
	at, err := r.anyTime(dateTime, c)
	if err != nil {
		return Read{}, err
	}
	read := Read{
		Direction: direction(c, string(p.Direction)),
		Plate:     hikvisionPlateText(string(cmp.Or(p.Plate, p.Number))), Time: at.Time, AmbiguousTime: at.Ambiguous,
		Country: cmp.Or(hikvisionCountry(string(p.Country)), hikvisionAbbreviation(string(p.Abbreviation))), Color: told(string(p.Color)),
	}
	read.Kind = plainKind(read.Direction)
	for _, v := range p.Vehicle {
		read.Color = cmp.Or(read.Color, told(string(v.Color)))
	}
	original := hikvisionPlateText(string(p.Original))
	switch {
	case p.Plate == "" && p.Number == "":
		read.Plate = original
	case original != "" && original != read.Plate: // what was read, before it was made fit the camera's own list
		read.Candidates = []parking.Candidate{{Plate: original}}
	}
	if read.Plate != "" {
		read.Confidence = confidence(string(cmp.Or(p.Confidence, p.Confidence2)), ofEither)
	}
	return read, nil
}

// hikvisionAbbreviation returns the abbreviation of a country. NON is none.
func hikvisionAbbreviation(text string) string {
	if text = told(text); strings.EqualFold(text, "NON") {
		return ""
	}
	return text
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
