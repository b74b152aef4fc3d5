package redis

import (
	"fmt"
	"strings"
	"testing"
)

func TestOpen(t *testing.T) {
	for url, want := range map[string]string{
		"redis://localhost:6379/2":    "*redis.Client",
		"rediss://u:p@localhost:6379": "*redis.Client",
		"redis+sentinel://localhost:26379/0?master_name=m&addr=localhost:26380": "*redis.Client",
		"redis+cluster://localhost:7000?addr=localhost:7001":                    "*redis.ClusterClient",
	} {
		client, err := Open(URL(url))
		if err != nil {
			t.Errorf("Open(%q): %v", url, err)
			continue
		}
		if got := fmt.Sprintf("%T", client.Current()); got != want {
			t.Errorf("Open(%q) is a %s, want %s", url, got, want)
		}
		_ = client.Close()
	}
	for _, url := range []string{
		"", "localhost:6379", "http://u:geheim@h", "redis+sentinel://u:geheim@h", "redis+ring://u:geheim@h",
		"redis://u:geheim%zz@h", "redis://u:geheim@h/x", "redis://u:geheim@h?nonsense=1",
	} {
		client, err := Open(URL(url))
		if err == nil {
			t.Errorf("Open(%q) gave a client", url)
			_ = client.Close()
			continue
		}
		if strings.Contains(err.Error(), "geheim") {
			t.Errorf("the error shows the password: %v", err)
		}
	}
}
