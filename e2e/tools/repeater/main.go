// Repeater stands between a CRI client and a daemon that is killed again and again: a call that was under way when the
// daemon died is made once more, as a kubelet would, and its client does not notice. What the daemon answers is passed on
// as it is, errors too, but for one: a StartContainer that is made once more and refused, since the container is past being
// created, is what the first call did, and the client gets the answer that the dead daemon owed.
//
//	repeater SOCKET DAEMON-SOCKET COUNTS
//
// Messages are bytes here. A stream of answers that ends by itself is kept until it is whole, and asked for again if it
// breaks; a subscription to events is made again. At SIGTERM the file COUNTS gets the number of calls made again, by name.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log"
	"net"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"
)

// The largest message that CRI allows.
const most = 16 << 20

// frame is a message as it comes.
type frame []byte

type codec struct{}

func (codec) Name() string { return "proto" }

func (codec) Marshal(v any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(*v.(*frame))}, nil
}

func (codec) Unmarshal(data mem.BufferSlice, v any) error {
	*v.(*frame) = data.Materialize()
	return nil
}

var _ encoding.CodecV2 = codec{}

// repeated counts calls made again, by method.
type repeated struct {
	sync.Mutex
	calls map[string]int
}

func (r *repeated) add(method string) {
	r.Lock()
	defer r.Unlock()
	r.calls[method[strings.LastIndex(method, "/")+1:]]++
}

type proxy struct {
	daemon   *grpc.ClientConn
	repeated repeated
}

func (p *proxy) handle(_ any, client grpc.ServerStream) error {
	method, _ := grpc.MethodFromServerStream(client)
	var request frame
	if err := client.RecvMsg(&request); err != nil {
		return err
	}
	for again := false; ; again = true {
		err := p.attempt(client, method, &request)
		if again && strings.HasSuffix(method, "/StartContainer") && status.Code(err) == codes.FailedPrecondition {
			return client.SendMsg(&frame{})
		}
		if !died(err) || client.Context().Err() != nil {
			return err
		}
		p.repeated.add(method)
		// It takes the killer a moment to start the next one; waiting for it is the connection's business.
		time.Sleep(20 * time.Millisecond)
	}
}

// died tells whether a call ended because the daemon did: the connection, not an answer, says so.
func died(err error) bool {
	return status.Code(err) == codes.Unavailable
}

func (p *proxy) attempt(client grpc.ServerStream, method string, request *frame) error {
	ctx, cancel := context.WithCancel(client.Context())
	defer cancel()
	both := &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}
	stream, err := p.daemon.NewStream(ctx, both, method, grpc.WaitForReady(true))
	if err != nil {
		return err
	}
	if err := stream.SendMsg(request); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if err := stream.CloseSend(); err != nil {
		return err
	}
	endless := strings.HasSuffix(method, "/GetContainerEvents")
	var answers []frame
	for {
		var answer frame
		err := stream.RecvMsg(&answer)
		switch {
		case errors.Is(err, io.EOF):
			for i := range answers {
				if err := client.SendMsg(&answers[i]); err != nil {
					return err
				}
			}
			return nil
		case err != nil:
			return err
		case endless:
			if err := client.SendMsg(&answer); err != nil {
				return err
			}
		default:
			answers = append(answers, answer)
		}
	}
}

func main() {
	socket, daemon, counts := os.Args[1], os.Args[2], os.Args[3]
	connection, err := grpc.NewClient("unix://"+daemon,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.ForceCodecV2(codec{}), grpc.MaxCallRecvMsgSize(most), grpc.MaxCallSendMsgSize(most)),
		// A daemon is away for less than a second: do not wait longer each time.
		grpc.WithConnectParams(grpc.ConnectParams{MinConnectTimeout: time.Second}),
		// Failures are to be seen and counted here.
		grpc.WithDisableRetry())
	if err != nil {
		log.Fatal(err)
	}
	p := &proxy{daemon: connection, repeated: repeated{calls: map[string]int{}}}
	listener, err := net.Listen("unix", socket)
	if err != nil {
		log.Fatal(err)
	}
	server := grpc.NewServer(grpc.UnknownServiceHandler(p.handle), grpc.ForceServerCodecV2(codec{}),
		grpc.MaxRecvMsgSize(most), grpc.MaxSendMsgSize(most))
	told := make(chan os.Signal, 1)
	signal.Notify(told, syscall.SIGTERM)
	go func() {
		<-told
		server.Stop()
	}()
	if err := server.Serve(listener); err != nil {
		log.Fatal(err)
	}
	p.repeated.Lock()
	defer p.repeated.Unlock()
	text, err := json.Marshal(p.repeated.calls)
	if err == nil {
		err = os.WriteFile(counts, text, 0o644)
	}
	if err != nil {
		log.Fatal(err)
	}
}
