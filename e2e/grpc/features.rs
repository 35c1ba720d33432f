//! What fields of pods and containers come to that few pods set.

use std::fs;

use coracle::cri::wire::v1 as ours;
use k8s_cri::v1;
use libtest_mimic::Trial;
use serde_json::json;
use tonic::Code;

use crate::harness::container::Made;
use crate::harness::daemon::{Daemon, image_name, refused, rich_image_name, shared};
use crate::harness::image::{Packing, Recipe, TestImage, perl};
use crate::harness::node::{hierarchies, node};
use crate::harness::pod::{Pod, resources, security};
use crate::harness::{eventually, trials};
use crate::image_volumes::create_ours;
use crate::resources::{MEBI, value};

pub(crate) fn tests() -> Vec<Trial> {
    trials![
        a_mount_forbids_what_its_options_say,
        options_of_a_mount_that_mean_nothing_are_refused,
        a_container_is_stopped_by_the_signal_that_it_asks_for,
        an_image_is_told_of_as_the_user_named_it,
        parameters_that_are_not_safe_hold_in_the_pod_only,
        swap_is_limited_beside_memory,
        huge_pages_are_limited_where_the_kernel_can,
        proc_is_masked_as_the_request_says,
        ambient_capabilities_are_held_by_who_is_not_root,
        no_socket_reaches_the_kernels_cryptography_or_the_hypervisor,
        what_docker_saves_is_imported_and_run,
    ]
}

async fn status(container: &Made<'_>) -> ours::ContainerStatus {
    let request = ours::ContainerStatusRequest {
        container_id: container.id.clone(),
        verbose: false,
    };
    let mut client = container.daemon.own_runtime();
    client
        .container_status(request)
        .await
        .unwrap()
        .into_inner()
        .status
        .unwrap()
}

fn volume(pod: &Pod<'_>, options: &[&str]) -> ours::Mount {
    let directory = pod.logs().join("volume");
    fs::create_dir_all(&directory).unwrap();
    fs::write(directory.join("run"), "#!/bin/sh\necho ran\n").unwrap();
    crate::harness::node::shell(&format!("chmod 755 {}/run", directory.display()));
    ours::Mount {
        container_path: "/volume".to_owned(),
        host_path: directory.to_str().unwrap().to_owned(),
        mount_options: options.iter().map(|option| (*option).to_owned()).collect(),
        ..Default::default()
    }
}

async fn a_mount_forbids_what_its_options_say() {
    let daemon = shared().await;
    let mut client = daemon.own_runtime();
    let node = client
        .status(ours::StatusRequest::default())
        .await
        .unwrap()
        .into_inner();
    assert!(
        node.features.unwrap().mount_options,
        "the kubelet asks for no option otherwise"
    );
    let pod = Pod::run(daemon, "mount-options").await;
    let options = ["noexec", "nosuid", "nodev", "noexec"];
    let mut made = vec![];
    for (name, options) in [("strict", &options[..]), ("free", &[])] {
        let mount = volume(&pod, options);
        let container = create_ours(&pod, name, &["sleep", "infinity"], |c| c.mounts = vec![mount]);
        let container = container.await.unwrap();
        container.start().await;
        made.push(container);
    }

    let [strict, free] = &made[..] else { unreachable!() };
    let flags = strict
        .sh("grep ' /volume ' /proc/self/mountinfo | cut -d' ' -f6")
        .await;
    for flag in ["rw", "noexec", "nosuid", "nodev"] {
        assert!(
            flags.trim().split(',').any(|have| have == flag),
            "{flag}: {flags}"
        );
    }
    let ran = strict.exec(&["sh", "-c", "/volume/run"]).await;
    assert_eq!((ran.code, ran.stdout.as_str()), (126, ""), "{ran:?}");
    assert_eq!(
        strict.sh("echo x >/volume/written; cat /volume/written").await,
        "x\n"
    );
    // The volume of one container says nothing of another's.
    assert_eq!(free.sh("/volume/run").await, "ran\n");
    assert_eq!(
        status(strict).await.mounts[0].mount_options,
        ["noexec", "nosuid", "nodev"]
    );
    assert!(status(free).await.mounts[0].mount_options.is_empty());
    pod.remove().await;
}

