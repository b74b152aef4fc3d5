package site

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"parkstream/shared/parking"
)

// Each mistake is reported, all of a file at once, each with its line.
func TestMistakes(t *testing.T) {
	const camera = "sites:\n- id: a\n  gates: [{id: g}]\n  cameras:\n  - id: c\n    role: entry\n    token: 12345678\n"
	for name, tt := range map[string]struct{ text, want string }{
		"nothing":         {"", "line 1: the file is empty"},
		"a comment":       {"# sites\n", "line 1: the file is empty"},
		"null":            {"~\n", "line 1: want keys with values here"},
		"a text":          {"north\n", "line 1: want keys with values here"},
		"a list":          {"- id: a\n", "line 1: want keys with values here"},
		"no sites":        {"{}\n", "line 1: the file has no sites"},
		"other keys":      {"site:\n- id: a\n", "line 1: unknown key \"site\": want sites\nline 1: the file has no sites"},
		"sites are none":  {"sites: a\n", "line 1: want a list here"},
		"a site is none":  {"sites:\n- a\n", "line 2: want keys with values here\nline 2: id of the site is missing"},
		"two documents":   {"sites: []\n---\nsites: []\n", "line 2: a second document begins here"},
		"an empty second": {"sites: []\n---\n", "line 2: a second document begins here"},
		"tabs":            {"sites:\n\t- id: a\n\t  zone: UTC\n", "line 2: the line is indented with a tab: YAML wants blanks\nline 3: the line is indented with a tab"},
		"no YAML":         {"sites:\n- id: a\n name: b\n  zone: [\n", "line 3: this is no YAML"},
		"less indented":   {"sites:\n- id: a\n  zone: UTC\n- id: b\n   zone: UTC\n  name: c\n- id: d\n", "line 5: this is no YAML"},
		"an open quote":   {"sites:\n- id: a\n- id: b\n  name: \"b\n- id: c\n", "line 4: this is no YAML"},
		"an open list":    {"sites:\n- id: a\n  gates: [{id: g}\n- id: c\n", "line 3: this is no YAML"},
		"no end":          {"sites: [", "line 1: this is no YAML"},
		"no UTF-8":        {"sites:\n- id: a\n  name: \"\xff\"\n", "line 3: this is no YAML"},
		"control":         {"sites:\n- id: a\n  name: \"a\\u0007b\"\n", "line 3: name \"a\\ab\": want at most 100 characters that print"},
		"an alias":        {"sites:\n- &a\n  id: a\n- *a\n", "line 4: *a: aliases are not known here\nline 4: id of the site is missing"},
		"a merge":         {"sites:\n- id: a\n  <<: {name: b}\n", "line 3: unknown key \"<<\""},
		"a tag":           {"sites:\n- id: !!binary aGFsbG8=\n", "line 2: \"!!binary\": tags are not known here\nline 2: id of the site is missing"},
		"key twice":       {"sites:\n- id: a\n  zone: UTC\n  zone: UTC\n", "line 4: zone is there already"},
		"sites twice":     {"sites: []\nsites: []\n", "line 2: sites is there already"},
		"unknown keys":    {"sites:\n- id: a\n  timezone: UTC\n  cameras:\n  - id: c\n    Role: entry\n    token: 12345678\n", "line 3: unknown key \"timezone\"\nline 5: role of camera \"c\" is missing\nline 6: unknown key \"Role\""},
		"a key of a kind": {"sites:\n- id: a\n  [a, b]: c\n", "line 3: unknown key \"\""},

		"no id":        {"sites:\n- name: a\n", "line 2: id of the site is missing"},
		"a bad id":     {"sites:\n- id: a b\n", "line 2: id \"a b\""},
		"id twice":     {"sites:\n- id: a\n- id: b\n- id: a\n", "line 4: site \"a\" is there already, in line 2"},
		"zone":         {"sites:\n- id: a\n  zone: Berlin\n- id: b\n  zone: Local\n- id: c\n  zone: ../etc/passwd\n- id: d\n  zone: right/UTC\n- id: e\n  zone: Europe\n", "line 3: zone \"Berlin\"\nline 5: zone \"Local\"\nline 7: zone \"../etc/passwd\"\nline 9: zone \"right/UTC\"\nline 11: zone \"Europe\""},
		"zone offset":  {"sites:\n- id: a\n  zone: +02:00\n", "line 3: zone \"+02:00\": want a name of the IANA time zones"},
		"capacity":     {"sites:\n- id: a\n  capacity: -1\n- id: b\n  capacity: 1000001\n- id: c\n  capacity: 1.5\n- id: d\n  capacity: many\n- id: e\n  capacity: [1]\n- id: f\n  capacity: 0x10\n- id: g\n  capacity: 99999999999999999999\n", "line 3: capacity \"-1\": want a number of places from 0 to 1000000\nline 5: capacity\nline 7: capacity\nline 9: capacity\nline 11: want a text here\nline 13: capacity\nline 15: capacity"},
		"repeat":       {"sites:\n- id: a\n  repeat: 61m\n- id: b\n  repeat: -1s\n- id: c\n  repeat: 60\n- id: d\n  repeat: 1d\n- id: e\n  repeat: a minute\n", "line 3: repeat \"61m\": want a duration from 0s to 1h\nline 5: repeat\nline 7: repeat\nline 9: repeat\nline 11: repeat"},
		"longest stay": {"sites:\n- id: a\n  longest_stay: 59s\n- id: b\n  longest_stay: 367d\n- id: c\n  longest_stay: 0\n- id: d\n  longest_stay: 70000d\n- id: e\n  longest_stay: d\n- id: f\n  longest_stay: 1d-1h\n- id: g\n  longest_stay: 1h1d\n- id: h\n  longest_stay: 1d12h30m\n", "line 3: longest_stay \"59s\": want a duration from 1m to 366d\nline 5: longest_stay\nline 7: longest_stay\nline 9: longest_stay\nline 11: longest_stay\nline 13: longest_stay\nline 15: longest_stay"},
		"images":       {"sites:\n- id: a\n  image_retention: 59m\n- id: b\n  image_retention: 3661d\n", "line 3: image_retention \"59m\": want a duration from 1h to 3660d\nline 5: image_retention"},
		"when silent":  {"sites:\n- id: a\n  occupancy_when_silent: flagged\n- id: b\n  occupancy_when_silent: null\n- id: c\n  occupancy_when_silent: \"null\"\n- id: d\n  occupancy_when_silent: Unknown\n", "line 7: occupancy_when_silent \"null\": want flagged or unknown\nline 9: occupancy_when_silent \"Unknown\""},
		"settle":       {"sites:\n- id: a\n  settle: 5d1s\n- id: b\n  settle: -1h\n- id: c\n  settle: 24\n- id: d\n  settle: [1h]\n", "line 3: settle \"5d1s\": want a duration from 0s to 5d\nline 5: settle\nline 7: settle\nline 9: want a text here"},
		"policy":       {"sites:\n- id: a\n  policy:\n    exact: Bill\n    ocr: hold\n    edits: bill\n    disputed: \"\"\n    ocr: bill\n    two_edits: [bill]\n", "line 4: policy of exact is \"Bill\": want bill, hold or never\nline 6: unknown key \"edits\": want corrected, disputed, edit, exact, ocr, split, two_edits\nline 7: policy of disputed is \"\": want\nline 8: ocr is there already\nline 9: want a text here\nline 9: policy of two_edits"},
		"no policy":    {"sites:\n- id: a\n  policy: hold\n- id: b\n  policy: [exact]\n", "line 3: want keys with values here\nline 5: want keys with values here"},
		"a long name":  {"sites:\n- id: a\n  name: " + strings.Repeat("ä", 101) + "\n", "line 3: name \""},

		"gates":           {"sites:\n- id: a\n  gates:\n  - name: x\n  - id: g\n  - id: g\n  - g\n", "line 4: id of the gate is missing\nline 6: gate \"g\" is there already\nline 7: want keys with values here\nline 7: id of the gate is missing"},
		"unknown gate":    {camera + "    gate: h\n", "line 8: gate \"h\" of camera \"c\" is not one of the site's gates"},
		"gate of another": {"sites:\n- id: b\n  gates: [{id: h}]\n" + camera[len("sites:\n"):] + "    gate: h\n", "line 10: gate \"h\""},
		"no role":         {"sites:\n- id: a\n  cameras:\n  - id: c\n    token: 12345678\n", "line 4: role of camera \"c\" is missing: want entry, exit or both"},
		"role":            {"sites:\n- id: a\n  cameras:\n  - {id: c, role: in, token: 12345678}\n", "line 4: role \"in\": want entry, exit or both"},
		"format":          {camera + "    format: Hikvision\n", "line 8: format \"Hikvision\": want one of auto, axis,"},
		"zone of camera":  {camera + "    zone: Mars\n", "line 8: zone \"Mars\""},
		"camera id":       {"sites:\n- id: a\n  cameras:\n  - {role: exit, token: 12345678}\n  - {id: a/b, role: exit, token: 12345678}\n", "line 4: id of the camera is missing\nline 5: id \"a/b\""},
		"camera twice":    {"sites:\n- id: a\n  cameras:\n  - {id: c, role: exit, token: 12345678}\n  - {id: c, role: entry, token: 12345679}\n", "line 5: camera \"c\" is there already"},
		"at two sites":    {"sites:\n- id: a\n  cameras:\n  - {id: c, role: exit, token: 12345678}\n- id: b\n  cameras:\n  - {id: d, role: exit, token: 12345678}\n  - {id: c, role: entry, token: 12345679}\n", "line 8: camera \"c\" is at site \"a\" already"},
		"both":            {"sites:\n- id: a\n  cameras:\n  - id: c\n    format: unifi\n    role: both\n    token: 12345678\n", "line 6: camera \"c\" is of both directions, and its format unifi does not tell"},
		"directions":      {camera + "    directions: {In: entry, in: exit, out: leave, \"\": exit}\n", "line 8: direction \"\"\nline 8: direction \"in\" is there already\nline 8: direction \"out\" is \"leave\": want entry or exit"},
		"no directions":   {camera + "    directions: [entry]\n", "line 8: want directions"},
		"directions of 2": {camera + "    directions:\n      in: entry\n      in: exit\n", "line 10: direction \"in\" is there already"},
		"token":           {"sites:\n- id: a\n  cameras:\n  - {id: c, role: exit, token: short}\n  - {id: d, role: exit, token: \"with a blank\"}\n  - {id: e, role: exit, token: \"sha256:12\"}\n  - {id: f, role: exit, token: \"slash/slash\"}\n  - {id: h, role: exit, token: \"" + strings.Repeat("x", 129) + "\"}\n  - {id: i, role: exit, token: \"sha256:" + strings.Repeat("0", 64) + "\"}\n", "line 4: token: want\nline 5: token\nline 6: token\nline 7: token\nline 8: token\nline 9: token"},
		"many of all": {
			"sites:\n- id: a\n  zone: x\n  capacity: -3\n  cameras:\n  - id: c\n    gate: nowhere\n    role: up\n    format: y\n    token: z\n    colour: red\n- id: a\n",
			"line 3: zone\nline 4: capacity\nline 7: gate\nline 8: role\nline 9: format\nline 10: token\nline 11: unknown key \"colour\"\nline 12: site \"a\" is there already, in line 2",
		},
	} {
		_, err := Parse([]byte(tt.text))
		if err == nil || !errors.Is(err, parking.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
			continue
		}
		got, want := strings.Split(err.Error(), "\n"), strings.Split(tt.want, "\n")
		if len(got) != len(want) {
			t.Errorf("%s:\n%s\nwant\n%s", name, err, tt.want)
			continue
		}
		for i := range want {
			if !strings.HasPrefix(got[i], want[i]) {
				t.Errorf("%s: %q, want %q", name, got[i], want[i])
			}
		}
		if strings.Contains(err.Error(), "slash/slash") || strings.Contains(err.Error(), "short") {
			t.Errorf("%s: the error has a token: %v", name, err)
		}
	}
}

