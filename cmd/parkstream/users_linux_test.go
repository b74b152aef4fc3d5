package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"parkstream/shared/eventually"
)

// terminalPair returns a terminal and its other end, at which a person types.
func terminalPair(t *testing.T) (person, tty *os.File) {
	t.Helper()
	person, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = person.Close() })
	if err := unix.IoctlSetPointerInt(int(person.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(person.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	tty, err = os.OpenFile(fmt.Sprint("/dev/pts/", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tty.Close() })
	return person, tty
}

func echoes(t *testing.T, tty *os.File) bool {
	t.Helper()
	state, err := unix.IoctlGetTermios(int(tty.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	return state.Lflag&unix.ECHO != 0
}

// A password is typed twice, and is not shown. Ctrl-C gives the terminal back as it was.
func TestUsersAskForThePassword(t *testing.T) {
	file := filepath.Join(t.TempDir(), "users")
	add := func(typed ...string) (shown string, err error) {
		t.Helper()
		person, tty := terminalPair(t)
		c := usersAddCommand{Name: "anna", Role: "viewer", usersFile: usersFile{file}}
		done := make(chan error, 1)
		go func() { done <- c.run(terminal{t.Context(), tty, io.Discard, tty}) }()
		screen := bufio.NewReader(person)
		for _, text := range typed {
			prompt, err := screen.ReadString(':')
			if err != nil {
				t.Fatal(err)
			}
			shown += prompt
			eventually.True(t, "the echo is off", func() bool { return !echoes(t, tty) })
			if _, err := person.WriteString(text + "\n"); err != nil {
				t.Fatal(err)
			}
		}
		err = <-done
		if !echoes(t, tty) {
			t.Error("the terminal is left without echo")
		}
		rest := make([]byte, 1000)
		n, _ := screen.Read(rest)
		return shown + string(bytes.TrimSpace(rest[:n])), err
	}
	shown, err := add("hunter2", "hunter3")
	if err == nil || !strings.Contains(err.Error(), "differ") || strings.Contains(shown, "hunter") {
		t.Errorf("two passwords: %v, shown %q", err, shown)
	}
	if _, err := os.Stat(file); err == nil {
		t.Error("a user was added")
	}
	shown, err = add("hunter2", "hunter2")
	if err != nil || strings.Contains(shown, "hunter") || !strings.Contains(shown, "Password of anna:") {
		t.Errorf("%v, shown %q", err, shown)
	}
	if u := parsed(t, file).Find("anna"); u == nil || !u.HasPassword() {
		t.Errorf("the user: %+v", u)
	}

	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	ctx, interrupt := context.WithCancel(t.Context())
	person, tty := terminalPair(t)
	done := make(chan error, 1)
	go func() {
		done <- (usersAddCommand{Name: "anna", Role: "viewer", usersFile: usersFile{file}}).run(terminal{ctx, tty, io.Discard, io.Discard})
	}()
	eventually.True(t, "the echo is off", func() bool { return !echoes(t, tty) })
	interrupt()
	if err := <-done; err == nil || !strings.Contains(err.Error(), "interrupted") {
		t.Errorf("Ctrl-C: %v", err)
	}
	if !echoes(t, tty) {
		t.Error("Ctrl-C leaves the terminal without echo")
	}
	_, _ = person.WriteString("\n") // ends the read
}
