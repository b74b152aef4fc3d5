package image

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"net/http"
	"path"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"parkstream/shared/process"
)

// bucket keeps pictures as objects of an S3 server.
type bucket struct {
	client *minio.Core
	name   string
	prefix string
}

const (
	dialTimeout     = 2 * time.Second
	headerTimeout   = 20 * time.Second
	idleConnTimeout = time.Minute
	// tries is how often a request is made that fails because of the network or the
	// server. Its context may end it before.
	tries = 3
	// noSuchKey and noSuchBucket are codes of S3.
	noSuchKey    = "NoSuchKey"
	noSuchBucket = "NoSuchBucket"
)

func newBucket(p *process.Process, l location) (*bucket, error) {
	keys := keys{access: p.Secret("images-access-key"), secret: p.Secret("images-secret-key")}
	if _, err := keys.Retrieve(); err != nil {
		return nil, err
	}
	transport := &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: dialTimeout}).DialContext,
		TLSHandshakeTimeout:   dialTimeout,
		ResponseHeaderTimeout: headerTimeout,
		MaxIdleConnsPerHost:   putsAtOnce,
		IdleConnTimeout:       idleConnTimeout,
		DisableCompression:    true, // pictures are compressed
	}
	client, err := minio.NewCore(l.endpoint, &minio.Options{
		Creds: credentials.New(keys), Secure: l.secure, Region: l.region, Transport: transport, MaxRetries: tries,
	})
	if err != nil {
		return nil, fmt.Errorf("IMAGES_URL has an endpoint of no S3 server: %w", err)
	}
	p.OnClose("store of pictures", func(context.Context) error {
		transport.CloseIdleConnections()
		return nil
	})
	return &bucket{client: client, name: l.bucket, prefix: l.prefix}, nil
}

// keys are those of the server, read from their files for each request.
type keys struct{ access, secret *process.Secret }

// Retrieve implements [credentials.Provider].
func (k keys) Retrieve() (credentials.Value, error) {
	access, err1 := k.access.Value()
	secret, err2 := k.secret.Value()
	v := credentials.Value{AccessKeyID: access, SecretAccessKey: secret, SignerType: credentials.SignatureV4}
	return v, errors.Join(err1, err2)
}

// RetrieveWithCredContext implements [credentials.Provider].
func (k keys) RetrieveWithCredContext(*credentials.CredContext) (credentials.Value, error) {
	return k.Retrieve()
}

// IsExpired implements [credentials.Provider]: the files may have changed.
func (keys) IsExpired() bool { return true }

func (b *bucket) put(ctx context.Context, name, contentType string, data []byte) error {
	_, err := b.client.Client.PutObject(ctx, b.name, b.prefix+name, bytes.NewReader(data), int64(len(data)), minio.PutObjectOptions{
		ContentType:      contentType,
		DisableMultipart: true, // one request, and no part is copied
	})
	return err
}

func (b *bucket) get(ctx context.Context, name string) (io.ReadCloser, int64, error) {
	content, info, _, err := b.client.GetObject(ctx, b.name, b.prefix+name, minio.GetObjectOptions{})
	if err != nil {
		if minio.ToErrorResponse(err).Code == noSuchKey {
			return nil, 0, ErrNotFound
		}
		return nil, 0, err
	}
	return content, info.Size, nil
}

// list returns the objects whose names begin with a prefix; if they are not recursive,
// those up to the next slash.
func (b *bucket) list(ctx context.Context, prefix string) iter.Seq[minio.ObjectInfo] {
	return b.client.ListObjectsIter(ctx, b.name, minio.ListObjectsOptions{Prefix: b.prefix + prefix})
}

func (b *bucket) folders(ctx context.Context, folder string) ([]string, error) {
	if folder != "" {
		folder += "/"
	}
	var names []string
	for o := range b.list(ctx, folder) {
		if o.Err != nil {
			return nil, o.Err
		}
		if strings.HasSuffix(o.Key, "/") {
			names = append(names, path.Base(o.Key))
		}
	}
	return names, ctx.Err()
}

func (b *bucket) named(ctx context.Context, folder, base string) ([]string, error) {
	var names []string
	for o := range b.list(ctx, folder+"/"+base) {
		if o.Err != nil {
			return nil, o.Err
		}
		if file := path.Base(o.Key); fileForm.MatchString(file) {
			names = append(names, file)
		}
	}
	return names, ctx.Err()
}

func (b *bucket) each(ctx context.Context, folder string, do func([]stored) error) error {
	some := make([]stored, 0, someFiles)
	for o := range b.list(ctx, folder+"/") {
		if o.Err != nil {
			return o.Err
		}
		if file := path.Base(o.Key); fileForm.MatchString(file) {
			some = append(some, stored{file, o.LastModified})
		}
		if len(some) == someFiles {
			if err := do(some); err != nil {
				return err
			}
			some = some[:0]
		}
	}
	if err := ctx.Err(); err != nil || len(some) == 0 {
		return err
	}
	return do(some)
}

func (b *bucket) remove(ctx context.Context, folder string, names []string) (removed int, err error) {
	objects := func(yield func(minio.ObjectInfo) bool) {
		for _, name := range names {
			if !yield(minio.ObjectInfo{Key: b.prefix + folder + "/" + name}) {
				return
			}
		}
	}
	results, err := b.client.RemoveObjectsWithIter(ctx, b.name, objects, minio.RemoveObjectsOptions{})
	if err != nil {
		return 0, err
	}
	var errs []error
	for r := range results {
		if r.Err == nil {
			removed++
		} else if len(errs) == 0 { // the others are like it
			errs = append(errs, r.Err)
		}
	}
	return removed, errors.Join(append(errs, ctx.Err())...)
}

func (*bucket) removeFolder(string) {} // there are none without objects

func (b *bucket) check(ctx context.Context) error {
	found, err := b.client.BucketExists(ctx, b.name)
	if err == nil && !found {
		err = errors.New("there is no such bucket")
	}
	return err
}
