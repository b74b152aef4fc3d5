package summaryclient_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"time"

	"parkstream/shared/parking"
	"parkstream/shared/summary/summaryclient"
)

// The endpoint accepts some stays and refuses others. Posting the refused ones again is
// useless. After any other error a later try is useful.
func ExampleClient_Post() {
	endpoint := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		fmt.Printf("%s %s\n", r.Header.Get("Authorization"), body)
		if string(body) == "[]" {
			http.Error(w, "no stays", http.StatusBadRequest)
			return
		}
		w.WriteHeader(http.StatusCreated)
	}))
	defer endpoint.Close()
	client := summaryclient.New(endpoint.URL, func() (string, error) { return "the-token", nil }) // of a file
	defer client.Close()

	exit := time.Date(2026, 11, 23, 9, 45, 0, 0, time.UTC)
	for _, stays := range [][]parking.Stay{{{ID: "x1", Site: "north", Plate: "KA01AB1234", ExitTime: exit, Revision: 1}}, {}} {
		err := client.Post(context.Background(), stays)
		if status, ok := errors.AsType[*summaryclient.StatusError](err); ok {
			fmt.Println("refused:", status.Refused(), status.Answer)
			continue
		}
		fmt.Println("posted:", err == nil)
	}
	// Output:
	// Bearer the-token [{"id":"x1","site":"north","vehicle_plate":"KA01AB1234","entry_id":null,"entry_date_time":null,"exit_id":"x1","exit_date_time":"2026-11-23T09:45:00Z","duration_seconds":null,"duration":null,"status":"unmatched_exit","revision":1}]
	// posted: true
	// Bearer the-token []
	// refused: true no stays
}
