//! The system calls by what they are for. Names unknown to a machine's kernel or library are passed over there.
//!
//! A call that is in none of these tables does not exist for a container.

/// Allowed to everyone: they reach nothing that the container's namespaces, ids and capabilities do not already bound.
pub(super) const ALLOWED: [&str; 15] = [
    // Reading, writing, waiting.
    "read write readv writev pread64 pwrite64 preadv pwritev preadv2 pwritev2 lseek _llseek
     close close_range dup dup2 dup3 pipe pipe2 fcntl fcntl64 ioctl flock
     poll ppoll ppoll_time64 select _newselect pselect6 pselect6_time64
     epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_wait epoll_wait_old epoll_pwait epoll_pwait2
     eventfd eventfd2 signalfd signalfd4
     sendfile sendfile64 splice tee vmsplice copy_file_range
     io_setup io_destroy io_submit io_cancel io_getevents io_pgetevents io_pgetevents_time64",
    // Opening and looking at files.
    "open openat openat2 creat access faccessat faccessat2 stat stat64 lstat lstat64 fstat fstat64 fstatat64
     statmount listmount newfstatat statx oldstat oldlstat oldfstat statfs statfs64 fstatfs fstatfs64
     readlink readlinkat getdents getdents64 readdir getcwd chdir fchdir name_to_handle_at cachestat
     inotify_init inotify_init1 inotify_add_watch inotify_rm_watch fanotify_mark",
    // Changing files and directories.
    "rename renameat renameat2 link linkat unlink unlinkat symlink symlinkat mkdir mkdirat rmdir mknod mknodat
     chmod fchmod fchmodat fchmodat2 chown chown32 lchown lchown32 fchown fchown32 fchownat umask
     utime utimes futimesat utimensat utimensat_time64
     truncate truncate64 ftruncate ftruncate64 fallocate
     sync syncfs fsync fdatasync sync_file_range sync_file_range2 arm_sync_file_range
     readahead fadvise64 fadvise64_64 arm_fadvise64_64 file_getattr file_setattr",
    // Extended attributes.
    "getxattr lgetxattr fgetxattr getxattrat setxattr lsetxattr fsetxattr setxattrat
     listxattr llistxattr flistxattr listxattrat removexattr lremovexattr fremovexattr removexattrat",
    // Memory.
    "brk mmap mmap2 munmap mremap mprotect msync mincore madvise mlock mlock2 mlockall munlock munlockall
     remap_file_pages memfd_create memfd_secret membarrier mseal map_shadow_stack
     pkey_alloc pkey_free pkey_mprotect process_mrelease",
    // Making, replacing and ending processes. Of clone only what makes no namespace, see the conditions.
    "fork vfork execve execveat exit exit_group wait4 waitid waitpid
     set_tid_address set_robust_list get_robust_list rseq restart_syscall",
    // Process properties.
    "getpid getppid gettid getpgid getpgrp setpgid getsid setsid prctl arch_prctl
     set_thread_area get_thread_area set_tls get_tls modify_ldt
     getrlimit ugetrlimit setrlimit prlimit64 getrusage times nice getpriority setpriority
     ioprio_get ioprio_set pidfd_open pidfd_send_signal seccomp
     landlock_create_ruleset landlock_add_rule landlock_restrict_self
     lsm_get_self_attr lsm_list_modules lsm_set_self_attr",
    // Ids and capabilities: the kernel checks each against the user's own.
    "getuid getuid32 geteuid geteuid32 getgid getgid32 getegid getegid32 getgroups getgroups32
     getresuid getresuid32 getresgid getresgid32 setuid setuid32 setgid setgid32 setreuid setreuid32
     setregid setregid32 setresuid setresuid32 setresgid setresgid32 setfsuid setfsuid32 setfsgid setfsgid32
     setgroups setgroups32 capget capset",
    // Signals.
    "kill tkill tgkill pause alarm signal sigaction sigprocmask sigpending sigsuspend sigreturn sigaltstack
     sgetmask ssetmask rt_sigaction rt_sigprocmask rt_sigpending rt_sigsuspend rt_sigreturn
     rt_sigtimedwait rt_sigtimedwait_time64 rt_sigqueueinfo rt_tgsigqueueinfo",
    // Scheduling.
    "sched_yield sched_getparam sched_setparam sched_getscheduler sched_setscheduler sched_getattr sched_setattr
     sched_getaffinity sched_setaffinity sched_get_priority_max sched_get_priority_min
     sched_rr_get_interval sched_rr_get_interval_time64 getcpu",
    // Locks and messages between processes.
    "futex futex_time64 futex_waitv futex_wait futex_wake futex_requeue
     ipc semget semop semctl semtimedop semtimedop_time64 shmget shmat shmdt shmctl
     msgget msgsnd msgrcv msgctl
     mq_open mq_unlink mq_notify mq_getsetattr mq_timedsend mq_timedsend_time64
     mq_timedreceive mq_timedreceive_time64",
    // Time. Setting the clock needs a capability; adjtimex without it only reads.
    "time gettimeofday clock_gettime clock_gettime64 clock_getres clock_getres_time64
     clock_nanosleep clock_nanosleep_time64 nanosleep adjtimex clock_adjtime clock_adjtime64
     getitimer setitimer timer_create timer_delete timer_getoverrun timer_gettime timer_gettime64
     timer_settime timer_settime64 timerfd_create timerfd_gettime timerfd_gettime64
     timerfd_settime timerfd_settime64",
    // Network. Of socket all families but two, see the conditions.
    "socketcall socketpair bind listen accept accept4 connect shutdown getsockname getpeername
     getsockopt setsockopt send sendto sendmsg sendmmsg recv recvfrom recvmsg recvmmsg recvmmsg_time64",
    // The machine. The kernel itself puts uprobe and uretprobe into a program that is being measured.
    "uprobe uretprobe uname olduname oldolduname sysinfo getrandom",
    // Arm.
    "breakpoint cacheflush",
];

