package evaluate

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"

	"parkstream/shared/parking"
)

const (
	entryLine = `{"id":"1","vehicle_plate":"KA01AB1234","entry_date_time":"2026-03-02T08:00:00Z"}`
	exitLine  = `{"id":"2","vehicle_plate":"KA01AB1234","exit_date_time":"2026-03-02T09:00:00+01:00"}`
	truthLine = `{"event_id":"1","vehicle":7,"visit":70}`
)

// told are the events of some data, shortly.
func told(d *Data) (lines []string) {
	for _, e := range d.Events {
		visit, known := d.visitOf(e.Site, e.ID)
		line := fmt.Sprintf("%s/%s v%d %s %s %s", e.Site, e.ID, e.Version, e.Kind, e.Time.Format("15:04"), e.Plate)
		if known {
			line += fmt.Sprint(" visit ", visit)
		}
		lines = append(lines, line)
	}
	return lines
}

func TestReadingIsLenient(t *testing.T) {
	for _, tt := range []struct {
		name, events, truth string
		want                []string
	}{
		{"as on the wire", entryLine + "\n" + exitLine + "\n", truthLine + "\n" + `{"event_id":"2","vehicle":7,"visit":70}` + "\n", []string{
			"default/1 v1 entry 08:00 KA01AB1234 visit 0", "default/2 v1 exit 08:00 KA01AB1234 visit 0",
		}},
		{"CRLF, blanks, a byte order mark, no end of line", "\ufeff\r\n  " + entryLine + "\r\n\r\n", "\ufeff" + truthLine, []string{"default/1 v1 entry 08:00 KA01AB1234 visit 0"}},
		{"numbers as text, text as numbers", `{"id":17,"site":4,"gate":1,"camera":12.0,"vehicle":5,"vehicle_plate":1234,"exit_date_time":"2026-03-02T09:00:00Z","version":2}`, `{"event_id":17.0,"vehicle":"7","visit":"x"}`, []string{
			"4/17 v2 exit 09:00 1234 visit 0",
		}},
		{
			"every field, and unknown ones", `{"id":"1","vehicle_plate":"ka 01-AB","entry_date_time":"2026-03-02T08:00:00.123456Z","exit_date_time":null,"site":"n","gate":"G","camera":"c","version":3,"vehicle":"9","confidence":0.5,"candidates":[{"plate":"KAOIAB","confidence":0.4},{"plate":"X1"}],"country":"IN","make":"Tata","color":"white","image":"n/2026-03-02/1.jpg","ambiguous_time":true,"speed":{"kmh":7}}`,
			`{"event_id":"1","vehicle":"v","visit":1,"plate":"KA01AB","site":"n"}`,
			[]string{"n/1 v3 entry 08:00 KA01AB visit 0"},
		},
		{"no plate, void, versions", `{"id":"1","vehicle_plate":null,"entry_date_time":"2026-03-02T08:00:00Z"}` + "\n" + `{"id":"1","version":2,"void":true}` + "\n" + `{"id":"1","version":3,"vehicle_plate":"A","exit_date_time":"2026-03-02T08:00:00Z"}`, truthLine, []string{
			"default/1 v1 entry 08:00  visit 0", "default/1 v2 entry 00:00  visit 0", "default/1 v3 exit 08:00 A visit 0",
		}},
		{
			"several sites with the same ids", `{"id":"1","site":"n","vehicle_plate":"A","entry_date_time":"2026-03-02T08:00:00Z"}` + "\n" + `{"id":"1","site":"s","vehicle_plate":"A","entry_date_time":"2026-03-02T08:00:00Z"}`,
			`{"event_id":"1","site":"s","vehicle":1,"visit":1}` + "\n" + `{"event_id":"1","site":"n","vehicle":1,"visit":1}`,
			[]string{
				"n/1 v1 entry 08:00 A visit 1", "s/1 v1 entry 08:00 A visit 0",
			},
		},
		{"visits that are numbered by vehicle", entryLine + "\n" + exitLine, `{"event_id":"1","vehicle":"a","visit":1}` + "\n" + `{"event_id":"2","vehicle":"b","visit":1}`, []string{
			"default/1 v1 entry 08:00 KA01AB1234 visit 0", "default/2 v1 exit 08:00 KA01AB1234 visit 1",
		}},
		{"reads of no vehicle and of no visit", entryLine + "\n" + exitLine, `{"event_id":"1","vehicle":null}` + "\n" + `{"event_id":"2","vehicle":"b","visit":null}`, []string{
			"default/1 v1 entry 08:00 KA01AB1234 visit -1", "default/2 v1 exit 08:00 KA01AB1234 visit 0",
		}},
		{"a line twice", entryLine + "\n" + entryLine, truthLine + "\n" + truthLine, []string{"default/1 v1 entry 08:00 KA01AB1234 visit 0", "default/1 v1 entry 08:00 KA01AB1234 visit 0"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d, files, err := Read(strings.NewReader(tt.events), strings.NewReader(tt.truth))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, told(d)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(&Files{}, files); diff != "" {
				t.Errorf("told (-want +got):\n%s", diff)
			}
		})
	}
}

