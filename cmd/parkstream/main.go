// Parkstream is the developer's and operator's program: it runs everything on
// one machine and has the tools around it.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"

	"github.com/alecthomas/kong"

	"parkstream/connectors/rabbitmq"
	"parkstream/shared/camera"
	"parkstream/shared/process"
	"parkstream/shared/simulate"
	"parkstream/shared/version"
)

type program struct {
	Up        upCommand        `cmd:"" help:"Run everything on this machine until Ctrl-C."`
	Down      downCommand      `cmd:"" help:"Stop what 'up' started."`
	Send      sendCommand      `cmd:"" help:"Publish events from a JSONL or CSV file, an exported table, or recorded requests of cameras."`
	Simulate  simulateCommand  `cmd:"" help:"Play a car park: cameras of several vendors post what they read of made-up vehicles."`
	Evaluate  evaluateCommand  `cmd:"" help:"Measure how well misread plates are matched: in simulated car parks, or in events of which the truth is known."`
	Replay    replayCommand    `cmd:"" help:"Look at dead letters, put them back or delete them."`
	Bench     benchCommand     `cmd:"" hidden:"" passthrough:"all" help:"Names the program that measures."`
	Secrets   secretsCommand   `cmd:"" help:"Write and replace the secrets of a deployment."`
	Users     usersCommand     `cmd:"" help:"Edit a users file: who may log in, and what each may do."`
	Camera    cameraCommand    `cmd:"" help:"Look at what cameras sent and was refused."`
	Sites     sitesCommand     `cmd:"" help:"Configure car parks: zone, capacity, gates, cameras."`
	Learn     learnCommand     `cmd:"" help:"Make a model of a site by which misread plates are matched: it shows what would change, and asks."`
	Models    modelsCommand    `cmd:"" help:"Look at the models of a site, and choose which is valid."`
	Top       topCommand       `cmd:"" help:"Show throughput, latency, queues and outcomes, each second."`
	Deps      depsCommand      `cmd:"" help:"Install what the tests need and is missing: ${dependencies}."`
	Function  functionCommand  `cmd:"" help:"Serve one function; 'up' does this for each."`
	Connector connectorCommand `cmd:"" help:"Run the RabbitMQ connector; 'up' does this."`
	Version   versionCommand   `cmd:"" help:"Print the version."`
}

func main() { os.Exit(run()) }

func run() int {
	var p program
	parser, err := kong.New(&p,
		kong.Name("parkstream"),
		kong.Description("Turns what cameras see at the gates of car parks into correct, countable stays."),
		kong.UsageOnError(),
		kong.Vars{
			"dependencies": dependencyNames(), "connector_port": strconv.Itoa(rabbitmq.DefaultPort),
			"scenarios": strings.Join(simulate.Variants(), ", "), "simulated_formats": strings.Join(simulate.Formats(), ","),
			"camera_formats": strings.Join(camera.Names()[1:], ", "),
		},
	)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	cli, err := parser.Parse(os.Args[1:])
	if err != nil {
		parser.Errorf("%s", err)
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), process.StopSignals()...)
	defer stop()
	cli.BindTo(ctx, (*context.Context)(nil))
	err = cli.Run()
	if code, ok := errors.AsType[exitError](err); ok {
		return int(code)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "parkstream: %v\n", err)
		return 1
	}
	return 0
}

// exitError is the error of a command that has already reported its failure.
type exitError int

func (e exitError) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

func exit(code int) error {
	if code == 0 {
		return nil
	}
	return exitError(code)
}

type connectorCommand struct{}

// Run runs the connector with settings from the environment.
func (connectorCommand) Run() error { return exit(rabbitmq.Main()) }

// benchCommand is the former place of the benchmark.
type benchCommand struct {
	Args []string `arg:"" optional:""`
}

// Run returns an error that names the program.
func (benchCommand) Run() error {
	return errors.New("the benchmark is a program of its own: run `make bench`, or `make build` and bin/parkstream-bench")
}

type versionCommand struct{}

// Run prints the version.
func (versionCommand) Run() error {
	_, err := fmt.Println("parkstream", version.Version(), version.Revision())
	return err
}
