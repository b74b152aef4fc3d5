package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"net/http"
	"slices"
	"strings"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"

	"parkstream/shared/redirect"
)

// client keeps its connections: a request does not dial.
var client = &http.Client{Timeout: 2 * time.Minute, CheckRedirect: redirect.Refuse}

// fetch gets a page that answers 200.
func (b *bench) fetch(ctx context.Context, url, accept string) ([]byte, error) {
	body, _, err := b.request(ctx, url, accept)
	return body, err
}

func (b *bench) request(ctx context.Context, url, accept string) ([]byte, http.Header, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, nil, err
	}
	// On one machine, compressing would cost more than it saves.
	r.Header.Set("Accept-Encoding", "identity")
	if accept != "" {
		r.Header.Set("Accept", accept)
	}
	if strings.HasPrefix(url, b.system.URL()+"/") {
		r.Header.Set("Authorization", "Bearer "+b.token)
	}
	resp, err := client.Do(r)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, nil, fmt.Errorf("read the answer of %s: %w", url, err)
	}
	if resp.StatusCode != http.StatusOK {
		return nil, nil, fmt.Errorf("%s answers %s: %.200s", url, resp.Status, body)
	}
	return body, resp.Header, nil
}

// sample is the metrics of one process at one moment.
type sample map[string]*dto.MetricFamily

// scrape reads the metrics of the process at a URL, in the form that has native
// histograms.
func (b *bench) scrape(ctx context.Context, url string) (sample, error) {
	body, header, err := b.request(ctx, url+"/metrics", string(expfmt.NewFormat(expfmt.TypeProtoDelim)))
	if err != nil {
		return nil, err
	}
	s := make(sample)
	for d := expfmt.NewDecoder(bytes.NewReader(body), expfmt.ResponseFormat(header)); ; {
		f := new(dto.MetricFamily)
		if err := d.Decode(f); errors.Is(err, io.EOF) {
			return s, nil
		} else if err != nil {
			return nil, fmt.Errorf("read the metrics of %s: %w", url, err)
		}
		s[f.GetName()] = f
	}
}

// sum returns the sum of a counter or gauge over all labels, 0 if it is missing.
func (s sample) sum(name string) float64 {
	total := 0.0
	for _, m := range s[name].GetMetric() {
		total += m.GetCounter().GetValue() + m.GetGauge().GetValue() + m.GetUntyped().GetValue()
	}
	return total
}

// histogram of a name, over all labels.
func (s sample) histogram(name string) (histogram, error) {
	total := histogram{schema: math.MaxInt32, buckets: make(map[int]float64)}
	for _, m := range s[name].GetMetric() {
		h := m.GetHistogram()
		if h.GetSchema() == 0 && len(h.GetPositiveSpan()) == 0 && h.GetSampleCount() > 0 {
			return total, fmt.Errorf("%s is no native histogram", name)
		}
		total.add(readHistogram(h), 1)
	}
	return total, nil
}

// histogram is a native histogram of Prometheus: bucket i of a schema s counts
// observations up to 2^(i/2^s) that are above the bucket before.
type histogram struct {
	schema  int
	zero    float64
	buckets map[int]float64
}

func readHistogram(h *dto.Histogram) histogram {
	r := histogram{schema: int(h.GetSchema()), zero: float64(h.GetZeroCount()), buckets: make(map[int]float64)}
	at, count, deltas := 0, int64(0), h.GetPositiveDelta()
	for _, span := range h.GetPositiveSpan() {
		at += int(span.GetOffset())
		for range span.GetLength() {
			count += deltas[0]
			deltas = deltas[1:]
			r.buckets[at] = float64(count)
			at++
		}
	}
	return r
}

// add adds another one times a factor, at the coarser of both resolutions.
func (h *histogram) add(o histogram, factor float64) {
	schema := min(h.schema, o.schema)
	h.coarsen(schema)
	h.zero += factor * o.zero
	for i, n := range o.buckets {
		h.buckets[coarser(i, o.schema-schema)] += factor * n
	}
}

func (h *histogram) coarsen(schema int) {
	if h.schema == schema {
		return
	}
	buckets := make(map[int]float64, len(h.buckets))
	for i, n := range h.buckets {
		buckets[coarser(i, h.schema-schema)] += n
	}
	h.schema, h.buckets = schema, buckets
}

// coarser is the bucket that has a bucket in it after steps reductions of the
// schema by 1, each of which joins two.
func coarser(i, steps int) int {
	for range steps {
		i = (i + 1) >> 1
	}
	return i
}

// quantile returns a quantile of the observations, in their unit: the upper bound of
// its bucket, which is never too low. NaN if there are no observations.
func (h histogram) quantile(q float64) float64 {
	total := h.zero
	for _, n := range h.buckets {
		total += n
	}
	if total <= 0 {
		return math.NaN()
	}
	rank := math.Ceil(q * total)
	seen := h.zero
	if seen >= rank {
		return 0
	}
	for _, i := range slices.Sorted(maps.Keys(h.buckets)) {
		if seen += h.buckets[i]; seen >= rank {
			return math.Exp2(math.Ldexp(float64(i), -h.schema))
		}
	}
	return math.NaN()
}

// quantile returns the smallest of the sorted values that is at least as large as the
// given share of them. There has to be at least one value.
func quantile(sorted []time.Duration, q float64) time.Duration {
	rank := max(1, int(math.Ceil(q*float64(len(sorted)))))
	return sorted[rank-1]
}

// median returns the median of values; NaN if there are none.
func median(values []float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	s := slices.Sorted(slices.Values(values))
	if n := len(s); n%2 == 0 {
		return (s[n/2-1] + s[n/2]) / 2
	}
	return s[len(s)/2]
}
