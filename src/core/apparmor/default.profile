# What containers have unless they ask for another profile. Namespaces, capabilities, system call filter and read-only mounts
# bound them too; this is the wall behind those.
profile coracle-default flags=(attach_disconnected,mediate_deleted) {
  network,
  capability,
  file,
  umount,
  unix,

  # Its own processes are a container's own business, and the node looks after all.
  signal (send,receive) peer=coracle-default,
  ptrace (trace,read,tracedby,readby) peer=coracle-default,
  signal (receive) peer=unconfined,
  ptrace (tracedby,readby) peer=unconfined,

  # Mounts are the runtime's.
  deny mount,

  # Of /proc, what is of processes (they begin with a digit), of the container's own network, IPC and UTS namespaces.
  deny /proc/[^0-9s]** wl,
  deny /proc/s[^y]** wl,
  deny /proc/sys[^/]** wl,
  deny /proc/sys/[^kn]** wl,
  deny /proc/sys/kernel/[^dhms]** wl,
  deny /proc/sys/kernel/d[^o]** wl,
  deny /proc/sys/kernel/h[^o]** wl,
  deny /proc/sys/kernel/m[^s]** wl,
  deny /proc/sys/kernel/s[^eh]** wl,
  deny /proc/sys/kernel/sh[^m]** wl,
  deny /proc/sys/kernel/se[^m]** wl,
  deny /proc/{kcore,kmem,mem,sysrq-trigger} rwklx,

  # Of /sys, the container's own cgroups.
  deny /sys/[^f]** wklx,
  deny /sys/f[^s]** wklx,
  deny /sys/fs/[^c]** wklx,
  deny /sys/fs/c[^g]** wklx,
  deny /sys/firmware/** rwklx,
  deny /sys/kernel/{security,debug,tracing}/** rwklx,
  deny /sys/devices/virtual/powercap/** rwklx,
}
