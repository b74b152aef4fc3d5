package site

import (
	"testing"
	"time"

	"parkstream/shared/parking"
)

// Exact and undisputed stays are billed unless the site has it otherwise, and of a method and
// a dispute the stricter one counts.
func TestPolicy(t *testing.T) {
	for _, tt := range []struct {
		name     string
		policy   policyDocument
		method   parking.Method
		disputed bool
		want     Billing
	}{
		{"the default", nil, parking.Exact, false, Bill},
		{"the default", nil, parking.Exact, true, Hold},
		{"the default", nil, parking.OCR, false, Hold},
		{"the default", nil, parking.Edit, false, Hold},
		{"the default", nil, parking.TwoEdits, false, Hold},
		{"the default", nil, parking.Split, true, Hold},
		{"the default", nil, parking.Corrected, false, Hold},
		{"the default", nil, "", false, ""},
		{"of one method", policyDocument{"edit": "bill"}, parking.Edit, false, Bill},
		{"of one method", policyDocument{"edit": "bill"}, parking.OCR, false, Hold},
		{"of one method", policyDocument{"edit": "bill"}, parking.Exact, false, Bill},
		{"of one method, disputed", policyDocument{"edit": "bill"}, parking.Edit, true, Hold},
		{"of exact", policyDocument{"exact": "never"}, parking.Exact, false, Never},
		{"stricter than disputed", policyDocument{"exact": "never"}, parking.Exact, true, Never},
		{"disputed stays are billed", policyDocument{"disputed": "bill"}, parking.Exact, true, Bill},
		{"disputed stays are billed", policyDocument{"disputed": "bill"}, parking.OCR, true, Hold},
		{"disputed stays are never billed", policyDocument{"disputed": "never", "ocr": "bill"}, parking.OCR, true, Never},
		{"disputed stays are never billed", policyDocument{"disputed": "never", "ocr": "bill"}, parking.OCR, false, Bill},
		{"no policy of an unmatched exit", policyDocument{"exact": "bill", "disputed": "never"}, "", true, ""},
	} {
		s := parking.Stay{ID: "x", Disputed: tt.disputed}
		if tt.method != "" {
			s.EntryID, s.Match = "e", &parking.Explanation{Method: tt.method}
		}
		if got := tt.policy.policy(func(path, format string, args ...any) { t.Errorf("%s: %s", path, format) }).Billing(&s); got != tt.want {
			t.Errorf("%s: %s, disputed %t: %q, want %q", tt.name, tt.method, tt.disputed, got, tt.want)
		}
	}
	if got := (Policy{}).Billing(&parking.Stay{ID: "x", EntryID: "e"}); got != Bill {
		t.Errorf("a stay by its plates alone: %q", got)
	}
}

func TestSettleTime(t *testing.T) {
	for want, s := range map[time.Duration]Site{24 * time.Hour: {}, 0: {Settle: new(time.Duration(0))}, time.Hour: {Settle: new(time.Hour)}} {
		if got := s.SettleTime(); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}
