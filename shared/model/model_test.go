package model

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"parkstream/shared/instance"
	"parkstream/shared/instance/instancetest"
	"parkstream/shared/parking"
	"parkstream/shared/redis"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var start = time.Date(2026, 11, 28, 8, 0, 0, 0, time.UTC)

// open returns a store whose clock is at *now.
func open(t *testing.T, node *instance.Redis, now *time.Time) *Store {
	t.Helper()
	client, err := redis.Open(redis.URL(node.URL()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	s := New(client)
	s.now = func() time.Time { return *now }
	return s
}

// named returns a valid model of a version.
func named(version string, margin parking.Weight) *parking.Model {
	m := parking.DefaultModel()
	m.Version, m.Margin = version, margin
	return m
}

// versions returns what is valid from when, in short.
func versions(l List) string {
	var text []string
	for _, p := range l.Periods {
		text = append(text, fmt.Sprintf("%s from %s", p.Version, p.From.Format("02T15")))
	}
	return strings.Join(text, ", ")
}

// What one process keeps and activates another one has with its next call, without a
// restart, for exits observed from that instant on.
func TestModelsOfASite(t *testing.T) {
	now := start
	node := instancetest.Redis(t)
	a, b := open(t, node, &now), open(t, node, &now)
	ctx := t.Context()
	valid := func(at time.Time) string {
		t.Helper()
		models, err := b.Models(ctx, "north")
		if err != nil {
			t.Fatal(err)
		}
		return models.At(at).Version
	}
	if got := valid(start); got != parking.DefaultVersion {
		t.Fatalf("without a model %s is valid", got)
	}
	must(t)(a.Keep(ctx, "north", named("one", 300), "anna"))
	if got := valid(start); got != parking.DefaultVersion {
		t.Errorf("a model that is only kept: %s is valid", got)
	}
	must(t)(a.Activate(ctx, "north", "one", time.Time{}, "anna", false))
	for at, want := range map[time.Time]string{start.Add(-1): parking.DefaultVersion, start: "one", start.Add(time.Hour): "one"} {
		if got := valid(at); got != want {
			t.Errorf("at %s %s is valid, want %s", at, got, want)
		}
	}
	if models, err := b.Models(ctx, "south"); err != nil || len(models) != 0 {
		t.Errorf("another site has %v, %v", models, err)
	}
	must(t)(a.Keep(ctx, "north", named("two", 400), "bert"))
	must(t)(a.Activate(ctx, "north", "two", start.Add(2*time.Hour), "bert", false))
	list, err := b.List(ctx, "north")
	if err != nil {
		t.Fatal(err)
	}
	want := List{
		Models:  []Kept{{"one", "anna", start, list.Models[0].Bytes}, {"two", "bert", start, list.Models[1].Bytes}},
		Periods: []Period{{start, "one", "anna", start}, {start.Add(2 * time.Hour), "two", "bert", start}},
	}
	if diff := cmp.Diff(want, list); diff != "" || list.Models[0].Bytes < 1000 {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if list.At(start.Add(-1)) != Default || list.At(start) != "one" || list.At(start.Add(3*time.Hour)) != "two" {
		t.Errorf("valid is %s, %s, %s", list.At(start.Add(-1)), list.At(start), list.At(start.Add(3*time.Hour)))
	}
	kept, err := b.Model(ctx, "north", "two")
	if want := named("two", 400); err != nil || cmp.Diff(want, kept) != "" {
		t.Errorf("%v (-want +got):\n%s", err, cmp.Diff(want, kept))
	}
	if m, err := b.Model(ctx, "north", Default); err != nil || m.Version != parking.DefaultVersion {
		t.Errorf("the default model: %v, %v", m, err)
	}
}

// A model takes the place of what was and will be valid from its instant on. What was
// valid before that stays so.
func TestActivate(t *testing.T) {
	const hour = time.Hour
	one, two := named("one", 300), named("two", 400)
	for name, tt := range map[string]struct {
		do   []Period // versions and how long after the start they are valid
		want string
	}{
		"one after the other":        {[]Period{{Version: "one", From: start}, {Version: "two", From: start.Add(hour)}}, "one from 28T08, two from 28T09"},
		"an earlier one":             {[]Period{{Version: "one", From: start.Add(hour)}, {Version: "two", From: start}}, "two from 28T08"},
		"between two":                {[]Period{{Version: "one", From: start}, {Version: "two", From: start.Add(2 * hour)}, {Version: "default", From: start.Add(hour)}}, "one from 28T08, default from 28T09"},
		"the same again":             {[]Period{{Version: "one", From: start}, {Version: "one", From: start.Add(hour)}}, "one from 28T08"},
		"the same, another comes":    {[]Period{{Version: "one", From: start}, {Version: "two", From: start.Add(2 * hour)}, {Version: "one", From: start.Add(hour)}}, "one from 28T08"},
		"back to the default":        {[]Period{{Version: "one", From: start}, {Version: "default", From: start.Add(-hour)}}, ""},
		"back, then the first again": {[]Period{{Version: "one", From: start}, {Version: "two", From: start.Add(hour)}, {Version: "one", From: start.Add(2 * hour)}}, "one from 28T08, two from 28T09, one from 28T10"},
		"the default first":          {[]Period{{Version: "default", From: start}}, ""},
		"at the same instant":        {[]Period{{Version: "one", From: start}, {Version: "two", From: start}}, "two from 28T08"},
	} {
		s := state{kept: make(map[string]document)}
		for _, m := range []*parking.Model{one, two} {
			if err := s.keep(m, "anna", start); err != nil {
				t.Fatal(err)
			}
		}
		for _, p := range tt.do {
			if err := s.activate(p.Version, p.From, "anna", start); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		if got := versions(s.list()); got != tt.want {
			t.Errorf("%s: %s, want %s", name, got, tt.want)
		}
	}
}

// A dry run tells what there would be and changes nothing.
func TestActivateDryRun(t *testing.T) {
	now := start
	s := open(t, instancetest.Redis(t), &now)
	must(t)(s.Keep(t.Context(), "north", named("one", 300), "anna"))
	if got := versions(must(t)(s.Activate(t.Context(), "north", "one", start, "anna", true))); got != "one from 28T08" {
		t.Errorf("it would be %q", got)
	}
	if got := versions(must(t)(s.List(t.Context(), "north"))); got != "" {
		t.Errorf("it is %q", got)
	}
}

// What cannot be kept, made valid or dropped is refused with the reason.
func TestRefused(t *testing.T) {
	now := start
	s := open(t, instancetest.Redis(t), &now)
	ctx := t.Context()
	must(t)(s.Keep(ctx, "north", named("one", 300), "anna"))
	must(t)(s.Keep(ctx, "north", named("two", 300), "anna"))
	must(t)(s.Activate(ctx, "north", "one", time.Time{}, "anna", false))
	keep := func(m *parking.Model) error { _, err := s.Keep(ctx, "north", m, "anna"); return err }
	activate := func(version string, from time.Time) error {
		_, err := s.Activate(ctx, "north", version, from, "anna", false)
		return err
	}
	drop := func(version string) error { _, err := s.Drop(ctx, "north", version); return err }
	before := must(t)(s.List(ctx, "north"))
	for name, tt := range map[string]struct {
		err  error
		want string
	}{
		"no margin":             {keep(named("x", 0)), "margin"},
		"another of a version":  {keep(named("one", 301)), `the site has another model of version "one"`},
		"the default's version": {keep(named(parking.DefaultVersion, 300)), "that of the default model"},
		"default as a version":  {keep(named(Default, 300)), "that of the default model"},
		"a slash":               {keep(named("a/b", 300)), `version "a/b": want 1 to 64`},
		"no version":            {keep(named("", 300)), "version"},
		"long ago":              {activate("two", time.Unix(-1, 0)), "want 1970 to one year"},
		"too far ahead":         {activate("two", start.Add(400*24*time.Hour)), "want 1970 to one year"},
		"drop what is valid":    {drop("one"), `model "one" is valid for exits`},
	} {
		if tt.err == nil || !errors.Is(tt.err, parking.ErrInvalid) || !strings.Contains(tt.err.Error(), tt.want) {
			t.Errorf("%s: %v, want %s", name, tt.err, tt.want)
		}
	}
	_, err := s.Model(ctx, "north", "three")
	for name, err := range map[string]error{"activate": activate("three", start), "drop": drop("three"), "drop the default": drop(Default), "show": err} {
		if !errors.Is(err, ErrNotFound) {
			t.Errorf("%s what is not there: %v", name, err)
		}
	}
	if diff := cmp.Diff(before, must(t)(s.List(ctx, "north"))); diff != "" {
		t.Errorf("what was refused has changed something:\n%s", diff)
	}
	if err := keep(named("one", 300)); err != nil {
		t.Errorf("the same again: %v", err)
	}
}

// A model is dropped by hand, or to make room for another one, if no exit is decided by
// it any more. No exit that may be decided of gets another model by that.
func TestDrop(t *testing.T) {
	s := state{kept: make(map[string]document)}
	do := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for i := range MaxModels {
		do(s.keep(named(fmt.Sprintf("m%02d", i), 300), "anna", start.Add(time.Duration(i)*time.Hour)))
	}
	do(s.activate("m00", start, "anna", start))
	do(s.activate("m01", start.Add(time.Hour), "anna", start))
	do(s.keep(named("more", 300), "anna", start.Add(2*time.Hour)))
	if _, found := s.kept["m02"]; found || len(s.kept) != MaxModels {
		t.Errorf("the oldest that was never valid is there still, of %d", len(s.kept))
	}
	if err := s.drop("m00", start.Add(time.Hour+settledAfter-1)); !errors.Is(err, parking.ErrInvalid) {
		t.Errorf("dropped when its exits may be decided of: %v", err)
	}
	do(s.drop("m00", start.Add(time.Hour+settledAfter)))
	if got := versions(s.list()); got != "m01 from 28T09" {
		t.Errorf("valid is %s", got)
	}
	// If each is needed, no other one is kept.
	full := state{kept: make(map[string]document)}
	for i := range MaxModels {
		do(full.keep(named(fmt.Sprint("m", i), 300), "anna", start))
		do(full.activate(fmt.Sprint("m", i), start.Add(time.Duration(i)*time.Hour), "anna", start))
	}
	if err := full.keep(named("more", 300), "anna", start); !errors.Is(err, parking.ErrInvalid) || len(full.kept) != MaxModels {
		t.Errorf("one too many: %v", err)
	}
}

// The periods are bounded: old ones go, and new ones are refused if there are none.
func TestPeriodsAreBounded(t *testing.T) {
	s := state{kept: make(map[string]document)}
	if err := s.keep(named("one", 300), "anna", start); err != nil {
		t.Fatal(err)
	}
	at := start
	change := func(i int) error {
		at = at.Add(time.Minute)
		return s.activate([]string{"one", Default}[i%2], at, "anna", at)
	}
	for i := range MaxPeriods {
		if err := change(i); err != nil {
			t.Fatal(err)
		}
	}
	if err := change(0); !errors.Is(err, parking.ErrInvalid) || !strings.Contains(err.Error(), "were changed 100 times in the last 44 days") || len(s.periods) != MaxPeriods {
		t.Errorf("one too many: %v, %d", err, len(s.periods))
	}
	at = start.Add(settledAfter + time.Hour)
	if err := change(0); err != nil || len(s.periods) != MaxPeriods || !s.periods[0].From.Equal(start.Add(2*time.Minute)) {
		t.Errorf("later: %v, %d", err, len(s.periods))
	}
}

// Of changes at the same time none is lost.
func TestChangesTogether(t *testing.T) {
	now := start
	node := instancetest.Redis(t)
	var all sync.WaitGroup
	for i := range 8 {
		s := open(t, node, &now)
		all.Go(func() {
			if _, err := s.Keep(context.WithoutCancel(t.Context()), "north", named(fmt.Sprint("m", i), 300), "anna"); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if l := must(t)(open(t, node, &now).List(t.Context(), "north")); len(l.Models) != 8 {
		t.Errorf("%d models are kept", len(l.Models))
	}
}

// A model that is not understood, of a later version maybe, is an error: with another one
// in its place stays would change.
func TestNotUnderstood(t *testing.T) {
	now := start
	s := open(t, instancetest.Redis(t), &now)
	ctx := t.Context()
	must(t)(s.Keep(ctx, "north", named("one", 300), "anna"))
	must(t)(s.Activate(ctx, "north", "one", start, "anna", false))
	documents := s.documents("north")
	for name, text := range map[string]string{
		"a later member": `{"version":"one","model":{"version":"one","later":1}}`,
		"no JSON":        `{`,
		"no model":       `{"version":"one"}`,
	} {
		_, version, _, err := documents.Read(ctx, "")
		if err == nil {
			_, _, err = documents.Change(ctx, version, modelName+"one", text)
		}
		if err != nil {
			t.Fatal(err)
		}
		if models, err := s.Models(ctx, "north"); err == nil || !strings.Contains(err.Error(), "is not understood") {
			t.Errorf("%s: %v, %v", name, models, err)
		}
	}
}

// The copies of a process are bounded, and each is right.
func TestCopiesAreBounded(t *testing.T) {
	now := start
	s := open(t, instancetest.Redis(t), &now)
	must(t)(s.Keep(t.Context(), "s7", named("one", 300), "anna"))
	must(t)(s.Activate(t.Context(), "s7", "one", start, "anna", false))
	for range 2 {
		for i := range maxCopies + 10 {
			models, err := s.Models(t.Context(), fmt.Sprint("s", i))
			if err != nil || (len(models) == 1) != (i == 7) {
				t.Fatalf("s%d: %v, %v", i, models, err)
			}
		}
	}
	if len(s.copies) > maxCopies {
		t.Errorf("%d copies", len(s.copies))
	}
}

// must returns the list of a change that succeeds.
func must(t *testing.T) func(List, error) List {
	return func(l List, err error) List {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
}
