package gateway

import (
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/openfaas/faas-provider/auth"

	"parkstream/shared/process"
)

// guard protects an operator's browser from being used against this gateway by
// pages of other sites. A page whose name was made to point to loopback after it was
// loaded (DNS rebinding) sends that name as Host; a page of another site can post
// without asking, and sends its own name as Origin.
func (g *Gateway) guard(next http.Handler) http.Handler {
	sameOrigin := http.NewCrossOriginProtection()
	sameOrigin.SetDenyHandler(refusal(http.StatusForbidden, "a page of another site must not change anything here: requests with an Origin or Sec-Fetch-Site of another site are refused"))
	guarded := sameOrigin.Handler(next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for _, host := range append([]string{r.Host}, forwarded(r, "X-Forwarded-Host")...) {
			if !g.serves(host) {
				refuse(w, http.StatusMisdirectedRequest, fmt.Sprintf("this gateway does not serve the host %.100q: use a loopback address or localhost, or name the host with --allowed-hosts", host))
				return
			}
		}
		if g.config.Open && fromElsewhere(r) {
			refuse(w, http.StatusForbidden, "the request comes through a proxy, and this system is open: it is for this machine alone. Start it with a login, parkstream up --users FILE")
			return
		}
		guarded.ServeHTTP(w, r)
	})
}

// forwarded returns the elements of a header that proxies set.
func forwarded(r *http.Request, name string) []string {
	var list []string
	for _, value := range r.Header[name] {
		for element := range strings.SplitSeq(value, ",") {
			list = append(list, strings.TrimSpace(element))
		}
	}
	return list
}

// fromElsewhere reports whether a proxy names a caller that is not on this machine. A
// proxy that names none is not noticed.
func fromElsewhere(r *http.Request) bool {
	callers := append(forwarded(r, "X-Forwarded-For"), forwarded(r, "X-Real-Ip")...)
	return len(r.Header["Forwarded"]) > 0 || slices.ContainsFunc(callers, func(caller string) bool {
		return !process.IsLoopback(process.HostOf(caller))
	})
}

// serves reports whether a Host header names this gateway: as a loopback address, as
// localhost, or as one of Config.AllowedHosts.
func (g *Gateway) serves(hostport string) bool {
	host := process.HostOf(hostport)
	address, err := netip.ParseAddr(host)
	return process.IsLoopback(host) || slices.ContainsFunc(g.config.AllowedHosts, func(allowed string) bool {
		if a, allowedErr := netip.ParseAddr(allowed); err == nil && allowedErr == nil {
			return a == address
		}
		return strings.EqualFold(allowed, host)
	})
}

// CheckHost returns an error if a host of Config.AllowedHosts could match no request.
func CheckHost(host string) error {
	if _, err := netip.ParseAddr(host); err != nil && (host == "" || strings.ContainsAny(host, "/:@[]* \t")) {
		return fmt.Errorf("%q is not a host name or an IP address: want it without scheme, port and wildcards", host)
	}
	return nil
}

// The gateway's own secrets, which guard everything under /system.
const (
	userSecret     = "basic-auth-user"
	passwordSecret = "basic-auth-password"
)

// authorized lets a request pass that shows the user and password in the secrets, as
// they are now: a changed one counts from the next request on.
func (g *Gateway) authorized(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		user, err1 := g.user.Value()
		password, err2 := g.password.Value()
		if err1 != nil || err2 != nil {
			refuse(w, http.StatusServiceUnavailable, "the gateway's secrets "+userSecret+" and "+passwordSecret+" cannot be read")
			return
		}
		auth.DecorateWithBasicAuth(next, &auth.BasicAuthCredentials{User: user, Password: password})(w, r)
	}
}