func TestWhatIsLeftOutIsTold(t *testing.T) {
	long := strings.Repeat("x", maxLine)
	events := strings.Join([]string{
		entryLine, "", `{"id":`, `[1]`, `{"id":"3","vehicle_plate":"A"}`, `{"id":"4","vehicle_plate":"A","entry_date_time":"yesterday"}`,
		`{"id":"5","vehicle_plate":"A","entry_date_time":"2026-03-02T08:00:00Z","exit_date_time":"2026-03-02T09:00:00Z"}`, long, `{"id":"6","vehicle_plate":"","entry_date_time":"2026-03-02T08:00:00Z"}`, exitLine,
	}, "\n")
	truth := strings.Join([]string{
		truthLine, `{"event_id":"1","vehicle":7,"visit":71}`, `{"vehicle":7,"visit":71}`, `{"event_id":{},"vehicle":7}`, `nonsense`, `[]`, `{"event_id":"9","vehicle":7,"visit":72}`,
	}, "\n")
	d, files, err := Read(strings.NewReader(events), strings.NewReader(truth))
	if err != nil || len(d.Events) != 2 {
		t.Fatal(err)
	}
	want := &Files{
		Events: Faults{7, []Fault{
			{3, `the event is not JSON`},
			{4, `the event is a JSON array`},
			{5, `entry_date_time is missing`},
			{6, `entry_date_time "yesterday"`},
			{7, `it has an entry_date_time and an exit_date_time`},
			{8, `it has more than 1048576 bytes: want one JSON object a line`},
			{9, `vehicle_plate is missing`},
		}},
		Truth: Faults{5, []Fault{
			{2, `event "1" is of another visit in line 1, which counts`},
			{3, `event_id is missing`},
			{4, `event_id: want text or a number`},
			{5, `it is not JSON`},
			{6, `want a JSON object`},
		}},
		Unknown: 1, Missing: 1,
	}
	begins := cmp.Comparer(func(a, b Fault) bool {
		return a.Line == b.Line && (strings.HasPrefix(a.Reason, b.Reason) || strings.HasPrefix(b.Reason, a.Reason))
	})
	if diff := cmp.Diff(want, files, begins); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestFilesThatCannotBeUsed(t *testing.T) {
	broken := errors.New("the disk is broken")
	for _, tt := range []struct {
		name          string
		events, truth io.Reader
		want          string
	}{
		{"no event", strings.NewReader("\n\n"), strings.NewReader(truthLine), "there is no event: the file is empty"},
		{"only faults", strings.NewReader("\nhello"), strings.NewReader(truthLine), "there is no event: line 2: the event is not JSON"},
		{"no truth", strings.NewReader(entryLine), strings.NewReader(entryLine), "there is no truth: line 1: event_id is missing"},
		{"a broken disk", io.MultiReader(strings.NewReader(entryLine+"\n"), iotest.ErrReader(broken)), strings.NewReader(truthLine), "read events: line 2: the disk is broken"},
		{"the other one", strings.NewReader(entryLine), iotest.ErrReader(broken), "read the truth: line 1: the disk is broken"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, _, err := Read(tt.events, tt.truth); err == nil || !strings.HasPrefix(err.Error(), tt.want) {
				t.Errorf("%v, want %s", err, tt.want)
			}
		})
	}
}

