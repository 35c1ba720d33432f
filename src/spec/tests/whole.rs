//! Whole outputs, compared with files.

use std::path::Path;

use serde_json::{Value, json};

use super::{Fixture, host_v1};
use crate::spec::{DeviceKind, DeviceNode, Output, names};

/// All of an output that a person would want to read.
fn describe(out: &Output) -> Value {
    let process = &out.process;
    let sets = process.capabilities;
    let env: Vec<_> = process
        .env
        .iter()
        .map(|e| String::from_utf8_lossy(e).into_owned())
        .collect();
    let staged: Vec<_> = out.staged.iter().map(|s| format!("{s:?}")).collect();
    json!({
        "spec": out.spec,
        "process": {
            "args": process.args, "env": env, "cwd": process.cwd, "tty": process.tty,
            "uid": process.uid, "gid": process.gid, "groups": process.groups,
            "bounding": names(sets.bounding), "effective": names(sets.effective),
            "inheritable": names(sets.inheritable), "ambient": names(sets.ambient),
            "noNewPrivileges": process.no_new_privileges, "umask": process.umask,
            "oomScoreAdj": process.oom_score_adj, "apparmor": process.apparmor,
        },
        "seccomp": out.seccomp.as_ref().map(|s| s.syscalls().iter().flatten().count()),
        "staged": staged,
        "late": out.late,
        "stopSignal": out.stop_signal.name(),
        "warnings": out.warnings,
    })
}

fn check(name: &str, fixture: &Fixture) {
    let got = describe(&fixture.output());
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("src/spec/testdata/{name}.json"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        let text = serde_json::to_string_pretty(&got).unwrap() + "\n";
        std::fs::write(&path, text).unwrap();
    }
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let expected: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(got, expected, "{name} differs from {}", path.display());
}

#[test]
fn a_container_that_asks_for_nothing() {
    check("plain", &Fixture::new("{}"));
}

#[test]
fn a_container_that_asks_for_everything_on_cgroup_v1() {
    let mut f = Fixture::new(
        r#"{"command":["/run"],"workingDir":"/srv","tty":true,"hostname":"h","stopSignal":"SIGINT",
            "envs":[{"key":"K","value":"v"}],
            "mounts":[{"containerPath":"/dev/shm","hostPath":"/shm"},
                      {"containerPath":"/share","hostPath":"/s","propagation":2}],
            "linux":{
              "resources":{"cpuPeriod":100000,"cpuQuota":50000,"cpuShares":512,"memoryLimitInBytes":1048576,
                           "oomScoreAdj":-998,"cpusetCpus":"0"},
              "security":{"capabilities":{"add":["NET_ADMIN","SYS_RESOURCE"],"drop":["MKNOD"],
                                          "addAmbient":["NET_BIND_SERVICE"]},
                          "user":{"name":"www"},"supplementalGroups":[7],"noNewPrivileges":true,
                          "readonlyRootfs":true,"maskedPaths":["/proc/kcore"],"readonlyPaths":["/proc/sys"],
                          "seccomp":"runtimeDefault","apparmor":"runtimeDefault"},
              "namespaces":{"network":{"join":"/run/net"},"uts":{"join":"/run/uts"},"ipc":{"join":"/run/ipc"}},
              "cgroupParent":"/group/inner"}}"#,
    );
    f.host = host_v1();
    f.devices = vec![DeviceNode {
        host_path: "/dev/fuse".into(),
        path: "/dev/fuse".into(),
        kind: DeviceKind::Char,
        major: 10,
        minor: 229,
        mode: 0o20_666,
        uid: Some(0),
        gid: Some(0),
        access: "rwm".to_owned(),
    }];
    check("everything_v1", &f);
}

#[test]
fn a_privileged_container_in_the_hosts_namespaces() {
    let config = r#"{"mounts":[{"containerPath":"/dev","hostPath":"/dev","propagation":1}],
        "linux":{"security":{"privileged":true,"seccomp":"runtimeDefault"},
                 "namespaces":{"network":"host","ipc":"host","uts":"host","pid":"host"}}}"#;
    check("privileged", &Fixture::new(config));
}

#[test]
fn libcontainers_process_is_root_without_anything_the_last_stage_does() {
    let out = Fixture::new(
        r#"{"workingDir":"/srv","linux":{"security":{"user":{"id":33},"noNewPrivileges":false,
            "seccomp":"runtimeDefault"},"resources":{"oomScoreAdj":0}}}"#,
    )
    .output();

    let process = serde_json::to_value(out.spec.process()).unwrap();

    assert_eq!(process["user"], json!({"uid": 0, "gid": 0, "umask": 18}));
    assert_eq!(process["cwd"], "/");
    assert_eq!(process["oomScoreAdj"], 0);
    for absent in [
        "capabilities",
        "noNewPrivileges",
        "rlimits",
        "apparmorProfile",
        "selinuxLabel",
    ] {
        assert_eq!(process.get(absent), None, "{absent}");
    }
    let linux = serde_json::to_value(out.spec.linux()).unwrap();
    for absent in ["seccomp", "uidMappings", "mountLabel"] {
        assert_eq!(linux.get(absent), None, "{absent}");
    }
    assert!(out.seccomp.is_some());
}

#[test]
fn a_seccomp_profile_of_the_users_is_read_for_the_container() {
    let mut f = Fixture::new(r#"{"linux":{"security":{"seccomp":{"localhost":"/p.json"}}}}"#);
    f.profile = Some(
        r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[
            {"names":["mknod"],"action":"SCMP_ACT_ERRNO","includes":{"caps":["CAP_MKNOD"]}},
            {"names":["mount"],"action":"SCMP_ACT_ERRNO","includes":{"caps":["CAP_SYS_ADMIN"]}}]}"#,
    );

    let filter = f.output().seccomp.unwrap();

    let names: Vec<_> = filter
        .syscalls()
        .iter()
        .flatten()
        .flat_map(|r| r.names().clone())
        .collect();
    assert_eq!(names, ["mknod"]);
}
