package evaluate

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"time"

	"parkstream/shared/parking"
)

// Row is a row of the table of a page: a scenario with three kinds of cameras.
type Row struct {
	Scenario string
	Inside   int
	Seeds    int
	Cameras  [3]*Counts // in the order of Cameras
}

// Cameras are what the cameras of a row tell besides the plate, as parts of names of
// scenarios.
var Cameras = [3]struct{ Suffix, Name string }{{"", "text only"}, {"+lists", "with candidate lists"}, {"+lists+looks", "with make and colour, too"}}

// The generated part of a page stands between two lines.
const (
	markBegin = "<!-- evaluate:begin -->"
	markEnd   = "<!-- evaluate:end -->"
)

// Page replaces the generated part of a page. how tells how it was measured.
func Page(page []byte, how string, rows []Row, tariff float64) ([]byte, error) {
	before, rest, found := bytes.Cut(page, []byte(markBegin))
	_, after, ended := bytes.Cut(rest, []byte(markEnd))
	if !found || !ended {
		return nil, errors.New("the page has no place for the tables: it needs a line " + markBegin + " and after it one " + markEnd)
	}
	var out bytes.Buffer
	out.Write(before)
	fmt.Fprintf(&out, "%s\n%s\n", markBegin, how)
	near(&out, rows)
	exact(&out, rows, tariff)
	bands(&out, rows)
	out.WriteString("\n" + markEnd)
	out.Write(after)
	return out.Bytes(), nil
}

// scenario returns the name of a row.
func (r *Row) scenario() string {
	return fmt.Sprintf("%s, %s inside, %d car parks", r.Scenario, thousands(r.Inside), r.Seeds)
}

// header writes the first two lines of a table.
func header(out *bytes.Buffer, cells ...string) {
	fmt.Fprintf(out, "| %s |\n|---|%s\n", strings.Join(cells, " | "), strings.Repeat("---:|", len(cells)-1))
}

func near(out *bytes.Buffer, rows []Row) {
	out.WriteString("\n### Near stays: other cars of issued, precision (of visits); recall (of all visits)\n\n")
	cells := []string{"scenario"}
	for _, c := range Cameras {
		cells = append(cells, c.Name)
	}
	header(out, cells...)
	var all [3]Counts
	for i := range rows {
		fmt.Fprintf(out, "| %s |", rows[i].scenario())
		for camera, c := range rows[i].Cameras {
			fmt.Fprintf(out, " %s; %s (%s) |", precision(c.Near), digits(c.BothReads.Recall(), c.BothReads.Visits), digits(c.All.Recall(), c.All.Visits))
			all[camera].Add(c)
		}
		out.WriteString("\n")
	}
	out.WriteString("| **together** |")
	for camera := range all {
		fmt.Fprintf(out, " **%s** |", precision(all[camera].Near))
	}
	out.WriteString("\n")
}

// precision writes wrong ones of all.
func precision(n Issued) string {
	if n.Issued == 0 {
		return "none"
	}
	return fmt.Sprintf("%d of %s, %s (%s)", n.Issued-n.SameCar, thousands(n.Issued), digits(n.Precision(), n.Issued), digits(n.Right(), n.Issued))
}

// digits writes a share without its zero, with four digits if it is one of many.
func digits(share float64, of int) string {
	if of < 1000 {
		return strings.TrimPrefix(fmt.Sprintf("%.3f", share), "0")
	}
	return strings.TrimPrefix(fmt.Sprintf("%.4f", share), "0")
}

func exact(out *bytes.Buffer, rows []Row, tariff float64) {
	fmt.Fprintf(out, "\n### Exact stays: of one visit, and wrong money per 1,000 stays (at %.2f), by cameras with candidate lists\n\n", tariff)
	header(out, "scenario", "exact", "undisputed", "disputed", "of them wrong", "split", "of them wrong", "wrong money: exact", "undisputed", "near")
	for i := range rows {
		c := rows[i].Cameras[1]
		split := c.Method[parking.Split]
		fmt.Fprintf(out, "| %s | %s of %s | %s of %s | %d | %d | %d | %d | %.0f | %.0f | %.0f |\n", rows[i].scenario(),
			digits(c.Exact.Right(), c.Exact.Issued), thousands(c.Exact.Issued), digits(c.Undisputed.Right(), c.Undisputed.Issued), thousands(c.Undisputed.Issued),
			c.Exact.Issued-c.Undisputed.Issued, c.Exact.Issued-c.Undisputed.Issued-(c.Exact.SameVisit-c.Undisputed.SameVisit), split.Issued, split.Issued-split.SameVisit,
			c.ExactHours.Wrong(tariff), c.UndisputedHours.Wrong(tariff), c.NearHours.Wrong(tariff))
	}
}

func bands(out *bytes.Buffer, rows []Row) {
	out.WriteString("\n### Near stays by method and by margin, all scenarios and cameras together: other cars, other visits of issued\n\n")
	var all Counts
	for i := range rows {
		for _, c := range rows[i].Cameras {
			all.Add(c)
		}
	}
	header(out, "near stays", "issued", "other car", "other visit", "precision", "of visits")
	line := func(name string, n Issued) {
		if n.Issued > 0 {
			fmt.Fprintf(out, "| %s | %s | %d | %d | %s | %s |\n", name, thousands(n.Issued), n.Issued-n.SameCar, n.Issued-n.SameVisit, digits(n.Precision(), n.Issued), digits(n.Right(), n.Issued))
		}
	}
	for _, m := range parking.Methods() {
		if m != parking.Exact && m != parking.Corrected {
			line(string(m), all.Method[m])
		}
	}
	for i, band := range Bands {
		name := fmt.Sprintf("margin %.1f and more", float64(band)/100)
		if i+1 < len(Bands) {
			name = fmt.Sprintf("margin %.1f to %.1f", float64(band)/100, float64(Bands[i+1])/100)
		}
		line(name, all.Margin[band])
	}
}

// thousands writes a number with commas.
func thousands(n int) string {
	text := fmt.Sprint(n)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

// How tells how the rows of a page were measured.
func How(model string, seed uint64, settle, took time.Duration) string {
	return fmt.Sprintf("Measured with `make evaluate`: the model is %s, the first seed %d, near stays are made %s after the exit. It took %s.", model, seed, settle, took.Round(time.Second))
}
