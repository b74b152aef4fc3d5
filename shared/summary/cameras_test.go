package summary

import (
	"encoding/json"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"parkstream/shared/access"
	"parkstream/shared/camera/health"
	"parkstream/shared/site"
)

// Who sees a site sees how its cameras are. If the only camera of a direction is silent the
// occupancy is flagged, or not shown at all if that is configured.
func TestCameras(t *testing.T) {
	g := newGuarded(t)
	g.fill(t)
	camera := func(id string, role site.Role) site.Camera {
		return site.Camera{ID: id, Role: role, TokenHash: site.HashToken("token-of-a-camera")}
	}
	if err := g.registry.Put(t.Context(),
		site.Site{ID: "north", Capacity: 9, HideDoubtful: true, Cameras: []site.Camera{camera("n-in", site.Entries), camera("n-out", site.Exits)}},
		site.Site{ID: "south", Cameras: []site.Camera{camera("s-1", site.Both), camera("s-2", site.Both)}},
		site.Site{ID: "west", Cameras: []site.Camera{camera("w-1", site.Both)}}); err != nil {
		t.Fatal(err)
	}
	// Until half an hour ago each hour of these weeks had 60 requests.
	r := health.NewRecorder(g.client, slog.New(slog.DiscardHandler))
	last := time.Now().UTC().Add(-30 * time.Minute).Truncate(time.Millisecond)
	for _, id := range []string{"n-in", "w-1", "s-1"} {
		for day := 21; day > 0; day -= 7 {
			for minute := -90; minute < 120; minute++ {
				r.Request(health.Request{Camera: id, At: last.AddDate(0, 0, -day).Add(time.Duration(minute) * time.Minute), Format: "own", Reads: make([]health.Read, 1)})
			}
		}
		r.Request(health.Request{Camera: id, At: last, Format: "own", Reads: make([]health.Read, 1)})
	}
	if err := r.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	all := answeredAs[camerasResponse](t, g, viewer, "/cameras")
	var silent []string
	for _, c := range all.Cameras {
		if c.Silent {
			silent = append(silent, c.Camera)
		}
	}
	if len(all.Cameras) != 5 || strings.Join(silent, " ") != "n-in s-1 w-1" {
		t.Errorf("silent are %q of %+v", silent, all)
	}
	if c := all.Cameras[0]; c.Camera != "n-in" || c.LastRead == nil || !c.LastRead.Equal(last) || c.ReadsLastDay != 1 {
		t.Errorf("%+v", c)
	}
	if one := answeredAs[camerasResponse](t, g, viewer, "/cameras?site=south"); len(one.Cameras) != 2 || one.Cameras[0].Camera != "s-1" {
		t.Errorf("of one site: %+v", one)
	}
	if none := g.as(viewer, "GET", "/cameras?site=elsewhere", "").Body.String(); !strings.HasSuffix(none, `"cameras":[]}`+"\n") {
		t.Errorf("of none: %s", none)
	}
	own := g.as(viewer+atNorth, "GET", "/cameras", "")
	if g.checkSeen(t, "GET /cameras", viewer+atNorth, own); strings.Contains(own.Body.String(), "s-1") || !strings.Contains(own.Body.String(), "n-out") {
		t.Errorf("of the site north: %s", own.Body)
	}

	const doubt = `"occupancy_doubtful":true,"silent_cameras":["`
	fields := func(path string, pick func(any) any) map[string]any {
		w := g.as(viewer, "GET", path, "")
		var v any
		if err := json.Unmarshal(w.Body.Bytes(), &v); err != nil {
			t.Fatal(err)
		}
		return pick(v).(map[string]any)
	}
	sites := answeredAs[overview[map[string]any]](t, g, viewer, "/overview").Sites
	for _, of := range []map[string]any{sites[0], fields("/sites/north", func(v any) any { return v })} {
		for _, name := range []string{"occupancy", "correction", "free"} {
			if v, found := of[name]; !found || v != nil {
				t.Errorf("the site north has %s %v", name, v)
			}
		}
		if of["reason"] != "every camera that sees the entries is silent" || of["vehicles_inside"] == nil || of["site"] != "north" {
			t.Errorf("the site north: %v", of)
		}
	}
	for path, want := range map[string]bool{"/sites/north": true, "/sites/south": false, "/sites/west": true} {
		if text := g.as(viewer, "GET", path, "").Body.String(); strings.Contains(text, doubt) != want || !strings.Contains(text, `"stays_today"`) {
			t.Errorf("%s: %s", path, text)
		}
	}
	if sites[2]["occupancy"] != 0.0 || sites[2]["occupancy_doubtful"] != true {
		t.Errorf("the site west: %v", sites[2])
	}
	if _, found := sites[1]["occupancy_doubtful"]; found {
		t.Errorf("the site south: %v", sites[1])
	}
	metrics := prometheus.NewRegistry()
	metrics.MustRegister(NewCameraMetrics(health.NewReader(g.client, g.registry), slog.New(slog.DiscardHandler)))
	const want = `# HELP parkstream_camera_silent 1 if a camera is silent though it usually is not at this hour of this weekday.
# TYPE parkstream_camera_silent gauge
parkstream_camera_silent{camera="n-in",site="north"} 1
parkstream_camera_silent{camera="n-out",site="north"} 0
parkstream_camera_silent{camera="s-1",site="south"} 1
parkstream_camera_silent{camera="s-2",site="south"} 0
parkstream_camera_silent{camera="w-1",site="west"} 1
`
	if err := testutil.GatherAndCompare(metrics, strings.NewReader(want), "parkstream_camera_silent"); err != nil {
		t.Error(err)
	}
	if n, err := testutil.GatherAndCount(metrics); err != nil || n != 5+5+3+3 { // silent, reads; of three the last read and the share without plate
		t.Errorf("%d series, %v", n, err)
	}
	if err := g.redis.Kill(); err != nil {
		t.Fatal(err)
	}
	h := handler{g.config(newGuard(t, "", theToken, access.Read))}
	if _, err := h.Cameras.Snapshot(t.Context()); err == nil {
		t.Error("without Redis there is a snapshot")
	}
}
