package camera

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"parkstream/shared/parking"
)

func TestElements(t *testing.T) {
	for body, want := range map[string]string{
		`{"a":1}`:                               `[{"a":1}]`,
		`[{"a":1}, {"b":[2,{}]} ]`:              `[{"a":1} {"b":[2,{}]}]`,
		"{\"a\":1}\n{\"b\":2}\r\n{}":            `[{"a":1} {"b":2} {}]`,
		`[]`:                                    `[]`,
		`[{"a":1}`:                              "the JSON is malformed after 8 bytes",
		`{"a":1} x`:                             "the JSON is malformed after 7 bytes",
		`{"a":`:                                 "the JSON is malformed after 0 bytes",
		`<a/>`:                                  "want JSON",
		`[` + strings.Repeat("1,", 1000) + `1]`: "the JSON has a list of more than 1000 elements",
	} {
		elements, err := posted("", body).elements()
		got := fmt.Sprintf("%s", elements)
		if err != nil {
			got = err.Error()
		}
		if got != want || err != nil && !errors.Is(err, parking.ErrInvalid) {
			t.Errorf("%.40s: %s, want %s", body, got, want)
		}
	}
}
