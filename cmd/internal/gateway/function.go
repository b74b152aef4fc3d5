package gateway

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/openfaas/faas-provider/types"

	"parkstream/cmd/internal/supervise"
)

// grace is how long a function may take to finish its calls when it is stopped.
const grace = 20 * time.Second

// function is a deployed function: its description and its replicas.
type function struct {
	spec    types.FunctionDeployment
	created time.Time
	log     *logBook
	calls   atomic.Int64

	mu       sync.Mutex
	replicas []*replica
	next     atomic.Uint64
}

// replica is one process of a function. Its socket belongs to the gateway and outlives
// the process: a call waits for the restarted process and is not refused.
type replica struct {
	url    url.URL
	socket *os.File
	child  *supervise.Child
	stop   context.CancelFunc
	done   chan struct{}
}

// startReplica listens on a free port of loopback and keeps a process serving it
// until ctx ends.
func (g *Gateway) startReplica(ctx context.Context, f *function) (*replica, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for function %s: %w", f.spec.Service, err)
	}
	defer l.Close()
	socket, err := l.(*net.TCPListener).File()
	if err != nil {
		return nil, fmt.Errorf("listen for function %s: %w", f.spec.Service, err)
	}
	env := g.environ(f.spec)
	child := &supervise.Child{
		Name: "function " + f.spec.Service,
		Command: func() *exec.Cmd {
			cmd := g.config.Command(f.spec.Service)
			cmd.Env = env
			cmd.ExtraFiles = []*os.File{socket} // the child's descriptor 3
			return cmd
		},
		Output: f.log,
		Grace:  grace,
		Notify: g.config.Notify,
	}
	ctx, cancel := context.WithCancel(ctx)
	r := &replica{
		url:    url.URL{Scheme: "http", Host: l.Addr().String()},
		socket: socket, child: child, stop: cancel, done: make(chan struct{}),
	}
	go func() {
		defer close(r.done)
		defer socket.Close()
		child.Run(ctx)
	}()
	return r, nil
}

// environ returns the environment of a function's process: a few of the gateway's
// variables, the function's settings, and the addresses on this machine. Secrets are
// files.
func (g *Gateway) environ(spec types.FunctionDeployment) []string {
	var env []string
	for _, name := range []string{"PATH", "HOME", "TMPDIR", "TZ"} {
		if v, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+v)
		}
	}
	for name, v := range spec.EnvVars {
		env = append(env, name+"="+v)
	}
	return append(env, append(slices.Clone(g.config.Environ), "LISTEN_FD=3")...)
}

// scale sets the number of replicas and waits until surplus ones have ended. The caller
// holds changing.
func (g *Gateway) scale(f *function, n int) error {
	surplus, err := g.resize(f, n)
	for _, r := range surplus {
		r.stop()
	}
	for _, r := range surplus {
		<-r.done
	}
	return err
}

// resize starts missing replicas and returns surplus ones, which get no more calls.
func (g *Gateway) resize(f *function, n int) (surplus []*replica, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for len(f.replicas) < n {
		r, err := g.startReplica(g.ctx, f)
		if err != nil {
			return nil, err
		}
		f.replicas = append(f.replicas, r)
	}
	surplus = f.replicas[n:]
	f.replicas = slices.Clone(f.replicas[:n])
	return surplus, nil
}

// pick returns the replica for the next call, in turn among the running ones.
func (f *function) pick() (url.URL, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for range f.replicas {
		r := f.replicas[f.next.Add(1)%uint64(len(f.replicas))]
		if r.child.Running() {
			return r.url, true
		}
	}
	return url.URL{}, false
}

func (f *function) counts() (replicas, running uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, r := range f.replicas {
		if r.child.Running() {
			running++
		}
	}
	return uint64(len(f.replicas)), running
}

func (f *function) urls() []url.URL {
	f.mu.Lock()
	defer f.mu.Unlock()
	urls := make([]url.URL, len(f.replicas))
	for i, r := range f.replicas {
		urls[i] = r.url
	}
	return urls
}

// Pids returns the ids of the processes that serve a function now.
func (g *Gateway) Pids(name string) []int {
	f := g.find(name)
	if f == nil {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	var pids []int
	for _, r := range f.replicas {
		if pid := r.child.Pid(); pid != 0 {
			pids = append(pids, pid)
		}
	}
	return pids
}

func (f *function) status() types.FunctionStatus {
	replicas, running := f.counts()
	s := f.spec
	return types.FunctionStatus{
		Name: s.Service, Image: s.Image, Namespace: namespace, EnvProcess: s.EnvProcess, EnvVars: s.EnvVars, Secrets: s.Secrets, Constraints: s.Constraints,
		Labels: s.Labels, Annotations: s.Annotations, Limits: s.Limits, Requests: s.Requests,
		ReadOnlyRootFilesystem: s.ReadOnlyRootFilesystem,
		InvocationCount:        float64(f.calls.Load()),
		Replicas:               replicas, AvailableReplicas: running, CreatedAt: f.created,
	}
}
