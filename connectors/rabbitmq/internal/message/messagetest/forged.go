// Package messagetest has headers that anybody who may publish can send, for tests.
package messagetest

import (
	"math"
	"strings"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// Forged are values of every type that none of our headers has.
var Forged = []any{
	int8(math.MinInt8), int8(math.MaxInt8), int16(math.MinInt16), int16(math.MaxInt16), int32(math.MinInt32), int32(math.MaxInt32), int64(math.MinInt64), int64(math.MaxInt64),
	uint16(math.MaxUint16), uint32(math.MaxUint32), byte(255), float32(-1e30), 1e300, -1e300, math.NaN(), math.Inf(1), 1e18, true, nil, "", "7", "-1", "0x10", "gone", "fn", "\xff", "a\nb",
	strings.Repeat("9", 40_000), []byte("\x00\xff"),
	amqp.Decimal{Scale: 255, Value: math.MinInt32},
	time.Unix(math.MaxInt64, 0),
	[]any{int32(-1)},
	[]any{strings.Repeat("x", 40_000)},
	amqp.Table{"a": int32(1)},
	"0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "1970-01-01T00:00:00Z", "2026-11-27T09:00:00+99:00",
}

// OwnHeaders are the names of those that the connector writes.
var OwnHeaders = []string{
	"x-parkstream-reason", "x-parkstream-function", "x-parkstream-status", "x-parkstream-attempts", "x-parkstream-first-time", "x-parkstream-last-time", "x-parkstream-queue",
	"x-parkstream-owed", "x-parkstream-batch-size", "x-parkstream-failed-alone", "x-parkstream-waits", "x-parkstream-user-id", "x-parkstream-expiration", "x-parkstream-cc",
	"x-parkstream-routing-key", "x-parkstream-omitted-headers", "x-parkstream-x-death",
}

// RecordOf is the x-death that the broker writes of a message that expired in a queue.
func RecordOf(queue string) []any {
	return []any{amqp.Table{"queue": queue, "reason": "expired", "count": int64(1), "exchange": "", "routing-keys": []any{queue}, "time": time.Now()}}
}
