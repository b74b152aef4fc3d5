package rabbitmq

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"

	"parkstream/connectors/rabbitmq/internal/message"
	"parkstream/connectors/rabbitmq/internal/openfaas"
	"parkstream/shared/broker"
	"parkstream/shared/process"
)

// Config is what a connector is made of.
type Config struct {
	Settings
	// Broker returns the URLs of RabbitMQ; the secret rabbitmq-url if it is nil.
	Broker func() ([]string, error)
	// Registerer gets the metrics, which are not kept if it is nil.
	Registerer prometheus.Registerer
	// Log may be nil. One of process.NewLogger adds the id of the call and of its
	// trace to the lines about a call.
	Log *slog.Logger
	// Traces makes the spans of calls; there are none if it is nil.
	Traces trace.TracerProvider
}

// Settings come from the environment; see [process.Parse].
type Settings struct {
	GatewayURL      string        `env:"GATEWAY_URL" envDefault:"http://gateway:8080"`
	GatewayCAFile   string        `env:"GATEWAY_CA_FILE"`
	Namespaces      []string      `env:"NAMESPACES"`
	Topics          []string      `env:"TOPICS"`
	IgnoredTopics   []string      `env:"IGNORED_TOPICS" envDefault:"cron-function"`
	RebuildInterval time.Duration `env:"REBUILD_INTERVAL" envDefault:"30s"`

	SecretsDir         string        `env:"SECRETS_DIR" envDefault:"/var/openfaas/secrets"`
	RabbitMQCAFile     string        `env:"RABBITMQ_CA_FILE"`
	RabbitMQCertFile   string        `env:"RABBITMQ_CERT_FILE"`
	RabbitMQKeyFile    string        `env:"RABBITMQ_KEY_FILE"`
	RabbitMQServerName string        `env:"RABBITMQ_SERVER_NAME"`
	Heartbeat          time.Duration `env:"RABBITMQ_HEARTBEAT" envDefault:"10s"`

	openfaas.Defaults

	RetryDelay      time.Duration `env:"RETRY_DELAY" envDefault:"1s"`
	RetryMaxDelay   time.Duration `env:"RETRY_MAX_DELAY" envDefault:"5m"`
	ProbeDelay      time.Duration `env:"PROBE_DELAY" envDefault:"500ms"`
	ProbeMaxDelay   time.Duration `env:"PROBE_MAX_DELAY" envDefault:"10s"`
	MaxMessageBytes int           `env:"MAX_MESSAGE_BYTES" envDefault:"16777216"`
	MaxPrefetch     int           `env:"MAX_PREFETCH" envDefault:"8000"`
	DrainTimeout    time.Duration `env:"DRAIN_TIMEOUT" envDefault:"25s"`
}

// retryFactor is what a retry delay grows by from attempt to attempt. The large
// step keeps the number of retry queues small.
const retryFactor = 4

// maxRetryQueues bounds the retry queues of one queue: an event that waits goes from one to
// the next until [message.MaxWaits].
const maxRetryQueues = message.MaxWaits

