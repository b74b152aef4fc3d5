// Package function is the entry-generator: it generates events of vehicles driving in.
package function

import (
	"net/http"

	handler "github.com/openfaas/templates-sdk/go-http"

	"parkstream/shared/faas"
	"parkstream/shared/generator"
)

var service http.Handler

// Wire builds the function from its settings and secrets.
func Wire(rt *faas.Runtime) error {
	config, err := generator.Wire(rt)
	if err != nil {
		return err
	}
	service = generator.NewEntryHandler(config)
	return nil
}

// Handle generates the entries that the query or the body asks for. Cron sends neither
// and gets the defaults.
func Handle(req handler.Request) (handler.Response, error) { return faas.Adapt(service, req) }
