package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// pulled are the images whose pulls are measured (e2e/images/large.py).
var pulled = []struct {
	tag, name string
	// before is there in all rounds: it shares layers.
	before string
}{
	{"layers", "pull, 7 layers of gzip", ""},
	{"zstd", "pull, the same of zstd", ""},
	{"one", "pull, one large layer", ""},
	{"small", "pull, 40 small layers", ""},
	{"layers", "pull, 6 of 7 layers there already", "sibling"},
}

// measurePulls pulls images, whose layers are in a registry beside, and removes them again.
func measurePulls(ctx context.Context, b *bench) error {
	for _, image := range pulled {
		say("%s", image.name)
		pulls := series{}
		err := b.alternate(b.rounds(3), func(r *runtime, n int) error {
			name, before := b.registry+"/bench/"+image.tag+":1", b.registry+"/bench/"+image.before+":1"
			if image.before != "" && n < 0 {
				if err := r.pull(ctx, before); err != nil {
					return err
				}
			}
			syscall.Sync()
			if err := pulls.timed(r, n, func() error { return r.pull(ctx, name) }); err != nil {
				return err
			}
			return r.removeImage(ctx, name)
		})
		if err != nil {
			return err
		}
		if image.before != "" {
			err := b.each(func(r *runtime) error { return r.removeImage(ctx, b.registry+"/bench/"+image.before+":1") })
			if err != nil {
				return err
			}
		}
		b.table.less(image.name, "ms", pulls.millis(), toBest(0.35))
		bare := []sample{}
		for range b.rounds(3) {
			unpacked, err := b.unpacked(ctx, image.tag, image.before)
			if err != nil {
				return fmt.Errorf("%s by curl and tar: %w", image.name, err)
			}
			bare = append(bare, unpacked)
		}
		b.table.Floors = append(b.table.Floors, floor{image.name + ", its layers by curl and tar all at once, and synced", "ms", millis(bare)})
	}
	return nil
}

// unpacked fetches and unpacks the layers that one image has and another has not, as programs do that are there for it:
// nothing is hashed.
func (b *bench) unpacked(ctx context.Context, tag, before string) (sample, error) {
	there := map[string]string{}
	if before != "" {
		var err error
		if there, err = b.layers(ctx, before); err != nil {
			return sample{}, err
		}
	}
	layers, err := b.layers(ctx, tag)
	if err != nil {
		return sample{}, err
	}
	root := filepath.Join(b.scratch, "layers")
	var commands []*exec.Cmd
	for digest, kind := range layers {
		if there[digest] != "" {
			continue
		}
		dir := filepath.Join(root, strings.ReplaceAll(digest, ":", "-"))
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return sample{}, err
		}
		how := "--gzip"
		if strings.HasSuffix(kind, "zstd") {
			how = "--zstd"
		}
		script := `set -o pipefail; curl -sSf "$1" | tar -x "$2" --numeric-owner -C "$3"`
		commands = append(commands, exec.CommandContext(ctx, "bash", "-c", script, "bash", b.url(tag, "blobs", digest), how, dir))
	}
	syscall.Sync()
	made, err := took(func() (err error) {
		for _, command := range commands {
			command.Stderr = os.Stderr
			err = errors.Join(err, command.Start())
		}
		for _, command := range commands {
			if command.Process != nil {
				err = errors.Join(err, command.Wait())
			}
		}
		disk, failed := os.Open(root)
		if failed != nil {
			return errors.Join(err, failed)
		}
		return errors.Join(err, unix.Syncfs(int(disk.Fd())), disk.Close())
	})
	return made, errors.Join(err, os.RemoveAll(root))
}

// layers are an image's layers: digests, and the media type of each.
func (b *bench) layers(ctx context.Context, tag string) (map[string]string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, b.url(tag, "manifests", "1"), nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Accept", "application/vnd.oci.image.manifest.v1+json")
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	var manifest struct {
		Layers []struct{ Digest, MediaType string }
	}
	if err := json.NewDecoder(answer.Body).Decode(&manifest); err != nil {
		return nil, err
	}
	if len(manifest.Layers) == 0 {
		return nil, fmt.Errorf("the registry tells no layers of %s: %s", tag, answer.Status)
	}
	layers := map[string]string{}
	for _, layer := range manifest.Layers {
		layers[layer.Digest] = layer.MediaType
	}
	return layers, nil
}

// url is where the registry has something of an image.
func (b *bench) url(tag, what, reference string) string {
	return fmt.Sprintf("http://%s/v2/bench/%s/%s/%s", b.registry, tag, what, reference)
}
