package evaluate

import (
	"bufio"
	"encoding/json"
	"io"
)

// Write writes the data in the form that [Read] reads. Times of visits are lost.
func (d *Data) Write(events, truth io.Writer) error {
	type line struct {
		Event   string `json:"event_id"`
		Site    string `json:"site"`
		Vehicle int32  `json:"vehicle"`
		Visit   int32  `json:"visit"`
	}
	eventsOut, truthOut := bufio.NewWriter(events), bufio.NewWriter(truth)
	toEvents, toTruth := json.NewEncoder(eventsOut), json.NewEncoder(truthOut)
	told := make(map[read]bool, len(d.of))
	for i := range d.Events {
		e := &d.Events[i]
		if err := toEvents.Encode(e); err != nil {
			return err
		}
		v, known := d.visitOf(e.Site, e.ID)
		if key := (read{e.Site, e.ID}); !known || v == nowhere || told[key] {
			continue
		} else {
			told[key] = true
		}
		if err := toTruth.Encode(line{e.ID, e.Site, d.visits[v].vehicle, v}); err != nil {
			return err
		}
	}
	if err := eventsOut.Flush(); err != nil {
		return err
	}
	return truthOut.Flush()
}
