package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/alecthomas/kong"
	amqp "github.com/rabbitmq/amqp091-go"

	"parkstream/connectors/rabbitmq/deadletter"
	"parkstream/shared/broker"
	"parkstream/shared/parking"
)

type replayCommand struct {
	List  replayListCommand  `cmd:"" help:"List dead letters, and how many there are for each reason."`
	Show  replayShowCommand  `cmd:"" help:"Show dead letters with their headers and bodies."`
	Run   replayRunCommand   `cmd:"" help:"Put dead letters back into their queue, all or those selected; without --yes it only counts them."`
	Purge replayPurgeCommand `cmd:"" help:"Delete dead letters for good; without --yes it only counts them."`
}

// deadLetters is what they have in common.
type deadLetters struct {
	Queue           texts          `default:"vehicle_entries,vehicle_exits" help:"Queues whose dead letters are meant."`
	ID              texts          `name:"id" help:"Only those with one of these message ids."`
	Plate           text           `help:"Only those whose body has this plate, however it is written."`
	OlderThan       *time.Duration `help:"Only those that have been dead letters for longer, such as 720h."`
	Reason          text           `help:"Only those whose reason contains this."`
	Function        text           `help:"Only those that failed in this function."`
	RabbitMQURLFile string         `name:"rabbitmq-url-file" default:".parkstream/secrets/rabbitmq-url" help:"File with the URL of RabbitMQ."`
}

// text is a flag that has a value if it is given: an empty one, as of a shell's
// variable that is not set, would select all.
type text string

// UnmarshalText refuses an empty text.
func (t *text) UnmarshalText(value []byte) error {
	if len(bytes.TrimSpace(value)) == 0 {
		return errors.New("it is given without a value: leave it out to select all")
	}
	*t = text(value)
	return nil
}

// texts is a flag with one or more of them, separated by commas or given repeatedly.
type texts []string

// Decode refuses an empty one.
func (t *texts) Decode(ctx *kong.DecodeContext) error {
	var list string
	if err := ctx.Scan.PopValueInto("string", &list); err != nil {
		return err
	}
	values := kong.SplitEscaped(list, ',')
	if len(values) == 0 {
		values = []string{""}
	}
	for _, value := range values {
		var one text
		if err := one.UnmarshalText([]byte(value)); err != nil {
			return err
		}
		*t = append(*t, string(one))
	}
	return nil
}

// Validate rejects flags that would select other messages than intended.
func (c deadLetters) Validate() error {
	if c.Plate != "" && parking.NormalizePlate(string(c.Plate)) == "" {
		return fmt.Errorf("--plate %q has no letter or digit", c.Plate)
	}
	if c.OlderThan != nil && *c.OlderThan <= 0 {
		return fmt.Errorf("--older-than is %s, want more than 0s", *c.OlderThan)
	}
	return nil
}

// selects reports whether it selects some of the queues' dead letters, not all.
func (c deadLetters) selects() bool {
	return len(c.ID) > 0 || c.Plate != "" || c.OlderThan != nil || c.Reason != "" || c.Function != ""
}

func (c deadLetters) broker() broker.Config {
	return broker.Config{URLs: broker.URLs(func() (string, error) { return readURLFile(c.RabbitMQURLFile) }), Name: "parkstream-replay"}
}

func (c deadLetters) filter() deadletter.Filter {
	f := deadletter.Filter{IDs: c.ID, Reason: string(c.Reason), Function: string(c.Function)}
	if c.OlderThan != nil {
		f.Before = time.Now().Add(-*c.OlderThan)
	}
	if plate := parking.NormalizePlate(string(c.Plate)); plate != "" {
		f.Match = func(d *deadletter.Letter) bool { return hasPlate(d.Body, plate) }
	}
	return f
}

// count returns how many dead letters are selected, and how many there are.
func (c deadLetters) count(ctx context.Context) (selected, all int, err error) {
	all, err = c.each(ctx, func(deadletter.Letter) error {
		selected++
		return nil
	})
	return selected, all, err
}

// each visits the selected dead letters and returns how many dead letters there are.
func (c deadLetters) each(ctx context.Context, visit func(deadletter.Letter) error) (all int, err error) {
	conn, err := broker.Dial(ctx, c.broker())
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	for _, queue := range c.Queue {
		n, err := deadletter.List(ctx, conn, queue, c.filter(), visit)
		if all += n; err != nil {
			return all, err
		}
	}
	return all, nil
}

type replayListCommand struct {
	deadLetters
	Limit int  `default:"20" help:"Dead letters to list one by one; 0 lists all."`
	JSON  bool `help:"One JSON object a line, for machines."`
}

