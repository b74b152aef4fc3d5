package summary

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"parkstream/shared/access"
	"parkstream/shared/monitor"
	"parkstream/shared/parking"
	"parkstream/shared/stay"
)

// The roles of the matrix. Of users there is one for all sites and one for the site
// north, whose name ends in @north.
const (
	stranger   = "stranger"
	wrongLogin = "wrong"
	viewer     = "viewer"
	plates     = "plates" // a viewer who reads them
	operator   = "operator"
	admin      = "admin"
	machine    = "machine"
	connector  = "connector"
	processors = "processors"
	open       = "open" // a stranger if ACCESS is open
)

var (
	users    = []string{viewer, plates, operator, admin, machine}
	everyone = []string{stranger, wrongLogin, viewer, plates, operator, admin, machine, connector, processors, open}
	readers  = []string{viewer, plates, operator, admin, open}
)

const atNorth = "@north"

// row is what is expected of a route.
type row struct {
	route string
	code  int      // of a response to those who may
	may   []string // the others get 401 or 403
	// own, other and none are requests about the site north, about south and about no
	// site; empty if there is none.
	own, other, none string
	body             string
	// all: only those with all sites may.
	all bool
}

// matrix has a row for each route. It is written by hand: docs/summary-api.md tells who
// may call what.
var matrix = []row{
	{route: "GET /", code: 200, may: readers, own: "/?site=north", other: "/?site=south", none: "/"},
	{route: "POST /", code: 201, may: []string{processors}, none: "/", body: "[]"},
	{route: "POST /search", code: 200, may: readers, none: "/search", body: "{}"},
	{route: "GET /page/{file...}", code: 200, may: everyone, none: "/page/page.js"},
	{route: "GET /api/{file}", code: 200, may: everyone, none: "/api/openapi.yaml"},
	{route: "POST /login", code: 400, may: everyone, none: "/login", body: "{}"},
	{route: "POST /logout", code: 204, may: everyone, none: "/logout"},
	{route: "GET /me", code: 200, may: slices.DeleteFunc(slices.Clone(everyone), func(who string) bool { return who == stranger || who == wrongLogin }), none: "/me"},
	{route: "GET /oidc/login", code: 404, may: everyone, none: "/oidc/login"},
	{route: "GET /oidc/callback", code: 404, may: everyone, none: "/oidc/callback"},
	{route: "GET /stats", code: 200, may: readers, own: "/stats?site=north", other: "/stats?site=south", none: "/stats"},
	{route: "GET /stays", code: 200, may: readers, own: "/stays?id=n1&site=north", other: "/stays?id=s1&site=south", none: "/stays?id=n1"},
	{route: "GET /stays/{id...}", code: 200, may: readers, own: "/stays/n1?site=north", other: "/stays/s1?site=south", none: "/stays/n1"},
	{route: "GET /system", code: 200, may: readers, none: "/system", all: true},
	{route: "GET /overview", code: 200, may: readers, none: "/overview"},
	{route: "GET /minutes", code: 200, may: readers, own: "/minutes?site=north", other: "/minutes?site=south", none: "/minutes"},
	{route: "GET /inside", code: 200, may: readers, none: "/inside"},
	{route: "GET /cameras", code: 200, may: readers, own: "/cameras?site=north", other: "/cameras?site=south", none: "/cameras"},
	{route: "GET /sites", code: 200, may: readers, none: "/sites"},
	{route: "GET /sites/{site}", code: 200, may: readers, own: "/sites/north", other: "/sites/south"},
	{route: "PUT /sites/{site}", code: 200, may: []string{admin}, own: "/sites/north", other: "/sites/south", body: `{"name":"N"}`},
	{route: "GET /configuration", code: 200, may: readers, none: "/configuration"},
	{route: "PUT /configuration", code: 200, may: []string{admin}, none: "/configuration", body: `{"sites":[]}`},
	{route: "DELETE /sites/{site}", code: 200, may: []string{admin}, own: "/sites/north", other: "/sites/south"},
	{route: "GET /sites/{site}/models", code: 200, may: []string{admin}, own: "/sites/north/models", other: "/sites/south/models"},
	{route: "POST /sites/{site}/models", code: 200, may: []string{admin}, own: "/sites/north/models", other: "/sites/south/models", body: `{"version":"default"}`},
	{route: "GET /sites/{site}/models/{version}", code: 200, may: []string{admin}, own: "/sites/north/models/default", other: "/sites/south/models/default"},
	{route: "PUT /sites/{site}/models/{version}", code: 400, may: []string{admin}, own: "/sites/north/models/m", other: "/sites/south/models/m", body: `{}`},
	{route: "DELETE /sites/{site}/models/{version}", code: 404, may: []string{admin}, own: "/sites/north/models/m", other: "/sites/south/models/m"},
	{route: "GET /sites/{site}/inside", code: 200, may: readers, own: "/sites/north/inside", other: "/sites/south/inside"},
	{route: "GET /sites/{site}/events", code: 200, may: readers, own: "/sites/north/events?id=n1", other: "/sites/south/events?id=s1"},
	{route: "GET /sites/{site}/events/{id...}", code: 200, may: readers, own: "/sites/north/events/n1", other: "/sites/south/events/s1"},
	{route: "GET /sites/{site}/no-plates", code: 200, may: readers, own: "/sites/north/no-plates", other: "/sites/south/no-plates"},
	{route: "GET /sites/{site}/occupancy", code: 200, may: readers, own: "/sites/north/occupancy", other: "/sites/south/occupancy"},
	{route: "POST /sites/{site}/occupancy", code: 201, may: []string{operator, admin}, own: "/sites/north/occupancy", other: "/sites/south/occupancy", body: `{"counted":1,"reason":"r"}`},
	{route: "GET /sites/{site}/review", code: 200, may: []string{plates, operator, admin, open}, own: "/sites/north/review", other: "/sites/south/review"},
	{route: "GET /sites/{site}/suggestions", code: 200, may: []string{plates, operator, admin, open}, own: "/sites/north/suggestions?id=n1", other: "/sites/south/suggestions?id=s1"},
	{route: "GET /sites/{site}/suggestions/{id...}", code: 200, may: []string{plates, operator, admin, open}, own: "/sites/north/suggestions/n1", other: "/sites/south/suggestions/s1"},
	{route: "POST /sites/{site}/decisions", code: 404, may: []string{operator, admin}, own: "/sites/north/decisions", other: "/sites/south/decisions", body: `{"id":"d1","decision":"plate","event_id":"none","plate":"P"}`},
	{route: "GET /images/{site}/{day}/{name...}", code: 200, may: []string{plates, operator, admin, open}, own: "/images/" + imageOf("north"), other: "/images/" + imageOf("south")},
	{route: "GET /audit", code: 200, may: []string{admin}, own: "/audit?site=north", other: "/audit?site=south", none: "/audit"},
	{route: "DELETE /plates", code: 200, may: []string{admin}, own: "/plates?plate=none&site=north", other: "/plates?plate=none&site=south", none: "/plates?plate=none"},
	{route: "DELETE /plates/{plate...}", code: 200, may: []string{admin}, own: "/plates/none?site=north", other: "/plates/none?site=south", none: "/plates/none"},
}

