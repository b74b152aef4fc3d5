package rabbitmq

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// A topic of another connector is not a problem; /readyz?verbose lists it.
func TestForeignTopicsAreToldOnDemand(t *testing.T) {
	t.Parallel()
	g := newGateway(t)
	g.add("orders", "orders.v1", nil)
	g.add("both", "vehicle_entries,clicks", batched)
	settings := testSettings(g.server.URL)
	settings.Topics = []string{"vehicle_*"}
	c, err := New(Config{Settings: settings, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer c.gateway.CloseIdleConnections()
	defer c.publisher.Close()
	_, changed := c.discovery.Routes()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		c.discovery.Run(ctx)
	}()
	<-changed
	cancel()
	<-ended
	for path, want := range map[string]bool{"/readyz": false, "/readyz?verbose": true, "/readyz?verbose=1": true} {
		w := httptest.NewRecorder()
		c.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		text := w.Body.String()
		for _, line := range []string{"topic orders.v1 of function orders is left", "topic clicks of function both is left", "queue vehicle_entries goes to function both"} {
			if strings.Contains(text, line) != want {
				t.Errorf("%s tells %q: %v\n%s", path, line, !want, text)
			}
		}
	}
}
