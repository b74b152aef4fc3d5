package batch

import (
	"testing"
)

func TestClassify(t *testing.T) {
	special := map[int]Verdict{
		401: Outage, 403: Outage, 404: Outage, 429: Outage, 503: Outage, 408: Crash, 425: Crash,
	}
	for status := 200; status < 600; status++ {
		want, ok := special[status]
		if !ok {
			want = map[int]Verdict{2: Answered, 3: Outage, 4: Refused, 5: Crash}[status/100]
		}
		if got := Classify(status); got != want {
			t.Errorf("Classify(%d) = %d, want %d", status, got, want)
		}
	}
}