// Run lists dead letters and sums them up.
func (c replayListCommand) Run(ctx context.Context) error {
	if c.JSON {
		c.Limit = 0
	}
	type sum struct{ queue, function, reason string }
	sums := make(map[sum]int)
	selected := 0
	table := tabwriter.NewWriter(os.Stdout, 0, 8, 2, ' ', 0)
	all, err := c.each(ctx, func(d deadletter.Letter) error {
		selected++
		sums[sum{d.Queue, d.Function, d.Reason}]++
		switch {
		case c.Limit > 0 && selected > c.Limit:
			return nil
		case c.JSON:
			return printJSON(d)
		case selected == 1:
			fmt.Fprintln(table, "QUEUE\tID\tFUNCTION\tSTATUS\tATTEMPTS\tLAST\tREASON")
		}
		_, err := fmt.Fprintf(table, "%s\t%s\t%s\t%d\t%d\t%s\t%s\n", d.Queue, printable(d.ID), printable(d.Function), d.Status, d.Attempts, shortTime(d.Last), shorten(d.Reason))
		return err
	})
	if err != nil || c.JSON {
		return err
	}
	if err := table.Flush(); err != nil {
		return err
	}
	if selected > c.Limit && c.Limit > 0 {
		fmt.Printf("... and %d more (--limit 0 lists all)\n", selected-c.Limit)
	}
	fmt.Printf("\n%d of %d dead letters\n", selected, all)
	for _, s := range slices.SortedFunc(maps.Keys(sums), func(a, b sum) int { return sums[b] - sums[a] }) {
		fmt.Fprintf(table, "%8d\t%s\t%s\t%s\n", sums[s], s.queue, printable(s.function), shorten(s.reason))
	}
	return table.Flush()
}

type replayShowCommand struct {
	deadLetters
	Limit int `default:"10" help:"Dead letters to show; 0 shows all."`
}

// Run shows dead letters in full.
func (c replayShowCommand) Run(ctx context.Context) error {
	shown := 0
	_, err := c.each(ctx, func(d deadletter.Letter) error {
		if shown++; c.Limit > 0 && shown > c.Limit {
			return nil
		}
		fmt.Printf("%s  from %s\n  reason    %s\n  function  %s, status %d, %d attempts\n  failed    first %s, last %s\n",
			printable(d.ID), d.Queue, printable(d.Reason), printable(d.Function), d.Status, d.Attempts, d.First.Format(time.RFC3339), d.Last.Format(time.RFC3339))
		for _, name := range slices.Sorted(maps.Keys(d.Headers)) {
			fmt.Printf("  header    %s: %s\n", printable(name), printable(fmt.Sprint(d.Headers[name])))
		}
		if len(d.Original) > 0 {
			fmt.Printf("  unread    headers as they were published, %d bytes: %s\n", len(d.Original), body(d.Original))
		}
		fmt.Printf("  body      %s\n\n", body(d.Body))
		return nil
	})
	if err == nil && shown == 0 {
		fmt.Println("no dead letter is selected")
	}
	return err
}

type replayRunCommand struct {
	deadLetters
	Yes bool `help:"Do it; otherwise only count."`
}

// Run puts dead letters back.
func (c replayRunCommand) Run(ctx context.Context) error {
	if !c.Yes {
		selected, all, err := c.count(ctx)
		if err != nil {
			return err
		}
		fmt.Printf("would put %d of %d dead letters back (--yes does it)\n", selected, all)
		return nil
	}
	conn, err := broker.Dial(ctx, c.broker())
	if err != nil {
		return err
	}
	defer conn.Close()
	p := broker.NewPublisher(c.broker())
	defer p.Close()
	for _, queue := range c.Queue {
		n, err := deadletter.Replay(ctx, conn, p, queue, c.filter())
		fmt.Printf("%d dead letters are back in %s\n", n, queue)
		if err != nil {
			return fmt.Errorf("the others stay where they are: %w", err)
		}
	}
	return nil
}

type replayPurgeCommand struct {
	deadLetters
	All bool `help:"Delete all dead letters of the queues; --yes wants it if nothing selects some."`
	Yes bool `help:"Do it; otherwise only count."`
}

// Validate has all dead letters deleted only if that was asked for in so many words.
func (c replayPurgeCommand) Validate() error {
	switch some := c.selects(); {
	case c.All && some:
		return errors.New("--all is given with a flag that selects some dead letters: leave out one of them")
	case c.Yes && !c.All && !some:
		return errors.New("nothing selects the dead letters to delete: give --id, --plate, --older-than, --reason or --function, or --all to delete all of the queues")
	}
	return c.deadLetters.Validate()
}