// A flood of mistakes and a large file have bounded errors.
func TestMistakesAreBounded(t *testing.T) {
	_, err := Parse([]byte("sites:\n" + strings.Repeat("- {zone: x}\n", 5000)))
	if err == nil || !strings.HasSuffix(err.Error(), "\nand 9900 more") || strings.Count(err.Error(), "\n") != MaxMistakes {
		t.Errorf("%v", err)
	}
	if _, err := Parse(make([]byte, maxText+1)); err == nil || !strings.Contains(err.Error(), "more than") {
		t.Errorf("a large file: %v", err)
	}
	if _, err := Parse([]byte(strings.Repeat("[", MaxFile))); err == nil {
		t.Error("brackets without end are a file")
	}
}

// A site has bounded numbers of gates, cameras and directions.
func TestPartsAreBounded(t *testing.T) {
	for want, part := range map[string]struct {
		most       int
		head, each string
	}{
		"there are 501 gates, at most 500":    {MaxGates, "  gates:", "  - {id: x%d}"},
		"there are 501 cameras, at most 500":  {MaxCameras, "  cameras:", "  - {id: x%d, role: exit}"},
		"there are 33 directions, at most 32": {maxDirections, "  cameras:\n  - id: c\n    role: both\n    directions:", "      x%d: exit"},
	} {
		text := "sites:\n- id: a\n" + part.head
		for i := range part.most {
			text += "\n" + fmt.Sprintf(part.each, i)
		}
		if _, err := Parse([]byte(text)); err != nil {
			t.Errorf("as many as are possible: %v", err)
		}
		if _, err := Parse([]byte(text + "\n" + fmt.Sprintf(part.each, part.most))); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %s", err, want)
		}
	}
}

