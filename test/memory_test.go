package test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/openfaas/go-sdk/stack"

	"parkstream/shared/batch"
	"parkstream/shared/eventually"
	"parkstream/shared/instance/instancetest"
	"parkstream/shared/parking"
	"parkstream/shared/redis"
	"parkstream/shared/stay"
	"parkstream/shared/timeline"
)

// memoryLimit is that of every function in stack.yml.
const memoryLimit = 128 << 20

// TestMemory has strangers attack functions that run as they are deployed: with the
// environment and the memory of stack.yml. Each attack alone, and then all at once,
// leaves them alive, and ordinary calls are answered meanwhile. Where no memory
// cgroup can be made, which takes root, the kernel's own record of the most memory
// that a process had is what decides.
func TestMemory(t *testing.T) {
	program, err := buildProgram()
	if err != nil {
		t.Fatal(err)
	}
	redis := instancetest.Redis(t)
	secrets := t.TempDir()
	for name, text := range map[string]string{"redis-url": redis.URL(), "summary-token": "the-token"} {
		if err := os.WriteFile(filepath.Join(secrets, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	seed(t, redis.URL())
	sum := startBounded(t, program, "summary", "SECRETS_DIR="+secrets)
	exits := startBounded(t, program, "exit-processor", "SECRETS_DIR="+secrets, "SUMMARY_URL="+sum.url)

	attacks := []struct {
		name string
		run  func(t *testing.T, done <-chan struct{})
	}{
		{"bodies without a token", func(t *testing.T, done <-chan struct{}) {
			hold(t, sum, 40, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 16777216\r\n\r\n", 16<<20-1, false, done)
		}},
		{"bodies of batches", func(t *testing.T, done <-chan struct{}) {
			hold(t, exits, 40, "POST / HTTP/1.1\r\nHost: x\r\nContent-Type: "+batch.ContentType+"\r\nContent-Length: 8388608\r\n\r\n", 8<<20-1, false, done)
		}},
		{"bodies of unknown length", func(t *testing.T, done <-chan struct{}) {
			hold(t, exits, 40, "POST / HTTP/1.1\r\nHost: x\r\nContent-Type: "+batch.ContentType+"\r\nTransfer-Encoding: chunked\r\n\r\n", 8<<20-1, true, done)
		}},
		{"connections and headers", func(t *testing.T, done <-chan struct{}) {
			hold(t, sum, 200, "GET / HTTP/1.1\r\nHost: x\r\nX: "+strings.Repeat("x", 1<<20), 0, false, done)
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
		ends[i] = parking.Stay{ID: id, ExitID: id, Site: site, Plate: "KA01", ExitTime: now, Revision: 1}
	}
	for i := range seededStays {
		id := fmt.Sprintf("x%d", i)
		ends = append(ends, parking.Stay{
			ID: id, ExitID: id, Site: "busy", Plate: fmt.Sprintf("P%d", i), EntryID: "e" + id, EntryTime: now.Add(-time.Hour),
			ExitTime: now.Add(-time.Duration(i) * time.Second), Revision: 1,
		})
	}
	for some := range slices.Chunk(ends, 1000) {
		if _, err := stays.Put(t.Context(), some); err != nil {
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

// bounded is a function's process.
type bounded struct {
	name, url string
	cmd       *exec.Cmd
	output    *lockedBuffer
	ended     chan struct{}
}

// startBounded runs a function as stack.yml deploys it, within its memory.
func startBounded(t *testing.T, program, name string, environ ...string) *bounded {
	t.Helper()
	services, err := stack.ParseYAMLFile(filepath.Join(repository, "stack.yml"), "", "", true)
	if err != nil {
		t.Fatal(err)
	}
	f := services.Functions[name]
	if f.Limits == nil || f.Limits.Memory != "128Mi" || f.Environment["max_inflight"] == "" {
		t.Errorf("%s has not 128Mi of memory and a max_inflight in stack.yml", name)
	}
	b := &bounded{name: name, url: fmt.Sprintf("http://127.0.0.1:%d", freePort(t)), output: new(lockedBuffer), ended: make(chan struct{})}
	b.cmd = exec.Command(program, "function", name)
	for key, value := range f.Environment {
		b.cmd.Env = append(b.cmd.Env, key+"="+value)
	}
	b.cmd.Env = append(b.cmd.Env, environ...)
	b.cmd.Env = append(b.cmd.Env, "LISTEN="+strings.TrimPrefix(b.url, "http://"), "LOG_FORMAT=text", "LOG_LEVEL=error")
	b.cmd.Stdout, b.cmd.Stderr = b.output, b.output
	if procs, err := memoryCgroup(t, name); err != nil {
		t.Logf("%s runs without a memory cgroup, so that its peak decides: %v", name, err)
	} else {
		// The shell enters the cgroup and becomes the function.
		b.cmd.Args = append([]string{"sh", "-c", `echo $$ > "$0" && exec "$@"`, procs, program}, b.cmd.Args[1:]...)
		if b.cmd.Path, err = exec.LookPath("sh"); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(b.ended)
		_ = b.cmd.Wait()
	}()
	t.Cleanup(func() {
		_ = b.cmd.Process.Kill()
		<-b.ended
		if t.Failed() {
			t.Logf("%s: %s, it printed:\n%s", name, b.cmd.ProcessState, tail([]byte(b.output.String()), 3000))
		}
	})
	eventually.Succeeds(t, name+" answers", func() error {
		select {
		case <-b.ended:
			t.Fatalf("%s ended at once: %s\n%s", name, b.cmd.ProcessState, b.output)
		default:
		}
		return b.health(t.Context())
	})
	return b
}

// memoryCgroup makes a cgroup of memoryLimit without swap, of either version, and
// returns the file that takes its processes. It is removed at the end of the test.
func memoryCgroup(t *testing.T, name string) (procs string, err error) {
	t.Helper()
	name = fmt.Sprintf("parkstream-test-%d-%s", os.Getpid(), name)
	limit := strconv.Itoa(memoryLimit)
	for root, files := range map[string]map[string]string{
		"/sys/fs/cgroup/memory": {"memory.limit_in_bytes": limit, "memory.swappiness": "0"},
		"/sys/fs/cgroup":        {"memory.max": limit, "memory.swap.max": "0"},
	} {
		if _, missing := os.Stat(filepath.Join(root, "cgroup.procs")); missing != nil {
			continue // the other version
		}
		dir := filepath.Join(root, name)
		if err := os.Mkdir(dir, 0o755); err != nil {
			return "", fmt.Errorf("make a memory cgroup (as root): %w", err)
		}
		t.Cleanup(func() { _ = os.Remove(dir) })
		// In a cgroup of version 2 there is a memory controller if its parent says so.
		if root == "/sys/fs/cgroup" {
			if err := os.WriteFile(filepath.Join(root, "cgroup.subtree_control"), []byte("+memory"), 0); err != nil {
				return "", fmt.Errorf("have a memory controller: %w", err)
			}
		}
		for file, text := range files {
			path := filepath.Join(dir, file)
			if _, missing := os.Stat(path); missing != nil && strings.Contains(file, "swap") {
				continue // a kernel without swap
			}
			if err := os.WriteFile(path, []byte(text), 0); err != nil {
				return "", fmt.Errorf("bound a memory cgroup: %w", err)
			}
		}
		return filepath.Join(dir, "cgroup.procs"), nil
	}
	return "", errors.New("there is no memory cgroup below /sys/fs/cgroup")
}

// survived wants the process to live and never to have had more than its memory.
func (b *bounded) survived(t *testing.T, attack string) {
	t.Helper()
	select {
	case <-b.ended:
		t.Fatalf("%s: %s ended: %s", attack, b.name, b.cmd.ProcessState)
	default:
	}
	if peak := b.peak(t); peak > memoryLimit {
		t.Fatalf("%s: %s had %d MiB, more than its %d", attack, b.name, peak>>20, memoryLimit>>20)
	}
	t.Logf("%s: %s had up to %d MiB", attack, b.name, b.peak(t)>>20)
}

// peak is the most memory that the process had, without the program's own pages,
// which the system can drop.
func (b *bounded) peak(t *testing.T) int64 {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", b.cmd.Process.Pid))
	if err != nil {
		t.Fatalf("the memory of %s: %v", b.name, err)
	}
	var most, file int64
	for line := range strings.Lines(string(status)) {
		_, _ = fmt.Sscanf(line, "VmHWM: %d kB", &most)
		_, _ = fmt.Sscanf(line, "RssFile: %d kB", &file)
	}
	if most == 0 || file == 0 {
		t.Fatalf("the memory of %s is not in %s", b.name, status)
	}
	return (most - file) << 10
}

func (b *bounded) health(ctx context.Context) error {
	status, _, err := b.do(ctx, "GET", "/_/health", "", "")
	if err == nil && status != http.StatusOK {
		return fmt.Errorf("status %d", status)
	}
	return err
}

func (b *bounded) do(ctx context.Context, method, path, contentType, body string) (status int, text []byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, b.url+path, strings.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	r.Header.Set("Content-Type", contentType)
	r.Header.Set("Accept", "application/json")
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	text, err = io.ReadAll(resp.Body)
	return resp.StatusCode, text, err
}

// call wants one of some answers.
func (b *bounded) call(t *testing.T, method, path, contentType, body string, wanted ...int) {
	status, text, err := b.do(t.Context(), method, path, contentType, body)
	if err != nil && method == http.MethodPost && errors.Is(err, syscall.ECONNRESET) {
		return // refused while the body was on its way
	}
	for _, want := range wanted {
		if err == nil && status == want {
			return
		}
	}
	t.Errorf("%s %s %s: %d %v %.300s, want one of %d", b.name, method, path, status, err, text, wanted)
}

// hold opens connections, sends each a request with a part of its body, and leaves
// them alone until done.
func hold(t *testing.T, b *bounded, n int, header string, body int, chunked bool, done <-chan struct{}) {
	together(n, func(int) {
		conn, err := net.Dial("tcp", strings.TrimPrefix(b.url, "http://"))
		if err != nil {
			t.Errorf("%s: %v", b.name, err)
			return
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(3 * time.Second))
		out := bufio.NewWriter(conn)
		_, _ = out.WriteString(header)
		part := bytes.Repeat([]byte(" "), 1<<16)
		for left := body; left > 0 && err == nil; { // the server may refuse it at any time
			some := part[:min(len(part), left)]
			left -= len(some)
			if chunked {
				_, err = fmt.Fprintf(out, "%x\r\n%s\r\n", len(some), some)
			} else {
				_, err = out.Write(some)
			}
		}
		_ = out.Flush()
		<-done
	})
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
