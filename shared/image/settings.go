package image

import (
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	"github.com/minio/minio-go/v7/pkg/s3utils"
)

// Settings say where pictures are kept. A program has them as a field of its own
// settings.
type Settings struct {
	// URL is file:///folder or s3://bucket/prefix?region=...&endpoint=...; empty: pictures
	// are dropped.
	URL string `env:"IMAGES_URL"`
	// Timeout bounds how long the pictures of one event take to be stored.
	Timeout time.Duration `env:"IMAGES_TIMEOUT" envDefault:"3s"`
}

const (
	minTimeout = 10 * time.Millisecond
	maxTimeout = 30 * time.Second
)

// Validate returns all mistakes as one error.
func (s Settings) Validate() error {
	var errs []error
	if s.URL != "" {
		if _, err := parseURL(s.URL); err != nil {
			errs = append(errs, fmt.Errorf("IMAGES_URL %w", err))
		}
	}
	if s.Timeout < minTimeout || s.Timeout > maxTimeout {
		errs = append(errs, fmt.Errorf("IMAGES_TIMEOUT is %s, want %s to %s", s.Timeout, minTimeout, maxTimeout))
	}
	return errors.Join(errs...)
}

// location is what a URL says: a folder, or a place in a bucket.
type location struct {
	dir string

	bucket, prefix   string // the prefix is empty or ends with a slash
	region, endpoint string // the endpoint has no scheme
	secure           bool
}

func (l location) String() string {
	if l.bucket == "" {
		return "file://" + l.dir
	}
	return "s3://" + l.bucket + "/" + l.prefix
}

var (
	errForm     = errors.New("is not file:///folder or s3://bucket/prefix?region=eu-central-1, or for another server than Amazon's s3://bucket?endpoint=https://host:port")
	errPassword = errors.New("has a user: put the keys into the files of images-access-key and images-secret-key")
)

// parseURL returns what a URL says. Its error is the end of a sentence and does not show
// the URL, in which a secret may be.
func parseURL(text string) (location, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Opaque != "" || u.Fragment != "":
		return location{}, errForm
	case u.User != nil:
		return location{}, errPassword
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return location{}, errForm
	}
	switch u.Scheme {
	case "file":
		if (u.Host != "" && u.Host != "localhost") || !filepath.IsAbs(u.Path) || len(query) > 0 {
			return location{}, errForm
		}
		return location{dir: filepath.Clean(u.Path)}, nil
	case "s3":
		return parseBucket(u, query)
	}
	return location{}, errForm
}

func parseBucket(u *url.URL, query url.Values) (location, error) {
	l := location{bucket: u.Host, region: query.Get("region"), secure: true}
	if err := s3utils.CheckValidBucketNameStrict(l.bucket); err != nil {
		return l, fmt.Errorf("has no valid bucket: %w", err)
	}
	if prefix := strings.Trim(u.Path, "/"); prefix != "" {
		for part := range strings.SplitSeq(prefix, "/") {
			if strings.Trim(part, ".") == "" {
				return l, errors.New("has a prefix with an empty part, or one of dots")
			}
		}
		l.prefix = prefix + "/"
	}
	for name, values := range query {
		if (name != "region" && name != "endpoint") || len(values) != 1 || values[0] == "" {
			return l, errors.New("has other parameters than region and endpoint, once each")
		}
	}
	if endpoint := query.Get("endpoint"); endpoint != "" {
		e, err := url.Parse(endpoint)
		if err != nil || (e.Scheme != "http" && e.Scheme != "https") || e.Host == "" || strings.Trim(e.Path, "/") != "" || e.RawQuery != "" || e.Fragment != "" {
			return l, errors.New("has an endpoint that is not http:// or https:// with a host alone")
		}
		if e.User != nil {
			return l, errPassword
		}
		l.endpoint, l.secure = e.Host, e.Scheme == "https"
		if l.region == "" {
			l.region = defaultRegion
		}
	}
	if l.region == "" {
		return l, errors.New("has no region, such as s3://bucket?region=eu-central-1")
	}
	if l.endpoint == "" {
		l.endpoint = "s3." + l.region + ".amazonaws.com"
	}
	return l, nil
}

// defaultRegion is that of servers which have none.
const defaultRegion = "us-east-1"
