package summary

import (
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"parkstream/shared/access"
	"parkstream/shared/audit"
	"parkstream/shared/httpjson"
	"parkstream/shared/parking"
	"parkstream/shared/review"
	"parkstream/shared/stay"
	"parkstream/shared/timeline"
)

// maxDecision is enough for a decision.
const maxDecision = 4 << 10

// reviewer returns who decides about reads.
func (h handler) reviewer() *review.Reviewer {
	return &review.Reviewer{Events: h.Sites, Models: h.Models.Models, Now: h.Stays.Now, Post: func(ctx context.Context, stays []parking.Stay) error {
		_, err := h.Stays.Upsert(ctx, stays)
		return err
	}}
}

// situation is what holds of the reads of a decision.
type situation struct {
	Events    []parking.Event     `json:"events"`
	Stays     []stay.StoredStay   `json:"stays"`
	Rejection *timeline.Rejection `json:"rejection,omitempty"`
}

// decided is the response to a decision.
type decided struct {
	ID      string `json:"id"`
	Changed bool   `json:"changed"`
	situation
}

// decide makes a decision of the principal.
func (h handler) decide(w http.ResponseWriter, r *http.Request) {
	site := r.PathValue("site")
	d, err := parseDecision(r)
	if err := cmp.Or(err, parking.CheckSite(site)); err != nil {
		h.fail(w, r, err)
		return
	}
	d.By = access.From(r.Context()).Name
	texts, err := h.hidden(r.Context(), site, &d)
	if err != nil {
		h.fail(w, r, err)
		return
	}
	var result review.Result
	e := entry(r.Context(), audit.Decide, site)
	e.Object, e.Plate = texts.object, parking.NormalizePlate(d.Plate)
	err = h.Audit.Do(r.Context(), e, func(ctx context.Context) (audit.Change, error) {
		reviewer := h.reviewer()
		unposted, err := reviewer.Repair(ctx, site)
		if unposted.Decisions > 0 {
			h.Log.WarnContext(ctx, "stays of decisions not posted", "site", site, "decisions", unposted.Decisions, "error", unposted.First)
		}
		if err == nil {
			result, err = reviewer.Decide(ctx, site, d)
		}
		return audit.Change{Before: texts.before, After: maskedPlates(result.Events)}, err
	})
	if conflict, ok := errors.AsType[*review.ConflictError](err); ok {
		holds, err := h.situation(r.Context(), conflict.Situation)
		if err != nil {
			h.fail(w, r, err)
			return
		}
		httpjson.Write(w, http.StatusConflict, struct {
			Error string `json:"error"`
			situation
		}{conflict.Error(), holds})
		return
	}
	if err != nil {
		h.fail(w, r, err)
		return
	}
	response := decided{ID: d.ID, Changed: result.Changed}
	if response.situation, err = h.situation(r.Context(), result.Situation); err != nil {
		h.fail(w, r, err)
		return
	}
	h.Log.InfoContext(r.Context(), "decision about reads", "site", site, "decision", string(d.Kind), "changed", result.Changed, "stays", len(result.Stays))
	status := http.StatusOK
	if result.Changed {
		status = http.StatusCreated
	}
	httpjson.Write(w, status, response)
}

// parseDecision returns the decision in a body. Its members are known ones: who decides is
// not among them.
func parseDecision(r *http.Request) (d review.Decision, err error) {
	body, err := readBody(r)
	if err != nil {
		return d, parking.Invalid("read the request: %v", err)
	}
	if err := json.Unmarshal(body, &d, json.RejectUnknownMembers(true)); err != nil {
		return d, parking.Invalid(`want a decision such as {"id":"d1","decision":"same","entry_id":"e1","exit_id":"x1","plate":"KA01AB1234"}: %v`, err)
	}
	return d, d.Check()
}

// situation returns what holds as the principal sees it, with the stays as they are stored.
func (h handler) situation(ctx context.Context, s review.Situation) (situation, error) {
	holds := situation{Events: []parking.Event{}, Stays: []stay.StoredStay{}, Rejection: s.Rejection}
	m := maskOf(ctx)
	for i := range s.Events {
		holds.Events = append(holds.Events, m.event(s.Events[i]))
	}
	for i := range s.Stays {
		k, err := h.Stays.Get(ctx, []string{s.Stays[i].Site}, s.Stays[i].ID)
		if errors.Is(err, stay.ErrNotFound) {
			continue
		}
		if err != nil {
			return holds, err
		}
		holds.Stays = append(holds.Stays, m.stay(k))
	}
	if r := holds.Rejection; r != nil && (!m.whole || r.Withdrawn != nil) {
		holds.Rejection = nil
	}
	return holds, nil
}

