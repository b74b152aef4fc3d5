package matcher

import (
	"context"
	"math"
	"net/http"
	"strconv"
	"time"

	"parkstream/shared/access"
	"parkstream/shared/faas"
	"parkstream/shared/failure"
	"parkstream/shared/httpjson"
	"parkstream/shared/schedule"
)

// answerMargin is the time that a tick leaves before the end of its call.
const answerMargin = 2 * time.Second

// response is the response to a tick.
type response struct {
	Counts

	Error string `json:"error,omitempty"`
}

// learnPath is where a model of a site is learnt.
const learnPath = "/learn"

// admission returns who may have the matcher run; see [faas.Admission]: anyone as cron
// does, and those who may post events at any time. A model is learnt for administrators.
func admission(guard *access.Guard) faas.Admission {
	return func(w http.ResponseWriter, r *http.Request) (context.Context, int64, bool) {
		if r.URL.Path == learnPath {
			ctx, ok := guard.Require(w, r, access.Administer)
			return ctx, 0, ok
		}
		if byCron(r) && !guard.Open() {
			if err := guard.CheckRequest(r); err != nil {
				guard.Refuse(w, r, err)
				return nil, 0, false
			}
			return r.Context(), 0, true
		}
		ctx, ok := guard.Require(w, r, access.PostEvents)
		return ctx, 0, ok
	}
}

// byCron reports whether a request is as cron sends it: without a login.
func byCron(r *http.Request) bool {
	return r.Method == http.MethodPost && r.Header.Get("Authorization") == ""
}

// endpoint serves the matcher.
type endpoint struct {
	*Matcher
	ticks *schedule.Ticks
	now   func() time.Time
}

// handler returns the routes of the matcher:
//
//	POST /
//
//	200 {"sites":3,"busy":0,"left":0,"decided":12,"withdrawn":1,"refused":0}
//	429 {"error":"..."} to a second call without a login in a tick of the schedule
//	503 {"sites":1,...,"error":"..."}
//
// Sites are matched, and models learnt, one after the other in a process. A call with a login is for the sites of that login, at any time. [learn.Handler] serves
// POST /learn.
func handler(m *Matcher, ticks *schedule.Ticks, learner http.Handler) http.Handler {
	e := &endpoint{m, ticks, time.Now}
	mux := http.NewServeMux()
	mux.HandleFunc("/{$}", e.tick)
	mux.Handle(learnPath, m.alone(learner))
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		httpjson.Error(w, http.StatusNotFound, "there is nothing here: POST / matches reads, POST /learn learns a model")
	})
	return mux
}

// longestWait is how long a model waits for a site that is being matched. What is left of the
// call is enough for most.
const longestWait = 20 * time.Second

// alone has requests wait until no site is worked at, and the sites until they are answered.
func (m *Matcher) alone(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), longestWait)
		defer cancel()
		leave, err := m.enter(ctx)
		if err != nil {
			w.Header().Set("Retry-After", "30")
			httpjson.Error(w, http.StatusServiceUnavailable, "the matcher is at work, and the memory of this process is not enough for both: try again in half a minute")
			return
		}
		defer leave()
		h.ServeHTTP(w, r)
	})
}

func (e *endpoint) tick(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	switch {
	case r.Method != http.MethodPost:
		w.Header().Set("Allow", http.MethodPost)
		httpjson.Error(w, http.StatusMethodNotAllowed, "use POST, this matches reads")
		return
	case r.URL.RawQuery != "":
		httpjson.Error(w, http.StatusBadRequest, "this takes no parameters: it matches the reads of all sites in turn")
		return
	}
	ctx := r.Context()
	if deadline, bounded := ctx.Deadline(); bounded {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, deadline.Add(-answerMargin))
		defer cancel()
	}
	sites := access.AllSites()
	if by := access.From(ctx); by.Role != "" {
		sites = by.Sites
	} else if !e.takeTick(ctx, w) {
		return
	}
	counts, err := e.Tick(ctx, sites.Has)
	a, status := response{Counts: counts}, http.StatusOK
	if err != nil {
		a.Error, status = failure.Told(err), http.StatusServiceUnavailable
	}
	httpjson.Write(w, status, a)
}

// takeTick takes the tick of a call by cron. It writes the response if the tick cannot
// be taken.
func (e *endpoint) takeTick(ctx context.Context, w http.ResponseWriter) bool {
	now := e.now()
	taken, end, err := e.ticks.Take(ctx, now)
	switch {
	case err != nil:
		e.Log.DebugContext(ctx, "no tick taken", "error", err) // a stranger may call often
		w.Header().Set("Retry-After", "1")
		httpjson.Error(w, http.StatusServiceUnavailable, failure.Told(err))
	case !taken:
		seconds := strconv.Itoa(int(math.Ceil(end.Sub(now).Seconds())))
		w.Header().Set("Retry-After", seconds)
		httpjson.Error(w, http.StatusTooManyRequests, "a call without a login matches reads once in each tick of SCHEDULE ("+e.ticks.Text()+
			"), and this tick has had its call: try again in "+seconds+" s, or log in")
	}
	return taken
}
