// Package faastest helps to test what functions are made of.
package faastest

import (
	"net/http"
	"strings"
	"testing"

	handler "github.com/openfaas/templates-sdk/go-http"

	"parkstream/shared/faas"
	"parkstream/shared/process"
)

// Mistakes runs a function with these settings and the secrets in a folder, and
// returns the lines of the error with which it refuses to start.
func Mistakes(t *testing.T, wire func(*faas.Runtime) error, secrets string, environ ...string) []string {
	t.Helper()
	handle := func(handler.Request) (handler.Response, error) {
		return handler.Response{StatusCode: http.StatusNoContent}, nil
	}
	err := faas.Run(t.Context(), process.Options{Name: "test", Environ: append(environ, "SECRETS_DIR="+secrets)}, wire, handle)
	if err == nil {
		t.Fatal("the function does not refuse to start")
	}
	return strings.Split(err.Error(), "\n")
}