// auditTexts are those of a decision for the audit: without plates, which cannot be erased
// there.
type auditTexts struct{ object, before string }

// hidden returns the texts of a decision for the audit. An id may contain the plate that
// was read, or that was before.
func (h handler) hidden(ctx context.Context, site string, d *review.Decision) (texts auditTexts, err error) {
	var events []parking.Event
	for _, id := range []string{d.EntryID, d.ExitID, d.EventID} {
		if id == "" {
			continue
		}
		e, err := h.Sites.Event(ctx, site, id)
		if err != nil && !errors.Is(err, timeline.ErrNoEvent) {
			return texts, err
		}
		if err == nil {
			events = append(events, e)
		}
	}
	plates := []string{d.Plate}
	for i := range events {
		e := &events[i]
		plates = append(plates, e.Plate)
		if e.Correction != nil {
			plates = append(plates, e.Correction.Was)
		}
		for _, c := range e.Details.Candidates {
			plates = append(plates, c.Plate)
		}
	}
	hide := func(id string) string {
		for _, plate := range plates {
			id = parking.MaskReadsIn(id, plate)
		}
		return id
	}
	parts := []string{string(d.Kind), hide(d.ID)}
	for _, id := range []string{d.Of, d.EntryID, d.ExitID, d.EventID} {
		if id != "" {
			parts = append(parts, hide(id))
		}
	}
	return auditTexts{strings.Join(parts, " "), maskedPlates(events)}, nil
}

// maskedPlates returns the plates of events for the audit.
func maskedPlates(events []parking.Event) string {
	texts := make([]string, len(events))
	for i := range events {
		texts[i] = cmp.Or(parking.MaskPlate(events[i].Plate), "no plate")
	}
	return strings.Join(texts, " ")
}

// suggestions responds with what may be of the same vehicle as a read.
func (h handler) suggestions(w http.ResponseWriter, r *http.Request) {
	site, id := r.PathValue("site"), cmp.Or(r.PathValue("id"), r.URL.Query().Get("id"))
	if err := errors.Join(parking.CheckSite(site), parking.CheckID(id)); err != nil {
		h.fail(w, r, err)
		return
	}
	models, err := h.Models.Models(r.Context(), site)
	if err != nil {
		h.fail(w, r, err)
		return
	}
	found, err := h.reviewer().Suggest(r.Context(), site, id, models)
	if err != nil {
		h.fail(w, r, err)
		return
	}
	httpjson.Write(w, http.StatusOK, found)
}

// The kinds of what is to be reviewed, in the order of the list.
const (
	disputedStay  = "disputed"
	unmatchedExit = "unmatched_exit"
	noPlateRead   = "no_plate"
)

var reviewKinds = []string{disputedStay, unmatchedExit, noPlateRead}

// reviewItem is something to decide about.
type reviewItem struct {
	Kind string `json:"kind"`
	// Stay is that of a disputed stay.
	Stay *stay.StoredStay `json:"stay,omitempty"`
	// Read is that of an unmatched exit, or the one without a plate.
	Read        *parking.Event      `json:"read,omitempty"`
	Suggestions []review.Suggestion `json:"suggestions"`
}

// reviewPage is a part of the list.
type reviewPage struct {
	Items []reviewItem `json:"items"`
	Next  string       `json:"next"` // empty on the last page
}

// maxReview bounds the items of one page: each has events and suggestions.
const maxReview = 100

// review lists what is to be decided about at a site.
func (h handler) review(w http.ResponseWriter, r *http.Request) {
	values, site := r.URL.Query(), r.PathValue("site")
	limit, err1 := reviewLimit.number(values, 20)
	kind, err2 := reviewKind.choice(values)
	at, inner, err3 := parseReviewCursor(values)
	if err := errors.Join(err1, err2, err3, parking.CheckSite(site)); err != nil {
		h.fail(w, r, err)
		return
	}
	page := reviewPage{Items: []reviewItem{}}
	for i, one := range reviewKinds {
		if kind != "" && kind != one || i < at {
			continue
		}
		if i > at {
			inner = ""
		}
		next, err := h.reviewOf(r.Context(), site, one, inner, int(limit)-len(page.Items), &page)
		if err != nil {
			h.fail(w, r, err)
			return
		}
		if next != "" {
			page.Next = one + "." + next
			break
		}
		if len(page.Items) >= int(limit) {
			if i+1 < len(reviewKinds) && kind == "" {
				page.Next = reviewKinds[i+1] + "."
			}
			break
		}
	}
	httpjson.Write(w, http.StatusOK, page)
}

