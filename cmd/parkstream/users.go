package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"

	"golang.org/x/term"

	"parkstream/cmd/internal/secrets"
	"parkstream/shared/access"
)

type usersCommand struct {
	Add    usersAddCommand    `cmd:"" help:"Add a user with a password, or with a token that is printed once."`
	List   usersListCommand   `cmd:"" help:"List the users."`
	Remove usersRemoveCommand `cmd:"" help:"Remove a user, whose sessions end with that."`
	Passwd usersPasswdCommand `cmd:"" help:"Set another password, or make another token."`
}

// usersFile is the file that the commands edit. Programs that use it read it again.
type usersFile struct {
	File string `default:".secrets/users" help:"The users file: the secret 'users' of a deployment, or the FILE of 'up --users'."`
}

// credentials are what a user shows.
type credentials struct {
	Token        bool   `help:"Make a token instead of a password, and print it, and nothing else, on standard output."`
	PasswordFile string `placeholder:"FILE" help:"File with the password; - is standard input. By default it is asked for. With --token the user gets both."`
}

// wantPassword reports whether the user gets a password.
func (c credentials) wantPassword() bool { return !c.Token || c.PasswordFile != "" }

type usersAddCommand struct {
	Name   string   `arg:"" help:"Name of the user."`
	Role   string   `required:"" enum:"viewer,operator,admin,machine" help:"One of ${enum}. A machine has a token."`
	Site   []string `placeholder:"SITE" help:"A site that the user sees; may be given several times. All by default."`
	Plates bool     `help:"A viewer sees whole plates."`
	usersFile
	credentials
}

// Run adds the user.
func (c usersAddCommand) Run(ctx context.Context) error { return c.run(standard(ctx)) }

func (c usersAddCommand) run(t terminal) error {
	user := access.NewUser{Name: c.Name, Role: access.Role(c.Role), Sites: c.Site, Plates: c.Plates}
	if user.Role == access.Machine {
		c.Token = true
	}
	if c.Token {
		user.Token = access.NewToken()
	}
	wrong := c.check(user)
	if c.wantPassword() && (c.PasswordFile != "" || wrong == nil) {
		var err error
		if user.Password, err = c.password(t, c.Name); err == nil {
			err = access.CheckPassword(user.Password)
		}
		wrong = errors.Join(wrong, err)
	}
	if wrong != nil {
		return wrong
	}
	if err := os.MkdirAll(filepath.Dir(c.File), 0o700); err != nil {
		return fmt.Errorf("make the folder of the users: %w", err)
	}
	return c.edit(t, user.Token, fmt.Sprintf("added %s to %s", c.Name, c.File), func(text []byte) ([]byte, error) {
		return access.AddUser(text, user)
	})
}

// check returns every mistake that is known before a password is typed.
func (c usersAddCommand) check(user access.NewUser) error {
	text, err := os.ReadFile(c.File)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	user.Token = access.NewToken() // stands for a password, too
	_, err = access.AddUser(text, user)
	if user.Role == access.Machine && c.PasswordFile != "" {
		err = errors.Join(err, errors.New("--password-file: a machine has a token only"))
	}
	return err
}

// edit changes the file and then prints the token, unless it is empty.
func (f usersFile) edit(t terminal, token, done string, change func(text []byte) ([]byte, error)) error {
	if err := secrets.Edit(f.File, change); err != nil {
		return err
	}
	fmt.Fprintln(t.notes, done)
	if token == "" {
		return nil
	}
	if _, err := fmt.Fprintln(t.out, token); err != nil {
		return fmt.Errorf("print the token, which is lost now ('users passwd NAME --token' makes another): %w", err)
	}
	return nil
}

type usersListCommand struct{ usersFile }

// Run lists the users.
func (c usersListCommand) Run(ctx context.Context) error { return c.run(standard(ctx)) }

func (c usersListCommand) run(t terminal) error {
	users, err := readUsers(c.File)
	if err != nil {
		return err
	}
	table := tabwriter.NewWriter(t.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "NAME\tROLE\tSITES\tPLATES\tLOGIN")
	for _, u := range users.All() {
		sites, plates := "all", "masked"
		if !u.Sites.All() {
			sites = strings.Join(u.Sites.Names(), ",")
		}
		switch p := u.Principal(access.ViaToken); {
		case p.May(access.ReadPlates):
			plates = "whole"
		case !p.May(access.Read):
			plates = "-"
		}
		var login []string
		if u.HasPassword() {
			login = append(login, access.ViaPassword)
		}
		if u.HasToken() {
			login = append(login, access.ViaToken)
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", u.Name, u.Role, sites, plates, strings.Join(login, ","))
	}
	return table.Flush()
}

// readUsers returns the users of a file, or every mistake in it.
func readUsers(file string) (*access.Users, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read the users: %w", err)
	}
	users, err := access.ParseUsers(text)
	if err != nil {
		return nil, fmt.Errorf("%s:\n%w", file, err)
	}
	return users, nil
}

