package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// idle is a server that has its answers ready, by the name of the call, and can do nothing else.
type idle map[string][]byte

func (answers idle) answer(_ any, stream grpc.ServerStream) error {
	method, _ := grpc.MethodFromServerStream(stream)
	ready, is := answers[path.Base(method)]
	if !is {
		return status.Errorf(codes.Unimplemented, "%s has no answer ready", method)
	}
	if err := stream.RecvMsg(new([]byte)); err != nil {
		return err
	}
	return stream.SendMsg(ready)
}

// serveIdle is that server on a socket, until the process is ended: with an answer to Version, and those in the files of a
// directory, if one is named.
func serveIdle(socket, dir string) error {
	version, err := proto.Marshal(&cri.VersionResponse{Version: "0.1.0", RuntimeName: "idle", RuntimeVersion: "0", RuntimeApiVersion: "v1"})
	if err != nil {
		return err
	}
	answers := idle{"Version": version}
	if dir != "" {
		files, err := os.ReadDir(dir)
		if err != nil {
			return err
		}
		for _, file := range files {
			if answers[file.Name()], err = os.ReadFile(filepath.Join(dir, file.Name())); err != nil {
				return err
			}
		}
	}
	listener, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}
	return grpc.NewServer(grpc.ForceServerCodecV2(raw{}), grpc.UnknownServiceHandler(answers.answer)).Serve(listener)
}

// bareServer is this program as that server, not started yet.
func (b *bench) bareServer(dir string) (*runtime, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	r := &runtime{name: "idle", socket: filepath.Join(b.scratch, "idle.sock"), script: filepath.Join(b.scratch, "idle")}
	script := fmt.Sprintf("#!/bin/bash\necho ready\nread -r\nexec %s -idle %s -answers '%s'\n", program, r.socket, dir)
	return r, os.WriteFile(r.script, []byte(script), 0o755)
}

// raw is a codec that leaves an answer as it came, or takes its size alone.
type raw struct{}

func (raw) Name() string { return "proto" }

func (raw) Marshal(message any) (mem.BufferSlice, error) {
	if ready, is := message.([]byte); is {
		return mem.BufferSlice{mem.SliceBuffer(ready)}, nil
	}
	bytes, err := proto.Marshal(message.(proto.Message))
	return mem.BufferSlice{mem.SliceBuffer(bytes)}, err
}

func (raw) Unmarshal(bytes mem.BufferSlice, into any) error {
	switch into := into.(type) {
	case *int:
		*into = bytes.Len()
	case *[]byte:
		*into = bytes.Materialize()
	default:
		return fmt.Errorf("there is no raw %T", into)
	}
	return nil
}

// measureBareServer measures what a daemon is before it does anything: this program as a server, in the language of the others.
func (b *bench) measureBareServer(ctx context.Context) error {
	r, err := b.bareServer("")
	if err != nil {
		return err
	}
	var starts []sample
	var pages, ours []float64
	for range b.rounds(10) {
		if err := r.prepare(); err != nil {
			return err
		}
		start, err := took(func() error { return r.launch(ctx) })
		if err != nil {
			return err
		}
		time.Sleep(rest / 10)
		starts = append(starts, start)
		pages, ours = append(pages, pss(r.daemon)), append(ours, anonymous(r.daemon))
		if err := errors.Join(r.stop(), os.RemoveAll(r.socket)); err != nil {
			return err
		}
	}
	b.table.Floors = append(b.table.Floors,
		floor{"a server in Go that answers Version and nothing else, started to its first answer", "ms", millis(starts)},
		floor{"… its memory (PSS)", "MB", spread(pages)},
		floor{"… of it pages of no file", "MB", spread(ours)})
	return nil
}

// bareStream brings bytes from a program through a pipe and over a connection, in pieces that would be framed.
func (b *bench) bareStream(size int64) (taken sample, err error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return taken, err
	}
	defer listener.Close()
	sent := make(chan error, 1)
	return took(func() error {
		go func() { sent <- sendOutput(listener, size) }()
		conn, err := net.Dial("tcp", listener.Addr().String())
		if err != nil {
			return err
		}
		defer conn.Close()
		got, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{conn}, make([]byte, 256<<10))
		if err = errors.Join(err, <-sent); err == nil && got != size {
			err = fmt.Errorf("%d bytes came of %d", got, size)
		}
		return err
	})
}

func sendOutput(listener net.Listener, size int64) error {
	conn, err := listener.Accept()
	if err != nil {
		return err
	}
	defer conn.Close()
	program := exec.Command("dd", "if=/dev/zero", "bs=64k", "status=none", "count="+strconv.FormatInt(size>>16, 10))
	program.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	output, err := program.StdoutPipe()
	if err != nil {
		return err
	}
	if err := program.Start(); err != nil {
		return err
	}
	// Neither end is told to copy within the kernel: what a runtime sends has a header each.
	_, err = io.CopyBuffer(struct{ io.Writer }{conn}, struct{ io.Reader }{output}, make([]byte, 64<<10))
	return errors.Join(err, program.Wait())
}
