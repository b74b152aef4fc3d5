package deploy

import (
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"gopkg.in/yaml.v3"
)

// composeFile has only fields that docker-compose 1.29 knows, which refuses others,
// such as a top-level name.
type composeFile struct {
	Service    map[string]any `yaml:"x-service"`
	Parkstream map[string]any `yaml:"x-parkstream"`

	Services map[string]composeService `yaml:"services"`
	Volumes  map[string]struct{}       `yaml:"volumes"`
}

type composeService struct {
	Image string `yaml:"image"`
	Build struct {
		Context    string `yaml:"context"`
		Dockerfile string `yaml:"dockerfile"`
	} `yaml:"build"`
	User            string            `yaml:"user"`
	Hostname        string            `yaml:"hostname"`
	Init            bool              `yaml:"init"`
	Entrypoint      []string          `yaml:"entrypoint"`
	Command         []string          `yaml:"command"`
	Environment     map[string]string `yaml:"environment"`
	Restart         string            `yaml:"restart"`
	StopGracePeriod string            `yaml:"stop_grace_period"`
	NetworkMode     string            `yaml:"network_mode"`
	Ports           []string          `yaml:"ports"`
	MemLimit        string            `yaml:"mem_limit"`
	ReadOnly        bool              `yaml:"read_only"`
	CapDrop         []string          `yaml:"cap_drop"`
	SecurityOpt     []string          `yaml:"security_opt"`
	Tmpfs           []string          `yaml:"tmpfs"`
	Volumes         []composeVolume   `yaml:"volumes"`
	Logging         struct {
		Driver  string            `yaml:"driver"`
		Options map[string]string `yaml:"options"`
	} `yaml:"logging"`
	Healthcheck struct {
		Test        []string `yaml:"test"`
		Interval    string   `yaml:"interval"`
		Timeout     string   `yaml:"timeout"`
		Retries     int      `yaml:"retries"`
		StartPeriod string   `yaml:"start_period"`
	} `yaml:"healthcheck"`
	DependsOn map[string]struct {
		Condition string `yaml:"condition"`
	} `yaml:"depends_on"`
}

// composeVolume is a mount in the short form, which is for named volumes here, or in
// the long one.
type composeVolume struct {
	Type     string `yaml:"type"`
	Source   string `yaml:"source"`
	Target   string `yaml:"target"`
	ReadOnly bool   `yaml:"read_only"`
}

func (v *composeVolume) UnmarshalYAML(node *yaml.Node) error {
	if node.Kind == yaml.ScalarNode {
		v.Type = "volume"
		v.Source, v.Target, _ = strings.Cut(node.Value, ":")
		v.Target, v.ReadOnly = strings.CutSuffix(v.Target, ":ro")
		return nil
	}
	type long composeVolume // without this method
	return node.Decode((*long)(v))
}

func readCompose(t *testing.T, name string) composeFile {
	t.Helper()
	var file composeFile
	decoder := yaml.NewDecoder(strings.NewReader(read(t, name)))
	decoder.KnownFields(true)
	if err := decoder.Decode(&file); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	if len(file.Services) == 0 {
		t.Fatalf("%s has no services", name)
	}
	return file
}

var composeFiles = []string{"compose.yaml", "compose.full.yaml"}

// A variable that is missing has a default or is refused with a message: an empty one
// would be a folder in the machine's root or a port on any address.
func TestComposeVariables(t *testing.T) {
	for _, name := range composeFiles {
		text := strings.ReplaceAll(read(t, name), "$$", "")
		for line := range strings.Lines(text) {
			if strings.HasPrefix(line, "#") {
				continue
			}
			for _, m := range regexp.MustCompile(`\$(\{[^}]*\}?|.)`).FindAllStringSubmatch(line, -1) {
				if !regexp.MustCompile(`^\{PARKSTREAM_[A-Z_]+(:\?[a-zA-Z0-9 .]{10,}|:-[a-z0-9./:-]+)\}$`).MatchString(m[1]) {
					t.Errorf("%s: %s has neither a default nor a message with `:?`", name, m[0])
				}
			}
		}
	}
}

