package openfaas

import (
	"bytes"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"parkstream/shared/batch"
)

// Response is what a call came to.
type Response struct {
	// Verdict tells whose fault it is that the call did not succeed.
	Verdict batch.Verdict
	// Results has one for each event, in their order, if the function has Answered, or
	// tells an Outage by event: each result is unavailable or a rejection then. A
	// function that takes raw messages has one result, without an id.
	Results []batch.Result
	// Setup reports an Outage because of how the connector calls the function, such as a
	// token that the function refuses. No event is to blame, whatever others came to.
	Setup bool
	// Status is the HTTP status, 0 if there was none.
	Status int
	// Reason says why the function has not Answered, with the first bytes of what came
	// instead. They need not be UTF-8.
	Reason string
	// RetryAfter is how long the function, or the gateway, asks to be left alone: at
	// most ten minutes, 0 if it does not.
	RetryAfter time.Duration
	// Took is the duration of the call.
	Took time.Duration
	// Cancelled reports whether the caller gave up the call. Nothing else is set then.
	Cancelled bool
}

const (
	// maxRetryAfter bounds what a function may ask for.
	maxRetryAfter = 10 * time.Minute
	// maxText bounds what is told of a response that is no answer.
	maxText = 1000
)

// read sets the verdict on a response that arrived, and what belongs to it. token is the
// one that the call carried: a function may answer with what it got, and no reason has it.
func (r *Response) read(h http.Header, body []byte, f *Function, token string, events []batch.Event) {
	r.Verdict = batch.Classify(r.Status)
	switch {
	case r.Verdict != batch.Answered:
		if token != "" {
			body = bytes.ReplaceAll(body, []byte(token), []byte(redacted))
		}
		r.fail(f, token, excerpt(body))
		r.RetryAfter = retryAfter(h.Get("Retry-After"), time.Now())
		if r.Status == http.StatusServiceUnavailable && f.Batched() {
			r.readOutage(body, events)
		}
	case !f.Batched():
		r.Results = []batch.Result{{Outcome: batch.Done}}
	default:
		results, err := batch.ParseResponse(body, events)
		if err != nil {
			// What the function did is unknown: as if it had not survived the call.
			r.Verdict, r.Reason = batch.Crash, err.Error()
			if token != "" { // the error may quote a name in the response
				r.Reason = strings.ReplaceAll(r.Reason, token, redacted)
			}
			return
		}
		for i := range results {
			if token != "" && results[i].Reason != "" {
				results[i].Reason = strings.ReplaceAll(results[i].Reason, token, redacted)
			}
		}
		r.Results = results
	}
}

// redacted stands for the connector's token.
const redacted = "[token]"

// fail sets verdict and reason of a status that is no success, and tells refusals that are
// about the connector from those that are about the events. A function that gets the
// connector's token answers 401 or 403 to the token. The content type of a batch is the
// connector's, that of a raw message its publisher's: a 415 is an outage in the first case.
// In the second case it is one only for a function that gets the token, and until that has
// done other messages.
func (r *Response) fail(f *Function, token, text string) {
	answer := http.StatusText(r.Status)
	if text != "" {
		answer += ": " + text
	}
	r.Reason = fmt.Sprintf("%d %s", r.Status, answer)
	switch {
	case f.SendToken && (r.Status == http.StatusUnauthorized || r.Status == http.StatusForbidden):
		if token == "" {
			answer = "there is none, create the secret connector-token; " + answer
		}
		r.Setup, r.Reason = true, fmt.Sprintf("the function %s refuses the connector's token (%d): %s", f.Name, r.Status, answer)
	case r.Status == http.StatusUnsupportedMediaType && f.Batched():
		r.Verdict, r.Setup = batch.Outage, true
		r.Reason = fmt.Sprintf("the function %s refuses batches of type %s (%d): %s", f.Name, batch.ContentType, r.Status, answer)
	case r.Status == http.StatusUnsupportedMediaType && f.SendToken:
		r.Verdict = batch.Outage
	}
}

// excerpt returns the beginning of a text, with an ellipsis if it was longer. Spaces around
// the text do not count.
func excerpt(body []byte) string {
	body = bytes.TrimSpace(body)
	if len(body) <= maxText {
		return string(body)
	}
	n := maxText
	for n > maxText-utf8.UTFMax && !utf8.RuneStart(body[n]) {
		n--
	}
	return string(body[:n]) + "…"
}

// readOutage takes the results of an outage that the function tells by event: each is
// unavailable, or rejected.
func (r *Response) readOutage(body []byte, events []batch.Event) {
	results, err := batch.ParseResponse(body, events)
	told := slices.IndexFunc(results, func(r batch.Result) bool { return r.Unavailable })
	if err != nil || told < 0 || slices.ContainsFunc(results, func(r batch.Result) bool { return !r.Unavailable && r.Outcome != batch.Reject }) {
		return
	}
	r.Results, r.Reason = results, results[told].Reason
}

// retryAfter reads the header, which has seconds or a date.
func retryAfter(h string, now time.Time) time.Duration {
	var d time.Duration
	if s, err := strconv.Atoi(h); err == nil {
		d = time.Duration(min(s, int(maxRetryAfter/time.Second))) * time.Second
	} else if t, err := http.ParseTime(h); err == nil {
		d = t.Sub(now)
	}
	return max(0, min(d, maxRetryAfter))
}
