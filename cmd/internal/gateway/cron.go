package gateway

import (
	"context"
	"fmt"
	"sync"

	"github.com/openfaas/faas-provider/types"
	"github.com/robfig/cron/v3"
)

// cronTopic marks a function that is fired by its schedule, as OpenFaaS's cron
// connector has it.
const cronTopic = "cron-function"

// cronTable fires functions by their schedule. A function that is still busy
// with its last call is left out.
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

// scheduleOf a function; nil where cron does not fire it.
func scheduleOf(spec types.FunctionDeployment) (cron.Schedule, error) {
	if spec.Annotations == nil || (*spec.Annotations)["topic"] != cronTopic {
		return nil, nil
	}
	text := (*spec.Annotations)["schedule"]
	schedule, err := cron.ParseStandard(text)
	if err != nil {
		return nil, fmt.Errorf("%w: the schedule %q of function %s is none that cron understands: %w", ErrRefused, text, spec.Service, err)
	}
	return schedule, nil
}

// set has a function fired by a schedule.
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

// stop fires no more and waits for the calls in flight, which it ends.
func (t *cronTable) stop() {
	done := t.cron.Stop().Done()
	t.cancel()
	<-done
}
