package redis

import (
	"context"
	_ "embed"
	"fmt"
	"strings"
)

//go:embed documents.lua
var documentsSource string

//go:embed change.lua
var changeSource string

var (
	documentsScript = NewScript(documentsSource)
	changeScript    = NewScript(changeSource)
)

// Documents is a set of documents in Redis with one version of them all: what is
// configured. A change is made from a version, all or nothing. A document is a text of
// one line.
type Documents struct {
	Client *Client
	// Prefix is that of the keys, which are in one slot.
	Prefix string
	// What names the documents in errors, in the plural.
	What string
}

// Read returns the documents and their version. If that is the version which the caller
// knows, changed is false, and nothing else is returned. No version is empty.
func (d Documents) Read(ctx context.Context, known string) (documents []string, version string, changed bool, err error) {
	call := Call{Script: documentsScript, Keys: []string{d.Prefix}, Args: []any{known}, NoWait: true}
	d.Client.Run(ctx, &call)
	text, err := call.Text()
	if err != nil {
		return nil, "", false, fmt.Errorf("read %s from Redis: %w", d.What, err)
	}
	if text == "" {
		return nil, known, false, nil
	}
	version, rest, _ := strings.Cut(text, "\n")
	if rest != "" {
		documents = strings.Split(rest, "\n")
	}
	return documents, version, true, nil
}

// Change writes documents, pairs of a name and a text, which is empty if the document is
// removed. It returns the new version. If the version of the set is not from, changed is
// false, and nothing was changed.
func (d Documents) Change(ctx context.Context, from string, pairs ...string) (version string, changed bool, err error) {
	args := append(make([]any, 0, 2+len(pairs)), from, d.What)
	for _, text := range pairs {
		args = append(args, text)
	}
	call := Call{Script: changeScript, Keys: []string{d.Prefix}, Args: args}
	d.Client.Run(ctx, &call)
	if version, err = call.Text(); err != nil {
		return "", false, fmt.Errorf("write %s to Redis: %w", d.What, err)
	}
	return version, version != "", nil
}
