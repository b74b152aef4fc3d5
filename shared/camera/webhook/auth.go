package webhook

import (
	"context"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"golang.org/x/time/rate"

	"parkstream/shared/access"
	"parkstream/shared/failure"
	"parkstream/shared/httpjson"
	"parkstream/shared/parking"
	"parkstream/shared/site"
)

// Reasons of refusals, as the metrics have them.
const (
	refusedCamera    = "camera"
	refusedToken     = "token"
	refusedQuery     = "query"
	refusedThrottled = "throttled"
	refusedEncoding  = "encoding"
)

// maxAppended bounds what a camera appends to its address.
const maxAppended = 8

type cameraKey struct{}

// cameraOf returns the camera that sends a request, which was admitted.
func cameraOf(ctx context.Context) (site.Camera, bool) {
	c, found := ctx.Value(cameraKey{}).(site.Camera)
	return c, found
}

// Admit implements faas.Admission. It decides before the body is read.
func (h *Handler) Admit(w http.ResponseWriter, r *http.Request) (ctx context.Context, maxBody int64, admitted bool) {
	w.Header().Set("Cache-Control", "no-store")
	id, appended := cutPath(r.URL)
	if id == "" && (r.Method == http.MethodGet || r.Method == http.MethodHead) {
		ctx, ok := h.Access.Require(w, r, access.Administer)
		return ctx, 0, ok
	}
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		httpjson.Error(w, http.StatusMethodNotAllowed, "use POST: cameras post what they see")
		return nil, 0, false
	}
	if queryHasToken(r.URL) {
		h.refuseStranger(w, r, refusedQuery, "", "a token in the query is in the logs of every proxy: send it as Authorization, as X-Api-Key or as the last part of the path")
		return nil, 0, false
	}
	c, found, err := h.find(r.Context(), id)
	if err != nil {
		h.unavailable(r.Context(), w, "", failure.In("the registry of cameras", err))
		return nil, 0, false
	}
	const reason = "there is no such camera, or this is not its token: send the token as Bearer, as Basic password, as X-Api-Key or as the last part of the path"
	if !found {
		h.refuseStranger(w, r, refusedCamera, "", reason)
		return nil, 0, false
	}
	if !slices.ContainsFunc(tokens(r, appended), c.Authentic) {
		h.refuseStranger(w, r, refusedToken, c.ID, reason)
		return nil, 0, false
	}
	if encoding := r.Header.Get("Content-Encoding"); encoding != "" && !strings.EqualFold(encoding, "identity") {
		h.Metrics.refused.WithLabelValues(refusedEncoding).Inc()
		httpjson.Error(w, http.StatusUnsupportedMediaType, "the body is compressed: send it as it is")
		return nil, 0, false
	}
	p := access.Principal{Name: c.ID, Role: access.Machine, Sites: access.SitesOf(c.Site), Via: access.ViaToken, Address: h.Access.Address(r)}
	return context.WithValue(access.NewContext(r.Context(), p), cameraKey{}, c), MaxBody, true
}

// find returns a camera. It asks for no id that no camera can have.
func (h *Handler) find(ctx context.Context, id string) (site.Camera, bool, error) {
	if possible := parking.CheckSite(id) == nil; !possible { // cameras are named as sites are
		return site.Camera{}, false, nil
	}
	return h.Cameras.Camera(ctx, id)
}

// cutPath returns the camera that a path begins with, and the parts that follow.
func cutPath(u *url.URL) (id string, appended []string) {
	parts := strings.SplitN(strings.Trim(u.EscapedPath(), "/"), "/", 1+maxAppended+1)
	for i, text := range parts {
		if plain, err := url.PathUnescape(text); err == nil {
			parts[i] = plain
		}
	}
	return parts[0], parts[1:min(len(parts), 1+maxAppended)]
}

// tokens returns what may be the token of a camera: cameras send one way what they are
// able to, and some of them more than that.
func tokens(r *http.Request, appended []string) []string {
	found := appended
	if _, password, ok := r.BasicAuth(); ok {
		found = append(found, password)
	} else if scheme, token, _ := strings.Cut(strings.TrimSpace(r.Header.Get("Authorization")), " "); strings.EqualFold(scheme, "Bearer") {
		found = append(found, strings.TrimSpace(token))
	}
	return append(found, r.Header.Get("X-Api-Key"))
}

// queryHasToken reports whether a query has what looks like a token.
func queryHasToken(u *url.URL) bool {
	names, err := url.ParseQuery(u.RawQuery)
	for name := range names {
		switch strings.ToLower(strings.NewReplacer("-", "", "_", "").Replace(name)) {
		case "token", "accesstoken", "apikey", "xapikey", "key", "auth", "authorization", "password", "secret":
			return true
		}
	}
	return err != nil && strings.Contains(strings.ToLower(u.RawQuery), "token")
}

// refuseStranger answers a request that has no right token. camera is empty unless it is
// configured. An address that sends many of them has to wait. A right token is never
// made to wait: the address may be that of all cameras.
func (h *Handler) refuseStranger(w http.ResponseWriter, r *http.Request, kind, camera, reason string) {
	address := h.Access.Address(r)
	wait := h.strangers.wait(address)
	h.Metrics.refused.WithLabelValues(kind).Inc()
	h.strange.Do(func() {
		h.Log.WarnContext(r.Context(), "a request has no token of a camera", "reason", kind, "camera", camera, "address", address)
	})
	if wait > 0 {
		h.Metrics.refused.WithLabelValues(refusedThrottled).Inc()
		w.Header().Set("Retry-After", strconv.Itoa(int(wait/time.Second)+1))
		httpjson.Error(w, http.StatusTooManyRequests, "too many requests without the token of a camera came from this address")
		return
	}
	w.Header().Set("Www-Authenticate", `Basic realm="parkstream camera", charset="UTF-8"`)
	httpjson.Error(w, http.StatusUnauthorized, reason)
}

const (
	// An address may send strangerBurst requests without a right token, and one more
	// each second.
	strangerBurst = 20
	// maxStrangers bounds the addresses that are remembered, the last ones.
	maxStrangers = 10_000
	// subscriber is the part of an IPv6 address that one caller has: 64 bits.
	subscriber = 64
)

// strangers are addresses that send requests without the token of a camera.
type strangers struct {
	mu  sync.Mutex
	lru *simplelru.LRU[netip.Addr, *rate.Limiter]
}

func newStrangers() *strangers {
	lru, _ := simplelru.NewLRU[netip.Addr, *rate.Limiter](maxStrangers, nil) // fails for a size of 0 only
	return &strangers{lru: lru}
}

// wait counts a request of an address, and returns how long it has to wait: 0 if it does
// not have to.
func (s *strangers) wait(address string) time.Duration {
	at, err := netip.ParseAddr(address)
	if err == nil && at.Is6() {
		network, _ := at.Prefix(subscriber) // valid for each IPv6 address
		at = network.Addr()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	limiter, found := s.lru.Get(at)
	if !found {
		limiter = rate.NewLimiter(1, strangerBurst)
		s.lru.Add(at, limiter)
	}
	now := time.Now()
	if limiter.AllowN(now, 1) {
		return 0
	}
	return max(time.Millisecond, time.Duration((1-limiter.TokensAt(now))*float64(time.Second)))
}