// All ways of writing the same file are the same: YAML of blocks, with a byte order mark
// and lines of Windows, and JSON, also with tabs.
func TestParse(t *testing.T) {
	block := `# My sites
sites:
  - id: north
    name: "North Ä"
    zone: Europe/Berlin
    capacity: 120
    repeat: 90s
    longest_stay: 1d
    image_retention: 720h
    occupancy_when_silent: unknown
    settle: 1d12h
    policy:
      disputed: bill
      ocr: bill
      two_edits: never
      split:
    gates:
      - {id: main, name: Main gate}
      - id: back
        name:
    cameras:
      - id: north-in
        gate: main
        role: entry
        format: hikvision
        token: entry-token
      - id: north-both
        gate: back
        role: both
        format: frigate
        zone: Asia/Kolkata
        token: sha256:` + fmt.Sprintf("%x", HashToken("other-token")) + `
        directions:
          In: entry
          AWAY: exit
`
	want := []Site{north()}
	var texts []string
	texts = append(texts, block, "\ufeff"+block, strings.ReplaceAll(block, "\n", "\r\n"), "---\n"+block+"...\n", string(Marshal(want)))
	texts = append(texts, strings.ReplaceAll(strings.ReplaceAll(string(Marshal(want)), "{", "{\n\t\t"), ",", ",\n\t"))
	for _, text := range texts {
		f, err := Parse([]byte(text))
		if err != nil {
			t.Errorf("%s\n%v", text, err)
			continue
		}
		if diff := cmp.Diff(want, f.Sites, sameZones); diff != "" {
			t.Errorf("%s\n(-want +got):\n%s", text, diff)
		}
	}
	least, err := Parse([]byte("sites:\n- id: no\n  cameras:\n  - {id: 007, role: both, token: 12345678}\n- id: 1e3\n  zone:\n  cameras: []\n  gates:\n"))
	if err != nil || len(least.Sites) != 2 || least.Sites[0].ID != "no" || least.Sites[0].Cameras[0].ID != "007" || least.Sites[0].Cameras[0].Format != Auto ||
		!least.Sites[0].Cameras[0].Authentic("12345678") || least.Sites[1].ID != "1e3" || least.Sites[1].Location.String() != "UTC" || least.Sites[1].Repeat != nil {
		t.Errorf("%+v, %v", least, err)
	}
	one, err := ParseSite("a", []byte(`{"capacity":3}`))
	if err != nil || one.ID != "a" || one.Capacity != 3 {
		t.Errorf("%+v, %v", one, err)
	}
	if _, err := ParseSite("a", []byte(`{"id":"b","sites":[]}`)); err == nil || !strings.Contains(err.Error(), `unknown key "sites"`) || !strings.Contains(err.Error(), `id "b": this is`) {
		t.Errorf("a file as one site: %v", err)
	}
}

