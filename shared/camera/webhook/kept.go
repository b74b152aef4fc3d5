package webhook

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode"

	goredis "github.com/redis/go-redis/v9"

	"parkstream/shared/access"
	"parkstream/shared/camera"
	"parkstream/shared/failure"
	"parkstream/shared/httpjson"
	"parkstream/shared/redis"
	"parkstream/shared/site"
)

const (
	// keptFor is how long a request that was refused is kept.
	keptFor = 24 * time.Hour
	// keptOfCamera bounds the requests of one camera that are kept, the last ones.
	keptOfCamera = 5
	// keptCameras bounds the cameras that have some, the last ones.
	keptCameras = 100
	// keptBytes bounds the body of one; pictures are left out first.
	keptBytes = 128 << 10
	// maxKeptHeader bounds a header that is kept.
	maxKeptHeader = 200
	keepTimeout   = time.Second
)

// keptRequest is a request that was refused.
type keptRequest struct {
	Time        time.Time `json:"time"`
	Camera      string    `json:"camera"`
	Site        string    `json:"site"`
	Configured  string    `json:"configured_format"`
	Format      string    `json:"format,omitempty"`
	Status      int       `json:"status"`
	Reason      string    `json:"reason"`
	ContentType string    `json:"content_type,omitempty"`
	UserAgent   string    `json:"user_agent,omitempty"`
	// Bytes is the size of the body as sent.
	Bytes int `json:"bytes"`
	// Body has descriptions instead of pictures.
	Body string `json:"body"`
}

func newKept(c site.Camera, req camera.Request, format string, status int, reason string) keptRequest {
	cut := func(text string) string { return strings.ToValidUTF8(text[:min(len(text), maxKeptHeader)], "") }
	return keptRequest{
		Time: req.Received, Camera: c.ID, Site: c.Site, Configured: c.Format, Format: format, Status: status, Reason: reason,
		ContentType: cut(req.Header.Get("Content-Type")), UserAgent: cut(req.Header.Get("User-Agent")),
		Bytes: len(req.Body), Body: withoutPictures(req.Body),
	}
}

const (
	// longBase64 is the length from which a text of base64 is a picture.
	longBase64 = 512
	// maxBase64Line bounds a line of a picture that has several.
	maxBase64Line = 512
)

// base64Line is a line of a picture in a text.
var base64Line = regexp.MustCompile(`^\s*[A-Za-z0-9+/]{56,}={0,2}\s*$`)

func isBase64Line(line []byte) bool { return len(line) <= maxBase64Line && base64Line.Match(line) }

// withoutPictures returns a body as text, with descriptions instead of pictures and of
// other binary parts, and cut off if it is long.
func withoutPictures(body []byte) string {
	var b strings.Builder
	for len(body) > 0 && b.Len() < keptBytes {
		line := lineOf(body)
		switch {
		case binary(line):
			end := binaryEnd(body)
			fmt.Fprintf(&b, "[%d bytes that are no text]", end)
			body = body[end:]
			continue
		case isBase64Line(line):
			end := 0
			for isBase64Line(line) {
				end += len(line)
				line = lineOf(body[end:])
			}
			fmt.Fprintf(&b, "[%d characters of base64]\n", end)
			body = body[end:]
			continue
		}
		rest := writeText(&b, line)
		body = body[len(line)-len(rest):]
	}
	text := strings.ToValidUTF8(b.String(), "\ufffd")
	if len(text) > keptBytes || len(body) > 0 {
		return strings.ToValidUTF8(text[:min(len(text), keptBytes)], "") + "[cut off]"
	}
	return text
}

// writeText writes a text with descriptions instead of pictures. It returns what is left
// of the text when there is enough.
func writeText(b *strings.Builder, text []byte) (rest []byte) {
	for len(text) > 0 && b.Len() < keptBytes {
		end, is := 1, base64Bytes[text[0]]
		for end < len(text) && base64Bytes[text[end]] == is {
			end++
		}
		if !is || end < longBase64 {
			b.Write(text[:min(end, keptBytes)])
			text = text[min(end, keptBytes):]
			continue
		}
		for padding := 0; padding < 2 && end < len(text) && text[end] == '='; padding++ {
			end++
		}
		fmt.Fprintf(b, "[%d characters of base64]", end)
		text = text[end:]
	}
	return text
}

// base64Bytes are the bytes that base64 in a text of JSON may have.
var base64Bytes = func() (is [256]bool) {
	for _, c := range []byte(`ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/_\-`) {
		is[c] = true
	}
	return is
}()

// lineOf returns the first line of a text, with its end.
func lineOf(text []byte) []byte {
	if end := bytes.IndexByte(text, '\n'); end >= 0 {
		return text[:end+1]
	}
	return text
}

// binary reports whether a line is no text of any encoding that cameras use: it has
// control characters.
func binary(line []byte) bool {
	return bytes.ContainsFunc(line, func(r rune) bool { return r < ' ' && r != '\t' && r != '\r' && r != '\n' })
}

// binaryEnd returns where binary data ends: at the next boundary of a form, or at the
// end of the body.
func binaryEnd(body []byte) int {
	for from := 0; ; {
		at := bytes.Index(body[from:], []byte("\n--"))
		if at < 0 {
			return len(body)
		}
		from += at + 1
		line, _, _ := bytes.Cut(body[from:], []byte("\n"))
		if len(line) < maxKeptHeader && !binary(line) {
			if from >= 2 && body[from-2] == '\r' {
				return from - 2
			}
			return from - 1
		}
	}
}

// Kept is the requests that were refused in the last day, in Redis: some of each of some
// cameras.
type Kept struct {
	redis *redis.Client
	now   func() time.Time
}

