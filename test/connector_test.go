package test

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"gopkg.in/yaml.v3"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
	kubernetes "sigs.k8s.io/yaml"

	"parkstream/connectors/rabbitmq"
	"parkstream/shared/eventually"
	"parkstream/shared/parking"
)

// connectorUser is whom the connector's image runs as.
const connectorUser = 12000

// connectorSecrets are the secrets that the connector reads in every deployment.
var connectorSecrets = []string{"basic-auth-password", "basic-auth-user", "connector-token", "rabbitmq-url"}

// deployment is one of the ways in which deploy/ runs the connector.
type deployment struct {
	name    string
	image   string // empty when there is none
	environ map[string]string
	args    []string
	secrets []string // names of the files in SECRETS_DIR
	grace   time.Duration
	port    string // of health and metrics
	live    string // paths of the probes
	ready   string
}

// TestConnectorDeployments runs the connector of the image with what each of the
// files in deploy/ gives it, against a real gateway and broker: an event is done,
// and SIGTERM ends it cleanly.
func TestConnectorDeployments(t *testing.T) {
	image := connectorImage(t)
	s := startSystem(t, t.TempDir(), "--no-connector", "--no-cron")
	for _, d := range []deployment{onKubernetes(t), onFaasd(t), bySystemd(t)} {
		t.Run(d.name, func(t *testing.T) {
			c := d.start(t, s, image)
			eventually.Succeeds(t, "the connector is ready", func() error { return c.probe(d.ready, http.StatusOK) })
			if err := errors.Join(c.probe(d.live, http.StatusOK), c.probe("/metrics", http.StatusOK)); err != nil {
				t.Error(err)
			}
			plate, now := "KA01"+strings.ToUpper(d.name)[:2]+"1234", time.Now().UTC()
			ch := s.dial(t)
			publish(t, ch, "vehicle_entries", fmt.Appendf(nil, `{"id":"e-%s","vehicle_plate":%q,"entry_date_time":%q}`, d.name, plate, now.Add(-time.Hour).Format(time.RFC3339)))
			publish(t, ch, "vehicle_exits", fmt.Appendf(nil, `{"id":"x-%s","vehicle_plate":%q,"exit_date_time":%q}`, d.name, plate, now.Format(time.RFC3339)))
			eventually.Succeeds(t, "the stay is completed", func() error {
				stays := s.stays(t, url.Values{"plate": {plate}})
				if len(stays) != 1 || stays[0].Status() != parking.Completed {
					return fmt.Errorf("stays of %s: %v", plate, stays)
				}
				return nil
			})
			c.stop(t)
			for _, secret := range []string{s.secret(t, "basic-auth-password"), s.secret(t, "rabbitmq-url")} {
				if strings.Contains(c.log.String(), secret) {
					t.Error("a secret is in the log")
				}
			}
			if !strings.Contains(c.log.String(), image.version) || !strings.Contains(c.log.String(), image.revision) {
				t.Errorf("the log does not tell version %s and revision %s:\n%s", image.version, image.revision, c.log)
			}
		})
	}
}

// TestConnectorFiles checks the files in deploy/ that run the connector.
func TestConnectorFiles(t *testing.T) {
	for _, read := range []func(*testing.T) deployment{onKubernetes, onFaasd, bySystemd} {
		d := read(t)
		t.Run(d.name, d.check)
	}
}

