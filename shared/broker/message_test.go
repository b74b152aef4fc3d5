package broker

import (
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// The size of headers is that of the frame which the client sends.
func TestHeadersSize(t *testing.T) {
	queue := testQueue(t)
	h := amqp.Table{
		"nil": nil, "bool": true, "byte": byte(1), "int8": int8(1), "int16": int16(1), "uint16": uint16(1), "int32": int32(1), "uint32": uint32(1),
		"float32": float32(1), "int64": int64(1), "float64": 1.5, "time": time.Unix(1, 0), "decimal": amqp.Decimal{Scale: 1, Value: 5}, "text": "text",
		"bytes": []byte{1, 2}, "list": []any{"a", int64(1)}, "table": amqp.Table{"a": "b"},
	}
	h["rest"] = ""
	// RabbitMQ measures the frame without what surrounds it. 14 bytes of it are its
	// class, its size and the flags of its properties.
	h["rest"] = strings.Repeat("x", 131072-14-HeadersSize(h))
	conn := testConn(t, testConfig())
	ch, err := conn.Channel()
	if err != nil {
		t.Fatal(err)
	}
	if err := ch.Confirm(false); err != nil {
		t.Fatal(err)
	}
	for extra, possible := range []bool{true, false} {
		h["rest"] = h["rest"].(string) + strings.Repeat("x", extra)
		confirm, err := ch.PublishWithDeferredConfirm("", queue, true, false, amqp.Publishing{Headers: h})
		if err != nil {
			t.Fatal(err)
		}
		if acked, err := confirm.WaitContext(t.Context()); acked != possible {
			t.Errorf("%d bytes too many: confirmed %t, error %v", extra, acked, err)
		}
	}
}
