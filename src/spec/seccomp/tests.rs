//! Tests of the default filter and of reading profiles.

use oci_spec::runtime::LinuxSeccompAction::{ScmpActAllow, ScmpActErrno};

use super::*;

const MODERN: (u32, u32) = (6, 1);

fn with(capabilities: &[&str]) -> Context {
    Context {
        capabilities: capabilities::mask(capabilities.iter().copied()).unwrap(),
        kernel: MODERN,
    }
}

/// What a filter says of a call without looking at arguments: the action and errno of its unconditional rule.
fn verdict(filter: &LinuxSeccomp, call: &str) -> (LinuxSeccompAction, Option<u32>) {
    let rules = filter.syscalls().as_ref().unwrap();
    rules
        .iter()
        .find(|rule| rule.args().is_none() && rule.names().iter().any(|name| name == call))
        .map_or((filter.default_action(), filter.default_errno_ret()), |rule| {
            (rule.action(), rule.errno_ret())
        })
}

const ALLOW: (LinuxSeccompAction, Option<u32>) = (ScmpActAllow, None);
const EPERM: (LinuxSeccompAction, Option<u32>) = (ScmpActErrno, Some(1));
const ENOSYS: (LinuxSeccompAction, Option<u32>) = (ScmpActErrno, Some(38));

#[test]
fn the_default_filter_gives_each_call_its_verdict_by_capability() {
    let rows: &[(&[&str], &str, _)] = &[
        (&[], "read", ALLOW),
        (&[], "execve", ALLOW),
        (&[], "seccomp", ALLOW),
        (&[], "ptrace", ALLOW),
        (&[], "mount", EPERM),
        (&["SYS_ADMIN"], "mount", ALLOW),
        (&[], "unshare", EPERM),
        (&["SYS_ADMIN"], "sethostname", ALLOW),
        (&[], "bpf", EPERM),
        (&["BPF"], "bpf", ALLOW),
        (&["SYS_ADMIN"], "bpf", ALLOW),
        (&["PERFMON"], "perf_event_open", ALLOW),
        (&["SYSLOG"], "syslog", ALLOW),
        (&[], "open_by_handle_at", EPERM),
        (&["DAC_READ_SEARCH"], "open_by_handle_at", ALLOW),
        (&[], "chroot", EPERM),
        (&["SYS_CHROOT"], "chroot", ALLOW),
        (&["SYS_ADMIN", "SYS_MODULE"], "keyctl", EPERM),
        (&["SYS_ADMIN"], "io_uring_setup", EPERM),
        (&[], "clone3", ENOSYS),
        (&[], "a_call_of_next_year", ENOSYS),
    ];

    for (capabilities, call, expected) in rows {
        let filter = default_profile(&with(capabilities));
        assert_eq!(verdict(&filter, call), *expected, "{call} with {capabilities:?}");
    }
}

#[test]
fn tracing_is_refused_on_kernels_that_filter_before_the_tracer() {
    let old = Context {
        capabilities: 0,
        kernel: (4, 7),
    };

    assert_eq!(verdict(&default_profile(&old), "ptrace"), EPERM);
}

#[test]
fn a_call_has_at_most_one_unconditional_rule() {
    let all = Context {
        capabilities: u64::MAX,
        kernel: MODERN,
    };
    for context in [with(&[]), with(&["SYS_ADMIN"]), all] {
        let filter = default_profile(&context);
        let mut names: Vec<_> = filter
            .syscalls()
            .iter()
            .flatten()
            .filter(|rule| rule.args().is_none())
            .flat_map(|rule| rule.names().clone())
            .collect();
        let count = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), count, "{context:?}");
    }
}

#[test]
fn without_sys_admin_clone_makes_no_namespace_and_with_it_any() {
    let rules = |context: Context| -> Vec<_> {
        let filter = default_profile(&context);
        let clone = |rule: &&LinuxSyscall| rule.names().iter().any(|name| name == "clone");
        filter
            .syscalls()
            .iter()
            .flatten()
            .filter(clone)
            .cloned()
            .collect()
    };

    let plain = rules(with(&[]));
    assert_eq!(plain.len(), 1 + NAMESPACE_FLAGS.len());
    let arg = &plain[0].args().as_ref().unwrap()[0];
    assert_eq!((arg.value(), arg.value_two()), (0x7e02_0000, Some(0)));

    let admin = rules(with(&["SYS_ADMIN"]));
    assert_eq!(admin.len(), 1);
    assert!(admin[0].args().is_none());
}

