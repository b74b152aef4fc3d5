package summary

import (
	"errors"
	"io"
	"net/http"
	"strconv"

	"parkstream/shared/image"
	"parkstream/shared/parking"
	"parkstream/shared/timeline"
)

// image responds with a picture of an event.
func (h handler) image(w http.ResponseWriter, r *http.Request) {
	site := r.PathValue("site")
	if err := parking.CheckSite(site); err != nil {
		h.fail(w, r, err)
		return
	}
	name := r.PathValue("name")
	picture, err := h.Images.Get(r.Context(), site+"/"+r.PathValue("day")+"/"+name)
	if err != nil {
		h.fail(w, r, err)
		return
	}
	defer picture.Close()
	header := w.Header()
	header.Set("Content-Type", picture.ContentType)
	header.Set("Content-Length", strconv.FormatInt(picture.Size, 10))
	header.Set("Content-Disposition", `inline; filename="`+name+`"`) // a picture's name has no quote
	// What a camera sent is a picture to a browser and nothing else, also in a tab.
	header.Set("Content-Security-Policy", "default-src 'none'; sandbox")
	header.Set("Cross-Origin-Resource-Policy", "same-origin")
	if r.Method == http.MethodHead {
		return
	}
	if _, err := io.Copy(streamed{w}, picture); err != nil {
		h.Log.InfoContext(r.Context(), "a picture broke off", "error", err)
		panic(http.ErrAbortHandler) // it would look like a whole one
	}
}

// streamed sends each part of a response at once: a picture is never whole in memory.
type streamed struct{ http.ResponseWriter }

func (s streamed) Write(p []byte) (int, error) {
	n, err := s.ResponseWriter.Write(p)
	if err == nil {
		if err = http.NewResponseController(s.ResponseWriter).Flush(); errors.Is(err, http.ErrNotSupported) {
			err = nil
		}
	}
	return n, err
}

// eventsAt returns the events of places in a timeline, for the store of pictures.
func eventsAt(places []timeline.Place) []image.Event {
	events := make([]image.Event, len(places))
	for i, p := range places {
		events[i] = image.Event(p)
	}
	return events
}
