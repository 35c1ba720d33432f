//! Mounts.

use std::path::PathBuf;

use oci_spec::runtime::Mount as OciMount;

use super::{Fixture, host_v1};
use crate::model::MountPropagation;
use crate::spec::{Labels, Output, Source, StagedMount, Volume};

fn mounts(out: &Output) -> &[OciMount] {
    out.spec.mounts().as_ref().unwrap()
}

/// `destination type source options` of each mount.
pub(super) fn lines(out: &Output) -> Vec<String> {
    mounts(out)
        .iter()
        .map(|m| {
            format!(
                "{} {} {} {}",
                m.destination().display(),
                m.typ().as_deref().unwrap_or("-"),
                m.source().as_ref().unwrap().display(),
                m.options().as_ref().unwrap().join(",")
            )
        })
        .collect()
}

fn destinations(out: &Output) -> Vec<String> {
    mounts(out)
        .iter()
        .map(|m| m.destination().display().to_string())
        .collect()
}

#[test]
fn file_systems_of_the_containers_own_have_its_label() {
    let mut f = Fixture::new("{}");
    f.host = host_v1();
    f.labels = Some(Labels {
        process: Some("u:r:p:s0:c1,c2".into()),
        files: "u:object_r:f:s0:c1,c2".into(),
    });

    let out = f.output();

    let labelled: Vec<_> = lines(&out)
        .into_iter()
        .filter(|line| line.ends_with(",context=u:object_r:f:s0:c1,c2"))
        .map(|line| line.split(' ').next().unwrap().to_owned())
        .collect();
    // Not those that the kernel has once for all, or for all of a namespace.
    assert_eq!(labelled, ["/dev", "/dev/pts", "/dev/shm"]);
    assert_eq!(out.process.selinux.as_deref(), Some("u:r:p:s0:c1,c2"));
    assert_eq!(out.spec.linux().as_ref().unwrap().mount_label(), &None);
}