// check compares what a deployment states twice, or repeats from the program.
func (d deployment) check(t *testing.T) {
	t.Helper()
	settings, err := rabbitmq.SettingsFrom(d.list())
	if err != nil {
		t.Errorf("settings: %v", err)
	}
	if d.grace < settings.DrainTimeout+5*time.Second {
		t.Errorf("it is killed after %s, and drains for up to %s", d.grace, settings.DrainTimeout)
	}
	if _, port, err := net.SplitHostPort(d.environ["LISTEN"]); err != nil || port != d.port {
		t.Errorf("LISTEN is %q, the port is %s", d.environ["LISTEN"], d.port)
	}
	if slices.Sort(d.secrets); !slices.Equal(d.secrets, connectorSecrets) {
		t.Errorf("the secrets are %v, want %v", d.secrets, connectorSecrets)
	}
	page := read(t, "docs/settings.md")
	_, everyones, _ := strings.Cut(page, "\n## Every function and the connector\n")
	everyones, _, _ = strings.Cut(everyones, "\n## ")
	_, known, _ := strings.Cut(page, "\n## Connector\n")
	known += everyones
	for name := range d.environ {
		if name != "GOMEMLIMIT" && name != "SECRETS_DIR" && !strings.Contains(known, "`"+name+"`") {
			t.Errorf("%s is no setting of the connector", name)
		}
	}
	if len(d.args) > 0 {
		t.Errorf("it gets the arguments %q and takes none", d.args)
	}
}

// list is the environment in the form of os.Environ.
func (d deployment) list() []string {
	var list []string
	for name, value := range d.environ {
		list = append(list, name+"="+value)
	}
	return list
}

// runningConnector is a connector that a test has started.
type runningConnector struct {
	url   string
	cmd   *exec.Cmd
	log   *lockedBuffer
	ended chan error
}

// start runs the image's program as the deployment does. Of its environment only
// addresses are others; as root the image is its whole file system, and it cannot
// write there.
func (d deployment) start(t *testing.T, s *system, image builtImage) *runningConnector {
	t.Helper()
	environ := maps.Clone(d.environ)
	root := t.TempDir()
	if err := os.CopyFS(root, os.DirFS(image.root)); err != nil {
		t.Fatal(err)
	}
	secrets := filepath.Join(root, environ["SECRETS_DIR"])
	if err := os.MkdirAll(secrets, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range d.secrets {
		if err := os.WriteFile(filepath.Join(secrets, name), []byte(s.secret(t, name)), 0o444); err != nil {
			t.Fatal(err)
		}
	}
	environ["GATEWAY_URL"] = s.gateway
	environ["LISTEN"] = fmt.Sprintf("127.0.0.1:%d", freePort(t))
	c := &runningConnector{url: "http://" + environ["LISTEN"], log: new(lockedBuffer), ended: make(chan error, 1)}
	if os.Geteuid() == 0 {
		c.cmd = exec.Command(image.program, d.args...)
		c.cmd.Dir = "/"
		c.cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: root, Credential: &syscall.Credential{Uid: connectorUser, Gid: connectorUser}}
	} else {
		c.cmd = exec.Command(filepath.Join(root, image.program), d.args...)
		environ["SECRETS_DIR"] = secrets
	}
	d.environ = environ
	c.cmd.Env = d.list()
	c.cmd.Stdout, c.cmd.Stderr = c.log, c.log
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { c.ended <- c.cmd.Wait() }()
	t.Cleanup(func() {
		_ = c.cmd.Process.Kill()
		if t.Failed() {
			t.Logf("the connector printed:\n%s", c.log)
		}
	})
	return c
}

// probe asks the connector for a path.
func (c *runningConnector) probe(path string, want int) error {
	resp, err := http.Get(c.url + path)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
	if err == nil && resp.StatusCode != want {
		err = fmt.Errorf("%s: %s: %s", path, resp.Status, text)
	}
	return err
}

// stop sends SIGTERM and wants a clean end.
func (c *runningConnector) stop(t *testing.T) {
	t.Helper()
	if err := c.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-c.ended:
		if err != nil {
			t.Errorf("exit: %v", err)
		}
	case <-time.After(time.Minute):
		t.Error("it does not end within a minute of SIGTERM")
	}
}

