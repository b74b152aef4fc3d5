package summary

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"

	"parkstream/shared/stay"
)

// A cursor has the id of a stay, and an id may contain the plate. Who may not read
// plates gets cursors that are encrypted, and can send no others: a cursor of one's own
// making would tell, by what the list has after it, how the next id goes on.

// next returns the cursor of a store as the principal gets it.
func (h handler) next(ctx context.Context, cursor string) (string, error) {
	if cursor == "" || maskOf(ctx).whole {
		return cursor, nil
	}
	box, err := h.cursors()
	if err != nil {
		return "", err
	}
	return base64.RawURLEncoding.EncodeToString(box.Seal(nil, nil, []byte(cursor), nil)), nil
}

// cursor returns the store's cursor for the one that a principal sends.
func (h handler) cursor(ctx context.Context, given string) (string, error) {
	if given == "" || maskOf(ctx).whole {
		return given, nil
	}
	box, err := h.cursors()
	if err != nil {
		return "", err
	}
	sealed, err := base64.RawURLEncoding.DecodeString(given)
	if err != nil {
		return "", stay.ErrCursor
	}
	text, err := box.Open(nil, nil, sealed, nil)
	if err != nil {
		return "", stay.ErrCursor
	}
	return string(text), nil
}

// cursors returns the cipher of cursors. Its key is made from a secret that all replicas
// have.
func (h handler) cursors() (cipher.AEAD, error) {
	secret, err := h.CursorKey()
	if err == nil && secret == "" {
		err = errors.New("it is empty")
	}
	if err != nil {
		return nil, fmt.Errorf("read the secret that encrypts cursors: %w", err)
	}
	mac := hmac.New(sha256.New, []byte(secret))
	_, _ = mac.Write([]byte("parkstream cursors")) // a hash never fails
	block, err := aes.NewCipher(mac.Sum(nil))
	if err != nil {
		return nil, fmt.Errorf("encrypt cursors: %w", err)
	}
	return cipher.NewGCMWithRandomNonce(block)
}
