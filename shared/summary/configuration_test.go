package summary

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"parkstream/shared/site"
)

// reply is the answer to a change.
type reply struct {
	Version  string         `json:"version"`
	Changes  []string       `json:"changes"`
	Error    string         `json:"error"`
	Mistakes []site.Mistake `json:"mistakes"`
}

func (g *guarded) configure(t *testing.T, who, method, path, body string, code int) reply {
	t.Helper()
	w := g.as(who, method, path, body)
	var answer reply
	if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil || w.Code != code {
		t.Errorf("%s %s %s as %s: %d %s, want %d", method, path, body, who, w.Code, w.Body, code)
	}
	return answer
}

// A change shows first what it would change, is made if the configuration is still that
// one, and is in the audit, without a token.
func TestConfigure(t *testing.T) {
	g := newGuarded(t)
	const body = `{"sites":[{"id":"north","name":"N\u00f6rd \ud83d\ude97","zone":"Europe/Berlin","capacity":7,"gates":[{"id":"g"}],
		"cameras":[{"id":"c","gate":"g","role":"entry","token":"secret-of-the-camera"}]},{"id":"south"}]}`
	want := []string{
		`+ site north: name "Nörd 🚗", zone Europe/Berlin, capacity 7`, "~ site north: + gate g",
		"~ site north: + camera c: role entry, gate g, format auto, zone Europe/Berlin", "+ site south: zone UTC",
	}
	want[0] = strings.ReplaceAll(want[0], `\U0001f697`, "\U0001f697")
	dry := g.configure(t, admin, "PUT", "/configuration?dry_run=1", body, 200)
	if diff := cmp.Diff(want, dry.Changes); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if w := g.as(viewer, "GET", "/configuration", ""); !strings.Contains(w.Body.String(), `"sites":[]`) {
		t.Errorf("a dry run has changed %s", w.Body)
	}
	done := g.configure(t, admin, "PUT", "/configuration?version="+dry.Version, body, 200)
	if diff := cmp.Diff(want, done.Changes); diff != "" || done.Version == dry.Version {
		t.Errorf("version %s and before %s (-want +got):\n%s", done.Version, dry.Version, diff)
	}
	g.configure(t, admin, "PUT", "/configuration?version="+dry.Version, body, 409)
	if again := g.configure(t, admin, "PUT", "/configuration", body, 200); len(again.Changes) != 0 || again.Changes == nil {
		t.Errorf("the same again changes %q", again.Changes)
	}

	state := g.as(viewer, "GET", "/sites/north", "").Body.String()
	for _, part := range []string{`"zone":"Europe/Berlin"`, `"capacity":7,"free":7`, `"config":{"id":"north","name":"Nörd 🚗"`, `"id":"c","gate":"g","role":"entry","format":"auto"`} {
		if !strings.Contains(state, part) {
			t.Errorf("the site lacks %s: %s", part, state)
		}
	}
	if w := g.as(viewer, "GET", "/sites/elsewhere", ""); !strings.Contains(w.Body.String(), `"config":null`) || !strings.Contains(w.Body.String(), `"zone":"UTC"`) {
		t.Errorf("a site without a configuration: %s", w.Body)
	}
	if w := g.as(viewer, "GET", "/sites", ""); w.Body.String() != `{"sites":["north","south"]}`+"\n" {
		t.Errorf("the sites are %s", w.Body)
	}
	for _, path := range []string{"/sites/north", "/configuration", "/overview", "/audit"} {
		if text := g.as(admin, "GET", path, "").Body.String(); strings.Contains(text, "secret-of-the-camera") || strings.Contains(text, "sha256:") {
			t.Errorf("%s has a token: %s", path, text)
		}
	}
	if strings.Contains(g.log.String(), "secret-of-the-camera") {
		t.Error("the log has a token")
	}
	if text := g.as(admin, "GET", "/audit?action=configure", "").Body.String(); strings.Count(text, `"outcome":"begun"`) != 3 || !strings.Contains(text, `"object":"north south"`) ||
		!strings.Contains(text, `"after":"+ site north: name`) || !strings.Contains(text, `"outcome":"failed"`) {
		t.Errorf("the audit has %s", text)
	}

	one := g.configure(t, admin, "PUT", "/sites/north", `{"zone":"Europe/Berlin","cameras":[{"id":"c","role":"exit"}]}`, 200)
	if diff := cmp.Diff([]string{`~ site north: name "Nörd 🚗" -> default, capacity 7 -> default`, "~ site north: - gate g", "~ site north: ~ camera c: role entry -> exit, gate g -> default"}, one.Changes); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if c, _, _ := g.registry.Camera(t.Context(), "c"); !c.Authentic("secret-of-the-camera") {
		t.Error("the camera has lost its token")
	}
	if pruned := g.configure(t, admin, "PUT", "/configuration?prune=1", `{"sites":[{"id":"south"}]}`, 200); !cmp.Equal(pruned.Changes, []string{"- site north with 1 camera"}) {
		t.Errorf("pruned are %q", pruned.Changes)
	}
	if removed := g.configure(t, admin, "DELETE", "/sites/south", "", 200); !cmp.Equal(removed.Changes, []string{"- site south with 0 cameras"}) {
		t.Errorf("removed are %q", removed.Changes)
	}
}

