package timeline

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"parkstream/shared/failure"
	"parkstream/shared/parking"
	"parkstream/shared/redis"
)

//go:embed reject.lua
var rejectSource string

var rejectScript = newScript(decisionsSource, rejectSource)

// Rejection is the decision of a person that an entry and an exit are not of one vehicle.
type Rejection struct {
	parking.Rejection `json:"-"`
	// ID is that of the decision.
	ID string `json:"id"`
	// By is who decided, and At when.
	By string    `json:"by"`
	At time.Time `json:"at"`
	// Withdrawn is the later decision that the pair is not rejected, or nil.
	Withdrawn *Rejection `json:"-"`
}

// MaxRejections bounds the decisions about rejections of a site that are kept. Each is for
// as long as an event of its time would be.
const MaxRejections = 10_000

// ErrDecided is the [parking.ErrInvalid] of a decision with the id of another one.
var ErrDecided = parking.Invalid("the id belongs to another decision")

// Versions are those of the entry and of the exit of a pair, 0 of one that is not known.
type Versions struct{ Entry, Exit int64 }

// Reject keeps a rejection of events in these versions. It returns the stays to post: that of
// the exit, if it had been given the entry, and those of exits that had what is its own then.
// changed is false if the pair was rejected already, or the decision was made before. The
// error is a [parking.ErrConflict] if one of the events has another version by now.
func (s *Store) Reject(ctx context.Context, site string, r Rejection, of Versions) (stays []parking.Stay, changed bool, err error) {
	return s.reject(ctx, site, r, true, fmt.Sprint(of.Entry, of.Exit))
}

// Unreject withdraws the rejection with the id of, by a later decision with an id of its own.
// changed is false if it was withdrawn already, or the decision was made before. The error is
// a [parking.ErrConflict] if the pair has another rejection by now.
func (s *Store) Unreject(ctx context.Context, site string, r Rejection, of string) (changed bool, err error) {
	_, changed, err = s.reject(ctx, site, r, false, of)
	return changed, err
}

func (s *Store) reject(ctx context.Context, site string, r Rejection, valid bool, of string) (stays []parking.Stay, changed bool, err error) {
	for _, id := range []string{r.ID, r.EntryID, r.ExitID} {
		if err := parking.CheckID(id); err != nil {
			return nil, false, err
		}
	}
	text, err := json.Marshal(r)
	if err != nil {
		return nil, false, fmt.Errorf("keep a rejection of site %s: %w", site, err)
	}
	oldest, is := s.oldest(), 0
	if valid {
		is = 1
	}
	call := redis.Call{
		Script: rejectScript, Keys: []string{string(keysOf(site))},
		Args: []any{instant(oldest), oldest.UnixMilli(), s.expiry(), 2 * MaxRejections, r.EntryID, r.ExitID, is, r.ID, string(text), s.now().UnixMilli(), of},
	}
	s.redis.Run(ctx, &call)
	answer, err := call.Text()
	if err != nil {
		return nil, false, fmt.Errorf("keep a rejection of site %s in Redis: %w", site, err)
	}
	verdict, rest, more := strings.Cut(answer, "\t")
	switch verdict {
	case "N", "K":
		changed = verdict == "N"
	case "C":
		return nil, false, ErrDecided
	case "V":
		return nil, false, parking.ErrConflict
	case "F":
		return nil, false, parking.Invalid("site %s has %d decisions about rejections, more are not kept", site, MaxRejections)
	default:
		return nil, false, failure.Odd("Redis", fmt.Errorf("unexpected answer %q of the reject script", answer))
	}
	if !more {
		return nil, changed, nil
	}
	for fields := range slices.Chunk(strings.Split(rest, "\t"), decisionLines) {
		d, err := parseDecision(site, fields)
		if err != nil {
			return nil, false, failure.Odd("Redis", fmt.Errorf("unexpected answer %q of the reject script: %w", answer, err))
		}
		stays = append(stays, d.Stay)
	}
	return stays, changed, nil
}

