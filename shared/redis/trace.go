package redis

import (
	"context"
	"errors"
	"net"

	"github.com/redis/go-redis/v9"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"parkstream/shared/tracing"
)

// traced makes a span of each round trip to Redis within a trace. It omits the
// arguments of commands, because they contain plates.
type traced struct{}

// addHooks adds hooks to a client. For a cluster it adds them to each node, with new
// hooks for each.
func addHooks(client redis.UniversalClient, hooks func() []redis.Hook) {
	add := func(node redis.UniversalClient) {
		for _, hook := range hooks() {
			node.AddHook(hook)
		}
	}
	if cluster, ok := client.(*redis.ClusterClient); ok {
		cluster.OnNewNode(func(node *redis.Client) { add(node) })
		return
	}
	add(client)
}

func (traced) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) { return next(ctx, network, addr) }
}

func (traced) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		ctx, span := tracing.Start(ctx, trace.SpanKindClient, "redis")
		err := next(ctx, cmd)
		if span.IsRecording() {
			span.SetName("redis " + cmd.Name())
			span.SetAttributes(semconv.DBSystemNameRedis, semconv.DBOperationName(cmd.Name()))
		}
		endSpan(span, err)
		return err
	}
}

func (traced) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		ctx, span := tracing.Start(ctx, trace.SpanKindClient, "redis pipeline")
		err := next(ctx, cmds)
		if span.IsRecording() {
			span.SetAttributes(semconv.DBSystemNameRedis, semconv.DBOperationName("pipeline"), semconv.DBOperationBatchSize(len(cmds)))
		}
		endSpan(span, err)
		return err
	}
}

func endSpan(span trace.Span, err error) {
	if errors.Is(err, redis.Nil) { // a missing value is a valid answer
		err = nil
	}
	tracing.End(span, err)
}
