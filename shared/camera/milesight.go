package camera

import (
	"bytes"
	"maps"
	"slices"
	"strconv"
	"strings"

	"parkstream/shared/parking"
	"parkstream/shared/site"
)

// milesight is the HTTP post of Milesight cameras, and the text of their operator CGI.
var milesight = Format{Name: "milesight", Recognise: isMilesight, Parse: parseMilesight}

func isMilesight(r Request) bool {
	if documentKind(r.document()) == "" {
		return isMilesightText(r.Body)
	}
	e := r.example()
	return hasAny(e, "plate", "license_plate") && hasAny(e,
		"time_msec", "detection_region", "plate_type", "vehicle_type", "vehicle_color", "roi_id", "plate_color", "coordinate_x1", "resolution_width", "vehicle brand", "vehicle_brand",
		"plate_image", "license_plate_snapshot", "country_region")
}

// milesightPost is one message in JSON. The cameras of the series with Traffic Sense use
// the second names.
type milesightPost struct {
	Time          loose   `json:"time"`
	TimeMS        loose   `json:"time_msec"`
	Plate         present `json:"plate"`
	LicensePlate  present `json:"license_plate"`
	Direction     loose   `json:"direction"`
	Region        loose   `json:"region"`
	CountryRegion loose   `json:"country_region"`
	Confidence    loose   `json:"confidence"`
	Color         loose   `json:"vehicle_color"`
	Brand         loose   `json:"Vehicle Brand"`
	VehicleBrand  loose   `json:"vehicle_brand"`

	PlateImage      base64Picture `json:"plate_image"`
	PlateSnapshot   base64Picture `json:"license_plate_snapshot"`
	FullImage       base64Picture `json:"full_image"`
	VehicleImage    base64Picture `json:"vehicle_image"`
	VehicleSnapshot base64Picture `json:"vehicle_snapshot"`
	Snapshot        base64Picture `json:"snapshot"`
}

func parseMilesight(r Request, c site.Camera) (Message, error) {
	if documentKind(r.document()) == "" {
		return parseMilesightText(r, c)
	}
	m, err := eachRead(r, func(p milesightPost) (Read, error) { return p.read(r, c) })
	return m.withPictures(r), err
}

func (p milesightPost) read(r Request, c site.Camera) (Read, error) {
	if !p.Plate.Given && !p.LicensePlate.Given {
		return Read{}, parking.Invalid("want plate or license_plate in the JSON of a Milesight camera")
	}
	at, err := firstClock(
		func() (clock, error) { return r.anyTime(string(p.TimeMS), c) },
		func() (clock, error) { return r.anyTime(string(p.Time), c) },
	)
	if err != nil {
		return Read{}, err
	}
	read := Read{
		Plate: Plate(firstOf(p.Plate.Text, p.LicensePlate.Text)), Time: at.Time, AmbiguousTime: at.Ambiguous,
		Confidence: confidence(string(p.Confidence), ofEither),
		Country:    told(firstOf(p.Region, p.CountryRegion)), Make: told(firstOf(p.Brand, p.VehicleBrand)), Color: told(string(p.Color)),
	}
	read.Direction, read.Kind = milesightDirection(string(p.Direction))
	for _, picture := range []base64Picture{p.PlateImage, p.PlateSnapshot, p.FullImage, p.VehicleImage, p.VehicleSnapshot, p.Snapshot} {
		read.Pictures = append(read.Pictures, picture.pictures()...)
	}
	return read, nil
}

// milesightDirection returns a direction and its meaning. The numbers are those of the
// operator CGI.
func milesightDirection(text string) (string, parking.Kind) {
	switch direction := strings.ToLower(told(text)); direction {
	case "approach", "in", "1":
		return "approach", parking.Entry
	case "away", "out", "2":
		return "away", parking.Exit
	case "0":
		return "", 0
	default:
		return direction, 0
	}
}

// isMilesightText reports whether a body has the lines of the operator CGI, such as
// plate_0=ABC1234.
func isMilesightText(body []byte) bool {
	for line := range bytes.Lines(body[:min(len(body), maxPartHead)]) {
		name, _, found := bytes.Cut(bytes.TrimSpace(line), []byte("="))
		if number, isPlate := bytes.CutPrefix(name, []byte("plate_")); found && isPlate {
			if _, err := strconv.Atoi(string(number)); err == nil {
				return true
			}
		}
	}
	return false
}

func parseMilesightText(r Request, c site.Camera) (Message, error) {
	records := map[int]map[string]string{}
	for line := range bytes.Lines(r.Body) {
		name, value, _ := strings.Cut(strings.TrimSpace(string(line)), "=")
		at := strings.LastIndexByte(name, '_')
		number, err := strconv.Atoi(name[at+1:])
		if at < 0 || err != nil {
			continue
		}
		if records[number] == nil {
			if len(records) == maxElements {
				return Message{}, parking.Invalid("the text has more than %d records", maxElements)
			}
			records[number] = map[string]string{}
		}
		switch field := name[:at]; field {
		case "time", "plate", "region", "direction", "confidence":
			records[number][field] = strings.TrimSpace(value)
		}
	}
	var m Message
	for _, number := range slices.Sorted(maps.Keys(records)) {
		record := records[number]
		plate, found := record["plate"]
		if !found {
			continue
		}
		at, err := r.anyTime(record["time"], c)
		read := Read{
			Plate: Plate(plate), Time: at.Time, AmbiguousTime: at.Ambiguous,
			Confidence: confidence(record["confidence"], ofEither), Country: told(record["region"]),
		}
		read.Direction, read.Kind = milesightDirection(record["direction"])
		m.addRead(read, err)
	}
	if len(m.Reads)+len(m.Unread) == 0 {
		return Message{}, parking.Invalid("want JSON, or lines such as plate_0=ABC1234, of a Milesight camera")
	}
	return m, nil
}
