// Package function is the template of `faas-cli new NAME --lang parkstream`.
package function

import (
	"fmt"
	"net/http"

	handler "github.com/openfaas/templates-sdk/go-http"

	"parkstream/shared/access"
	"parkstream/shared/faas"
)

var service http.Handler

// Wire builds the function from its settings and secrets. It is called once and opens
// no connection: the servers it needs may start later.
func Wire(rt *faas.Runtime) error {
	var s struct {
		Greeting string `env:"GREETING" envDefault:"Hello"`
	}
	if err := rt.Settings(&s); err != nil {
		return err
	}
	rt.Admit(rt.Require(access.Read))
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{name}", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s, %s!\n", s.Greeting, r.PathValue("name"))
	})
	service = mux
	return nil
}

// Handle serves one call.
func Handle(req handler.Request) (handler.Response, error) { return faas.Adapt(service, req) }
