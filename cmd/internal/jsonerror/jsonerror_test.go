package jsonerror

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestExplain(t *testing.T) {
	for text, want := range map[string]string{
		``:                     `it is empty: want JSON`,
		`{"name":`:             `it ends in the middle of its JSON`,
		`hello`:                `it is not JSON: invalid character 'h' looking for beginning of value`,
		`[]`:                   `a JSON array, want an object`,
		`{"name":7}`:           `name: a JSON number, want a string`,
		`{"on":"yes"}`:         `on: a JSON string, want true or false`,
		`{"labels":[]}`:        `labels: a JSON array, want an object`,
		`{"labels":{"a":1}}`:   `labels: a JSON number, want a string`,
		`{"list":{}}`:          `list: a JSON object, want an array`,
		`{"replicas":-1}`:      `replicas: a JSON number -1, want a whole number from 0`,
		`{"at":"noon"}`:        `at: a JSON string, want a number`,
		`{"inner":{"x":null}}`: ``,
		`{"inner":{"x":true}}`: `inner.x: a JSON bool, want a string`,
	} {
		var v struct {
			Name     string            `json:"name"`
			On       bool              `json:"on"`
			Labels   map[string]string `json:"labels"`
			List     []string          `json:"list"`
			Replicas uint64            `json:"replicas"`
			At       float64           `json:"at"`
			Inner    struct {
				X string `json:"x"`
			} `json:"inner"`
		}
		got := ""
		if err := json.NewDecoder(strings.NewReader(text)).Decode(&v); err != nil {
			got = Explain(err).Error()
		}
		if got != want {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
}
