package bench

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/prometheus/procfs"
)

// sampling is how often the memory of processes is looked at.
const sampling = 50 * time.Millisecond

// usage of a process at one moment.
type usage struct {
	cpu     float64 // seconds since its start
	rss     uint64  // bytes
	mallocs float64 // allocations since its start; 0 for what is not ours
}

// usage reads the processor time and memory of a process from /proc.
func processUsage(pid int) (usage, error) {
	p, err := procfs.NewProc(pid)
	if err != nil {
		return usage{}, fmt.Errorf("look at process %d: %w", pid, err)
	}
	stat, err1 := p.Stat()
	status, err2 := p.NewStatus()
	if err := errors.Join(err1, err2); err != nil {
		return usage{}, fmt.Errorf("look at process %d: %w", pid, err)
	}
	return usage{cpu: stat.CPUTime(), rss: status.VmRSS}, nil
}

// usages of all processes by name.
func (b *bench) usages(ctx context.Context) (map[string]usage, error) {
	all := make(map[string]usage)
	for name, pid := range b.system.Pids() {
		u, err := processUsage(pid)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		if url := b.metricsURL(name); url != "" {
			s, err := b.scrape(ctx, url)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			u.mallocs = s.sum("go_memstats_mallocs_total")
		}
		all[name] = u
	}
	return all, nil
}

// metricsURL returns the URL of the metrics of our processes, "" for others.
func (b *bench) metricsURL(name string) string {
	switch {
	case name == "connector":
		return b.system.ConnectorURL()
	case name == "gateway":
		return b.system.URL()
	case slices.Contains(b.system.Known, name):
		return b.functionURL(name)
	default:
		return ""
	}
}

// peaks samples the memory of the processes until stop is called, which returns
// the most that each had.
func (b *bench) peaks() (stop func() map[string]uint64) {
	done, ended := make(chan struct{}), make(chan struct{})
	most := make(map[string]uint64)
	pids := b.system.Pids()
	go func() {
		defer close(ended)
		tick := time.NewTicker(sampling)
		defer tick.Stop()
		for {
			for name, pid := range pids {
				if u, err := processUsage(pid); err == nil { // else it has just ended
					most[name] = max(most[name], u.rss)
				}
			}
			select {
			case <-tick.C:
			case <-done:
				return
			}
		}
	}()
	return sync.OnceValue(func() map[string]uint64 {
		close(done)
		<-ended
		return most
	})
}

// cost measures what Parkstream uses of the machine.
func (b *bench) cost(ctx context.Context, result *Result) error {
	if err := b.deploy(ctx, b.contestants()[0]); err != nil {
		return err
	}
	if err := b.empty(ctx); err != nil {
		return err
	}
	idle, err := b.idle(ctx)
	if err != nil {
		return err
	}
	costs := make(map[string]*Cost)
	for name, u := range idle {
		costs[name] = &Cost{Process: name, CPU: map[Workload]float64{}, Mallocs: map[Workload]float64{}, IdleRSS: u.rss, PeakRSS: u.rss}
	}
	for _, w := range []Workload{Entries, Exits} {
		l, err := b.fresh(ctx, w, b.Events, true)
		if err != nil {
			return err
		}
		if err := b.costOf(ctx, l, costs); err != nil {
			return fmt.Errorf("%s: %w", w, err)
		}
		b.Say("cost of %d %s is measured", l.events(), w)
	}
	for _, name := range slices.Sorted(maps.Keys(costs)) {
		result.Cost = append(result.Cost, *costs[name])
	}
	return nil
}

// idle measures the processes without load.
func (b *bench) idle(ctx context.Context) (idle map[string]usage, err error) {
	if err := b.system.StartConnector(); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, b.system.StopConnector()) }()
	if err := b.system.AwaitReady(ctx); err != nil {
		return nil, err
	}
	return b.usages(ctx)
}

// costOf measures a drain. What the connector takes has its start in it.
func (b *bench) costOf(ctx context.Context, l load, costs map[string]*Cost) (err error) {
	before, err := b.usages(ctx)
	if err != nil {
		return err
	}
	if err := b.system.StartConnector(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.system.StopConnector()) }()
	if _, err := b.connectorPid(ctx); err != nil {
		return err
	}
	stop := b.peaks()
	defer stop()
	if _, err := b.awaitSettled(ctx, l); err != nil {
		return err
	}
	peaks := stop()
	after, err := b.usages(ctx)
	if err != nil {
		return err
	}
	thousands := float64(l.events()) / 1000
	for name, c := range costs {
		c.CPU[l.Workload] = (after[name].cpu - before[name].cpu) / thousands
		c.Mallocs[l.Workload] = (after[name].mallocs - before[name].mallocs) / thousands
		c.PeakRSS = max(c.PeakRSS, peaks[name])
	}
	return b.verifySite(ctx, l)
}

// connectorPid waits for the process of a connector that was just started.
func (b *bench) connectorPid(ctx context.Context) (pid int, err error) {
	err = poll(ctx, 10*time.Second, time.Millisecond, func() (bool, error) {
		pid = b.system.Pids()["connector"]
		return pid != 0, nil
	})
	return pid, err
}

// memory is what Redis uses.
func (b *bench) memory(ctx context.Context) (int64, error) {
	info, err := b.redis.Current().Info(ctx, "memory").Result()
	if err != nil {
		return 0, fmt.Errorf("ask Redis for its memory: %w", err)
	}
	return strconv.ParseInt(infoField(info, "used_memory"), 10, 64)
}

// infoField is one line of Redis's INFO.
func infoField(info, name string) string {
	for line := range strings.Lines(info) {
		if k, v, ok := strings.Cut(strings.TrimSpace(line), ":"); ok && k == name {
			return v
		}
	}
	return ""
}