// onKubernetes reads deploy/kubernetes/connector.yaml with Kubernetes's own types.
func onKubernetes(t *testing.T) deployment {
	t.Helper()
	var (
		workload appsv1.Deployment
		budget   policyv1.PodDisruptionBudget
		service  corev1.Service
		network  networkingv1.NetworkPolicy
	)
	kinds := map[string]any{"Deployment": &workload, "PodDisruptionBudget": &budget, "Service": &service, "NetworkPolicy": &network}
	versions := map[string]string{"Deployment": "apps/v1", "PodDisruptionBudget": "policy/v1", "Service": "v1", "NetworkPolicy": "networking.k8s.io/v1"}
	for text := range strings.SplitSeq(read(t, "deploy/kubernetes/connector.yaml"), "\n---\n") {
		var meta metav1.TypeMeta
		if err := kubernetes.Unmarshal([]byte(text), &meta); err != nil {
			t.Fatal(err)
		}
		into, ok := kinds[meta.Kind]
		if !ok || meta.APIVersion != versions[meta.Kind] {
			t.Fatalf("a second or an unknown object: %s %s", meta.APIVersion, meta.Kind)
		}
		delete(kinds, meta.Kind)
		if err := kubernetes.UnmarshalStrict([]byte(text), into); err != nil {
			t.Fatalf("%s: %v", meta.Kind, err)
		}
	}
	if len(kinds) > 0 {
		t.Fatalf("missing: %v", slices.Collect(maps.Keys(kinds)))
	}

	pod := workload.Spec.Template
	for name, object := range map[string]struct {
		metav1.ObjectMeta
		selector *metav1.LabelSelector
	}{
		"Deployment":          {workload.ObjectMeta, workload.Spec.Selector},
		"PodDisruptionBudget": {budget.ObjectMeta, budget.Spec.Selector},
		"Service":             {service.ObjectMeta, metav1.SetAsLabelSelector(service.Spec.Selector)},
		"NetworkPolicy":       {network.ObjectMeta, &network.Spec.PodSelector},
	} {
		selector, err := metav1.LabelSelectorAsSelector(object.selector)
		if err != nil || selector.Empty() || !selector.Matches(labels.Set(pod.Labels)) || object.Namespace != workload.Namespace {
			t.Errorf("%s in %s selects %v, error %v: not the pods of the Deployment", name, object.Namespace, selector, err)
		}
	}
	if len(pod.Spec.Containers) != 1 || len(pod.Spec.Containers[0].Ports) != 1 {
		t.Fatal("want one container with one port")
	}
	c := pod.Spec.Containers[0]
	port := c.Ports[0]
	for name, at := range map[string]intstr.IntOrString{
		"liveness": c.LivenessProbe.HTTPGet.Port, "readiness": c.ReadinessProbe.HTTPGet.Port,
		"Service": service.Spec.Ports[0].TargetPort, "NetworkPolicy": *network.Spec.Ingress[0].Ports[0].Port,
	} {
		if at.String() != port.Name {
			t.Errorf("the port of %s is %s, want %s", name, at.String(), port.Name)
		}
	}
	if fmt.Sprint(port.ContainerPort) != pod.Annotations["prometheus.io.port"] || service.Spec.Ports[0].Port != port.ContainerPort {
		t.Errorf("the Service has port %v, the annotations are %v", service.Spec.Ports[0].Port, pod.Annotations)
	}
	restricted(t, pod.Spec, c)
	if *workload.Spec.Replicas < 2 || budget.Spec.MaxUnavailable.IntValue() != 1 {
		t.Errorf("%d replicas, of which %s may be unavailable", *workload.Spec.Replicas, budget.Spec.MaxUnavailable)
	}
	gateway, err := url.Parse(variables(t, c)["GATEWAY_URL"])
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(network.Spec.Egress, func(rule networkingv1.NetworkPolicyEgressRule) bool {
		return len(rule.To) == 1 && rule.To[0].NamespaceSelector == nil && rule.Ports[0].Port.String() == gateway.Port()
	}) || gateway.Hostname() != "gateway."+workload.Namespace {
		t.Errorf("the NetworkPolicy lets nothing pass to %s", gateway.Host)
	}
	return deployment{
		name: "kubernetes", image: c.Image, environ: variables(t, c), args: slices.Concat(c.Command, c.Args),
		secrets: mounted(t, pod.Spec, variables(t, c)["SECRETS_DIR"]), port: fmt.Sprint(port.ContainerPort),
		grace: time.Duration(*pod.Spec.TerminationGracePeriodSeconds) * time.Second,
		live:  c.LivenessProbe.HTTPGet.Path, ready: c.ReadinessProbe.HTTPGet.Path,
	}
}

