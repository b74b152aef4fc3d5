package gateway

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"

	"github.com/openfaas/faas-provider/types"
	sdk "github.com/openfaas/go-sdk"

	"parkstream/cmd/internal/jsonerror"
	"parkstream/cmd/internal/secrets"
	"parkstream/shared/version"
)

// maxRequest bounds the JSON of a request to /system, in bytes.
const maxRequest = 1 << 20

func read(w http.ResponseWriter, r *http.Request, v any) error {
	return json.NewDecoder(http.MaxBytesReader(w, r.Body, maxRequest)).Decode(v)
}

// refuseBody answers a request whose body, which is what, cannot be read.
func refuseBody(w http.ResponseWriter, err error, what, reason string) {
	if _, large := errors.AsType[*http.MaxBytesError](err); large {
		refuse(w, http.StatusRequestEntityTooLarge, fmt.Sprintf("the %s is too large: a request has at most %d bytes", what, maxRequest))
		return
	}
	refuse(w, http.StatusBadRequest, reason)
}

// checkNamespace returns an error unless a request is for the only namespace, which is
// the default.
func checkNamespace(name string) error {
	if name != "" && name != namespace {
		return fmt.Errorf("there is no namespace %.100q: the local gateway has %s alone", name, namespace)
	}
	return nil
}

// inNamespace refuses requests whose query names another namespace.
func inNamespace(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if err := checkNamespace(r.URL.Query().Get("namespace")); err != nil {
			refuse(w, http.StatusBadRequest, err.Error())
			return
		}
		next(w, r)
	}
}

func (g *Gateway) list(w http.ResponseWriter, _ *http.Request) {
	g.mu.Lock()
	functions := maps.Clone(g.functions)
	g.mu.Unlock()
	statuses := make([]types.FunctionStatus, 0, len(functions))
	for _, name := range slices.Sorted(maps.Keys(functions)) {
		statuses = append(statuses, functions[name].status())
	}
	answer(w, statuses)
}

func (g *Gateway) describe(w http.ResponseWriter, r *http.Request) {
	f := g.find(r.PathValue("name"))
	if f == nil {
		refuse(w, http.StatusNotFound, "no such function")
		return
	}
	answer(w, f.status())
}

func (g *Gateway) deploy(w http.ResponseWriter, r *http.Request) {
	var spec types.FunctionDeployment
	if err := read(w, r, &spec); err != nil {
		refuseBody(w, err, "deployment", "read the deployment: "+jsonerror.Explain(err).Error())
		return
	}
	switch err := g.Deploy(spec); {
	case errors.Is(err, ErrRefused):
		refuse(w, http.StatusBadRequest, err.Error())
	case err != nil:
		refuse(w, http.StatusInternalServerError, err.Error())
	default:
		w.WriteHeader(http.StatusAccepted)
	}
}

// readRequest reads a request and checks the namespace that is a field of it. It reports
// false if it has refused the request.
func readRequest(w http.ResponseWriter, r *http.Request, request any, namespace *string) bool {
	if err := read(w, r, request); err != nil {
		refuseBody(w, err, "request", "read the request: "+jsonerror.Explain(err).Error())
		return false
	}
	if err := checkNamespace(*namespace); err != nil {
		refuse(w, http.StatusBadRequest, err.Error())
		return false
	}
	return true
}

func (g *Gateway) delete(w http.ResponseWriter, r *http.Request) {
	var request types.DeleteFunctionRequest
	if !readRequest(w, r, &request, &request.Namespace) {
		return
	}
	g.changing.Lock()
	defer g.changing.Unlock()
	f := g.find(request.FunctionName)
	if f == nil {
		refuse(w, http.StatusNotFound, "no such function")
		return
	}
	if err := g.remove(f.spec.Service); err != nil {
		refuse(w, http.StatusInternalServerError, err.Error())
		return
	}
	w.WriteHeader(http.StatusAccepted)
}

func (g *Gateway) scaleTo(w http.ResponseWriter, r *http.Request) {
	var request types.ScaleServiceRequest
	if !readRequest(w, r, &request, &request.Namespace) {
		return
	}
	g.changing.Lock()
	defer g.changing.Unlock()
	f := g.find(r.PathValue("name"))
	switch {
	case f == nil:
		refuse(w, http.StatusNotFound, "no such function")
	case request.Replicas > maxReplicas:
		refuse(w, http.StatusBadRequest, fmt.Sprintf("%d replicas are asked for, the local gateway runs at most %d", request.Replicas, maxReplicas))
	default:
		if err := g.scale(f, int(request.Replicas)); err != nil {
			refuse(w, http.StatusInternalServerError, err.Error())
			return
		}
		w.WriteHeader(http.StatusAccepted)
	}
}