const smallestGrowth = 10_000

// growth fills Redis with more and more vehicles.
func (b *bench) growth(ctx context.Context, result *Result) error {
	// The scripts and the statistics of every command, which Redis stores once, are not
	// counted for a vehicle.
	once, err := b.fresh(ctx, Mix, smallestGrowth/10, false)
	if err != nil {
		return err
	}
	if _, err := b.drainRedis(ctx, once); err != nil {
		return err
	}
	for n := smallestGrowth; n <= b.Growth; n *= 10 {
		l, err := b.fresh(ctx, Entries, n, false)
		if err != nil {
			return err
		}
		empty, err := b.memory(ctx)
		if err != nil {
			return err
		}
		g := Growth{Plates: n}
		for _, step := range []struct {
			workload Workload
			bytes    *float64
			rate     *float64
		}{{Entries, &g.BytesInside, &g.EntriesRate}, {Exits, &g.BytesStay, &g.ExitsRate}} {
			l.Workload, l.entries, l.exits = step.workload, n, 0
			if step.workload == Exits {
				l.entries, l.exits = 0, n
			}
			took, err := b.drainRedis(ctx, l)
			if err != nil {
				return err
			}
			// While Redis rewrites the append-only file, it buffers new writes.
			if err := b.awaitRewrite(ctx); err != nil {
				return err
			}
			used, err := b.memory(ctx)
			if err != nil {
				return err
			}
			*step.bytes, *step.rate = float64(used-empty)/float64(n), float64(n)/took.Seconds()
		}
		if err := b.verifySite(ctx, l); err != nil {
			return err
		}
		b.Say("%d plates: %.0f bytes a vehicle inside, %.0f a finished stay", n, g.BytesInside, g.BytesStay)
		result.Growth = append(result.Growth, g)
	}
	return b.empty(ctx)
}

// backlog measures the connector's memory while the function accepts calls and does not
// answer.
func (b *bench) backlog(ctx context.Context, result *Result) (err error) {
	if err := b.deploy(ctx, b.contestants()[0]); err != nil {
		return err
	}
	b.Say("publishing %d messages", b.Backlog)
	if _, err := b.fresh(ctx, Entries, b.Backlog, true); err != nil {
		return err
	}
	stopped := b.system.Gateway.Pids("entry-processor")
	if err := signal(stopped, syscall.SIGSTOP); err != nil {
		return err
	}
	defer func() {
		// The calls under way come to an end before the connector does.
		err = errors.Join(err, signal(stopped, syscall.SIGCONT), b.system.StopConnector(), b.empty(context.WithoutCancel(ctx)))
	}()
	if err := b.system.StartConnector(); err != nil {
		return err
	}
	pid, err := b.connectorPid(ctx)
	if err != nil {
		return err
	}
	r := &Backlog{Messages: b.Backlog, Seconds: b.BacklogTime.Seconds()}
	var began time.Time
	err = poll(ctx, b.BacklogTime+time.Minute, 4*sampling, func() (bool, error) {
		m, err := b.scrape(ctx, b.system.ConnectorURL())
		if err != nil {
			return false, b.failed(ctx)
		}
		r.InHand = int(m.sum("parkstream_connector_messages_unacked"))
		if r.InHand == 0 {
			return false, nil
		}
		u, err := processUsage(pid)
		if err != nil {
			return false, err
		}
		if began.IsZero() {
			began, r.StartRSS = time.Now(), u.rss
		}
		passed := time.Since(began)
		if passed < b.BacklogTime/2 {
			r.PeakFirstHalf = max(r.PeakFirstHalf, u.rss)
		} else {
			r.PeakSecondHalf = max(r.PeakSecondHalf, u.rss)
		}
		r.EndRSS = u.rss
		return passed >= b.BacklogTime, nil
	})
	if err != nil {
		return err
	}
	if r.Waiting, err = b.waiting(); err != nil {
		return err
	}
	if r.Waiting+r.InHand != b.Backlog {
		return fmt.Errorf("%d of %d messages wait or are unacked", r.Waiting+r.InHand, b.Backlog)
	}
	b.Say("%d messages wait for a stopped function: connector %s, at most %s", r.Waiting, mib(r.StartRSS), mib(max(r.PeakFirstHalf, r.PeakSecondHalf)))
	result.Backlog = r
	return nil
}

func signal(pids []int, s syscall.Signal) error {
	var errs []error
	for _, pid := range pids {
		if err := syscall.Kill(pid, s); err != nil {
			errs = append(errs, fmt.Errorf("send %s to process %d: %w", s, pid, err))
		}
	}
	return errors.Join(errs...)
}

func (b *bench) machine(ctx context.Context) (Machine, error) {
	info, err := b.redis.Current().Info(ctx, "server").Result()
	if err != nil {
		return Machine{}, fmt.Errorf("ask Redis for its version: %w", err)
	}
	m := Machine{Cores: runtime.NumCPU(), Go: runtime.Version(), RabbitMQ: b.conn.ServerVersion(), Redis: infoField(info, "redis_version"), OS: runtime.GOOS + "/" + runtime.GOARCH}
	if fs, err := procfs.NewDefaultFS(); err == nil { // else it is not Linux
		if cpus, err := fs.CPUInfo(); err == nil && len(cpus) > 0 {
			m.CPU = cpus[0].ModelName
		}
		if memory, err := fs.Meminfo(); err == nil && memory.MemTotalBytes != nil {
			m.Memory = *memory.MemTotalBytes
		}
	}
	if release, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		m.Kernel = strings.TrimSpace(string(release))
	}
	return m, nil
}
