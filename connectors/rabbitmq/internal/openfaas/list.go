package openfaas

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"parkstream/shared/redirect"
)

// maxList bounds what is read of a list of functions.
const maxList = 16 << 20

// listed is a function as the gateway lists it.
type listed struct {
	Name        string            `json:"name"`
	Annotations map[string]string `json:"annotations"`
}

// list returns the functions of a namespace, of the gateway's own if it is "".
func (g *Gateway) list(ctx context.Context, namespace string) ([]listed, error) {
	target := g.url + "/system/functions"
	if namespace != "" {
		target += "?namespace=" + url.QueryEscape(namespace)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return nil, err
	}
	user, password, err := g.credential()
	if err != nil {
		return nil, err
	}
	if user != "" {
		req.SetBasicAuth(user, password)
	}
	resp, err := g.client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask the gateway for its functions: %w", err)
	}
	defer resp.Body.Close()
	if err := redirect.Check(resp); err != nil {
		return nil, fmt.Errorf("ask the gateway (GATEWAY_URL) for its functions: %w", err)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxList))
	switch {
	case err != nil:
		return nil, fmt.Errorf("read the gateway's list of functions: %w", err)
	case resp.StatusCode == http.StatusUnauthorized:
		return nil, errors.New("the gateway does not accept the secrets basic-auth-user and basic-auth-password")
	case resp.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("ask the gateway for its functions: GET %s answered %s", target, resp.Status)
	}
	var functions []listed
	if err := json.Unmarshal(body, &functions); err != nil || functions == nil {
		return nil, fmt.Errorf("GET %s is no list of functions: is GATEWAY_URL an OpenFaaS gateway?", target)
	}
	return functions, nil
}
