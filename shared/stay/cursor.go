package stay

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"strings"

	"parkstream/shared/parking"
	"parkstream/shared/redis"
)

// ErrCursor is the error for a cursor that [Store.List] did not return.
var ErrCursor = errors.New("cursor was not made by this endpoint")

// cursorPos is the place of a stay in a list. Lists are sorted by position, then by the
// prefix of the site's keys.
type cursorPos struct{ position, prefix string }

func (p cursorPos) id() string { return p.position[instantLen:] }

func (p cursorPos) site() string {
	site, _ := redis.Stays.CutSite(p.prefix)
	return site
}

func (p cursorPos) before(q cursorPos) bool {
	if p.position != q.position {
		return p.position > q.position // newest first
	}
	return p.prefix < q.prefix
}

func (p cursorPos) cursor() string {
	return base64.RawURLEncoding.EncodeToString([]byte(p.position + "\n" + p.prefix))
}

func parseCursor(cursor string) (*cursorPos, error) {
	if cursor == "" {
		return nil, nil
	}
	text, err := base64.RawURLEncoding.DecodeString(cursor)
	if err != nil {
		return nil, ErrCursor
	}
	position, prefix, ok := strings.Cut(string(text), "\n")
	if !ok || len(position) <= instantLen || parking.CheckID(position[instantLen:]) != nil {
		return nil, ErrCursor
	}
	if _, err := hex.DecodeString(position[:instantLen]); err != nil {
		return nil, ErrCursor
	}
	if site, found := redis.Stays.CutSite(prefix); !found || parking.CheckSite(site) != nil {
		return nil, ErrCursor
	}
	return &cursorPos{position, prefix}, nil
}

const (
	// afterAll sorts after all positions, because they begin with hexadecimal digits.
	afterAll = "g"
	// afterPosition turns an exclusive bound into an inclusive one: the same id at
	// another site has the same position.
	afterPosition = "\x00"
)

// pos returns the place of the stay in a list.
func (k *StoredStay) pos() cursorPos {
	return cursorPos{position(k.ExitTime, k.ID), string(keysOf(k.Site))}
}