// guarded is a summary of two sites that is closed, and one that is open, on one Redis.
type guarded struct {
	*endpoint
	open http.Handler
}

func tokenOf(who string) string { return "token of " + who }

// newGuarded returns a summary with every role of the matrix.
func newGuarded(t *testing.T) *guarded {
	t.Helper()
	e := newEndpoint(t)
	e.images = newImages(t, "file://"+t.TempDir())
	var file strings.Builder
	for _, name := range users {
		role, more := name, ""
		if name == plates {
			role, more = viewer, `,"plates":true`
		}
		for suffix, sites := range map[string]string{"": "", atNorth: `,"sites":["north"]`} {
			sum := sha256.Sum256([]byte(tokenOf(name + suffix)))
			fmt.Fprintf(&file, `{"name":%q,"role":%q,"token":"sha256:%s"%s%s}`+"\n", name+suffix, role, hex.EncodeToString(sum[:]), sites, more)
		}
	}
	secret := func(who string) func() (string, error) { return func() (string, error) { return tokenOf(who), nil } }
	closed := newGuard(t, file.String(), secret(processors), access.PostStays)
	closed.Token(connector, secret(connector), access.PostEvents)
	nowhere := func(context.Context) (string, error) { return "http://127.0.0.1:1", nil }
	serve := func(g *access.Guard) http.Handler {
		c := e.config(g)
		c.Monitor = monitor.New(nowhere, "", e.client.Writable, slog.New(slog.DiscardHandler))
		return admitting{t, NewHandler(c)}
	}
	e.stays.Now = func() time.Time { return today.Add(time.Hour) }
	e.Handler = serve(closed)
	return &guarded{e, serve(newGuard(t, "", secret(processors), access.PostStays))}
}

