package learn

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"parkstream/docs/api/apitest"
	"parkstream/shared/access"
	"parkstream/shared/instance/instancetest"
	"parkstream/shared/model"
	"parkstream/shared/parking"
	"parkstream/shared/redis"
	"parkstream/shared/stay"
	"parkstream/shared/timeline"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// newLearner returns a learner of a Redis with visits of the last days, of which some have
// a misread plate. What processors would post is in the store of stays.
func newLearner(t *testing.T) *Learner {
	t.Helper()
	client, err := redis.Open(redis.URL(instancetest.Redis(t).URL()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	const retention = 90 * 24 * time.Hour
	l := &Learner{Stays: stay.New(client, retention), Events: timeline.New(client, retention), Models: model.New(client), Now: time.Now}
	var events []parking.Event
	start := time.Now().UTC().Add(-5 * 24 * time.Hour).Truncate(time.Second)
	for i := range 400 {
		plate := fmt.Sprintf("AB%02d%c%c%c", i*7%100, 'C'+rune(i*5%17), 'D'+rune(i*3%13), 'E'+rune(i%19))
		for _, kind := range []parking.Kind{parking.Entry, parking.Exit} {
			at, text := start.Add(time.Duration(i)*15*time.Minute), plate
			if kind == parking.Exit {
				at = at.Add(time.Hour)
				if i%10 == 0 {
					text = "A8" + plate[2:]
				}
			}
			e, err := parking.NewEvent(parking.Event{ID: fmt.Sprintf("%s%d", kind, i), Kind: kind, Site: "north", RawPlate: text, Time: at})
			if err != nil {
				t.Fatal(err)
			}
			events = append(events, e)
		}
	}
	var stays []parking.Stay
	for _, r := range l.Events.Record(t.Context(), events) {
		if r.Err != nil {
			t.Fatal(r.Err)
		}
		stays = append(stays, r.Stays...)
	}
	if _, err := l.Stays.Upsert(t.Context(), parking.Latest(stays)); err != nil {
		t.Fatal(err)
	}
	l.Match = func(_ context.Context, _ string, from, _ time.Time, models parking.Models) ([]parking.Stay, time.Time, error) {
		return parking.ReadsOf(events, nil).Match(nil, models), from, nil
	}
	return l
}

// ask sends a request of an administrator of the site north.
func ask(h http.Handler, target string, p access.Principal) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, target, nil)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r.WithContext(access.NewContext(r.Context(), p)))
	return w
}

