package test

import (
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/cdproto/browser"
	"github.com/chromedp/chromedp"

	"parkstream/shared/eventually"
	"parkstream/shared/parking"
)

// An operator looks at the page while vehicles come and go.
func TestPage(t *testing.T) {
	axe := axeScript(t)
	s := startSystem(t, t.TempDir(), "--no-cron")
	b := openBrowser(t)
	arrival := time.Now().UTC().Add(-90 * time.Minute).Truncate(time.Second)

	b.size(1360, 900)
	b.open(s.gateway + "/function/summary")
	b.wants(`location.pathname`, "/function/summary/")
	b.wants(`document.querySelector('#stays-empty').textContent`, "No stays yet. They appear with the first exit.")
	b.wants(`document.querySelector('#inside-empty').textContent`, "No vehicle is inside.")
	b.wants(`document.querySelector('#live-text').textContent`, "Live")
	b.wants(`document.querySelector('#health-text').textContent`, "all 9 parts are up")
	b.eval(`window.neverLoadedAgain = true`)

	t.Run("the numbers follow the events", func(t *testing.T) {
		b := b.in(t)
		b.wants(`document.querySelector('#sites').textContent`, "No events yet. A site appears with its first event.")
		ch := s.dial(t)
		publish(t, ch, "vehicle_entries", []byte(eventJSON("e1", "KA01AB1234", "entry", arrival)))
		b.wants(`document.querySelector('#k-occupancy').textContent`, "1")
		b.wants(`document.querySelector('#inside-rows .plate').textContent`, "KA01AB1234")
		publish(t, ch, "vehicle_exits", []byte(eventJSON("x1", "KA01AB1234", "exit", arrival.Add(5410*time.Second))))
		publish(t, ch, "vehicle_exits", []byte(eventJSON("x2", "MH12DE1433", "exit", arrival.Add(5400*time.Second))))
		b.wants(`document.querySelector('#k-occupancy').textContent`, "0")
		b.wants(`[...document.querySelectorAll('#stay-rows .plate')].map(e => e.textContent).join()`, "KA01AB1234,MH12DE1433")
		b.wants(`[...document.querySelectorAll('#stay-rows .tag, #stay-rows .number')].map(e => e.textContent).join()`, "1 h 30 min,Completed,–,Unmatched")
		b.wants(`document.querySelector('#sites .name').textContent`, "default")
		b.wants(`document.querySelectorAll('#outcomes tr')[1].textContent`, "Exits11000")
		publish(t, ch, "vehicle_exits", []byte(`{"id":"bad"}`))
		b.wants(`document.querySelector('#k-dead').textContent`, "1")
		if !strings.Contains(b.text(`document.querySelector('#latency-text').textContent`), "events since the functions started: entry median") {
			t.Errorf("the latency's text is %q", b.text(`document.querySelector('#latency-text').textContent`))
		}
	})

	t.Run("a site has its own clocks and places", func(t *testing.T) {
		b := b.in(t)
		configure := func(method, body string) {
			t.Helper()
			if status, answer := s.callAs(t, s.secret(t, "admin-token"), method, "/function/summary/sites/default", body); status != http.StatusOK {
				t.Fatalf("%s: %d %s", method, status, answer)
			}
		}
		configure("PUT", `{"zone":"Asia/Kolkata","capacity":7}`)
		kolkata := time.FixedZone("", 330*60)
		b.wants(`document.querySelector('#stay-rows .when').textContent`, arrival.Add(5410*time.Second).In(kolkata).Format("2 Jan, 15:04")+" GMT+5:30")
		b.wants(`document.querySelector('#sites .note').textContent.split(', ')[1]`, "7 of 7 free")
		configure("DELETE", "")
		b.wants(`String(document.querySelector('#stay-rows .when').textContent.includes('GMT'))`, "false")
	})

	t.Run("search with the keyboard", func(t *testing.T) {
		b := b.in(t)
		for i := 0; b.text(`document.activeElement.id`) != "plate"; i++ {
			if i == 40 {
				t.Fatal("40 tabs do not reach the search")
			}
			b.do(chromedp.KeyEvent("\t"))
			if b.text(`String(document.activeElement === document.body || document.activeElement.matches(':focus-visible'))`) != "true" {
				t.Errorf("the focus on %s cannot be seen", b.text(`document.activeElement.outerHTML`))
			}
		}
		b.do(chromedp.KeyEvent("ka-01 ab"))
		b.wants(`document.querySelector('#stays-empty').textContent`, "No stay matches.")
		b.do(chromedp.KeyEvent(" 1234"))
		b.wants(`[...document.querySelectorAll('#stay-rows .plate')].map(e => e.textContent).join()`, "KA01AB1234")
		b.wants(`location.search`, "") // a plate is in no address
	})

	t.Run("CSV of what is shown", func(t *testing.T) {
		b := b.in(t)
		dir := t.TempDir()
		if _, err := chromedp.CallBrowser(b.ctx, browser.SetDownloadBehavior, browser.SetDownloadBehaviorParams{
			Behavior: browser.SetDownloadBehaviorBehaviorAllow, DownloadPath: dir,
		}); err != nil {
			t.Fatal(err)
		}
		b.do(chromedp.Click(chromedp.CSS("#csv")))
		eventually.Succeeds(t, "the file is complete", func() error {
			text, err := os.ReadFile(filepath.Join(dir, "stays.csv"))
			if lines := strings.Split(strings.TrimSpace(string(text)), "\n"); err == nil && (len(lines) != 2 || !strings.HasPrefix(lines[1], `"x1","default","KA01AB1234",`)) {
				err = fmt.Errorf("the file has %q", text)
			}
			return err
		})
		b.eval(`document.querySelector('#plate').value = ''; document.querySelector('#search').requestSubmit()`)
		b.wants(`String(document.querySelectorAll('#stay-rows .plate').length)`, "2")
	})

	s.addCameras(t)

	t.Run("100,000 stays", func(t *testing.T) {
		b := b.in(t)
		now := time.Now().UTC()
		exit := now.Add(-time.Hour)
		if midnight := now.Truncate(24 * time.Hour); exit.Before(midnight) {
			exit = midnight // the figures are of today
		}
		s.postStays(t, "big", 100_000, exit)
		b.wants(`document.querySelector('#k-match').textContent`, "100 %")
		b.wants(`String(document.querySelectorAll('#stay-rows .plate').length)`, "20")
		b.do(chromedp.Click(chromedp.CSS("#stays-older")))
		b.wants(`document.querySelector('#stays-text').textContent`, "Page 2, newest exit first")
		b.do(chromedp.Click(chromedp.CSS("#stays-newer")))
		b.wants(`document.querySelector('#stays-text').textContent`, "Page 1, newest exit first")
		if n := b.number(`document.querySelectorAll('*').length`); n > 2000 {
			t.Errorf("the page has %v elements", n)
		}
	})

	t.Run("light and dark", func(t *testing.T) {
		b := b.in(t)
		const background = `getComputedStyle(document.documentElement).backgroundColor`
		b.prefers("light")
		b.wants(background, "rgb(243, 245, 248)")
		b.accessible(axe, "in light colours")
		b.screenshot("desktop-light.png")
		b.prefers("dark")
		b.wants(background, "rgb(14, 19, 25)")
		b.accessible(axe, "in dark colours")
		b.do(chromedp.Click(chromedp.CSS("#theme")))
		b.wants(background, "rgb(243, 245, 248)")
		b.wants(`document.querySelector('#theme').textContent`, "Theme: light")
		b.open(s.gateway + "/function/summary/")
		b.wants(background, "rgb(243, 245, 248)")
		b.eval(`localStorage.clear()`)
	})

	t.Run("how stays were matched, in words", func(t *testing.T) { matchesOnThePage(b.in(t), s, axe) })
	t.Run("cameras", func(t *testing.T) { camerasOnThePage(b.in(t), s, axe) })
	b.open(s.gateway + "/function/summary/")

	t.Run("large numbers have room", func(t *testing.T) {
		b := b.in(t)
		ch := s.dial(t)
		for i := range 8 { // sites, so that their cards are narrow
			publish(t, ch, "vehicle_entries", fmt.Appendf(nil, `{"id":"s%[1]d","vehicle_plate":"S%[1]d","entry_date_time":%[2]q,"site":"site-%[1]d-with-a-long-name-of-more-than-a-card"}`, i, arrival.Format(time.RFC3339)))
		}
		b.wants(`String(document.querySelectorAll('#sites .name').length)`, "9")
		for _, width := range []int64{1360, 1000, 390, 320} {
			b.size(width, 900)
			for _, number := range []string{"150,027", "9,999,999"} {
				if out := b.text(fmt.Sprintf(largeNumbers, number)); out != "" {
					t.Errorf("%s at a width of %d: out of their cards are %s", number, width, out)
				}
			}
		}
		b.size(1360, 900)
	})

	t.Run("on a phone", func(t *testing.T) {
		b := b.in(t)
		b.size(390, 844, chromedp.EmulateMobile, chromedp.EmulateScale(2))
		// The exits of other days have their date as well; a plate of wide letters.
		s.postStays(t, "mwmwm", 20, time.Now().UTC().Add(-200*time.Hour))
		b.open(s.gateway + "/function/summary/?site=mwmwm")
		b.wants(`document.querySelector("#stay-rows .plate").textContent.slice(0, 5)`, "MWMWM")
		if w := b.number(`document.documentElement.scrollWidth`); w > 390 {
			t.Errorf("the page is %v wide with exits of another day", w)
		}
		b.open(s.gateway + "/function/summary/?site=near")
		b.wants(`String(document.querySelectorAll('#stay-rows .why').length)`, "3")
		if w := b.number(`document.documentElement.scrollWidth`); w > 390 {
			t.Errorf("the page is %v wide with matched stays", w)
		}
		b.accessible(axe, "with matched stays on a phone")
		b.open(s.gateway + "/function/summary/")
		b.wants(`String(document.querySelectorAll('#stay-rows .plate').length)`, "20")
		b.wants(`String(document.querySelectorAll('.plot canvas').length)`, "3")
		if w := b.number(`document.documentElement.scrollWidth`); w > 390 {
			t.Errorf("the page is %v wide", w)
		}
		b.accessible(axe, "on a phone")
		b.screenshot("phone-dark.png")
		b.size(1360, 900)
	})

	t.Run("names for those who do not see it", func(t *testing.T) {
		b := b.in(t)
		b.wants(`[...document.querySelectorAll('button, a, input, select, summary')].filter(e => !e.hidden &&
			!(e.ariaLabel || e.textContent.trim() || e.labels?.[0]?.textContent.trim())).map(e => e.outerHTML).join()`, "")
		b.wants(`[...document.querySelectorAll('section')].filter(e => !document.getElementById(e.getAttribute('aria-labelledby'))).map(e => e.outerHTML).join()`, "")
		b.wants(`[...document.querySelectorAll('table')].filter(e => !e.caption).map(e => e.outerHTML).join()`, "")
		b.wants(`[...document.querySelectorAll('figure')].filter(e => !e.querySelector('figcaption').textContent).map(e => e.outerHTML).join()`, "")
		b.wants(`document.querySelectorAll('h1').length + document.documentElement.lang`, "1en")
		b.do(chromedp.Click(chromedp.CSS("#flow-table-open")))
		b.wants(`document.querySelector('#flow-table th').textContent`, "From")
		b.accessible(axe, "with a table open")
	})

	b.wants(`String(window.neverLoadedAgain)`, "undefined") // the phone reloaded it
	b.calm()

	t.Run("Redis is unavailable", func(t *testing.T) {
		b := b.in(t)
		redis := s.redisPID(t)
		if err := syscall.Kill(redis, syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = syscall.Kill(redis, syscall.SIGCONT) })
		b.wants(`document.querySelector('#banner-text').textContent.split('.')[0]`, "The store of stays (Redis) cannot be reached")
		b.wants(`String(document.querySelector('#banner').hidden)`, "false")
		b.wants(`String(document.querySelectorAll('#stay-rows .plate').length)`, "20") // what was there is still there
		for _, scheme := range []string{"light", "dark"} {
			b.prefers(scheme)
			b.accessible(axe, "without Redis in "+scheme+" colours")
		}
		if err := syscall.Kill(redis, syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
		b.wants(`document.querySelector('#live-text').textContent`, "Live")
		b.wants(`String(document.querySelector('#banner').hidden)`, "true")
	})

	t.Run("the summary is unavailable", func(t *testing.T) {
		b := b.in(t)
		s.scale(t, "summary", 0)
		b.wants(`document.querySelector('#banner-text').textContent.split('.')[0]`, "The summary function does not answer")
		s.scale(t, "summary", 1)
		b.eval(`document.querySelector('#retry').click()`) // the page may have tried again by itself, and hidden it
		b.wants(`document.querySelector('#live-text').textContent`, "Live")
	})
}

