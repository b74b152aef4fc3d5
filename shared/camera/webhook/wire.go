package webhook

import (
	"context"
	"errors"
	"fmt"
	"time"

	"parkstream/shared/broker"
	"parkstream/shared/camera/health"
	"parkstream/shared/faas"
	"parkstream/shared/failure"
	"parkstream/shared/image"
	"parkstream/shared/redis"
	"parkstream/shared/site"
)

// settings of the webhook. The secrets rabbitmq-url and redis-url are files.
type settings struct {
	EntryQueue string `env:"ENTRY_QUEUE" envDefault:"vehicle_entries"`
	ExitQueue  string `env:"EXIT_QUEUE" envDefault:"vehicle_exits"`
	Images     image.Settings
	Redis      redis.Settings
}

// Validate returns all mistakes as one error.
func (s settings) Validate() error {
	var errs []error
	const longest = 255 // as AMQP allows
	for _, q := range []struct{ setting, queue string }{{"ENTRY_QUEUE", s.EntryQueue}, {"EXIT_QUEUE", s.ExitQueue}} {
		if len(q.queue) > longest {
			errs = append(errs, fmt.Errorf("%s has %d bytes, want at most %d", q.setting, len(q.queue), longest))
		}
	}
	return errors.Join(append(errs, s.Images.Validate(), s.Redis.Validate())...)
}

// Wire returns the webhook for the settings and secrets of its process. It opens no
// connection.
func Wire(rt *faas.Runtime) (*Handler, error) {
	var s settings
	settingsErr := rt.Settings(&s)
	client, err := redis.Open(rt.Secret("redis-url").Value, redis.WithSettings(s.Redis), redis.WithLogger(rt.Log))
	pictures, imagesErr := image.Wire(rt.Process, s.Images)
	if err := errors.Join(settingsErr, err, imagesErr); err != nil {
		return nil, err
	}
	client.Register(rt, rt.Registerer)
	client.RegisterReplicas(rt)
	recorder := health.NewRecorder(client, rt.Log)
	rt.OnClose("health of the cameras", recorder.Close)
	publisher := broker.NewPublisher(broker.Config{
		URLs: broker.URLs(rt.Secret("rabbitmq-url").Value), Name: rt.Name, Log: rt.Log, Registerer: rt.Registerer,
	})
	rt.OnReady("rabbitmq", func(ctx context.Context) error {
		return failure.Detailed(broker.Failure(publisher.Connect(ctx)))
	})
	rt.OnClose("RabbitMQ publisher", func(context.Context) error { return publisher.Close() })
	h := New(Config{
		Cameras: site.NewRegistry(client), Access: rt.Access, Publisher: publisher, Kept: NewKept(client), Health: recorder,
		Metrics: NewMetrics(rt.Registerer), Log: rt.Log, EntryQueue: s.EntryQueue, ExitQueue: s.ExitQueue, Now: time.Now,
	})
	if pictures != nil {
		h.Pictures = pictures
	}
	rt.Admit(h.Admit)
	return h, nil
}