async fn options_of_a_mount_that_mean_nothing_are_refused() {
    let pod = Pod::run(shared().await, "no-options").await;
    for option in ["exec", "uid=0", "", "NOEXEC", "noexec,nodev", "bind", "shared"] {
        let mount = volume(&pod, &["nodev", option]);

        let made = create_ours(&pod, "main", &["true"], |c| c.mounts = vec![mount]).await;

        let error = made.err().unwrap();
        assert_eq!(error.code(), Code::InvalidArgument);
        let field = format!("mounts[0].mount_options[1] {option:?} is none of");
        assert!(error.message().contains(&field), "{error}");
    }
    pod.remove().await;
}

async fn a_container_is_stopped_by_the_signal_that_it_asks_for() {
    let pod = Pod::run(shared().await, "own-signal").await;
    let script = "for s in TERM USR1 USR2; do trap \"echo $s; exit 4\" $s; done; echo ready; while :; do sleep 0.05; done";
    let config = |config: &mut ours::ContainerConfig| {
        // Whose own word is USR1.
        config.image.as_mut().unwrap().image = rich_image_name();
        config.stop_signal = ours::Signal::Sigusr2 as i32;
    };
    let container = create_ours(&pod, "main", &["sh", "-c", script], config)
        .await
        .unwrap();
    container.start().await;
    container.printed("ready").await;

    assert_eq!(status(&container).await.stop_signal(), ours::Signal::Sigusr2);
    container.stop(60).await;

    assert_eq!(container.status().await.exit_code, 4);
    assert_eq!(container.output(), "ready\nUSR2\n");
    let unknown = create_ours(&pod, "none", &["true"], |config| config.stop_signal = 99).await;
    let refusal = unknown.err().unwrap();
    assert_eq!(refusal.code(), Code::InvalidArgument);
    // Runtimes name the field in words, too.
    let told = refusal.message().replace(' ', "_");
    assert!(told.contains("stop_signal"), "{refusal}");
    pod.remove().await;
}

async fn an_image_is_told_of_as_the_user_named_it() {
    let daemon = shared().await;
    let pod = Pod::run(daemon, "user-named").await;
    let request = v1::ImageStatusRequest {
        image: crate::pulls::spec(&image_name()),
        verbose: false,
    };
    let image = daemon.images().image_status(request).await.unwrap().into_inner();
    let id = image.image.unwrap().id;
    let asked = |named: &str, image: &str| {
        let (named, image) = (named.to_owned(), image.to_owned());
        move |config: &mut ours::ContainerConfig| {
            let spec = config.image.as_mut().unwrap();
            (spec.image, spec.user_specified_image) = (image, named);
        }
    };

    // As the kubelet does: what was pulled by its id, what the pod says beside it.
    let container = create_ours(&pod, "main", &["true"], asked("busybox", &id))
        .await
        .unwrap();
    let nameless = create_ours(&pod, "none", &["true"], asked(&image_name(), "")).await;

    let named = create_ours(&pod, "named", &["true"], asked(&image_name(), &id))
        .await
        .unwrap();

    // By a name that it has, for people to read; what the user wrote beside it.
    for (container, wrote) in [(&container, "busybox"), (&named, &*image_name())] {
        let told = status(container).await;
        let spec = told.image.unwrap();
        assert_eq!(
            (spec.image.as_str(), spec.user_specified_image.as_str()),
            (&*image_name(), wrote)
        );
        assert_eq!(told.image_id, id);
    }
    let request = ours::ListContainersRequest {
        filter: Some(ours::ContainerFilter {
            id: container.id.clone(),
            ..Default::default()
        }),
    };
    let mut client = daemon.own_runtime();
    let listed = client
        .list_containers(request)
        .await
        .unwrap()
        .into_inner()
        .decoded::<ours::Container>()
        .unwrap()
        .remove(0);
    let spec = listed.image.unwrap();
    assert_eq!(
        (spec.image, &*spec.user_specified_image),
        (image_name(), "busybox")
    );
    // It names no image by itself.
    let refusal = nameless.err().unwrap();
    assert_eq!(refusal.code(), Code::InvalidArgument, "{refusal}");
    assert!(refusal.message().contains("image.image"), "{refusal}");
    pod.remove().await;
}

