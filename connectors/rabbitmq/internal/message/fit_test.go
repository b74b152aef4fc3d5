package message

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"parkstream/shared/broker"
)

// The headers of a copy fit into a frame whatever the publisher sent. A header names those
// left out, the largest first. The connector's own headers are never left out.
func TestFit(t *testing.T) {
	x := func(n int) string { return strings.Repeat("x", n) }
	for _, frameMax := range []int{4096, 4097, 5000, 8192, 65536, 131072} {
		for _, queue := range []string{"q", x(240)} {
			for _, property := range []string{"", x(255)} {
				for _, sizes := range [][]int{nil, {10}, {frameMax - 300}, {frameMax / 4, frameMax / 3, frameMax / 2}, slices.Repeat([]int{1}, 9000)} {
					if len(sizes) > 100 && len(queue)+len(property) > 1 {
						continue // takes its time
					}
					raw := &amqp.Delivery{
						Headers: amqp.Table{"CC": []any{x(frameMax / 8)}}, RoutingKey: x(255), UserId: property, Expiration: property, MessageId: property,
						ContentType: property, ContentEncoding: property, CorrelationId: property, ReplyTo: property, Type: property, AppId: property,
					}
					for i, n := range sizes {
						raw.Headers[fmt.Sprint("h", i)] = x(n)
					}
					source := &Source{Queue: queue}
					history := History{Attempts: 3, MaxBatch: 250, FailedAlone: 2, Last: time.Now()}
					m := source.Read(raw, time.Now()).Republish(broker.RetryQueue(queue, time.Minute), time.Minute, history, Failure{
						Function: x(63) + "." + x(63), Only: true, Reason: strings.Repeat("é", 5000), Status: 500,
					})
					full := m.Headers
					m.Fit(&m, frameMax)
					name := fmt.Sprintf("frame_max %d, queue of %d, properties of %d, %d headers of up to %d", frameMax, len(queue), len(property), len(sizes), slices.Max(append(sizes, 0)))
					if n, room := broker.HeadersSize(m.Headers), headerRoom(&m, frameMax); n > room || len(m.Headers) > broker.MaxHeaders {
						t.Errorf("%s: %d headers with %d bytes, room for %d", name, len(m.Headers), n, room)
					}
					for _, ours := range []string{HeaderReason, HeaderFunction, HeaderStatus, HeaderAttempts, HeaderFirstTime, HeaderLastTime, HeaderOnlyFunction, HeaderMaxBatch, HeaderFailedAlone} {
						if _, there := m.Headers[ours]; !there {
							t.Errorf("%s: %s is missing", name, ours)
						}
					}
					if !strings.HasPrefix(text(m.Headers, HeaderReason), "éé") {
						t.Errorf("%s: reason %q", name, m.Headers[HeaderReason])
					}
					// named in the order of size: none that is missing is larger than one before it
					last := frameMax
					named := strings.Split(text(m.Headers, HeaderOmitted), ",")
					if strings.HasSuffix(named[len(named)-1], ellipsis) {
						named = named[:len(named)-1]
					}
					for _, omitted := range named {
						v, was := full[omitted].(string)
						if strings.HasPrefix(omitted, Prefix) || !was {
							break
						}
						if _, there := m.Headers[omitted]; there || len(v) > last {
							t.Errorf("%s: omitted %q", name, omitted)
						}
						last = len(v)
					}
				}
			}
		}
	}
}