type usersRemoveCommand struct {
	Name string `arg:"" help:"Name of the user."`
	usersFile
}

// Run removes the user.
func (c usersRemoveCommand) Run(ctx context.Context) error { return c.run(standard(ctx)) }

func (c usersRemoveCommand) run(t terminal) error {
	return c.edit(t, "", fmt.Sprintf("removed %s from %s", c.Name, c.File), func(text []byte) ([]byte, error) {
		return access.RemoveUser(text, c.Name)
	})
}

type usersPasswdCommand struct {
	Name string `arg:"" help:"Name of the user."`
	usersFile
	credentials
}

// Run changes what the user shows.
func (c usersPasswdCommand) Run(ctx context.Context) error { return c.run(standard(ctx)) }

func (c usersPasswdCommand) run(t terminal) error {
	users, err := readUsers(c.File)
	if err == nil && users.Find(c.Name) == nil {
		err = fmt.Errorf("there is no user %s", c.Name)
	}
	if err != nil {
		return err
	}
	var password, token string
	if c.wantPassword() {
		if password, err = c.password(t, c.Name); err != nil {
			return err
		}
	}
	if c.Token {
		token = access.NewToken()
	}
	return c.edit(t, token, fmt.Sprintf("changed %s in %s", c.Name, c.File), func(text []byte) (_ []byte, err error) {
		if c.wantPassword() {
			text, err = access.SetPassword(text, c.Name, password)
		}
		if err == nil && c.Token {
			text, err = access.SetToken(text, c.Name, token)
		}
		return text, err
	})
}

// terminal is where a command reads and writes, until ctx ends.
type terminal struct {
	ctx        context.Context
	in         io.Reader
	out, notes io.Writer
}

func standard(ctx context.Context) terminal { return terminal{ctx, os.Stdin, os.Stdout, os.Stderr} }

// maxPasswordFile bounds the file of a password, in bytes.
const maxPasswordFile = 1 << 10

// password reads a password from its file, or asks for it twice.
func (c credentials) password(t terminal, name string) (string, error) {
	switch c.PasswordFile {
	case "":
		return ask(t, name)
	case "-":
		return firstLine(t.in, "standard input")
	}
	f, err := os.Open(c.PasswordFile)
	if err != nil {
		return "", fmt.Errorf("--password-file: %w", err)
	}
	defer f.Close()
	return firstLine(f, c.PasswordFile)
}

// firstLine returns the only line of a file with a password.
func firstLine(in io.Reader, name string) (string, error) {
	text, err := io.ReadAll(io.LimitReader(in, maxPasswordFile+1))
	if err != nil {
		return "", fmt.Errorf("--password-file %s: %w", name, err)
	}
	line := strings.TrimRight(string(text), "\r\n")
	if line == "" || len(text) > maxPasswordFile || strings.ContainsAny(line, "\r\n") {
		return "", fmt.Errorf("--password-file %s: want one line with the password", name)
	}
	return line, nil
}

// ask asks for a new password without echo.
func ask(t terminal, name string) (string, error) {
	in, ok := t.in.(*os.File)
	if !ok || !isTerminal(in) {
		return "", errors.New("a password is asked for on a terminal: name a file with --password-file (- is standard input), or make a --token")
	}
	typed, err := t.prompt(in, "Password of "+name+": ")
	if err != nil {
		return "", err
	}
	again, err := t.prompt(in, "Again: ")
	if err == nil && again != typed {
		err = errors.New("the two passwords differ: nothing was changed")
	}
	return typed, err
}

// prompt reads a line without echo.
func (t terminal) prompt(in *os.File, text string) (string, error) {
	fd := int(in.Fd())
	echo, err := term.GetState(fd)
	if err != nil {
		return "", fmt.Errorf("read the password: %w", err)
	}
	fmt.Fprint(t.notes, text)
	defer fmt.Fprintln(t.notes)
	var typed []byte
	read := make(chan error, 1)
	go func() { // ends with the line, or with the process
		var err error
		typed, err = term.ReadPassword(fd)
		read <- err
	}()
	select {
	case err = <-read:
	case <-t.ctx.Done():
		return "", errors.Join(errors.New("interrupted: nothing was changed"), term.Restore(fd, echo))
	}
	if err != nil {
		return "", fmt.Errorf("read the password: %w", err)
	}
	return string(typed), nil
}