async fn parameters_that_are_not_safe_hold_in_the_pod_only() {
    let daemon = shared().await;
    const ROWS: [(&str, &str); 4] = [
        ("fs.mqueue.msg_max", "100"),
        ("kernel.msgmax", "65000"),
        ("kernel.sem", "1000\t32000\t100\t1000"),
        ("net.core.somaxconn", "99"),
    ];
    let set = |config: &mut v1::PodSandboxConfig| {
        let sysctls = &mut config.linux.as_mut().unwrap().sysctls;
        sysctls.extend(ROWS.map(|(name, value)| (name.to_owned(), value.to_owned())));
    };
    let read = |name: &str| fs::read_to_string(format!("/proc/sys/{}", name.replace('.', "/"))).unwrap();
    let before = ROWS.map(|(name, _)| read(name));
    let pod = Pod::run_with(daemon, "unsafe", set).await;
    let container = pod.idle("main").await;

    for (name, value) in ROWS {
        let inside = container
            .sh(&format!("cat /proc/sys/{}", name.replace('.', "/")))
            .await;
        assert_eq!(inside.trim(), value, "{name}");
    }

    assert_eq!(ROWS.map(|(name, _)| read(name)), before);
    // Of the node's own namespaces they would be the node's.
    let mut config = crate::harness::pod::config(daemon, "unsafe-node");
    set(&mut config);
    crate::harness::pod::namespaces(&mut config).ipc = v1::NamespaceMode::Node.into();
    let request = v1::RunPodSandboxRequest {
        config: Some(config),
        ..Default::default()
    };
    let refusal = refused(daemon.runtime().run_pod_sandbox(request)).await;
    assert_eq!(refusal.code(), Code::InvalidArgument);
    assert!(
        refusal
            .message()
            .contains("config.linux.sysctls[fs.mqueue.msg_max]"),
        "{refusal}"
    );
    pod.remove().await;
}

async fn swap_is_limited_beside_memory() {
    let pod = Pod::run(shared().await, "swap").await;
    let limited = async |name: &str, swap: i64| {
        let container = pod
            .start_with(name, &["sleep", "infinity"], |config| {
                resources(config).memory_limit_in_bytes = 64 * MEBI;
                resources(config).memory_swap_limit_in_bytes = swap;
            })
            .await;
        let told = container.status().await.resources.unwrap().linux.unwrap();
        let found = value(
            &container,
            "memory",
            "memory.memsw.limit_in_bytes",
            "memory.swap.max",
        )
        .await;
        (found, told.memory_swap_limit_in_bytes)
    };
    // Of version 1 the limit is of both together, of version 2 of swap alone.
    let with = |swap: i64| match hierarchies().len() {
        1 => swap.to_string(),
        _ => (64 * MEBI + swap).to_string(),
    };

    assert_eq!(limited("some", 96 * MEBI).await, (with(32 * MEBI), 96 * MEBI));
    assert_eq!(limited("none", 64 * MEBI).await, (with(0), 64 * MEBI));
    // Nobody who does not ask for it swaps.
    assert_eq!(limited("unasked", 0).await.0, with(0));
    pod.remove().await;
}

async fn huge_pages_are_limited_where_the_kernel_can() {
    let daemon = Daemon::with_images("huge-pages").await;
    let pod = Pod::run(&daemon, "huge-pages").await;

    let container = pod
        .start_with("main", &["sleep", "infinity"], |config| {
            resources(config).hugepage_limits = vec![v1::HugepageLimit {
                page_size: "2MB".to_owned(),
                limit: 4 << 20,
            }];
        })
        .await;

    let controlled = hierarchies().iter().any(|hierarchy| {
        let controllers = fs::read_to_string(hierarchy.join("cgroup.controllers")).unwrap_or_default();
        let unified =
            hierarchies().len() == 1 && controllers.split_whitespace().any(|name| name == "hugetlb");
        unified || hierarchy.ends_with("hugetlb")
    });
    let pid = container.pid().await;
    match controlled {
        true => {
            let found = value(
                &container,
                "hugetlb",
                "hugetlb.2MB.limit_in_bytes",
                "hugetlb.2MB.max",
            )
            .await;
            assert_eq!(found, (4 << 20).to_string());
        }
        // As huge pages that nobody counts cannot be limited, the container runs and the log tells.
        false => {
            let told = eventually("the log tells", async || {
                let log = fs::read_to_string(daemon.place.log()).unwrap();
                let about = |line: &&str| line.contains("WARN") && line.contains("2MB");
                log.lines().find(about).map(str::to_owned)
            })
            .await;
            assert!(told.contains("not limited"), "{told}");
            assert!(fs::exists(format!("/proc/{pid}")).unwrap());
        }
    }
    pod.remove().await;
}

