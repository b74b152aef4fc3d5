package camera

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"parkstream/shared/parking"
	"parkstream/shared/site"
)

// openalpr is what the agent of OpenALPR, now Rekor Scout, posts: the plates of one frame
// (alpr_results), of one vehicle (alpr_group, also in an alpr_alert), a vehicle without a
// plate (vehicle), and a heartbeat.
var openalpr = Format{
	Name: "openalpr",
	Recognise: func(r Request) bool {
		var kind loose
		members := r.example()
		text := members["data_type"]
		return text != nil && kind.UnmarshalJSON(text) == nil && openalprKinds[string(kind)] ||
			text == nil && hasAll(members, "epoch_time", "results") // of the first versions
	},
	Parse: func(r Request, c site.Camera) (Message, error) {
		return each(r, func(m openalprMessage) (Message, error) { return m.message(r, c) })
	},
}

const (
	openalprResults   = "alpr_results"
	openalprGroup     = "alpr_group"
	openalprAlert     = "alpr_alert"
	openalprVehicle   = "vehicle"
	openalprHeartbeat = "heartbeat"
)

var openalprKinds = map[string]bool{
	openalprResults: true, openalprGroup: true, openalprAlert: true, openalprVehicle: true, openalprHeartbeat: true,
}

// The versions of the event of one vehicle: its first frame; what is told of it before its
// group is complete, or without a plate; its group.
const (
	openalprFrameOrder = 1 + iota
	openalprPreviewOrder
	openalprGroupOrder
)

// openalprMessage is every message of an agent.
type openalprMessage struct {
	DataType loose            `json:"data_type"`
	Group    *openalprMessage `json:"group"` // of an alert

	// Of a frame.
	EpochTime loose                                `json:"epoch_time"`
	UUID      loose                                `json:"uuid"`
	Results   many[element[textOr[openalprPlate]]] `json:"results"`

	// Of a vehicle.
	EpochStart      loose                       `json:"epoch_start"`
	UUIDs           many[loose]                 `json:"uuids"`
	PlateIndexes    many[loose]                 `json:"plate_indexes"`
	BestUUID        loose                       `json:"best_uuid"`
	BestPlate       textOr[openalprPlate]       `json:"best_plate"`
	BestPlateNumber scalar                      `json:"best_plate_number"`
	BestConfidence  loose                       `json:"best_confidence"`
	BestRegion      loose                       `json:"best_region"`
	Country         loose                       `json:"country"`
	Candidates      many[textOr[openalprPlate]] `json:"candidates"`
	Direction       loose                       `json:"travel_direction"`
	Preview         loose                       `json:"is_preview"`
	Vehicle         detail[struct {
		Color many[openalprName] `json:"color"`
		Make  many[openalprName] `json:"make"`
	}] `json:"vehicle"`
	VehicleCrop base64Picture `json:"vehicle_crop_jpeg"`
	Overview    base64Picture `json:"overview_jpeg"`
}

// openalprPlate is one reading of a plate. The first versions of a group have its text
// only.
type openalprPlate struct {
	Plate      scalar                      `json:"plate"`
	Confidence loose                       `json:"confidence"`
	Region     loose                       `json:"region"`
	Index      loose                       `json:"plate_index"`
	Candidates many[textOr[openalprPlate]] `json:"candidates"`
	Crop       base64Picture               `json:"plate_crop_jpeg"`
}

// openalprName is one of several values of a property.
type openalprName struct {
	Name       loose `json:"name"`
	Confidence loose `json:"confidence"`
}

func (m openalprMessage) message(r Request, c site.Camera) (Message, error) {
	if m.DataType == "" && m.EpochTime != "" {
		m.DataType = openalprResults
	}
	switch kind := string(m.DataType); kind {
	case openalprHeartbeat:
		return Message{Heartbeat: true}, nil
	case openalprResults:
		return m.frame()
	case openalprAlert:
		if m.Group == nil {
			return Message{}, parking.Invalid("the %s has no group", openalprAlert)
		}
		m = *m.Group
	case openalprGroup, openalprVehicle:
	default:
		return Message{}, parking.Invalid("data_type is %s, want one of %s, %s, %s, %s, %s", quote(kind),
			openalprResults, openalprGroup, openalprAlert, openalprVehicle, openalprHeartbeat)
	}
	read, err := m.group(c)
	if err != nil {
		return Message{}, err
	}
	read.Pictures = append(read.Pictures, r.pictures()...)
	return Message{Reads: []Read{read}}, nil
}

