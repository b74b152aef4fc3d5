package parking

import (
	"cmp"
	"slices"
	"sort"
)

// mostAlike is how many other lone reads may be like a read that the near rule compares.
// More are so if a camera fails, or if a sender makes plates up. The time and the memory
// of the rule grow with the reads, and with this.
const mostAlike = 500

// Many groups of nearly so many reads take too long, too. Above mostCompared comparisons of
// reads with plates, some three times those of a site with 20,000 vehicles inside, fewer
// reads may be like a read: the half, and again, but at least leastAlike.
const (
	mostCompared = 64_000_000
	leastAlike   = 60
)

// uncrowded returns the table without the crowded reads, and how many these are. A read is
// crowded if more than that many others, of at most [MaxNear] before or after it, have all
// but two characters of its plate, in their order. Each read is counted, crowded or not, so
// that the order does not matter.
func (t *table) uncrowded(most int) (*table, int) {
	if len(t.reads) <= most+1 {
		return t, 0
	}
	crowded := make([]bool, len(t.reads))
	load := t.crowd(crowded, most)
	all := 0
	for _, n := range load {
		all += n
	}
	for most/2 >= leastAlike && all > mostCompared && t.compared(crowded) > mostCompared {
		most /= 2
		load = t.crowd(crowded, most)
	}
	n := 0
	var times []int64
	for line := range t.texts {
		reads := crowded[t.starts[2*line]:t.starts[2*line+2]]
		if load[line] > most && slices.Contains(reads, false) {
			times = t.crowdOf(line, reads, most, times)
		}
		for _, c := range reads {
			if c {
				n++
			}
		}
	}
	if n == 0 {
		return t, 0
	}
	left := make([]read, 0, len(t.reads)-n)
	var texts [][]rune
	last := int32(-1)
	for i, r := range t.reads {
		if crowded[i] {
			continue
		}
		if r.line != last {
			last = r.line
			texts = append(texts, r.text)
		}
		r.line = int32(len(texts) - 1) //nolint:gosec // at most as many as reads
		left = append(left, r)
	}
	return tableOf(left, texts), n
}

// crowd marks the reads that are crowded by the reads with one and the same rest of their
// plate: after that, what is left to search of each text is bounded. It returns for each
// text how many reads are like its own, or more, because some are counted repeatedly.
func (t *table) crowd(crowded []bool, most int) (load []int) {
	load = make([]int, len(t.texts))
	var bucket []item
	var group []int32
	for b := range len(t.index.starts) - 1 {
		items := t.items[t.index.starts[b]:t.index.starts[b+1]]
		n := 0
		for _, it := range items {
			n += t.count(it.text)
		}
		for _, it := range items {
			load[it.text] += n
		}
		if n <= most {
			continue
		}
		bucket = append(bucket[:0], items...)
		slices.SortFunc(bucket, func(a, b item) int { return cmp.Or(cmp.Compare(a.rest, b.rest), cmp.Compare(a.text, b.text)) })
		bucket = slices.Compact(bucket)
		for len(bucket) > 0 {
			group = group[:0]
			k := 0
			for ; k < len(bucket) && bucket[k].rest == bucket[0].rest; k++ {
				text := bucket[k].text
				for i := t.starts[2*text]; i < t.starts[2*text+2]; i++ {
					group = append(group, i)
				}
			}
			bucket = bucket[k:]
			if len(group) > most+1 {
				t.crowdOfGroup(group, crowded, most)
			}
		}
	}
	return load
}

// compared returns how many comparisons of reads with plates are left.
func (t *table) compared(crowded []bool) (n int) {
	left := make([]int, len(t.texts))
	for i, c := range crowded {
		if !c {
			left[t.reads[i].line]++
		}
	}
	for b := range len(t.index.starts) - 1 {
		reads, texts := 0, 0
		for _, it := range t.items[t.index.starts[b]:t.index.starts[b+1]] {
			if left[it.text] > 0 {
				reads += left[it.text]
				texts++
			}
		}
		n += reads * texts
	}
	return n
}

// count returns the number of reads of a text.
func (t *table) count(text int32) int { return int(t.starts[2*text+2] - t.starts[2*text]) }

func (t *table) crowdOfGroup(group []int32, crowded []bool, most int) {
	slices.SortFunc(group, func(a, b int32) int { return cmp.Compare(t.reads[a].at, t.reads[b].at) })
	from, to := 0, 0
	for _, i := range group {
		for t.reads[group[from]].at < t.reads[i].at-int64(MaxNear) {
			from++
		}
		for to < len(group) && t.reads[group[to]].at <= t.reads[i].at+int64(MaxNear) {
			to++
		}
		if to-from-1 > most {
			crowded[i] = true
		}
	}
}

// crowdOf marks the crowded reads of one text. It returns the memory that it used.
func (t *table) crowdOf(line int, crowded []bool, most int, times []int64) []int64 {
	times = times[:0]
	during := t.spans[line].all().widened(MaxNear)
	t.find(t.texts[line], 0, during, func(other int) {
		if when := t.spans[other].all(); !when.meets(during) {
			return
		}
		for i := t.starts[2*other]; i < t.starts[2*other+2]; i++ {
			times = append(times, t.reads[i].at)
		}
	})
	if len(times)-1 <= most {
		return times
	}
	slices.Sort(times)
	for i := range crowded {
		at := t.reads[int(t.starts[2*line])+i].at
		from := sort.Search(len(times), func(k int) bool { return times[k] >= at-int64(MaxNear) })
		to := sort.Search(len(times), func(k int) bool { return times[k] > at+int64(MaxNear) })
		if to-from-1 > most {
			crowded[i] = true
		}
	}
	return times
}
