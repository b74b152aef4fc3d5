package access

import (
	"fmt"
	"net/http"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

var home, away = netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("198.51.100.7")

// fail makes the throttle count n failed logins, as soon as it allows them, and returns
// how long that took.
func (t *throttle) fail(name string, address netip.Addr, n int) time.Duration {
	start := time.Now()
	for range n {
		for one := newTry(name, address); ; {
			wait := t.begin(one)
			if wait == 0 {
				break
			}
			time.Sleep(wait) // the bubble's
		}
	}
	return time.Since(start)
}

// TestFailuresCostTime has how long some failed logins take at least, in a row and as fast
// as possible.
func TestFailuresCostTime(t *testing.T) {
	for _, tt := range []struct {
		n    int
		took time.Duration
	}{
		{0, 0},
		{5, 0},
		{6, time.Second},
		{7, 3 * time.Second},
		{8, 7 * time.Second},
		{9, 15 * time.Second},
		{15, 1023 * time.Second},
		{16, 1023*time.Second + 15*time.Minute},
		{20, 1023*time.Second + 5*15*time.Minute},
	} {
		synctest.Test(t, func(t *testing.T) {
			if took := newThrottle().fail("anna", home, tt.n); took != tt.took {
				t.Errorf("%d failures of a name at an address take %s, want %s", tt.n, took, tt.took)
			}
		})
	}
	synctest.Test(t, func(t *testing.T) {
		th := newThrottle()
		for i := range freeAtAddress {
			if took := th.fail(fmt.Sprint("user", i), home, 1); took != 0 {
				t.Errorf("name %d at an address waits %s", i, took)
			}
		}
		for i, want := range []time.Duration{time.Second, 2 * time.Second, 4 * time.Second} {
			if took := th.fail(fmt.Sprint("more", i), home, 1); took != want {
				t.Errorf("name %d after the free ones waits %s, want %s", i, took, want)
			}
		}
	})
}

// Strangers who fail do not keep a user out of another address, however many they are.
// From each address they have one try more, and then wait.
func TestStrangersLockOutNoUser(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		th := newThrottle()
		th.fail("anna", away, 30)
		if wait := th.begin(newTry("anna", home)); wait != 0 {
			t.Errorf("one stranger makes the user wait %s", wait)
		}
		th.undo(newTry("anna", home), true)
		for i := range 1000 {
			th.fail("anna", netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 1)
		}
		if wait := th.begin(newTry("anna", home)); wait != 0 {
			t.Errorf("a thousand strangers make the user wait %s", wait)
		}
		th.undo(newTry("anna", home), true)
		stranger := newTry("anna", netip.MustParseAddr("10.1.0.0"))
		if first, second := th.begin(stranger), th.begin(stranger); first != 0 || second == 0 {
			t.Errorf("a new stranger waits %s and %s", first, second)
		}
		// An hour later all is forgotten.
		time.Sleep(forgetAfter)
		if first, second := th.begin(stranger), th.begin(stranger); first != 0 || second != 0 {
			t.Errorf("after an hour he waits %s and %s", first, second)
		}
	})
}

// Tries at the same time cannot all be the last free one.
func TestTriesAtOnce(t *testing.T) {
	th := newThrottle()
	var tries sync.WaitGroup
	var mu sync.Mutex
	free := 0
	for range 100 {
		tries.Go(func() {
			if th.begin(newTry("anna", home)) == 0 {
				mu.Lock()
				free++
				mu.Unlock()
			}
		})
	}
	tries.Wait()
	if free != freeTries {
		t.Errorf("%d tries at once are free", free)
	}
}

// A login between guesses at other names does not make these free.
func TestOwnLoginForgivesNoGuesses(t *testing.T) {
	th := newThrottle()
	own := newTry("mallory", home)
	for i := range freeAtAddress {
		if wait := th.begin(newTry(fmt.Sprint("user", i), home)); wait != 0 {
			t.Fatalf("guess %d waits %s", i, wait)
		}
		if i == freeAtAddress-1 {
			break
		}
		if wait := th.begin(own); wait != 0 {
			t.Fatalf("login %d waits %s", i, wait)
		}
		th.undo(own, true)
	}
	if wait := th.begin(newTry("one more", home)); wait == 0 {
		t.Error("the guess after the free ones does not wait")
	}
}

