//! The default filter held to the one that the field publishes: every call, and who may make it.
//!
//! The table is what `seccomp/default.json` of github.com/moby/profiles allows on x86_64 and aarch64, as of 6 May 2026
//! (`seccomp/v0.2.3`): names and conditions, nothing else of it. A difference is listed with its reason, or it fails.

use std::collections::BTreeSet;

use oci_spec::runtime::LinuxSeccompAction::ScmpActAllow;

use super::*;

/// Allowed to everyone, from Linux 4.8 on.
const EVERYONE: &str = "
    _llseek _newselect accept accept4 access adjtimex alarm arch_prctl arm_fadvise64_64
    arm_sync_file_range bind breakpoint brk cacheflush cachestat capget capset chdir chmod chown chown32
    clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime clock_gettime64
    clock_nanosleep clock_nanosleep_time64 close close_range connect copy_file_range creat dup dup2 dup3
    epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait
    epoll_wait_old eventfd eventfd2 execve execveat exit exit_group faccessat faccessat2 fadvise64
    fadvise64_64 fallocate fanotify_mark fchdir fchmod fchmodat fchmodat2 fchown fchown32 fchownat fcntl
    fcntl64 fdatasync fgetxattr flistxattr flock fork fremovexattr fsetxattr fstat fstat64 fstatat64
    fstatfs fstatfs64 fsync ftruncate ftruncate64 futex futex_requeue futex_time64 futex_wait
    futex_waitv futex_wake futimesat get_robust_list get_thread_area getcpu getcwd getdents getdents64
    getegid getegid32 geteuid geteuid32 getgid getgid32 getgroups getgroups32 getitimer getpeername
    getpgid getpgrp getpid getppid getpriority getrandom getresgid getresgid32 getresuid getresuid32
    getrlimit getrusage getsid getsockname getsockopt gettid gettimeofday getuid getuid32 getxattr
    getxattrat inotify_add_watch inotify_init inotify_init1 inotify_rm_watch io_cancel io_destroy
    io_getevents io_pgetevents io_pgetevents_time64 io_setup io_submit ioctl ioprio_get ioprio_set ipc
    kill landlock_add_rule landlock_create_ruleset landlock_restrict_self lchown lchown32 lgetxattr link
    linkat listen listmount listxattr listxattrat llistxattr lremovexattr lseek lsetxattr lstat lstat64
    madvise map_shadow_stack membarrier memfd_create memfd_secret mincore mkdir mkdirat mknod mknodat
    mlock mlock2 mlockall mmap mmap2 modify_ldt mprotect mq_getsetattr mq_notify mq_open mq_timedreceive
    mq_timedreceive_time64 mq_timedsend mq_timedsend_time64 mq_unlink mremap mseal msgctl msgget msgrcv
    msgsnd msync munlock munlockall munmap name_to_handle_at nanosleep newfstatat open openat openat2
    pause pidfd_open pidfd_send_signal pipe pipe2 pkey_alloc pkey_free pkey_mprotect poll ppoll
    ppoll_time64 prctl pread64 preadv preadv2 prlimit64 process_mrelease process_vm_readv
    process_vm_writev pselect6 pselect6_time64 ptrace pwrite64 pwritev pwritev2 read readahead readlink
    readlinkat readv recv recvfrom recvmmsg recvmmsg_time64 recvmsg remap_file_pages removexattr
    removexattrat rename renameat renameat2 restart_syscall riscv_hwprobe rmdir rseq rt_sigaction
    rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait
    rt_sigtimedwait_time64 rt_tgsigqueueinfo sched_get_priority_max sched_get_priority_min
    sched_getaffinity sched_getattr sched_getparam sched_getscheduler sched_rr_get_interval
    sched_rr_get_interval_time64 sched_setaffinity sched_setattr sched_setparam sched_setscheduler
    sched_yield seccomp select semctl semget semop semtimedop semtimedop_time64 send sendfile sendfile64
    sendmmsg sendmsg sendto set_robust_list set_thread_area set_tid_address set_tls setfsgid setfsgid32
    setfsuid setfsuid32 setgid setgid32 setgroups setgroups32 setitimer setpgid setpriority setregid
    setregid32 setresgid setresgid32 setresuid setresuid32 setreuid setreuid32 setrlimit setsid
    setsockopt setuid setuid32 setxattr setxattrat shmat shmctl shmdt shmget shutdown sigaltstack
    signalfd signalfd4 sigprocmask sigreturn socketcall socketpair splice stat stat64 statfs statfs64
    statmount statx symlink symlinkat sync sync_file_range sync_file_range2 syncfs sysinfo tee tgkill
    time timer_create timer_delete timer_getoverrun timer_gettime timer_gettime64 timer_settime
    timer_settime64 timerfd_create timerfd_gettime timerfd_gettime64 timerfd_settime timerfd_settime64
    times tkill truncate truncate64 ugetrlimit umask uname unlink unlinkat uretprobe utime utimensat
    utimensat_time64 utimes vfork vmsplice wait4 waitid waitpid write writev";

/// Allowed to everyone with some arguments only.
const CONDITIONAL: &str = "clone personality socket";

