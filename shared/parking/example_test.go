package parking_test

import (
	"fmt"
	"time"

	"parkstream/shared/parking"
)

// The events of one plate at one site, in any order: a stay is an entry directly
// followed by an exit.
func ExamplePair() {
	at := func(kind parking.Kind, id, clock string) parking.Event {
		t, err := parking.ParseTime("2026-11-23T" + clock + ":00Z")
		if err != nil {
			panic(err)
		}
		e, err := parking.NewEvent(parking.Event{ID: id, Kind: kind, RawPlate: "KA 01 AB 1234", Time: t})
		if err != nil {
			panic(err)
		}
		return e
	}
	timeline := parking.Pair([]parking.Event{
		at(parking.Exit, "x2", "12:30"), // no camera saw the entry
		at(parking.Exit, "x1", "09:45"),
		at(parking.Entry, "e1", "08:15"),
		at(parking.Entry, "e3", "18:00"),
	}, nil)
	for _, s := range timeline.Stays {
		fmt.Print(s.ID, " ", s.Status())
		if d, ok := s.Duration(); ok {
			fmt.Print(" ", parking.ISODuration(d))
		}
		fmt.Println()
	}
	fmt.Println("inside since", timeline.Inside.Time.Format(time.Kitchen))
	// Output:
	// x1 completed PT1H30M
	// x2 unmatched_exit
	// inside since 6:00PM
}

func ExampleNormalizePlate() {
	for _, raw := range []string{"ka-01 ab 1234", "ＫＡ０１ＡＢ１２３４", "京A·12345", "- ?"} {
		fmt.Printf("%q\n", parking.NormalizePlate(raw))
	}
	// Output:
	// "KA01AB1234"
	// "KA01AB1234"
	// "京A12345"
	// ""
}

func ExampleParseTime() {
	for _, text := range []string{"2026-11-23T08:15:00.5+05:30", "2026-11-23 08:15:00Z"} {
		t, err := parking.ParseTime(text)
		fmt.Println(t.Format(time.RFC3339Nano), err)
	}
	// Output:
	// 2026-11-23T02:45:00.5Z <nil>
	// 0001-01-01T00:00:00Z "2026-11-23 08:15:00Z" is no RFC 3339 time with a zone, such as 2026-11-23T08:15:00Z: want YYYY-MM-DDThh:mm:ss before the fraction and the zone
}
