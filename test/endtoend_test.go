package test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"parkstream/shared/eventually"
	"parkstream/shared/parking"
)

// The way of a newcomer: start everything, send events by hand, by a plain AMQP
// client and by the generators, make mistakes, stop, start again.
func TestEndToEnd(t *testing.T) {
	t.Parallel() // with the other tests that mostly wait
	dir := t.TempDir()
	s := startSystem(t, dir)
	arrival := time.Now().UTC().Add(-2 * time.Hour).Truncate(time.Second)

	t.Run("by hand over HTTP", func(t *testing.T) {
		status, body := s.call(t, "POST", "/function/entry-processor", eventJSON("http-e", "KA01AB1234", "entry", arrival))
		if status != 200 || strings.TrimSpace(body) != `{"id":"http-e","outcome":"done","stays":[]}` {
			t.Errorf("entry: %d %s", status, body)
		}
		status, body = s.call(t, "POST", "/function/exit-processor", eventJSON("http-x", "ka-01 ab 1234", "exit", arrival.Add(5410*time.Second)))
		if status != 200 || !strings.Contains(body, `"outcome":"done"`) || !strings.Contains(body, `"duration_seconds":5410`) {
			t.Errorf("exit: %d %s", status, body)
		}
		s.wantStay(t, "KA01AB1234", "http-e", "http-x", 5410)
	})

	t.Run("README's pair, again and again", func(t *testing.T) {
		script := commands(read(t, "README.md"), "By hand over HTTP")
		script = strings.NewReplacer("http://127.0.0.1:8080", s.gateway, "KA01AB1234", "README1").Replace(script)
		for range 3 {
			s.completesAStay(t, script)
		}
	})

	t.Run("the pair that the start prints, again and again", func(t *testing.T) {
		script := commands(s.output.String(), "Try it:")
		for range 2 {
			s.completesAStay(t, script)
		}
	})

	t.Run("by a plain AMQP client", func(t *testing.T) {
		ch := s.dial(t)
		publish(t, ch, "vehicle_exits", []byte(eventJSON("amqp-x", "MH12DE1433", "exit", arrival.Add(90*time.Second))))
		publish(t, ch, "vehicle_entries", []byte(eventJSON("amqp-e", "MH12DE1433", "entry", arrival)))
		s.wantStay(t, "MH12DE1433", "amqp-e", "amqp-x", 90)
	})

	t.Run("bad input", func(t *testing.T) { s.badInput(t, arrival) })

	t.Run("faas-cli invoke", func(t *testing.T) { s.invokes(t) })

	t.Run("cron fires the generators", func(t *testing.T) {
		before := len(s.stays(t, url.Values{"limit": {"1000"}}))
		eventually.SucceedsWithin(t, 3*time.Minute, "cron makes stays", func() error {
			if after := len(s.stays(t, url.Values{"limit": {"1000"}})); after <= before {
				return fmt.Errorf("there are %d stays, as many as before", after)
			}
			return nil
		})
	})

	t.Run("ten thousand vehicles", func(t *testing.T) {
		var before, after struct {
			VehiclesInside int `json:"vehicles_inside"`
		}
		status, body := s.call(t, "POST", "/function/entry-generator?count=10000&site=big", "")
		if status != 200 || strings.TrimSpace(body) != `{"published":10000}` {
			t.Fatalf("%d %s", status, body)
		}
		ch := s.dial(t)
		eventually.Succeeds(t, "all vehicles are inside", func() error {
			s.get(t, "/function/summary/sites/big", &after)
			if got := after.VehiclesInside - before.VehiclesInside; got != 10_000 {
				return fmt.Errorf("%d vehicles are inside", got)
			}
			return nil
		})
		eventually.Succeeds(t, "the queue is empty", func() error {
			if n := depth(t, ch, "vehicle_entries"); n != 0 {
				return fmt.Errorf("%d messages wait in the queue", n)
			}
			return nil
		})
	})

	t.Run("send a file", func(t *testing.T) { s.sendFile(t, arrival) })

	t.Run("one up in a folder", func(t *testing.T) {
		out, err := s.run("up", "--dir", s.dir, "--port", "0")
		if err == nil || !strings.Contains(out, "runs already in "+s.dir) {
			t.Errorf("%v: %s", err, out)
		}
		if out, err := s.run("down", "--dir", t.TempDir()); err != nil || !strings.Contains(out, "nothing runs in") {
			t.Errorf("down of nothing: %v: %s", err, out)
		}
	})

	t.Run("killed nodes are started again", func(t *testing.T) {
		ch := s.dial(t)
		if err := ch.Confirm(false); err != nil {
			t.Fatal(err)
		}
		confirms := ch.NotifyPublish(make(chan amqp.Confirmation, 1))
		publish(t, ch, "vehicle_entries", []byte(eventJSON("killed-e", "KILLED1", "entry", arrival)))
		if c := <-confirms; !c.Ack {
			t.Fatal("the broker refused the entry")
		}
		for name, pid := range map[string]int{"Redis": s.redisPID(t), "RabbitMQ": s.rabbitMQPID(t)} {
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
				t.Fatalf("kill %s: %v", name, err)
			}
		}
		eventually.Succeeds(t, "the exit is recorded", func() error {
			status, body := s.call(t, "POST", "/function/exit-processor", eventJSON("killed-x", "KILLED1", "exit", arrival.Add(time.Minute)))
			if status != 200 {
				return fmt.Errorf("%d %s", status, body)
			}
			return nil
		})
		// The entry may have waited at RabbitMQ, which takes longer to come back.
		eventually.Succeeds(t, "the stay is completed", func() error {
			if stays := s.stays(t, url.Values{"plate": {"KILLED1"}}); len(stays) != 1 || stays[0].EntryID != "killed-e" {
				return fmt.Errorf("the summary has %+v", stays)
			}
			return nil
		})
		eventually.Succeeds(t, "the generator publishes", func() error {
			status, body := s.call(t, "POST", "/function/entry-generator?count=10&site=again", "")
			if status != 200 {
				return fmt.Errorf("%d %s", status, body)
			}
			return nil
		})
		eventually.Succeeds(t, "the vehicles are inside", func() error {
			var site struct {
				VehiclesInside int `json:"vehicles_inside"`
			}
			if s.get(t, "/function/summary/sites/again", &site); site.VehiclesInside < 10 {
				return fmt.Errorf("%d vehicles are inside", site.VehiclesInside)
			}
			return nil
		})
	})

	t.Run("a second start finds the data again", func(t *testing.T) {
		if out, err := s.run("down", "--dir", s.dir); err != nil {
			t.Fatalf("down: %v: %s", err, out)
		}
		s.stop(t)
		again, tokens := startClosed(t, nil, dir)
		again.wantStay(t, "KA01AB1234", "http-e", "http-x", 5410)
		again.wantStay(t, "MH12DE1433", "amqp-e", "amqp-x", 90)
		again.closed(t, tokens)
	})
}

