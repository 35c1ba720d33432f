//! Tables over what becomes of a security context.

use std::path::Path;

use super::container;
use crate::cri::sandbox::{Config, Key, Mode, Modes, Phase, PidMode, Record};
use crate::cri::wire::v1;
use crate::model::{GroupsPolicy, Namespace, Profile, Security, User};

fn sandbox(privileged: bool) -> Record {
    let config = Config {
        key: Key {
            name: "web".into(),
            namespace: "default".into(),
            uid: "1".into(),
            attempt: 0,
        },
        hostname: "web".into(),
        log_directory: String::new(),
        dns: None,
        ports: vec![],
        labels: Default::default(),
        annotations: Default::default(),
        cgroup_parent: "kubepods-burstable.slice".into(),
        sysctls: Default::default(),
        namespaces: Modes {
            network: Mode::Pod,
            ipc: Mode::Pod,
            pid: PidMode::Pod,
            user: None,
        },
        privileged,
        selinux: Default::default(),
        runtime_handler: String::new(),
        handler: Default::default(),
        resources: Default::default(),
    };
    let text = serde_json::json!({
        "id": "abc", "created_at": 1, "phase": Phase::Ready, "network": "Held", "ips": [],
        "config": config,
    });
    serde_json::from_value(text).unwrap()
}

fn linux(context: v1::LinuxContainerSecurityContext) -> crate::model::LinuxContainerConfig {
    let config = v1::ContainerConfig {
        metadata: Some(v1::ContainerMetadata {
            name: "app".into(),
            attempt: 0,
        }),
        image: Some(v1::ImageSpec {
            image: "x".into(),
            ..Default::default()
        }),
        linux: Some(v1::LinuxContainerConfig {
            resources: None,
            security_context: Some(context),
        }),
        ..Default::default()
    };
    let made = container(config, &sandbox(true), Path::new("/run/s"), Namespace::New);
    made.unwrap().linux.unwrap()
}

fn security(context: v1::LinuxContainerSecurityContext) -> Security {
    linux(context).security
}

fn profile(profile_type: v1::security_profile::ProfileType, reference: &str) -> Option<v1::SecurityProfile> {
    Some(v1::SecurityProfile {
        profile_type: profile_type as i32,
        localhost_ref: reference.to_owned(),
    })
}

#[test]
#[allow(deprecated, reason = "older clients set only these fields")]
fn profiles_are_taken_from_the_new_field_and_else_from_the_old() {
    use v1::security_profile::ProfileType::{Localhost, RuntimeDefault, Unconfined};
    let local = |name: &str| Profile::Localhost(name.to_owned());
    let check = |new: Option<v1::SecurityProfile>, old: &str, seccomp: Profile, apparmor: Profile| {
        let made = security(v1::LinuxContainerSecurityContext {
            seccomp: new.clone(),
            seccomp_profile_path: old.into(),
            apparmor: new.clone(),
            apparmor_profile: old.into(),
            ..Default::default()
        });
        assert_eq!(
            (made.seccomp, made.apparmor),
            (seccomp, apparmor),
            "{new:?} {old}"
        );
    };

    check(None, "", Profile::Unconfined, Profile::RuntimeDefault);
    check(
        None,
        "runtime/default",
        Profile::RuntimeDefault,
        Profile::RuntimeDefault,
    );
    check(
        None,
        "docker/default",
        Profile::RuntimeDefault,
        Profile::RuntimeDefault,
    );
    check(None, "unconfined", Profile::Unconfined, Profile::Unconfined);
    check(
        None,
        "localhost//p/x.json",
        local("/p/x.json"),
        local("/p/x.json"),
    );
    check(
        profile(RuntimeDefault, ""),
        "unconfined",
        Profile::RuntimeDefault,
        Profile::RuntimeDefault,
    );
    check(
        profile(Unconfined, ""),
        "runtime/default",
        Profile::Unconfined,
        Profile::Unconfined,
    );
    check(
        profile(Localhost, "/p/x.json"),
        "",
        local("/p/x.json"),
        local("/p/x.json"),
    );
    check(
        profile(Localhost, "localhost/mine"),
        "",
        local("mine"),
        local("mine"),
    );
}

#[test]
fn a_privileged_container_is_confined_by_nothing() {
    use v1::security_profile::ProfileType::Localhost;

    let made = security(v1::LinuxContainerSecurityContext {
        privileged: true,
        seccomp: profile(Localhost, "/p/x.json"),
        ..Default::default()
    });

    assert!(made.privileged);
    assert_eq!(
        (made.seccomp, made.apparmor),
        (Profile::Unconfined, Profile::Unconfined)
    );
}

#[test]
fn identities_and_rights_are_carried_over() {
    let made = security(v1::LinuxContainerSecurityContext {
        run_as_username: "nobody".into(),
        run_as_group: Some(v1::Int64Value { value: 7 }),
        supplemental_groups: vec![1234, 5678],
        supplemental_groups_policy: v1::SupplementalGroupsPolicy::Strict as i32,
        capabilities: Some(v1::Capability {
            add_capabilities: vec!["NET_ADMIN".into()],
            drop_capabilities: vec!["ALL".into()],
            add_ambient_capabilities: vec!["CHOWN".into()],
        }),
        no_new_privs: true,
        readonly_rootfs: true,
        masked_paths: vec!["/proc/kcore".into()],
        readonly_paths: vec!["/proc/sys".into()],
        ..Default::default()
    });

    assert_eq!(made.user, Some(User::Name("nobody".into())));
    assert_eq!(
        (made.group, made.supplemental_groups),
        (Some(7), vec![1234, 5678])
    );
    assert_eq!(made.supplemental_groups_policy, GroupsPolicy::Strict);
    let capabilities = made.capabilities;
    assert_eq!(
        (capabilities.add, capabilities.drop),
        (vec!["NET_ADMIN".into()], vec!["ALL".into()])
    );
    assert_eq!(capabilities.add_ambient, ["CHOWN"]);
    assert!(made.no_new_privileges && made.readonly_rootfs);
    assert_eq!(
        (made.masked_paths, made.readonly_paths),
        (vec!["/proc/kcore".into()], vec!["/proc/sys".into()])
    );
}

#[test]
fn a_container_gets_the_namespaces_and_the_cgroup_of_its_sandbox() {
    let made = linux(v1::LinuxContainerSecurityContext::default());

    assert_eq!(made.cgroup_parent, "/kubepods.slice/kubepods-burstable.slice");
    assert_eq!(made.namespaces.network, Namespace::Join("/run/s/net".into()));
    assert_eq!(made.namespaces.ipc, Namespace::Join("/run/s/ipc".into()));
    assert_eq!(made.namespaces.uts, Namespace::Join("/run/s/uts".into()));
}