// variables are those of a container; a secret's value is in none of them.
func variables(t *testing.T, c corev1.Container) map[string]string {
	t.Helper()
	environ := make(map[string]string)
	for _, v := range c.Env {
		if v.ValueFrom != nil || len(c.EnvFrom) > 0 {
			t.Errorf("%s comes from elsewhere: secrets are files", v.Name)
		}
		environ[v.Name] = v.Value
	}
	return environ
}

// mounted lists the files of Secrets that a pod's only container finds in dir.
func mounted(t *testing.T, pod corev1.PodSpec, dir string) (names []string) {
	t.Helper()
	mounts := pod.Containers[0].VolumeMounts
	if len(mounts) != 1 || len(pod.Volumes) != 1 || mounts[0].Name != pod.Volumes[0].Name || mounts[0].MountPath != dir || !mounts[0].ReadOnly {
		t.Fatalf("%s is not what is mounted: %v", dir, mounts)
	}
	volume := pod.Volumes[0].Projected
	// The connector, whose group this is, reads; others do not.
	if *volume.DefaultMode&0o277 != 0o040 || *pod.SecurityContext.FSGroup != connectorUser {
		t.Errorf("the secrets have mode %o and group %d", *volume.DefaultMode, *pod.SecurityContext.FSGroup)
	}
	for _, source := range volume.Sources {
		for _, item := range source.Secret.Items {
			names = append(names, item.Path)
		}
	}
	return names
}

// restricted checks what Kubernetes's Pod Security Standard "restricted" asks for,
// and that nothing can be written.
func restricted(t *testing.T, pod corev1.PodSpec, c corev1.Container) {
	t.Helper()
	p, s := pod.SecurityContext, c.SecurityContext
	if !*p.RunAsNonRoot || *p.RunAsUser != connectorUser || p.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault ||
		*s.AllowPrivilegeEscalation || !*s.ReadOnlyRootFilesystem || !slices.Equal(s.Capabilities.Drop, []corev1.Capability{"ALL"}) || len(s.Capabilities.Add) > 0 {
		t.Errorf("the pod may do too much: %v, %v", p, s)
	}
	if *pod.AutomountServiceAccountToken || *pod.EnableServiceLinks || pod.HostNetwork || pod.HostPID {
		t.Error("the pod gets what it does not need")
	}
	if c.Resources.Requests.Cpu().IsZero() || c.Resources.Requests.Memory().IsZero() || c.Resources.Limits.Memory().IsZero() {
		t.Errorf("resources: %v", c.Resources)
	}
}

// faasdService is what faasd reads of a service in its compose file.
type faasdService struct {
	Image       string   `yaml:"image"`
	User        string   `yaml:"user"`
	Command     []string `yaml:"command"`
	Environment []string `yaml:"environment"`
	Volumes     []struct {
		Type     string `yaml:"type"`
		Source   string `yaml:"source"`
		Target   string `yaml:"target"`
		ReadOnly bool   `yaml:"read_only"`
	} `yaml:"volumes"`
	CapAdd    []string `yaml:"cap_add"`
	DependsOn []string `yaml:"depends_on"`
	Ports     []string `yaml:"ports"`
}

