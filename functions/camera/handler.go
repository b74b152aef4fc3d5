// Package function is the camera function: cameras post to it what they see.
package function

import (
	"net/http"

	handler "github.com/openfaas/templates-sdk/go-http"

	"parkstream/shared/camera/webhook"
	"parkstream/shared/faas"
)

var service http.Handler

// Wire builds the function from its settings and secrets.
func Wire(rt *faas.Runtime) error {
	h, err := webhook.Wire(rt)
	if err != nil {
		return err
	}
	service = h
	return nil
}

// Handle takes one request of a camera.
func Handle(req handler.Request) (handler.Response, error) { return faas.Adapt(service, req) }