var secretName = regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$`)

// secrets lists names and takes values; it never returns values.
func (g *Gateway) secrets(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodGet {
		files, err := os.ReadDir(g.config.SecretsDir)
		if err != nil {
			refuse(w, http.StatusInternalServerError, "the folder of secrets cannot be read")
			return
		}
		list := []types.Secret{}
		for _, f := range files {
			if secretName.MatchString(f.Name()) {
				list = append(list, types.Secret{Name: f.Name(), Namespace: namespace})
			}
		}
		answer(w, list)
		return
	}
	var secret types.Secret
	if err := read(w, r, &secret); err != nil {
		refuseBody(w, err, "secret", "read the secret: it is no JSON object")
		return
	}
	if err := checkNamespace(secret.Namespace); err != nil {
		refuse(w, http.StatusBadRequest, err.Error())
		return
	}
	if !secretName.MatchString(secret.Name) || strings.Contains(secret.Name, "..") {
		refuse(w, http.StatusBadRequest, "a secret's name has lower case letters, digits, dots and hyphens")
		return
	}
	path := filepath.Join(g.config.SecretsDir, secret.Name)
	_, err := os.Stat(path)
	exists := err == nil
	value := secret.RawValue
	if len(value) == 0 {
		value = []byte(secret.Value)
	}
	switch {
	case r.Method != http.MethodDelete && strings.TrimRight(string(value), "\r\n") == "":
		refuse(w, http.StatusBadRequest, "the secret is empty")
		return
	case r.Method == http.MethodDelete && (secret.Name == userSecret || secret.Name == passwordSecret):
		refuse(w, http.StatusConflict, "this secret guards the gateway and cannot be removed: update it")
		return
	case r.Method == http.MethodPost && exists:
		refuse(w, http.StatusConflict, "there is a secret of this name: update it, or remove it first")
		return
	case r.Method != http.MethodPost && !exists:
		refuse(w, http.StatusNotFound, "no such secret")
		return
	case r.Method == http.MethodDelete:
		err = os.Remove(path)
	default:
		err = secrets.Write(g.config.SecretsDir, secret.Name, value)
	}
	if err != nil {
		refuse(w, http.StatusInternalServerError, "the secret's file cannot be changed")
		return
	}
	w.WriteHeader(http.StatusAccepted)
}

// targets answers with the addresses of all replicas in the format of Prometheus's HTTP
// service discovery.
func (g *Gateway) targets(w http.ResponseWriter, _ *http.Request) {
	type group struct {
		Targets []string          `json:"targets"`
		Labels  map[string]string `json:"labels"`
	}
	g.mu.Lock()
	functions := maps.Clone(g.functions)
	g.mu.Unlock()
	groups := []group{}
	for _, name := range slices.Sorted(maps.Keys(functions)) {
		urls := functions[name].urls()
		if len(urls) == 0 {
			continue
		}
		addresses := make([]string, len(urls))
		for i, u := range urls {
			addresses[i] = u.Host
		}
		groups = append(groups, group{addresses, map[string]string{"function": name}})
	}
	answer(w, groups)
}

// info answers with the version of the gateway and that of its provider, which are one
// program here.
func info(w http.ResponseWriter, _ *http.Request) {
	release := types.VersionInfo{Release: version.Version(), SHA: version.Revision()}
	answer(w, sdk.SystemInfo{
		Arch: runtime.GOARCH, Version: release,
		Provider: sdk.Provider{Provider: "parkstream", Version: release, Orchestration: "processes"},
	})
}

func namespaces(w http.ResponseWriter, _ *http.Request) {
	answer(w, []string{namespace})
}

// oneNamespace describes the namespace.
func oneNamespace(w http.ResponseWriter, r *http.Request) {
	if err := checkNamespace(r.PathValue("name")); err != nil {
		refuse(w, http.StatusNotFound, err.Error())
		return
	}
	answer(w, types.FunctionNamespace{Name: namespace})
}
