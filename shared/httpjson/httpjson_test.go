package httpjson_test

import (
	"math"
	"net/http"
	"net/http/httptest"
	"testing"

	"parkstream/shared/httpjson"
)

func TestResponses(t *testing.T) {
	for name, tt := range map[string]struct {
		write func(http.ResponseWriter)
		code  int
		body  string
	}{
		"a value": {
			func(w http.ResponseWriter) { httpjson.Write(w, http.StatusCreated, map[string]int{"stored": 1}) },
			http.StatusCreated, `{"stored":1}`,
		},
		"a map": {
			func(w http.ResponseWriter) {
				httpjson.Write(w, http.StatusOK, map[string]int{"d": 4, "b": 2, "f": 6, "a": 1, "e": 5, "c": 3})
			},
			http.StatusOK, `{"a":1,"b":2,"c":3,"d":4,"e":5,"f":6}`,
		},
		"an error": {
			func(w http.ResponseWriter) { httpjson.Error(w, http.StatusBadRequest, "id \"x\xff\" is wrong") },
			http.StatusBadRequest, "{\"error\":\"id \\\"x\uFFFD\\\" is wrong\"}",
		},
		"what JSON has no form for": {
			func(w http.ResponseWriter) { httpjson.Write(w, http.StatusOK, math.NaN()) },
			http.StatusInternalServerError, `{"error":"the answer cannot be written as JSON"}`,
		},
	} {
		w := httptest.NewRecorder()
		tt.write(w)
		if w.Code != tt.code || w.Body.String() != tt.body+"\n" || w.Header().Get("Content-Type") != "application/json" {
			t.Errorf("%s: %d %v %s", name, w.Code, w.Header(), w.Body)
		}
	}
}
