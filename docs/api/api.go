// Package api has the documents that describe Parkstream to programs; README.md tells
// how they are used.
package api

import "embed"

// Files are the documents.
//
//go:embed openapi.yaml asyncapi.yaml *.schema.json
var Files embed.FS
