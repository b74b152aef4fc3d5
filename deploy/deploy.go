// Package deploy has the files that put Parkstream on machines.
package deploy

import _ "embed"

// Compose is the compose file of RabbitMQ and Redis.
//
//go:embed compose.yaml
var Compose []byte
