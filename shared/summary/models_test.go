package summary

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"parkstream/shared/model"
	"parkstream/shared/parking"
)

// A model is kept, made valid and removed by the API, with its mistakes as 400, and the
// audit has who did so.
func TestModels(t *testing.T) {
	g := newGuarded(t)
	const path = "/sites/north/models"
	do := func(method, path, body string, code int) model.List {
		t.Helper()
		w := g.as(admin+atNorth, method, path, body)
		var list model.List
		if err := json.Unmarshal(w.Body.Bytes(), &list); err != nil || w.Code != code {
			t.Errorf("%s %s: %d %.300s, want %d", method, path, w.Code, w.Body, code)
		}
		return list
	}
	if list := do("GET", path, "", 200); list.Models == nil || list.Periods == nil || len(list.Models)+len(list.Periods) > 0 {
		t.Errorf("a site without models has %+v", list)
	}
	m := parking.DefaultModel()
	m.Version = "learnt-1"
	text, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	wrong := *m
	wrong.Margin = -1
	negative, err := json.Marshal(&wrong)
	if err != nil {
		t.Fatal(err)
	}
	for body, want := range map[string]string{
		`{`:              "no document of a model",
		`{"a":1}`:        "unknown field",
		string(negative): "margin is -1",
		strings.Replace(string(text), "learnt-1", "learnt-2", 1): `the model has the version \"learnt-2\", and the path \"learnt-1\"`,
	} {
		if w := g.as(admin, "PUT", path+"/learnt-1", body); w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), want) {
			t.Errorf("%.40s: %d %s, want %s", body, w.Code, w.Body, want)
		}
	}
	if list := do("PUT", path+"/learnt-1", string(text), 200); len(list.Models) != 1 || list.Models[0].By != admin+atNorth {
		t.Errorf("kept are %+v", list)
	}
	from := time.Date(2026, 11, 20, 0, 0, 0, 0, time.UTC)
	activate := `{"version":"learnt-1","from":"2026-11-20T01:00:00+01:00"}`
	if list := do("POST", path+"?dry_run=1", activate, 200); list.At(from) != "learnt-1" {
		t.Errorf("there would be %+v", list)
	}
	if list := do("GET", path, "", 200); len(list.Periods) > 0 {
		t.Errorf("a dry run has changed %+v", list)
	}
	if list := do("POST", path, activate, 200); list.At(from) != "learnt-1" || list.At(from.Add(-1)) != model.Default {
		t.Errorf("valid are %+v", list)
	}
	for body, code := range map[string]int{`{"version":"nothing"}`: 404, `{}`: 400, `[]`: 400, `{"version":"learnt-1","from":"yesterday"}`: 400, `{"version":"learnt-1","from":"2126-01-01T00:00:00Z"}`: 400} {
		do("POST", path, body, code)
	}
	do("DELETE", path+"/learnt-1", "", 400) // it is valid
	w := g.as(admin, "GET", path+"/learnt-1", "")
	kept, err := parking.ParseModel(w.Body.Bytes())
	if err != nil || kept.Version != "learnt-1" || kept.Margin != m.Margin {
		t.Errorf("%v, %d %.300s", err, w.Code, w.Body)
	}
	do("POST", path, `{"version":"default","from":"2026-01-01T00:00:00Z"}`, 200)
	if list := do("DELETE", path+"/learnt-1", "", 200); len(list.Models) > 0 {
		t.Errorf("left are %+v", list)
	}
	audit := g.as(admin, "GET", "/audit?action=configure", "").Body.String()
	for _, what := range []string{"model: keep learnt-1", "model: valid from 2026-11-20T00:00:00Z: learnt-1", "model: valid from 2026-01-01T00:00:00Z: default", "model: drop learnt-1"} {
		if !strings.Contains(audit, `"site":"north","object":"`+what+`"`) {
			t.Errorf("the audit lacks %q: %.3000s", what, audit)
		}
	}
	if strings.Contains(audit, "dry") || strings.Count(audit, `"outcome":"begun"`) != 7 {
		t.Errorf("the audit has %d acts: %.3000s", strings.Count(audit, `"outcome":"begun"`), audit)
	}
}
