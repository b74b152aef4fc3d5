package summary

import (
	"net/http"
	"path"

	"parkstream/docs/api"
	"parkstream/shared/httpjson"
)

// document responds with a document for programs. Everyone gets the same.
func (h handler) document(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("file")
	text, err := api.Files.ReadFile(name)
	if err != nil {
		httpjson.Error(w, http.StatusNotFound, "there is no such document; docs/api/README.md lists all")
		return
	}
	kind := "application/yaml"
	if path.Ext(name) == ".json" {
		kind = "application/schema+json"
	}
	w.Header().Set("Content-Type", kind)
	_, _ = w.Write(text)
}