// rejectionField returns the field of key.rejections of a pair.
func rejectionField(pair parking.Rejection) string { return pair.EntryID + "\n" + pair.ExitID }

// Valid returns the rejections that are not withdrawn, as the near rule takes them.
func Valid(kept []Rejection) []parking.Rejection {
	var valid []parking.Rejection
	for i := range kept {
		if kept[i].Withdrawn == nil {
			valid = append(valid, kept[i].Rejection)
		}
	}
	return valid
}

// Rejections returns the rejections of a site, in no order, also those that were withdrawn.
func (s *Store) Rejections(ctx context.Context, site string) ([]Rejection, error) {
	found, err := s.redis.Current().HGetAll(ctx, keysOf(site).rejections()).Result()
	if err != nil {
		return nil, fmt.Errorf("read the rejections of site %s from Redis: %w", site, err)
	}
	rejections := []Rejection{}
	for pair, text := range found {
		if strings.HasPrefix(pair, "\n") {
			continue
		}
		r, retained, err := s.parseRejection(pair, text)
		if err != nil {
			return nil, failure.Odd("Redis", fmt.Errorf("unexpected rejection of site %s: %w", site, err))
		}
		if retained {
			rejections = append(rejections, r)
		}
	}
	return rejections, nil
}

// RejectionOf returns the rejection of a pair. found reports whether there is one, perhaps
// withdrawn.
func (s *Store) RejectionOf(ctx context.Context, site string, pair parking.Rejection) (r Rejection, found bool, err error) {
	field := rejectionField(pair)
	text, err := s.redis.Current().HGet(ctx, keysOf(site).rejections(), field).Result()
	if errors.Is(err, goredis.Nil) {
		return r, false, nil
	}
	if err == nil {
		r, found, err = s.parseRejection(field, text)
	}
	if err != nil {
		return r, false, fmt.Errorf("read a rejection of site %s from Redis: %w", site, err)
	}
	return r, found, nil
}

// RejectedOf returns those of some pairs that are rejected.
func (s *Store) RejectedOf(ctx context.Context, site string, pairs []parking.Rejection) (rejected []parking.Rejection, err error) {
	if len(pairs) == 0 {
		return nil, nil
	}
	fields := make([]string, len(pairs))
	for i, pair := range pairs {
		fields[i] = rejectionField(pair)
	}
	texts, err := s.redis.Current().HMGet(ctx, keysOf(site).rejections(), fields...).Result()
	if err != nil {
		return nil, fmt.Errorf("read %d rejections of site %s from Redis: %w", len(pairs), site, err)
	}
	for i := range pairs {
		text, found := texts[i].(string)
		if !found {
			continue
		}
		r, retained, err := s.parseRejection(fields[i], text)
		if err != nil {
			return nil, failure.Odd("Redis", fmt.Errorf("unexpected rejection of site %s: %w", site, err))
		}
		if retained && r.Withdrawn == nil {
			rejected = append(rejected, pairs[i])
		}
	}
	return rejected, nil
}

// parseRejection returns the rejection that is kept so, and reports whether it is retained.
func (s *Store) parseRejection(pair, text string) (r Rejection, retained bool, err error) {
	lines := strings.Split(text, "\n")
	if len(lines) != 4 {
		return r, false, fmt.Errorf("rejection %q has %d lines, want 4", text, len(lines))
	}
	entry, exit, _ := strings.Cut(pair, "\n")
	if lines[2] != "" {
		if err := json.Unmarshal([]byte(lines[2]), &r); err != nil {
			return r, false, err
		}
	}
	r.Rejection = parking.Rejection{EntryID: entry, ExitID: exit}
	if lines[3] != "" {
		r.Withdrawn = &Rejection{}
		if err := json.Unmarshal([]byte(lines[3]), r.Withdrawn); err != nil {
			return r, false, err
		}
		r.Withdrawn.Rejection = r.Rejection
	}
	return r, parseCount(lines[0]) >= s.oldest().UnixMilli(), nil
}
