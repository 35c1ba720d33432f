package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// runtime is one of the compared: its name, its daemon's processes as long as there is no pod, and its two services.
type runtime struct {
	name   string
	daemon []int
	calls  cri.RuntimeServiceClient
	images cri.ImageServiceClient
}

// pod is a running pod with one container.
type pod struct{ id, container string }

// podTimes are what each step of pods' lives took, one entry a pod.
type podTimes struct{ total, run, create, start, end []time.Duration }

// podTook is one pod's share of it.
type podTook struct{ run, create, start, end time.Duration }

func (t *podTimes) add(p podTook) {
	t.total = append(t.total, p.run+p.create+p.start)
	t.run = append(t.run, p.run)
	t.create = append(t.create, p.create)
	t.start = append(t.start, p.start)
	t.end = append(t.end, p.end)
}

// dial connects to what NAME=SOCKET=PID names.
func dial(arg string) (*runtime, error) {
	parts := strings.Split(arg, "=")
	if len(parts) != 3 {
		return nil, fmt.Errorf("%q is not NAME=SOCKET=PID", arg)
	}
	pid, err := strconv.Atoi(parts[2])
	if err != nil {
		return nil, fmt.Errorf("%q: %w", arg, err)
	}
	conn, err := grpc.NewClient("unix://"+parts[1], grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, err
	}
	return &runtime{parts[0], withChildren(pid), cri.NewRuntimeServiceClient(conn), cri.NewImageServiceClient(conn)}, nil
}

func (r *runtime) pull(ctx context.Context, image string) error {
	_, err := r.images.PullImage(ctx, &cri.PullImageRequest{Image: &cri.ImageSpec{Image: image}})
	return err
}

func (r *runtime) removeImage(ctx context.Context, image string) error {
	_, err := r.images.RemoveImage(ctx, &cri.RemoveImageRequest{Image: &cri.ImageSpec{Image: image}})
	return err
}

// start runs a pod as the kubelet would ask for one, whose container sleeps unless there is a command: the runtime's default seccomp profile, a network of its own.
func (r *runtime) start(ctx context.Context, s settings, name string, command ...string) (pod, podTook, error) {
	if len(command) == 0 {
		command = []string{"sleep", "infinity"}
	}
	seccomp := &cri.SecurityProfile{ProfileType: cri.SecurityProfile_RuntimeDefault}
	spaces := &cri.NamespaceOption{Pid: cri.NamespaceMode_CONTAINER}
	sandbox := &cri.PodSandboxConfig{
		Metadata:     &cri.PodSandboxMetadata{Name: name, Uid: name + "-uid", Namespace: "bench"},
		Hostname:     name,
		LogDirectory: s.logs,
		Linux: &cri.LinuxPodSandboxConfig{
			SecurityContext: &cri.LinuxSandboxSecurityContext{Seccomp: seccomp, NamespaceOptions: spaces},
		},
	}
	if s.cgroup != "" {
		sandbox.Linux.CgroupParent = s.cgroup + "/" + r.name + "-" + name
	}
	container := &cri.ContainerConfig{
		Metadata: &cri.ContainerMetadata{Name: "main"},
		Image:    &cri.ImageSpec{Image: s.image},
		Command:  command,
		LogPath:  r.name + "-" + name + ".log",
		Linux: &cri.LinuxContainerConfig{
			Resources:       &cri.LinuxContainerResources{MemoryLimitInBytes: 64 << 20, CpuShares: 100},
			SecurityContext: &cri.LinuxContainerSecurityContext{Seccomp: seccomp, NamespaceOptions: spaces},
		},
	}
	var took podTook
	begun := time.Now()
	ran, err := r.calls.RunPodSandbox(ctx, &cri.RunPodSandboxRequest{Config: sandbox})
	if err != nil {
		return pod{}, took, fmt.Errorf("RunPodSandbox: %w", err)
	}
	took.run = time.Since(begun)
	begun = time.Now()
	created, err := r.calls.CreateContainer(ctx, &cri.CreateContainerRequest{
		PodSandboxId: ran.PodSandboxId, Config: container, SandboxConfig: sandbox,
	})
	if err != nil {
		return pod{}, took, fmt.Errorf("CreateContainer: %w", err)
	}
	took.create = time.Since(begun)
	begun = time.Now()
	_, err = r.calls.StartContainer(ctx, &cri.StartContainerRequest{ContainerId: created.ContainerId})
	if err != nil {
		return pod{}, took, fmt.Errorf("StartContainer: %w", err)
	}
	took.start = time.Since(begun)
	return pod{ran.PodSandboxId, created.ContainerId}, took, nil
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

// beside are the processes below root that came since `known` was listed and are no container's own: what the runtime keeps for
// its pods.
func (r *runtime) beside(ctx context.Context, root int, known map[int]bool, pods []pod) ([]int, error) {
	own := map[int]bool{}
	for _, p := range pods {
		status, err := r.calls.ContainerStatus(ctx, &cri.ContainerStatusRequest{ContainerId: p.container, Verbose: true})
		if err != nil {
			return nil, err
		}
		pid, err := pidOf(status.Info)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", r.name, err)
		}
		own[pid] = true
	}
	var beside []int
	for pid := range below(root) {
		if !known[pid] && !own[pid] {
			beside = append(beside, pid)
		}
	}
	return beside, nil
}

// pidOf finds the container's process in a verbose status: a field of its own, or one of a JSON text.
func pidOf(info map[string]string) (int, error) {
	if text, ok := info["pid"]; ok {
		return strconv.Atoi(text)
	}
	var inner struct {
		Pid int `json:"pid"`
	}
	if err := json.Unmarshal([]byte(info["info"]), &inner); err != nil || inner.Pid == 0 {
		return 0, fmt.Errorf("the verbose status names no pid")
	}
	return inner.Pid, nil
}
