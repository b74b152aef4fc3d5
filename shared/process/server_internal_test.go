package process

import (
	"testing"
	"time"
)

// The header of a request has a minute at most, however long the whole may take.
func TestTimeOfTheHeader(t *testing.T) {
	p, err := New(Options{})
	if err != nil {
		t.Fatal(err)
	}
	for whole, want := range map[time.Duration]time.Duration{0: time.Minute, time.Second: time.Second, time.Hour: time.Minute} {
		if got := p.httpServer(Service{ReadTimeout: whole}).ReadHeaderTimeout; got != want {
			t.Errorf("%s for a request: %s, want %s", whole, got, want)
		}
	}
}
