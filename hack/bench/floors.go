package main

import (
	"context"
	"errors"
	"fmt"
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
	adds, dels, containers, records := []sample{}, []sample{}, []sample{}, []sample{}
	for n := range b.rounds(20) {
		// A node at rest: the kernel's first move to a cgroup waits then, as it does for the runtimes.
		time.Sleep(250 * time.Millisecond)
		add, del, err := b.network(ctx, n)
		if err != nil {
			return fmt.Errorf("network: %w", err)
		}
		container, err := b.bareContainer(n)
		if err != nil {
			return fmt.Errorf("container: %w", err)
		}
		record, err := took(func() error { return b.synced("record", 4<<10) })
		if err != nil {
			return err
		}
		adds, dels, containers, records = append(adds, add), append(dels, del), append(containers, container), append(records, record)
	}
	files := []sample{}
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

// bareContainer makes what a container is to the kernel, and takes it apart again, which is not timed.
func (b *bench) bareContainer(n int) (sample, error) {
	groups, err := hierarchies()
	if err != nil {
		return sample{}, err
	}
	for i := range groups {
		groups[i] += fmt.Sprintf("%s/floor-%d", filepath.Dir(b.all[0].cgroup), n)
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
		return sample{}, err
	}
	made, err := took(func() error {
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
		if err := command.Start(); err != nil {
			return err
		}
		for _, group := range groups {
			if err := os.WriteFile(group+"/cgroup.procs", fmt.Append(nil, command.Process.Pid), 0); err != nil {
				return err
			}
		}
		return nil
	})
	err = errors.Join(err, stdin.Close())
	if command.Process != nil {
		err = errors.Join(err, command.Wait())
	}
	err = errors.Join(err, unix.Unmount(merged, unix.MNT_DETACH), os.RemoveAll(root))
	for _, group := range groups {
		err = errors.Join(err, os.Remove(group))
	}
	return made, err
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
