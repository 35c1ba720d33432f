//! Namespaces, and what is set inside them.

use oci_spec::runtime::LinuxNamespaceType;

use super::Fixture;

#[test]
fn namespaces_are_made_joined_or_left_to_the_host() {
    let out = Fixture::new(
        r#"{"hostname":"h","linux":{"namespaces":{"network":{"join":"/run/n"},"pid":"host","uts":{"join":"/run/u"}}}}"#,
    )
    .output();

    let namespaces = out.spec.linux().as_ref().unwrap().namespaces().clone().unwrap();
    let got: Vec<_> = namespaces
        .iter()
        .map(|n| (n.typ(), n.path().as_ref().map(|p| p.display().to_string())))
        .collect();
    assert_eq!(
        got,
        [
            (LinuxNamespaceType::Mount, None),
            (LinuxNamespaceType::Cgroup, None),
            (LinuxNamespaceType::Network, Some("/run/n".to_owned())),
            (LinuxNamespaceType::Ipc, None),
            (LinuxNamespaceType::Uts, Some("/run/u".to_owned())),
        ]
    );
    assert_eq!(out.spec.hostname(), &None);
    assert!(out.process.env.contains(&b"HOSTNAME=h".to_vec()));
}

#[test]
fn a_container_without_a_hostname_is_called_by_its_id() {
    let out = Fixture::new("{}").output();

    assert_eq!(out.spec.hostname().as_deref(), Some("0123456789ab"));
}

#[test]
fn kernel_parameters_need_a_namespace_of_the_containers_own() {
    let with = |namespaces: &str, name: &str| {
        Fixture::new(&format!(
            r#"{{"linux":{{"namespaces":{{{namespaces}}},"sysctls":{{"{name}":"1"}}}}}}"#
        ))
    };
    let set = |name: &str| {
        with("", name)
            .output()
            .spec
            .linux()
            .as_ref()
            .unwrap()
            .sysctl()
            .clone()
            .unwrap()
    };
    for (given, written) in [
        ("net.ipv4.ip_forward", "net.ipv4.ip_forward"),
        ("net/ipv4/ip_forward", "net.ipv4.ip_forward"),
        ("kernel.shm_rmid_forced", "kernel.shm_rmid_forced"),
        ("fs.mqueue.msg_max", "fs.mqueue.msg_max"),
        ("kernel.domainname", "kernel.domainname"),
    ] {
        assert_eq!(set(given).keys().collect::<Vec<_>>(), [written]);
    }
    let own = |what: &str, name: &str| {
        format!(r#"linux.sysctls["{name}"] needs {what} namespace of the container's own"#)
    };
    let not = |name: &str| format!(r#"linux.sysctls["{name}"] is not a namespaced kernel parameter"#);
    let rows = [
        (r#""network":"host""#, "net.a", own("a network", "net.a")),
        (r#""network":{"join":"/n"}"#, "net.a", own("a network", "net.a")),
        (r#""ipc":"host""#, "kernel.sem", own("an IPC", "kernel.sem")),
        (
            r#""uts":"host""#,
            "kernel.domainname",
            own("a UTS", "kernel.domainname"),
        ),
        ("", "kernel.core_pattern", not("kernel.core_pattern")),
        ("", "vm.swappiness", not("vm.swappiness")),
        ("", "net..a", not("net..a")),
        (
            "",
            "net/../kernel/x",
            r#"linux.sysctls["net/../kernel/x"] mixes dots and slashes, which cannot be set"#.to_owned(),
        ),
    ];
    for (namespaces, name, expected) in rows {
        assert_eq!(with(namespaces, name).refused(), expected);
    }
}
