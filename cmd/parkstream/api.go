package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"parkstream/shared/process"
	"parkstream/shared/redirect"
)

const (
	apiTimeout = 30 * time.Second
	// maxAnswer bounds an answer of the API, in bytes.
	maxAnswer = 64 << 20
)

// summaryAPI is the API of the summary behind a gateway. Its defaults are those of a
// system that `parkstream up` runs in this folder.
type summaryAPI struct {
	Gateway   string `default:"http://127.0.0.1:8080" help:"URL of the gateway."`
	TokenFile string `default:".parkstream/secrets/admin-token" placeholder:"FILE" help:"File with the token of an administrator: that of 'up', or of 'parkstream users add NAME --role admin --token >FILE'."`

	timeout time.Duration // of a call; apiTimeout if it is 0
}

// statusError is the error of an answer that is no success.
type statusError struct {
	function     string
	code         int
	status, text string
	body         []byte
}

func (e *statusError) Error() string {
	text := fmt.Sprintf("the function %s answers %s: %s", e.function, e.status, e.text)
	switch e.code {
	case http.StatusUnauthorized, http.StatusForbidden:
		text += " (--token-file names the file with the token of an administrator)"
	case http.StatusNotFound:
		text += " (--gateway names the gateway of Parkstream; is its function " + e.function + " of this version?)"
	}
	return text
}

// call sends a request with a body of JSON, if it has one, and parses the answer. Without
// the file of the token it has no login: a system that is open may be read without.
func (a summaryAPI) call(ctx context.Context, method, path string, body []byte, answer any) error {
	return a.callFunction(ctx, "summary", method, path, body, answer)
}

// callFunction is call for another function.
func (a summaryAPI) callFunction(ctx context.Context, function, method, path string, body []byte, answer any) error {
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(a.timeout, apiTimeout))
	defer cancel()
	url := strings.TrimSuffix(a.Gateway, "/") + "/function/" + function + path
	r, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("--gateway %s: %w", a.Gateway, err)
	}
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	token, err := process.NewSecret(filepath.Dir(a.TokenFile), filepath.Base(a.TokenFile)).Value()
	switch {
	case err == nil:
		r.Header.Set("Authorization", "Bearer "+token)
	case !errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("--token-file: %w", err)
	}
	resp, err := (&http.Client{CheckRedirect: redirect.Refuse}).Do(r)
	if err != nil {
		return fmt.Errorf("nothing answers at %s: start it with `parkstream up`, or name its gateway with --gateway (%w)", a.Gateway, err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("read the answer of %s: %w", url, err)
	}
	if resp.StatusCode/100 != 2 {
		var problem struct{ Error string }
		if json.Unmarshal(text, &problem) != nil || problem.Error == "" {
			problem.Error = fmt.Sprintf("%.200q", bytes.TrimSpace(text))
		}
		return &statusError{function, resp.StatusCode, resp.Status, problem.Error, text}
	}
	if err := json.Unmarshal(text, answer); err != nil {
		return fmt.Errorf("%s does not answer as Parkstream's function %s: %w", url, function, err)
	}
	return nil
}
