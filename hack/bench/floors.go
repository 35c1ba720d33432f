package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	goruntime "runtime"
	"slices"
	"syscall"
	"time"

	"github.com/containernetworking/cni/libcni"
	"golang.org/x/sys/unix"
)

// floor is something that every runtime has to do, done by the bench alone.
type floor struct {
	Name, Unit string
	Value      value
}

// measureFloors times what no runtime gets round: the network's plugins, the kernel's part of a container, the disk's of a
// record and of an image.
func measureFloors(ctx context.Context, b *bench) error {
	adds, dels, containers, programs, records := []sample{}, []sample{}, []sample{}, []sample{}, []sample{}
	for n := range b.rounds(20) {
		// A node at rest: the kernel's first move to a cgroup waits then, as it does for the runtimes.
		time.Sleep(250 * time.Millisecond)
		add, del, err := b.network(ctx, n)
		if err != nil {
			return fmt.Errorf("network: %w", err)
		}
		container, program, err := b.bareContainer(n)
		if err != nil {
			return fmt.Errorf("container: %w", err)
		}
		record, err := took(func() error { return b.synced("record", 4<<10) })
		if err != nil {
			return err
		}
		adds, dels, containers, records = append(adds, add), append(dels, del), append(containers, container), append(records, record)
		programs = append(programs, program)
	}
	files, readings := []sample{}, []sample{}
	for range b.rounds(20) {
		reading, err := b.readings(100)
		if err != nil {
			return fmt.Errorf("readings: %w", err)
		}
		readings = append(readings, reading)
	}
	for range b.rounds(5) {
		file, err := took(func() error { return b.synced("layer", 400<<20) })
		if err != nil {
			return err
		}
		files = append(files, file)
	}
	b.table.Floors = append(b.table.Floors,
		floor{"network plugins, ADD", "ms", millis(adds)},
		floor{"network plugins, DEL", "ms", millis(dels)},
		floor{"a container by bare calls: cgroups, namespaces, overlay, a program started and moved", "ms", millis(containers)},
		floor{"a program more in its cgroups, started, moved and waited for", "ms", millis(programs)},
		floor{"what statistics of 100 pods read: two groups' open files and a network's counters, a hundred times", "ms", millis(readings)},
		floor{"a file of 4 KiB, written and synced", "ms", millis(records)},
		floor{"400 MiB in one file, written and synced", "ms", millis(files)})
	return nil
}

func took(do func() error) (sample, error) {
	begun := time.Now()
	err := do()
	return sample{wall: time.Since(begun)}, err
}

// network attaches a namespace of its own by the configuration that the runtimes have, and detaches it.
func (b *bench) network(ctx context.Context, n int) (add, del sample, err error) {
	list, err := libcni.ConfListFromFile(b.cniConfig)
	if err != nil {
		return add, del, err
	}
	plugins := libcni.NewCNIConfigWithCacheDir([]string{b.cniBin}, b.scratch, nil)
	pin := filepath.Join(b.scratch, fmt.Sprintf("net-%d", n))
	if err := namespace(pin); err != nil {
		return add, del, err
	}
	defer func() { err = errors.Join(err, unix.Unmount(pin, unix.MNT_DETACH), os.Remove(pin)) }()
	own := &libcni.RuntimeConf{ContainerID: fmt.Sprintf("floor-%d", n), NetNS: pin, IfName: "eth0"}
	add, err = took(func() error {
		_, err := plugins.AddNetworkList(ctx, list, own)
		return err
	})
	del, failed := took(func() error { return plugins.DelNetworkList(ctx, list, own) })
	return add, del, errors.Join(err, failed)
}

// namespace makes a network namespace and pins it to a file.
func namespace(pin string) error {
	if err := os.WriteFile(pin, nil, 0o600); err != nil {
		return err
	}
	done := make(chan error)
	go func() {
		// Not unlocked: the thread is in another namespace, and ends with this function.
		goruntime.LockOSThread()
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err == nil {
			err = unix.Mount("/proc/thread-self/ns/net", pin, "", unix.MS_BIND, "")
		}
		done <- err
	}()
	return <-done
}

// bareContainer makes what a container is to the kernel, then runs one more program in its groups, as an exec does. It takes
// all apart again, which is not timed.
func (b *bench) bareContainer(n int) (made, more sample, err error) {
	groups, err := b.groups(n)
	if err != nil {
		return made, more, err
	}
	root := filepath.Join(b.scratch, fmt.Sprintf("root-%d", n))
	upper, work, merged := root+"/upper", root+"/work", root+"/merged"
	// What waits to be told to end. It sees this machine's files.
	command := exec.Command("/bin/cat")
	command.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS | unix.CLONE_NEWCGROUP,
		Chroot:     merged,
	}
	stdin, err := command.StdinPipe()
	if err != nil {
		return made, more, err
	}
	made, err = took(func() error {
		for _, dir := range []string{upper, work, merged} {
			if err := os.MkdirAll(dir, 0o755); err != nil {
				return err
			}
		}
		if err := makeGroups(groups); err != nil {
			return err
		}
		options := "lowerdir=/,upperdir=" + upper + ",workdir=" + work
		if err := unix.Mount("overlay", merged, "overlay", 0, options); err != nil {
			return err
		}
		return startIn(groups, command)
	})
	if err == nil {
		more, err = took(func() error {
			program := exec.Command("/bin/cat")
			stdin, err := program.StdinPipe()
			if err != nil {
				return err
			}
			return errors.Join(startIn(groups, program), stdin.Close(), program.Wait())
		})
	}
	err = errors.Join(err, stdin.Close())
	if command.Process != nil {
		err = errors.Join(err, command.Wait())
	}
	err = errors.Join(err, unix.Unmount(merged, unix.MNT_DETACH), os.RemoveAll(root))
	return made, more, errors.Join(err, removeGroups(groups))
}

