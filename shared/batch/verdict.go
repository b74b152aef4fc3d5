package batch

import "net/http"

// Verdict is what the status of a whole call means for its events.
type Verdict int

const (
	// Answered: the body has the results. A single raw message is done.
	Answered Verdict = iota
	// Outage: no event was processed. The events are not to blame, and the call does
	// not count as an attempt.
	Outage
	// Crash: the function accepted the call and crashed or exceeded its deadline.
	// One of the events may be to blame.
	Crash
	// Refused: the function understood the call and will never accept it.
	Refused
)

// Classify returns the [Verdict] for an HTTP status. A call without a status is for
// the caller: an Outage if it could not be delivered (connection refused), a Crash if
// it was cut short or timed out.
func Classify(status int) Verdict {
	switch {
	case status >= 200 && status < 300:
		return Answered
	case status == http.StatusTooManyRequests, status == http.StatusServiceUnavailable,
		// 401, 403 and 404 come from a gateway that is misconfigured or does not know
		// the function yet; they do not depend on the event.
		status == http.StatusUnauthorized, status == http.StatusForbidden, status == http.StatusNotFound,
		status >= 300 && status < 400:
		return Outage
	case status == http.StatusRequestTimeout, status == http.StatusTooEarly, status >= 500:
		return Crash
	default:
		return Refused
	}
}