// as sends a request in a role.
func (g *guarded) as(who, method, path, body string, header ...string) *httptest.ResponseRecorder {
	r := request(method, path, body)
	if who != stranger && who != open {
		r.Header.Set("Authorization", "Bearer "+tokenOf(who))
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	if who == open {
		g.open.ServeHTTP(w, r)
	} else {
		g.ServeHTTP(w, r)
	}
	return w
}

// The plate of the site north, its spellings, and the plate of the site south.
const (
	northPlate = "KA01AB1234"
	southPlate = "SOUTH9876Z"
)

// northIDs contain the plate in some spelling, but the first.
var northIDs = []string{"n1", "cam1-KA01AB1234-7", "ka-01 ab 1234", "cam/ＫＡ０１ＡＢ１２３４", "cam%3AKA%2001%20AB%201234", "k.a.0.1.a.b.1.2.3.4", "cam1-KA01AB1", "KA٠١AB١٢٣٤"}

// fill stores stays, events and counts by hand of both sites.
func (g *guarded) fill(t *testing.T) {
	t.Helper()
	var stays []parking.Stay
	for i, id := range northIDs {
		s := completed(id, "north", northPlate, today.Add(-time.Duration(i)*time.Minute), 60)
		s.EntryID = "entry " + id
		stays = append(stays, s)
	}
	for i := range 3 {
		stays = append(stays, unmatched(fmt.Sprint("s", i), "south", southPlate, today.Add(-time.Duration(i)*time.Second)))
	}
	put(t, g.stays, append(stays, unmatched("same", "north", northPlate, today.Add(-time.Hour)), unmatched("same", "south", southPlate, today))...)
	g.observe(t, time.Now().Add(-time.Hour), "e north "+northPlate+" 0", "e south "+southPlate+" 1", "e south SOUTH2 1", "x south SOUTH2 2")
	for _, site := range []string{"north", "south"} {
		if reference, err := g.images.Put(t.Context(), site, pictured, today, jpeg); reference != imageOf(site) || err != nil {
			t.Fatalf("the picture of %s is %q, %v", site, reference, err)
		}
	}
	for site, reason := range map[string]string{"north": "car ka 01 ab 1234 left unseen", "south": "south counted"} {
		if _, err := g.events.CorrectOccupancy(t.Context(), site, 5, reason); err != nil {
			t.Fatal(err)
		}
	}
}

// detailed records events whose details and ids have the plates in some spelling.
func (g *guarded) detailed(t *testing.T) {
	t.Helper()
	var events []parking.Event
	for _, e := range []parking.Event{
		{ID: "n1", Site: "north", RawPlate: "ka-01 ab 1234"},
		{ID: "cam1/KA01AB1234", Site: "north", RawPlate: northPlate},
		{ID: "cam1-ka-01-ab-1234", Site: "north", NoPlate: true},
		{ID: "misread/KA01AB1284", Site: "north", Version: 2, RawPlate: northPlate},
		{ID: "cam2-KA01AB1234", Site: "north", Void: true},
		{ID: "candidate-KA01AB1234", Site: "north", RawPlate: "KL77CD9999"},
		{ID: "s1", Site: "south", RawPlate: southPlate},
		{ID: "s2", Site: "south", NoPlate: true},
	} {
		plate := map[string]string{"north": northPlate, "south": southPlate}[e.Site]
		e.Kind, e.Time, e.Camera = parking.Entry, time.Now().Add(-30*time.Minute), "cam1"
		e.Details = parking.Details{Vehicle: "vehicle " + plate, Image: e.Site + "/2026-11-27/" + plate + ".jpg", Candidates: []parking.Candidate{{Plate: strings.ToLower(plate)}, {Plate: plate + "-X"}}}
		e, err := parking.NewEvent(e)
		if err != nil {
			t.Fatal(err)
		}
		events = append(events, e)
	}
	for _, r := range g.events.Record(t.Context(), events) {
		if r.Err != nil {
			t.Fatal(r.Err)
		}
	}
}

// A viewer sees neither plate of a corrected event, and not who corrected it.
func TestAViewerSeesNoPlateOfACorrection(t *testing.T) {
	g := newGuarded(t)
	correct := func(e parking.Event, plate, by string) {
		e.Kind, e.Site, e.Time = parking.Entry, "north", time.Now().Add(-30*time.Minute)
		read, err1 := parking.NewEvent(e)
		corrected, err2 := read.Correct(plate, parking.Correction{ID: by, By: by, At: today})
		if err := errors.Join(err1, err2); err != nil {
			t.Fatal(err)
		}
		for _, r := range g.events.Record(t.Context(), []parking.Event{read, corrected}) {
			if r.Err != nil {
				t.Fatal(r.Err)
			}
		}
	}
	correct(parking.Event{ID: "c1", RawPlate: northPlate}, "XX99YY8877", "anna") // to one that does not resemble it
	correct(parking.Event{ID: "cam/" + northPlate, RawPlate: northPlate}, "XX99YY8877", "d/"+northPlate)
	correct(parking.Event{ID: "c3", NoPlate: true}, northPlate, "anna")
	for id, want := range map[string]string{"c1": `"id":"anna","by":"***"`, "cam/" + northPlate: "no such event", "c3": "no such event"} {
		w := g.as(viewer, "GET", "/sites/north/events?id="+url.QueryEscape(id), "")
		g.checkSeen(t, "GET an event", viewer, w)
		if !strings.Contains(w.Body.String(), want) {
			t.Errorf("%s: %s", id, w.Body)
		}
		if w := g.as(plates, "GET", "/sites/north/events?id="+url.QueryEscape(id), ""); !strings.Contains(w.Body.String(), `"correction":{"id":`) || !strings.Contains(w.Body.String(), northPlate) {
			t.Errorf("%s as %s: %s", id, plates, w.Body)
		}
	}
}

// A viewer sees no plate of an event: not in its details, nor in its id. An id that is
// masked is no id for a viewer.
func TestAViewerSeesNoPlateOfAnEvent(t *testing.T) {
	g := newGuarded(t)
	g.detailed(t)
	for id, code := range map[string]int{"n1": 200, "cam1/KA01AB1234": 404, "cam1-ka-01-ab-1234": 404, "cam2-KA01AB1234": 404, "misread/KA01AB1284": 404, "candidate-KA01AB1234": 404, "nothing": 404} {
		for _, path := range []string{"/sites/north/events/" + id, "/sites/north/events?id=" + url.QueryEscape(id)} {
			for _, who := range []string{viewer, viewer + atNorth} {
				w := g.as(who, "GET", path, "")
				g.checkSeen(t, "GET "+path, who, w)
				if w.Code != code || code == 404 && w.Body.String() != `{"error":"no such event"}`+"\n" {
					t.Errorf("GET %s as %s: %d %s, want %d", path, who, w.Code, w.Body, code)
				}
			}
			if w := g.as(plates, "GET", path, ""); (w.Code == 200) != (id != "nothing") {
				t.Errorf("GET %s as %s: %d %s", path, plates, w.Code, w.Body)
			}
		}
	}
	w := g.as(viewer, "GET", "/sites/north/events/n1", "")
	const masked = `"vehicle_plate":"*******234",`
	if text := w.Body.String(); !strings.Contains(text, masked) || !strings.Contains(text, `"candidates":[{"plate":"*******234"},{"plate":"********34X"}]`) || strings.Contains(text, "image") {
		t.Errorf("n1 as %s: %s", viewer, text)
	}
	if text := g.as(plates, "GET", "/sites/north/events/n1", "").Body.String(); !strings.Contains(text, `"vehicle_plate":"ka-01 ab 1234",`) || !strings.Contains(text, `"image":"north/2026-11-27/KA01AB1234.jpg"`) {
		t.Errorf("n1 as %s: %s", plates, text)
	}
	if text := g.as(viewer, "GET", "/sites/north/no-plates", "").Body.String(); !strings.Contains(text, `{"events":[{"id":"***","vehicle_plate":null,`) {
		t.Errorf("the reads without a plate as %s: %s", viewer, text)
	}
}

// Every role gets from each route what the matrix says, about its own site, about
// another and about none. Of another site it gets nothing.
func TestMatrix(t *testing.T) {
	g := newGuarded(t)
	g.fill(t)
	g.detailed(t)
	rows := make(map[string]row)
	for _, one := range matrix {
		rows[one.route] = one
	}
	for _, one := range g.api().routes {
		name := one.method + " " + one.path
		if _, found := rows[name]; !found {
			t.Errorf("%s has no row in the matrix", name)
		}
		delete(rows, name)
	}
	for name := range rows {
		t.Errorf("%s is in the matrix and no route", name)
	}
	if t.Failed() {
		return
	}
	for _, one := range matrix {
		for _, who := range everyone {
			want := http.StatusForbidden
			switch {
			case slices.Contains(one.may, who):
				want = one.code
			case who == stranger || who == wrongLogin || who == open:
				want = http.StatusUnauthorized
			}
			for _, path := range []string{one.own, one.other, one.none} {
				g.expect(t, who, one, path, want)
			}
			if !slices.Contains(users, who) {
				continue
			}
			g.expect(t, who+atNorth, one, one.own, want)
			if one.route != "GET /page/{file...}" {
				g.expect(t, who+atNorth, one, one.other, http.StatusForbidden)
			}
			if one.all {
				want = http.StatusForbidden
			}
			g.expect(t, who+atNorth, one, one.none, want)
		}
	}
}

// expect requires the code of a response, of HEAD as well, and that it has nothing that
// the role does not see.
func (g *guarded) expect(t *testing.T, who string, one row, path string, want int) {
	t.Helper()
	if path == "" {
		return
	}
	method, _, _ := strings.Cut(one.route, " ")
	methods := []string{method}
	if method == http.MethodGet {
		methods = append(methods, http.MethodHead)
	}
	for _, method := range methods {
		w := g.as(who, method, path, one.body)
		if w.Code != want {
			t.Errorf("%s %s as %s: %d %.200s, want %d", method, path, who, w.Code, w.Body, want)
		}
		if want == http.StatusUnauthorized && w.Header().Get("WWW-Authenticate") == "" {
			t.Errorf("%s %s as %s: %v", method, path, who, w.Header())
		}
		g.checkSeen(t, method+" "+path, who, w)
		if !strings.HasPrefix(path, "/page/") && (w.Header().Get("Cache-Control") != "no-store" || !strings.Contains(strings.Join(w.Header().Values("Vary"), ", "), "Authorization, Cookie")) {
			t.Errorf("%s %s as %s: a cache may keep it: %v", method, path, who, w.Header())
		}
	}
}

var encoded = regexp.MustCompile(`[A-Za-z0-9_-]{20,}`)

// readable returns the text of a response with its header, and of what is encoded in
// it.
func readable(w *httptest.ResponseRecorder) string {
	text := fmt.Sprint(w.Header(), " ", w.Body)
	for _, one := range encoded.FindAllString(text, -1) {
		decoded, _ := base64.RawURLEncoding.DecodeString(one)
		text += " " + string(decoded)
	}
	decoded, _ := url.PathUnescape(text)
	return text + " " + decoded
}

// checkSeen requires that a response has nothing of another site and no plate that a
// role does not see.
func (g *guarded) checkSeen(t *testing.T, what, who string, w *httptest.ResponseRecorder) {
	t.Helper()
	if strings.Contains(what, "/page/") {
		return
	}
	text := readable(w)
	if strings.HasSuffix(who, atNorth) && strings.Contains(strings.ToLower(text), "south") {
		t.Errorf("%s as %s tells of the site south: %.500s", what, who, text)
	}
	role := strings.TrimSuffix(who, atNorth)
	if slices.Contains([]string{plates, operator, admin, open}, role) {
		return
	}
	key := parking.NormalizePlate(text)
	for _, plate := range []string{northPlate, southPlate} {
		if strings.Contains(key, plate) {
			t.Errorf("%s as %s has the plate %s: %.2000s", what, who, plate, text)
		}
	}
}

// Who sees one site gets of all sites what others get of that one.
func TestOneSiteIsAllThereIs(t *testing.T) {
	g := newGuarded(t)
	g.fill(t)
	for _, path := range []string{"/", "/?limit=1", "/?status=completed", "/?format=csv", "/?format=csv&limit=2", "/stats", "/minutes", "/stays/n1", "/stays/same", "/stays?id=same"} {
		of, _ := url.Parse(path)
		query := of.Query()
		query.Set("site", "north")
		for _, who := range []string{viewer, plates, operator, admin} {
			got, want := g.as(who+atNorth, "GET", path, ""), g.as(who, "GET", of.Path+"?"+query.Encode(), "")
			if got.Code != http.StatusOK || got.Body.String() != want.Body.String() && (who != viewer || !strings.Contains(path, "limit")) {
				t.Errorf("GET %s as %s: %d %s, want %s", path, who+atNorth, got.Code, got.Body, want.Body)
			}
		}
	}
	for path, want := range map[string]string{
		"/sites":    `{"sites":["north"]}`,
		"/overview": `"sites":[{"site":"north",`,
		"/inside":   `{"vehicles":[{"site":"north","vehicle_plate":"KA01AB1234",`,
	} {
		if w := g.as(operator+atNorth, "GET", path, ""); !strings.Contains(w.Body.String(), want) {
			t.Errorf("GET %s: %d %s, want %s", path, w.Code, w.Body, want)
		}
	}
	// An id of another site is no id, with an error that is the same.
	unknown := g.as(admin+atNorth, "GET", "/stays/nothing", "")
	if w := g.as(admin+atNorth, "GET", "/stays/s1", ""); w.Code != http.StatusNotFound || w.Body.String() != unknown.Body.String() {
		t.Errorf("an id of another site: %d %s", w.Code, w.Body)
	}
	// A site that exists and one that does not are refused alike.
	for _, path := range []string{"/?site=", "/stats?site=", "/minutes?site=", "/stays/n1?site=", "/stays?id=n1&site=", "/sites/", "/?format=csv&site="} {
		there, nowhere := g.as(admin+atNorth, "GET", path+"south", ""), g.as(admin+atNorth, "GET", path+"nowhere", "")
		if there.Code != http.StatusForbidden || there.Code != nowhere.Code || there.Body.String() != nowhere.Body.String() || !cmp.Equal(there.Header(), nowhere.Header()) {
			t.Errorf("GET %s: %d %s, and %d %s", path, there.Code, there.Body, nowhere.Code, nowhere.Body)
		}
	}
	for _, body := range []string{`{"site":"south"}`, `{"site":"nowhere"}`, `{"site":"south","format":"csv"}`} {
		if w := g.as(admin+atNorth, "POST", "/search", body); w.Code != http.StatusForbidden {
			t.Errorf("POST /search %s: %d %s", body, w.Code, w.Body)
		}
	}
	// A cursor of a user who sees more shows no more.
	var cursors []string
	for _, path := range []string{"/?limit=1", "/?limit=3", "/?site=south&limit=1"} {
		cursors = append(cursors, answeredAs[stay.Page](t, g, admin, path).Next)
	}
	for _, cursor := range cursors {
		for _, more := range []string{"", "&format=csv", "&format=csv&limit=2"} {
			w := g.as(operator+atNorth, "GET", "/?cursor="+cursor+more, "")
			g.checkSeen(t, "GET /?cursor="+more, operator+atNorth, w)
			if w.Code != http.StatusOK || !strings.Contains(w.Body.String(), "cam1-") {
				t.Errorf("with a cursor of the admin: %d %s", w.Code, w.Body)
			}
		}
	}
	// An erasure concerns the admin's sites.
	if w := g.as(admin+atNorth, "DELETE", "/plates/"+southPlate, ""); w.Code != http.StatusOK || w.Body.String() != `{"events":0,"stays":0,"keys":0,"pictures":0}`+"\n" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if w := g.as(admin+atNorth, "DELETE", "/plates/X?after=south", ""); w.Code != http.StatusForbidden {
		t.Errorf("after another site: %d %s", w.Code, w.Body)
	}
	if got := list(t, g.stays, stay.Query{Plate: southPlate, Limit: 10}); len(got) != 4 {
		t.Errorf("left at the site south: %v", got)
	}
}

func answeredAs[T any](t *testing.T, g *guarded, who, path string) T {
	t.Helper()
	as := admitting{t, g.api()}
	e := &endpoint{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Header.Set("Authorization", "Bearer "+tokenOf(who))
		as.ServeHTTP(w, r)
	})}
	return answered[T](t, e, path)
}

