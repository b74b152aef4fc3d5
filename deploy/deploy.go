// Package deploy embeds files for the deployment of Parkstream.
package deploy

import "embed"

// Compose is the compose file of RabbitMQ and Redis.
//
//go:embed compose.yaml
var Compose []byte

// Prometheus contains the rules and alerts, as prometheus/*.rules.yml.
//
//go:embed prometheus/*.rules.yml
var Prometheus embed.FS
