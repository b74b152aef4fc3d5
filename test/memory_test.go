package test

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"parkstream/shared/batch"
	"parkstream/shared/instance/instancetest"
	"parkstream/shared/parking"
	"parkstream/shared/redis"
	"parkstream/shared/stay"
	"parkstream/shared/timeline"
)

// TestMemory attacks functions that run as deployed, with the environment and the
// memory of stack.yml. Each attack alone, and then all at once, leaves them alive, and
// ordinary calls are answered throughout. Without a memory cgroup, which takes root,
// the kernel's record of a process's peak memory decides.
func TestMemory(t *testing.T) {
	program, err := buildProgram()
	if err != nil {
		t.Fatal(err)
	}
	redis := instancetest.Redis(t)
	secrets := t.TempDir()
	for name, text := range map[string]string{"redis-url": redis.URL(), "summary-token": "the-token", "connector-token": "the-connector"} {
		if err := os.WriteFile(filepath.Join(secrets, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	seed(t, redis.URL())
	sum := startBounded(t, program, "summary", "SECRETS_DIR="+secrets)
	exits := startBounded(t, program, "exit-processor", "SECRETS_DIR="+secrets, "SUMMARY_URL="+sum.url)
	exits.token = "the-connector" // batches come from it; those of persons are in the audit, site by site

	attacks := []struct {
		name string
		run  func(t *testing.T, done <-chan struct{})
	}{
		{"bodies without a token", func(t *testing.T, done <-chan struct{}) {
			hold(t, sum, 40, "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 16777216\r\n\r\n", 16<<20-1, false, done)
		}},
		{"bodies of batches", func(t *testing.T, done <-chan struct{}) {
			hold(t, exits, 40, "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: "+batch.ContentType+"\r\nContent-Length: 8388608\r\n\r\n", 8<<20-1, false, done)
		}},
		{"bodies of unknown length", func(t *testing.T, done <-chan struct{}) {
			hold(t, exits, 40, "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: "+batch.ContentType+"\r\nTransfer-Encoding: chunked\r\n\r\n", 8<<20-1, true, done)
		}},
		{"connections and headers", func(t *testing.T, done <-chan struct{}) {
			hold(t, sum, 200, "GET / HTTP/1.1\r\nHost: localhost\r\nX: "+strings.Repeat("x", 1<<20), 0, false, done)
		}},
		{"too many events", func(t *testing.T, _ <-chan struct{}) {
			body := "[" + strings.Repeat(`{"id":"1","data":{}},`, 80_000) + `{"id":"2"}]`
			together(6, func(int) {
				exits.call(t, "POST", "/", batch.ContentType, body, http.StatusRequestEntityTooLarge, http.StatusTooManyRequests)
			})
		}},
		{"large batches", func(t *testing.T, _ <-chan struct{}) {
			together(10, func(n int) {
				exits.call(t, "POST", "/", batch.ContentType, batchOf(n, batch.MaxEvents, 10), http.StatusOK, http.StatusTooManyRequests)
			})
		}},
		{"many batches", func(t *testing.T, _ <-chan struct{}) {
			together(60, func(n int) {
				exits.call(t, "POST", "/", batch.ContentType, batchOf(100+n, 200, 200), http.StatusOK, http.StatusTooManyRequests)
			})
		}},
		{"queries over all sites", func(t *testing.T, _ <-chan struct{}) {
			week := "from=" + time.Now().AddDate(0, 0, -7).UTC().Format(time.RFC3339)
			paths := []string{
				"/stats", "/stats?from=2017-01-01T00:00:00Z", "/minutes?" + week, "/overview", "/inside?limit=1000", "/sites", "/?limit=1000",
				"/?plate=KA01&status=completed&limit=1", "/?plate=KA01&limit=1000", "/stays/nowhere", "/?format=csv&limit=1000", "/metrics",
			}
			together(3*len(paths), func(n int) {
				path := paths[n%len(paths)]
				sum.call(t, "GET", path, "", "", http.StatusOK, http.StatusBadRequest, http.StatusNotFound, http.StatusTooManyRequests, http.StatusServiceUnavailable)
			})
		}},
		{"metrics and readiness", func(t *testing.T, _ <-chan struct{}) {
			together(500, func(n int) {
				sum.call(t, "GET", []string{"/metrics", "/_/ready"}[n%2], "", "", http.StatusOK, http.StatusServiceUnavailable)
			})
		}},
		{"slow downloads", func(t *testing.T, done <-chan struct{}) {
			together(10, func(int) { download(t, sum, "&site=busy", done) })
		}},
		{"slow downloads over all sites", func(t *testing.T, done <-chan struct{}) {
			together(20, func(int) { download(t, sum, "", done) })
		}},
	}
	for _, a := range attacks {
		start := time.Now()
		done := make(chan struct{})
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			a.run(t, done)
		}()
		served(t, a.name, sum, exits)
		close(done)
		<-ended
		sum.survived(t, a.name)
		exits.survived(t, a.name)
		t.Log(a.name, time.Since(start))
	}
	done := make(chan struct{})
	var all sync.WaitGroup
	for _, a := range attacks {
		all.Go(func() { a.run(t, done) })
	}
	for range 3 {
		served(t, "all attacks", sum, exits)
	}
	close(done)
	all.Wait()
	sum.survived(t, "all attacks")
	exits.survived(t, "all attacks")
	served(t, "after all attacks", sum, exits)
	for _, asked := range []string{"/stats", "/minutes", "/overview", "/inside?limit=100", "/sites", "/?limit=50", "/system"} { // by the page
		sum.call(t, "GET", asked, "", "", http.StatusOK)
	}
	t.Logf("most memory: summary %d MiB, exit-processor %d MiB", sum.peak(t)>>20, exits.peak(t)>>20)
}

// Sizes of what is in Redis when strangers come.
const (
	seededSites = 10_000 // as many as there may be; one of them is busy
	seededStays = 100_000
)

func seed(t *testing.T, url string) {
	t.Helper()
	client, err := redis.Open(redis.URL(url))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	const retention = 90 * 24 * time.Hour
	now := time.Now().UTC()
	events, stays := timeline.New(client, retention), stay.New(client, retention)
	events.MaxSites = 2 * seededSites
	exits := make([]parking.Event, seededSites-1)
	ends := make([]parking.Stay, seededSites-1, seededSites+seededStays)
	for i := range exits {
		site, id := fmt.Sprintf("site-%d", i), fmt.Sprintf("s%d", i)
		exits[i] = parking.Event{ID: id, Kind: parking.Exit, Site: site, RawPlate: "KA01", Plate: "KA01", Time: now}
		ends[i] = parking.Stay{ID: id, Site: site, Plate: "KA01", ExitTime: now, Revision: 1}
	}
	for i := range seededStays {
		id := fmt.Sprintf("x%d", i)
		ends = append(ends, parking.Stay{
			ID: id, Site: "busy", Plate: fmt.Sprintf("P%d", i), EntryID: "e" + id, EntryTime: now.Add(-time.Hour),
			ExitTime: now.Add(-time.Duration(i) * time.Second), Revision: 1,
		})
	}
	for some := range slices.Chunk(ends, 1000) {
		if _, err := stays.Upsert(t.Context(), some); err != nil {
			t.Fatal(err)
		}
	}
	// The number of sites may be bounded.
	known := 0
	for some := range slices.Chunk(exits, 250) {
		for _, r := range events.Record(t.Context(), some) {
			if r.Err == nil {
				known++
			}
		}
	}
	if known < 500 {
		t.Fatalf("%d sites only", known)
	}
}

// batchOf makes a batch of exits at some sites.
func batchOf(n, size, sites int) string {
	events := make([]batch.Event, size)
	now := time.Now().UTC().Format(time.RFC3339)
	for i := range events {
		events[i] = batch.Event{ID: strconv.Itoa(i), Data: fmt.Appendf(nil,
			`{"id":"b%d-%d","vehicle_plate":"B%d","exit_date_time":%q,"site":"site-%d"}`, n, i, i, now, i%sites)}
	}
	return string(batch.AppendRequest(nil, "/x", events))
}

func together(n int, run func(i int)) {
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { run(i) })
	}
	wg.Wait()
}

