package summary

import (
	"context"

	"parkstream/shared/parking"
	"parkstream/shared/site"
	"parkstream/shared/stay"
)

// shownStay is a stay as responses have it: as the principal sees it, with the method of an
// exact one, which is not stored, and what the policy of the site makes of it.
type shownStay struct {
	stay.StoredStay
	billing site.Billing // "": there is nothing to bill
}

// stayPage is a [stay.Page] of them.
type stayPage struct {
	Stays []shownStay `json:"stays"`
	Next  string      `json:"next"`
}

// show returns stays as responses have them, and the configuration of their sites.
func (h handler) show(ctx context.Context, stays []stay.StoredStay) ([]shownStay, map[string]site.Site, error) {
	shown, sites := make([]shownStay, len(stays)), make(map[string]site.Site)
	for i := range stays {
		k := &stays[i]
		config, known := sites[k.Site]
		if !known {
			var err error
			if config, err = h.Registry.Site(ctx, k.Site); err != nil {
				return nil, nil, err
			}
			sites[k.Site] = config
		}
		shown[i] = shownStay{maskOf(ctx).stay(*k), config.Policy.Billing(&k.Stay)}
		if shown[i].Method() == parking.Exact && shown[i].Match == nil {
			shown[i].Match = &parking.Explanation{Method: parking.Exact}
		}
	}
	return shown, sites, nil
}

// MarshalJSON returns the JSON of the stay with billing added.
func (k shownStay) MarshalJSON() ([]byte, error) {
	text, err := k.StoredStay.MarshalJSON()
	if err != nil {
		return nil, err
	}
	text = append(text[:len(text)-1], `,"billing":`...)
	if k.billing == "" {
		return append(text, `null}`...), nil
	}
	return append(append(append(text, '"'), k.billing...), `"}`...), nil
}
