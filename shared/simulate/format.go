package simulate

import (
	"bytes"
	"encoding/json"
	"fmt"
	"image"
	"image/jpeg"
	"maps"
	"mime/multipart"
	"net/textproto"
	"slices"
	"strconv"
	"sync"
	"time"
)

// Payload is the body of a request that a camera makes.
type Payload struct {
	ContentType string
	Body        []byte
}

// format is how cameras of a vendor post what they read.
type format struct {
	// resolution is that of its times.
	resolution time.Duration
	// local reports that its times are local ones without a zone.
	local bool
	// tracks reports that a camera posts several reads of one vehicle; first that all have
	// the time of the first one.
	tracks, first bool
	// encode returns what a camera posts. The zone is that of the site.
	encode func(r *Read, zone *time.Location) Payload
}

// formats by name: the names are those of the webhook.
var formats = map[string]*format{
	"axis":            {resolution: time.Millisecond, tracks: true, encode: axis},
	"dahua":           {resolution: time.Second, local: true, encode: dahua},
	"frigate":         {resolution: time.Microsecond, tracks: true, first: true, encode: frigate},
	"hikvision":       {resolution: time.Second, encode: hikvision},
	"milesight":       {resolution: time.Millisecond, local: true, encode: milesight},
	"own":             {resolution: time.Microsecond, encode: own},
	"platerecognizer": {resolution: time.Microsecond, encode: plateRecognizer},
}

// Formats returns the names of the formats that cameras can have.
func Formats() []string { return slices.Sorted(maps.Keys(formats)) }

// Payload returns what the camera posts. The zone is that of the site.
func (r *Read) Payload(zone *time.Location) Payload { return formats[r.Camera.Format].encode(r, zone) }

// vehicle returns the camera's own id of the vehicle.
func (r *Read) vehicle() string { return strconv.FormatUint(r.Track, 10) }

// EventID returns the id of the event, if the camera gives it one.
func (r *Read) EventID() string { return r.Camera.ID + ":" + r.vehicle() }

// country returns the country of the vehicle's plate.
func (r *Read) country() *country {
	i := slices.IndexFunc(countries, func(c country) bool { return c.code == r.Visit.Country })
	return &countries[i]
}

// picture is a small picture, which stands for the one that a camera takes.
var picture = sync.OnceValue(func() []byte {
	var b bytes.Buffer
	plate := image.NewGray(image.Rect(0, 0, 96, 24))
	for i := range plate.Pix {
		plate.Pix[i] = byte(i * 7)
	}
	if err := jpeg.Encode(&b, plate, &jpeg.Options{Quality: 30}); err != nil {
		panic(err) // a buffer takes everything
	}
	return b.Bytes()
})

// inJSON returns a JSON payload.
func inJSON(v any) Payload {
	body, err := json.Marshal(v)
	if err != nil {
		panic(err) // the encoders' own values can be encoded
	}
	return Payload{"application/json", body}
}

// formPart is a part of a multipart body.
type formPart struct {
	name, file, contentType string
	body                    []byte
}

// inParts returns a multipart payload. The boundary is one of many a camera could choose.
func inParts(boundary string, parts ...formPart) Payload {
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	if err := w.SetBoundary(boundary); err != nil {
		panic(err)
	}
	for _, p := range parts {
		header := textproto.MIMEHeader{}
		disposition := fmt.Sprintf(`form-data; name="%s"`, p.name)
		if p.file != "" {
			disposition += fmt.Sprintf(`; filename="%s"`, p.file)
		}
		header.Set("Content-Disposition", disposition)
		if p.contentType != "" {
			header.Set("Content-Type", p.contentType)
		}
		part, err := w.CreatePart(header)
		if err != nil {
			panic(err) // a buffer takes everything
		}
		_, _ = part.Write(p.body)
	}
	_ = w.Close()
	return Payload{w.FormDataContentType(), b.Bytes()}
}