// served wants health and ordinary calls to be answered.
func served(t *testing.T, attack string, functions ...*bounded) {
	t.Helper()
	for _, b := range functions {
		if err := b.health(t.Context()); err != nil {
			t.Errorf("%s: the health of %s: %v", attack, b.name, err)
		}
	}
	event := fmt.Sprintf(`{"id":"ordinary-%d","vehicle_plate":"KA02","exit_date_time":%q,"site":"site-1"}`, time.Now().UnixNano(), time.Now().UTC().Format(time.RFC3339))
	functions[1].call(t, "POST", "/", "application/json", event, http.StatusOK, http.StatusTooManyRequests, http.StatusServiceUnavailable)
	functions[0].call(t, "GET", "/sites/site-1", "", "", http.StatusOK, http.StatusTooManyRequests)
}

// download reads the start of a CSV, and the rest after done.
func download(t *testing.T, b *bounded, query string, done <-chan struct{}) {
	resp, err := http.Get(b.url + "/?format=csv&bom=0" + query)
	if err != nil {
		t.Errorf("download: %v", err)
		return
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusTooManyRequests {
		<-done
		return
	}
	rows := csv.NewReader(resp.Body)
	rows.ReuseRecord = true
	n := 0
	for {
		_, err := rows.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Errorf("download, after %d lines: %v", n, err)
			return
		}
		if n++; n == 1000 {
			<-done
		}
	}
	// Stays that are posted when the download begins may be in it, too.
	if first := seededStays + 1; n < first || n > first+10 {
		t.Errorf("download: %d lines, want %d, and a few more at most", n, first)
	}
}
