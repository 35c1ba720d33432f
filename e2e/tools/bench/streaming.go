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
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/moby/spdystream/spdy"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// streamPort is where the pod sends what a forwarded connection carries.
const streamPort = 7000

// streamed is what a round cost: its time, the processor time of the runtime's processes, and how much more memory the
// daemon had at its highest than before, in bytes.
type streamed struct {
	took, cpu time.Duration
	more      float64
}

// carrier is one way of bringing bytes out of a pod.
type carrier struct {
	name string
	run  func(r *runtime, ctx context.Context, p pod, size int64) error
}

var carriers = []carrier{
	{"exec, standard output", (*runtime).streamExec},
	{"port-forward", (*runtime).streamForward},
}

// measureStreaming brings s.streamMiB out of a pod by each carrier. The client is as lean as can be: it counts the bytes of
// frames, so that what is measured is the runtime.
func measureStreaming(ctx context.Context, s settings, pair [2]*runtime, t *table) error {
	pods, beside := map[*runtime]pod{}, map[*runtime][]int{}
	size := int64(s.streamMiB) << 20
	for _, r := range pair {
		known := below(s.root)
		// Each connection gets the bytes, and is closed.
		script := fmt.Sprintf("exec nc -ll -p %d -e dd if=/dev/zero bs=64k count=%d", streamPort, s.streamMiB*16)
		p, _, err := r.start(ctx, s, "stream", "sh", "-c", script)
		if err != nil {
			return fmt.Errorf("%s: %w", r.name, err)
		}
		pods[r] = p
		others, err := r.beside(ctx, s.root, known, []pod{p})
		if err != nil {
			return err
		}
		beside[r] = append(others, r.daemon...)
	}
	for _, c := range carriers {
		say("%s, %d MiB, %d rounds", c.name, s.streamMiB, s.streamRounds)
		rounds := map[*runtime][]streamed{}
		err := alternate(pair, s.streamRounds, func(r *runtime, n int) error {
			before, cpu := resetPeak(r.daemon[0]), processorTime(beside[r])
			begun := time.Now()
			if err := c.run(r, ctx, pods[r], size); err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
			took := streamed{time.Since(begun), processorTime(beside[r]) - cpu, peak(r.daemon[0]) - before}
			if n >= 0 {
				rounds[r] = append(rounds[r], took)
			}
			return nil
		})
		if err != nil {
			return err
		}
		each := func(r *runtime, of func(streamed) time.Duration) float64 {
			var all []time.Duration
			for _, round := range rounds[r] {
				all = append(all, of(round))
			}
			return median(all)
		}
		name := fmt.Sprintf("%s, %d MiB", c.name, s.streamMiB)
		t.row(name, "ms", 0.66, both(pair, func(r *runtime) float64 {
			return each(r, func(s streamed) time.Duration { return s.took })
		}))
		t.row("  processor time of the runtime", "ms", 0, both(pair, func(r *runtime) float64 {
			return each(r, func(s streamed) time.Duration { return s.cpu })
		}))
		t.row("  more memory of the daemon, at the highest", "MB", 0, both(pair, func(r *runtime) float64 {
			most := 0.0
			for _, round := range rounds[r] {
				most = max(most, round.more)
			}
			return most / 1e6
		}))
	}
	for _, r := range pair {
		if err := r.remove(ctx, pods[r]); err != nil {
			return fmt.Errorf("%s: %w", r.name, err)
		}
	}
	return nil
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

// processorTime is what processes have used so far.
func processorTime(pids []int) time.Duration {
	ticks := 0
	for _, pid := range pids {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			continue
		}
		fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
		user, _ := strconv.Atoi(fields[11])
		system, _ := strconv.Atoi(fields[12])
		ticks += user + system
	}
	return time.Duration(ticks) * time.Second / 100
}

// resetPeak forgets a process's highest memory, and returns what it has now, in bytes.
func resetPeak(pid int) float64 {
	// Without it, the rise is what it was over the whole life: told too high, never too low.
	_ = os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0)
	return statusField(pid, "VmRSS")
}

func peak(pid int) float64 { return statusField(pid, "VmHWM") }

func statusField(pid int, wanted string) float64 {
	value := 0
	eachField(fmt.Sprintf("/proc/%d/status", pid), func(name string, kib int) {
		if name == wanted {
			value = kib
		}
	})
	return float64(value) * 1024
}
