// Package function is the matcher: it decides which lone reads are of one vehicle.
package function

import (
	"net/http"

	handler "github.com/openfaas/templates-sdk/go-http"

	"parkstream/shared/faas"
	"parkstream/shared/matcher"
)

var service http.Handler

// Wire builds the function from its settings and secrets.
func Wire(rt *faas.Runtime) error {
	h, err := matcher.Wire(rt)
	if err != nil {
		return err
	}
	service = h
	return nil
}

// Handle runs a tick. Cron sends neither query nor body.
func Handle(req handler.Request) (handler.Response, error) { return faas.Adapt(service, req) }