// Validate reports every mistake.
func (s Settings) Validate() error {
	errs := []error{process.CheckURL("GATEWAY_URL", s.GatewayURL, "basic-auth-user", "basic-auth-password")}
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if (s.RabbitMQCertFile == "") != (s.RabbitMQKeyFile == "") {
		bad("RABBITMQ_CERT_FILE and RABBITMQ_KEY_FILE need each other")
	}
	for _, d := range []struct {
		name        string
		value       time.Duration
		least, most time.Duration
	}{
		{"REBUILD_INTERVAL", s.RebuildInterval, 10 * time.Millisecond, time.Hour},
		{"RABBITMQ_HEARTBEAT", s.Heartbeat, time.Second, 10 * time.Minute},
		{"UPSTREAM_TIMEOUT", s.Timeout, time.Millisecond, time.Hour},
		{"CONSUMER_TIMEOUT", s.ConsumerTimeout, time.Second, 30 * 24 * time.Hour},
		{"LINGER", s.Linger, 0, time.Minute},
		{"RETRY_DELAY", s.RetryDelay, time.Millisecond, time.Hour},
		{"RETRY_MAX_DELAY", s.RetryMaxDelay, s.RetryDelay, 24 * time.Hour},
		{"PROBE_DELAY", s.ProbeDelay, time.Millisecond, time.Hour},
		{"PROBE_MAX_DELAY", s.ProbeMaxDelay, s.ProbeDelay, time.Hour},
		{"DRAIN_TIMEOUT", s.DrainTimeout, 0, time.Hour},
	} {
		errs = append(errs, process.CheckRange(d.name, d.value, d.least, d.most))
	}
	for _, n := range []struct {
		name               string
		value, least, most int
	}{
		{"MAX_ATTEMPTS", s.MaxAttempts, 1, openfaas.AttemptsLimit},
		{"BATCH_BYTES", s.BatchBytes, 1, 1 << 30},
		{"MAX_IN_FLIGHT", s.MaxInFlight, 1, openfaas.InFlightLimit},
		{"MAX_IN_FLIGHT_SINGLE", s.MaxInFlightSingle, 1, openfaas.InFlightLimit},
		{"MAX_MESSAGE_BYTES", s.MaxMessageBytes, 1, 1 << 30},
		{"MAX_PREFETCH", s.MaxPrefetch, 1, 65535},
	} {
		errs = append(errs, process.CheckRange(n.name, n.value, n.least, n.most))
	}
	if s.Timeout > s.ConsumerTimeout/2 {
		bad("UPSTREAM_TIMEOUT is %s; the broker's CONSUMER_TIMEOUT of %s asks for at most half of it", s.Timeout, s.ConsumerTimeout)
	}
	if n := len(s.retryDelays()); n > maxRetryQueues {
		bad("RETRY_DELAY %s and RETRY_MAX_DELAY %s are so far apart that every queue would need %d retry queues; %d are possible", s.RetryDelay, s.RetryMaxDelay, n, maxRetryQueues)
	}
	return errors.Join(errs...)
}

// retryDelays returns how long a message waits after its first, second, ...
// failed attempt; the last one is for all that follow.
func (s Settings) retryDelays() []time.Duration {
	var ds []time.Duration
	for d := s.RetryDelay; d > 0 && d <= s.RetryMaxDelay; d *= retryFactor {
		ds = append(ds, d)
	}
	return ds
}

// SettingsFrom reads the settings from an environment; see [process.Parse].
func SettingsFrom(environ []string) (Settings, error) {
	var s Settings
	err := process.Parse(&s, environ)
	return s, err
}

func (s Settings) secret(name string) *process.Secret { return process.NewSecret(s.SecretsDir, name) }

// credential returns what reads the user and the password for the gateway: two empty
// strings, for a gateway without login, if both files are missing or empty.
func (s Settings) credential() func() (user, password string, err error) {
	userFile, passwordFile := s.secret("basic-auth-user"), s.secret("basic-auth-password")
	return func() (user, password string, err error) {
		user, userErr := userFile.Value()
		password, passwordErr := passwordFile.Value()
		if isNone(userErr) && isNone(passwordErr) {
			return "", "", nil
		}
		return user, password, errors.Join(userErr, passwordErr)
	}
}

// token returns what reads the token for functions that ask for it: an empty string if
// the file is missing or empty.
func (s Settings) token() func() (string, error) {
	file := s.secret("connector-token")
	return func() (string, error) {
		token, err := file.Value()
		if isNone(err) {
			return "", nil
		}
		return token, err
	}
}

// isNone reports that a secret is missing or empty.
func isNone(err error) bool {
	return errors.Is(err, os.ErrNotExist) || errors.Is(err, process.ErrEmptySecret)
}

func (c Config) broker(name string) broker.Config {
	urls := c.Broker
	if urls == nil {
		urls = broker.URLs(c.secret("rabbitmq-url").Value)
	}
	return broker.Config{
		URLs: urls,
		TLS: broker.TLS{
			CAFile: c.RabbitMQCAFile, CertFile: c.RabbitMQCertFile, KeyFile: c.RabbitMQKeyFile, ServerName: c.RabbitMQServerName,
		},
		Name: name, Heartbeat: c.Heartbeat, Log: c.Log, Registerer: c.Registerer,
	}
}
