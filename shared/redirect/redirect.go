// Package redirect keeps HTTP clients from following redirects. A call between parts
// has one right address, the configured one. A redirect would send the secret of a call
// to a host that is not in the settings.
package redirect

import (
	"fmt"
	"net/http"
)

// Refuse is the CheckRedirect of a client that returns redirects as they are.
func Refuse(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// Check returns an error if a response is a redirect. The error names the host of the
// target, but not its path or query, which may contain a secret.
func Check(resp *http.Response) error {
	if resp.StatusCode < http.StatusMultipleChoices || resp.StatusCode >= http.StatusBadRequest {
		return nil
	}
	to := "nowhere"
	if l, err := resp.Location(); err == nil {
		to = l.Scheme + "://" + l.Host
	}
	return fmt.Errorf("the answer %d redirects to %s, which is not followed: set the URL that answers itself", resp.StatusCode, to)
}