// endless is a line that never ends, up to a length.
type endless struct{ left int }

func (e *endless) Read(p []byte) (int, error) {
	if e.left <= 0 {
		return 0, io.EOF
	}
	n := min(len(p), e.left)
	for i := range n {
		p[i] = 'x'
	}
	e.left -= n
	return n, nil
}

// A line without an end, and faults without number, need no memory.
func TestReadingIsBounded(t *testing.T) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	faults := new(Faults)
	err := lines(&endless{64 << 20}, faults, func(int, []byte) { t.Error("a line") })
	runtime.ReadMemStats(&after)
	if used := after.TotalAlloc - before.TotalAlloc; err != nil || faults.Count != 1 || used > 16<<20 {
		t.Errorf("%v, %d faults, %d MiB", err, faults.Count, used>>20)
	}
	for i := range 10 * mostFaults {
		faults.add(i, "no")
	}
	if len(faults.First) != mostFaults || faults.Count != 1+10*mostFaults {
		t.Errorf("%d faults are told of %d", len(faults.First), faults.Count)
	}
}

// What a scenario writes is read as the same.
func TestWrittenScenariosAreReadAgain(t *testing.T) {
	s, err := Scenario("harsh+lists+looks", 3, 30, 3)
	if err != nil {
		t.Fatal(err)
	}
	s.NoPlate = 0.05
	for i := range s.Cameras {
		s.Cameras[i].Format = "axis" // several versions of an event
	}
	d, err := Simulate(s)
	if err != nil {
		t.Fatal(err)
	}
	var events, truth bytes.Buffer
	if err := d.Write(&events, &truth); err != nil {
		t.Fatal(err)
	}
	read, files, err := Read(&events, &truth)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(&Files{}, files); diff != "" {
		t.Errorf("told (-want +got):\n%s", diff)
	}
	for i := range d.Events {
		d.Events[i].Details.Vehicle = ""
	}
	if diff := cmp.Diff(d.Events, read.Events); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	w := Window{s.Start.Add(24 * time.Hour), s.Start.Add(48 * time.Hour)}
	want, got := d.Score(d.Stays(Fixed(parking.DefaultModel())), w, nil), read.Score(read.Stays(Fixed(parking.DefaultModel())), w, nil)
	if want.Exact.Issued < 50 || want.Exact != got.Exact || want.Near != got.Near || want.Undisputed != got.Undisputed {
		t.Errorf("%+v, written and read %+v", want, got)
	}
	// Visits that no camera saw leave are not in the files.
	if want.BothReads != got.BothReads {
		t.Errorf("%+v, written and read %+v", want.BothReads, got.BothReads)
	}
}

func TestAScenarioHasOneResult(t *testing.T) {
	score := func(seed uint64) *Counts {
		s, err := Scenario("base+lists", seed, 50, 4)
		if err != nil {
			t.Fatal(err)
		}
		d, err := Simulate(s)
		if err != nil {
			t.Fatal(err)
		}
		return d.Score(d.Stays(Fixed(parking.DefaultModel())), Window{}, nil)
	}
	first := score(1)
	if diff := cmp.Diff(first, score(1)); diff != "" {
		t.Errorf("the same scenario has another result:\n%s", diff)
	}
	if cmp.Equal(first, score(2)) {
		t.Error("another seed has the same result")
	}
	if first.Exact.Issued == 0 || first.Exact.Issued != first.Method[parking.Exact].Issued {
		t.Errorf("%+v", first)
	}
}

