package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	amqp "github.com/rabbitmq/amqp091-go"

	"parkstream/cmd/internal/services"
	"parkstream/shared/broker"
	"parkstream/shared/redis"
)

type secretsCommand struct {
	Init secretsInitCommand `cmd:"" help:"Write the secrets of a deployment, and print the commands that hand them to OpenFaaS."`
}

type secretsInitCommand struct {
	Dir             string `default:".secrets" help:"Folder of the secrets, a file each that only its owner can read. What is there stays as it is."`
	RabbitMQURLFile string `name:"rabbitmq-url-file" placeholder:"FILE" help:"File with the URL of the RabbitMQ to use; - is standard input."`
	RedisURLFile    string `name:"redis-url-file" placeholder:"FILE" help:"File with the URL of the Redis to use; - is standard input."`
	Nodes           bool   `help:"For a RabbitMQ and a Redis that are still to be started: make their passwords, and write rabbitmq.conf and redis.conf for them. A node whose URL is given needs none."`
	RabbitMQ        string `name:"rabbitmq" default:"rabbitmq:5672" placeholder:"HOST:PORT" help:"With --nodes, where functions and connector find RabbitMQ (${default})."`
	Redis           string `default:"redis:6379" placeholder:"HOST:PORT" help:"With --nodes, where functions find Redis (${default})."`
}

// nodeUser is the user that --nodes makes in RabbitMQ.
const nodeUser = "parkstream"

// Validate reports flags that do not go together.
func (c secretsInitCommand) Validate() error {
	if c.RabbitMQURLFile == "-" && c.RedisURLFile == "-" {
		return errors.New("standard input has one of the two URLs: name a file for the other")
	}
	for _, address := range []string{c.RabbitMQ, c.Redis} {
		if host, port, err := net.SplitHostPort(address); err != nil || host == "" || port == "" {
			return fmt.Errorf("%q is no HOST:PORT", address)
		}
	}
	return nil
}

// Run writes what is missing. Nothing that is there is overwritten.
func (c secretsInitCommand) Run() error { return c.run(os.Stdin, os.Stdout, os.Stderr) }

func (c secretsInitCommand) run(in io.Reader, out, notes io.Writer) error {
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return fmt.Errorf("make the folder of the secrets: %w", err)
	}
	rabbitMQ := url.URL{Scheme: "amqp", User: url.UserPassword(nodeUser, rand.Text()), Host: c.RabbitMQ, Path: "/"}
	redisNode := url.URL{Scheme: "redis", User: url.UserPassword("", rand.Text()), Host: c.Redis, Path: "/0"}
	for _, s := range []struct {
		name, file string
		node       string // the URL that --nodes makes; empty: a random value is what is wanted
		config     string // the file that --nodes writes
		check      func(string) error
		configure  func(user, password string) string
	}{
		{"rabbitmq-url", c.RabbitMQURLFile, rabbitMQ.String(), "rabbitmq.conf", checkRabbitMQURL, services.RabbitMQConfig},
		{"redis-url", c.RedisURLFile, redisNode.String(), "redis.conf", checkRedisURL, func(_, password string) string { return services.RedisConfig(password) }},
	} {
		value, err := c.secret(in, notes, s.name, s.file, s.node, s.check)
		if err != nil {
			return err
		}
		if c.Nodes && s.file == "" {
			if err := c.writeConfig(notes, s.config, s.name, value, s.configure); err != nil {
				return err
			}
		}
	}
	if _, err := c.write(notes, "summary-token", rand.Text()); err != nil {
		return err
	}
	for _, name := range []string{"rabbitmq-url", "redis-url", "summary-token"} {
		fmt.Fprintf(out, "faas-cli secret create %s --from-file=%s\n", name, shellQuoted(filepath.Join(c.Dir, name)))
	}
	return nil
}

