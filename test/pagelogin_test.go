package test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/browser"
	"github.com/chromedp/chromedp"

	"parkstream/shared/eventually"
	"parkstream/shared/parking"
)

// What the viewer of the site north must not learn.
const (
	theOtherSite = "southgate"
	pageURL      = "/function/summary/"
)

var wholePlates = []string{"KL07CB4321", "KA02CD5678", "KA03EF9012", "MH12DE1433", "MH14GH7788"}

// People log in on the page, and see what their role and their sites let them see.
func TestPageWithALogin(t *testing.T) {
	axe := axeScript(t)
	file := filepath.Join(t.TempDir(), "users")
	users := func(password string, args ...string) string {
		t.Helper()
		program, err := buildProgram()
		if err != nil {
			t.Fatal(err)
		}
		c := exec.CommandContext(t.Context(), program, append(append([]string{"users"}, args...), "--file", file)...)
		c.Stdin = strings.NewReader(password)
		out, err := c.Output()
		if err != nil {
			t.Fatalf("users %q: %v", args, err)
		}
		return strings.TrimSpace(string(out))
	}
	const password = "a password of the test"
	users(password, "add", "vera", "--role", "viewer", "--site", "north", "--password-file", "-")
	users(password, "add", "anna", "--role", "admin", "--password-file", "-")
	token := users(password, "add", "otto", "--role", "operator", "--password-file", "-", "--token")

	s := startSystemWith(t, nil, t.TempDir(), "--no-cron", "--users", file)
	s.token = token
	seen := newRecorder(t, s.gateway)
	b := openBrowser(t)
	s.fillTwoSites(t)

	t.Run("the form", func(t *testing.T) {
		b := b.in(t)
		b.size(320, 700)
		b.open(seen.address + pageURL)
		b.wants(`document.activeElement.id`, "login-name")
		for _, scheme := range []string{"dark", "light"} {
			b.prefers(scheme)
			b.accessible(axe, "as a form in "+scheme+" colours")
		}
		if w := b.number(`document.documentElement.scrollWidth`); w > 320 {
			t.Errorf("the form is %v wide", w)
		}
		b.screenshot("login-phone.png")
		b.size(1360, 900)
		b.wants(`[...document.querySelectorAll('h2, th, a, button, select, input')].filter(e => e.checkVisibility()).map(e => e.id || e.textContent).join()`,
			"theme,login-title,login-name,login-password,Log in")
		b.do(chromedp.KeyEvent("vera\twrong\r"))
		b.wants(`document.querySelector('#login-text').textContent`, "The name or the password is wrong.")
		b.do(chromedp.KeyEvent(password + "\r")) // the wrong one is selected
		b.wants(`document.querySelector('#who').textContent`, "vera, viewer")
	})

	t.Run("a viewer of one site", func(t *testing.T) {
		b := b.in(t)
		b.wants(`document.querySelector('#live-text').textContent`, "Live")
		b.wants(`document.querySelector('#k-occupancy').textContent`, "1")
		b.wants(`[...document.querySelectorAll('#sites .name')].map(e => e.textContent).join()`, "north")
		b.wants(`[...document.querySelectorAll('#stay-rows .plate, #inside-rows .plate')].map(e => e.textContent).join()`,
			parking.MaskPlate(wholePlates[2])+","+parking.MaskPlate(wholePlates[0])+","+parking.MaskPlate(wholePlates[1]))
		b.wants(`[...document.querySelectorAll('#stay-rows .tag')].map(e => e.textContent).sort().join()`, "Completed,Unmatched")
		b.wants(`['plate', 'correct', 'health', 'latency', 'audit', 'k-dead', 'system-link', 'login'].filter(id => document.getElementById(id).checkVisibility()).join()`, "")
		b.accessible(axe, "of a viewer")
		b.screenshot("viewer.png")
		for _, width := range []int64{390, 320} {
			b.size(width, 844)
			if w := b.number(`document.documentElement.scrollWidth`); w > float64(width) {
				t.Errorf("the page is %v wide at %d", w, width)
			}
		}
		b.screenshot("viewer-phone.png")
		b.size(1360, 900)
		hides(t, "the page", b.text(`document.documentElement.outerHTML`))

		if text := b.download("#csv", "stays.csv"); strings.Count(text, "\n") != 3 || strings.Count(text, `"north"`) != 2 {
			t.Errorf("the CSV is %q", text)
		} else {
			hides(t, "the CSV", text)
		}

		for _, call := range []struct {
			ask    string // arguments of fetch
			status int
		}{
			{`'?plate=KL07CB4321&format=json'`, 403},
			{`'?plate=kl-07%20cb%204321&format=csv'`, 403},
			{`'search', post({plate: 'KL07CB4321'})`, 403},
			{`'search', post({plate: 'KL07CB4321', format: 'csv'})`, 403},
			{`'search', post({status: 'completed', limit: 1})`, 200},
			{`'search', post({palte: 'KL07CB4321'})`, 400},
			{`'?format=xml'`, 400},
			{`'?cursor=MH12DE1433&format=json'`, 400},
			{`'?format=json&limit=1'`, 200},
			{`'?format=csv&limit=1'`, 200},
			{`'?palte=KL07CB4321&format=json'`, 400},
			{`'stays/exit-KL07CB4321'`, 404},
			{`'stays/exit-MH12DE1433'`, 404},
			{`'stays?id=exit-KL07CB4321&site=north'`, 404},
			{`'stays/nonsense'`, 404},
			{`'sites'`, 200},
			{`'sites/north'`, 200},
			{`'sites/north/inside'`, 200},
			{`'inside'`, 200},
			{`'inside?limit=x'`, 400},
			{`'sites/north/occupancy'`, 200},
			{`'sites/southgate'`, 403},
			{`'sites/nosuchsite'`, 403},
			{`'sites/southgate/inside'`, 403},
			{`'sites/southgate/occupancy'`, 403},
			{`'?site=southgate&format=json'`, 403},
			{`'?site=southgate&format=csv'`, 403},
			{`'stats?site=southgate'`, 403},
			{`'minutes?site=southgate'`, 403},
			{`'search', post({site: 'southgate'})`, 403},
			{`'sites/north/occupancy', post({counted: 0, reason: 'KL07CB4321'})`, 403},
			{`'plates/KL07CB4321', {method: 'DELETE'}`, 403},
			{`'plates?plate=KL07CB4321', {method: 'DELETE'}`, 403},
			{`'system'`, 403},
			{`'audit'`, 403},
			{`'audit?format=csv'`, 403},
			{`'.', post([])`, 403},
			{`'nosuchpath/KL07CB4321'`, 404},
			{`'search'`, 405},
			{`'/function/exit-processor', post({id: 'x', vehicle_plate: 'KA03EF9012', site: 'north', exit_date_time: 'now'})`, 401},
			{`'/function/summary/_/ready'`, 200},
			{`'/function/summary/metrics'`, 403},
		} {
			status, err := b.fetch(call.ask)
			if err != nil || status != call.status {
				t.Errorf("fetch(%s) has the status %d, %v; want %d", call.ask, status, err, call.status)
			}
		}

		b.open(seen.address + pageURL + "?site=" + theOtherSite + "&plate=MH12DE1433") // a link of a user who may see it
		b.wants(`document.querySelector('#k-occupancy').textContent`, "1")
		b.wants(`location.search`, "?site=north")
		hides(t, "the page of another's link", b.text(`document.documentElement.outerHTML`))
		b.do(chromedp.Click(chromedp.CSS("#log-out")))
		b.wants(`String(document.querySelector('#login-form').checkVisibility())`, "true")
		b.wants(`document.querySelectorAll('#stay-rows tr, #inside-rows tr, #sites li').length + document.querySelector('#who').textContent`, "0")
		if n := seen.hide(t); n < 50 {
			t.Errorf("only %d responses were looked at", n)
		}
	})

	t.Run("an operator", func(t *testing.T) {
		b := b.in(t)
		b.logIn("otto", password)
		b.wants(`document.querySelector('#who').textContent`, "otto, operator")
		b.wants(`[...document.querySelectorAll('#sites .name')].map(e => e.textContent).join()`, "north,"+theOtherSite)
		b.wants(`String(['correct', 'audit'].some(id => document.getElementById(id).checkVisibility()))`, "false")
		b.do(chromedp.Click(chromedp.CSS("[data-site=north]")))
		b.wants(`document.querySelector('#correct-title').textContent`, "Correct the occupancy of north")
		b.do(chromedp.Focus(chromedp.CSS("#correct-counted")), chromedp.KeyEvent("7\tcounted by hand\r"))
		b.wants(`document.querySelector('#correct-text').textContent`, "The occupancy of north was 1 and is 7 now.")
		b.wants(`document.querySelector('#k-occupancy').textContent`, "7")
		b.accessible(axe, "with a correction")
		b.do(chromedp.Focus(chromedp.CSS("#plate")), chromedp.KeyEvent("kl07cb4321"))
		b.wants(`[...document.querySelectorAll('#stay-rows .plate')].map(e => e.textContent).join()`, wholePlates[0])
		b.wants(`location.search`, "?site=north")
		b.screenshot("operator.png")

		// The session ends in another tab.
		b.eval(`fetch('logout', {method: 'POST'}).then(() => {})`)
		b.wants(`String(document.querySelector('#login-form').checkVisibility())`, "true")
		hides(t, "the page after the session", b.text(`document.documentElement.outerHTML`))
	})

	t.Run("an admin", func(t *testing.T) {
		b := b.in(t)
		b.logIn("anna", password)
		b.wants(`document.querySelector('#who').textContent`, "anna, admin")
		b.wants(`[...document.querySelectorAll('#audit-rows tr')].map(e => [...e.cells].map(c => c.textContent)).filter(c => c[3] === 'correct' && c[8] === 'done').map(c => [c[1], c[4], c[6], c[7]].join()).join(';')`, "otto, operator,north,1,7")
		b.wants(`[...document.querySelectorAll('#audit-rows tr')].map(e => [...e.cells].map(c => c.textContent)).filter(c => c[3] === 'search').map(c => c[1] + c[5]).join(';')`, "otto, operator"+parking.MaskPlate(wholePlates[0])+", limit=20")
		b.accessible(axe, "with the audit")
		b.screenshot("admin.png")
		b.size(320, 844)
		if w := b.number(`document.documentElement.scrollWidth`); w > 320 {
			t.Errorf("the page is %v wide", w)
		}
		b.screenshot("admin-phone.png")
		b.size(1360, 900)
		if text := b.download(`[href="audit?format=csv"]`, "audit.csv"); !strings.Contains(text, `"otto","operator"`) {
			t.Errorf("the audit's CSV is %q", text)
		}
		users("", "remove", "anna")
		b.wants(`String(document.querySelector('#login-form').checkVisibility())`, "true")
		b.wants(`document.querySelector('#audit-rows').textContent + document.querySelector('#who').textContent`, "")
	})
}