// A viewer follows a list with masked plates to its end. No response has a whole plate,
// in whatever spelling an id has it, and none confirms a guess of one.
func TestAViewerSeesNoPlate(t *testing.T) {
	g := newGuarded(t)
	g.fill(t)
	for _, who := range []string{viewer, viewer + atNorth} {
		seen := 0
		for next, first := "", true; first || next != ""; first = false {
			path := "/?limit=3"
			if next != "" {
				path += "&cursor=" + next
			}
			w := g.as(who, "GET", path, "")
			g.checkSeen(t, "GET "+path, who, w)
			page := answeredAs[stay.Page](t, g, who, path)
			seen += len(page.Stays)
			next = page.Next
			for _, k := range page.Stays {
				if k.Plate != parking.MaskPlate(northPlate) && k.Plate != parking.MaskPlate(southPlate) {
					t.Errorf("as %s: plate %q", who, k.Plate)
				}
			}
		}
		if want := map[string]int{viewer: len(northIDs) + 5, viewer + atNorth: len(northIDs) + 1}[who]; seen != want {
			t.Errorf("as %s: %d stays, want %d", who, seen, want)
		}
		for _, format := range []string{"&format=csv", "&format=csv&limit=3", "&format=csv&bom=0", ""} {
			w := g.as(who, "GET", "/?status=completed"+format, "")
			g.checkSeen(t, "GET "+format, who, w)
			if w.Code != http.StatusOK || strings.Count(w.Body.String(), parking.MaskPlate(northPlate)) < 3 {
				t.Errorf("%s as %s: %d %s", format, who, w.Code, w.Body)
			}
		}
		g.api().bounds.csvRows = 2
		w := g.as(who, "GET", "/?format=csv", "")
		g.checkSeen(t, "GET the first download", who, w)
		next := w.Header().Get("X-Next-Cursor")
		if w := g.as(who, "GET", "/?format=csv&limit=1&cursor="+next, ""); next == "" || w.Code != http.StatusOK || w.Header().Get("X-Next-Cursor") == "" {
			t.Errorf("the next download: %d %s", w.Code, w.Body)
		}
		g.api().bounds.csvRows = maxCSVRows

		// Reasons of counts are texts of people.
		w = g.as(who, "GET", "/sites/north/occupancy", "")
		g.checkSeen(t, "GET the counts", who, w)
		if !strings.Contains(w.Body.String(), `"reason":"`+hiddenText+`"`) {
			t.Errorf("the counts as %s: %s", who, w.Body)
		}
		// A guess of an id is answered as one that does not exist.
		unknown := g.as(who, "GET", "/stays?id=nothing", "")
		for i, id := range northIDs {
			for _, path := range []string{"/stays/" + url.PathEscape(id), "/stays?id=" + url.QueryEscape(id), "/stays?site=north&id=" + url.QueryEscape(id)} {
				w := g.as(who, "GET", path, "")
				g.checkSeen(t, "GET "+path, who, w)
				if i == 0 && w.Code != http.StatusOK || i > 0 && (w.Code != http.StatusNotFound || w.Body.String() != unknown.Body.String()) {
					t.Errorf("GET %s as %s: %d %s", path, who, w.Code, w.Body)
				}
			}
		}
		// Who may not see plates cannot look for one, right or wrong.
		for _, plate := range []string{northPlate, "ka-01 ab 1234", "NONE", "--", strings.Repeat("A", 100)} {
			for _, query := range []url.Values{{"plate": {plate}}, {"plate": {plate}, "format": {"csv"}}, {"plate": {plate}, "site": {"north"}}} {
				w := g.as(who, "GET", "/?"+query.Encode(), "")
				g.checkSeen(t, "GET by plate", who, w)
				if w.Code != http.StatusForbidden {
					t.Errorf("GET by plate as %s: %d %s", who, w.Code, w.Body)
				}
			}
			w := g.as(who, "POST", "/search", fmt.Sprintf(`{"plate":%q}`, plate))
			g.checkSeen(t, "POST /search", who, w)
			if w.Code != http.StatusForbidden {
				t.Errorf("a search by plate as %s: %d %s", who, w.Code, w.Body)
			}
		}
	}
}