// secret returns a URL that is there, that a file has, or that is made for a node.
func (c secretsInitCommand) secret(in io.Reader, notes io.Writer, name, file, node string, check func(string) error) (string, error) {
	given, err := readURL(in, file)
	if err == nil && given != "" {
		err = check(given)
	}
	if err != nil {
		return "", fmt.Errorf("--%s-file: %w", name, err)
	}
	value := given
	if value == "" && c.Nodes {
		value = node
	}
	found, err := c.write(notes, name, value)
	switch {
	case err != nil && value == "":
		return "", fmt.Errorf("%w: give its URL with --%s-file, or --nodes for a node that is still to be started", err, name)
	case err != nil:
		return "", err
	case given != "" && found != given:
		return "", fmt.Errorf("%s is there with another value than --%s-file and was left as it is: remove it to replace it", filepath.Join(c.Dir, name), name)
	}
	if err := check(found); err != nil {
		return "", fmt.Errorf("%s: %w", filepath.Join(c.Dir, name), err)
	}
	return found, nil
}

// write returns the secret that is there, or else writes the value, which is none if
// it is empty.
func (c secretsInitCommand) write(notes io.Writer, name, value string) (string, error) {
	path, done := filepath.Join(c.Dir, name), "kept"
	var missing func() string
	if value != "" {
		missing = func() string {
			done = "wrote"
			return value
		}
	}
	found, err := services.Secret(c.Dir, name, missing)
	if err != nil {
		return "", err
	}
	fmt.Fprintln(notes, done, path)
	if info, err := os.Stat(path); err == nil && info.Mode().Perm()&0o077 != 0 {
		fmt.Fprintf(notes, "warning: others can read it: chmod 600 %s\n", shellQuoted(path))
	}
	return found, nil
}

// plainPassword needs no quoting in a configuration.
var plainPassword = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)

// writeConfig writes the configuration of a node whose URL is known, with the
// password in it.
func (c secretsInitCommand) writeConfig(notes io.Writer, file, name, value string, configure func(user, password string) string) error {
	u, err := url.Parse(value)
	if err != nil {
		return fmt.Errorf("%s is not one URL, which --nodes needs for %s", filepath.Join(c.Dir, name), file) // the error has the password in it
	}
	password, _ := u.User.Password()
	if !plainPassword.MatchString(password) {
		return fmt.Errorf("the password in %s is not of letters and digits: write %s by hand, or remove the secret and run this again", filepath.Join(c.Dir, name), file)
	}
	found, err := c.write(notes, file, configure(u.User.Username(), password))
	if err == nil && !strings.Contains(found, password) {
		err = fmt.Errorf("%s is there with another password than %s: remove it to have it written again", filepath.Join(c.Dir, file), name)
	}
	return err
}

// readURL returns the text of a file, - being standard input.
func readURL(in io.Reader, file string) (string, error) {
	if file == "" {
		return "", nil
	}
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return "", err
		}
		defer f.Close()
		in = f
	}
	const most = 64 << 10
	text, err := io.ReadAll(io.LimitReader(in, most))
	if err != nil {
		return "", err
	}
	value := strings.TrimSpace(string(text))
	if value == "" {
		return "", errors.New("it is empty")
	}
	return value, nil
}

func checkRabbitMQURL(value string) error {
	urls, err := broker.SplitURLs(value)
	if err != nil {
		return err
	}
	for _, u := range urls {
		if _, err := amqp.ParseURI(u); err != nil {
			return errors.New("it has no URL of a RabbitMQ, which looks like amqp://user:password@host:5672/vhost") // the error may have the password in it
		}
	}
	return nil
}

func checkRedisURL(value string) error {
	client, err := redis.Open(redis.URL(value))
	if err != nil {
		return err
	}
	return client.Close()
}

var shellPlain = regexp.MustCompile(`^[A-Za-z0-9_./+=:@%,-]+$`)

// shellQuoted returns a word of a shell's command.
func shellQuoted(word string) string {
	if shellPlain.MatchString(word) {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}
