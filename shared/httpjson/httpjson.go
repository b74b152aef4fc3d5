// Package httpjson writes the JSON responses of the functions and of the local gateway.
package httpjson

import (
	"net/http"
	"strings"

	"github.com/go-json-experiment/json"
)

// Write responds with v as one line of JSON, the members of a map in the order of their
// names. Set other headers before the call.
func Write(w http.ResponseWriter, status int, v any) {
	text, err := json.Marshal(v, json.Deterministic(true))
	if err != nil {
		status, text = http.StatusInternalServerError, []byte(`{"error":"the answer cannot be written as JSON"}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(text, '\n'))
}

// Error responds with {"error":reason}. It replaces invalid UTF-8 in the reason.
func Error(w http.ResponseWriter, status int, reason string) {
	Write(w, status, map[string]string{"error": strings.ToValidUTF8(reason, "\uFFFD")})
}
