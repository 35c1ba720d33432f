//! Doors for fuzzing: each takes bytes, and panics at what must not come of them. Not in an ordinary build.

use std::path::{Component, Path, PathBuf};

use oci_spec::image::Config as ImageConfig;

use crate::model::{ContainerConfig, Mount, Profile, Security, User};
use crate::spec::{
    Added, AddedMount, Cgroups, Hierarchy, Host, Input, Output, Source, cdi, generate, mask, seccomp, user,
};

/// A profile of the user's, and the account files of an image.
pub fn profile(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let context = seccomp::Context {
        capabilities: 1 << 21,
        kernel: (6, 1),
    };
    let _ = seccomp::parse(text, &context);
    let (first, rest) = text.split_once('\n').unwrap_or((text, ""));
    let security = Security {
        user: Some(User::Name(first.to_owned())),
        ..Security::default()
    };
    let accounts = user::Accounts {
        passwd: rest,
        group: rest,
    };
    let _ = user::resolve(&security, "", accounts);
    let _ = user::resolve(&Security::default(), first, accounts);
}

/// A description of devices, in either form: what is taken has names that find it again, and paths that go where they
/// are written.
pub fn devices(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    for format in [cdi::Format::Json, cdi::Format::Yaml] {
        let Ok(document) = cdi::parse(format, text) else {
            continue;
        };
        assert!(!document.devices.is_empty());
        for (name, edits) in &document.devices {
            let full = format!("{}={name}", document.kind);
            assert_eq!(
                cdi::qualified(&full),
                Some((document.kind.as_str(), name.as_str()))
            );
            for mount in edits.mounts.iter().chain(&document.edits.mounts) {
                let plain = Path::new(&mount.container_path);
                assert!(plain.is_absolute() && !plain.components().any(|c| c == Component::ParentDir));
                let _ = AddedMount::new(mount, PathBuf::from(&mount.host_path));
            }
        }
    }
}

/// Translates a configuration on a machine of either kind, and holds the outcome to what is promised of every
/// container. `image` is the configuration of its image.
pub fn translate(config: &ContainerConfig, image: &ImageConfig) {
    for host in [v1(), v2()] {
        let source = |(n, mount): (usize, &Mount)| match mount.image {
            Some(_) => Source::Image(n),
            None => Source::Host((&mount.host_path).into()),
        };
        let binds: Vec<Source> = config.mounts.iter().enumerate().map(source).collect();
        let made = generate(&Input {
            id: "0123456789abcdef",
            cgroup_name: "0123456789abcdef",
            config,
            image: Some(image),
            passwd: Some("root:x:0:0:root:/root:/bin/sh\nwww:x:33:33::/var/www:/bin/false\n"),
            group: Some("root:x:0:\nwww:x:33:\nstaff:x:50:www\n"),
            host: &host,
            rootfs: Path::new("/run/c/rootfs"),
            binds: &binds,
            volumes: &[],
            devices: &[],
            added: &Added::default(),
            staging: Path::new("/run/c/staging"),
            seccomp_profile: None,
            labels: None,
        });
        if let Ok(made) = made {
            hold(config, &made);
        }
    }
}

fn hold(config: &ContainerConfig, made: &Output) {
    let plain = |path: &Path| {
        path.is_absolute()
            && !path.components().any(|c| c == Component::ParentDir)
            && !text(path).contains('\0')
    };
    for mount in made.spec.mounts().iter().flatten() {
        assert!(plain(mount.destination()), "mounted at {:?}", mount.destination());
    }
    assert!(
        plain(Path::new(&made.process.cwd)),
        "starts in {:?}",
        made.process.cwd
    );
    assert!(made.cgroup.ends_with("/0123456789abcdef") && plain(Path::new(&made.cgroup)));
    assert!(!made.process.args.is_empty());
    let nul = |bytes: &[u8]| bytes.contains(&0);
    assert!(!made.process.args.iter().any(|a| nul(a.as_bytes())));
    assert!(!made.process.env.iter().any(|e| nul(e)));

    let security = config
        .linux
        .as_ref()
        .map(|l| l.security.clone())
        .unwrap_or_default();
    let linux = made
        .spec
        .linux()
        .as_ref()
        .expect("every container has a Linux part");
    if security.privileged {
        assert!(made.seccomp.is_none());
        return;
    }
    assert_eq!(linux.masked_paths().as_deref(), Some(&security.masked_paths[..]));
    for path in &security.readonly_paths {
        assert!(
            linux.readonly_paths().iter().flatten().any(|p| p == path),
            "{path}"
        );
    }
    let confined = security.seccomp != Profile::Unconfined;
    assert_eq!(made.seccomp.is_some(), confined);
    let sets = &made.process.capabilities;
    assert_eq!(sets.effective & !sets.bounding, 0);
    assert_eq!((sets.inheritable | sets.ambient) & !sets.bounding, 0);
    assert!(linux.namespaces().as_ref().is_some_and(|all| !all.is_empty()));
}

fn text(path: &Path) -> std::borrow::Cow<'_, str> {
    path.to_string_lossy()
}

fn v2() -> Host {
    Host {
        cgroups: Cgroups::V2 {
            controllers: ["cpu", "cpuset", "memory", "pids", "hugetlb"]
                .map(String::from)
                .to_vec(),
        },
        swap_accounting: true,
        hugepage_sizes: vec!["2MB".to_owned()],
        bounding: (1 << 41) - 1,
        can_raise_limits: true,
        kernel: (6, 1),
        default_cgroup_parent: "/default".to_owned(),
        ..Host::default()
    }
}

fn v1() -> Host {
    let hierarchy = |name: &str| Hierarchy {
        controllers: vec![name.to_owned()],
        mountpoint: Path::new("/sys/fs/cgroup").join(name),
    };
    Host {
        cgroups: Cgroups::V1(["cpu", "memory", "devices"].map(hierarchy).to_vec()),
        can_raise_limits: false,
        own_oom_score_adj: -100,
        bounding: v2().bounding & !mask(["SYS_RESOURCE"]).expect("it is a capability"),
        ..v2()
    }
}