// A body with mistakes gets all of them, with their places, and changes nothing.
func TestConfigureWithMistakes(t *testing.T) {
	g := newGuarded(t)
	for body, want := range map[string]string{
		`{"sites":[{"id":"a","zone":"x"},{"id":"b","capacity":-1,"colour":"red"}]}`:          "sites[0].zone sites[1].capacity sites[1].colour",
		`{"sites":[{"id":"a","cameras":[{"id":"c","role":"exit"},{"id":"d","role":"up"}]}]}`: "sites[0].cameras[1].role",
		`{"sites":[{"id":"a","cameras":[{"id":"c","role":"exit"}]}]}`:                        "sites[0].cameras[0].token",
		`{"sites":[{"id":"a","name":{}}]}`:                                                   "sites[0].name",
		`{}`:                                                                                 "",
		`[]`:                                                                                 "",
		`"x"`:                                                                                "",
	} {
		answer := g.configure(t, admin, "PUT", "/configuration", body, 400)
		var paths []string
		for _, m := range answer.Mistakes {
			paths = append(paths, m.Path)
		}
		if strings.Join(paths, " ") != want || answer.Error == "" || len(answer.Mistakes) == 0 {
			t.Errorf("%s: %+v", body, answer)
		}
	}
	for _, body := range []string{"sites: []", "", "{", `{"sites":[],"sites":[]}`, "{\"sites\":[{\"id\":\"a\",\"name\":\"\xff\"}]}", `{"sites":[]} {}`} {
		if answer := g.configure(t, admin, "PUT", "/configuration", body, 400); len(answer.Mistakes) != 0 || !strings.Contains(answer.Error, "want JSON") {
			if body != "" {
				t.Errorf("%s: %+v", body, answer)
			}
		}
	}
	flood := g.configure(t, admin, "PUT", "/configuration", `{"sites":[{}`+strings.Repeat(",{}", 999)+`]}`, 400)
	if len(flood.Mistakes) != site.MaxMistakes || !strings.HasSuffix(flood.Error, "\nand 900 more") {
		t.Errorf("%d mistakes of a flood, %.80q", len(flood.Mistakes), flood.Error)
	}
	g.configure(t, admin, "PUT", "/sites/a", `{"id":"b"}`, 400)
	g.configure(t, admin, "PUT", "/sites/a%20b", `{}`, 400)
	g.configure(t, admin, "DELETE", "/sites/a%20b", "", 400)
	if w := g.as(viewer, "GET", "/configuration", ""); !strings.Contains(w.Body.String(), `"sites":[]`) {
		t.Errorf("changed is %s", w.Body)
	}
}

// The JSON of a file is longer than the file.
func TestConfigureManySites(t *testing.T) {
	g := newGuarded(t)
	var file strings.Builder
	file.WriteString("sites:\n")
	const many = 9000
	for i := range many {
		fmt.Fprintf(&file, "- id: site%d\n  zone: Europe/Berlin\n  cameras: [{id: camera%d, role: entry, token: 0123456789}]\n", i, i)
	}
	sites, err := site.Parse([]byte(file.String()))
	if err != nil || file.Len() > site.MaxFile {
		t.Fatal(file.Len(), err)
	}
	planned := g.configure(t, admin, "PUT", "/configuration?dry_run=1", string(site.Marshal(sites.Sites)), 200)
	if len(planned.Changes) != 2*many {
		t.Errorf("%d changes", len(planned.Changes))
	}
}

