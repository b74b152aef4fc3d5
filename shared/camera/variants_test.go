package camera

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"reflect"
	"testing"

	"parkstream/shared/site"
)

// Versions of a camera's firmware write the same message in other ways: numbers as texts
// or texts as numbers, members in another order, a mark at the beginning. The samples of
// every format tell the same then.
func TestVariants(t *testing.T) {
	c := site.Camera{ID: "gate-1", Site: "north", Role: site.Both, Location: in(t, "Europe/Berlin")}
	variants := map[string]func([]byte) []byte{
		"other order":      func(text []byte) []byte { return rewritten(t, text, func(v any) any { return v }) },
		"numbers as texts": func(text []byte) []byte { return rewritten(t, text, asText) },
		"texts as numbers": func(text []byte) []byte { return rewritten(t, text, asNumber) },
		"with a mark":      func(text []byte) []byte { return append([]byte("\ufeff"), text...) },
		"with an end":      func(text []byte) []byte { return append(bytes.Clone(text), "\r\n\x00"...) },
	}
	for _, names := range samples(t) {
		for _, path := range names {
			if filepath.Ext(path) != ".json" {
				continue
			}
			r := sample(t, path)
			r.Received = received
			format, want, wantErr := Parse(r, c)
			for name, change := range variants {
				changed := Request{Header: r.Header, Body: change(r.Body), Received: received}
				got, m, err := Parse(changed, c)
				if got.Name != format.Name || (err == nil) != (wantErr == nil) || !reflect.DeepEqual(m, want) {
					t.Errorf("%s %s: format %s, %v\n%+v\nwant format %s, %v\n%+v", path, name, got.Name, err, m, format.Name, wantErr, want)
				}
			}
		}
	}
}

// rewritten returns a document whose members are in the order of their names, and whose
// values are changed.
func rewritten(t *testing.T, text []byte, change func(any) any) []byte {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var document any
	if err := d.Decode(&document); err != nil {
		t.Fatal(err)
	}
	out, err := json.Marshal(changedValues(document, change))
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func changedValues(value any, change func(any) any) any {
	switch v := value.(type) {
	case map[string]any:
		for name := range v {
			v[name] = changedValues(v[name], change)
		}
		return v
	case []any:
		for i := range v {
			v[i] = changedValues(v[i], change)
		}
		return v
	}
	return change(value)
}

func asText(value any) any {
	if number, ok := value.(json.Number); ok {
		return number.String()
	}
	return value
}

func asNumber(value any) any {
	if text, ok := value.(string); ok && len(text) > 0 && (text[0] >= '0' && text[0] <= '9') && json.Valid([]byte(text)) {
		return json.Number(text)
	}
	return value
}
