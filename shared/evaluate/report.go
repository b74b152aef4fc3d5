package evaluate

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"parkstream/shared/parking"
)

// Report is the public form of counts.
type Report struct {
	Near   Issued      `json:"near"`
	Exact  ExactReport `json:"exact"`
	Recall struct {
		BothReads float64 `json:"both_reads"`
		All       float64 `json:"all"`
	} `json:"recall"`
	// Visits are what recall counts.
	Visits struct {
		BothReads Visits `json:"both_reads"`
		All       Visits `json:"all"`
	} `json:"visits"`
	Methods map[parking.Method]Issued `json:"methods"`
	// Margins are near stays by the lower end of their band, in nats.
	Margins []MarginReport `json:"margins"`
	// Missed are visits with both reads that have no stay of their own, by the edits
	// between the plates of the two: 0, 1, 2, and more.
	Missed [MostEdits + 1]int `json:"missed_by_edits"`
	Money  MoneyReport        `json:"money"`
	// UnknownReads are scored stays with a read that the truth lacks. They count as wrong.
	UnknownReads int `json:"unknown_reads"`
}

// ExactReport are the exact stays.
type ExactReport struct {
	Issued
	Undisputed          int `json:"undisputed"`
	UndisputedSameVisit int `json:"undisputed_same_visit"`
}

// MarginReport are the near stays of a band.
type MarginReport struct {
	From float64 `json:"from"`
	Issued
}

// MoneyReport is what is charged wrongly at a tariff for each started hour.
type MoneyReport struct {
	Tariff float64 `json:"tariff"`
	// WrongPer1000 is what is charged too much and too little, of 1,000 stays.
	WrongPer1000 struct {
		Exact      float64 `json:"exact"`
		Undisputed float64 `json:"undisputed"`
		Near       float64 `json:"near"`
	} `json:"wrong_per_1000_stays"`
	Exact      Hours `json:"exact_hours"`
	Undisputed Hours `json:"undisputed_hours"`
	Near       Hours `json:"near_hours"`
	// Uncharged are the hours due of visits whose exit has no stay with an entry.
	Uncharged int `json:"uncharged_hours"`
}

// Report returns the public form, with money at a tariff for each started hour.
func (c *Counts) Report(tariff float64) *Report {
	r := &Report{
		Near: c.Near, Exact: ExactReport{c.Exact, c.Undisputed.Issued, c.Undisputed.SameVisit},
		Methods: c.Method, Missed: c.Missed, UnknownReads: c.UnknownReads,
		Money: MoneyReport{Tariff: tariff, Exact: c.ExactHours, Undisputed: c.UndisputedHours, Near: c.NearHours, Uncharged: c.Uncharged},
	}
	r.Recall.BothReads, r.Recall.All = c.BothReads.Recall(), c.All.Recall()
	r.Visits.BothReads, r.Visits.All = c.BothReads, c.All
	for _, band := range Bands {
		if n := c.Margin[band]; n.Issued > 0 {
			r.Margins = append(r.Margins, MarginReport{float64(band) / 100, n})
		}
	}
	wrong := &r.Money.WrongPer1000
	wrong.Exact, wrong.Undisputed, wrong.Near = c.ExactHours.Wrong(tariff), c.UndisputedHours.Wrong(tariff), c.NearHours.Wrong(tariff)
	return r
}

// WriteText writes the report for people.
func (r *Report) WriteText(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 3, ' ', tabwriter.AlignRight)
	row := func(cells ...string) { fmt.Fprintf(t, "%s\t\n", strings.Join(cells, "\t")) }
	issued := func(name string, n Issued) {
		row(name, fmt.Sprint(n.Issued), fmt.Sprint(n.Issued-n.SameCar), ratio(n.SameCar, n.Issued), fmt.Sprint(n.Issued-n.SameVisit), ratio(n.SameVisit, n.Issued))
	}
	row("STAYS", "issued", "other car", "precision", "other visit", "precision")
	issued("near", r.Near)
	for _, m := range parking.Methods() {
		if n := r.Methods[m]; n.Issued > 0 && m != parking.Exact && m != parking.Corrected {
			issued(string(m), n)
		}
	}
	issued("exact", r.Exact.Issued)
	row("undisputed", fmt.Sprint(r.Exact.Undisputed), "", "", fmt.Sprint(r.Exact.Undisputed-r.Exact.UndisputedSameVisit), ratio(r.Exact.UndisputedSameVisit, r.Exact.Undisputed))
	for i, m := range r.Margins {
		name := fmt.Sprintf("margin %.1f", m.From)
		if i+1 == len(r.Margins) {
			name += " and more"
		}
		issued(name, m.Issued)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	var unknown string
	if r.UnknownReads > 0 {
		unknown = fmt.Sprintf("Of %d stays the truth does not know both reads; they count as wrong.\n", r.UnknownReads)
	}
	_, err := fmt.Fprintf(w, "%sRecall: %s of %d visits with both reads, %s of all %d. Missed by edits between the reads: none %d, one %d, two %d, more %d.\n"+
		"Wrong money per 1,000 stays at %.2f for each started hour: exact %.2f, undisputed %.2f, near %.2f. Not charged at all: %d hours.\n",
		unknown, ratio(r.Visits.BothReads.Right, r.Visits.BothReads.Visits), r.Visits.BothReads.Visits, ratio(r.Visits.All.Right, r.Visits.All.Visits), r.Visits.All.Visits,
		r.Missed[0], r.Missed[1], r.Missed[2], r.Missed[3],
		r.Money.Tariff, r.Money.WrongPer1000.Exact, r.Money.WrongPer1000.Undisputed, r.Money.WrongPer1000.Near, r.Money.Uncharged)
	return err
}

// ratio writes a share with four digits.
func ratio(part, of int) string {
	if of == 0 {
		return "-"
	}
	return fmt.Sprintf("%.4f", share(part, of))
}