/// Looking into other processes of the same user: safe for filters since Linux 4.8.
pub(super) const TRACING: &str = "ptrace process_vm_readv process_vm_writev";

/// Allowed with any of these capabilities, refused without.
pub(super) const GATED: [(&[&str], &str); 14] = [
    (
        &["SYS_ADMIN"],
        "mount umount umount2 mount_setattr move_mount open_tree open_tree_attr fsopen fsconfig fsmount fspick
         setns unshare quotactl quotactl_fd fanotify_init lookup_dcookie
         sethostname setdomainname",
    ),
    (&["SYS_ADMIN", "BPF"], "bpf"),
    (&["SYS_ADMIN", "PERFMON"], "perf_event_open"),
    (&["SYS_ADMIN", "SYSLOG"], "syslog"),
    (&["DAC_READ_SEARCH"], "open_by_handle_at"),
    (&["SYS_BOOT"], "reboot kexec_load kexec_file_load"),
    (&["SYS_CHROOT"], "chroot"),
    (&["SYS_MODULE"], "init_module finit_module delete_module"),
    (&["SYS_NICE"], "mbind get_mempolicy set_mempolicy set_mempolicy_home_node migrate_pages move_pages"),
    (&["SYS_PACCT"], "acct"),
    (&["SYS_PTRACE"], "kcmp pidfd_getfd process_madvise"),
    (&["SYS_RAWIO"], "iopl ioperm"),
    (&["SYS_TTY_CONFIG"], "vhangup"),
    (
        &["SYS_TIME"],
        "settimeofday stime clock_settime clock_settime64",
    ),
];

/// Refused to everyone: obsolete, of the whole machine, or too large a surface of the kernel.
pub(super) const REFUSED: &str = "
    io_uring_setup io_uring_enter io_uring_register userfaultfd
    add_key request_key keyctl
    pivot_root swapon swapoff vm86 vm86old uselib ustat sysfs
    create_module get_kernel_syms query_module nfsservctl _sysctl afs_syscall bdflush idle
    pciconfig_iobase pciconfig_read pciconfig_write";
