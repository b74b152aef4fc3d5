package system

import (
	"slices"
	"testing"

	"github.com/openfaas/faas-provider/types"
)

// The connector serves the topics of the stack file and no others.
func TestConnectorTopics(t *testing.T) {
	function := func(name string, annotations map[string]string) types.FunctionDeployment {
		return types.FunctionDeployment{Service: name, Annotations: &annotations}
	}
	for _, tt := range []struct {
		name      string
		functions []types.FunctionDeployment
		want      string
	}{
		{"no function", nil, ""},
		{"no topic", []types.FunctionDeployment{{Service: "summary"}, function("generator", map[string]string{"schedule": "* * * * *"})}, ""},
		{"some, one twice", []types.FunctionDeployment{
			function("b", map[string]string{"topic": "exits"}),
			{Service: "summary"},
			function("a", map[string]string{"topic": "entries"}), function("c", map[string]string{"topic": "exits"}),
		}, "exits,entries"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, err := New(Config{Dir: t.TempDir(), Functions: tt.functions, Say: t.Logf})
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = s.Stop() }()
			if got := s.connectorCommand().Env; !slices.Contains(got, "TOPICS="+tt.want) {
				t.Errorf("the environment is %q, want one with TOPICS=%s", got, tt.want)
			}
		})
	}
}
