package batch_test

import (
	"fmt"

	"parkstream/shared/batch"
)

// A function reads the request and answers with an outcome for each event. The
// connector acknowledges the first one, tries the second one again and dead-letters
// the third one.
func ExampleParseRequest() {
	body := `[
		{"specversion":"1.0","id":"1","source":"/rabbitmq/letters","type":"io.parkstream.delivery","data":{"to":"Ada"}},
		{"specversion":"1.0","id":"2","source":"/rabbitmq/letters","type":"io.parkstream.delivery","data":{"to":"Bob"}},
		{"specversion":"1.0","id":"3","source":"/rabbitmq/letters","type":"io.parkstream.delivery","data_base64":"/w=="}
	]`
	events, err := batch.ParseRequest([]byte(body))
	if err != nil {
		fmt.Println("answer 400:", err)
		return
	}
	var results []batch.Result
	for _, e := range events {
		result := batch.Result{ID: e.ID, Outcome: batch.Done}
		switch string(e.Data) {
		case `{"to":"Ada"}`:
		case `{"to":"Bob"}`:
			result.Outcome, result.Reason = batch.Retry, "the letter box is full"
		default:
			result.Outcome, result.Reason = batch.Reject, "it has no address"
		}
		results = append(results, result)
	}
	fmt.Printf("%s\n", batch.AppendResponse(nil, results))
	// Output:
	// {"results":[{"id":"1","outcome":"done"},{"id":"2","outcome":"retry","reason":"the letter box is full"},{"id":"3","outcome":"reject","reason":"it has no address"}]}
}

// An event that is missing from the response is tried again.
func ExampleParseResponse() {
	events := []batch.Event{{ID: "1"}, {ID: "2"}}
	results, err := batch.ParseResponse([]byte(`{"results":[{"id":"2","outcome":"done"}]}`), events)
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, r := range results {
		fmt.Println(r.ID, r.Outcome, r.Reason)
	}
	// Output:
	// 1 retry the function's answer does not name this event
	// 2 done
}
