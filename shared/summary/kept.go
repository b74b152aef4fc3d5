package summary

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"parkstream/shared/parking"
)

// Kept is a stay as the endpoint keeps and shows it.
type Kept struct {
	parking.Stay
	// UpdatedAt is when this revision was stored.
	UpdatedAt time.Time
}

// MarshalJSON adds updated_at to the stay's own form.
func (k Kept) MarshalJSON() ([]byte, error) {
	text, err := k.Stay.MarshalJSON()
	if err != nil {
		return nil, err
	}
	text = append(text[:len(text)-1], `,"updated_at":"`...)
	text = k.UpdatedAt.UTC().AppendFormat(text, time.RFC3339Nano)
	return append(text, `"}`...), nil
}

// The value of a stay in Redis has a line for the script that stores it, see
// put.lua, and then what the script does not need to know: the times of exit,
// update and entry as in a position, the plate, and in a third line the id of the
// entry. An unmatched exit has neither that time nor that line. Being a quarter
// of the JSON, it makes storing a stay a third cheaper.

// details writes what follows the first line.
func (k *Kept) details() string {
	text := hexTime(k.ExitTime) + hexTime(k.UpdatedAt)
	if k.EntryID == "" {
		return text + k.Plate
	}
	return text + hexTime(k.EntryTime) + k.Plate + "\n" + k.EntryID
}

// parseKept reads the value of a stay.
func parseKept(site, id, value string) (Kept, error) {
	k := Kept{Stay: parking.Stay{ID: id, ExitID: id, Site: site}}
	head, text, _ := strings.Cut(value, "\n")
	revision, _, _ := strings.Cut(head, " ")
	text, entryID, completed := strings.Cut(text, "\n")
	times := []*time.Time{&k.ExitTime, &k.UpdatedAt}
	if completed {
		k.EntryID = entryID
		times = append(times, &k.EntryTime)
	}
	var err error
	if k.Revision, err = strconv.ParseInt(revision, 10, 64); err != nil {
		return k, fmt.Errorf("read stay %q of site %s: revision: %w", id, site, err)
	}
	for _, t := range times {
		if len(text) < hexTimeLen {
			return k, fmt.Errorf("read stay %q of site %s: its value is too short", id, site)
		}
		nanos, err := strconv.ParseInt(text[:hexTimeLen], 16, 64)
		if err != nil {
			return k, fmt.Errorf("read stay %q of site %s: time: %w", id, site, err)
		}
		*t, text = time.Unix(0, nanos).UTC(), text[hexTimeLen:]
	}
	k.Plate = text
	return k, nil
}