// Run deletes dead letters.
func (c replayPurgeCommand) Run(ctx context.Context) error {
	if !c.Yes {
		selected, all, err := c.count(ctx)
		if err != nil {
			return err
		}
		flags := "--yes"
		if !c.selects() {
			flags = "--all --yes"
		}
		fmt.Printf("would delete %d of %d dead letters for good (%s does it)\n", selected, all, flags)
		return nil
	}
	conn, err := broker.Dial(ctx, c.broker())
	if err != nil {
		return err
	}
	defer conn.Close()
	for _, queue := range c.Queue {
		n, err := deadletter.Purge(ctx, conn, queue, c.filter())
		fmt.Printf("%d dead letters of %s are deleted\n", n, queue)
		if err != nil {
			return fmt.Errorf("the others stay where they are: %w", err)
		}
	}
	return nil
}

// hasPlate reports whether a body is about a normalised plate. In an object with a
// vehicle_plate only that counts, in other JSON any value. Text that is not JSON, the
// reason of some dead letters, is searched between its quotes, separators and line
// ends.
func hasPlate(body []byte, plate string) bool {
	if !utf8.Valid(body) { // Latin-1, for example
		text := make([]rune, len(body))
		for i, b := range body {
			text[i] = rune(b)
		}
		body = []byte(string(text))
	}
	if json.Valid(body) {
		d := json.NewDecoder(bytes.NewReader(body))
		d.UseNumber()
		return valueHasPlate(d, plate)
	}
	for _, separators := range []string{`"`, "\"',;:=|<>{}[]\t\r\n"} {
		parts := strings.FieldsFunc(string(body), func(r rune) bool { return strings.ContainsRune(separators, r) })
		if slices.ContainsFunc(parts, func(part string) bool { return parking.NormalizePlate(part) == plate }) {
			return true
		}
	}
	return false
}

// valueHasPlate reads one value. It goes by the tokens: of a field that is there
// twice, a decoded object has only one.
func valueHasPlate(d *json.Decoder, plate string) bool {
	token, err := d.Token()
	if err != nil {
		return false
	}
	switch token := token.(type) {
	case string:
		return parking.NormalizePlate(token) == plate
	case json.Number:
		return parking.NormalizePlate(token.String()) == plate
	case json.Delim:
		var named, own, other bool
		for d.More() {
			if token == '{' {
				name, _ := d.Token()
				if name == "vehicle_plate" {
					named = true
					own = valueHasPlate(d, plate) || own
					continue
				}
			}
			other = valueHasPlate(d, plate) || other
		}
		_, _ = d.Token() // its end
		if named {
			return own
		}
		return other
	}
	return false
}

// printJSON writes a dead letter as JSON: its body as text if it is valid, else in base64.
func printJSON(d deadletter.Letter) error {
	out := map[string]any{
		"id": d.ID, "queue": d.Queue, "reason": d.Reason, "function": d.Function, "status": d.Status, "attempts": d.Attempts,
		"first": d.First, "last": d.Last, "content_type": d.ContentType, "headers": jsonValue(d.Headers),
	}
	if len(d.Original) > 0 {
		out["original_headers_base64"] = d.Original
	}
	if utf8.Valid(d.Body) {
		out["body"] = string(d.Body)
	} else {
		out["body_base64"] = d.Body
	}
	return json.NewEncoder(os.Stdout).Encode(out)
}

// jsonValue converts a header to a value that JSON has: there are no infinite numbers,
// and times end with the year 9999.
func jsonValue(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for name, element := range v {
			out[name] = jsonValue(element)
		}
		return out
	case amqp.Table:
		return jsonValue(map[string]any(v))
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = jsonValue(v[i])
		}
		return out
	}
	if _, err := json.Marshal(v); err != nil {
		return fmt.Sprint(v)
	}
	return v
}

func shortTime(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.Local().Format(time.DateTime)
}

// printable quotes characters that control the terminal: a publisher chooses ids and
// headers.
func printable(text string) string {
	if utf8.ValidString(text) && !strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return text
	}
	return strconv.Quote(text)
}

// shorten makes one line of a reason.
func shorten(text string) string {
	const most = 100
	text = printable(strings.Join(strings.Fields(text), " "))
	if r := []rune(text); len(r) > most {
		return string(r[:most]) + "..."
	}
	return text
}

// body makes a body fit for a terminal.
func body(b []byte) string {
	const most = 2000
	text := fmt.Sprintf("%q", b[:min(len(b), most)])
	if utf8.Valid(b) && !strings.ContainsFunc(string(b), func(r rune) bool { return !unicode.IsPrint(r) && r != '\n' && r != '\t' }) {
		text = string(b[:min(len(b), most)])
	}
	if len(b) > most {
		text += fmt.Sprintf("... (%d bytes)", len(b))
	}
	return text
}
