package timeline

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"parkstream/shared/failure"
	"parkstream/shared/parking"
	"parkstream/shared/redis"
)

var (
	//go:embed decisions.lua
	decisionsSource string
	//go:embed decide.lua
	decideSource string
	//go:embed posted.lua
	postedSource string
)

var (
	decideScript = newScript(decisionsSource, decideSource)
	postedScript = newScript(postedSource)
)

// Change is what the near rule makes of an exit, otherwise than it was decided before.
type Change struct {
	// Stay is the stay of the exit; see [parking.Match]. Its revision is ignored. If it
	// [Change.Withdraws] only its id counts, and nothing of the other fields but Was.
	Stay parking.Stay
	// EntryPlate and ExitPlate are the normalised plates of the two reads.
	EntryPlate, ExitPlate string
	// Exact is the entry that the exit has by the pairing rule. It is zero if the exit is
	// lone.
	Exact Place
	// Was is the revision of the decision that is replaced, or 0 if there is none.
	Was int64
}

// Withdraws reports whether the pairing rule is valid for the exit: the stay is neither
// matched otherwise nor disputed.
func (c *Change) Withdraws() bool { return c.Stay.Match == nil && !c.Stay.Disputed }

// Decision is what was decided of an exit. If it [Change.Withdraws] the stay is that of the
// pairing rule.
type Decision struct {
	Change
	// Posted reports that the stay was posted. A withdrawal that was is no decision any
	// more.
	Posted bool
}

// Decided is the result of a [Change].
type Decided struct {
	// Decision is the one that is valid now. Its stay has the revision to post it with.
	Decision
	// Refused is the reason why nothing was decided, or empty.
	Refused string
}

// MaxChanges bounds the changes of one call, because Redis runs nothing else meanwhile.
const MaxChanges = 250

// Decide decides of exits otherwise than the pairing rule does, and returns a result per
// change in order. What a change builds on must hold still: the exit is lone, or paired as
// the change tells; the entry is lone, or that of an exit that is given another one; no
// other exit has it, and no person rejected the pair. The entry that an exit has back by a
// withdrawal is given to no other one. Otherwise the change is refused, and with it those
// that depend on it. All changes are made at once, so those that share a read
// belong into one call, of at most [MaxChanges]. A change that is made already is not made
// again: its result is the same.
func (s *Store) Decide(ctx context.Context, site string, changes []Change) ([]Decided, error) {
	if len(changes) == 0 {
		return nil, nil
	}
	if len(changes) > MaxChanges {
		return nil, fmt.Errorf("decide of %d exits of site %s at once: at most %d are allowed", len(changes), site, MaxChanges)
	}
	args := []any{instant(s.oldest()), s.expiry()}
	for i := range changes {
		c := &changes[i]
		args = append(args, c.Stay.ID, c.Was)
		if c.Withdraws() {
			args = append(args, "", "", "", "", "", "")
			continue
		}
		more, err := json.Marshal(decidedOf(c))
		if err != nil {
			return nil, fmt.Errorf("decide of exit %q of site %s: %w", c.Stay.ID, site, err)
		}
		exact := ""
		if c.Exact.ID != "" {
			exact = entryMember(c.Exact.ID, c.Exact.Time)
		}
		args = append(args, exitMember(c.Stay.ID, c.Stay.ExitTime), c.ExitPlate,
			entryMember(c.Stay.EntryID, c.Stay.EntryTime), c.EntryPlate, exact, string(more))
	}
	call := redis.Call{Script: decideScript, Keys: []string{string(keysOf(site))}, Args: args}
	s.redis.Run(ctx, &call)
	text, err := call.Text()
	if err != nil {
		return nil, fmt.Errorf("decide of %d exits of site %s in Redis: %w", len(changes), site, err)
	}
	decided := make([]Decided, len(changes))
	for i := range changes {
		var line string
		line, text, _ = strings.Cut(text, "\n")
		if reason, refused := strings.CutPrefix(line, "-"); refused {
			decided[i].Refused = reason
			decided[i].Change = changes[i]
			continue
		}
		if decided[i].Decision, err = parseDecision(site, strings.Split(line, "\t")); err != nil {
			return nil, failure.Odd("Redis", fmt.Errorf("unexpected answer %q of the decide script: %w", line, err))
		}
	}
	return decided, nil
}

// Posted notes that stays were posted at their revisions. A stay that was decided
// otherwise meanwhile is not affected.
func (s *Store) Posted(ctx context.Context, site string, stays []parking.Stay) error {
	for some := range slices.Chunk(stays, eventsPerScript) {
		args := make([]any, 0, 2*len(some))
		for i := range some {
			args = append(args, some[i].ID, some[i].Revision)
		}
		call := redis.Call{Script: postedScript, Keys: []string{string(keysOf(site))}, Args: args}
		s.redis.Run(ctx, &call)
		if _, err := call.Text(); err != nil {
			return fmt.Errorf("note in Redis that %d stays of site %s were posted: %w", len(some), site, err)
		}
	}
	return nil
}

// decisionsPerTrip bounds the decisions in one round trip.
const decisionsPerTrip = 1000

// notPosted is the score of what is not posted; see layout.lua.
const notPosted = 1<<53 - 1

// Decisions returns what was decided of the exits of a site that were observed from an
// instant on, and of any that is not posted yet, in no order. Those whose entry or exit
// expired are none any more. If there are more than [MaxLone] these are the newest.
func (s *Store) Decisions(ctx context.Context, site string, from time.Time) ([]Decision, error) {
	found, err := s.decisions(ctx, site, s.retained(from))
	if err != nil {
		return nil, fmt.Errorf("read the decisions of site %s from Redis: %w", site, err)
	}
	return found, nil
}