// fillTwoSites has one stay, one unmatched exit and one vehicle inside at north, and a
// stay and a vehicle inside at the other site. The ids have the plates in them.
func (s *system) fillTwoSites(t *testing.T) {
	t.Helper()
	ch := s.dial(t)
	at := time.Now().UTC().Add(-3 * time.Hour).Truncate(time.Second)
	event := func(kind, site, plate string) {
		publish(t, ch, map[string]string{"entry": "vehicle_entries", "exit": "vehicle_exits"}[kind],
			fmt.Appendf(nil, `{"id":"%[1]s-%[2]s","site":%[3]q,"vehicle_plate":%[2]q,"%[1]s_date_time":%[4]q}`, kind, plate, site, at.Format(time.RFC3339)))
		at = at.Add(time.Minute)
	}
	for i, site := range []string{"north", "north", theOtherSite, theOtherSite} {
		event("entry", site, append(wholePlates[:2:2], wholePlates[3:]...)[i])
	}
	event("exit", "north", wholePlates[0])
	event("exit", "north", wholePlates[2])
	event("exit", theOtherSite, wholePlates[3])
	eventually.Succeeds(t, "the stays are in the summary", func() error {
		if n := len(s.stays(t, url.Values{})); n != 3 {
			return fmt.Errorf("there are %d", n)
		}
		return nil
	})
}

