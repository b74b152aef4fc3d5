package timeline

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"parkstream/shared/instance/instancetest"
	"parkstream/shared/parking"
	"parkstream/shared/redis"
)

// BenchmarkRecord measures the pipelined throughput of the script for late events in
// timelines of so many events. Redis holds the same number of events for every length
// of timelines, so the distance of memory is equal. The added events are removed again
// outside of the measurement, so the history keeps its length. An event directly before
// an entry changes no stay, for any history. An event between an entry and its exit
// gives that stay a new revision.
func BenchmarkRecord(b *testing.B) {
	const (
		size = 500
		held = 200_000
	)
	for _, late := range []struct {
		name    string
		kinds   []parking.Kind
		after   parking.Kind // of which event of the history
		history []int
	}{
		{"late", []parking.Kind{parking.Entry, parking.Exit}, parking.Exit, []int{1, 10, 1_000, 100_000}},
		{"correction", []parking.Kind{parking.Entry}, parking.Entry, []int{2, 10, 1_000, 100_000}},
	} {
		for _, history := range late.history {
			b.Run(fmt.Sprint(late.name, "/history=", history), func(b *testing.B) {
				s, client := newStore(b)
				plates, random := held/history, rand.New(rand.NewPCG(1, 2))
				// The n-th event of the history is at n steps. The last one is an exit;
				// if there is only one, it is an entry.
				step := time.Hour / time.Duration(history)
				past := func(i, n int) parking.Event {
					e := exit(fmt.Sprint(i, "-", n), 0)
					if (history-n)%2 == 0 || history == 1 {
						e.Kind = parking.Entry
					}
					e.Plate = fmt.Sprint("KA", i)
					e.Time = start.Add(time.Duration(n) * step)
					return e
				}
				record := func(events []parking.Event) {
					for _, r := range s.Record(b.Context(), events) {
						if r.Err != nil {
							b.Fatal(r.Err)
						}
					}
				}
				for n := range history {
					for from := 0; from < plates; from += size {
						events := make([]parking.Event, 0, size)
						for i := from; i < min(from+size, plates); i++ {
							events = append(events, past(i, n))
						}
						record(events)
					}
				}
				if err := client.ConfigResetStat(b.Context()).Err(); err != nil {
					b.Fatal(err)
				}
				var round int
				for b.Loop() {
					b.StopTimer()
					events := make([]parking.Event, size)
					for i := range events {
						n := random.IntN(history)
						n -= n % 2 // an entry, the first of a pair
						e := past(random.IntN(plates), n)
						e.ID, e.Kind = fmt.Sprint(round, "new", i), late.kinds[i%len(late.kinds)]
						if late.after == parking.Entry {
							e.Time = e.Time.Add(step / 2)
						} else {
							e.Time = e.Time.Add(-step / 2)
						}
						events[i] = e
					}
					round++
					b.StartTimer()
					record(events)
					b.StopTimer()
					takeOut(b, client, events)
					b.StartTimer()
				}
				b.ReportMetric(float64(b.N*size)/b.Elapsed().Seconds(), "events/s")
				b.ReportMetric(scriptMicros(b, client)/eventsPerScript, "µs/event")
			})
		}
	}
}

// scriptMicros returns the time of one call of a script alone, without the network and
// the fsync.
func scriptMicros(b *testing.B, client goredis.UniversalClient) float64 {
	stats := client.InfoMap(b.Context(), "commandstats").Item("Commandstats", "cmdstat_evalsha")
	_, text, _ := strings.Cut(stats, "usec_per_call=")
	text, _, _ = strings.Cut(text, ",")
	perCall, err := strconv.ParseFloat(text, 64)
	if err != nil {
		b.Fatalf("statistics %q: %v", stats, err)
	}
	return perCall
}

// BenchmarkVisits measures the processor time of Redis for new vehicles, which enter and
// then leave, in order.
func BenchmarkVisits(b *testing.B) {
	s, client := newStore(b)
	var n, round int
	visits := make([][2]parking.Event, 4*eventsPerScript)
	run := func(kind int) float64 {
		events := make([]parking.Event, len(visits))
		for i := range visits {
			events[i] = visits[i][kind]
		}
		before := processorTime(b, client)
		for _, r := range s.Record(b.Context(), events) {
			if r.Err != nil {
				b.Fatal(r.Err)
			}
		}
		return 1e6 * (processorTime(b, client) - before) / float64(len(visits))
	}
	var micros [2]float64
	for b.Loop() {
		for i := range visits {
			n++
			e, x := entry(fmt.Sprint("e", n), round), exit(fmt.Sprint("x", n), round+1)
			e.Plate, x.Plate = fmt.Sprint("KA01AB", n), fmt.Sprint("KA01AB", n)
			e.RawPlate, x.RawPlate = e.Plate, x.Plate
			visits[i] = [2]parking.Event{e, x}
		}
		round++
		micros[0] += run(0)
		micros[1] += run(1)
	}
	b.ReportMetric(micros[0]/float64(b.N), "µs/entry")
	b.ReportMetric(micros[1]/float64(b.N), "µs/exit")
}