func TestComposeServices(t *testing.T) {
	for _, name := range composeFiles {
		file := readCompose(t, name)
		once := make(map[string]bool) // services that end
		for _, s := range file.Services {
			for on, d := range s.DependsOn {
				if _, ok := file.Services[on]; !ok || !slices.Contains([]string{"service_healthy", "service_completed_successfully"}, d.Condition) {
					t.Errorf("%s: a service depends on %s, condition %q", name, on, d.Condition)
				}
				once[on] = once[on] || d.Condition == "service_completed_successfully"
			}
		}
		for service, s := range file.Services {
			where := name + ": " + service
			for _, p := range s.Ports {
				if !regexp.MustCompile(`^127\.0\.0\.1:(\d+|\$\{\w+:\?[^}]+\}):\d+$`).MatchString(p) {
					t.Errorf("%s publishes %s, which is not on loopback", where, p)
				}
			}
			if !regexp.MustCompile(`^\d+[mg]$`).MatchString(s.MemLimit) {
				t.Errorf("%s has the memory limit %q", where, s.MemLimit)
			}
			switch {
			case once[service]:
				if s.Restart != "no" || len(s.Healthcheck.Test) > 0 {
					t.Errorf("%s ends, and has restart %q and the health check %q", where, s.Restart, s.Healthcheck.Test)
				}
			case len(s.Healthcheck.Test) < 2 || s.Healthcheck.Interval == "" || s.Healthcheck.Timeout == "" || s.Healthcheck.Retries == 0:
				t.Errorf("%s has the health check %+v", where, s.Healthcheck)
			case s.Restart != "on-failure" && s.Restart != "unless-stopped":
				t.Errorf("%s has restart %q", where, s.Restart)
			}
			for _, v := range s.Volumes {
				checkVolume(t, where, file, v)
			}
			if strings.HasSuffix(s.Image, ":latest}") || !regexp.MustCompile(`^\$\{\w+:-[^:]+:[0-9v][^:]*\}$`).MatchString(s.Image) {
				t.Errorf("%s has the image %s without a version", where, s.Image)
			}
		}
	}
}

// checkVolume reports a mount whose source is neither declared nor in the repository.
// Docker makes a folder of a missing source of the short form.
func checkVolume(t *testing.T, where string, file composeFile, v composeVolume) {
	t.Helper()
	switch {
	case !path.IsAbs(v.Target):
		t.Errorf("%s mounts %s at %q", where, v.Source, v.Target)
	case v.Type == "volume":
		if _, ok := file.Volumes[v.Source]; !ok {
			t.Errorf("%s mounts the volume %q, which is not declared", where, v.Source)
		}
	case v.Type != "bind" || !v.ReadOnly:
		t.Errorf("%s mounts %s as %q, read-only: %t", where, v.Source, v.Type, v.ReadOnly)
	case strings.HasPrefix(v.Source, "${"):
	case !strings.HasPrefix(v.Source, "./"):
		t.Errorf("%s mounts %q, which is neither a variable nor beside the file", where, v.Source)
	default:
		if _, err := os.Stat(v.Source); err != nil {
			t.Errorf("%s: %v", where, err)
		}
	}
}

