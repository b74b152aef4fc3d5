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
	"strconv"
	"strings"

	amqp "github.com/rabbitmq/amqp091-go"

	"parkstream/cmd/internal/secrets"
	"parkstream/cmd/internal/services"
	"parkstream/shared/broker"
	"parkstream/shared/redis"
)

type secretsCommand struct {
	Init   secretsInitCommand   `cmd:"" help:"Write the secrets of a deployment, and print the commands that hand them to OpenFaaS."`
	Rotate secretsRotateCommand `cmd:"" help:"Replace a secret that was made, and print the command that hands it to OpenFaaS."`
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

// hostName matches names and addresses of hosts that need no quoting in a URL.
var hostName = regexp.MustCompile(`^[A-Za-z0-9._:-]+$`)

// Validate reports flags that do not go together.
func (c secretsInitCommand) Validate() error {
	if c.RabbitMQURLFile == "-" && c.RedisURLFile == "-" {
		return errors.New("standard input has one of the two URLs: name a file for the other")
	}
	for _, address := range []string{c.RabbitMQ, c.Redis} {
		host, port, err := net.SplitHostPort(address)
		if n, portErr := strconv.ParseUint(port, 10, 16); err != nil || portErr != nil || n == 0 || !hostName.MatchString(host) {
			return fmt.Errorf("%q is no HOST:PORT", address)
		}
	}
	return nil
}

// nodeSecret is the URL of a node.
type nodeSecret struct {
	name, file string
	node       string // the URL that --nodes makes
	config     string // the file that --nodes writes
	check      func(string) error
	configure  func(user, password string) string
}

// Run writes the missing secrets and overwrites none.
func (c secretsInitCommand) Run() error { return c.run(os.Stdin, os.Stdout, os.Stderr) }

func (c secretsInitCommand) run(in io.Reader, out, notes io.Writer) error {
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return fmt.Errorf("make the folder of the secrets: %w", err)
	}
	if info, err := os.Stat(c.Dir); err == nil && info.Mode().Perm()&0o022 != 0 {
		fmt.Fprintf(notes, "warning: others can replace what is in it: chmod 700 %s\n", shellQuoted(c.Dir))
	}
	rabbitMQ := url.URL{Scheme: "amqp", User: url.UserPassword(nodeUser, rand.Text()), Host: c.RabbitMQ, Path: "/"}
	redisNode := url.URL{Scheme: "redis", User: url.UserPassword("", rand.Text()), Host: c.Redis, Path: "/0"}
	nodes := []nodeSecret{
		{"rabbitmq-url", c.RabbitMQURLFile, rabbitMQ.String(), "rabbitmq.conf", checkRabbitMQURL, services.RabbitMQConfig},
		{"redis-url", c.RedisURLFile, redisNode.String(), "redis.conf", checkRedisURL, func(_, password string) string { return services.RedisConfig(password) }},
	}
	values, errs := make([]string, len(nodes)), make([]error, len(nodes))
	for i, s := range nodes {
		values[i], errs[i] = c.wanted(in, s)
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	for i, s := range nodes {
		if err := c.writeNode(notes, s, values[i]); err != nil {
			return err
		}
	}
	for _, s := range []struct{ name, value string }{
		{secrets.SummaryToken, rand.Text()}, {secrets.ConnectorToken, rand.Text()}, {secrets.SessionKey, secrets.NewSessionKeys()},
	} {
		if _, err := c.write(notes, s.name, s.value); err != nil {
			return err
		}
	}
	if err := c.writeUsers(notes); err != nil {
		return err
	}
	for _, name := range []string{"rabbitmq-url", "redis-url", secrets.SummaryToken, secrets.ConnectorToken, secrets.SessionKey, secrets.UsersFile} {
		fmt.Fprintf(out, "faas-cli secret create %s --from-file=%s\n", name, shellQuoted(filepath.Join(c.Dir, name)))
	}
	return nil
}

// writeUsers writes a users file with the first login of a person and that of Prometheus,
// if there is none.
func (c secretsInitCommand) writeUsers(notes io.Writer) error {
	made, err := secrets.EnsureUsers(c.Dir)
	if err != nil {
		return err
	}
	done := "kept"
	if made {
		done = "wrote"
	}
	for _, name := range []string{secrets.UsersFile, secrets.AdminPassword, secrets.MetricsToken} {
		if c.has(name) { // the last two may be removed when they are in a safe place
			c.tell(notes, done, name)
		}
	}
	return nil
}

// has reports whether a file of the folder may have content.
func (c secretsInitCommand) has(name string) bool {
	info, err := os.Stat(filepath.Join(c.Dir, name))
	return err == nil && info.Size() > 0 || err != nil && !errors.Is(err, os.ErrNotExist)
}

// wanted returns the URL that a file has, or that is made for a node; "" if the secret
// that is there is the only one. It writes nothing.
func (c secretsInitCommand) wanted(in io.Reader, s nodeSecret) (string, error) {
	switch {
	case s.file != "":
		given, err := readURL(in, s.file)
		if err == nil {
			err = s.check(given)
		}
		if err != nil {
			return "", fmt.Errorf("--%s-file: %w", s.name, err)
		}
		return given, nil
	case c.Nodes && c.has(s.config) && !c.has(s.name):
		return "", fmt.Errorf("%s is there without %s: write the URL with its password into %[2]s, or remove %[1]s to have both made", filepath.Join(c.Dir, s.config), s.name)
	case c.Nodes:
		return s.node, nil
	case !c.has(s.name):
		return "", fmt.Errorf("the secret %s is missing or empty in %s: give its URL with --%[1]s-file, or --nodes for a node that is still to be started", s.name, c.Dir)
	default:
		return "", nil
	}
}

// writeNode writes the URL of a node if none is there, and with --nodes the node's
// configuration.
func (c secretsInitCommand) writeNode(notes io.Writer, s nodeSecret, value string) error {
	found, err := c.write(notes, s.name, value)
	if err != nil {
		return err
	}
	if s.file != "" && found != value {
		return fmt.Errorf("%s is there with another value than --%s-file and was left as it is: remove it to replace it", filepath.Join(c.Dir, s.name), s.name)
	}
	if err := s.check(found); err != nil {
		return fmt.Errorf("%s: %w", filepath.Join(c.Dir, s.name), err)
	}
	if c.Nodes && s.file == "" {
		return c.writeConfig(notes, s.config, s.name, found, s.configure)
	}
	return nil
}

// write returns the secret that is there, or else writes the value, which is none if
// it is empty.
func (c secretsInitCommand) write(notes io.Writer, name, value string) (string, error) {
	done := "kept"
	var missing func() string
	if value != "" {
		missing = func() string {
			done = "wrote"
			return value
		}
	}
	found, err := secrets.Ensure(c.Dir, name, missing)
	if err != nil {
		return "", err
	}
	if found != value { // another process was first
		done = "kept"
	}
	c.tell(notes, done, name)
	return found, nil
}

// tell reports what was done to a secret, and if others can read it.
func (c secretsInitCommand) tell(notes io.Writer, done, name string) {
	path := filepath.Join(c.Dir, name)
	fmt.Fprintln(notes, done, path)
	if info, err := os.Stat(path); err == nil && info.Mode().Perm()&0o077 != 0 {
		fmt.Fprintf(notes, "warning: others can read it: chmod 600 %s\n", shellQuoted(path))
	}
}

type secretsRotateCommand struct {
	Name        string `arg:"" enum:"session-key,connector-token,summary-token" help:"One of ${enum}."`
	Dir         string `default:".secrets" help:"Folder of the secrets."`
	EndSessions bool   `help:"With session-key: forget the former keys, which logs everyone out."`
}

// Validate reports flags that do not go together.
func (c secretsRotateCommand) Validate() error {
	if c.EndSessions && c.Name != secrets.SessionKey {
		return fmt.Errorf("--end-sessions is for %s", secrets.SessionKey)
	}
	return nil
}

// Run replaces the secret.
func (c secretsRotateCommand) Run() error { return c.run(os.Stdout, os.Stderr) }

func (c secretsRotateCommand) run(out, notes io.Writer) error {
	if _, err := secrets.Ensure(c.Dir, c.Name, nil); err != nil {
		return fmt.Errorf("%w: parkstream secrets init makes it", err)
	}
	path := filepath.Join(c.Dir, c.Name)
	var err error
	if c.Name == secrets.SessionKey {
		err = secrets.RotateSessionKey(c.Dir, c.EndSessions)
	} else {
		err = secrets.Edit(path, func([]byte) ([]byte, error) { return []byte(rand.Text()), nil })
	}
	if err != nil {
		return err
	}
	fmt.Fprintln(notes, "wrote", path)
	fmt.Fprintln(notes, map[string]string{
		secrets.SessionKey:     "The summary signs with the next key, and has a new next one, as soon as it reads the file.",
		secrets.ConnectorToken: "The processors and the connector need it: run the command and copy the file to the connector's secrets. Until both have it events wait at RabbitMQ.",
		secrets.SummaryToken:   "The processors and the summary need it. Until all have it events wait at RabbitMQ.",
	}[c.Name])
	fmt.Fprintf(out, "faas-cli secret update %s --from-file=%s\n", c.Name, shellQuoted(path))
	return nil
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

// readURL returns the text of a file, - being standard input, and "" if none is named.
func readURL(in io.Reader, file string) (string, error) {
	switch file {
	case "":
		return "", nil
	case "-":
		return urlIn(in)
	}
	return readURLFile(file)
}

// readURLFile returns the URL in a file, or several with commas.
func readURLFile(file string) (string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer f.Close()
	value, err := urlIn(f)
	if err != nil {
		return "", fmt.Errorf("%s: %w", file, err)
	}
	return value, nil
}

func urlIn(in io.Reader) (string, error) {
	const most = 64 << 10
	text, err := io.ReadAll(io.LimitReader(in, most+1))
	if err != nil {
		return "", err
	}
	if len(text) > most {
		return "", fmt.Errorf("it has more than %d bytes, which is no URL", most)
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
		if parsed, err := amqp.ParseURI(u); err != nil || parsed.Port < 1 || parsed.Port > 65535 { // the error may have the password in it
			return errors.New("it has no URL of a RabbitMQ, which looks like amqp://user:password@host:5672/vhost with special characters of the password percent-encoded")
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
