package summary

import (
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"strings"

	"parkstream/shared/httpjson"
)

// authorize reports whether a request has the secret. If not, it writes the response.
func (h handler) authorize(w http.ResponseWriter, r *http.Request) bool {
	token, err := h.Token()
	if err != nil {
		h.fail(w, r, err)
		return false
	}
	shown, ok := bearer(r.Header)
	// Digests have one length, so the comparison does not reveal the length of the
	// secret.
	want, got := sha256.Sum256([]byte(token)), sha256.Sum256([]byte(shown))
	if !ok || token == "" || subtle.ConstantTimeCompare(want[:], got[:]) != 1 {
		w.Header().Set("WWW-Authenticate", `Bearer realm="summary"`)
		reason := "this needs the header Authorization: Bearer with the secret summary-token"
		if r.Method == http.MethodPost { // what faas-cli invoke sends
			reason += "; without it use GET, which reads (faas-cli invoke summary --method GET)"
		}
		httpjson.Error(w, http.StatusUnauthorized, reason)
		return false
	}
	return true
}

// bearer returns the token of the only header Authorization. The scheme's name may be
// in any case (RFC 9110, section 11.1).
func bearer(h http.Header) (token string, ok bool) {
	given := h.Values("Authorization")
	if len(given) != 1 {
		return "", false
	}
	const blanks = " \t"
	text := strings.Trim(given[0], blanks)
	end := strings.IndexAny(text, blanks)
	if end < 0 || !strings.EqualFold(text[:end], "Bearer") {
		return "", false
	}
	return strings.TrimLeft(text[end:], blanks), true
}