// onFaasd reads deploy/faasd/connector.yaml.
func onFaasd(t *testing.T) deployment {
	t.Helper()
	var file struct {
		Services map[string]faasdService `yaml:"services"`
	}
	decoder := yaml.NewDecoder(strings.NewReader(read(t, "deploy/faasd/connector.yaml")))
	decoder.KnownFields(true)
	if err := decoder.Decode(&file); err != nil {
		t.Fatal(err)
	}
	service, ok := file.Services["rabbitmq-connector"]
	if !ok || len(file.Services) != 1 {
		t.Fatalf("services: %v", slices.Collect(maps.Keys(file.Services)))
	}
	d := deployment{
		name: "faasd", image: service.Image, args: service.Command, environ: make(map[string]string),
		grace: 30 * time.Second, // faasd's own
		live:  "/healthz", ready: "/readyz",
	}
	for _, v := range service.Environment {
		name, value, _ := strings.Cut(v, "=")
		d.environ[name] = value
	}
	for _, v := range service.Volumes {
		dir, name := filepath.Split(v.Target)
		// faasd makes a folder of each other source that is missing and has no dot.
		if v.Type != "bind" || !v.ReadOnly || filepath.Clean(dir) != d.environ["SECRETS_DIR"] || v.Source != "./secrets/"+name {
			t.Errorf("the volume %+v is no secret", v)
		}
		d.secrets = append(d.secrets, name)
	}
	if service.User != fmt.Sprint(connectorUser) || len(service.CapAdd) > 0 || !slices.Contains(service.DependsOn, "gateway") {
		t.Errorf("user %q, capabilities %v, depends on %v", service.User, service.CapAdd, service.DependsOn)
	}
	published := regexp.MustCompile(`^127\.0\.0\.1:(\d+):(\d+)$`).FindStringSubmatch(strings.Join(service.Ports, " "))
	if published == nil || slices.Contains(faasdPorts, published[1]) {
		t.Fatalf("the ports are %v; of the host's faasd has %v", service.Ports, faasdPorts)
	}
	d.port = published[2]
	return d
}

// faasdPorts are those of the host that faasd's gateway, provider and Prometheus
// listen at.
var faasdPorts = []string{"8080", "8081", "8082", "9090"}

// bySystemd reads deploy/systemd/rabbitmq-connector.service.
func bySystemd(t *testing.T) deployment {
	t.Helper()
	const unit, program = "deploy/systemd/rabbitmq-connector.service", "/usr/local/bin/rabbitmq-connector"
	text := read(t, unit)
	if analyze, err := exec.LookPath("systemd-analyze"); err == nil {
		// A program has to be there, and `true` is.
		file := filepath.Join(t.TempDir(), filepath.Base(unit))
		if err := os.WriteFile(file, []byte(strings.ReplaceAll(text, program, "/bin/true")), 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.CommandContext(t.Context(), analyze, "verify", "--man=no", file).CombinedOutput(); err != nil || len(out) > 0 {
			t.Errorf("systemd-analyze verify: %v\n%s", err, out)
		}
	}
	d := deployment{name: "systemd", environ: make(map[string]string), live: "/healthz", ready: "/readyz"}
	set := make(map[string]string)
	for line := range strings.Lines(text) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), "=")
		switch {
		case !ok || strings.HasPrefix(name, "#"):
		case name == "Environment":
			name, value, _ = strings.Cut(value, "=")
			d.environ[name] = value
		case name == "LoadCredential":
			name, _, _ = strings.Cut(value, ":")
			d.secrets = append(d.secrets, name)
		default:
			set[name] = value
		}
	}
	grace, err := time.ParseDuration(set["TimeoutStopSec"] + "s")
	if err != nil {
		t.Fatal(err)
	}
	d.grace = grace
	if set["ExecStart"] != program || d.environ["SECRETS_DIR"] != "%d" {
		t.Errorf("it starts %q with SECRETS_DIR %q", set["ExecStart"], d.environ["SECRETS_DIR"])
	}
	for name, want := range map[string]string{"Type": "exec", "Restart": "always", "StartLimitIntervalSec": "0", "DynamicUser": "yes", "ProtectSystem": "strict", "NoNewPrivileges": "yes"} {
		if set[name] != want {
			t.Errorf("%s is %q, want %q", name, set[name], want)
		}
	}
	d.environ["SECRETS_DIR"] = "/run/credentials/rabbitmq-connector.service" // what %d stands for
	host, port, err := net.SplitHostPort(d.environ["LISTEN"])
	if err != nil || host != "127.0.0.1" || slices.Contains(faasdPorts, port) {
		t.Errorf("LISTEN is %q; of the host's ports faasd has %v", d.environ["LISTEN"], faasdPorts)
	}
	d.port = port
	return d
}
