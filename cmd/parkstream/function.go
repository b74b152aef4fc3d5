package main

import (
	"maps"
	"slices"

	camera "parkstream/functions/camera"
	entrygenerator "parkstream/functions/entry-generator"
	entryprocessor "parkstream/functions/entry-processor"
	exitgenerator "parkstream/functions/exit-generator"
	exitprocessor "parkstream/functions/exit-processor"
	matcher "parkstream/functions/matcher"
	summary "parkstream/functions/summary"
	"parkstream/shared/faas"
)

// functions are all that this program can serve.
var functions = map[string]struct {
	wire   func(*faas.Runtime) error
	handle faas.Handler
}{
	"camera":          {camera.Wire, camera.Handle},
	"entry-generator": {entrygenerator.Wire, entrygenerator.Handle},
	"entry-processor": {entryprocessor.Wire, entryprocessor.Handle},
	"exit-generator":  {exitgenerator.Wire, exitgenerator.Handle},
	"exit-processor":  {exitprocessor.Wire, exitprocessor.Handle},
	"matcher":         {matcher.Wire, matcher.Handle},
	"summary":         {summary.Wire, summary.Handle},
}

func functionNames() []string { return slices.Sorted(maps.Keys(functions)) }

type functionCommand struct {
	Name string `arg:"" enum:"camera,entry-generator,entry-processor,exit-generator,exit-processor,matcher,summary" help:"One of ${enum}."`
}

// Run serves the function with settings from the environment.
func (c functionCommand) Run() error {
	f := functions[c.Name]
	return exit(faas.Main(c.Name, f.wire, f.handle))
}