var (
	reviewLimit  = parameter{name: "limit", kind: wholeNumber, min: 1, max: maxReview}
	reviewKind   = parameter{name: "kind", kind: oneOf, choices: reviewKinds}
	reviewCursor = parameter{name: "cursor", kind: reviewText}
	reviewParams = []parameter{reviewKind, reviewLimit, reviewCursor}
)

// parseReviewCursor returns the kind at which a page begins, and the cursor in its list.
func parseReviewCursor(values url.Values) (kind int, inner string, err error) {
	text := values.Get(reviewCursor.name)
	if text == "" {
		return 0, "", nil
	}
	name, inner, found := strings.Cut(text, ".")
	for i, one := range reviewKinds {
		if found && one == name {
			return i, inner, nil
		}
	}
	return 0, "", stay.ErrCursor
}

// reviewOf appends what is to be decided about of one kind, and returns the cursor of the
// rest.
func (h handler) reviewOf(ctx context.Context, site, kind, cursor string, limit int, page *reviewPage) (next string, err error) {
	switch kind {
	case disputedStay:
		stays, err := h.Stays.List(ctx, stay.Query{Sites: []string{site}, Disputed: new(true), Limit: limit, Cursor: cursor})
		if err != nil {
			return "", err
		}
		for i := range stays.Stays {
			item := reviewItem{Kind: kind, Stay: &stays.Stays[i]}
			if item.Suggestions, err = h.disputing(ctx, &stays.Stays[i]); err != nil {
				return "", err
			}
			page.Items = append(page.Items, item)
		}
		return stays.Next, nil
	case unmatchedExit:
		config, err := h.Registry.Site(ctx, site)
		if err != nil {
			return "", err
		}
		before := timeline.Place{Time: h.Stays.Now().Add(-config.SettleTime())}
		if cursor != "" {
			if before, err = parsePlaceCursor(cursor); err != nil {
				return "", err
			}
		}
		models, err := h.Models.Models(ctx, site)
		if err != nil {
			return "", err
		}
		list, rest, err := h.reviewer().Unmatched(ctx, site, before, limit, models)
		if err != nil {
			return "", err
		}
		for i := range list {
			page.Items = append(page.Items, reviewItem{Kind: kind, Read: &list[i].Read, Suggestions: list[i].Suggestions})
		}
		if rest == nil {
			return "", nil
		}
		return base64.RawURLEncoding.EncodeToString([]byte(rest.Time.UTC().Format(time.RFC3339Nano) + " " + rest.ID)), nil
	default:
		events, next, err := h.Sites.NoPlates(ctx, site, limit, cursor)
		for i := range events {
			page.Items = append(page.Items, reviewItem{Kind: kind, Read: &events[i], Suggestions: []review.Suggestion{}})
		}
		return next, err
	}
}

// parsePlaceCursor returns the place in the order of timelines that a cursor is of.
func parsePlaceCursor(text string) (timeline.Place, error) {
	decoded, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		return timeline.Place{}, stay.ErrCursor
	}
	instant, id, _ := strings.Cut(string(decoded), " ")
	at, err := time.Parse(time.RFC3339Nano, instant)
	if err != nil || nearest(at) != at || parking.CheckID(id) != nil {
		return timeline.Place{}, stay.ErrCursor
	}
	return timeline.Place{ID: id, Time: at}, nil
}

// disputing returns the pairs that make a stay doubtful.
func (h handler) disputing(ctx context.Context, k *stay.StoredStay) ([]review.Suggestion, error) {
	list := []review.Suggestion{}
	if k.Match == nil {
		return list, nil
	}
	var ids []string
	for _, a := range k.Match.Alternatives {
		ids = append(ids, otherRead(k, a))
	}
	events, err := h.Sites.Events(ctx, k.Site, ids)
	if err != nil {
		return nil, fmt.Errorf("read what disputes a stay: %w", err)
	}
	for i, a := range k.Match.Alternatives {
		if e, known := events[ids[i]]; known {
			list = append(list, review.Suggestion{EntryID: a.EntryID, ExitID: a.ExitID, Read: e, Match: parking.Explanation{Weight: a.Weight}})
		}
	}
	return list, nil
}

// otherRead returns the read of an alternative that is not of the stay.
func otherRead(k *stay.StoredStay, a parking.Alternative) string {
	if a.EntryID == k.EntryID {
		return a.ExitID
	}
	return a.EntryID
}
