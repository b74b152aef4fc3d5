// Package function is the entry-processor: it records vehicles driving in.
package function

import (
	"net/http"

	handler "github.com/openfaas/templates-sdk/go-http"

	"parkstream/shared/faas"
	"parkstream/shared/pipeline"
	"parkstream/shared/processor"
)

var service http.Handler

// Wire builds the function from its settings and secrets.
func Wire(rt *faas.Runtime) error {
	config, err := processor.Wire(rt)
	if err != nil {
		return err
	}
	service = pipeline.NewHTTPHandler(pipeline.NewEntryEventProcessor(config))
	return nil
}

// Handle serves a batch from the connector or one event from a person.
func Handle(req handler.Request) (handler.Response, error) { return faas.Adapt(service, req) }
