package redis

import (
	"testing"

	"parkstream/shared/instance/instancetest"
)

// A call has an error even if no connection can be opened. The commands of the pipeline
// have none then.
func TestWithoutRedis(t *testing.T) {
	node := instancetest.Redis(t)
	client, err := Open(URL(node.URL()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if err := client.Current().Ping(t.Context()).Err(); err != nil {
		t.Error(err)
	}
	if err := node.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := client.Current().Ping(t.Context()).Err(); err == nil {
		t.Error("a ping of a dead Redis succeeds")
	}
	call := Call{Script: NewScript("return 'done'")}
	client.Run(t.Context(), &call)
	if text, err := call.Text(); err == nil {
		t.Errorf("a call of a dead Redis answers %q", text)
	}
}
