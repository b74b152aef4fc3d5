package summary

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"parkstream/shared/httpjson"
	"parkstream/shared/parking"
)

func (h handler) receive(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	body, err := readBody(r)
	if err != nil {
		httpjson.Error(w, http.StatusBadRequest, "read the request: "+err.Error())
		return
	}
	stays, err := parseStays(body)
	switch {
	case errors.Is(err, errTooMany):
		httpjson.Error(w, http.StatusRequestEntityTooLarge, err.Error())
		return
	case err != nil:
		httpjson.Error(w, http.StatusBadRequest, err.Error())
		return
	}
	if len(stays) == 0 { // a processor checks whether it can post
		httpjson.Write(w, http.StatusCreated, map[string]int{"stored": 0, "ignored": 0})
		return
	}
	n, err := h.Stays.Upsert(r.Context(), stays)
	if err != nil {
		h.fail(w, r, err)
		return
	}
	h.Metrics.received(r.Context(), n, len(stays)-n, time.Since(start))
	h.Log.InfoContext(r.Context(), "stays posted", "stored", n, "ignored", len(stays)-n, "took", time.Since(start))
	httpjson.Write(w, http.StatusCreated, map[string]int{"stored": n, "ignored": len(stays) - n})
}

// readBody returns the body. It does not copy one that is in memory already.
func readBody(r *http.Request) ([]byte, error) {
	if whole, ok := r.Body.(interface{ Bytes() []byte }); ok {
		return whole.Bytes(), nil
	}
	return io.ReadAll(r.Body)
}

var errTooMany = fmt.Errorf("at most %d stays may be posted together", maxPosted)

// parseStays parses an array of stays. It stops at the first invalid stay, or at the
// first one too many.
func parseStays(text []byte) ([]parking.Stay, error) {
	d := jsontext.NewDecoder(bytes.NewBuffer(text))
	wrong := func(err error) error { return fmt.Errorf("want an array of stays: %w", err) }
	switch begin, err := d.ReadToken(); {
	case err != nil:
		return nil, wrong(err)
	case begin.Kind() != '[':
		return nil, wrong(fmt.Errorf("it is a JSON %s", begin.Kind()))
	}
	stays := []parking.Stay{}
	for d.PeekKind() != ']' {
		if len(stays) == maxPosted {
			return nil, errTooMany
		}
		var public parking.StayJSON
		if err := json.UnmarshalDecode(d, &public); err != nil {
			return nil, wrong(err)
		}
		posted, err := public.Stay()
		if err != nil {
			return nil, wrong(err)
		}
		if err := checkStay(&posted); err != nil {
			return nil, fmt.Errorf("stay %d: %w", len(stays), err)
		}
		stays = append(stays, posted)
	}
	if _, err := d.ReadToken(); err != nil {
		return nil, wrong(err)
	}
	switch _, err := d.ReadToken(); {
	case err == nil:
		return nil, wrong(errors.New("something follows at the end"))
	case !errors.Is(err, io.EOF):
		return nil, wrong(err)
	}
	return stays, nil
}

// checkStay returns an error for an invalid stay.
func checkStay(s *parking.Stay) error {
	_, err := parking.NewEvent(parking.Event{ID: s.ID, Kind: parking.Exit, Site: s.Site, RawPlate: s.Plate, Time: s.ExitTime})
	switch {
	case err != nil:
		return err
	case s.Site == "":
		return parking.Invalid("site is missing")
	case s.Plate != parking.NormalizePlate(s.Plate):
		return parking.Invalid("vehicle_plate is not normalised")
	case s.Revision < 1:
		return parking.Invalid("revision is %d, want 1 or more", s.Revision)
	case s.EntryID == "":
		return s.CheckMatch()
	case s.EntryTime.After(s.ExitTime):
		return parking.Invalid("entry_date_time is after exit_date_time")
	}
	_, err = parking.NewEvent(parking.Event{ID: s.EntryID, Kind: parking.Entry, Site: s.Site, RawPlate: s.Plate, Time: s.EntryTime})
	return errors.Join(err, s.CheckMatch())
}