// Containers of compose.full.yaml may do only what they need, and those on the host's
// network listen on loopback.
func TestComposeFullIsRestricted(t *testing.T) {
	file := readCompose(t, "compose.full.yaml")
	if got, want := slices.Sorted(maps.Keys(file.Services)), []string{"configs", "grafana", "parkstream", "prometheus", "rabbitmq", "redis", "secrets"}; !slices.Equal(got, want) {
		t.Errorf("services %q, want %q", got, want)
	}
	for name, s := range file.Services {
		if !slices.Equal(s.CapDrop, []string{"ALL"}) || !slices.Equal(s.SecurityOpt, []string{"no-new-privileges:true"}) || s.Logging.Options["max-size"] == "" {
			t.Errorf("%s drops %q, has the options %q and the log %+v", name, s.CapDrop, s.SecurityOpt, s.Logging)
		}
		// Whether RabbitMQ's image starts with a read-only root is not known.
		if s.ReadOnly != (name != "rabbitmq") {
			t.Errorf("the root of %s is read-only: %t", name, s.ReadOnly)
		}
	}
	for name, listens := range map[string]bool{
		// `parkstream up` has no option to listen elsewhere.
		"parkstream": file.Services["parkstream"].Command[0] == "up",
		"prometheus": slices.Contains(file.Services["prometheus"].Command, "--web.listen-address=127.0.0.1:9090"),
		"grafana":    file.Services["grafana"].Environment["GF_SERVER_HTTP_ADDR"] == "127.0.0.1",
	} {
		if s := file.Services[name]; s.NetworkMode != "host" || len(s.Ports) > 0 || !listens {
			t.Errorf("%s has the network %q, the ports %q and does not listen on loopback only: %q %q", name, s.NetworkMode, s.Ports, s.Command, s.Environment)
		}
	}
	for _, name := range []string{"rabbitmq", "redis"} {
		if s := file.Services[name]; s.NetworkMode != "" || s.User != "999:999" {
			t.Errorf("%s has the network %q and the user %q, who has to read its configuration", name, s.NetworkMode, s.User)
		}
	}
	// Each sees only its own secrets, and those that do not write them cannot.
	want := map[string]map[string]string{
		"secrets":          {"secrets": "rw", "configs": "ro", "parkstream": "rw"},
		"rabbitmq-config":  {"configs": "rw", "rabbitmq": "ro"},
		"redis-config":     {"configs": "rw", "redis": "ro"},
		"prometheus-token": {"configs": "rw", "prometheus": "ro"},
	}
	got := make(map[string]map[string]string)
	for name, s := range file.Services {
		for _, v := range s.Volumes {
			if _, secret := want[v.Source]; secret {
				if got[v.Source] == nil {
					got[v.Source] = make(map[string]string)
				}
				got[v.Source][name] = map[bool]string{false: "rw", true: "ro"}[v.ReadOnly]
			}
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("who sees which secrets (-want +got):\n%s", diff)
	}
}

// The image of compose.full.yaml is built from files that the builder is sent, for the
// user who reads the secrets.
func TestComposeFullImage(t *testing.T) {
	sent := read(t, "../.dockerignore")
	if tag := ":" + strings.TrimSpace(read(t, "../VERSION")) + "}"; !strings.Contains(read(t, "compose.full.yaml"), "/parkstream"+tag) {
		t.Errorf("the image's tag is not %s, as VERSION has it", tag)
	}
	for _, name := range []string{"secrets", "configs", "parkstream"} {
		s := readCompose(t, "compose.full.yaml").Services[name]
		for _, v := range s.Volumes { // a new volume is its user's
			if dockerfile := read(t, filepath.Join(s.Build.Context, s.Build.Dockerfile)); v.Target != "/data" && !strings.Contains(dockerfile, " "+v.Target+" ") {
				t.Errorf("the image has no folder %s", v.Target)
			}
		}
		dockerfile := read(t, filepath.Join(s.Build.Context, s.Build.Dockerfile))
		if !strings.Contains(dockerfile, "\nUSER 999:999\n") || !strings.Contains(dockerfile, "chown -R 999:999 /data\n") {
			t.Errorf("%s does not run as user 999 with a folder of its own", name)
		}
		for _, m := range regexp.MustCompile(`(?m)^COPY ([a-z.]+) `).FindAllStringSubmatch(dockerfile, -1) {
			if m[1] != "." && !strings.Contains(sent, "\n!"+m[1]+"\n") {
				t.Errorf("%s is copied into the image, and .dockerignore keeps it back", m[1])
			}
		}
	}
}

// A broker refuses publishers, and Redis writes, before the container's limit ends
// the process.
func TestComposeMemory(t *testing.T) {
	for _, name := range composeFiles {
		file := readCompose(t, name)
		m := regexp.MustCompile(`^-rabbit vm_memory_high_watermark \{absolute,(\d+)\}$`).FindStringSubmatch(file.Services["rabbitmq"].Environment["RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS"])
		if m == nil || bytesOf(t, m[1])*10 > bytesOf(t, file.Services["rabbitmq"].MemLimit)*6 {
			t.Errorf("%s: RabbitMQ's watermark is %q of %s", name, m, file.Services["rabbitmq"].MemLimit)
		}
		command := file.Services["redis"].Command
		i := slices.Index(command, "--maxmemory")
		if i < 0 || bytesOf(t, command[i+1])*2 > bytesOf(t, file.Services["redis"].MemLimit) {
			t.Errorf("%s: Redis is started with %q in %s", name, command, file.Services["redis"].MemLimit)
		}
	}
}

// bytesOf reads a size with the units that compose and Redis share.
func bytesOf(t *testing.T, size string) int {
	t.Helper()
	unit := 1
	for suffix, n := range map[string]int{"m": 1 << 20, "mb": 1 << 20, "g": 1 << 30, "gb": 1 << 30} {
		if digits, ok := strings.CutSuffix(size, suffix); ok {
			size, unit = digits, n
			break
		}
	}
	n, err := strconv.Atoi(size)
	if err != nil {
		t.Fatal(err)
	}
	return n * unit
}