func TestUnknownScenario(t *testing.T) {
	if _, err := Scenario("base+polite", 1, 1, 1); err == nil || !strings.Contains(err.Error(), `"polite" is no scenario`) {
		t.Error(err)
	}
}

// What the truth alone knows changes which visits there are.
func TestVisitsOfTheTruth(t *testing.T) {
	entry := func(id, site string) string {
		return fmt.Sprintf(`{"id":%q,"site":%q,"vehicle_plate":"A","entry_date_time":"2026-03-02T08:0%s:00Z"}`+"\n", id, site, id)
	}
	for _, tt := range []struct {
		name, events, truth string
		visits, ended       int
	}{
		{"two reads of no visit", entry("1", "n") + entry("2", "n") + entry("3", "n"), `{"event_id":"1","vehicle":1}` + "\n" + `{"event_id":"2","vehicle":1}` + "\n" + `{"event_id":"3","vehicle":1,"visit":1}`, 3, 0},
		{"visits numbered by site", entry("1", "n") + entry("2", "s"), `{"event_id":"1","vehicle":1,"visit":1}` + "\n" + `{"event_id":"2","vehicle":1,"visit":1}`, 2, 1},
		{"a lost read", entry("1", "n"), `{"event_id":"1","vehicle":1,"visit":1}` + "\n" + `{"event_id":"2","vehicle":1,"visit":1}`, 1, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d, _, err := Read(strings.NewReader(tt.events), strings.NewReader(tt.truth))
			if err != nil {
				t.Fatal(err)
			}
			if all := d.Score(nil, Window{}, nil).All; len(d.visits) != tt.visits || all.Visits != tt.ended {
				t.Errorf("%d visits, want %d; %d ended, want %d", len(d.visits), tt.visits, all.Visits, tt.ended)
			}
		})
	}
}

// An id that events of several sites have names none of them.
func TestAnIDOfSeveralSites(t *testing.T) {
	event := func(site string) string {
		return `{"id":"a","site":"` + site + `","vehicle_plate":"KA01AB1234","entry_date_time":"2026-03-02T08:00:00Z"}` + "\n"
	}
	told, untold := `{"event_id":"a","site":"n","vehicle":1,"visit":1}`+"\n", `{"event_id":"a","vehicle":2,"visit":1}`
	for _, tt := range []struct{ events, truth, want string }{
		{event("n") + event("s"), told + untold, `read the truth: line 2: events of several sites have the id "a": tell their site in each line of the truth`},
		{event("n") + event("n"), told + untold, ""},
		{event("n") + event("s"), told + told, ""},
	} {
		if _, _, err := Read(strings.NewReader(tt.events), strings.NewReader(tt.truth)); err == nil && tt.want != "" || err != nil && err.Error() != tt.want {
			t.Errorf("%v, want %q", err, tt.want)
		}
	}
}

// A file in a form that cannot be read is told by its name, not by its bytes.
func TestForeignFiles(t *testing.T) {
	event := `{"id":"a","vehicle_plate":"KA01AB1234","entry_date_time":"2026-03-02T08:00:00Z"}`
	for begins, want := range map[string]string{
		"\x1f\x8b\x08": "it is compressed by gzip: want text in UTF-8, one JSON object a line", "\x28\xb5\x2f\xfd\x04": "by zstd", "\xfd7zXZ\x00": "by xz",
		"BZh9": "by bzip2", "PK\x03\x04": "a zip file", "\xff\xfe{\x00": "in UTF-16", "\xfe\xff\x00{": "in UTF-16",
	} {
		for _, files := range [][2]string{{begins, ""}, {event, begins}} {
			if _, _, err := Read(strings.NewReader(files[0]), strings.NewReader(files[1])); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%q: %v, want %q", files, err, want)
			}
		}
	}
}