// A model is made of what is stored, and it is told which stays it would change. Nothing is
// changed by that. If it is valid, it would change nothing.
func TestLearn(t *testing.T) {
	l := newLearner(t)
	h := apitest.Handler(t, "matcher", Handler(l, slog.New(slog.DiscardHandler)))
	admin := access.Principal{Name: "anna", Role: access.Admin, Sites: access.SitesOf("north")}
	strict := parking.DefaultModel()
	strict.Version, strict.Margin, strict.Margins = "strict", 9000, nil
	valid := func(m *parking.Model, from time.Time) {
		t.Helper()
		_, err := l.Models.Keep(t.Context(), "north", m, "anna")
		if err == nil {
			_, err = l.Models.Activate(t.Context(), "north", m.Version, from, "anna", false)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	valid(strict, time.Now().AddDate(0, 0, -30))
	report := func() (r Report) {
		t.Helper()
		w := ask(h, "/learn?site=north&days=7&margin=100", admin)
		if err := json.Unmarshal(w.Body.Bytes(), &r); err != nil || w.Code != http.StatusOK {
			t.Fatalf("%d %.500s: %v", w.Code, w.Body, err)
		}
		return r
	}
	first := report()
	if first.Learnt.Exact < 300 || first.Learnt.Lone < 30 || first.Model.Margin != 100 || first.Valid != "strict" || first.LeftOut {
		t.Errorf("%+v, margin %d", first, first.Model.Margin)
	}
	if n := first.Before.Exact + first.Before.Near + first.Before.Unmatched; n != 400 || n != first.After.Exact+first.After.Near+first.After.Unmatched {
		t.Errorf("before %+v, after %+v", first.Before, first.After)
	}
	if got := first.Model.Margins[parking.TwoEdits]; got != parking.DefaultModel().Margins[parking.TwoEdits] {
		t.Errorf("two edits need %d", got)
	}
	if len(first.Changed) == 0 || first.Changed[0].Kind != Gained || first.Changed[0].HoursAfter < first.Changed[0].Stays || first.Changes[0].After.Match == nil {
		t.Errorf("changed is %+v", first.Changed)
	}
	if list, err := l.Models.List(t.Context(), "north"); err != nil || len(list.Models) != 1 || len(list.Periods) != 1 {
		t.Errorf("learning has changed %+v, %v", list, err)
	}
	valid(first.Model, first.From.Add(-time.Hour))
	second := report()
	if second.Valid != first.Model.Version || second.Before != first.After {
		t.Errorf("with the model before is %+v, want %+v", second.Before, first.After)
	}
}

// Lone reads arrive while a model is compared, so the two results may begin at different
// instants if the oldest are left out. What only one of them has is not a change.
func TestLearnComparesWhatBothResultsDecide(t *testing.T) {
	l := newLearner(t)
	match := l.Match
	valid := []*parking.Model{parking.DefaultModel()} // for both: nothing changes by a model
	ages := map[string][2]time.Duration{              // of the first instants, before and after
		"before is older": {96 * time.Hour, 48 * time.Hour},
		"after is older":  {48 * time.Hour, 96 * time.Hour},
		"all is there":    {7 * 24 * time.Hour, 7 * 24 * time.Hour},
	}
	for name, ages := range ages {
		var decided []int
		l.Match = func(ctx context.Context, site string, from, at time.Time, _ parking.Models) ([]parking.Stay, time.Time, error) {
			stays, _, err := match(ctx, site, from, at, valid)
			first := at.Add(-ages[len(decided)])
			stays = slices.DeleteFunc(stays, func(s parking.Stay) bool { return s.ExitTime.Before(first) })
			decided = append(decided, len(stays))
			return stays, first, err
		}
		r, err := l.Learn(t.Context(), Request{Site: "north", Days: 7})
		if err != nil {
			t.Fatal(err)
		}
		if want := min(decided[0], decided[1]); len(r.Changes) > 0 || want == 0 || r.Before != r.After || r.Before.Near != want {
			t.Errorf("%s: %d changes, before %+v, after %+v, want %d near ones", name, len(r.Changes), r.Before, r.After, want)
		}
		if want := decided[0] != decided[1]; r.LeftOut != want {
			t.Errorf("%s: left out is %t, want %t", name, r.LeftOut, want)
		}
	}
}

// Of all stays that is learnt which a person corrected, also if the details of few are read.
func TestLearnReadsEveryCorrection(t *testing.T) {
	l := newLearner(t)
	exit, err := l.Events.Event(t.Context(), "north", "exit10")
	if err == nil {
		exit, err = exit.Correct("AB"+exit.Plate[2:], parking.Correction{ID: "c", By: "ada", At: time.Now()})
	}
	if err != nil {
		t.Fatal(err)
	}
	r := l.Events.Record(t.Context(), []parking.Event{exit})[0]
	if _, err := l.Stays.Upsert(t.Context(), r.Stays); err != nil || r.Err != nil {
		t.Fatal(err, r.Err)
	}
	var of [2]parking.Learnt
	for i, looks := range []int{mostLooks, 1} {
		l.looks = looks
		report, err := l.Learn(t.Context(), Request{Site: "north", Days: 7})
		if err != nil {
			t.Fatal(err)
		}
		of[i] = report.Learnt
	}
	if of[0].Near == 0 || of[0] != of[1] {
		t.Errorf("learnt from %+v, and with the details of one stay from %+v", of[0], of[1])
	}
}

// What is wrong is told, before anything is read.
// A site without stays is mistyped more often than new.
func TestNothingToLearnFrom(t *testing.T) {
	l := newLearner(t)
	h := Handler(l, slog.New(slog.DiscardHandler))
	admin := access.Principal{Name: "anna", Role: access.Admin, Sites: access.SitesOf("nroth")}
	if w := ask(h, "/learn?site=nroth&days=7", admin); w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), "no stay of the last 7 days") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestRefusals(t *testing.T) {
	h := Handler(&Learner{}, slog.New(slog.DiscardHandler))
	admin := access.Principal{Name: "anna", Role: access.Admin, Sites: access.SitesOf("north")}
	for target, want := range map[string]string{
		"/learn":                            "site",
		"/learn?site=a%20b":                 "site",
		"/learn?site=north&days=0":          "days",
		"/learn?site=north&days=32":         "want a number from 1 to 31",
		"/learn?site=north&days=x":          "days",
		"/learn?site=north&margin=-1":       "margin",
		"/learn?site=north&margin=99999":    "margin",
		"/learn?site=north&site=south":      "2 times",
		"/learn?site=north&since=yesterday": "unknown parameter",
		"/learn?site=north&%zz":             "query",
	} {
		if w := ask(h, target, admin); w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), want) {
			t.Errorf("%s: %d %s", target, w.Code, w.Body)
		}
	}
	operator := admin
	operator.Role = access.Operator
	for who, p := range map[string]access.Principal{"another site": {Role: access.Admin, Sites: access.SitesOf("south")}, "an operator": operator, "a stranger": {}} {
		if w := ask(h, "/learn?site=north", p); w.Code != http.StatusForbidden {
			t.Errorf("%s: %d %s", who, w.Code, w.Body)
		}
	}
	busy := &endpoint{&Learner{}, slog.New(slog.DiscardHandler), make(chan struct{})}
	if w := ask(busy, "/learn?site=north", admin); w.Code != http.StatusTooManyRequests || w.Header().Get("Retry-After") == "" {
		t.Errorf("while another model is made: %d %s", w.Code, w.Body)
	}
}
