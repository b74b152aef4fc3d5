package openfaas

import (
	"strings"
	"testing"
)

func TestTopicsOfOtherConnectorsAreLeftAlone(t *testing.T) {
	cron := []string{"cron-function"}
	for _, tt := range []struct {
		topics          Topics
		annotation      string
		queues, foreign string
	}{
		{Topics{nil, cron}, "vehicle_exits, vehicle_entries,vehicle_exits", "vehicle_entries vehicle_exits", ""},
		{Topics{nil, cron}, "cron-function", "", "cron-function"},
		{Topics{nil, nil}, "cron-function", "cron-function", ""},
		{Topics{[]string{"vehicle_*"}, cron}, "orders,vehicle_entries,,", "vehicle_entries", "orders"},
		{Topics{[]string{"vehicle_entries", "a?"}, cron}, "a1,a12,vehicle_entries", "a1 vehicle_entries", "a12"},
		{Topics{[]string{"*"}, []string{"cron-*", "kafka.*"}}, "cron-function,kafka.orders,orders", "orders", "cron-function kafka.orders"},
		{Topics{[]string{`[ab]*`, `a\b`}, nil}, `[ab]x,ax,a\b`, `[ab]x a\b`, "ax"},
		{Topics{[]string{"site/*"}, nil}, "site/1/entries,sites", "site/1/entries", "sites"},
	} {
		queues, foreign := tt.topics.split(tt.annotation)
		if strings.Join(queues, " ") != tt.queues || strings.Join(foreign, " ") != tt.foreign {
			t.Errorf("%+v: %q has the queues %q and leaves %q", tt.topics, tt.annotation, queues, foreign)
		}
	}
}
