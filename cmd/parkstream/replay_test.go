package main

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"
	amqp "github.com/rabbitmq/amqp091-go"

	"parkstream/shared/broker"
)

// TestPrintable keeps what a publisher wrote from driving the operator's terminal.
func TestPrintable(t *testing.T) {
	for text, want := range map[string]string{
		"e1": "e1", "MÜ 12 \u2603": "MÜ 12 \u2603", "": "",
		"e\x1b[31m": `"e\x1b[31m"`, "a\nb": `"a\nb"`, "\u009b2J": `"\u009b2J"`, "\xff": `"\xff"`,
	} {
		if got := printable(text); got != want {
			t.Errorf("printable(%q) is %s, want %s", text, got, want)
		}
	}
	if got, want := shorten("so \x1b[2J  it\nis"), `"so \x1b[2J it is"`; got != want {
		t.Errorf("shorten: %s, want %s", got, want)
	}
	if got, want := body([]byte("\u009b2J")), `"\u009b2J"`; got != want {
		t.Errorf("body: %s, want %s", got, want)
	}
}

// capture returns what f prints.
func capture(t *testing.T, f func()) string {
	t.Helper()
	stdout := os.Stdout
	defer func() { os.Stdout = stdout }()
	file, err := os.Create(filepath.Join(t.TempDir(), "printed"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	os.Stdout = file
	f()
	text, err := os.ReadFile(file.Name())
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// Dead letters of a plate, or of an age, are deleted only with --yes, and the others
// stay.
func TestReplayPurge(t *testing.T) {
	node := rabbitMQ(t)
	const queue = "purge"
	config := broker.Config{URLs: func() ([]string, error) { return []string{node.URL()}, nil }}
	p := broker.NewPublisher(config)
	defer p.Close()
	if _, err := p.DeclareQueue(t.Context(), queue); err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	var msgs []broker.Message
	for i, plate := range []string{"KA 01", "ka-01", "KA 01", "KA 02"} {
		msgs = append(msgs, broker.Message{
			Queue: broker.DeadQueue(queue), ID: fmt.Sprint("e", i), Body: fmt.Appendf(nil, `{"vehicle_plate":%q}`, plate),
			Headers: amqp.Table{"x-parkstream-last-time": now.Add(-time.Duration(i)*24*time.Hour - time.Hour).UTC().Format(time.RFC3339Nano), "x-parkstream-function": "f"},
		})
	}
	if err := p.Publish(t.Context(), msgs); err != nil {
		t.Fatal(err)
	}
	urlFile := filepath.Join(t.TempDir(), "url")
	if err := os.WriteFile(urlFile, []byte(node.URL()), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name  string
		which deadLetters
		yes   bool
		want  string
	}{
		{"counts", deadLetters{Plate: "ka01", OlderThan: new(24 * time.Hour)}, false, "would delete 2 of 4 dead letters for good (--yes does it)\n"},
		{"of another function", deadLetters{Plate: "ka01", Function: "g"}, true, "0 dead letters of purge are deleted\n"},
		{"a plate and an age", deadLetters{Plate: "ka01", OlderThan: new(48 * time.Hour)}, true, "1 dead letters of purge are deleted\n"},
		{"a plate", deadLetters{Plate: "Ka.01"}, true, "2 dead letters of purge are deleted\n"},
		{"the others are there", deadLetters{}, false, "would delete 1 of 1 dead letters for good (--all --yes does it)\n"},
		{"too young", deadLetters{OlderThan: new(96 * time.Hour)}, true, "0 dead letters of purge are deleted\n"},
		{"an id", deadLetters{ID: []string{"e3"}}, true, "1 dead letters of purge are deleted\n"},
		{"nothing is there", deadLetters{}, false, "would delete 0 of 0 dead letters for good (--all --yes does it)\n"},
	} {
		tt.which.Queue, tt.which.RabbitMQURLFile = []string{queue}, urlFile
		got := capture(t, func() {
			if err := (replayPurgeCommand{deadLetters: tt.which, Yes: tt.yes}).Run(t.Context()); err != nil {
				t.Errorf("%s: %v", tt.name, err)
			}
		})
		if got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

// A flag that was given and selects nothing, as of a shell's variable without a
// value, is refused: it would mean all.
func TestReplaySelects(t *testing.T) {
	for _, tt := range []struct {
		args, want string // want is part of the error, "" for none
	}{
		{"purge --yes --plate=", "--plate"},
		{"purge --yes --plate=%20", "--plate"},
		{"purge --yes --plate=-", "--plate"},
		{"purge --yes --reason=", "--reason"},
		{"purge --yes --reason=%20%09", "--reason"},
		{"purge --yes --function=", "--function"},
		{"purge --yes --id=", "--id"},
		{"purge --yes --id=,", "--id"},
		{"purge --yes --id=,e1", "--id"},
		{"purge --yes --id=e1 --id=", "--id"},
		{"purge --yes --id e1 --id  --plate=P", "--id"},
		{"purge --yes --older-than=", "--older-than"},
		{"purge --yes --older-than=0s", "--older-than"},
		{"purge --yes --older-than=-1h", "--older-than"},
		{"purge --yes --plate=P --function=", "--function"},
		{"purge --all --yes --plate=", "--plate"},
		{"purge --all --yes --queue=", "--queue"},
		{"purge --all --yes --queue=,q", "--queue"},
		{"purge --reason=", "--reason"},
		{"run --yes --plate=", "--plate"},
		{"run --yes --id=", "--id"},
		{"run --reason=", "--reason"},
		{"list --function=", "--function"},
		{"show --id=", "--id"},
		{"purge --yes", "--all"},
		{"purge --yes --queue=q", "--all"},
		{"purge --yes --all=false", "--all"},
		{"purge --yes --all --plate=P", "--all"},
		{"purge", ""},
		{"purge --all", ""},
		{"purge --all --yes", ""},
		{"purge --yes --plate=P", ""},
		{"purge --yes --reason=no", ""},
		{"purge --yes --function=f", ""},
		{"purge --yes --id=a,b --id=c", ""},
		{"purge --yes --older-than=1h", ""},
		{"run --yes", ""},
		{"list --limit=0", ""},
		{"show --limit=0", ""},
	} {
		var c replayCommand
		parser, err := kong.New(&c, kong.Exit(func(int) {}))
		if err != nil {
			t.Fatal(err)
		}
		args := strings.Split(tt.args, " ") // which keeps an empty one
		for i := range args {
			args[i] = strings.NewReplacer("%20", " ", "%09", "\t").Replace(args[i])
		}
		_, err = parser.Parse(args)
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s: %v, want %q", tt.args, err, tt.want)
		}
	}
}

func TestHasPlate(t *testing.T) {
	for _, tt := range []struct {
		body, plate string
		want        bool
	}{
		{`{"id":"e1","vehicle_plate":"ka 01-ab.1234"}`, "KA01AB1234", true},
		{`{"id":"e1","vehicle_plate":"KA01AB12345"}`, "KA01AB1234", false},
		{`{"vehicle_plate":"m\u00fc 12"}`, "MÜ12", true},
		{`{"vehicle_plate":"X","site":"B1","id":"B1"}`, "B1", false},
		{`{"vehicle_plate":"B 1","vehicle_plate":"X"}`, "B1", true},
		{`{"vehicle_plate":"X","vehicle_plate":"B 1"}`, "B1", true},
		{`{"vehicle_plate":"B 1","vehicle_plate":null}`, "B1", true},
		{`{"vehicle_plate":{"text":"B 1","text":"X"}}`, "B1", true},
		{`{"vehicle_plate":{"a":"X","vehicle_plate":"B 1"},"vehicle_plate":[]}`, "B1", true},
		{`{"vehicle_plate":"X","vehicle_plate":"Y","site":"B1"}`, "B1", false},
		{`{"plate":"B 1","plate":"X"}`, "B1", true},
		{`{"event":{"vehicle_plate":"B 1"},"event":{"vehicle_plate":"X"}}`, "B1", true},
		{`{"site":"B 1","event":{"vehicle_plate":"X"}}`, "B1", true},
		{`{"event":{"vehicle_plate":"X","site":"B 1"},"event":1}`, "B1", false},
		{`{"site":"B 1","vehicle_\u0070late":"X"}`, "B1", false},
		{`{"vehicle_plate":4711}`, "4711", true},
		{`{"plate":"B 1"}`, "B1", true},
		{`{"events":[{"vehicle_plate":"X"},{"vehicle_plate":"B 1"}]}`, "B1", true},
		{`[{"vehicle_plate":"X"},{"vehicle_plate":"B 1"}]`, "B1", true},
		{`{"vehicle_plate":{"text":"B 1"}}`, "B1", true},
		{`"B 1"`, "B1", true},
		{`{"vehicle_plate":null}`, "B1", false},
		{"", "B1", false},
		{"null", "B1", false},
		{`{"vehicle_plate":"B 1","entry_date`, "B1", true},
		{`{"vehicle_plate":"B:1","entry_date`, "B1", true},
		{`{"vehicle_plate":"B 1"}{"vehicle_plate":"B 2"}`, "B2", true},
		{`{'vehicle_plate':'B 1'}`, "B1", true},
		{"e1,B 1,2026-11-23T08:15:00Z", "B1", true},
		{"vehicle_plate=B 1\nsite=x", "B1", true},
		{"<plate>B 1</plate>", "B1", true},
		{"e1,B 10,2026-11-23T08:15:00Z", "B1", false},
		{"{\"vehicle_plate\":\"M\xdc 12\"}", "MÜ12", true},
	} {
		if got := hasPlate([]byte(tt.body), tt.plate); got != tt.want {
			t.Errorf("%s: %t", tt.body, got)
		}
	}
}

// TestJSONValue has every header that AMQP can carry written as JSON.
func TestJSONValue(t *testing.T) {
	late := time.Unix(1<<40, 0).UTC()
	got, err := json.Marshal(jsonValue(map[string]any{
		"text": "t", "nothing": nil, "time": time.Unix(0, 0).UTC(), "late": late, "nan": math.NaN(), "inf": float32(math.Inf(1)),
		"table": amqp.Table{"list": []any{late, int64(1), amqp.Table{"late": late}}},
	}))
	if err != nil {
		t.Fatal(err)
	}
	text := late.String()
	want := `{"inf":"+Inf","late":"` + text + `","nan":"NaN","nothing":null,"table":{"list":["` + text + `",1,{"late":"` + text + `"}]},"text":"t","time":"1970-01-01T00:00:00Z"}`
	if string(got) != want {
		t.Errorf("%s, want %s", got, want)
	}
}