// largeNumbers puts a number into every figure of the page, returns those that overlap
// the edge of their card, and restores the page.
const largeNumbers = `(() => {
	const number = %q, out = [];
	for (const [selector, text] of [['#sites .count', number], ['#sites button .note', '+' + number + ' −' + number], ['.kpi dd:not(.note)', number]]) {
		for (const e of document.querySelectorAll(selector)) {
			const was = [...e.childNodes], card = e.closest('button, .kpi');
			e.replaceChildren(text);
			const range = document.createRange();
			range.selectNodeContents(e);
			const [inner, outer, style] = [range.getBoundingClientRect(), card.getBoundingClientRect(), getComputedStyle(card)];
			const room = (side) => parseFloat(style['padding' + side]) - 0.5;
			if (inner.left < outer.left + room('Left') || inner.right > outer.right - room('Right') || inner.bottom > outer.bottom - room('Bottom')) out.push(selector + ' ' + (card.dataset.site ?? e.id));
			e.replaceChildren(...was);
		}
	}
	return out.join();
})()`

// postStays posts n completed stays of a site as a processor does.
func (s *system) postStays(t *testing.T, site string, n int, exit time.Time) {
	t.Helper()
	const most = 10_000
	for start := 0; start < n; start += most {
		stays := make([]parking.Stay, 0, most)
		for i := start; i < min(n, start+most); i++ {
			id := fmt.Sprint(site, i)
			stays = append(stays, parking.Stay{
				ID: id, Site: site, Plate: fmt.Sprintf("%s%06d", strings.ToUpper(site), i), EntryID: "entry" + id, EntryTime: exit.Add(-160*time.Minute - time.Duration(i)*time.Millisecond*100),
				ExitTime: exit, Revision: 1,
			})
		}
		s.storeStays(t, stays)
	}
}

// scale makes the gateway run a number of replicas of a function.
func (s *system) scale(t *testing.T, name string, replicas int) {
	t.Helper()
	body := fmt.Sprintf(`{"serviceName":%q,"replicas":%d}`, name, replicas)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.gateway+"/system/scale-function/"+url.PathEscape(name), strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.SetBasicAuth("admin", s.secret(t, "basic-auth-password"))
	s.want(t, r, http.StatusAccepted)
}

func (s *system) want(t *testing.T, r *http.Request, status int) {
	t.Helper()
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != status {
		t.Fatalf("%s %s: %s", r.Method, r.URL, resp.Status)
	}
}