// logIn fills the form, which is shown.
func (b tab) logIn(name, password string) {
	b.Helper()
	b.wants(`document.activeElement.id`, "login-name")
	b.do(chromedp.KeyEvent(name + "\t" + password + "\r"))
}

// fetch has the page make a request, and returns the status.
func (b tab) fetch(arguments string) (status int, err error) {
	ctx, cancel := context.WithTimeout(b.ctx, 10*time.Second)
	defer cancel()
	return chromedp.Run(ctx, chromedp.Evaluate[int](`(async () => {
		const post = (body) => ({method: 'POST', headers: {'Content-Type': 'application/json'}, body: JSON.stringify(body)});
		return (await fetch(`+arguments+`)).status })()`, chromedp.EvalAwaitPromise))
}

// download clicks a link and returns the file.
func (b tab) download(link, name string) (text string) {
	b.Helper()
	dir := b.TempDir()
	if _, err := chromedp.CallBrowser(b.ctx, browser.SetDownloadBehavior, browser.SetDownloadBehaviorParams{
		Behavior: browser.SetDownloadBehaviorBehaviorAllow, DownloadPath: dir,
	}); err != nil {
		b.Fatal(err)
	}
	b.do(chromedp.Click(chromedp.CSS(link)))
	eventually.Succeeds(b.T, "the file is complete", func() error {
		file, err := os.ReadFile(filepath.Join(dir, name))
		text = string(file)
		if err == nil && text == "" {
			err = errors.New("it is empty")
		}
		return err
	})
	return text
}

