package generator

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"parkstream/shared/access"
	"parkstream/shared/failure"
	"parkstream/shared/httpjson"
	"parkstream/shared/parking"
)

const maxRate = 100_000

// answerMargin is the time that a run must leave before the end of the call.
const answerMargin = time.Second

// response is the response to a run.
type response struct {
	Published int    `json:"published"`
	Matched   *int   `json:"matched,omitempty"`
	Error     string `json:"error,omitempty"`
}

// NewEntryHandler returns the handler that generates entries:
//
//	POST /?count=10&rate=2.5&seed=1&site=airport&gate=north
//
//	200 {"published":10}
//	400 {"error":"count is \"0\", want a whole number from 1 to 100000"}
//	403 {"error":"..."} if the principal does not have the site
//	429 {"error":"..."} to a second call without parameters in a tick
//	503 {"published":4,"error":"..."}
//
// Every parameter may be left out, or be a member of a JSON object in the body instead:
// {"count":10,"site":"airport"}. A call without any is one of cron: it takes a tick of
// [schedule.Ticks] and generates the default number of events. A tick that was taken is not
// taken again, even if its call was cut off or its events could not be published.
//   - count is how many, rate at how many a second (as fast as possible without).
//   - seed draws the same plates again. Times are those of the clock and ids are
//     new, so a repeated run is new visits of the same vehicles.
//   - site and gate are written into every event; the default of site is a setting.
func NewEntryHandler(c Config) http.Handler {
	return &endpoint{generator: generator{Config: c, kind: parking.Entry, queue: c.EntryQueue}, known: []string{"count", "rate", "seed", "site", "gate"}}
}

// NewExitHandler returns the handler that generates exits. For each exit it draws a
// number from 1 to 100. If the number is above the threshold, the exit belongs to the
// vehicle inside that was generated first. Otherwise, or if no vehicle is inside, the
// exit has a random plate. One parameter is added to those of [NewEntryHandler]:
//   - above, the threshold: 80 makes one exit in five match, 0 makes all match.
//
// The response has the number of matches, too: {"published":10,"matched":2}. A seed
// repeats the decisions and the random plates; it matches the same vehicles if the same
// ones are inside.
func NewExitHandler(c Config) http.Handler {
	return &endpoint{generator: generator{Config: c, kind: parking.Exit, queue: c.ExitQueue}, known: []string{"count", "rate", "seed", "above", "site", "gate"}}
}

type endpoint struct {
	generator
	known []string // parameters
}

func (e *endpoint) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	if req.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		httpjson.Error(w, http.StatusMethodNotAllowed, "use POST, this publishes events")
		return
	}
	ctx := req.Context()
	r, err := e.parse(req.URL.RawQuery, req.Body)
	if err == nil {
		err = r.checkTime(ctx)
	}
	if err != nil {
		httpjson.Error(w, http.StatusBadRequest, err.Error())
		return
	}
	if r.byCron && !e.takeTick(ctx, w) {
		return
	}
	if !r.byCron && !access.From(ctx).Sites.Has(r.site) {
		httpjson.Error(w, http.StatusForbidden, fmt.Sprintf("this login has no access to the site %s: name one of its own with the parameter site", r.site))
		return
	}
	start := time.Now()
	t, err := e.audited(ctx, r)
	a := response{Published: t.published}
	if e.kind == parking.Exit {
		a.Matched = &t.matched
	}
	log := e.Log.With("event_type", e.kind.String(), "count", r.count, "published", t.published, "matched", t.matched,
		"site", r.site, "seed", r.seed, "seconds", time.Since(start).Seconds())
	if err != nil {
		log.ErrorContext(ctx, "generating stopped early", "error", err)
		a.Error = failure.Told(err)
		httpjson.Write(w, http.StatusServiceUnavailable, a)
		return
	}
	log.InfoContext(ctx, "generated")
	httpjson.Write(w, http.StatusOK, a)
}

// takeTick takes the tick of a call by cron. It writes the response if the tick cannot
// be taken.
func (e *endpoint) takeTick(ctx context.Context, w http.ResponseWriter) bool {
	now := e.Now()
	taken, end, err := e.Ticks.Take(ctx, now)
	switch {
	case err != nil:
		e.Log.DebugContext(ctx, "no tick taken", "event_type", e.kind.String(), "error", err) // a stranger may call often
		w.Header().Set("Retry-After", "1")
		httpjson.Error(w, http.StatusServiceUnavailable, failure.Told(err))
	case !taken:
		seconds := int(math.Ceil(end.Sub(now).Seconds()))
		w.Header().Set("Retry-After", strconv.Itoa(seconds))
		httpjson.Error(w, http.StatusTooManyRequests, fmt.Sprintf("a call without parameters generates events once in each tick of SCHEDULE (%s), "+
			"and this tick has had its call: try again in %d s, or name a parameter such as count", e.Ticks.Text(), seconds))
	}
	return taken
}

