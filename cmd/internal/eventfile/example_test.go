package eventfile_test

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"parkstream/cmd/internal/eventfile"
)

// An invalid record is reported, and the others are read.
func ExampleNew() {
	file := "id;vehicle_plate;entry_date_time\n" +
		"e1;KA01AB1234;2026-11-23T08:15:00Z\n" +
		"e2;KA01AB1235;yesterday\n" +
		"e3;KA01AB1236;2026-11-23T08:16:00Z\n"
	events, err := eventfile.New(strings.NewReader(file), eventfile.Auto)
	for err == nil {
		var e eventfile.Event
		e, err = events.Next()
		if wrong, ok := errors.AsType[*eventfile.LineError](err); ok {
			fmt.Println(wrong)
			err = nil
		} else if err == nil {
			fmt.Println(e.Queue, e.ID)
		}
	}
	fmt.Println(errors.Is(err, io.EOF))
	// Output:
	// vehicle_entries e1
	// line 3: entry_date_time "yesterday" is no RFC 3339 time with a zone, such as 2026-11-23T08:15:00Z: want YYYY-MM-DDThh:mm:ss before the fraction and the zone
	// vehicle_entries e3
	// true
}
