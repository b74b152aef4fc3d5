package main

import "testing"

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