// A mistake that is found later, when the other sites are known, gets its line.
func TestLocate(t *testing.T) {
	f, err := Parse([]byte("sites:\n- id: a\n  cameras:\n  - id: c\n    role: exit\n- id: b\n"))
	if err != nil {
		t.Fatal(err)
	}
	got := f.Locate(Mistakes{{Path: "sites[1].zone"}, {Path: "sites[0].cameras[0].role"}, {Path: "sites[0].cameras[0].token"}, {Path: "sites"}, {Path: "elsewhere"}})
	var lines []int
	for _, m := range got {
		lines = append(lines, m.Line)
	}
	if diff := cmp.Diff([]int{1, 1, 4, 5, 6}, lines); diff != "" {
		t.Error(diff)
	}
}

// The API shows no token, not even its hash.
func TestNoTokenIsShown(t *testing.T) {
	text, err := north().MarshalJSON()
	if err != nil || strings.Contains(string(text), "token") || strings.Contains(string(text), "sha256") || !strings.Contains(string(text), `"north-in"`) {
		t.Errorf("%s, %v", text, err)
	}
	if s := fmt.Sprint(Diff(nil, []Site{north()})); strings.Contains(s, "entry-token") || strings.Contains(s, "sha256") {
		t.Errorf("the changes are %s", s)
	}
}