#[test]
fn equal_contexts_give_equal_text() {
    let text = |context| serde_json::to_string(&default_profile(&context)).unwrap();

    assert_eq!(text(with(&["CHOWN"])), text(with(&["CHOWN"])));
}

const ENGINE: &str = r#"{
    "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 1,
    "archMap": [
        {"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]},
        {"architecture": "SCMP_ARCH_AARCH64", "subArchitectures": null}
    ],
    "syscalls": [
        {"names": ["read", "write"], "action": "SCMP_ACT_ALLOW"},
        {"names": ["mount"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_ADMIN"]}},
        {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38, "excludes": {"caps": ["CAP_SYS_ADMIN"]}},
        {"names": ["ptrace"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "4.8"}},
        {"names": ["arm_only"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["arm"]}},
        {"names": ["here"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["amd64", "arm64"]}},
        {"names": ["personality"], "action": "SCMP_ACT_ALLOW", "comment": "two of them",
         "args": [{"index": 0, "value": 0, "op": "SCMP_CMP_EQ"}, {"index": 0, "value": 8, "op": "SCMP_CMP_EQ"}]},
        {"name": "reboot", "action": "SCMP_ACT_KILL", "args": []}
    ]
}"#;

fn names(filter: &LinuxSeccomp) -> Vec<String> {
    filter
        .syscalls()
        .iter()
        .flatten()
        .flat_map(|rule| rule.names().clone())
        .collect()
}

#[test]
fn a_profile_with_conditions_is_settled_for_the_container() {
    let plain = parse(ENGINE, &with(&[])).unwrap();
    let admin = parse(ENGINE, &with(&["SYS_ADMIN"])).unwrap();
    let old = parse(
        ENGINE,
        &Context {
            kernel: (4, 4),
            ..with(&[])
        },
    )
    .unwrap();

    let shared = ["read", "write"];
    let rest = ["ptrace", "here", "personality", "personality", "reboot"];
    assert_eq!(names(&plain), [&shared[..], &["clone3"], &rest].concat());
    assert_eq!(names(&admin), [&shared[..], &["mount"], &rest].concat());
    assert!(!names(&old).contains(&"ptrace".to_owned()));
    assert_eq!(plain.architectures().as_ref().unwrap()[0], architectures()[0]);
    assert_eq!(verdict(&plain, "unknown"), EPERM);
}

#[test]
fn an_oci_profile_keeps_its_architectures_and_flags() {
    let text = r#"{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_X86_64"],
        "flags":["SECCOMP_FILTER_FLAG_LOG"],
        "syscalls":[{"names":["chmod"],"action":"SCMP_ACT_ERRNO"}]}"#;

    let filter = parse(text, &with(&[])).unwrap();

    assert_eq!(filter.architectures(), &Some(vec![Arch::ScmpArchX86_64]));
    assert_eq!(filter.flags().as_ref().map(Vec::len), Some(1));
    assert_eq!(verdict(&filter, "chmod"), (ScmpActErrno, None));
}

#[test]
fn lists_that_are_null_are_empty() {
    let text = r#"{"defaultAction":"SCMP_ACT_ALLOW","architectures":null,"archMap":null,"flags":null,
        "syscalls":[{"names":["chmod"],"action":"SCMP_ACT_ERRNO","args":null,"includes":{},"excludes":{"caps":null}}]}"#;

    let filter = parse(text, &with(&[])).unwrap();

    assert_eq!(names(&filter), ["chmod"]);
    assert_eq!(filter.architectures(), &Some(architectures()));
}

#[test]
fn what_is_no_profile_is_refused_with_the_cause() {
    let rows = [
        ("", "seccomp profile is malformed"),
        ("{}", "seccomp profile is malformed"),
        (r#"{"defaultAction":"ALLOW"}"#, "seccomp profile is malformed"),
        (
            r#"{"defaultAction":"SCMP_ACT_NOTIFY"}"#,
            "seccomp profile asks for a supervisor, there is none",
        ),
    ];
    for (text, expected) in rows {
        assert_eq!(
            parse(text, &with(&[])).unwrap_err().to_string(),
            expected,
            "{text}"
        );
    }
}
