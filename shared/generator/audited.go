package generator

import (
	"context"
	"fmt"

	"parkstream/shared/access"
	"parkstream/shared/audit"
	"parkstream/shared/failure"
)

// audited is generateInTime for a run that is recorded in the audit if a person asks for
// it. A run of cron is not recorded.
func (e *endpoint) audited(ctx context.Context, r run) (t counts, err error) {
	by := access.From(ctx)
	if r.byCron || !audit.Person(by) {
		return e.generateInTime(ctx, r)
	}
	entry := audit.By(by, audit.Generate)
	entry.Site = r.site
	entry.Object = fmt.Sprintf("%d of type %s", r.count, e.kind)
	end, err := e.Audit.Begin(ctx, entry)
	if err != nil {
		return t, failure.In("the audit", err)
	}
	t, err = e.generateInTime(ctx, r)
	end(audit.Change{After: fmt.Sprintf("%d published", t.published)}, err)
	return t, err
}