// A cursor of one's own making tells by its next stay how an id goes on. Who may not
// see plates can use the cursors only that were made for such.
func TestCursorsOfViewers(t *testing.T) {
	g := newGuarded(t)
	g.fill(t)
	whole := answeredAs[stay.Page](t, g, operator, "/?limit=3").Next
	guess := base64.RawURLEncoding.EncodeToString([]byte(fmt.Sprintf("%016xcam1-KA0", today.UnixNano()) + "\nstay:{north}:"))
	sealed := answeredAs[stay.Page](t, g, viewer, "/?limit=3").Next
	changed := []byte(sealed)
	changed[len(changed)/2] ^= 1
	for cursor, want := range map[string]int{whole: 400, guess: 400, string(changed): 400, sealed[:20]: 400, "MTY": 400, "=": 400, sealed: 200} {
		if w := g.as(viewer, "GET", "/?cursor="+url.QueryEscape(cursor), ""); w.Code != want {
			t.Errorf("%q: %d %s, want %d", cursor, w.Code, w.Body, want)
		}
	}
	if w := g.as(plates, "GET", "/?cursor="+guess, ""); w.Code != http.StatusOK {
		t.Errorf("a reader of plates: %d %s", w.Code, w.Body)
	}
	for name, key := range map[string]func() (string, error){
		"empty": func() (string, error) { return "", nil }, "unreadable": func() (string, error) { return "", fmt.Errorf("open /secrets/summary-token") },
	} {
		g.api().CursorKey = key
		h := handler{Config{CursorKey: key}}
		if _, err := h.next(t.Context(), "x"); err == nil {
			t.Errorf("the key is %s, and a cursor is made", name)
		}
	}
}

