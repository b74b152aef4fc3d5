package access

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"

	"parkstream/shared/process"
)

// Settings are those of a [Guard].
type Settings struct {
	// Access is closed, or open for everyone on this machine.
	Access string `env:"ACCESS" envDefault:"closed"`
	// UsersFile replaces the secret users.
	UsersFile string `env:"USERS_FILE"`
	// OIDCIssuer: people may log in there, beside the users file.
	OIDCIssuer string `env:"OIDC_ISSUER"`
	// PublicURL is the address at which browsers reach the system.
	PublicURL string `env:"PUBLIC_URL"`
	// TrustedProxies are networks whose X-Forwarded-For is believed.
	TrustedProxies []string `env:"TRUSTED_PROXIES"`
	// RequestRate bounds the requests of one principal; 0: no bound.
	RequestRate int `env:"REQUESTS_PER_SECOND" envDefault:"200"`
}

const (
	closed = "closed"
	open   = "open"
)

// Validate reports every mistake.
func (s *Settings) Validate() error {
	errs := []error{process.CheckURL("PUBLIC_URL", s.PublicURL), process.CheckURL("OIDC_ISSUER", s.OIDCIssuer)}
	if s.Access != closed && s.Access != open {
		errs = append(errs, fmt.Errorf("ACCESS is %q, want closed or open", s.Access))
	}
	errs = append(errs, process.CheckRange("REQUESTS_PER_SECOND", s.RequestRate, 0, maxRequestRate))
	for _, text := range s.TrustedProxies {
		if _, err := parseProxy(text); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

const maxRequestRate = 1_000_000

func parseProxy(text string) (netip.Prefix, error) {
	if address, err := netip.ParseAddr(text); err == nil {
		return netip.PrefixFrom(address.Unmap(), address.Unmap().BitLen()), nil
	}
	network, err := netip.ParsePrefix(text)
	if err != nil || network != network.Masked() || network.Addr().Is4In6() {
		return netip.Prefix{}, fmt.Errorf("TRUSTED_PROXIES has %q, want addresses and networks such as 10.62.0.0/16", text)
	}
	return network, nil
}

// origin returns the origin of PUBLIC_URL; empty if there is none.
func (s *Settings) origin() string {
	parsed, err := url.Parse(s.PublicURL)
	if err != nil || parsed.Host == "" {
		return ""
	}
	return parsed.Scheme + "://" + parsed.Host
}