// NewKept returns the requests in a Redis.
func NewKept(client *redis.Client) *Kept { return &Kept{redis: client, now: time.Now} }

// keptIndex is the key of the cameras that have some, by the time of the last one.
const keptIndex = redis.KeptRequests + "cameras"

func keptKey(camera string) string { return redis.KeptRequests + "of:" + camera }

// add keeps a request.
func (k *Kept) add(ctx context.Context, r keptRequest) error {
	text, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("encode a request that was refused: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, keepTimeout)
	defer cancel()
	key, at := keptKey(r.Camera), float64(r.Time.UnixMilli())
	old := strconv.FormatInt(k.now().Add(-keptFor).UnixMilli(), 10)
	var tooMany *goredis.StringSliceCmd
	client := k.redis.Current()
	_, err = client.TxPipelined(ctx, func(p goredis.Pipeliner) error {
		p.ZAdd(ctx, key, goredis.Z{Score: at, Member: text})
		p.ZRemRangeByScore(ctx, key, "-inf", old)
		p.ZRemRangeByRank(ctx, key, 0, -1-keptOfCamera)
		p.Expire(ctx, key, keptFor)
		p.ZAdd(ctx, keptIndex, goredis.Z{Score: at, Member: r.Camera})
		p.ZRemRangeByScore(ctx, keptIndex, "-inf", old)
		tooMany = p.ZRange(ctx, keptIndex, 0, -1-keptCameras)
		p.ZRemRangeByRank(ctx, keptIndex, 0, -1-keptCameras)
		p.Expire(ctx, keptIndex, keptFor)
		return nil
	})
	if err != nil {
		return fmt.Errorf("keep a request that was refused in Redis: %w", err)
	}
	for _, camera := range tooMany.Val() {
		if err := client.Del(ctx, keptKey(camera)).Err(); err != nil {
			return fmt.Errorf("remove requests that were refused from Redis: %w", err)
		}
	}
	return nil
}

// list returns the requests of one camera, or of all, the newest first.
func (k *Kept) list(ctx context.Context, camera string) ([]keptRequest, error) {
	client := k.redis.Current()
	cameras := []string{camera}
	if camera == "" {
		var err error
		if cameras, err = client.ZRevRange(ctx, keptIndex, 0, keptCameras-1).Result(); err != nil {
			return nil, fmt.Errorf("list in Redis the cameras whose requests were refused: %w", err)
		}
	}
	found := []keptRequest{}
	since := strconv.FormatInt(k.now().Add(-keptFor).UnixMilli(), 10)
	for _, camera := range cameras {
		texts, err := client.ZRevRangeByScore(ctx, keptKey(camera), &goredis.ZRangeBy{Min: since, Max: "+inf", Count: keptOfCamera}).Result()
		if err != nil {
			return nil, fmt.Errorf("list in Redis the requests of a camera that were refused: %w", err)
		}
		for _, text := range texts {
			var r keptRequest
			if err := json.Unmarshal([]byte(text), &r); err != nil {
				return nil, fmt.Errorf("decode a request that was refused: %w", err)
			}
			found = append(found, r)
		}
	}
	return found, nil
}

// list answers with the requests that were refused.
func (h *Handler) list(w http.ResponseWriter, r *http.Request) {
	ctx := r.Context()
	query := r.URL.Query()
	plates := query.Get("plates") == "true"
	requests, err := h.Kept.list(ctx, query.Get("camera"))
	if err != nil {
		h.Log.ErrorContext(ctx, "the requests that were refused are not listed", "error", err)
		w.Header().Set("Retry-After", retryAfter)
		httpjson.Error(w, http.StatusServiceUnavailable, failure.Told(failure.In("Redis", err))+": try again")
		return
	}
	p := access.From(ctx)
	seen := requests[:0]
	for _, kept := range requests {
		if !p.Sites.Has(kept.Site) {
			continue
		}
		if !plates || !p.May(access.ReadPlates) {
			kept.Body = shape(kept.Body)
		}
		seen = append(seen, kept)
	}
	if plates {
		h.Log.InfoContext(ctx, "requests that were refused were shown with their plates", "by", p.Name, "requests", len(seen))
	}
	httpjson.Write(w, http.StatusOK, map[string]any{"requests": seen})
}

// names are what in a text is not a value: members of JSON, elements and attributes of
// XML, headers and names in forms, and our own descriptions.
var names = regexp.MustCompile(`"[^"\\]{1,64}"\s*:|</?[A-Za-z_][\w.:-]{0,64}|\b[A-Za-z_][\w.:-]{0,64}="?|/?>|\[(?:\d+ bytes that are no text|\d+ characters of base64|cut off)\]|(?m:^Content-[A-Za-z-]+:[^\n]*$)|\b(?:null|true|false)\b`)

// shape returns a text in which each letter of a value is an A and each digit a 9: so it
// shows how a request is built, and no plate.
func shape(text string) string {
	var b strings.Builder
	from := 0
	for _, at := range names.FindAllStringIndex(text, -1) {
		b.WriteString(masked(text[from:at[0]]))
		b.WriteString(maskedName(text[at[0]:at[1]]))
		from = at[1]
	}
	b.WriteString(masked(text[from:]))
	return b.String()
}

func masked(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case unicode.IsNumber(r):
			return '9'
		case unicode.IsLetter(r), unicode.IsMark(r):
			return 'A'
		}
		return r
	}, text)
}

// maskedName masks a name that may be a plate: it has two digits or more.
func maskedName(name string) string {
	digits := 0
	for _, r := range name {
		if unicode.IsNumber(r) {
			digits++
		}
	}
	if digits > 1 && !strings.HasPrefix(name, "[") {
		return masked(name)
	}
	return name
}
