package camera

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"parkstream/shared/site"
)

// Small values, nested values and attributes cost many times their text, in any format
// and also when nothing recognises them.
func TestWhatCostsMoreThanItsText(t *testing.T) {
	const many = 150_000
	deep := strings.Repeat(`{"candidates":[`, 40) + strings.Repeat("]}", 40)
	bodies := map[string]string{
		"members":              `{` + strings.Repeat(`"m":1,`, many) + `"n":1}`,
		"elements":             `{"data_type":"alpr_group","candidates":[` + strings.Repeat(`{},`, many) + `{}]}`,
		"a list":               `[` + strings.Repeat(`1,`, many) + `1]`,
		"objects one by one":   strings.Repeat(`{}`, many),
		"nested":               `{"data_type":"alpr_group","best_plate":` + deep + `}`,
		"nested in a second":   "--b\r\n\r\n<EventNotificationAlert/>\r\n--b\r\n\r\n" + `{"ANPR":[` + strings.Repeat(`{},`, many) + "{}]}\r\n--b--\r\n",
		"attributes":           `<EventNotificationAlert ` + strings.Repeat(`a="" `, many) + `/>`,
		"attributes with ends": `<EventNotificationAlert ` + strings.Repeat(`a=">" `, many) + `/>`,
		"attributes further":   `<!-- > --><EventNotificationAlert><![CDATA[>]]><a ` + strings.Repeat(`a='>"' `, many) + `/></EventNotificationAlert>`,
		"declaration":          `<?xml ` + strings.Repeat(`a="" `, many) + `?><EventNotificationAlert/>`,
	}
	for name, body := range bodies {
		for _, format := range Names() {
			r := Request{Header: http.Header{}, Body: []byte(body), Received: received}
			if strings.HasPrefix(body, "--") {
				if format != "hikvision" {
					continue
				}
				r.Header.Set("Content-Type", "multipart/form-data; boundary=b")
				r.Body = []byte(strings.Replace(body, "<EventNotificationAlert/>", "<EventNotificationAlert><eventType>VMD</eventType></EventNotificationAlert>", 1))
			}
			_, _, err := Parse(r, site.Camera{ID: "gate-1", Site: "north", Format: format})
			isXML := body[0] == '<'
			reads := format == site.Auto || isXML == (format == "hikvision") || format == "hikvision"
			if reads && !errors.Is(err, ErrMalformed) || err == nil {
				t.Errorf("%s as %s: %v, want ErrMalformed", name, format, err)
			}
		}
	}
}

// A picture is large and costs what it is.
func TestLargePicturesAreWithinTheBounds(t *testing.T) {
	picture := strings.Repeat("A", 1<<20)
	for name, body := range map[string]string{
		"JSON":  `{"plate":"B-PS 1","time":"2026-07-01T08:00:00Z","direction":"entry","image":"` + picture + `"}`,
		"XML":   `<AutoVu><Plate>B-PS 1</Plate><ContextImage>` + picture + `</ContextImage></AutoVu>`,
		"CDATA": `<AutoVu><Plate>B-PS 1</Plate><ContextImage><![CDATA[` + picture + `]]></ContextImage></AutoVu>`,
	} {
		_, m, err := Parse(Request{Body: []byte(body), Received: received}, site.Camera{ID: "gate-1", Site: "north", Role: site.Entries})
		if err != nil || len(m.Reads) != 1 {
			t.Errorf("%s: %d reads, %v", name, len(m.Reads), err)
		}
	}
}