// closed tries what needs a login when everything does: the commands of the README and of
// the start, a user of one site, the generators, and the ways that need none.
func (s *system) closed(t *testing.T, tokens map[string]string) {
	t.Helper()
	at := time.Now().UTC().Add(-time.Hour).Truncate(time.Second)
	login := func(script string) string {
		return strings.NewReplacer("-u NAME ", "", "curl ", "curl -H 'Authorization: Bearer "+tokens["operator"]+"' ", "http://127.0.0.1:8080", s.gateway, "KA01AB1234", "README2").Replace(script)
	}
	s.completesAStay(t, login(commands(read(t, "README.md"), "By hand over HTTP")))
	s.completesAStay(t, login(commands(s.output.String(), "Try it")))

	event := func(id, site, kind string) string {
		return strings.Replace(eventJSON(id, "CLOSED"+site, kind, at), "{", `{"site":"`+site+`",`, 1)
	}
	for _, tt := range []struct {
		who, method, path, body string
		status                  int
		answer                  string
	}{
		{"", "GET", "summary", "", 401, "login"},
		{"", "GET", "summary/", "", 200, "<!doctype html>"}, // with the form for a login
		{"", "GET", "summary?format=csv", "", 401, "login"},
		{"", "GET", "summary/inside", "", 401, "login"},
		{"", "GET", "entry-processor/metrics", "", 401, "login"},
		{"", "GET", "summary/_/ready", "", 200, `"ready":true`},
		{"", "POST", "exit-processor", event("forged", "north", "exit"), 401, "login"},
		{"", "POST", "entry-generator?count=100000", "", 401, "login"},
		{"viewer", "POST", "entry-generator?count=10", "", 403, "viewer"},
		{"operator", "POST", "entry-generator?count=10&site=closed", "", 200, `{"published":10}`},
		{"gate", "POST", "entry-processor", event("closed-n", "north", "entry"), 200, `"done"`},
		{"gate", "POST", "entry-processor", event("closed-s", "south", "entry"), 403, ""},
		{"operator", "POST", "entry-processor", event("closed-s", "south", "entry"), 200, `"done"`},
		{"gate", "GET", "summary/sites/north", "", 403, ""},
		{"north", "GET", "summary/sites", "", 200, `{"sites":["north"]}`},
		{"north", "GET", "summary/sites/north", "", 200, `"vehicles_inside":1`},
		{"north", "GET", "summary/sites/south", "", 403, ""},
		{"north", "GET", "summary/sites/unknown", "", 403, ""},
		{"north", "GET", "summary?plate=README2", "", 200, `"stays":[]`},
		{"viewer", "GET", "summary?plate=README2", "", 403, ""},
		{"operator", "DELETE", "summary/plates?plate=README2", "", 403, ""},
		{"admin", "DELETE", "summary/plates?plate=README2", "", 200, `"stays":1`},
	} {
		status, body := s.callAs(t, tokens[tt.who], tt.method, "/function/"+tt.path, tt.body)
		if status != tt.status || !strings.Contains(body, tt.answer) {
			t.Errorf("%s %s by %q: %d %.300s, want %d with %s", tt.method, tt.path, tt.who, status, body, tt.status, tt.answer)
		}
	}
	if _, body := s.callAs(t, tokens["viewer"], "GET", "/function/summary?limit=1000", ""); strings.Contains(body, "12DE1") || !strings.Contains(body, "433") {
		t.Errorf("a viewer's list: %.300s", body)
	}
	if out, err := s.run("top", "--once", "--gateway", s.gateway); err == nil || !strings.Contains(out, "--token-file") {
		t.Errorf("top without a login: %v: %s", err, out)
	}
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(tokens["viewer"]+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := s.run("top", "--once", "--gateway", s.gateway, "--token-file", file); err != nil || !strings.Contains(out, "vehicle_entries") {
		t.Errorf("top: %v: %s", err, out)
	}
	// The connector and cron are let in.
	ch := s.dial(t)
	publish(t, ch, "vehicle_exits", []byte(event("closed-x", "north", "exit")))
	eventually.Succeeds(t, "the exit is recorded", func() error {
		var site struct {
			Totals struct{ Exits int }
		}
		if s.get(t, "/function/summary/sites/north", &site); site.Totals.Exits != 1 {
			return fmt.Errorf("%d exits", site.Totals.Exits)
		}
		return nil
	})
	// The file is in use where it is: a user that is removed has no login from then on.
	if out, err := s.run("users", "remove", "north", "--file", s.users); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if status, body := s.callAs(t, tokens["north"], "GET", "/function/summary/sites", ""); status != 401 {
		t.Errorf("a user that was removed: %d %s", status, body)
	}
	for _, log := range s.logs() {
		text, err := os.ReadFile(log)
		if err != nil {
			t.Fatal(err)
		}
		for name, token := range tokens {
			if strings.Contains(string(text), token) {
				t.Errorf("%s has the token of %s", filepath.Base(log), name)
			}
		}
	}
}

// commands returns the indented lines that follow a line of a text with a heading in it.
func commands(text, heading string) string {
	_, after, _ := strings.Cut(text, heading)
	var lines []string
	for line := range strings.Lines(after) {
		switch {
		case strings.HasPrefix(line, "  "):
			lines = append(lines, strings.TrimSpace(line))
		case len(lines) > 0 && strings.TrimSpace(line) != "":
			return strings.Join(lines, "\n")
		}
	}
	return strings.Join(lines, "\n")
}

// completesAStay has a shell send an entry and an exit and ask for the stay.
func (s *system) completesAStay(t *testing.T, script string) {
	t.Helper()
	if strings.Count(script, "curl ") != 3 {
		t.Fatalf("the commands are %q", script)
	}
	shell := exec.CommandContext(t.Context(), "sh", "-c", strings.ReplaceAll(script, "curl ", "curl -s "))
	out, err := shell.Output()
	if err != nil || strings.Count(string(out), `"outcome":"done"`) != 2 {
		t.Fatalf("the events: %v: %s", err, out)
	}
	_, listed, _ := strings.Cut(string(out), `{"stays":`)
	if strings.Contains(listed, `"status":"unmatched_exit"`) || strings.Contains(listed, `"duration_seconds":0`) || !strings.Contains(listed, `"status":"completed"`) {
		t.Errorf("the stays: %s", out)
	}
}

// run runs another command of the program.
func (s *system) run(args ...string) (output string, err error) {
	cmd := exec.Command(s.program, args...)
	cmd.Dir = repository
	text, err := cmd.CombinedOutput()
	return string(text), err
}

// sendFile publishes recorded events, of which some lines are none.
func (s *system) sendFile(t *testing.T, arrival time.Time) {
	const vehicles = 2500
	var jsonl strings.Builder
	for i := range vehicles {
		plate := fmt.Sprint("FILE", i)
		fmt.Fprintln(&jsonl, eventJSON("file-e"+plate, plate, "entry", arrival))
		fmt.Fprintln(&jsonl, eventJSON("file-x"+plate, plate, "exit", arrival.Add(time.Minute)))
	}
	good, bad := filepath.Join(t.TempDir(), "good.jsonl"), filepath.Join(t.TempDir(), "bad.csv")
	rows := "id,vehicle_plate,entry_date_time,exit_date_time\nlast,FILE0,,yesterday\nfile-last,FILE0,," + arrival.Add(time.Hour).Format(time.RFC3339) + "\n"
	if err := errors.Join(os.WriteFile(good, []byte(jsonl.String()), 0o600), os.WriteFile(bad, []byte(rows), 0o600)); err != nil {
		t.Fatal(err)
	}
	secret := filepath.Join(s.dir, "secrets", "rabbitmq-url")
	if out, err := s.run("send", good, "--rabbitmq-url-file", secret); err != nil || !strings.Contains(out, "5000 events confirmed in") {
		t.Errorf("%v: %s", err, out)
	}
	out, err := s.run("send", bad, "--rabbitmq-url-file", secret)
	if err == nil || !strings.Contains(out, `line 2: exit_date_time "yesterday" is no RFC 3339 time`) || !strings.Contains(out, "of 2 records 1 are confirmed and 1 are refused") {
		t.Errorf("%v: %s", err, out)
	}
	eventually.Succeeds(t, "the stays of the file are completed", func() error {
		var site struct {
			Totals struct {
				Completed int64 `json:"completed_stays"`
			}
		}
		if s.get(t, "/function/summary/sites/default", &site); site.Totals.Completed < vehicles {
			return fmt.Errorf("%d stays are completed", site.Totals.Completed)
		}
		return nil
	})
	eventually.Succeeds(t, "the list has the last stay", func() error {
		if stays := s.stays(t, url.Values{"plate": {"FILE0"}}); len(stays) != 2 || stays[0].ID != "file-last" || stays[1].ID != "file-xFILE0" {
			return fmt.Errorf("the summary has %+v", stays)
		}
		return nil
	})
}

// replays lists the dead letters and replays those with a zero time, which are rejected
// again.
func (s *system) replays(t *testing.T, dead int) {
	t.Helper()
	replay := func(want string, args ...string) {
		t.Helper()
		args = append([]string{"replay"}, append(args, "--queue", "vehicle_exits", "--rabbitmq-url-file", filepath.Join(s.dir, "secrets", "rabbitmq-url"))...)
		eventually.Succeeds(t, "replay prints what it should", func() error {
			if out, err := s.run(args...); err != nil || !strings.Contains(out, want) {
				return errors.Join(err, fmt.Errorf("%q prints\n%s\nwant %s", args, out, want))
			}
			return nil
		})
	}
	replay(fmt.Sprintf("%d of %d dead letters", dead, dead), "list")
	replay(`"reason":"exit_date_time is missing or is the zero time"`, "list", "--json")
	replay("zero time", "show", "--limit", "0")
	replay(fmt.Sprintf("would put 2 of %d dead letters back", dead), "run", "--reason", "zero time")
	replay("2 dead letters are back in vehicle_exits", "run", "--reason", "zero time", "--yes")
	replay(fmt.Sprintf("%d of %d dead letters", dead, dead), "list")
}

func eventJSON(id, plate, kind string, at time.Time) string {
	return fmt.Sprintf(`{"id":%q,"vehicle_plate":%q,"%s_date_time":%q}`, id, plate, kind, at.Format(time.RFC3339Nano))
}

func (s *system) wantStay(t *testing.T, plate, entryID, exitID string, seconds int) {
	t.Helper()
	eventually.Succeeds(t, "the list has the stay", func() error {
		stays := s.stays(t, url.Values{"plate": {plate}})
		if len(stays) != 1 || stays[0].EntryID != entryID || stays[0].ID != exitID || stays[0].Plate != plate {
			return fmt.Errorf("the summary has %+v", stays)
		}
		if d, _ := stays[0].Duration(); d != time.Duration(seconds)*time.Second {
			return fmt.Errorf("the stay lasted %s, want %d s", d, seconds)
		}
		return nil
	})
}

// badInput sends bad events. By HTTP each gets a clear error; by queue each becomes a
// dead letter with its reason, and the events behind it are not delayed.
func (s *system) badInput(t *testing.T, arrival time.Time) {
	now := time.Now()
	cases := map[string]struct{ body, reason string }{
		"not JSON":      {`plate=KA01`, "not JSON"},
		"no plate":      {`{"id":"b1","exit_date_time":"` + now.Format(time.RFC3339) + `"}`, "vehicle_plate is missing"},
		"no time":       {`{"id":"b2","vehicle_plate":"KA01"}`, "exit_date_time is missing"},
		"year 1":        {`{"id":"b3","vehicle_plate":"KA01","exit_date_time":"0001-01-01T00:00:00Z"}`, "zero time"},
		"in an hour":    {eventJSON("b4", "KA01", "exit", now.Add(time.Hour)), "in the future"},
		"2 MB":          {`{"id":"b5","vehicle_plate":"` + strings.Repeat("A", 2<<20) + `"}`, "2097"},
		"invalid UTF-8": {"{\"id\":\"b6\",\"vehicle_plate\":\"\xff\xfe\"}", "UTF-8"},
		"a long plate":  {eventJSON("b7", strings.Repeat("A", 10_000), "exit", now), "10000 characters"},
	}
	for name, c := range cases {
		status, body := s.call(t, http.MethodPost, "/function/exit-processor", c.body)
		if name == "2 MB" { // of which not more is read than one event may have
			if status != http.StatusRequestEntityTooLarge || !strings.Contains(body, "65536 bytes") {
				t.Errorf("%s: %d %.300s, want 413", name, status, body)
			}
			continue
		}
		if status != http.StatusBadRequest || !strings.Contains(body, `"outcome":"reject"`) || !strings.Contains(body, c.reason) {
			t.Errorf("%s: %d %.300s, want 400 with %q", name, status, body, c.reason)
		}
	}
	if status, _ := s.call(t, http.MethodGet, "/function/exit-processor", ""); status != http.StatusMethodNotAllowed {
		t.Errorf("GET exit-processor: %d, want 405", status)
	}

	ch := s.dial(t)
	for _, c := range cases {
		publish(t, ch, "vehicle_exits", []byte(c.body))
	}
	publish(t, ch, "vehicle_exits", []byte(eventJSON("good", "GOOD1", "exit", arrival)))
	eventually.Succeeds(t, "the good exit is in the list", func() error {
		if stays := s.stays(t, url.Values{"plate": {"GOOD1"}}); len(stays) != 1 || stays[0].Status() != parking.UnmatchedExit {
			return fmt.Errorf("the good exit among the bad ones: %+v", stays)
		}
		return nil
	})
	s.replays(t, len(cases))
	reasons := make(map[string]string)
	eventually.Succeeds(t, "every bad event is a dead letter", func() error {
		for {
			d, ok, err := ch.Get("vehicle_exits.dead", true)
			if err != nil {
				t.Fatal(err)
			}
			if !ok {
				break
			}
			reasons[string(d.Body)], _ = d.Headers["x-parkstream-reason"].(string)
		}
		if len(reasons) < len(cases) {
			return fmt.Errorf("%d dead letters, want %d", len(reasons), len(cases))
		}
		return nil
	})
	for name, c := range cases {
		if reason := reasons[c.body]; !strings.Contains(reason, c.reason) {
			t.Errorf("%s: the dead letter says %q, want %q", name, reason, c.reason)
		}
	}
	if n := depth(t, ch, "vehicle_exits"); n != 0 {
		t.Errorf("%d messages are left in the queue", n)
	}
}

// invokes sends what `faas-cli invoke --content-type application/json` does, to the name with
// its namespace: each function does something with it or answers what to do instead. Without
// the flag the type is text/plain, which a page of another site can send, too.
func (s *system) invokes(t *testing.T) {
	left := time.Now().UTC().Truncate(time.Second)
	entry := `{"id":"invoke-e","vehicle_plate":"INVOKE1","entry_date_time":"` + left.Add(-time.Hour).Format(time.RFC3339) + `"}`
	exit := `{"id":"invoke-x","vehicle_plate":"INVOKE1","exit_date_time":"` + left.Format(time.RFC3339) + `"}`
	for _, tt := range []struct {
		method, function, query, body string
		status                        int
		answer                        string
	}{
		{"POST", "entry-processor", "", "", 400, `"entry_date_time\":`},
		{"POST", "entry-processor", "", "hello", 400, `"entry_date_time\":`},
		{"POST", "entry-processor", "", `{"count":2}`, 400, `"entry_date_time\":`},
		{"POST", "entry-processor", "", entry, 415, "application/json"},
		{"POST", "entry-processor", "", entry, 200, `"outcome":"done"`},
		{"GET", "entry-processor", "", "", 405, "use POST"},
		{"POST", "exit-processor", "", "", 400, `"exit_date_time\":`},
		{"POST", "exit-processor", "", "hello", 400, `"exit_date_time\":`},
		{"POST", "exit-processor", "", `{"count":2}`, 400, `"exit_date_time\":`},
		{"POST", "exit-processor", "", exit, 200, `"duration_seconds":3600`},
		{"GET", "exit-processor", "", "", 405, "use POST"},
		{"POST", "entry-generator", "?count=10", "", 200, `{"published":10}`},
		{"POST", "entry-generator", "?count=2", "", 415, "application/json"},
		{"POST", "entry-generator", "?count=2&site=invoke", "", 200, `{"published":2}`},
		{"POST", "entry-generator", "", "hello", 400, `{\"count\":10}`},
		{"POST", "entry-generator", "", `{"count":3,"site":"invoke"}`, 200, `{"published":3}`},
		{"POST", "entry-generator", "", strings.Repeat(" ", 9<<10), 413, "larger than"},
		{"GET", "entry-generator", "", "", 405, "use POST"},
		{"POST", "exit-generator", "?count=10", "", 200, `{"published":10,`},
		{"POST", "exit-generator", "", "hello", 400, `{\"count\":10}`},
		{"POST", "exit-generator", "", `{"count":5,"above":0,"site":"invoke"}`, 200, `{"published":5,"matched":5}`},
		{"GET", "exit-generator", "", "", 405, "use POST"},
		{"POST", "summary", "", "", 401, "login"},
		{"POST", "summary", "", "hello", 401, "login"},
		{"POST", "summary", "", "{}", 401, "login"},
		{"GET", "summary", "?plate=INVOKE1", "", 200, `"entry_id":"invoke-e"`},
	} {
		r, err := http.NewRequestWithContext(t.Context(), tt.method, s.gateway+"/function/"+tt.function+".openfaas-fn"+tt.query, strings.NewReader(tt.body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/json")
		if tt.status == http.StatusUnsupportedMediaType {
			r.Header.Set("Content-Type", "text/plain")
		}
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil || resp.StatusCode != tt.status || !strings.Contains(string(text), tt.answer) {
			t.Errorf("%s %s%s %.40q: %d %s %v, want %d with %s", tt.method, tt.function, tt.query, tt.body, resp.StatusCode, text, err, tt.status, tt.answer)
		}
	}
}
