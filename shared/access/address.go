package access

import (
	"net/http"
	"net/netip"
	"strings"
)

// proxies are networks whose X-Forwarded-For is believed.
type proxies []netip.Prefix

func (p proxies) trust(a netip.Addr) bool {
	for _, network := range p {
		if network.Contains(a) {
			return true
		}
	}
	return false
}

// address returns the address of a request's caller: the last hop that is no proxy of
// ours. What a caller writes into the header itself is left of that.
func (p proxies) address(r *http.Request) netip.Addr {
	caller := remote(r)
	if !p.trust(caller) {
		return caller
	}
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for i := len(hops) - 1; i >= 0 && p.trust(caller); i-- {
		hop, err := parseHop(hops[i])
		if err != nil {
			break
		}
		caller = hop
	}
	return caller
}

// remote returns the address at the other end of a request's connection.
func remote(r *http.Request) netip.Addr {
	end, _ := netip.ParseAddrPort(r.RemoteAddr)
	return end.Addr().Unmap().WithZone("")
}

// parseHop parses an address, with or without a port.
func parseHop(text string) (netip.Addr, error) {
	text = strings.TrimSpace(text)
	if with, err := netip.ParseAddrPort(text); err == nil {
		return with.Addr().Unmap().WithZone(""), nil
	}
	address, err := netip.ParseAddr(strings.Trim(text, "[]"))
	return address.Unmap().WithZone(""), err
}