// One caller has a whole network of 64 bits of IPv6.
func TestAddressesOfATry(t *testing.T) {
	for _, tt := range []struct {
		one, two string
		same     bool
	}{
		{"192.0.2.1", "192.0.2.2", false},
		{"2001:db8::1", "2001:db8::ffff:1", true},
		{"2001:db8:0:1::1", "2001:db8::1", false},
	} {
		one, two := newTry("a", netip.MustParseAddr(tt.one)), newTry("a", netip.MustParseAddr(tt.two))
		if (one == two) != tt.same {
			t.Errorf("%s and %s count as one: %t", tt.one, tt.two, !tt.same)
		}
	}
	if newTry("a", netip.Addr{}) == newTry("a", home) {
		t.Error("a try without an address is one from home")
	}
}

// Whatever strangers send, what is remembered is bounded, and no wait is longer than the
// longest.
func TestThrottleIsBounded(t *testing.T) {
	th := newThrottle()
	for i := range maxThrottled + 100 {
		th.begin(newTry(fmt.Sprint(i), netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})))
	}
	for what, f := range map[string]failures{"pairs": th.pairs, "addresses": th.addresses, "names": th.names} {
		if n := f.lru.Len(); n != maxThrottled {
			t.Errorf("%d %s are remembered", n, what)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		th := newThrottle()
		for range rapid.IntRange(0, 200).Draw(t, "steps") {
			one := newTry(rapid.SampledFrom([]string{"", "a", "b"}).Draw(t, "name"), rapid.SampledFrom([]netip.Addr{home, away, {}}).Draw(t, "address"))
			wait := th.begin(one)
			if wait < 0 || wait > maxWait {
				t.Fatalf("a wait of %s", wait)
			}
			if wait == 0 && rapid.Bool().Draw(t, "undo") {
				th.undo(one, rapid.Bool().Draw(t, "success"))
			}
			for _, f := range []failures{th.pairs, th.addresses, th.names} {
				for _, found := range f.lru.Values() {
					if found.n <= 0 {
						t.Fatalf("%d failures are remembered", found.n)
					}
				}
			}
		}
	})
	for n := range 100 {
		if wait := waitAfter(n); wait < firstWait || wait > maxWait {
			t.Errorf("after %d failures %s", n, wait)
		}
	}
}

// TestThrottledLogins is the throttle behind requests.
func TestThrottledLogins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGuard(t)
		g.write(t, "users", someUsers(t))
		from := func(address, credentials string) (int, *http.Request) {
			r := request(http.MethodGet, credentials)
			r.RemoteAddr = address + ":1234"
			status, _ := answer(t, g.Guard, r, Read)
			return status, r
		}
		is := func(what string, want int, address, credentials string) {
			t.Helper()
			if got, _ := from(address, credentials); got != want {
				t.Errorf("%s: %d, want %d", what, got, want)
			}
		}
		right := basic("vera", "vera's")
		is("a right password", 200, "192.0.2.1", right)
		for i := range freeTries {
			is(fmt.Sprint("wrong password ", i), 401, "198.51.100.7", basic("vera", fmt.Sprint("guess", i)))
			is(fmt.Sprint("wrong password of no user ", i), 401, "198.51.100.7", basic("nemo", fmt.Sprint("guess", i)))
		}
		is("a throttled guess", 429, "198.51.100.7", basic("vera", "guess"))
		is("a throttled guess of no user", 429, "198.51.100.7", basic("nemo", "guess"))
		// Otherwise a stranger could guess without a limit at what is remembered.
		is("a throttled right password", 429, "198.51.100.7", right)
		is("the user elsewhere", 200, "192.0.2.1", right)
		is("another user there", 200, "198.51.100.7", basic("ada", "ada's"))
		is("a token there", 200, "198.51.100.7", "Bearer "+annaToken+" 20 bytes")
		for range 100 {
			is("a wrong token there", 401, "198.51.100.7", "Bearer guess")
		}
		for range 20 {
			from("198.51.100.7", basic("vera", "guess"))
		}
		time.Sleep(firstWait) // the bubble's; the refused ones do not count
		is("the right password after the wait", 200, "198.51.100.7", right)

		// An address with guesses at many names does not lock out who is logged in there.
		for i := range freeAtAddress {
			from("198.51.100.7", basic(fmt.Sprint("user", i), "guess"))
		}
		is("a guess at one name more", 429, "198.51.100.7", basic("another", "guess"))
		is("a login that is remembered", 200, "198.51.100.7", right)
	})
}