func TestDiff(t *testing.T) {
	after := north()
	after.HideDoubtful, after.Settle, after.Policy = false, new(time.Duration(0)), Policy{Disputed: Never, Methods: map[parking.Method]Billing{parking.Exact: Hold}}
	after.Capacity, after.Name, after.Repeat, after.Location = 0, "Nord", nil, zone("UTC")
	after.Gates = []Gate{{ID: "main", Name: "Gate"}, {ID: "new"}}
	c := after.Cameras[0]
	c.TokenHash, c.Role, c.Format, c.Gate = HashToken("another-token"), Both, Auto, ""
	c.Directions = map[string]parking.Kind{"in": parking.Entry, "out": parking.Exit}
	after.Cameras = []Camera{c, {ID: "moved", Site: "north", Role: Exits, Format: "axis", Location: berlin}}
	before := []Site{north(), {ID: "same"}, {ID: "west", Cameras: []Camera{{ID: "moved", Site: "west"}}}}
	want := []string{
		`+ site east: zone UTC, capacity 3`,
		`~ site east: + gate e: name "E"`,
		`~ site north: name "North Ä" -> "Nord", zone Europe/Berlin -> UTC, capacity 120 -> default, repeat 1m30s -> default, occupancy when silent unknown -> default, settle 36h -> 0s, policy disputed is bill and ocr is bill and two_edits is never -> disputed is never and exact is hold`,
		`~ site north: - gate back`,
		`~ site north: ~ gate main: name "Main gate" -> "Gate"`,
		`~ site north: + gate new`,
		`~ site north: + camera moved: role exit, format axis, zone Europe/Berlin, from site west`,
		`~ site north: - camera north-both`,
		`~ site north: ~ camera north-in: role entry -> both, gate main -> default, format hikvision -> auto, directions default -> in is entry and out is exit, another token`,
		`- site west with 1 camera`,
	}
	got := Diff(before, []Site{{ID: "east", Capacity: 3, Gates: []Gate{{ID: "e", Name: "E"}}}, after, {ID: "same", Location: zone("UTC")}})
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// FuzzParse checks that a file is read as it is written, and that the line of a mistake is
// one of the file.
func FuzzParse(f *testing.F) {
	example, err := os.ReadFile("../../docs/examples/sites.yml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(example)
	f.Add(Marshal([]Site{north()}))
	f.Add([]byte("sites:\n\t- a: &b *b\n---\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		file, err := Parse(text)
		if mistakes, ok := errors.AsType[Mistakes](err); ok {
			for _, m := range mistakes {
				if m.Line < 1 || m.Line > strings.Count(string(text), "\n")+strings.Count(string(text), "\r")+strings.Count(string(text), "\u0085")+strings.Count(string(text), "\u2028")+strings.Count(string(text), "\u2029")+2 {
					t.Errorf("%q: %+v", text, m)
				}
			}
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		again, err := Parse(Marshal(file.Sites))
		if err != nil || cmp.Diff(file.Sites, again.Sites, sameZones) != "" {
			t.Errorf("%q is written as %s and read as %+v, %v", text, Marshal(file.Sites), again, err)
		}
	})
}

// The example has a camera of every format and no mistake.
func TestTheExample(t *testing.T) {
	text, err := os.ReadFile("../../docs/examples/sites.yml")
	if err != nil {
		t.Fatal(err)
	}
	f, err := Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	formats := make(map[string]bool)
	for _, c := range f.Sites[0].Cameras {
		formats[c.Format] = true
	}
	for _, format := range Formats() {
		if !formats[format] {
			t.Errorf("no camera has the format %s", format)
		}
	}
}
