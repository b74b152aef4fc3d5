package camera

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"parkstream/shared/parking"
	"parkstream/shared/site"
)

var (
	seenAt   = time.Date(2026, 11, 27, 8, 15, 0, 123e6, time.UTC)
	received = seenAt.Add(2 * time.Second)
)

func TestKindOf(t *testing.T) {
	both := site.Camera{ID: "c", Role: site.Both, Directions: map[string]parking.Kind{"210": parking.Exit, "in": parking.Exit}}
	degrees := site.Camera{Role: site.Both, Directions: map[string]parking.Kind{"0": parking.Entry, "180": parking.Exit, "left": parking.Exit}}
	for name, tt := range map[string]struct {
		read   Read
		camera site.Camera
		want   parking.Kind // 0: refused
	}{
		"an entry camera, whatever is told": {Read{Direction: "out", Kind: parking.Exit}, site.Camera{Role: site.Entries}, parking.Entry},
		"an exit camera":                    {Read{}, site.Camera{Role: site.Exits}, parking.Exit},
		"both, mapped":                      {Read{Direction: "210"}, both, parking.Exit},
		"both, mapped, in another case":     {Read{Direction: " IN "}, both, parking.Exit},
		"the map precedes the format":       {Read{Direction: "in", Kind: parking.Entry}, both, parking.Exit},
		"both, by the format":               {Read{Direction: "approach", Kind: parking.Entry}, both, parking.Entry},
		"both, not mapped":                  {Read{Direction: "90"}, both, 0},
		"both, none told":                   {Read{}, both, 0},
		"a camera without a role":           {Read{Direction: "x"}, site.Camera{}, 0},
		"degrees near the entry":            {Read{Direction: "15.5"}, degrees, parking.Entry},
		"degrees over the circle":           {Read{Direction: "350"}, degrees, parking.Entry},
		"degrees beyond the circle":         {Read{Direction: "-185"}, degrees, parking.Exit},
		"degrees at half":                   {Read{Direction: "90"}, degrees, parking.Entry},
		"degrees too far":                   {Read{Direction: "101"}, site.Camera{Role: site.Both, Directions: map[string]parking.Kind{"10": parking.Entry}}, 0},
		"degrees that are none":             {Read{Direction: "NaN"}, degrees, 0},
	} {
		if got, err := KindOf(tt.read, tt.camera); got != tt.want || (tt.want == 0) != errors.Is(err, parking.ErrInvalid) {
			t.Errorf("%s: %c, %v", name, got, err)
		}
	}
}

