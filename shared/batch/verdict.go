package batch

import (
	"net/http"
)

// Verdict says what the status of a whole call means for its events.
type Verdict int

const (
	// Answered: the body has the results; for a single raw message, it is done.
	Answered Verdict = iota
	// Outage: nobody processed anything. It is not the events' fault and costs
	// them nothing.
	Outage
	// Crash: the function took the call and did not survive it, or did not
	// answer in time. One of the events may be to blame.
	Crash
	// Refused: the function understood the call and will never accept it.
	Refused
)

// Classify is the one place that turns an HTTP status into a [Verdict]. A call
// without any answer is an Outage when it could not be delivered (connection
// refused) and a Crash when it was cut short or timed out.
func Classify(status int) Verdict {
	switch {
	case status >= 200 && status < 300:
		return Answered
	case status == http.StatusTooManyRequests, status == http.StatusServiceUnavailable,
		// 401 and 404 come from a gateway that is misconfigured or does not know
		// the function (yet); neither says anything about the event.
		status == http.StatusUnauthorized, status == http.StatusForbidden, status == http.StatusNotFound,
		status >= 300 && status < 400:
		return Outage
	case status == http.StatusRequestTimeout, status == http.StatusTooEarly, status >= 500:
		return Crash
	default:
		return Refused
	}
}
