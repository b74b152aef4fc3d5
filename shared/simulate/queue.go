package simulate

import (
	"container/heap"
	"time"
)

// queue has what happens at a time, the earliest first; at one time what came first.
type queue[T any] struct {
	items []item[T]
	count uint64
}

type item[T any] struct {
	at    time.Time
	order uint64
	what  T
}

// add adds what happens at a time.
func (q *queue[T]) add(at time.Time, what T) {
	q.count++
	heap.Push(q, item[T]{at, q.count, what})
}

// take removes and returns the first.
func (q *queue[T]) take() item[T] { return heap.Pop(q).(item[T]) } //nolint:forcetypeassert // heap.Pop returns what Pop does

// next returns the first, or nil. It may be made earlier, if nothing else comes before.
func (q *queue[T]) next() *item[T] {
	if len(q.items) == 0 {
		return nil
	}
	return &q.items[0]
}

// Len, Less, Swap, Push and Pop implement [heap.Interface].
func (q *queue[T]) Len() int { return len(q.items) }

func (q *queue[T]) Less(i, j int) bool {
	a, b := &q.items[i], &q.items[j]
	if !a.at.Equal(b.at) {
		return a.at.Before(b.at)
	}
	return a.order < b.order
}

func (q *queue[T]) Swap(i, j int) { q.items[i], q.items[j] = q.items[j], q.items[i] }
func (q *queue[T]) Push(x any)    { q.items = append(q.items, x.(item[T])) } //nolint:forcetypeassert // add pushes items

func (q *queue[T]) Pop() any {
	last := q.items[len(q.items)-1]
	q.items[len(q.items)-1] = item[T]{}
	q.items = q.items[:len(q.items)-1]
	return last
}
