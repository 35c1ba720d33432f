//! Labels by what a container asks for, with a directory in the place of the kernel.

use std::fs;

use super::*;
use crate::model::{Kind, Mount};
use crate::sys::selinux::Policy;

/// SELinux that is on, and knows every label.
fn on(dir: &Path) -> Labelling {
    fs::write(dir.join("context"), "").unwrap();
    let policy = Policy {
        process: "system_u:system_r:container_t:s0".parse().unwrap(),
        files: "system_u:object_r:container_file_t:s0".parse().unwrap(),
    };
    Labelling::new(Selinux::with(dir.to_owned(), policy))
}

fn config(linux: &str) -> ContainerConfig {
    let text = format!(r#"{{"logDirectory":"","logPath":"","linux":{linux}}}"#);
    serde_json::from_str(&text).unwrap()
}

#[test]
fn labels_are_the_policys_but_for_what_is_asked() {
    let dir = tempfile::tempdir().unwrap();
    let labelling = on(dir.path());
    let level = r#""level":"s0:c1,c2""#;
    let cases = [
        (
            format!(r#"{{"security":{{"selinux":{{{level}}}}}}}"#),
            "system_u:system_r:container_t:s0:c1,c2",
        ),
        (
            format!(r#"{{"security":{{"selinux":{{"user":"u","role":"r","type":"t",{level}}}}}}}"#),
            "u:r:t:s0:c1,c2",
        ),
        // Not confined: the level is that of the files alone.
        (
            format!(r#"{{"security":{{"privileged":true,"selinux":{{{level}}}}}}}"#),
            "system_u:system_r:spc_t:s0",
        ),
        (
            format!(r#"{{"namespaces":{{"pid":"host"}},"security":{{"selinux":{{{level}}}}}}}"#),
            "system_u:system_r:spc_t:s0",
        ),
        (
            format!(r#"{{"namespaces":{{"ipc":"host"}},"security":{{"selinux":{{{level}}}}}}}"#),
            "system_u:system_r:spc_t:s0",
        ),
        (
            format!(r#"{{"namespaces":{{"network":"host"}},"security":{{"selinux":{{{level}}}}}}}"#),
            "system_u:system_r:container_t:s0:c1,c2",
        ),
        // Unless it is asked to be.
        (
            format!(r#"{{"security":{{"privileged":true,"selinux":{{"type":"t",{level}}}}}}}"#),
            "system_u:system_r:t:s0:c1,c2",
        ),
    ];
    for (linux, process) in cases {
        let labels = labelling.labels(&config(&linux)).unwrap().unwrap();

        assert_eq!(labels.process.as_deref(), Some(process), "{linux}");
        let user = process.split(':').next().unwrap();
        assert_eq!(
            labels.files,
            format!("{user}:object_r:container_file_t:s0:c1,c2"),
            "{linux}"
        );
    }
}

#[test]
fn a_container_without_a_level_gets_one_that_is_nobody_elses() {
    let dir = tempfile::tempdir().unwrap();
    let labelling = on(dir.path());
    let (mut one, mut other) = (config("{}"), ContainerConfig::default());

    let held = [&mut one, &mut other].map(|config| labelling.give_level(config).unwrap().unwrap());

    let level = |config: &ContainerConfig| config.linux.as_ref().unwrap().security.selinux.level.clone();
    assert_eq!([&*held[0], &*held[1]], [level(&one), level(&other)]);
    assert_ne!(held[0], held[1]);
    // One that is found again after a restart is not given to another.
    assert_eq!(labelling.hold(&one), Some(held[0].clone()));
    let mut asked = config(r#"{"security":{"selinux":{"level":"s0:c7"}}}"#);
    assert_eq!(&*labelling.give_level(&mut asked).unwrap().unwrap(), "s0:c7");
    assert_eq!(level(&asked), "s0:c7");
}

#[test]
fn a_label_that_the_kernel_does_not_know_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let labelling = on(dir.path());
    // Writing there is EINVAL, as it is for a label that the policy does not have.
    fs::remove_file(dir.path().join("context")).unwrap();
    std::os::unix::fs::symlink("/proc/self/timens_offsets", dir.path().join("context")).unwrap();

    let refusal = labelling
        .labels(&config(
            r#"{"security":{"selinux":{"type":"odd_t","level":"s0:c1,c2"}}}"#,
        ))
        .unwrap_err();

    assert_eq!(refusal.kind(), Kind::InvalidArgument);
    assert_eq!(
        refusal.to_string(),
        "linux.security.selinux: the node's policy does not know the label system_u:system_r:odd_t:s0:c1,c2"
    );
}

#[test]
fn parts_that_are_none_are_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let labelling = on(dir.path());
    for (part, value) in [
        ("user", "a:b"),
        ("role", "r\\u0000"),
        ("type", "t u"),
        ("level", "s0,c4,c5"),
    ] {
        let linux = format!(r#"{{"security":{{"selinux":{{"{part}":"{value}"}}}}}}"#);

        let refusal = labelling.labels(&config(&linux)).unwrap_err();

        assert_eq!(refusal.kind(), Kind::InvalidArgument);
        assert!(
            refusal
                .to_string()
                .starts_with(&format!("linux.security.selinux.{part} ")),
            "{refusal}"
        );
    }
}

#[test]
fn where_it_is_off_labels_are_ignored_whatever_they_are() {
    let off = Labelling::new(Selinux::default());
    let mut asked = config(r#"{"security":{"selinux":{"type":"odd","level":"odd"}}}"#);

    assert_eq!(off.labels(&asked).unwrap(), None);
    assert_eq!(off.give_level(&mut asked).unwrap(), None);
    assert_eq!(off.info(), json!({"enabled": false, "labels": "ignored"}));
}

#[test]
fn directories_of_the_system_keep_their_label() {
    let mounts = |paths: &[(&str, bool)]| -> (ContainerConfig, Vec<Source>) {
        let mount = |(path, relabel): &(&str, bool)| Mount {
            host_path: (*path).to_owned(),
            selinux_relabel: *relabel,
            ..Mount::default()
        };
        let config = ContainerConfig {
            mounts: paths.iter().map(mount).collect(),
            ..ContainerConfig::default()
        };
        (
            config,
            paths.iter().map(|(path, _)| Source::Host(path.into())).collect(),
        )
    };

    let (config, binds) = mounts(&[("/etc", false), ("/etc/app", true), ("/srv/data", true)]);
    let paths = relabelled(&config, &binds, &[]).unwrap();
    assert_eq!(paths, [Path::new("/etc/app"), Path::new("/srv/data")]);

    for path in ["/", "/etc", "/usr", "/var/lib"] {
        let (config, binds) = mounts(&[("/srv/data", true), (path, true)]);
        let refusal = relabelled(&config, &binds, &[]).unwrap_err();
        assert_eq!(refusal.kind(), Kind::InvalidArgument);
        assert!(
            refusal.to_string().starts_with("mounts[1].selinux_relabel: "),
            "{refusal}"
        );
    }
}