func TestEvents(t *testing.T) {
	gate := site.Camera{ID: "gate-1", Site: "north", Gate: "g", Role: site.Entries}
	base := parking.Event{Kind: parking.Entry, Site: "north", Gate: "g", Camera: "gate-1", Version: 1, RawPlate: "ka 01", Plate: "KA01", Time: seenAt}
	with := func(change func(*parking.Event)) parking.Event {
		e := base
		change(&e)
		return e
	}
	for name, tt := range map[string]struct {
		read Read
		want parking.Event
	}{
		"by plate, kind and time": {Read{Plate: "ka 01", Time: seenAt}, with(func(e *parking.Event) { e.ID = "gate-1:" + hash("KA01", "entry", "2026-11-27T08:15:00.123Z") })},
		"by vehicle":              {Read{Plate: "ka 01", Time: seenAt, Vehicle: "v-7", Order: 3}, with(func(e *parking.Event) { e.ID, e.Version, e.Details.Vehicle = "gate-1:v-7", 3, "v-7" })},
		"by a vehicle of a counter": {Read{Plate: "ka 01", Time: seenAt, Vehicle: "7", VehicleCounts: true}, with(func(e *parking.Event) {
			e.ID, e.Details.Vehicle = "gate-1:7:2026112708", "7"
		})},
		"by a vehicle that is no id": {Read{Plate: "ka 01", Time: seenAt, Vehicle: "a\x00" + strings.Repeat("b", 200)}, with(func(e *parking.Event) {
			e.ID, e.Details.Vehicle = "gate-1:"+hash("gate-1:a\x00"+strings.Repeat("b", 200)), "a"+strings.Repeat("b", 127)
		})},
		"no plate": {Read{Plate: "unknown", Time: seenAt}, with(func(e *parking.Event) {
			e.ID, e.NoPlate, e.RawPlate, e.Plate = "gate-1:"+hash("", "entry", "2026-11-27T08:15:00.123Z"), true, "", ""
		})},
		"no time": {Read{Plate: "ka 01"}, with(func(e *parking.Event) {
			e.ID, e.Time, e.Details.ReceivedTime = "gate-1:"+hash("KA01", "entry", "2026-11-27T08:15:02.123Z"), received, true
		})},
		"no time, but a vehicle: the first one counts": {Read{Plate: "ka 01", Vehicle: "v"}, with(func(e *parking.Event) {
			e.ID, e.Version, e.Time, e.Details.ReceivedTime, e.Details.Vehicle = "gate-1:v", parking.MaxVersion-received.UnixMilli(), received, true, "v"
		})},
		"details": {Read{
			Plate: "ka 01", Time: seenAt, Vehicle: "v", AmbiguousTime: true, Confidence: new(0.9), Country: "IN", Make: "-", Color: strings.Repeat("rød", 20),
			Candidates: []parking.Candidate{{Plate: "KA01", Confidence: new(0.9)}, {Plate: "-"}, {Plate: "KAO1", Confidence: new(92.0)}, {Plate: "KA01"}},
		}, with(func(e *parking.Event) {
			e.ID = "gate-1:v"
			e.Details = parking.Details{
				Vehicle: "v", AmbiguousTime: true, Confidence: new(0.9), Country: "IN", Color: strings.Repeat("rød", 8),
				Candidates: []parking.Candidate{{Plate: "KA01", Confidence: new(0.9)}, {Plate: "KAO1"}},
			}
		})},
		"more candidates than an event has": {Read{Plate: "ka 01", Time: seenAt, Vehicle: "v", Candidates: manyCandidates(100)}, with(func(e *parking.Event) {
			e.ID, e.Details.Vehicle, e.Details.Candidates = "gate-1:v", "v", manyCandidates(parking.MaxCandidates)
		})},
	} {
		t.Run(name, func(t *testing.T) {
			got, _, err := Events(Message{Reads: []Read{tt.read}}, gate, received)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]parking.Event{tt.want}, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func manyCandidates(n int) []parking.Candidate {
	c := make([]parking.Candidate, n)
	for i := range c {
		c[i].Plate = "KA" + strings.Repeat("1", i%50) + string(rune('A'+i/50))
	}
	return c
}

// Of several reads in a request, those that are events are events.
func TestEventsOfSeveralReads(t *testing.T) {
	both := site.Camera{ID: "c", Site: "s", Role: site.Both}
	m := Message{Reads: []Read{
		{Plate: "A1", Kind: parking.Entry, Time: seenAt},
		{Plate: "A2", Time: seenAt},
		{Plate: "A3", Time: seenAt, Vehicle: "v", Direction: "Unknown", Tracked: true},
		{Plate: "A4", Time: seenAt, Vehicle: "w", Direction: "left"},
		{Kind: parking.Exit, Time: seenAt},
		{Kind: parking.Exit, Time: seenAt},
		{Plate: strings.Repeat("A", 65), Kind: parking.Exit, Time: seenAt},
	}}
	events, undirected, err := Events(m, both, received)
	if undirected != 1 || len(events) != 3 || events[0].Plate != "A1" || !events[1].NoPlate || !events[2].NoPlate || events[2].ID != events[1].ID+":2" {
		t.Errorf("events %+v", events)
	}
	want := `the camera sees both directions, and the request does not tell which one: set the camera's role to entry or exit
the camera sees both directions, and its configuration does not have the direction "left": map it to entry or exit in the camera's directions
vehicle_plate has 65 characters, at most 64 are allowed`
	if !errors.Is(err, parking.ErrInvalid) || err.Error() != want {
		t.Errorf("error %v", err)
	}
	for n := range 2 * maxReasons {
		m.Reads = append(m.Reads, Read{Plate: "A", Direction: string(rune('a' + n)), Time: seenAt}, Read{Plate: "A", Direction: "x", Time: seenAt})
	}
	if _, _, err := Events(m, both, received); strings.Count(err.Error(), "\n") != maxReasons-1 {
		t.Errorf("%d reasons", 1+strings.Count(err.Error(), "\n"))
	}
	again, _, _ := Events(m, both, received.Add(time.Hour))
	if diff := cmp.Diff(events, again); diff != "" {
		t.Errorf("sent again it is something else:\n%s", diff)
	}
}

// At a camera that sees both directions, a read without one comes to nothing if another
// read of the vehicle follows. The last one, and the only one, are refused: a vehicle is
// not lost in silence.
func TestTheLastReadHasADirection(t *testing.T) {
	const frigateObject = `"id":"1.5-a","camera":"x","label":"car","start_time":1795593600.5,"frame_time":1795593601,"recognized_license_plate":"B1"`
	for name, test := range map[string]struct {
		body    string
		follows bool
	}{
		"axis new":                {`{"plateUTF8":"B1","carID":"7","carState":"new","capture_timestamp":"1795593600000","carMoveDirection":"unk"}`, true},
		"axis update":             {`{"plateUTF8":"B1","carID":"7","carState":"update","capture_timestamp":"1795593600000","carMoveDirection":"unknown"}`, true},
		"axis lost":               {`{"plateUTF8":"B1","carID":"7","carState":"lost","capture_timestamp":"1795593600000","carMoveDirection":"unk"}`, false},
		"axis without a state":    {`{"plateUTF8":"B1","carID":"7","capture_timestamp":"1795593600000"}`, false},
		"axis without a car":      {`{"plateUTF8":"B1","carState":"new","capture_timestamp":"1795593600000"}`, false},
		"frigate update":          {`{"type":"update","after":{` + frigateObject + `,"end_time":null}}`, true},
		"frigate end":             {`{"type":"end","after":{` + frigateObject + `,"end_time":1795593602}}`, false},
		"frigate ended":           {`{` + frigateObject + `,"end_time":1795593602}`, false},
		"frigate lpr":             {`{"type":"lpr","id":"1.5-a","plate":"B1","score":0.9,"timestamp":1795593601}`, true},
		"openalpr frame":          {`{"data_type":"alpr_results","uuid":"u","epoch_time":1795593600000,"results":[{"plate":"B1"}]}`, true},
		"openalpr frame alone":    {`{"data_type":"alpr_results","epoch_time":1795593600000,"results":[{"plate":"B1"}]}`, false},
		"openalpr preview":        {`{"data_type":"alpr_group","uuids":["u"],"epoch_start":1795593600000,"best_plate_number":"B1","is_preview":true}`, true},
		"openalpr group":          {`{"data_type":"alpr_group","uuids":["u"],"epoch_start":1795593600000,"best_plate_number":"B1","is_preview":false}`, false},
		"openalpr vehicle":        {`{"data_type":"vehicle","uuids":["u"],"epoch_start":1795593600000}`, false},
		"hikvision":               {`<EventNotificationAlert><eventType>ANPR</eventType><UUID>u</UUID><dateTime>2026-11-23T08:15:30Z</dateTime><ANPR><licensePlate>B1</licensePlate><direction>unknown</direction></ANPR></EventNotificationAlert>`, false},
		"genetec":                 {`{"PlateRead":"B1","Id":"7","Timestamp":"2026-11-23T08:15:30Z"}`, false},
		"own":                     {`{"plate":"B1","vehicle":"7","time":"2026-11-23T08:15:30Z"}`, false},
		"cloudevent of an update": {`{"specversion":"1.0","type":"t","source":"s","id":"1","data":{"type":"update","after":{` + frigateObject + `}}}`, true},
	} {
		c := site.Camera{ID: "gate-1", Site: "north", Role: site.Both, Location: time.UTC}
		_, m, err := Parse(Request{Body: []byte(test.body), Received: received}, c)
		if err != nil || len(m.Reads) != 1 {
			t.Errorf("%s: %d reads, %v", name, len(m.Reads), err)
			continue
		}
		events, undirected, err := Events(m, c, received)
		if len(events) != 0 || (undirected == 1) != test.follows || errors.Is(err, errNoDirection) == test.follows {
			t.Errorf("%s: %d events, %d undirected, %v", name, len(events), undirected, err)
		}
	}
}

// A UUID of zeros names no vehicle: all events would be one.
func TestVehiclesWithoutAName(t *testing.T) {
	const zeros = "00000000-0000-0000-0000-000000000000"
	for _, body := range []string{
		`<EventNotificationAlert><eventType>ANPR</eventType><UUID>` + zeros + `</UUID><ANPR><licensePlate>B1</licensePlate></ANPR></EventNotificationAlert>`,
		`<EventNotificationAlert><eventType>ANPR</eventType><UUID/><ANPR><licensePlate>B1</licensePlate></ANPR></EventNotificationAlert>`,
		`{"PlateRead":"B1","Id":"{` + zeros + `}","Timestamp":"2026-11-23T08:15:30Z"}`,
		`{"PlateRead":"B1","Id":"0","Timestamp":"2026-11-23T08:15:30Z"}`,
	} {
		_, m, err := Parse(Request{Body: []byte(body), Received: received}, site.Camera{ID: "gate-1", Site: "north", Role: site.Entries})
		if err != nil || len(m.Reads) != 1 || m.Reads[0].Vehicle != "" {
			t.Errorf("%s: %+v, %v", body, m.Reads, err)
		}
	}
}
