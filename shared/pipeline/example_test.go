package pipeline_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"parkstream/shared/parking"
	"parkstream/shared/pipeline"
)

// memory keeps the events of one plate at one site. shared/timeline keeps all events in
// Redis.
type memory struct{ events []parking.Event }

func (m *memory) Record(_ context.Context, events []parking.Event) []parking.Recorded {
	m.events = append(m.events, events...)
	return []parking.Recorded{{Stays: parking.Pair(m.events, nil).Stays}}
}

// printed prints stays; shared/summary posts them to the summary function.
type printed struct{}

func (printed) Post(_ context.Context, stays []parking.Stay) error {
	for _, s := range stays {
		fmt.Println("posted:", s.Plate, s.Status())
	}
	return nil
}

// The function exit-processor without Redis and without a summary: a caller posts one
// event and gets the stay in the response.
func ExampleNewHTTPHandler() {
	now := func() time.Time { return time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC) }
	entry, err := parking.NewEvent(parking.Event{ID: "e1", Kind: parking.Entry, RawPlate: "KA01AB1234", Time: now().Add(-4 * time.Hour)})
	if err != nil {
		panic(err)
	}
	handler := pipeline.NewHTTPHandler(pipeline.NewExitEventProcessor(pipeline.Config{
		Store:     &memory{events: []parking.Event{entry}},
		Summaries: printed{},
		Caller: func(context.Context) pipeline.Caller {
			return pipeline.Caller{CheckSite: func(string) error { return nil }, MayRead: true}
		},
		Limits:  parking.Limits{MaxFuture: 2 * time.Minute, Retention: 90 * 24 * time.Hour},
		Metrics: pipeline.NewMetrics(prometheus.NewRegistry(), "exit-processor"),
		Log:     slog.New(slog.DiscardHandler),
		Now:     now,
	}))
	for _, event := range []string{
		`{"id":"x1","vehicle_plate":"ka-01 ab-1234","exit_date_time":"2026-11-23T09:30:00Z"}`,
		`{"id":"x2","vehicle_plate":"KA01AB1234"}`,
	} {
		answer := httptest.NewRecorder()
		handler.ServeHTTP(answer, httptest.NewRequest(http.MethodPost, "/", strings.NewReader(event)))
		fmt.Print(answer.Code, " ", answer.Body)
	}
	// Output:
	// posted: KA01AB1234 completed
	// 200 {"id":"x1","outcome":"done","stays":[{"id":"x1","site":"default","vehicle_plate":"KA01AB1234","entry_id":"e1","entry_date_time":"2026-11-23T08:00:00Z","exit_id":"x1","exit_date_time":"2026-11-23T09:30:00Z","duration_seconds":5400,"duration":"PT1H30M","status":"completed","revision":1}]}
	// 400 {"id":"x2","outcome":"reject","reason":"exit_date_time is missing or is the zero time"}
}
