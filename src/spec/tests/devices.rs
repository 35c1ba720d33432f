//! Devices: nodes, rules, and what described ones bring with them.

use super::Fixture;
use super::mounts::{host, lines};
use crate::model::MountPropagation;
use crate::spec::{AddedMount, DeviceKind, DeviceNode, Output, Source};

fn node(path: &str, kind: DeviceKind, access: &str) -> DeviceNode {
    DeviceNode {
        host_path: format!("/host{path}").into(),
        path: path.into(),
        kind,
        major: 10,
        minor: 229,
        mode: 0o100_660,
        uid: Some(0),
        gid: Some(6),
        access: access.to_owned(),
    }
}

#[test]
fn devices_become_nodes_rules_and_outside_dev_binds() {
    let mut f = Fixture::new("{}");
    f.devices = vec![
        node("/dev/fuse", DeviceKind::Char, "rw"),
        node("/dev/pts/7", DeviceKind::Char, "rw"),
        node("/opt/disk", DeviceKind::Block, "r"),
        node("/dev/fifo", DeviceKind::Fifo, "rwm"),
    ];
    let out = f.output();

    let linux = out.spec.linux().as_ref().unwrap();
    let nodes = linux.devices().as_ref().unwrap();
    let paths: Vec<_> = nodes.iter().map(|d| d.path().display().to_string()).collect();
    assert_eq!(paths, ["/dev/fuse", "/dev/fifo"]);
    assert_eq!((nodes[0].file_mode(), nodes[0].gid()), (Some(0o660), Some(6)));
    assert_eq!(host(&out.staged[0]), "/host/opt/disk");
    let rules: Vec<_> = rules(&out);
    assert_eq!(rules[..3], ["deny a *:* rwm", "allow c *:* m", "allow b *:* m"]);
    assert!(rules.contains(&"allow c 1:3 rwm".to_owned()) && rules.contains(&"allow c 136:* rwm".to_owned()));
    assert_eq!(
        rules[12..],
        ["allow c 10:229 rw", "allow c 10:229 rw", "allow b 10:229 r"]
    );
}

fn rules(out: &Output) -> Vec<String> {
    let resources = out.spec.linux().as_ref().unwrap().resources().as_ref().unwrap();
    let rules = resources.devices().as_ref().unwrap();
    let verb = |allow| if allow { "allow" } else { "deny" };
    rules
        .iter()
        .map(|rule| format!("{} {rule}", verb(rule.allow())))
        .collect()
}

#[test]
fn a_privileged_container_may_use_any_device_and_has_nothing_hidden() {
    let out = Fixture::new(
        r#"{"linux":{"security":{"privileged":true,"maskedPaths":["/m"],"readonlyPaths":["/r"],
            "seccomp":"runtimeDefault"}}}"#,
    )
    .output();

    let linux = out.spec.linux().as_ref().unwrap();
    assert_eq!(rules(&out), ["allow a *:* rwm"]);
    assert_eq!(linux.masked_paths().as_deref(), Some(&[][..]));
    assert_eq!(linux.readonly_paths().as_deref(), Some(&[][..]));
    assert!(out.seccomp.is_none());
}