func (s *Store) decisions(ctx context.Context, site string, from time.Time) ([]Decision, error) {
	keys, oldest := keysOf(site), s.oldest()
	args := goredis.ZRangeArgs{Key: keys.decided(), Start: notPosted, Stop: from.UnixMilli(), Rev: true}
	exits, _, err := pages(args, func(args goredis.ZRangeArgs) ([]goredis.Z, error) {
		return s.redis.Current().ZRangeArgsWithScores(ctx, args).Result()
	}, func(z goredis.Z) (int64, error) { return int64(z.Score), nil })
	if err != nil {
		return nil, err
	}
	decisions := make([]Decision, 0, len(exits))
	for some := range slices.Chunk(exits, decisionsPerTrip) {
		ids := make([]string, len(some))
		for i, z := range some {
			ids[i] = z.Member.(string)
		}
		kept, err := s.redis.Current().HMGet(ctx, keys.decisions(), ids...).Result()
		if err != nil {
			return nil, err
		}
		for i, id := range ids {
			text, found := kept[i].(string)
			if !found { // it was withdrawn meanwhile
				continue
			}
			d, err := parseDecision(site, strings.Split(text, "\n"))
			if err != nil {
				return nil, failure.Odd("Redis", fmt.Errorf("unexpected decision of exit %q: %w", id, err))
			}
			if expired := d.Stay.ExitTime.Before(oldest) || d.Stay.EntryID != "" && d.Stay.EntryTime.Before(oldest); !expired {
				decisions = append(decisions, d)
			}
		}
	}
	return decisions, nil
}

// DecisionOf returns what was decided of an exit. found reports whether anything was.
func (s *Store) DecisionOf(ctx context.Context, site, exitID string) (d Decision, found bool, err error) {
	text, err := s.redis.Current().HGet(ctx, keysOf(site).decisions(), exitID).Result()
	if errors.Is(err, goredis.Nil) {
		return d, false, nil
	}
	if err == nil {
		d, err = parseDecision(site, strings.Split(text, "\n"))
	}
	if err != nil {
		return d, false, fmt.Errorf("read the decision of exit %q of site %s from Redis: %w", exitID, site, err)
	}
	return d, true, nil
}

// decided is the JSON of what a decision makes of a stay besides its entry.
type decided struct {
	Plate    string               `json:"plate,omitempty"` // unless it is that of the exit
	Match    *parking.Explanation `json:"match,omitempty"`
	Disputed bool                 `json:"disputed,omitempty"`
}

func decidedOf(c *Change) decided {
	d := decided{Match: c.Stay.Match, Disputed: c.Stay.Disputed}
	if c.Stay.Plate != c.ExitPlate {
		d.Plate = c.Stay.Plate
	}
	return d
}

// cutDecided applies the JSON at the start of a text to a stay, and returns the rest.
func cutDecided(stay *parking.Stay, text string) (rest string, err error) {
	var d decided
	decoder := json.NewDecoder(strings.NewReader(text))
	if err := decoder.Decode(&d); err != nil {
		return "", err
	}
	if d.Plate != "" {
		stay.Plate = d.Plate
	}
	stay.Match, stay.Disputed = d.Match, d.Disputed
	return text[decoder.InputOffset():], nil
}

// Lines of a decision; layout.lua lists them.
const (
	revisionLine = iota
	stateLine
	exitLine
	exitPlateLine
	entryLine
	entryPlateLine
	exactLine
	stayLine
	decisionLines
)

// parseDecision returns the decision with such lines.
func parseDecision(site string, lines []string) (d Decision, err error) {
	if len(lines) != decisionLines {
		return d, fmt.Errorf("it has %d lines, want %d", len(lines), decisionLines)
	}
	stay := &d.Stay
	stay.Site, stay.Plate = site, lines[exitPlateLine]
	d.ExitPlate, d.EntryPlate = lines[exitPlateLine], lines[entryPlateLine]
	d.Posted = lines[stateLine] == "p"
	var errs [5]error
	stay.Revision, errs[0] = strconv.ParseInt(lines[revisionLine], 10, 64)
	d.Was = stay.Revision
	stay.ID, stay.ExitTime, errs[1] = parseMember(lines[exitLine])
	switch entry := lines[entryLine]; entry {
	case "":
	case "r":
		stay.Repeat = true
	default:
		stay.EntryID, stay.EntryTime, errs[2] = parseMember(entry)
	}
	if exact := lines[exactLine]; exact != "" {
		d.Exact.ID, d.Exact.Time, errs[3] = parseMember(exact)
	}
	if text := lines[stayLine]; text != "" {
		_, errs[4] = cutDecided(stay, text)
	}
	return d, errors.Join(errs[:]...)
}

func entryMember(id string, at time.Time) string {
	return instant(at) + string(rune(parking.Entry)) + id
}

func exitMember(id string, at time.Time) string { return instant(at) + string(rune(parking.Exit)) + id }

// oldest returns the oldest retained instant.
func (s *Store) oldest() time.Time { return s.now().Add(-s.retention) }

// expiry returns when what names plates or events expires that is written now, in
// milliseconds since 1970: later than each event of now.
func (s *Store) expiry() int64 { return s.now().Add(s.retention + 24*time.Hour).UnixMilli() }
