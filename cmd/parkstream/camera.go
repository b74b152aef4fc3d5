package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"
	"unicode"
)

type cameraCommand struct {
	Show cameraShowCommand `cmd:"" help:"Show requests of cameras that were refused in the last day, without pictures."`
}

type cameraShowCommand struct {
	Camera string `arg:"" optional:"" help:"Only those of this camera."`
	Plates bool   `help:"Show them as they were sent. Otherwise each letter of a value is an A and each digit a 9."`
	summaryAPI
}

// Run shows the requests, the newest last.
func (c cameraShowCommand) Run(ctx context.Context) error { return c.run(ctx, os.Stdout) }

func (c cameraShowCommand) run(ctx context.Context, out io.Writer) error {
	query := url.Values{}
	if c.Camera != "" {
		query.Set("camera", c.Camera)
	}
	if c.Plates {
		query.Set("plates", "true")
	}
	var answer struct {
		Requests []struct {
			Time        time.Time
			Camera      string
			Site        string
			Format      string
			Status      int
			Reason      string
			ContentType string `json:"content_type"`
			UserAgent   string `json:"user_agent"`
			Bytes       int
			Body        string
		}
	}
	if err := c.callFunction(ctx, "camera", http.MethodGet, "/?"+query.Encode(), nil, &answer); err != nil {
		return fmt.Errorf("ask the function camera: %w", err)
	}
	if len(answer.Requests) == 0 {
		fmt.Fprintln(out, "no request of a camera was refused in the last day")
		return nil
	}
	for _, r := range slices.Backward(answer.Requests) {
		fmt.Fprintf(out, "%s  camera %s of site %s, answered %d, %d bytes", r.Time.Format(time.RFC3339), r.Camera, r.Site, r.Status, r.Bytes)
		for _, also := range []string{r.Format, r.ContentType, r.UserAgent} {
			if also != "" {
				fmt.Fprintf(out, ", %s", printable(also))
			}
		}
		fmt.Fprintf(out, "\n  %s\n\n%s\n\n", printable(r.Reason), printableLines(strings.TrimSpace(r.Body)))
	}
	return nil
}

// printableLines returns a text without characters that control the terminal: a camera
// chooses it.
func printableLines(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case unicode.IsPrint(r), r == '\n', r == '\t':
			return r
		case r == '\r':
			return -1
		}
		return unicode.ReplacementChar
	}, text)
}
