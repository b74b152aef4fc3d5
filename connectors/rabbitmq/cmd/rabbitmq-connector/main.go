// The RabbitMQ connector for OpenFaaS: see package rabbitmq.
package main

import (
	"os"

	"parkstream/connectors/rabbitmq"
)

func main() { os.Exit(rabbitmq.Main()) }