// A stranger is told the same of every path and every method, but the page's.
func TestStrangersLearnNothing(t *testing.T) {
	g := newGuarded(t)
	g.fill(t)
	paths := []string{"/", "/?format=csv", "/?plate=" + northPlate, "/stays/n1", "/stays/nothing", "/nothing", "/sites/north", "/sites/nowhere", "/system", "/plates/" + northPlate, "/metrics2", "/search", "/?x=1", "/?site=%zz", "/.git/config", "/sites/a%20b"}
	for _, who := range []string{stranger, wrongLogin} {
		var first *httptest.ResponseRecorder
		for _, path := range paths {
			for _, method := range []string{"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "BREW"} {
				w := g.as(who, method, path, "")
				if first == nil {
					first = w
				}
				if w.Code != http.StatusUnauthorized || w.Body.String() != first.Body.String() || !cmp.Equal(w.Header(), first.Header()) {
					t.Errorf("%s %s as %s: %d %v %s, want as %v %s", method, path, who, w.Code, w.Header(), w.Body, first.Header(), first.Body)
				}
			}
		}
	}
	for _, who := range []string{stranger, viewer} { // nor does the page of another site
		known, unknown := g.as(who, "POST", "/search", "{}", "Sec-Fetch-Site", "cross-site"), g.as(who, "POST", "/nothing", "{}", "Sec-Fetch-Site", "cross-site")
		if known.Code != http.StatusForbidden || known.Code != unknown.Code || known.Body.String() != unknown.Body.String() {
			t.Errorf("as %s: %d %s, and %d %s", who, known.Code, known.Body, unknown.Code, unknown.Body)
		}
	}
	for _, path := range []string{"/nothing", "/sites/a/b"} {
		if w := g.as(machine, "GET", path, ""); w.Code != http.StatusNotFound {
			t.Errorf("GET %s with a login: %d", path, w.Code)
		}
	}
	if w := g.as(viewer, "PUT", "/stats", ""); w.Code != http.StatusMethodNotAllowed || w.Header().Get("Allow") == "" {
		t.Errorf("PUT /stats with a login: %d", w.Code)
	}
	w := g.as(stranger, "GET", "/", "", "Accept", browserAccept)
	if w.Code != http.StatusOK || !strings.HasPrefix(w.Header().Get("Content-Type"), "text/html") {
		t.Errorf("the page, which logs in: %d %v", w.Code, w.Header())
	}
	for path, header := range map[string]string{"/?format=json": browserAccept, "/?format=csv": browserAccept, "/stats": browserAccept, "/search": browserAccept} {
		if w := g.as(stranger, "GET", path, "", "Accept", header); w.Code != http.StatusUnauthorized {
			t.Errorf("GET %s by a browser: %d", path, w.Code)
		}
	}
	// Without Admit nothing is served, either.
	for _, one := range matrix {
		if slices.Contains(one.may, stranger) || one.route == "GET /me" { // which asks who it is
			continue
		}
		method, _, _ := strings.Cut(one.route, " ")
		w := httptest.NewRecorder()
		g.api().ServeHTTP(w, request(method, cmpOr(one.none, one.own), one.body))
		if w.Code != http.StatusForbidden {
			t.Errorf("%s without Admit: %d %.100s", one.route, w.Code, w.Body)
		}
	}
}