/// Allowed beside those with a capability.
const WITH: [(&str, &str); 14] = [
    ("BPF", "bpf"),
    ("DAC_READ_SEARCH", "open_by_handle_at"),
    ("PERFMON", "perf_event_open"),
    ("SYSLOG", "syslog"),
    (
        "SYS_ADMIN",
        "bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie lsm_get_self_attr
         lsm_list_modules lsm_set_self_attr mount mount_setattr move_mount open_tree perf_event_open quotactl
         quotactl_fd setdomainname sethostname setns syslog umount umount2 unshare",
    ),
    ("SYS_BOOT", "reboot"),
    ("SYS_CHROOT", "chroot"),
    ("SYS_MODULE", "delete_module finit_module init_module"),
    (
        "SYS_NICE",
        "get_mempolicy mbind set_mempolicy set_mempolicy_home_node",
    ),
    ("SYS_PACCT", "acct"),
    (
        "SYS_PTRACE",
        "kcmp pidfd_getfd process_madvise process_vm_readv process_vm_writev ptrace",
    ),
    ("SYS_RAWIO", "ioperm iopl"),
    ("SYS_TIME", "clock_settime clock_settime64 settimeofday stime"),
    ("SYS_TTY_CONFIG", "vhangup"),
];

/// What is otherwise here: a capability, or none for all alike; the calls; why.
const DIFFERENCES: [(&str, &str, &str); 8] = [
    (
        "",
        "get_tls nice oldfstat oldlstat oldolduname oldstat olduname readdir sgetmask sigaction signal sigpending
         sigsuspend ssetmask",
        "older forms, of 32-bit programs, of what is allowed",
    ),
    (
        "",
        "file_getattr file_setattr",
        "as the ioctls that they replace, which are allowed; what may be changed the file system checks",
    ),
    (
        "",
        "lsm_get_self_attr lsm_list_modules lsm_set_self_attr",
        "as /proc/self/attr, which any process may read and write as far as the security module lets it",
    ),
    ("", "uprobe", "the kernel itself puts it into a program that is measured, as uretprobe"),
    ("", "riscv_hwprobe", "of a machine that there is no Coracle for"),
    ("SYS_ADMIN", "open_tree_attr", "open_tree and mount_setattr in one, both allowed"),
    ("SYS_BOOT", "kexec_file_load kexec_load", "what the capability is for"),
    ("SYS_NICE", "migrate_pages move_pages", "what the capability is for"),
];

fn with(capability: &str) -> Context {
    let named = [capability].into_iter().filter(|name| !name.is_empty());
    Context {
        capabilities: capabilities::mask(named).unwrap(),
        kernel: (6, 1),
    }
}

/// What a filter allows, whatever the arguments.
fn allowed(filter: &LinuxSeccomp) -> BTreeSet<String> {
    let rules = filter.syscalls().as_ref().unwrap().iter();
    let allowing = rules.filter(|rule| rule.action() == ScmpActAllow);
    allowing.flat_map(|rule| rule.names().clone()).collect()
}

#[test]
fn each_difference_to_the_published_filter_has_a_reason() {
    let gated = calls::GATED.iter().flat_map(|(names, _)| *names);
    let known: BTreeSet<&str> = gated
        .copied()
        .chain(WITH.map(|(name, _)| name))
        .chain([""])
        .collect();
    for capability in known {
        let published = WITH.iter().filter(|(name, _)| *name == capability);
        let granted: BTreeSet<&str> = published.flat_map(|(_, names)| words(names)).collect();
        let theirs: BTreeSet<&str> = words(EVERYONE)
            .chain(words(CONDITIONAL))
            .chain(granted.iter().copied())
            .collect();
        let ours = allowed(&default_profile(&with(capability)));
        let ours: BTreeSet<&str> = ours.iter().map(String::as_str).collect();

        let listed = DIFFERENCES
            .iter()
            .filter(|(of, ..)| of.is_empty() || *of == capability);
        let listed = listed.flat_map(|(_, names, _)| words(names));
        // What everyone has here, and only some there, those have in both.
        let listed: BTreeSet<&str> = listed.filter(|name| !granted.contains(name)).collect();
        let found: BTreeSet<&str> = ours.symmetric_difference(&theirs).copied().collect();
        assert_eq!(found, listed, "with {capability:?}");
    }
}

/// Whether a filter lets a call through whose first argument is this.
fn passes(filter: &LinuxSeccomp, call: &str, value: u64) -> bool {
    use LinuxSeccompOperator::{ScmpCmpEq, ScmpCmpGt, ScmpCmpLt};
    let holds = |arg: &LinuxSeccompArg| match arg.op() {
        ScmpCmpEq => value == arg.value(),
        ScmpCmpGt => value > arg.value(),
        ScmpCmpLt => value < arg.value(),
        other => panic!("{other:?}"),
    };
    let rules = filter.syscalls().as_ref().unwrap().iter();
    let of_call = rules.filter(|rule| rule.names().iter().any(|name| name == call));
    let verdicts: Vec<_> = of_call
        .filter(|rule| rule.args().iter().flatten().all(holds))
        .map(|rule| rule.action())
        .collect();
    // Rules that contradict each other would leave it to chance.
    assert!(verdicts.len() <= 1, "{call}({value}): {verdicts:?}");
    verdicts == [ScmpActAllow]
}

#[test]
fn sockets_are_of_the_published_families_and_refused_by_name() {
    let filter = default_profile(&with(""));

    for family in 0..64 {
        let expected = ![AF_ALG, AF_VSOCK].contains(&family);
        assert_eq!(passes(&filter, "socket", family), expected, "{family}");
    }
}
