package deadletter

import (
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

func TestFilter(t *testing.T) {
	now := time.Date(2026, 11, 27, 9, 0, 0, 0, time.UTC)
	letter := Letter{ID: "e-1", Function: "exit-processor", Reason: "the plate is missing", Since: now}
	never := func(*Letter) bool { return false }
	for _, tt := range []struct {
		f    Filter
		want bool
	}{
		{Filter{}, true},
		{Filter{IDs: []string{"e-0", "e-1"}}, true},
		{Filter{IDs: []string{"e-0"}}, false},
		{Filter{Reason: "plate"}, true},
		{Filter{Reason: "Plate"}, false},
		{Filter{Function: "exit-processor"}, true},
		{Filter{Function: "exit"}, false},
		{Filter{Before: now.Add(time.Nanosecond)}, true},
		{Filter{Before: now}, false},
		{Filter{Match: func(l *Letter) bool { return l.ID == "e-1" }}, true},
		{Filter{Match: never}, false},
		{Filter{IDs: []string{"e-1"}, Reason: "no plate"}, false},
		{Filter{IDs: []string{"e-1"}, Match: never}, false},
	} {
		if got := tt.f.selects(&letter); got != tt.want {
			t.Errorf("%+v: %t", tt.f, got)
		}
	}
	letter.Since = time.Time{}
	if (Filter{Before: now}).selects(&letter) || !(Filter{}).selects(&letter) {
		t.Error("one of unknown age is selected by its age, or not at all")
	}
}

// A dead letter without an id gets one derived from its body, the same each time.
func TestLettersWithoutID(t *testing.T) {
	read := func(id, body string) Letter {
		return newLetter("q", &amqp.Delivery{MessageId: id, ContentType: "text/plain", Headers: amqp.Table{"x-tenant": "a", "x-parkstream-reason": "why"}, Body: []byte(body)})
	}
	a, again, b := read("", "a"), read("", "a"), read("", "b")
	if a.ID != "sha256:ca978112ca1b" || a.ID != again.ID || a.ID == b.ID || read("e-1", "a").ID != "e-1" {
		t.Errorf("ids %q, %q, %q", a.ID, again.ID, b.ID)
	}
	if a.Queue != "q" || a.Reason != "why" || string(a.Body) != "a" || a.ContentType != "text/plain" || len(a.Headers) != 1 || a.Headers["x-tenant"] != "a" {
		t.Errorf("%+v", a)
	}
}