// Who sees one site reads and changes nothing of others, and does not learn which there
// are.
func TestConfigureOneSite(t *testing.T) {
	g := newGuarded(t)
	g.configure(t, admin, "PUT", "/configuration", `{"sites":[{"id":"north"},{"id":"south","cameras":[{"id":"s-cam","role":"exit","token":"a-token-of-south"}]}]}`, 200)
	north := admin + atNorth
	if w := g.as(north, "GET", "/configuration", ""); strings.Contains(w.Body.String(), "south") || !strings.Contains(w.Body.String(), `"id":"north"`) {
		t.Errorf("the configuration is %s", w.Body)
	}
	g.configure(t, north, "PUT", "/configuration", `{"sites":[{"id":"north"},{"id":"south"}]}`, 403)
	g.configure(t, north, "PUT", "/sites/south", `{}`, 403)
	g.configure(t, north, "DELETE", "/sites/south", "", 403)
	if taken := g.configure(t, north, "PUT", "/sites/north", `{"cameras":[{"id":"s-cam","role":"exit"}]}`, 400); !strings.Contains(taken.Error, "at another site already") || strings.Contains(taken.Error, "south") {
		t.Errorf("a camera of another site: %+v", taken)
	}
	if pruned := g.configure(t, north, "PUT", "/configuration?prune=1", `{"sites":[]}`, 200); !cmp.Equal(pruned.Changes, []string{"- site north with 0 cameras"}) {
		t.Errorf("pruned are %q", pruned.Changes)
	}
	for _, who := range []string{viewer, plates, operator, machine, open} {
		if w := g.as(who, "PUT", "/sites/north", `{}`); w.Code < 400 {
			t.Errorf("%s may configure", who)
		}
	}
}

// What cannot be recorded is not done.
func TestConfigureWithoutTheAudit(t *testing.T) {
	g := newGuarded(t)
	if err := g.client.Current().Set(t.Context(), "park:audit:{all}:configure", "no stream", 0).Err(); err != nil {
		t.Fatal(err)
	}
	g.configure(t, admin, "PUT", "/sites/north", `{}`, http.StatusServiceUnavailable)
	if sites, _, err := g.registry.Configuration(t.Context()); err != nil || len(sites) != 0 {
		t.Errorf("configured are %+v, %v", sites, err)
	}
}

// Today, sums and days of a site are those of its zone, in GET /stats and GET /sites as
// well.
func TestLocalDays(t *testing.T) {
	g := newGuarded(t)
	g.configure(t, admin, "PUT", "/configuration", `{"sites":[{"id":"east","zone":"Etc/GMT-14"},{"id":"west","zone":"Etc/GMT+12"}]}`, 200)
	exit := time.Date(today.Year(), today.Month(), today.Day(), 11, 0, 0, 0, time.UTC) // 01:00 of the next day in the east, 23:00 of the day before in the west
	put(t, g.stays, unmatched("e", "east", "P", exit), unmatched("w", "west", "P", exit), unmatched("u", "utc", "P", exit))
	for at, want := range map[time.Duration]string{-2 * time.Hour: "east 0 west 1", 0: "east 1 west 1", 2 * time.Hour: "east 1 west 0", 24 * time.Hour: "east 0 west 0"} {
		g.stays.Now = func() time.Time { return exit.Add(at) }
		got := ""
		for _, id := range []string{"east", "west"} {
			var state struct {
				StaysToday struct {
					UnmatchedExits int `json:"unmatched_exits"`
				} `json:"stays_today"`
			}
			if err := json.Unmarshal(g.as(viewer, "GET", "/sites/"+id, "").Body.Bytes(), &state); err != nil {
				t.Fatal(err)
			}
			got += fmt.Sprintf(" %s %d", id, state.StaysToday.UnmatchedExits)
		}
		if got[1:] != want {
			t.Errorf("%s after the exits today has%s, want %s", at, got, want)
		}
	}
	g.stays.Now = func() time.Time { return exit.Add(day) }
	var all struct {
		Zone string
		Days []struct{ Day string }
	}
	if err := json.Unmarshal(g.as(viewer, "GET", "/stats", "").Body.Bytes(), &all); err != nil {
		t.Fatal(err)
	}
	var days []string
	for _, d := range all.Days {
		days = append(days, d.Day)
	}
	want := []string{exit.AddDate(0, 0, -1).Format(time.DateOnly), exit.Format(time.DateOnly), exit.AddDate(0, 0, 1).Format(time.DateOnly)}
	if diff := cmp.Diff(want, days); diff != "" || all.Zone != "" {
		t.Errorf("zone %q, days (-want +got):\n%s", all.Zone, diff)
	}
}
