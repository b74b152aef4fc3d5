package stay

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"parkstream/shared/parking"
)

// FuzzCursor checks that a valid cursor names a possible stay and is written as it was
// read.
func FuzzCursor(f *testing.F) {
	for _, seed := range []string{
		"", "MTY", "==",
		cursorPos{position(time.Unix(1795763908, 5), "x/1"), string(keysOf("a"))}.cursor(),
		cursorPos{position(time.Unix(0, 0), "x"), string(keysOf("a}b"))}.cursor(),
		cursorPos{instant(time.Unix(1, 0)), string(keysOf("a"))}.cursor(),
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, cursor string) {
		after, err := parseCursor(cursor)
		if err != nil || after == nil {
			return
		}
		again, err := parseCursor(after.cursor())
		if err != nil || *again != *after || parking.CheckSite(after.site()) != nil || parking.CheckID(after.id()) != nil {
			t.Fatalf("cursor %q is of %+v", cursor, after)
		}
	})
}

// FuzzValue checks that the value of every possible stay is read as it was written.
func FuzzValue(f *testing.F) {
	f.Add("x1", "KA01AB1234", "e1", int64(1795763908e9), int64(5400e9), int64(1), false, false, "edit", "KA-01 AB 1284", "default", int32(845))
	f.Add("a/../b", "Ä1", "", int64(0), int64(0), int64(1<<62), true, false, "", "", "", int32(0))
	f.Add("x", "K", "e\\n", int64(9214646399999999999), int64(9214646399999999999), int64(7), false, false, "exact", "k", "", int32(-1))
	f.Add("x", "K", "", int64(1795763908e9), int64(0), int64(7), false, true, "", "", "", int32(0))
	now := time.Unix(1795763908, 0).UTC()
	f.Fuzz(func(t *testing.T, id, plate, entryID string, exit, lasted, revision int64, repeat, void bool, method, entryPlate, model string, margin int32) {
		if exit < 0 || lasted < 0 || lasted > exit || revision < 1 || parking.CheckID(id) != nil || plate == "" || plate != parking.NormalizePlate(plate) {
			return
		}
		k := StoredStay{parking.Stay{ID: id, Site: "a", Plate: plate, ExitTime: time.Unix(0, exit).UTC(), Revision: revision}, now}
		k.Repeat, k.Void = repeat && !void, void
		if !repeat && !void && parking.CheckID(entryID) == nil {
			k.EntryID, k.EntryTime = entryID, time.Unix(0, exit-lasted).UTC()
		}
		if k.EntryID != "" && margin != 0 {
			k.Disputed = margin < 0
			k.Match = &parking.Explanation{Method: parking.Method(method), EntryPlate: plate, ExitPlate: entryPlate, Margin: parking.Weight(margin), Model: model}
			if !utf8.ValidString(entryPlate+model) || k.CheckMatch() != nil {
				return
			}
		}
		args, err := appendArgs(nil, k, parking.Date(k.ExitTime, time.UTC))
		if err != nil {
			t.Fatal(err)
		}
		value, _ := args[len(args)-1].([]byte)
		got, err := parseValue("a", id, string(value))
		if err != nil || !reflect.DeepEqual(got, k) {
			t.Fatalf("%+v is kept as %q and read as %+v, %v", k, value, got, err)
		}
	})
}

// FuzzStored checks that the stay of a stored value stays the same if it is written and
// read again, for any value.
func FuzzStored(f *testing.F) {
	for _, details := range []string{"", "K", "K\n", "K\n" + strings.Repeat("\x10", 16), "K\n" + strings.Repeat("\x10", 24), "Ä1\n" + strings.Repeat("\x10", 24) + "e\n1", "\n" + strings.Repeat("\xff", 25)} {
		f.Add("1 60 47808 c 0\n" + details)
		f.Add("2 0 47808 r\n" + details)
		f.Add("3 0 47808 v\n" + details)
		f.Add("-7\n" + details)
		f.Add("1 60 47808 c 0\n" + details + "e\nocr disputed\nKA02\n{\"method\":\"ocr\",\"entry_plate\":\"KA02\",\"differences\":[]}")
		f.Add(details)
	}
	f.Add("00\n\n" + strings.Repeat("0", 24) + "\n")
	f.Fuzz(func(t *testing.T, value string) {
		k, err := parseValue("a", "x", value)
		if err != nil {
			return
		}
		written, err := k.appendDetails(fmt.Appendf(nil, "%d 0 0 %s\n", k.Revision, letters[k.Status()]))
		if err != nil {
			t.Fatal(err)
		}
		if again, err := parseValue("a", "x", string(written)); err != nil || !cmp.Equal(again, k, cmpopts.EquateEmpty()) || strings.Contains(k.Plate, "\n") {
			t.Errorf("%q is read as %+v, written as %q and read as %+v, error %v", value, k, written, again, err)
		}
	})
}
