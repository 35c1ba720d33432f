package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/moby/spdystream/spdy"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// streamPort is where the pod sends what a forwarded connection carries.
const streamPort = 7000

// carrier is one way of bringing bytes out of a pod.
type carrier struct {
	name string
	run  func(r *runtime, ctx context.Context, p pod, size int64) error
}

var carriers = []carrier{
	{"exec, standard output", (*runtime).streamExec},
	{"port-forward", (*runtime).streamForward},
}

// measureStreaming brings b.streamMiB out of a pod by each carrier. The client is as lean as can be: it counts the bytes of
// frames, so that what is measured is the runtime.
func measureStreaming(ctx context.Context, b *bench) error {
	pods := map[*runtime]pod{}
	size := int64(b.streamMiB) << 20
	var bare []sample
	for range b.rounds(3) {
		stream, err := b.bareStream(size)
		if err != nil {
			return err
		}
		bare = append(bare, stream)
	}
	name := fmt.Sprintf("%d MiB from a program by a pipe and a connection, without frames", b.streamMiB)
	b.table.Floors = append(b.table.Floors, floor{name, "ms", millis(bare)})
	err := b.each(func(r *runtime) (err error) {
		// Each connection gets the bytes, and is closed.
		script := fmt.Sprintf("exec nc -ll -p %d -e dd if=/dev/zero bs=64k count=%d", streamPort, b.streamMiB*16)
		pods[r], err = b.pod(ctx, r, shape{name: "stream", command: []string{"sh", "-c", script}})
		return err
	})
	if err != nil {
		return err
	}
	for _, c := range carriers {
		name := fmt.Sprintf("%s, %d MiB", c.name, b.streamMiB)
		say("%s", name)
		runs, most := series{}, map[*runtime]float64{}
		err := b.alternate(b.rounds(3), func(r *runtime, n int) error {
			daemon := r.process.Process.Pid
			before := resetPeak(daemon)
			err := runs.timed(r, n, func() error { return c.run(r, ctx, pods[r], size) })
			if n >= 0 {
				most[r] = max(most[r], (peak(daemon)-before)/1e6)
			}
			return err
		})
		if err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		b.table.less(name, "ms", runs.millis(), toBest(0.66))
		b.table.less(c.name+": more memory of the daemon, at the highest", "MB", b.values(func(r *runtime) float64 { return most[r] }))
	}
	return b.each(func(r *runtime) error { return r.remove(ctx, pods[r]) })
}

func (r *runtime) streamExec(ctx context.Context, p pod, size int64) error {
	command := []string{"dd", "if=/dev/zero", "bs=64k", "count=" + strconv.FormatInt(size>>16, 10)}
	answer, err := r.calls.Exec(ctx, &cri.ExecRequest{ContainerId: p.container, Cmd: command, Stdout: true})
	if err != nil {
		return err
	}
	return drain(answer.Url, "v4.channel.k8s.io", size, []http.Header{
		{"Streamtype": {"error"}},
		{"Streamtype": {"stdout"}},
	})
}

func (r *runtime) streamForward(ctx context.Context, p pod, size int64) error {
	answer, err := r.calls.PortForward(ctx, &cri.PortForwardRequest{PodSandboxId: p.id, Port: []int32{streamPort}})
	if err != nil {
		return err
	}
	port := strconv.Itoa(streamPort)
	return drain(answer.Url, "portforward.k8s.io", size, []http.Header{
		{"Streamtype": {"error"}, "Port": {port}, "Requestid": {"1"}},
		{"Streamtype": {"data"}, "Port": {port}, "Requestid": {"1"}},
	})
}

// drain opens an error stream and a data stream over SPDY, and reads until the data stream ends.
func drain(address, protocol string, size int64, streams []http.Header) error {
	target, err := url.Parse(address)
	if err != nil {
		return err
	}
	conn, err := net.Dial("tcp", target.Host)
	if err != nil {
		return err
	}
	defer conn.Close()
	in := bufio.NewReaderSize(conn, 256<<10)
	if err := upgrade(conn, in, target, protocol); err != nil {
		return err
	}
	framer, err := spdy.NewFramer(conn, bytes.NewReader(nil))
	if err != nil {
		return err
	}
	for i, headers := range streams {
		if err := framer.WriteFrame(&spdy.SynStreamFrame{StreamId: spdy.StreamId(2*i + 1), Headers: headers}); err != nil {
			return err
		}
	}
	got, err := count(in, uint32(2*len(streams)-1))
	if err != nil {
		return err
	}
	if got != size {
		return fmt.Errorf("%d bytes came of %d", got, size)
	}
	return nil
}

func upgrade(conn net.Conn, in *bufio.Reader, target *url.URL, protocol string) error {
	request := "POST " + target.RequestURI() + " HTTP/1.1\r\nHost: " + target.Host + "\r\nConnection: Upgrade\r\n" +
		"Upgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: " + protocol + "\r\nContent-Length: 0\r\n\r\n"
	if _, err := io.WriteString(conn, request); err != nil {
		return err
	}
	answer, err := http.ReadResponse(in, nil)
	if err != nil {
		return err
	}
	if answer.StatusCode != http.StatusSwitchingProtocols {
		return fmt.Errorf("the server says %s", answer.Status)
	}
	return nil
}

// count adds up the data of a stream until its last frame. Nothing else of the frames is looked at.
func count(in *bufio.Reader, stream uint32) (int64, error) {
	var head [8]byte
	total := int64(0)
	for {
		if _, err := io.ReadFull(in, head[:]); err != nil {
			return total, fmt.Errorf("after %d bytes: %w", total, err)
		}
		length := int64(head[5])<<16 | int64(head[6])<<8 | int64(head[7])
		of := binary.BigEndian.Uint32(head[:4])
		if of != stream {
			if of>>31 == 0 && length > 0 {
				text, _ := io.ReadAll(io.LimitReader(in, length))
				// An exec's end is told as a status.
				if !strings.Contains(string(text), `"Success"`) {
					return total, fmt.Errorf("the error stream says %s", text)
				}
				continue
			}
			if _, err := in.Discard(int(length)); err != nil {
				return total, err
			}
			continue
		}
		if _, err := in.Discard(int(length)); err != nil {
			return total, err
		}
		total += length
		if head[4]&1 != 0 {
			return total, nil
		}
	}
}
