# shellcheck shell=bash
# A part of inside.sh and of scopes.sh, and sourced by the first: devices by path, by directory and by description, and huge
# pages. What confines them is not what it is on cgroup v1: a program of the kernel's, and other files.
# shellcheck disable=SC2153,SC2016 # IMAGE and POD are inside.sh's; shells in containers expand what is theirs

# prepare_devices: what the containers are given: /dev/vda to read, /dev/vdc to write, a directory with /dev/vdd, a device that is
# described, and a volume of huge pages.
prepare_devices() {
	local given=/root/given numbers
	mkdir -p /etc/cdi $given/nodes/below $given/pages
	numbers=$(lsblk -dnro NAME,MAJ:MIN | awk '$1 == "vdd" { sub(":", " ", $2); print $2 }')
	# shellcheck disable=SC2086 # two numbers
	mknod $given/nodes/below/disk b $numbers
	echo "no device" >$given/nodes/readme
	echo described >$given/figures
	# Told of the container by its state, as hooks are.
	cat >$given/hook <<-'END'
		#!/bin/sh
		sed -n 's/.*"bundle":"\([^"]*\)".*/\1/p' >/root/given/bundle
	END
	chmod 755 $given/hook
	cat >/etc/cdi/guest.json <<-END
		{"cdiVersion": "1.0.0", "kind": "guest.test/disk", "devices": [{"name": "d", "containerEdits": {
		  "env": ["DESCRIBED=yes"], "hooks": [{"hookName": "createRuntime", "path": "$given/hook"}],
		  "deviceNodes": [{"path": "/dev/described", "hostPath": "/dev/vdb", "permissions": "r"}],
		  "mounts": [{"hostPath": "$given/figures", "containerPath": "/proc/driver/rtc", "options": ["ro", "bind"]}]}}]}
	END
	echo 8 >/proc/sys/vm/nr_hugepages
	mount -t hugetlbfs -o pagesize=2M none $given/pages
	cat >devices.json <<-END
		{"metadata": {"name": "devices"}, "image": {"image": "$IMAGE"}, "command": ["top", "-b", "-d", "3600"],
		 "CDI_devices": [{"name": "guest.test/disk=d"}],
		 "devices": [{"host_path": "/dev/vda", "container_path": "/dev/one/read", "permissions": "r"},
		             {"host_path": "/dev/vdc", "container_path": "/dev/one/write", "permissions": "w"},
		             {"host_path": "$given/nodes", "container_path": "/dev/many", "permissions": "rw"}],
		 "mounts": [{"host_path": "$given/pages", "container_path": "/pages"}],
		 "linux": {"resources": {"hugepage_limits": [{"page_size": "2MB", "limit": 4194304}]}}}
	END
}

# lines: those that there are, in one. crictl adds empty ones.
lines() { grep . | paste -sd,; }

# opened PATH...: for each, whether it can be opened for reading and for writing, and what says no if either cannot.
opened() {
	crictl exec -s "$given_to" sh -c 'for path; do
		r=-; w=-; why=
		if (: <"$path") 2>/said; then r=r; else why=$(sed "s/.*: //" /said); fi
		if (: >>"$path") 2>/said; then w=w; else why=$(sed "s/.*: //" /said); fi
		echo "$r$w $why"
	done' sh "$@" | sed 's/ *$//' | lines
}

# devices_hold: a container that is given all these has them as it was said, and no more.
devices_hold() {
	local given_to
	rm -f /root/given/bundle
	if ! given_to=$(crictl create "$POD" devices.json pod.json) || ! crictl start "$given_to" >/dev/null; then
		fail "a container with devices starts"
		return
	fi
	equal "devices open as their permissions say" "r- Operation not permitted,-w Operation not permitted" \
		"$(opened /dev/one/read /dev/one/write)"
	equal "a directory stands for the devices below it" "below/disk rw" \
		"$(crictl exec -s "$given_to" sh -c 'cd /dev/many; find . -type f -o -type b | cut -c 3-') $(opened /dev/many/below/disk)"
	equal "a described device opens as its description says" "r- Operation not permitted" "$(opened /dev/described)"
	equal "the description's variable is there, and its mount in place of figures" "yes described" \
		"$(crictl exec -s "$given_to" sh -c 'echo "$DESCRIBED $(cat /proc/driver/rtc)"')"
	equal "and its hook has run for this container" "$given_to" "$(tr '/' '\n' </root/given/bundle | grep -x "$given_to")"

	equal "huge pages are limited" 4194304 "$(cat "$(group_of "$given_to")/hugetlb.2MB.max")"
	equal "and the status tells it" "2MB 4194304" \
		"$(crictl inspect -o go-template --template '{{range .status.resources.linux.hugepageLimits}}{{.pageSize}} {{.limit}}{{end}}' "$given_to")"
	equal "as many can be used and no more" "2 pages,No space left on device" "$(crictl exec -s "$given_to" sh -c '
		fallocate -l 4194304 /pages/some && echo "$(($(stat -c %b /pages/some) / 4096)) pages"
		fallocate -l 2097152 /pages/more 2>&1 | sed "s/.*: //"; rm /pages/*' | lines)"
	crictl rm -f "$given_to" >/dev/null || fail "rm of the container with devices"
}
