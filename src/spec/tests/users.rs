//! User namespaces: what is joined, how mounts are shown, what does not go together.

use oci_spec::runtime::LinuxNamespaceType;

use super::Fixture;
use crate::spec::{AddedMount, DeviceKind, DeviceNode, Source};

const USER: &str = r#""user":{"path":"/u","uids":{"containerId":0,"hostId":100000,"length":65536},
    "gids":{"containerId":0,"hostId":200000,"length":65536}}"#;

/// A configuration with a user namespace and further settings, those of `linux` first.
fn config(linux: &str, rest: &str) -> String {
    format!(r#"{{"linux":{{{linux}{USER}}}{rest}}}"#)
}

#[test]
fn the_namespace_is_joined_and_its_maps_are_told() {
    let out = Fixture::new(&config("", "")).output();

    let linux = out.spec.linux().as_ref().unwrap();
    let mut joined = linux.namespaces().as_ref().unwrap().iter();
    let user = joined.find(|n| n.typ() == LinuxNamespaceType::User);
    let path = user.unwrap().path().as_deref();
    assert_eq!(path, Some("/u".as_ref()));
    let uids = &linux.uid_mappings().as_ref().unwrap()[0];
    assert_eq!(
        (uids.container_id(), uids.host_id(), uids.size()),
        (0, 100_000, 65_536)
    );
    assert_eq!(linux.gid_mappings().as_ref().unwrap()[0].host_id(), 200_000);
}

#[test]
fn a_mount_is_shown_by_the_mappings_of_the_namespace_or_as_it_is() {
    let mappings = r#""uidMappings":[{"containerId":0,"hostId":100000,"length":65536}],
        "gidMappings":[{"containerId":0,"hostId":200000,"length":65536}]"#;
    let mounts = format!(
        r#","mounts":[{{"containerPath":"/a","hostPath":"/h",{mappings}}},{{"containerPath":"/b","hostPath":"/h"}}]"#
    );

    let out = Fixture::new(&config("", &mounts)).output();

    let shown: Vec<bool> = out.staged.iter().map(|tree| tree.idmap).collect();
    assert_eq!(shown, [true, false]);
}

#[test]
fn a_node_at_another_path_is_bound_and_mounts_of_devices_are_mapped() {
    let mut fixture = Fixture::new(&config("", ""));
    let node = |path: &str| DeviceNode {
        host_path: "/dev/fuse".into(),
        path: path.into(),
        kind: DeviceKind::Char,
        major: 10,
        minor: 229,
        mode: 0o666,
        uid: None,
        gid: None,
        access: "rw".to_owned(),
    };
    fixture.devices = vec![node("/dev/other"), node("/dev/fuse")];
    let mount = crate::spec::cdi::Mount {
        container_path: "/lib/x".into(),
        ..Default::default()
    };
    fixture.added.mounts = vec![AddedMount::new(&mount, "/x".into()).unwrap()];

    let out = fixture.output();

    let staged: Vec<_> = out
        .staged
        .iter()
        .map(|s| (s.destination.as_str(), s.idmap))
        .collect();
    assert_eq!(staged, [("/dev/other", false), ("/lib/x", true)]);
    let nodes = out.spec.linux().as_ref().unwrap().devices().clone().unwrap();
    assert_eq!(nodes.len(), 1);
    assert_eq!(nodes[0].path(), "/dev/fuse");
}

#[test]
fn mappings_of_a_mount_without_their_namespace_are_refused() {
    let mount = |mapping: &str| {
        format!(
            r#","mounts":[{{"containerPath":"/a","hostPath":"/h","uidMappings":[{mapping}],"gidMappings":[{mapping}]}}]"#
        )
    };
    let own = mount(r#"{"containerId":0,"hostId":100000,"length":65536}"#);
    let other = mount(r#"{"containerId":0,"hostId":1,"length":9}"#);
    let field = "mounts[0].uid_mappings and gid_mappings";

    assert_eq!(
        Fixture::new(&config("", &other)).refused(),
        format!("{field} are not those of the user namespace")
    );
    assert_eq!(
        Fixture::new(&format!("{{{}}}", own.trim_start_matches(','))).refused(),
        format!("{field} are set without a user namespace")
    );
}

#[test]
fn what_the_kernel_refuses_beside_a_user_namespace_is_refused_first() {
    let check = |linux: &str, expected: &str| {
        assert_eq!(Fixture::new(&config(linux, "")).refused(), expected);
    };

    check(
        r#""namespaces":{"pid":"host"},"#,
        "linux.namespaces.pid cannot be the host's beside a user namespace",
    );
    check(
        r#""namespaces":{"ipc":"host"},"#,
        "linux.namespaces.ipc cannot be the host's beside a user namespace",
    );
    check(
        r#""security":{"user":{"id":65536}},"#,
        "linux.security.user is 65536, which the user namespace does not map",
    );
    check(
        r#""security":{"user":{"id":1},"group":99999},"#,
        "linux.security.supplemental_groups or group is 99999, which the user namespace does not map",
    );
}

#[test]
fn in_the_hosts_network_sys_is_staged() {
    let out = Fixture::new(&config(r#""namespaces":{"network":"host"},"#, "")).output();

    let sys = out.staged.last().unwrap();
    assert_eq!(
        (&sys.source, sys.destination.as_str(), sys.readonly),
        (&Source::Sysfs, "/sys", true)
    );
    let mounts = out.spec.mounts().as_ref().unwrap();
    let place = |path: &str| mounts.iter().position(|m| m.destination() == path).unwrap();
    assert_eq!(mounts[place("/sys")].typ().as_deref(), Some("bind"));
    assert!(place("/sys") < place("/sys/fs/cgroup"));
}

#[test]
fn a_namespace_without_the_group_of_terminals_does_without() {
    let of = |length: u32| {
        let one = USER.replace("65536", &length.to_string());
        let out = Fixture::new(&format!(r#"{{"linux":{{{one}}}}}"#)).output();
        let mounts = out.spec.mounts().clone().unwrap();
        let terminals = mounts.iter().find(|m| m.destination().ends_with("pts")).unwrap();
        terminals
            .options()
            .as_ref()
            .unwrap()
            .contains(&"gid=5".to_owned())
    };

    assert!(of(6));
    assert!(!of(5));
}