// startIn starts a program and moves it to groups. It must not end by itself meanwhile.
func startIn(groups []string, program *exec.Cmd) error {
	if err := program.Start(); err != nil {
		return err
	}
	for _, group := range groups {
		if err := os.WriteFile(group+"/cgroup.procs", fmt.Append(nil, program.Process.Pid), 0); err != nil {
			return err
		}
	}
	return nil
}

// groups are a name for a group in each hierarchy.
func (b *bench) groups(n int) ([]string, error) {
	groups, err := hierarchies()
	for i := range groups {
		groups[i] += fmt.Sprintf("%s/floor-%d", filepath.Dir(b.all[0].cgroup), n)
	}
	return groups, err
}

func removeGroups(groups []string) (err error) {
	for _, group := range groups {
		err = errors.Join(err, os.Remove(group))
	}
	return err
}

// usage are the files of a group that statistics are made of, on either version of cgroups.
var usage = []string{"memory.stat", "memory.usage_in_bytes", "memory.limit_in_bytes", "memory.memsw.usage_in_bytes",
	"memory.memsw.limit_in_bytes", "cpuacct.usage", "memory.current", "memory.max", "memory.swap.current", "memory.swap.max", "cpu.stat",
	"cpu.pressure", "memory.pressure", "io.pressure", "pids.current"}

// readings reads the open files of a group, twice for each of so many pods, and as often enters a network namespace and reads
// its counters.
func (b *bench) readings(pods int) (read sample, err error) {
	groups, err := b.groups(0)
	if err != nil {
		return read, err
	}
	err = makeGroups(groups)
	defer func() { err = errors.Join(err, removeGroups(groups)) }()
	pin := filepath.Join(b.scratch, "net-read")
	if err = errors.Join(err, namespace(pin)); err != nil {
		return read, err
	}
	defer func() { err = errors.Join(err, unix.Unmount(pin, unix.MNT_DETACH), os.Remove(pin)) }()
	var files []*os.File
	for _, group := range groups {
		for _, name := range usage {
			if file, err := os.Open(filepath.Join(group, name)); err == nil {
				defer file.Close()
				files = append(files, file)
			}
		}
	}
	done := make(chan error)
	read, err = took(func() error {
		go func() {
			// Not unlocked, as above.
			goruntime.LockOSThread()
			done <- readAll(files, pin, pods)
		}()
		return <-done
	})
	return read, err
}

func readAll(files []*os.File, pin string, pods int) error {
	text := make([]byte, 16<<10)
	for range pods {
		for _, file := range append(files, files...) {
			if _, err := file.ReadAt(text, 0); err != nil && !errors.Is(err, io.EOF) {
				return err
			}
		}
		network, err := os.Open(pin)
		if err != nil {
			return err
		}
		err = unix.Setns(int(network.Fd()), unix.CLONE_NEWNET)
		if err = errors.Join(err, network.Close()); err != nil {
			return err
		}
		if _, err := os.ReadFile("/proc/thread-self/net/dev"); err != nil {
			return err
		}
	}
	return nil
}

func makeGroups(groups []string) error {
	for _, group := range groups {
		if err := os.Mkdir(group, 0o755); err != nil {
			return err
		}
		// A group of cpuset's on v1 takes nobody before it has these.
		for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
			set, err := os.ReadFile(filepath.Join(filepath.Dir(group), file))
			if err != nil || accounting == "/sys/fs/cgroup" {
				continue
			}
			if err := os.WriteFile(filepath.Join(group, file), set, 0); err != nil {
				return err
			}
		}
	}
	return nil
}

// hierarchies are where groups are made: one for each controller on v1.
func hierarchies() ([]string, error) {
	if accounting == "/sys/fs/cgroup" {
		return []string{accounting}, nil
	}
	entries, err := os.ReadDir("/sys/fs/cgroup")
	var found []string
	for _, entry := range entries {
		dir := "/sys/fs/cgroup/" + entry.Name()
		if named := slices.Contains([]string{"systemd", "unified"}, entry.Name()); entry.IsDir() && !named && exists(dir+"/cgroup.procs") {
			found = append(found, dir)
		}
	}
	return found, err
}

// synced writes a file on the disk of the runtimes' stores until it is there.
func (b *bench) synced(name string, size int) error {
	path := filepath.Join(b.scratch, name)
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	part := make([]byte, min(size, 1<<20))
	for written := 0; written < size && err == nil; written += len(part) {
		_, err = file.Write(part)
	}
	if err == nil {
		err = file.Sync()
	}
	return errors.Join(err, file.Close(), os.Remove(path))
}
