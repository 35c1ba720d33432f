package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// runtime is one of the compared.
type runtime struct {
	name, socket, script string
	// cgroup holds all that the runtime starts: the daemon, its helpers, and the pods below `pods`.
	cgroup  string
	process *exec.Cmd
	// begin makes the process the daemon; nil once it is.
	begin io.WriteCloser
	// ended is closed when the process is gone.
	ended chan struct{}
	// daemon is the process and those it keeps for itself.
	daemon []int
	conn   *grpc.ClientConn
	calls  cri.RuntimeServiceClient
	images cri.ImageServiceClient
}

// pod is a running pod with one container.
type pod struct{ id, container string }

// newRuntime reads NAME=SOCKET=CGROUP=SCRIPT.
func newRuntime(arg string) (*runtime, error) {
	words := strings.Split(arg, "=")
	if len(words) != 4 {
		return nil, fmt.Errorf("%q is not NAME=SOCKET=CGROUP=SCRIPT", arg)
	}
	return &runtime{name: words[0], socket: words[1], cgroup: words[2], script: words[3]}, nil
}

// prepare starts the script that will be the daemon, and waits until it is in its cgroup.
func (r *runtime) prepare() error {
	if r.conn != nil {
		r.conn.Close()
		r.conn = nil
	}
	script := exec.Command(r.script)
	stdin, err := script.StdinPipe()
	if err != nil {
		return err
	}
	stdout, err := script.StdoutPipe()
	if err != nil {
		return err
	}
	if err := script.Start(); err != nil {
		return err
	}
	r.process, r.begin, r.ended = script, stdin, make(chan struct{})
	_, err = bufio.NewReader(stdout).ReadString('\n')
	go func(process *exec.Cmd, ended chan struct{}) {
		// How it ends is not measured.
		_ = process.Wait()
		close(ended)
	}(r.process, r.ended)
	return err
}

// launch starts the daemon, and waits until it answers.
func (r *runtime) launch(ctx context.Context) error {
	if r.begin == nil {
		if err := r.prepare(); err != nil {
			return err
		}
	}
	_, err := io.WriteString(r.begin, "\n")
	if err = errors.Join(err, r.begin.Close()); err != nil {
		return err
	}
	r.begin = nil
	for {
		conn, err := net.Dial("unix", r.socket)
		if err == nil {
			conn.Close()
			break
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the daemon does not listen: %w", ctx.Err())
		case <-r.ended:
			return fmt.Errorf("the daemon has ended: %s", r.process.ProcessState)
		case <-time.After(500 * time.Microsecond):
		}
	}
	large := grpc.MaxCallRecvMsgSize(16 << 20)
	conn, err := grpc.NewClient("unix://"+r.socket, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDefaultCallOptions(large),
		grpc.WithUnaryInterceptor(patient))
	if err != nil {
		return err
	}
	r.conn, r.calls, r.images = conn, cri.NewRuntimeServiceClient(conn), cri.NewImageServiceClient(conn)
	// Some listen before they can answer.
	for {
		if _, err = r.calls.Version(ctx, &cri.VersionRequest{}); err == nil {
			r.daemon = withChildren(r.process.Process.Pid)
			return nil
		}
		if ctx.Err() != nil {
			return fmt.Errorf("the daemon does not answer: %w", err)
		}
		time.Sleep(500 * time.Microsecond)
	}
}

// patient gives up on a call that is not answered: what is measured takes seconds.
func patient(ctx context.Context, method string, request, answer any, conn *grpc.ClientConn, call grpc.UnaryInvoker, options ...grpc.CallOption) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	return call(ctx, method, request, answer, conn, options...)
}

// stop ends the daemon in an orderly way; what it started runs on.
func (r *runtime) stop() error {
	if r.process == nil {
		return nil
	}
	process := r.process
	r.process = nil
	if err := process.Process.Signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("%s: %w", r.name, err)
	}
	<-r.ended
	return nil
}

func (r *runtime) pull(ctx context.Context, image string) error {
	_, err := r.images.PullImage(ctx, &cri.PullImageRequest{Image: &cri.ImageSpec{Image: image}})
	return err
}

func (r *runtime) removeImage(ctx context.Context, image string) error {
	_, err := r.images.RemoveImage(ctx, &cri.RemoveImageRequest{Image: &cri.ImageSpec{Image: image}})
	return err
}

// shape is what differs between the pods that are asked for.
type shape struct {
	name    string
	host    bool
	command []string
}

