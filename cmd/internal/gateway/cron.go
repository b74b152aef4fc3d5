package gateway

import (
	"context"
	"fmt"
	"sync"

	"github.com/openfaas/faas-provider/types"
	"github.com/robfig/cron/v3"

	"parkstream/shared/schedule"
)

// cronTopic is the topic of functions with a schedule, as of OpenFaaS's cron connector.
const cronTopic = "cron-function"

// cronTable calls functions by their schedule. It skips a function whose last call has
// not ended.
type cronTable struct {
	invoke func(context.Context, string) error
	notify func(string)
	ctx    context.Context
	cancel context.CancelFunc

	mu      sync.Mutex
	cron    *cron.Cron
	entries map[string]cron.EntryID
}

func newCronTable(invoke func(context.Context, string) error, notify func(string)) *cronTable {
	ctx, cancel := context.WithCancel(context.Background())
	return &cronTable{
		invoke: invoke, notify: notify, ctx: ctx, cancel: cancel,
		cron:    cron.New(cron.WithChain(cron.SkipIfStillRunning(cron.DiscardLogger))),
		entries: make(map[string]cron.EntryID),
	}
}

// scheduleOf returns the schedule of a function, nil if it has none.
func scheduleOf(spec types.FunctionDeployment) (cron.Schedule, error) {
	if spec.Annotations == nil || (*spec.Annotations)["topic"] != cronTopic {
		return nil, nil
	}
	text := (*spec.Annotations)["schedule"]
	parsed, err := schedule.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("%w: the schedule %q of function %s is none that cron understands: %w", ErrRefused, text, spec.Service, err)
	}
	return parsed, nil
}

// set adds or replaces the schedule of a function.
func (t *cronTable) set(name string, schedule cron.Schedule) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.entries[name] = t.cron.Schedule(schedule, cron.FuncJob(func() {
		if err := t.invoke(t.ctx, name); err != nil && t.ctx.Err() == nil {
			t.notify(fmt.Sprintf("cron: %s failed: %v", name, err))
		}
	}))
}

func (t *cronTable) unset(name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if id, ok := t.entries[name]; ok {
		t.cron.Remove(id)
		delete(t.entries, name)
	}
}

func (t *cronTable) start() { t.cron.Start() }

// stop cancels the calls in flight and waits for them.
func (t *cronTable) stop() {
	done := t.cron.Stop().Done()
	t.cancel()
	<-done
}