#[test]
fn message_queues_have_the_containers_label_unless_they_are_the_hosts() {
    let queues = |config: &str| {
        let mut f = Fixture::new(config);
        f.labels = Some(Labels {
            process: None,
            files: "u:object_r:f:s0".into(),
        });
        f.output().process.queues
    };

    assert_eq!(queues("{}").as_deref(), Some("u:object_r:f:s0"));
    assert_eq!(
        queues(r#"{"linux":{"namespaces":{"ipc":{"join":"/run/s/ipc"}}}}"#).as_deref(),
        Some("u:object_r:f:s0")
    );
    assert_eq!(queues(r#"{"linux":{"namespaces":{"ipc":"host"}}}"#), None);
    // Something else is there.
    assert_eq!(
        queues(r#"{"mounts":[{"containerPath":"/dev/mqueue","hostPath":"/q"}]}"#),
        None
    );
    assert_eq!(Fixture::new("{}").output().process.queues, None);
}

#[test]
fn cgroup_v1_is_never_a_cgroup_mount_and_read_only_unless_privileged() {
    let v1 = |security: &str| {
        let mut f = Fixture::new(&format!(
            r#"{{"linux":{{"security":{{{security}}},"cgroupParent":"a/b"}}}}"#
        ));
        f.host = host_v1();
        f.output()
    };
    let staged = |out: &Output| {
        let (index, of) = (out.staged.len() - 1, out.staged.last().unwrap().clone());
        let options = "rbind,rprivate,rw,nosuid,noexec,nodev";
        let bound = lines(out)
            .into_iter()
            .find(|line| line.starts_with("/sys/fs/cgroup"))
            .unwrap();
        assert_eq!(
            bound,
            format!("/sys/fs/cgroup bind /run/c/staging/{index} {options}")
        );
        match of.source {
            Source::Hierarchies {
                directories,
                writable,
            } => (directories, writable),
            other => panic!("{other:?}"),
        }
    };
    let own = |name: &str, hierarchy: &str| {
        let directory = format!("/sys/fs/cgroup/{hierarchy}/a/b/0123456789abcdef");
        (name.to_owned(), PathBuf::from(directory))
    };
    let out = v1("");

    let expected = vec![
        own("cpu,cpuacct", "cpu,cpuacct"),
        own("cpu", "cpu,cpuacct"),
        own("cpuacct", "cpu,cpuacct"),
        own("memory", "memory"),
        own("devices", "devices"),
    ];
    assert_eq!(staged(&out), (expected.clone(), false));
    // The names themselves: until the last mount below them is made they have to be writable.
    let readonly = |out: &Output| {
        out.spec
            .linux()
            .as_ref()
            .unwrap()
            .readonly_paths()
            .clone()
            .unwrap()
    };
    assert!(readonly(&out).contains(&"/sys/fs/cgroup".to_owned()));
    assert_eq!(out.cgroup, "/a/b/0123456789abcdef");
    let privileged = v1(r#""privileged":true"#);
    assert_eq!(
        (staged(&privileged), readonly(&privileged)),
        ((expected, true), vec![])
    );
    let mut taken = Fixture::new(r#"{"mounts":[{"containerPath":"/sys/fs/cgroup","hostPath":"/h"}]}"#);
    taken.host = host_v1();
    assert_eq!(taken.output().staged.len(), 1);
}

#[test]
fn cgroup_v2_and_sysfs_are_read_only_unless_privileged() {
    let of = |security: &str| {
        lines(&Fixture::new(&format!(r#"{{"linux":{{"security":{{{security}}}}}}}"#)).output())
    };

    let (plain, privileged) = (of(""), of(r#""privileged":true"#));

    assert!(plain.contains(&"/sys sysfs sysfs nosuid,noexec,nodev,ro".to_owned()));
    assert!(plain.contains(&"/sys/fs/cgroup cgroup cgroup nosuid,noexec,nodev,relatime,ro".to_owned()));
    assert!(privileged.contains(&"/sys sysfs sysfs nosuid,noexec,nodev,rw".to_owned()));
    assert!(privileged.contains(&"/sys/fs/cgroup cgroup cgroup nosuid,noexec,nodev,relatime,rw".to_owned()));
}

#[test]
fn binds_are_staged_in_order_of_depth_with_their_own_flags() {
    let out = Fixture::new(
        r#"{"mounts":[
            {"containerPath":"/a/b/c","hostPath":"/h1","readonly":true},
            {"containerPath":"/x//y/./z/..","hostPath":"/h2","propagation":1},
            {"containerPath":"/a","hostPath":"/h3","readonly":true,"recursiveReadOnly":true}]}"#,
    )
    .output();

    let binds: Vec<_> = lines(&out).into_iter().filter(|l| l.contains(" bind ")).collect();
    assert_eq!(
        binds,
        [
            "/a bind /run/c/staging/0 rbind,rprivate,rro",
            "/x/y bind /run/c/staging/1 rbind,rslave,rw",
            "/a/b/c bind /run/c/staging/2 rbind,rprivate,ro",
        ]
    );
    let staged: Vec<_> = out
        .staged
        .iter()
        .map(|s| (s.index, host(s), s.readonly, s.recursive_readonly, s.propagation))
        .collect();
    assert_eq!(
        staged,
        [
            (0, "/h3", true, true, MountPropagation::Private),
            (1, "/h2", false, false, MountPropagation::HostToContainer),
            (2, "/h1", true, false, MountPropagation::Private),
        ]
    );
}

#[test]
fn the_root_propagates_as_widely_as_any_mount_needs() {
    for (modes, expected) in [
        ("", "private"),
        ("0", "private"),
        ("01", "slave"),
        ("120", "shared"),
    ] {
        let mounts: Vec<String> = modes
            .chars()
            .map(|m| format!(r#"{{"containerPath":"/m{m}","hostPath":"/h","propagation":{m}}}"#))
            .collect();
        let out = Fixture::new(&format!(r#"{{"mounts":[{}]}}"#, mounts.join(","))).output();
        let linux = out.spec.linux().as_ref().unwrap();
        assert_eq!(linux.rootfs_propagation().as_deref(), Some(expected), "{modes}");
    }
}

#[test]
fn an_asked_for_mount_replaces_ours_and_what_lies_below_it() {
    let of = |path: &str| {
        let config = format!(r#"{{"mounts":[{{"containerPath":"{path}","hostPath":"/h"}}]}}"#);
        destinations(&Fixture::new(&config).output())
    };
    let ours = [
        "/proc",
        "/dev",
        "/dev/pts",
        "/dev/shm",
        "/dev/mqueue",
        "/sys",
        "/sys/fs/cgroup",
    ];

    assert_eq!(destinations(&Fixture::new("{}").output()), ours);
    assert_eq!(
        of("/dev/shm/"),
        [
            "/proc",
            "/dev",
            "/dev/pts",
            "/dev/mqueue",
            "/sys",
            "/sys/fs/cgroup",
            "/dev/shm"
        ]
    );
    assert_eq!(
        of("/sys"),
        ["/proc", "/dev", "/dev/pts", "/dev/shm", "/dev/mqueue", "/sys"]
    );
}

#[test]
fn a_hosts_dev_waits_aside_until_libcontainer_has_filled_its_own() {
    let out = Fixture::new(
        r#"{"mounts":[
            {"containerPath":"/dev/termination-log","hostPath":"/t"},
            {"containerPath":"/dev","hostPath":"/dev"},
            {"containerPath":"/device","hostPath":"/d"}]}"#,
    )
    .output();

    assert_eq!(
        destinations(&out),
        [
            "/proc",
            "/dev",
            "/sys",
            "/sys/fs/cgroup",
            "/dev/.host",
            "/device",
            "/dev/.host/termination-log"
        ]
    );
    assert_eq!(out.late, [(PathBuf::from("/dev/.host"), PathBuf::from("/dev"))]);
    assert_eq!(lines(&out)[1].split(' ').nth(1), Some("tmpfs"));
}

#[test]
fn volumes_of_the_image_are_bound_where_nothing_else_is() {
    let mut f = Fixture::new(r#"{"mounts":[{"containerPath":"/data","hostPath":"/h"}]}"#);
    f.volumes = ["/data", "/cache"]
        .map(|path| Volume {
            container_path: path.to_owned(),
            source: format!("/vol{path}").into(),
        })
        .to_vec();

    let sources: Vec<_> = f
        .output()
        .staged
        .into_iter()
        .map(|s| (s.destination.clone(), PathBuf::from(host(&s))))
        .collect();

    let expected = [("/data", "/h"), ("/cache", "/vol/cache")];
    assert_eq!(sources, expected.map(|(d, s)| (d.to_owned(), PathBuf::from(s))));
}

#[test]
fn mounts_that_cannot_be_made_are_refused_by_field() {
    let rows = [
        (
            r#""hostPath":"/h""#,
            r#"mounts[0].container_path "" is not an absolute path"#,
        ),
        (
            r#""hostPath":"/h","containerPath":"a""#,
            r#"mounts[0].container_path "a" is not an absolute path"#,
        ),
        (
            r#""hostPath":"/h","containerPath":"/a/..""#,
            "mounts[0].container_path is the root directory",
        ),
        (
            r#""hostPath":"/h","containerPath":"/proc/""#,
            r#"mounts[0].container_path is "/proc": only figures of /proc can be replaced"#,
        ),
        (
            r#""hostPath":"/h","containerPath":"/a/../proc/self""#,
            r#"mounts[0].container_path is "/proc/self": only figures of /proc can be replaced"#,
        ),
        (
            r#""containerPath":"/a""#,
            "mounts[0].host_path is not an absolute path",
        ),
        (
            r#""hostPath":"/h","containerPath":"/a","recursiveReadOnly":true"#,
            "mounts[0].recursive_read_only is set without readonly",
        ),
        (
            r#""hostPath":"/h","containerPath":"/a","recursiveReadOnly":true,"readonly":true,"propagation":1"#,
            "mounts[0].recursive_read_only is set with a propagation other than private",
        ),
        (
            r#""hostPath":"/h","containerPath":"/a","recursiveReadOnly":true,"readonly":true,"propagation":2"#,
            "mounts[0].recursive_read_only is set with a propagation other than private",
        ),
    ];
    for (mount, expected) in rows {
        assert_eq!(
            Fixture::new(&format!(r#"{{"mounts":[{{{mount}}}]}}"#)).refused(),
            expected,
            "{mount}"
        );
    }
}

#[test]
fn the_hosts_shared_memory_comes_with_its_ipc_namespace() {
    let out = Fixture::new(r#"{"linux":{"namespaces":{"ipc":"host"}}}"#).output();

    assert_eq!(out.staged.len(), 1);
    assert_eq!(
        (out.staged[0].destination.as_str(), host(&out.staged[0])),
        ("/dev/shm", "/dev/shm")
    );
    assert_eq!(destinations(&out).iter().filter(|d| *d == "/dev/shm").count(), 1);
}

/// The host path that a mount was staged from.
pub(super) fn host(mount: &StagedMount) -> &str {
    match &mount.source {
        Source::Host(path) => path.to_str().unwrap(),
        other => panic!("mount {} is of {other:?}", mount.destination),
    }
}

#[test]
fn an_image_is_mounted_to_be_read_only() {
    let mounts = r#"{"mounts":[
        {"containerPath":"/data","image":{"image":"models"},"imageSubPath":"weights"},
        {"containerPath":"/plain","hostPath":"/h"}]}"#;

    let out = Fixture::new(mounts).output();

    assert!(
        lines(&out)
            .contains(&"/data bind /run/c/staging/0 rbind,rprivate,rro,noexec,nosuid,nodev".to_owned())
    );
    let first = &out.staged[0];
    assert_eq!(
        (&first.source, first.readonly, first.recursive_readonly),
        (&Source::Image(0), true, true)
    );
    assert_eq!(host(&out.staged[1]), "/h");
}