// recorder is between the browser and the gateway, and keeps every response.
type recorder struct {
	address string

	mu   sync.Mutex
	kept []string
}

func newRecorder(t *testing.T, gateway string) *recorder {
	t.Helper()
	to, err := url.Parse(gateway)
	if err != nil {
		t.Fatal(err)
	}
	seen := new(recorder)
	server := httptest.NewServer(&httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(to)
			r.Out.Host = r.In.Host
			r.Out.Header.Del("Accept-Encoding") // what is kept is readable
		},
		ModifyResponse: func(r *http.Response) error {
			body, err := io.ReadAll(r.Body)
			if err != nil {
				return err
			}
			var head strings.Builder
			_ = r.Header.Write(&head)
			seen.mu.Lock()
			seen.kept = append(seen.kept, fmt.Sprintf("%s %s: %s\n%s\n%s", r.Request.Method, r.Request.URL.Path, r.Status, head.String(), body))
			seen.mu.Unlock()
			r.Body = io.NopCloser(bytes.NewReader(body))
			return nil
		},
		ErrorLog: log.New(io.Discard, "", 0), // of requests that the page has given up
	})
	t.Cleanup(server.Close)
	seen.address = server.URL
	return seen
}

// hide fails the test for each response that shows what a viewer must not learn, and
// returns how many there were.
func (r *recorder) hide(t *testing.T) int {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, response := range r.kept {
		line, content, _ := strings.Cut(response, "\n")
		hides(t, line, content)
	}
	return len(r.kept)
}

var (
	notOfPlates = regexp.MustCompile(`[^A-Z0-9]+`)
	base64Text  = regexp.MustCompile(`[A-Za-z0-9+/_-]{12,}`)
)

// hides fails the test when a text has a whole plate, however it is written, or the name
// of the other site.
func hides(t *testing.T, what, text string) {
	t.Helper()
	spellings := []string{text}
	if unescaped, err := url.QueryUnescape(text); err == nil {
		spellings = append(spellings, unescaped)
	}
	for _, one := range base64Text.FindAllString(text, -1) {
		for _, encoding := range []*base64.Encoding{base64.RawURLEncoding, base64.RawStdEncoding} {
			if decoded, err := encoding.DecodeString(one); err == nil {
				spellings = append(spellings, string(decoded))
			}
		}
	}
	for _, spelling := range spellings {
		letters := notOfPlates.ReplaceAllString(strings.ToUpper(spelling), "")
		for _, secret := range append([]string{strings.ToUpper(theOtherSite)}, wholePlates...) {
			if strings.Contains(letters, secret) {
				t.Errorf("%s has %s in %.300q", what, secret, text)
			}
		}
	}
}