// processorTime returns the seconds that Redis has computed.
func processorTime(b *testing.B, client goredis.UniversalClient) float64 {
	b.Helper()
	var sum float64
	for _, name := range []string{"used_cpu_user", "used_cpu_sys"} {
		seconds, err := strconv.ParseFloat(client.InfoMap(b.Context(), "cpu").Item("CPU", name), 64)
		if err != nil {
			b.Fatal(err)
		}
		sum += seconds
	}
	return sum
}

// BenchmarkMemory reports by how many bytes Redis grows with each vehicle that enters, and
// then with each that leaves and is inside no more: run it with -benchtime 1x. Stays are
// not in it; parkstream-bench has both.
func BenchmarkMemory(b *testing.B) {
	const vehicles = 100_000
	for name, change := range map[string]func(*parking.Event){
		"plain":          func(*parking.Event) {},
		"with a camera":  func(e *parking.Event) { e.Camera, e.Gate = "entrance-1", "north" },
		"second version": func(e *parking.Event) { e.Version = 2 },
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				s, client := newStore(b)
				used := func() float64 {
					return float64(parseCount(client.InfoMap(b.Context(), "memory").Item("Memory", "used_memory")))
				}
				events := make([]parking.Event, 0, vehicles)
				for _, kind := range []parking.Kind{parking.Entry, parking.Exit} {
					s.Record(b.Context(), []parking.Event{entry("first", 0)}) // the script, the site
					events = events[:0]
					for i := range vehicles {
						e := event(kind, fmt.Sprintf("%s-%06d", kind, i), i%60)
						e.Plate = fmt.Sprintf("KA%02dAB%04d", i/10_000, i%10_000)
						e.RawPlate = e.Plate
						change(&e)
						events = append(events, e)
					}
					before := used()
					for some := range slices.Chunk(events, 1000) {
						for _, r := range s.Record(b.Context(), some) {
							if r.Err != nil {
								b.Fatal(r.Err)
							}
						}
					}
					b.ReportMetric((used()-before)/vehicles, "B/"+kind.String())
				}
			}
		})
	}
}

// takeOut removes recorded events from their timelines.
func takeOut(b *testing.B, client goredis.UniversalClient, events []parking.Event) {
	const timelines = "park:{default}:t"
	for i := range events {
		e := &events[i]
		text := client.HGet(b.Context(), timelines, e.Plate).Val()
		newest, more := strings.CutPrefix(text, "+")
		lines := slices.DeleteFunc(strings.Split(newest, "\n"), func(m string) bool { return m == member(e) })
		text = strings.Join(lines, "\n")
		if more {
			text = "+" + text
		}
		p := client.Pipeline()
		p.HSet(b.Context(), timelines, e.Plate, text)
		p.ZRem(b.Context(), "park:{default}:o:"+e.Plate, member(e))
		p.HDel(b.Context(), defaultKeys.events(), e.ID)
		if _, err := p.Exec(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkReplicas measures the cost of replicas: 500 new entries a call, four
// callers.
func BenchmarkReplicas(b *testing.B) {
	for _, setup := range []struct {
		name           string
		replica, asked int
	}{{"none", 0, 0}, {"one, not waited for", 1, 0}, {"one", 1, 1}} {
		b.Run(setup.name, func(b *testing.B) {
			primary := instancetest.Redis(b)
			if setup.replica > 0 {
				instancetest.RedisReplica(b, primary)
			}
			client, err := redis.Open(redis.URL(primary.URL()), redis.WithSettings(redis.Settings{Replicas: setup.asked, ReplicasTimeout: 20 * time.Second}))
			if err != nil {
				b.Fatal(err)
			}
			defer client.Close()
			s := New(client, retention)
			const size = 500
			var batches atomic.Int64
			b.SetParallelism(2) // with two processors
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					n := int(batches.Add(1)) * size
					events := make([]parking.Event, size)
					for i := range events {
						events[i] = entry(fmt.Sprint(n+i), 0)
						events[i].Plate = fmt.Sprint("KA", n+i)
					}
					for _, r := range s.Record(b.Context(), events) {
						if r.Err != nil {
							b.Error(r.Err)
							return
						}
					}
				}
			})
			b.ReportMetric(float64(b.N*size)/b.Elapsed().Seconds(), "events/s")
		})
	}
}