// frame returns the reads of one frame.
func (m openalprMessage) frame() (Message, error) {
	at, err := epoch(string(m.EpochTime), 0)
	if err != nil {
		return Message{}, err
	}
	var all Message
	for i, result := range m.Results {
		p := result.Value.Object
		read := openalprRead(result.Value)
		read.Time, read.Country = at.Time, told(cmp.Or(string(p.Region), string(m.Country)))
		if uuid := told(string(m.UUID)); uuid != "" {
			read.Vehicle, read.Order = openalprID(uuid, cmp.Or(string(p.Index), strconv.Itoa(i))), openalprFrameOrder
			read.Tracked = true // its group follows
		}
		all.addRead(read, result.Err)
	}
	return all, nil
}

// openalprRead returns what is told of a plate.
func openalprRead(plate textOr[openalprPlate]) Read {
	p := plate.Object
	read := Read{Plate: Plate(cmp.Or(plate.Text, string(p.Plate))), Pictures: p.Crop.pictures()}
	if read.Plate == "" {
		return read
	}
	read.Confidence = confidence(string(p.Confidence), ofHundred)
	for _, other := range p.Candidates {
		read.Candidates = append(read.Candidates, parking.Candidate{
			Plate: cmp.Or(other.Text, string(other.Object.Plate)), Confidence: confidence(string(other.Object.Confidence), ofHundred),
		})
	}
	return read
}

// group returns the read of one vehicle. It is the next version of that of its first
// frame.
func (m openalprMessage) group(c site.Camera) (Read, error) {
	at, err := epoch(string(m.EpochStart), 0)
	if err != nil {
		return Read{}, err
	}
	best := m.BestPlate
	best.Text = cmp.Or(string(m.BestPlateNumber), best.Text)
	best.Object.Confidence = cmp.Or(m.BestConfidence, best.Object.Confidence)
	if len(m.Candidates) > 0 {
		best.Object.Candidates = m.Candidates
	}
	read := openalprRead(best)
	read.Time = at.Time
	read.Direction = direction(c, string(m.Direction))
	read.Country = told(cmp.Or(string(m.BestRegion), string(best.Object.Region), string(m.Country)))
	read.Color, read.Make = openalprMostLikely(m.Vehicle.Value.Color), openalprMostLikely(m.Vehicle.Value.Make)
	read.Pictures = slices.Concat(m.VehicleCrop.pictures(), m.Overview.pictures(), read.Pictures)
	if uuid, index := m.firstFrame(); uuid != "" {
		read.Vehicle, read.Order = openalprID(uuid, index), openalprGroupOrder
		if m.DataType == openalprVehicle || strings.EqualFold(string(m.Preview), "true") {
			read.Order = openalprPreviewOrder
			read.Tracked = m.DataType != openalprVehicle
		}
	}
	return read, nil
}

// firstFrame returns the UUID of the first frame of a group, and which plate of the frame
// is the vehicle's. The UUIDs are in no order; they end with the frame's time in
// milliseconds.
func (m openalprMessage) firstFrame() (uuid, index string) {
	first := int64(-1)
	for i, given := range m.UUIDs {
		at, err := strconv.ParseInt(given.afterLast('-'), 10, 64)
		if given == "" || uuid != "" && (err != nil || at >= first) {
			continue
		}
		uuid, index, first = string(given), "", at
		if i < len(m.PlateIndexes) {
			index = string(m.PlateIndexes[i])
		}
	}
	return cmp.Or(uuid, told(string(m.BestUUID))), cmp.Or(index, "0")
}

func (o loose) afterLast(c byte) string {
	return string(o[strings.LastIndexByte(string(o), c)+1:])
}

// openalprID returns the id of a vehicle: that of a frame, and which of its plates is
// the vehicle's unless it is the first one.
func openalprID(uuid, index string) string {
	if index == "0" {
		return uuid
	}
	return uuid + ":" + index
}

func openalprMostLikely(names []openalprName) string {
	var best openalprName
	for _, n := range names {
		n.Name = loose(told(string(n.Name)))
		if n.Name != "" && (best.Name == "" || score(n.Confidence) > score(best.Confidence)) {
			best = n
		}
	}
	return string(best.Name)
}