// generateInTime is generate with a deadline that leaves time for the response.
func (e *endpoint) generateInTime(ctx context.Context, r run) (counts, error) {
	if deadline, bounded := ctx.Deadline(); bounded {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, deadline.Add(-answerMargin))
		defer cancel()
	}
	return e.generate(ctx, r)
}

// maxBody bounds the body, in bytes.
const maxBody = 8 << 10

// parameters returns the parameters in the query and the body, as texts. It calls
// mistake for each invalid member of the body.
func parameters(query string, body io.Reader, mistake func(format string, args ...any)) (url.Values, error) {
	values, err := url.ParseQuery(query)
	if err != nil {
		return nil, fmt.Errorf("the query string cannot be parsed: %w", err)
	}
	text, err := io.ReadAll(body)
	if err != nil {
		return nil, fmt.Errorf("the body cannot be read: %w", err)
	}
	if len(bytes.TrimSpace(text)) == 0 { // cron's call
		return values, nil
	}
	var members map[string]jsontext.Value
	if err := json.Unmarshal(text, &members); err != nil || members == nil {
		return nil, errors.New(`the body is no JSON object such as {"count":10}: leave it empty, or give the parameters in it or in the query string`)
	}
	for name, value := range members {
		switch value.Kind() {
		case '"':
			var text string
			if err := json.Unmarshal(value, &text); err != nil {
				mistake("the body: %q: %s", name, err)
				continue
			}
			values.Add(name, text)
		case '0':
			values.Add(name, string(value))
		default:
			mistake("the body: %q is %s, want a number or a text", name, value.Kind())
		}
	}
	return values, nil
}

// parse returns the run of a request. Its error lists every mistake.
func (e *endpoint) parse(query string, body io.Reader) (run, error) {
	var mistakes []string
	mistake := func(format string, args ...any) { mistakes = append(mistakes, fmt.Sprintf(format, args...)) }
	values, err := parameters(query, body, mistake)
	if err != nil {
		return run{}, err
	}
	r := run{byCron: len(values) == 0, count: e.Count, seed: rand.Uint64(), above: e.Above, site: e.Site, gate: values.Get("gate")}
	for name, given := range values {
		if !slices.Contains(e.known, name) {
			mistake("%q is no parameter, want %s", name, strings.Join(e.known, ", "))
		} else if len(given) > 1 {
			mistake("%s is given %d times", name, len(given))
		}
	}
	whole := func(name string, into *int, least, most int) {
		if !values.Has(name) {
			return
		}
		n, err := strconv.Atoi(values.Get(name))
		if err != nil || n < least || n > most {
			mistake("%s is %q, want a whole number from %d to %d", name, values.Get(name), least, most)
			return
		}
		*into = n
	}
	whole("count", &r.count, 1, MaxCount)
	whole("above", &r.above, 0, 100)
	if values.Has("rate") {
		r.rate, err = strconv.ParseFloat(values.Get("rate"), 64)
		if err != nil || !(r.rate > 0 && r.rate <= maxRate) { // also when it is NaN
			mistake("rate is %q, want events a second, more than 0 and at most %d", values.Get("rate"), maxRate)
		}
	}
	if values.Has("seed") {
		r.seed, err = strconv.ParseUint(values.Get("seed"), 10, 64)
		if err != nil {
			mistake("seed is %q, want a whole number from 0 to %d", values.Get("seed"), uint64(math.MaxUint64))
		}
	}
	if values.Has("site") {
		r.site = values.Get("site")
	}
	if err := parking.CheckSite(r.site); err != nil {
		mistake("%s", err)
	} else if err := checkGate(r.gate); err != nil {
		mistake("%s", err)
	}
	if values.Has("gate") && r.gate == "" {
		mistake("gate is empty")
	}
	if len(mistakes) > 0 {
		slices.Sort(mistakes) // the order of a map is random
		return run{}, errors.New(strings.Join(mistakes, "; "))
	}
	return r, nil
}

func checkGate(gate string) error {
	_, err := parking.NewEvent(parking.Event{ID: "1", Kind: parking.Entry, Gate: gate, RawPlate: "1", Time: time.Unix(1, 0)})
	return err
}

// checkTime returns an error if the run takes longer at its rate than the call may
// last.
func (r run) checkTime(ctx context.Context) error {
	deadline, bounded := ctx.Deadline()
	if !bounded || r.rate == 0 {
		return nil
	}
	available := time.Until(deadline) - answerMargin
	if needed := float64(r.count) / r.rate; needed > available.Seconds() {
		return fmt.Errorf("count/rate asks for %.0f s and a call may last %.0f s (exec_timeout): ask for fewer events, or more a second",
			math.Ceil(needed), math.Floor(available.Seconds()))
	}
	return nil
}
