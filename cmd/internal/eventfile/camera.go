package eventfile

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/textproto"
	"os"
	"path/filepath"
	"strings"
	"time"

	"parkstream/shared/camera"
	"parkstream/shared/parking"
	"parkstream/shared/site"
)

// Camera is what is known of the camera whose recorded requests, or exported table, are
// read.
type Camera struct {
	site.Camera
	// Dates is the order of day and month in a table.
	Dates camera.DateOrder
	// Received is the time of reading, or earlier that of a recorded file. Of two readings
	// of a local time it decides.
	Received time.Time
}

// eventsOf returns the events of a message as the webhook publishes them.
func (c *Camera) eventsOf(line int, m camera.Message) ([]Event, error) {
	timed := m.Reads[:0]
	for _, r := range m.Reads {
		if r.Time.IsZero() && !r.Void {
			m.Unread = append(m.Unread, parking.Invalid("a read has no time, and when the camera sent it is not known"))
			continue
		}
		timed = append(timed, r)
	}
	m.Reads = timed
	made, _, err := camera.Events(m, c.Camera, c.Received)
	var events []Event
	for _, e := range made {
		body, wrong := json.Marshal(e)
		if wrong != nil {
			return nil, errors.Join(err, wrong)
		}
		read, wrong := parse(line, body)
		if wrong != nil {
			return nil, errors.Join(err, wrong)
		}
		events = append(events, read)
	}
	return events, err
}

// export reads the rows of a table that a camera has exported.
type export struct {
	*Camera
	rows *camera.Export
}

// titleRows is how many rows may be above that which names the columns.
const titleRows = 10

// findExport looks for the row that names the columns of an export.
func (t *table) findExport(first line, among []rune, c *Camera) error {
	var failed error
	width := 0 // of the row whose error is told
	for range titleRows {
		for _, t.separator = range among {
			names, err := t.record(first)
			if err != nil {
				continue
			}
			rows, err := camera.NewExport(names, c.Dates)
			if err == nil {
				t.export, t.header = &export{c, rows}, names
				return nil
			}
			if len(names) > width {
				failed, width = fmt.Errorf("line %d: %w", first.number, err), len(names)
			}
		}
		var err error
		if first, err = t.lines.nextFilled(); err != nil {
			break
		}
	}
	if failed == nil {
		failed = errors.New("no row names the columns")
	}
	return failed
}

func (x *export) event(line int, fields []string) (Event, error) {
	read, err := x.rows.Read(fields, x.Camera.Camera, x.Received)
	if err != nil {
		return Event{}, &LineError{line, err.Error()}
	}
	events, err := x.eventsOf(line, camera.Message{Reads: []camera.Read{read}})
	switch {
	case err != nil:
		return Event{}, asLineError(line, "", err)
	case len(events) == 0:
		return Event{}, &LineError{line, "its direction is not known"}
	}
	return events[0], nil
}

// rename reports whether a row names the columns again, as in files that were put
// together.
func (x *export) rename(fields []string) bool {
	rows, err := camera.NewExport(fields, x.Dates)
	if err == nil {
		x.rows = rows
	}
	return err == nil
}

func asLineError(line int, file string, err error) *LineError {
	if bad, is := errors.AsType[*LineError](err); is {
		err = errors.New(bad.Reason)
	}
	if file != "" {
		return &LineError{0, file + ": " + err.Error()}
	}
	return &LineError{line, err.Error()}
}

// maxBody bounds a recorded request, as the webhook does.
const maxBody = 16 << 20

// Requests reads recorded requests of a camera: each file is the body of one, or of .http
// the lines of its header, an empty line and the body; of .jsonl and .ndjson each line is a
// body.
type Requests struct {
	camera *Camera
	files  []string
	number int    // of the last request
	lines  *lines // of the first file, if its lines are requests
	file   io.Closer
	events []Event
	failed error // of the request whose events are left
}

