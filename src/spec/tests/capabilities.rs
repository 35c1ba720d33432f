//! The five capability sets.

use super::{Fixture, host_v1};
use crate::spec::{mask, names};

const DEFAULT: &str = "CHOWN DAC_OVERRIDE FSETID FOWNER MKNOD NET_RAW SETGID SETUID SETFCAP SETPCAP NET_BIND_SERVICE \
    SYS_CHROOT KILL AUDIT_WRITE";

fn set(words: &str) -> u64 {
    mask(words.split_whitespace()).unwrap()
}

fn security(json: &str) -> Fixture {
    Fixture::new(&format!(r#"{{"linux":{{"security":{{{json}}}}}}}"#))
}

/// Compares bounding, effective, inheritable and ambient.
fn check(json: &str, expected: (u64, u64, u64, u64)) {
    let sets = security(json).output().process.capabilities;
    let got = (sets.bounding, sets.effective, sets.inheritable, sets.ambient);
    assert_eq!(got, expected, "{json}: bounding {:?}", names(sets.bounding));
}

#[test]
fn lists_change_the_default_set_and_all_counts_first() {
    let all = (1 << 41) - 1;
    let default = set(DEFAULT);
    let root = |mask| (mask, mask, 0, 0);
    check("", root(default));
    check(
        r#""capabilities":{"add":["NET_ADMIN"]}"#,
        root(default | set("NET_ADMIN")),
    );
    check(
        r#""capabilities":{"add":["cap_net_admin"]}"#,
        root(default | set("NET_ADMIN")),
    );
    check(
        r#""capabilities":{"drop":["NET_RAW"]}"#,
        root(default & !set("NET_RAW")),
    );
    check(r#""capabilities":{"add":["ALL"]}"#, root(all));
    check(r#""capabilities":{"drop":["all"]}"#, root(0));
    check(
        r#""capabilities":{"add":["ALL"],"drop":["CHOWN"]}"#,
        root(all & !set("CHOWN")),
    );
    check(
        r#""capabilities":{"drop":["ALL"],"add":["CHOWN"]}"#,
        root(set("CHOWN")),
    );
    check(
        r#""capabilities":{"drop":["ALL"],"add":["ALL","CHOWN"]}"#,
        root(set("CHOWN")),
    );
    check(
        r#""capabilities":{"drop":["CHOWN"],"add":["CHOWN"]}"#,
        root(default & !set("CHOWN")),
    );
    check(
        r#""capabilities":{"default":["CHOWN","KILL"],"add":["NET_ADMIN"],"drop":["KILL"]}"#,
        root(set("CHOWN NET_ADMIN")),
    );
    check(r#""capabilities":{"default":[]}"#, root(0));
    check(r#""privileged":true"#, root(all));
}

#[test]
fn another_user_keeps_only_the_ambient_ones() {
    let default = set(DEFAULT);
    let (chown, raw) = (set("CHOWN"), set("NET_RAW"));
    check(r#""user":{"id":1000}"#, (default, 0, 0, 0));
    check(
        r#""user":{"id":1000},"capabilities":{"addAmbient":["CHOWN"]}"#,
        (default, chown, chown, chown),
    );
    check(
        r#""user":{"id":1000},"capabilities":{"drop":["ALL"],"addAmbient":["NET_RAW","CHOWN"]}"#,
        (chown | raw, chown | raw, chown | raw, chown | raw),
    );
    check(
        r#""user":{"id":1000},"capabilities":{"drop":["CHOWN"],"addAmbient":["CHOWN"]}"#,
        (default & !chown, 0, 0, 0),
    );
    check(
        r#""user":{"id":1000},"privileged":true"#,
        ((1 << 41) - 1, 0, 0, 0),
    );
}

#[test]
fn what_the_runtime_lacks_is_left_out_and_told_when_asked_for_by_name() {
    let mut by_name = security(r#""capabilities":{"add":["SYS_RESOURCE"]}"#);
    by_name.host = host_v1();
    let mut all = security(r#""capabilities":{"add":["ALL"]}"#);
    all.host = host_v1();

    let (by_name, all) = (by_name.output(), all.output());

    assert_eq!(by_name.process.capabilities.bounding, set(DEFAULT));
    assert_eq!(
        by_name.warnings,
        ["the runtime itself lacks CAP_SYS_RESOURCE, the container goes without"]
    );
    assert_eq!(all.process.capabilities.bounding & set("SYS_RESOURCE"), 0);
    assert!(all.warnings.is_empty());
}

#[test]
fn an_unknown_capability_is_refused_with_its_list() {
    for (list, field) in [("add", "add"), ("drop", "drop"), ("addAmbient", "add_ambient")] {
        let f = security(&format!(r#""capabilities":{{"{list}":["NET_ADMN"]}}"#));
        let expected =
            format!(r#"linux.security.capabilities.{field} names "NET_ADMN", which is not a capability"#);
        assert_eq!(f.refused(), expected);
    }
}

#[test]
fn names_and_numbers_are_the_kernels() {
    assert_eq!(set("CHOWN"), 1);
    assert_eq!(set("SYS_ADMIN"), 1 << 21);
    assert_eq!(set("CHECKPOINT_RESTORE"), 1 << 40);
    assert_eq!(names(set("KILL SYS_ADMIN")), ["CAP_KILL", "CAP_SYS_ADMIN"]);
}