// configs are a pod's and its container's, as a kubelet would ask for them: the runtime's default seccomp profile, limits,
// a cgroup of its own.
func (b *bench) configs(r *runtime, s shape) (*cri.PodSandboxConfig, *cri.ContainerConfig) {
	if len(s.command) == 0 {
		s.command = []string{"sleep", "infinity"}
	}
	seccomp := &cri.SecurityProfile{ProfileType: cri.SecurityProfile_RuntimeDefault}
	spaces := &cri.NamespaceOption{Pid: cri.NamespaceMode_CONTAINER}
	if s.host {
		spaces.Network = cri.NamespaceMode_NODE
	}
	sandbox := &cri.PodSandboxConfig{
		Metadata:     &cri.PodSandboxMetadata{Name: s.name, Uid: s.name + "-uid", Namespace: "bench"},
		LogDirectory: b.logs,
		Linux: &cri.LinuxPodSandboxConfig{
			CgroupParent:    r.cgroup + "/pods/" + s.name,
			SecurityContext: &cri.LinuxSandboxSecurityContext{Seccomp: seccomp, NamespaceOptions: spaces},
		},
	}
	if !s.host {
		sandbox.Hostname = s.name
	}
	container := &cri.ContainerConfig{
		Metadata: &cri.ContainerMetadata{Name: "main"},
		Image:    &cri.ImageSpec{Image: b.image},
		Command:  s.command,
		LogPath:  r.name + "-" + s.name + ".log",
		Linux: &cri.LinuxContainerConfig{
			Resources:       &cri.LinuxContainerResources{MemoryLimitInBytes: 64 << 20, CpuShares: 100},
			SecurityContext: &cri.LinuxContainerSecurityContext{Seccomp: seccomp, NamespaceOptions: spaces},
		},
	}
	return sandbox, container
}

// steps are the calls that start a pod, in their order.
var steps = []string{"RunPodSandbox", "CreateContainer", "StartContainer"}

// start runs a pod; `took` has how long each step took.
func (b *bench) start(ctx context.Context, r *runtime, s shape) (p pod, took [3]time.Duration, err error) {
	sandbox, container := b.configs(r, s)
	for i, step := range []func() error{
		func() error {
			ran, err := r.calls.RunPodSandbox(ctx, &cri.RunPodSandboxRequest{Config: sandbox})
			p.id = ran.GetPodSandboxId()
			return err
		},
		func() error {
			created, err := r.calls.CreateContainer(ctx, &cri.CreateContainerRequest{
				PodSandboxId: p.id, Config: container, SandboxConfig: sandbox,
			})
			p.container = created.GetContainerId()
			return err
		},
		func() error {
			_, err := r.calls.StartContainer(ctx, &cri.StartContainerRequest{ContainerId: p.container})
			return err
		},
	} {
		begun := time.Now()
		if err := step(); err != nil {
			return p, took, fmt.Errorf("%s: %w", steps[i], err)
		}
		took[i] = time.Since(begun)
	}
	return p, took, nil
}

// pod starts one of which the steps' times are not wanted.
func (b *bench) pod(ctx context.Context, r *runtime, s shape) (pod, error) {
	p, _, err := b.start(ctx, r, s)
	return p, err
}

// remove ends a pod; its container gets no time to end by itself.
func (r *runtime) remove(ctx context.Context, p pod) error {
	if _, err := r.calls.StopContainer(ctx, &cri.StopContainerRequest{ContainerId: p.container}); err != nil {
		return fmt.Errorf("StopContainer: %w", err)
	}
	if _, err := r.calls.RemoveContainer(ctx, &cri.RemoveContainerRequest{ContainerId: p.container}); err != nil {
		return fmt.Errorf("RemoveContainer: %w", err)
	}
	if _, err := r.calls.StopPodSandbox(ctx, &cri.StopPodSandboxRequest{PodSandboxId: p.id}); err != nil {
		return fmt.Errorf("StopPodSandbox: %w", err)
	}
	if _, err := r.calls.RemovePodSandbox(ctx, &cri.RemovePodSandboxRequest{PodSandboxId: p.id}); err != nil {
		return fmt.Errorf("RemovePodSandbox: %w", err)
	}
	return nil
}

func (r *runtime) exec(ctx context.Context, p pod, command ...string) error {
	answer, err := r.calls.ExecSync(ctx, &cri.ExecSyncRequest{ContainerId: p.container, Cmd: command, Timeout: 30})
	if err == nil && answer.ExitCode != 0 {
		err = fmt.Errorf("exec: exit code %d: %s", answer.ExitCode, answer.Stderr)
	}
	return err
}

// pid is that of a container's first process.
func (r *runtime) pid(ctx context.Context, p pod) (int, error) {
	status, err := r.calls.ContainerStatus(ctx, &cri.ContainerStatusRequest{ContainerId: p.container, Verbose: true})
	if err != nil {
		return 0, err
	}
	if text, ok := status.Info["pid"]; ok {
		return strconv.Atoi(text)
	}
	var inner struct {
		Pid int `json:"pid"`
	}
	if err := json.Unmarshal([]byte(status.Info["info"]), &inner); err != nil || inner.Pid == 0 {
		return 0, fmt.Errorf("the verbose status names no pid")
	}
	return inner.Pid, nil
}

// helpers are the runtime's processes that are no container's own: the daemon, and what it keeps for its pods.
func (r *runtime) helpers(ctx context.Context, pods []pod) ([]int, error) {
	own := map[int]bool{}
	for _, p := range pods {
		pid, err := r.pid(ctx, p)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", r.name, err)
		}
		own[pid] = true
	}
	var helpers []int
	for _, pid := range r.processes() {
		if !own[pid] {
			helpers = append(helpers, pid)
		}
	}
	return helpers, nil
}