// NewRequests returns a Reader of files, and of those in folders in the order of their
// names. The line of an event is the number of its request.
func NewRequests(paths []string, c *Camera) (*Requests, error) {
	r := &Requests{camera: c}
	for _, path := range paths {
		info, err := os.Stat(path)
		if err != nil {
			return nil, err
		}
		if !info.IsDir() {
			r.files = append(r.files, path)
			continue
		}
		err = filepath.WalkDir(path, func(name string, entry fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case entry.Type().IsRegular() && !strings.HasPrefix(entry.Name(), ".") && !isPicture(name):
				r.files = append(r.files, name)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return r, nil
}

// isPicture reports whether a file has the name of a picture, as lie beside recorded
// bodies.
func isPicture(name string) bool {
	switch strings.ToLower(filepath.Ext(name)) {
	case ".jpg", ".jpeg", ".png":
		return true
	}
	return false
}

// Next implements [Reader].
func (r *Requests) Next() (Event, error) {
	for len(r.events) == 0 {
		if err := r.failed; err != nil {
			r.failed = nil
			return Event{}, err
		}
		if err := r.read(); err != nil {
			return Event{}, err
		}
	}
	next := r.events[0]
	r.events = r.events[1:]
	return next, nil
}

// read reads the next request. Its error is io.EOF or a *LineError.
func (r *Requests) read() error {
	if len(r.files) == 0 {
		return io.EOF
	}
	file := r.files[0]
	if r.lines == nil {
		r.number++
		request, err := r.open(file)
		if err != nil {
			r.files = r.files[1:]
			return &LineError{0, fmt.Sprintf("%s: %v", file, err)}
		}
		if r.lines == nil {
			r.files = r.files[1:]
			return r.take(file, request)
		}
		r.number-- // its lines are requests
	}
	text, err := r.lines.nextFilled()
	if err != nil {
		r.lines, r.files = nil, r.files[1:]
		if !errors.Is(err, io.EOF) {
			return &LineError{0, fmt.Sprintf("%s: %v", file, errors.Join(err, r.file.Close()))}
		}
		return r.file.Close()
	}
	r.number++
	name := fmt.Sprintf("%s: line %d", file, text.number)
	if text.long {
		return asLineError(0, name, errors.New("it is too long"))
	}
	return r.take(name, camera.Request{Header: http.Header{}, Body: text.text})
}

// open returns the request of a file, or has its lines read.
func (r *Requests) open(name string) (camera.Request, error) {
	file, err := os.Open(name)
	if err != nil {
		return camera.Request{}, err
	}
	r.camera.Received = time.Now()
	if info, err := file.Stat(); err == nil && info.ModTime().Before(r.camera.Received) {
		r.camera.Received = info.ModTime()
	}
	extension := strings.ToLower(filepath.Ext(name))
	if extension == ".jsonl" || extension == ".ndjson" {
		in, err := decode(file)
		if err != nil {
			return camera.Request{}, errors.Join(err, file.Close())
		}
		r.lines, r.file = &lines{in: in}, file
		return camera.Request{}, nil
	}
	text, err := io.ReadAll(io.LimitReader(file, maxBody+1))
	if err := errors.Join(err, file.Close()); err != nil {
		return camera.Request{}, err
	}
	if len(text) > maxBody {
		return camera.Request{}, fmt.Errorf("it has more than %d bytes, as the body of a request may have", maxBody)
	}
	if extension == ".http" {
		return withHeader(text)
	}
	return camera.Request{Header: http.Header{}, Body: text}, nil
}

// withHeader splits a request that was recorded with its header. The line that has the
// method is left out.
func withHeader(text []byte) (camera.Request, error) {
	in := bufio.NewReader(bytes.NewReader(text))
	if first, _, _ := bytes.Cut(text, []byte("\n")); bytes.Contains(first, []byte(" HTTP/")) {
		if _, err := in.ReadString('\n'); err != nil {
			return camera.Request{}, err
		}
	}
	header, err := textproto.NewReader(in).ReadMIMEHeader()
	if err != nil {
		return camera.Request{}, fmt.Errorf("want the lines of a header, an empty line and the body: %w", err)
	}
	body, err := io.ReadAll(in)
	return camera.Request{Header: http.Header(header), Body: body}, err
}

// take keeps the events of a request. What it tells is called name in errors.
func (r *Requests) take(name string, request camera.Request) error {
	request.Received = r.camera.Received
	_, m, err := camera.Parse(request, r.camera.Camera)
	if err != nil {
		return asLineError(0, name, err)
	}
	events, err := r.camera.eventsOf(r.number, m)
	r.events = events
	if err != nil {
		r.failed = asLineError(0, name, err)
	}
	return nil
}