#[test]
fn a_malformed_device_is_refused_by_field() {
    let rows = [
        (
            r#""hostPath":"d","containerPath":"/d","permissions":"r""#,
            "host_path is not an absolute path",
        ),
        (
            r#""hostPath":"/d","containerPath":"d","permissions":"r""#,
            "container_path is not an absolute path",
        ),
        (
            r#""hostPath":"/d","containerPath":"/d","permissions":"x""#,
            r#"permissions "x" is not made of r, w and m"#,
        ),
        (
            r#""hostPath":"/d","containerPath":"/d""#,
            r#"permissions "" is not made of r, w and m"#,
        ),
    ];
    for (device, expected) in rows {
        let f = Fixture::new(&format!(r#"{{"devices":[{{{device}}}]}}"#));
        assert_eq!(f.refused(), format!("devices[0].{expected}"));
    }
}

#[test]
fn a_mount_of_a_device_takes_the_place_of_another_and_has_flags_of_its_own() {
    let mut fixture = Fixture::new(r#"{"mounts":[{"containerPath":"/lib/x","hostPath":"/a"}]}"#);
    let mount = crate::spec::cdi::Mount {
        host_path: "/host/x".into(),
        container_path: "/lib//x".into(),
        options: ["ro", "nosuid", "exec", "nodev", "bind", "rslave"]
            .map(str::to_owned)
            .into(),
        kind: String::new(),
    };
    fixture.added.mounts = vec![AddedMount::new(&mount, "/real/x".into()).unwrap()];

    let out = fixture.generate().unwrap();

    let staged: Vec<_> = out.staged.iter().filter(|s| s.destination == "/lib/x").collect();
    assert_eq!(staged.len(), 1);
    assert_eq!(staged[0].source, Source::Host("/real/x".into()));
    assert!(staged[0].readonly && !staged[0].recursive);
    assert_eq!(staged[0].propagation, MountPropagation::HostToContainer);
    let bind = lines(&out)
        .into_iter()
        .find(|line| line.starts_with("/lib/x "))
        .unwrap();
    assert!(bind.ends_with("rbind,rslave,ro,nosuid,nodev"), "{bind}");
}

#[test]
fn a_node_without_an_owner_is_the_first_processs() {
    let mut fixture = Fixture::new(r#"{"linux":{"security":{"user":{"id":1000},"group":1001}}}"#);
    fixture.devices = vec![DeviceNode {
        uid: None,
        gid: None,
        ..node("/dev/x", DeviceKind::Char, "rw")
    }];

    let out = fixture.generate().unwrap();

    let nodes = out.spec.linux().as_ref().unwrap().devices().clone().unwrap();
    assert_eq!((nodes[0].uid(), nodes[0].gid()), (Some(1000), Some(1001)));
}

#[test]
fn a_device_that_may_not_be_used_has_no_rule() {
    let mut fixture = Fixture::new("{}");
    fixture.devices = vec![node("/dev/x", DeviceKind::Char, "")];

    let out = fixture.generate().unwrap();

    assert!(!rules(&out).iter().any(|rule| rule.contains("10:229")));
    assert_eq!(
        out.spec
            .linux()
            .as_ref()
            .unwrap()
            .devices()
            .as_ref()
            .unwrap()
            .len(),
        1
    );
}

#[test]
fn figures_of_drivers_are_replaced_by_descriptions_alone() {
    let added = |place: &str| {
        let mut fixture = Fixture::new("{}");
        let mount = crate::spec::cdi::Mount {
            host_path: "/host/x".into(),
            container_path: place.into(),
            ..Default::default()
        };
        fixture.added.mounts = vec![AddedMount::new(&mount, "/host/x".into()).unwrap()];
        fixture.refused()
    };
    assert_eq!(added("/proc/driver/nvidia/params"), "");
    for place in ["/proc/driver", "/proc/driver/../sys", "/proc/drivers/x", "/proc"] {
        assert!(added(place).contains("only figures of /proc"), "{place}");
    }

    let asked = r#"{"mounts":[{"containerPath":"/proc/driver/nvidia/params","hostPath":"/a"}]}"#;
    assert!(Fixture::new(asked).refused().contains("only figures of /proc"));
}

#[test]
fn a_device_where_the_runtime_has_its_own_is_refused() {
    for place in ["/dev/pts/3", "/dev/shm", "/dev//console", "/dev/../etc/x"] {
        let config = format!(
            r#"{{"devices":[{{"containerPath":"{place}","hostPath":"/dev/null","permissions":"rw"}}]}}"#
        );

        let error = Fixture::new(&config).generate().unwrap_err().to_string();

        assert!(error.contains("devices[0].container_path"), "{error}");
    }
}
