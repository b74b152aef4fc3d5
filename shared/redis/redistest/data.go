// Package redistest helps tests of stores to compare the contents of Redis.
package redistest

import (
	"strconv"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
)

// Load runs commands, one a line, with words quoted as in Go. Testdata from earlier
// versions is kept in this form.
func Load(t testing.TB, client redis.UniversalClient, commands string) {
	t.Helper()
	for line := range strings.Lines(commands) {
		var words []any
		for rest := strings.TrimSpace(line); rest != ""; rest = strings.TrimSpace(rest) {
			quoted, err := strconv.QuotedPrefix(rest)
			if err != nil {
				t.Fatalf("%s: %v", rest, err)
			}
			rest = rest[len(quoted):]
			word, err := strconv.Unquote(quoted)
			if err != nil {
				t.Fatalf("%s: %v", quoted, err)
			}
			words = append(words, word)
		}
		if err := client.Do(t.Context(), words...).Err(); err != nil {
			t.Fatalf("%q: %v", words, err)
		}
	}
}

// Contents returns what each key holds, without when it expires.
func Contents(t testing.TB, client redis.UniversalClient) map[string]any {
	t.Helper()
	names, err := client.Keys(t.Context(), "*").Result()
	if err != nil {
		t.Fatal(err)
	}
	held := make(map[string]any)
	for _, key := range names {
		switch kind := client.Type(t.Context(), key).Val(); kind {
		case "hash":
			held[key] = client.HGetAll(t.Context(), key).Val()
		case "zset":
			held[key] = client.ZRangeWithScores(t.Context(), key, 0, -1).Val()
		case "list":
			held[key] = client.LRange(t.Context(), key, 0, -1).Val()
		case "stream":
			held[key] = client.XRange(t.Context(), key, "-", "+").Val()
		default:
			t.Fatalf("%s is a %s", key, kind)
		}
	}
	return held
}