func cmpOr(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// A page of another site can make no browser change anything or post anything, with the
// login of its user or where everyone may read.
func TestPagesOfOtherSites(t *testing.T) {
	g := newGuarded(t)
	for _, one := range matrix {
		method, _, _ := strings.Cut(one.route, " ")
		if method == http.MethodGet {
			continue
		}
		path := cmpOr(one.own, one.none)
		for _, who := range one.may {
			for _, header := range [][]string{
				{"Sec-Fetch-Site", "cross-site"},
				{"Sec-Fetch-Site", "same-site"},
				{"Origin", "https://evil.example"},
				{"Origin", "null"},
				{"Sec-Fetch-Site", "cross-site", "Origin", "http://summary"},
			} {
				if w := g.as(who, method, path, one.body, header...); w.Code != http.StatusForbidden {
					t.Errorf("%s %s as %s with %v: %d %s", method, path, who, header, w.Code, w.Body)
				}
			}
			for _, kind := range []string{"text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "text/plain; application/json", ""} {
				if one.body == "" || who == processors { // no page has the token of a part
					continue
				}
				if w := g.as(who, method, path, one.body, "Content-Type", kind); w.Code != http.StatusUnsupportedMediaType {
					t.Errorf("%s %s as %s of %q: %d %s", method, path, who, kind, w.Code, w.Body)
				}
			}
			for _, header := range [][]string{{"Sec-Fetch-Site", "same-origin"}, {"Origin", "http://summary"}, {"Content-Type", "application/json; charset=utf-8"}, {}} {
				if w := g.as(who, method, path, one.body, header...); w.Code != one.code {
					t.Errorf("%s %s as %s with %v: %d %s, want %d", method, path, who, header, w.Code, w.Body, one.code)
				}
			}
		}
	}
}

// How many sites there are is no business of those who do not see them.
func TestTooManySitesForSome(t *testing.T) {
	g := newGuarded(t)
	g.events.MaxSites = 1
	if w := g.as(admin, "POST", "/sites/south/occupancy", `{"counted":1,"reason":"r"}`); w.Code != http.StatusCreated {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	for who, told := range map[string]bool{operator: true, operator + atNorth: false} {
		w := g.as(who, "POST", "/sites/north/occupancy", `{"counted":1,"reason":"r"}`)
		if w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), "there are too many sites") || strings.Contains(w.Body.String(), "MAX_SITES") != told {
			t.Errorf("as %s: %d %s", who, w.Code, w.Body)
		}
	}
	register(t, g.endpoint, stay.MaxSites+1)
	for _, path := range []string{"/", "/stats", "/minutes", "/overview", "/inside", "/sites", "/stays/x"} {
		if w := g.as(viewer+atNorth, "GET", path, ""); w.Code != http.StatusOK && w.Code != http.StatusNotFound {
			t.Errorf("GET %s: %d %s", path, w.Code, w.Body)
		}
	}
}