// A remembered password is not hashed again for five minutes, unless its hash changes.
func TestRememberedPasswords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGuard(t)
		g.write(t, "users", someUsers(t))
		for range maxHashing { // each hash would wait for one of these, and then fail
			g.passwords.hashing <- struct{}{}
		}
		free := func() {
			for range maxHashing {
				<-g.passwords.hashing
			}
		}
		get := func(credentials string) int {
			status, _ := answer(t, g.Guard, request(http.MethodGet, credentials), Read)
			return status
		}
		if status := get(basic("vera", "vera's")); status != 503 {
			t.Errorf("a password that cannot be hashed: %d", status)
		}
		free()
		if status := get(basic("vera", "vera's")); status != 200 {
			t.Errorf("the password: %d", status)
		}
		for range maxHashing {
			g.passwords.hashing <- struct{}{}
		}
		if status := get(basic("vera", "vera's")); status != 200 {
			t.Errorf("the remembered password: %d", status)
		}
		if status := get(basic("vera", "another")); status != 503 {
			t.Errorf("another password: %d", status)
		}
		time.Sleep(rememberFor) // the bubble's
		if status := get(basic("vera", "vera's")); status != 503 {
			t.Errorf("the password after five minutes is remembered: %d", status)
		}
		free()
		get(basic("vera", "vera's"))
		g.write(t, "users", fmt.Sprintf(`{"name":"vera","role":"viewer","password":%q}`, hash(t, "another")))
		if old, other := get(basic("vera", "vera's")), get(basic("vera", "another")); old != 401 || other != 200 {
			t.Errorf("after a change the old password gets %d, the new one %d", old, other)
		}
		g.write(t, "users", "# none\n"+fmt.Sprintf(`{"name":"ada","role":"viewer","password":%q}`, hash(t, "another")))
		if status := get(basic("vera", "another")); status != 401 {
			t.Errorf("a removed user: %d", status)
		}
	})
	p := newPasswords()
	for i := range maxRemembered + 10 {
		p.remember(p.digest(login{name: fmt.Sprint(i)}))
	}
	if n := p.right.Len(); n != maxRemembered {
		t.Errorf("%d passwords are remembered", n)
	}
	if p.digest(login{name: "ab", password: "c"}) == p.digest(login{name: "a", password: "bc"}) {
		t.Error("two logins have one digest")
	}
}

// Logins wait for their turn up to a bound. The same one at the same time is one hash.
func TestLoginsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGuard(t)
		g.write(t, "users", someUsers(t))
		for range maxHashing {
			g.passwords.hashing <- struct{}{}
		}
		statuses := make(chan int, 1000)
		var logins sync.WaitGroup
		login := func(address, password string) {
			logins.Go(func() {
				r := request(http.MethodGet, basic("vera", password))
				r.RemoteAddr = address + ":1"
				status, _ := answer(t, g.Guard, r, Read)
				statuses <- status
			})
		}
		const most = maxHashing + maxWaiting
		for range 100 {
			login("192.0.2.1", "vera's")
		}
		for i := range most + 9 {
			login(fmt.Sprintf("10.0.0.%d", i), "guess")
		}
		synctest.Wait()
		if n := len(g.passwords.waiting); n != most {
			t.Errorf("%d logins wait", n)
		}
		for range maxHashing {
			<-g.passwords.hashing
		}
		logins.Wait()
		close(statuses)
		got := make(map[int]int)
		for status := range statuses {
			got[status]++
		}
		// The hundred are one of those that wait, unless it came too late.
		if got[429] != 10 || got[401] != most-1 || got[200] != 100 {
			if got[429] != 109 || got[401] != most || got[200] != 0 {
				t.Errorf("statuses %v", got)
			}
		}
	})
}