/// `procMount: Unmasked` is a request without paths; kubelets allow it to pods of their own users only.
async fn proc_is_masked_as_the_request_says() {
    let pod = crate::userns::run(shared().await, "proc-mount").await;
    let script = "stat -c %F /proc/interrupts; (: >/proc/sys/kernel/shm_rmid_forced) 2>&1 | grep -o 'Read-only' || echo open";
    let seen = async |name: &str, masked: &[&str], read_only: &[&str]| {
        let owned = |paths: &[&str]| paths.iter().map(|path| (*path).to_owned()).collect();
        let output = pod.output_with(name, script, |config| {
            security(config).masked_paths = owned(masked);
            security(config).readonly_paths = owned(read_only);
        });
        output.await
    };

    let default = seen("default", &["/proc/interrupts"], &["/proc/sys"]).await;
    let unmasked = seen("unmasked", &[], &[]).await;

    assert_eq!(default, "character special file\nRead-only\n");
    assert_eq!(unmasked, "regular empty file\nopen\n");
    pod.remove().await;
}

async fn ambient_capabilities_are_held_by_who_is_not_root() {
    const NET_BIND_SERVICE: u64 = 1 << 10;
    let pod = Pod::run(shared().await, "ambient").await;
    let held = async |name: &str, ambient: &[&str]| {
        let ambient: Vec<String> = ambient.iter().map(|name| (*name).to_owned()).collect();
        let script = "grep -E '^Cap(Eff|Amb)' /proc/self/status | cut -f2";
        let output = pod.output_with(name, script, |config| {
            security(config).run_as_user = Some(v1::Int64Value { value: 1000 });
            security(config).capabilities = Some(v1::Capability {
                add_ambient_capabilities: ambient,
                ..Default::default()
            });
        });
        let output = output.await;
        let masks = output.lines().map(|hex| u64::from_str_radix(hex, 16).unwrap());
        masks.collect::<Vec<u64>>()
    };

    // Of another program than the first: what is ambient goes on through `execve`.
    assert_eq!(held("with", &["NET_BIND_SERVICE"]).await, [NET_BIND_SERVICE; 2]);
    assert_eq!(held("without", &[]).await, [0; 2]);
    pod.remove().await;
}

async fn no_socket_reaches_the_kernels_cryptography_or_the_hypervisor() {
    let daemon = shared().await;
    let image = format!("registry.example/e2e/sockets:{}", node().number());
    let recipe = Recipe {
        top: Some(perl()),
        ..Recipe::default()
    };
    daemon.import(&image, &TestImage::build(&recipe)).await;
    let pod = Pod::run(daemon, "sockets").await;
    // Streams of IPv4, what takes a cipher, streams between virtual machines.
    const SCRIPT: &str =
        r#"for ([2, 1], [38, 5], [40, 1]) { print socket(S, $$_[0], $$_[1], 0) ? "open\n" : "$!\n" }"#;
    let container = pod.start_with("main", &["perl", "-e", SCRIPT], |config| {
        config.image.as_mut().unwrap().image = image;
        security(config).seccomp = Some(v1::SecurityProfile {
            profile_type: v1::security_profile::ProfileType::RuntimeDefault.into(),
            localhost_ref: String::new(),
        });
    });
    let container = container.await;
    container.exited().await;

    let refused = "Operation not permitted\n";
    assert_eq!(container.output(), format!("open\n{refused}{refused}"));
    pod.remove().await;
}

async fn what_docker_saves_is_imported_and_run() {
    let daemon = shared().await;
    let number = node().number();
    let image = TestImage::build(&Recipe {
        files: vec![("which", 0, 0o644, format!("saved {number}").into_bytes())],
        packing: Packing::Plain,
        ..Recipe::default()
    });
    let tag = format!("registry.example/e2e/saved:{number}");
    let [whole, broken] = [(); 2].map(|()| tempfile::NamedTempFile::new_in(&node().disk).unwrap());
    image.write_docker_archive(whole.path(), &tag, |_| {});
    image.write_docker_archive(broken.path(), &tag, |manifest| {
        manifest[0]["Layers"][1] = json!("none/layer.tar")
    });

    let refusal = daemon
        .cli(&["image", "import", broken.path().to_str().unwrap()])
        .await;
    let imported = daemon
        .cli(&["image", "import", whole.path().to_str().unwrap()])
        .await;

    let told = String::from_utf8_lossy(&refusal.stderr);
    assert!(
        !refusal.status.success() && told.contains("none/layer.tar"),
        "{refusal:?}"
    );
    assert!(imported.status.success(), "{imported:?}");
    let pod = Pod::run(daemon, "saved").await;
    let output = pod.output_with("main", "cat /which", |config| {
        config.image.as_mut().unwrap().image = tag;
    });
    assert_eq!(output.await, format!("saved {number}"));
    pod.remove().await;
}
