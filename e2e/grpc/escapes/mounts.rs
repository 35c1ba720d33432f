//! Mounts that are led elsewhere by links of images and volumes.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use libtest_mimic::Trial;
use tonic::Code;

use super::{attacked, attacker, bind, linked, script, uncreatable};
use crate::harness::daemon::shared;
use crate::harness::node::node;
use crate::harness::pod::{Pod, security};
use crate::harness::trials;

pub(super) fn tests() -> Vec<Trial> {
    trials![
        nothing_is_made_through_a_dev_that_leads_out,
        no_mount_is_led_upon_proc,
        no_mount_is_led_out_by_a_link_of_a_volume,
        no_mount_is_led_out_by_a_link_that_changes,
        nothing_is_masked_but_what_is_named,
        a_console_is_not_led_elsewhere,
    ]
}

/// What libcontainer makes in `/dev` it makes by path, on the host's side.
async fn nothing_is_made_through_a_dev_that_leads_out() {
    let daemon = shared().await;
    let pod = Pod::run(daemon, "dev-link").await;
    let outside = pod.logs().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("ptmx"), "kept").unwrap();
    let path = outside.to_str().unwrap();
    let upwards = format!("../../../../../../../../../../../..{path}");

    for place in ["dev", "proc", "sys"] {
        for target in [path, &upwards, "/tmp", "/etc/passwd"] {
            let image = linked(daemon, &[(place, target)]).await;
            let status = uncreatable(&pod, |config| config.image.as_mut().unwrap().image = image).await;
            assert_eq!(
                status.code(),
                Code::InvalidArgument,
                "{place} to {target}: {status}"
            );
            let named = format!("/{place} of the image");
            assert!(status.message().contains(&named), "{place} to {target}: {status}");
        }
    }

    let left: Vec<_> = fs::read_dir(&outside)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left, ["ptmx"]);
    assert_eq!(fs::read_to_string(outside.join("ptmx")).unwrap(), "kept");
    pod.remove().await;
}

/// CVE-2019-16884, CVE-2019-19921, CVE-2025-52881: what takes the place of `/proc` swallows labels and settings.
async fn no_mount_is_led_upon_proc() {
    let daemon = shared().await;
    let pod = Pod::run(daemon, "proc").await;
    let volume = pod.logs().join("volume");
    fs::create_dir_all(volume.join("attr")).unwrap();
    symlink("/proc", volume.join("way")).unwrap();
    let image = linked(daemon, &[("whole", "/proc"), ("part", "/proc/self/attr")]).await;

    for places in [
        vec!["/proc"],
        vec!["/proc/self/attr"],
        vec!["/x/../proc/sys"],
        vec!["/whole"],
        vec!["/whole/1"],
        vec!["/part"],
        vec!["/volume", "/volume/way/sys"],
        vec!["/volume", "/volume/way/self"],
    ] {
        let status = uncreatable(&pod, |config| {
            config.image.as_mut().unwrap().image = image.clone();
            config.mounts = places.iter().map(|place| bind(&volume, place)).collect();
        })
        .await;
        assert_eq!(status.code(), Code::InvalidArgument, "{places:?}: {status}");
        assert!(status.message().contains("proc"), "{places:?}: {status}");
    }
    pod.remove().await;
}

/// CVE-2021-30465, as it stands still.
async fn no_mount_is_led_out_by_a_link_of_a_volume() {
    let pod = Pod::run(shared().await, "target").await;
    let (volume, outside) = (pod.logs().join("volume"), pod.logs().join("outside"));
    fs::create_dir_all(&volume).unwrap();
    fs::create_dir_all(&outside).unwrap();
    let upwards = format!("../../../../../../../../../../../..{}", outside.display());
    symlink(&outside, volume.join("absolute")).unwrap();
    symlink(upwards, volume.join("relative")).unwrap();
    symlink("/proc/1/root/tmp", volume.join("magic")).unwrap();

    symlink("/var", volume.join("within")).unwrap();

    for name in ["absolute", "relative", "magic"] {
        let place = format!("/volume/{name}/made");
        let status = uncreatable(&pod, |config| {
            config.mounts = vec![bind(&volume, "/volume"), bind(&volume, &place)];
        })
        .await;
        assert_eq!(status.code(), Code::Internal, "{name}: {status}");
    }
    let inside = pod
        .output_with("within", "ls /var", |config| {
            config.mounts = vec![bind(&volume, "/volume"), bind(&volume, "/volume/within/made")];
        })
        .await;

    assert_eq!(inside, "made\n", "the container's own /var");
    assert!(!Path::new("/var/made").exists());
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    pod.remove().await;
}

/// CVE-2021-30465: a container that shares the volume changes the target's parent while mounts are made.
async fn no_mount_is_led_out_by_a_link_that_changes() {
    const ROUNDS: usize = 20;
    let pod = Pod::run(attacked().await, "race").await;
    let (volume, outside) = (pod.logs().join("volume"), pod.logs().join("outside"));
    fs::create_dir_all(volume.join("a")).unwrap();
    fs::create_dir_all(&outside).unwrap();
    symlink(
        format!("../../../../../../../../..{}", outside.display()),
        volume.join("b"),
    )
    .unwrap();
    // renameat2(2) with RENAME_EXCHANGE, as fast as it goes.
    let swap = format!(
        "my ($a, $b) = ('/volume/a', '/volume/b'); syscall({}, -100, $a, -100, $b, 2) while 1",
        libc::SYS_renameat2
    );
    let racing = pod
        .create_with("racing", &[], |config| {
            attacker(config);
            config.command = script(&swap);
            config.mounts = vec![bind(&volume, "/volume")];
        })
        .await;
    racing.start().await;

    let stop = AtomicBool::new(false);
    let escaped = || fs::read_dir(&outside).unwrap().count() > 0;
    let creating = async {
        for round in 0..ROUNDS {
            let mut config = pod.container_config(&format!("victim{round}"), &["true"]);
            config.mounts = vec![
                bind(&volume, "/volume"),
                bind(Path::new("/tmp"), "/volume/a/made"),
            ];
            // Either answer will do: what counts is where it went.
            let _any = pod
                .daemon
                .runtime()
                .create_container(pod.create_request(config))
                .await;
        }
        stop.store(true, Ordering::Relaxed);
    };
    let watching = async {
        let mut seen = false;
        while !stop.load(Ordering::Relaxed) {
            seen |= escaped();
            tokio::task::yield_now().await;
        }
        seen
    };
    let ((), seen) = tokio::join!(creating, watching);

    assert!(!seen && !escaped());
    let mounts = fs::read_to_string(format!("/proc/{}/mountinfo", pod.daemon.pid())).unwrap();
    assert!(!mounts.contains(outside.to_str().unwrap()), "{mounts}");
    pod.remove().await;
}

/// CVE-2025-31133: what masks is the kernel's null device, whatever an image or a volume calls `/dev/null`.
async fn nothing_is_masked_but_what_is_named() {
    let daemon = shared().await;
    let pod = Pod::run(daemon, "mask").await;
    let volume = pod.logs().join("dev");
    fs::create_dir_all(&volume).unwrap();
    symlink("/etc/passwd", volume.join("null")).unwrap();
    let masked = "/etc/group";

    for (name, dev) in [("plain", None), ("volume", Some(&volume))] {
        let made = pod.create_with(
            name,
            &["sh", "-c", "stat -c %t:%T /etc/group; cat /etc/group"],
            |config| {
                security(config).masked_paths = vec![masked.to_owned()];
                config.mounts = dev.map(|dev| bind(dev, "/dev")).into_iter().collect();
            },
        );
        let made = made.await;
        made.start().await;
        made.exited().await;
        assert_eq!(made.output(), "1:3\n", "{name}");
    }
    pod.remove().await;
}

/// CVE-2025-52565: the console is a terminal of the container's own, or there is no container.
async fn a_console_is_not_led_elsewhere() {
    let pod = Pod::run(shared().await, "console").await;
    let victim = node().directory.join(format!("console-{}", node().number()));
    fs::write(&victim, "kept").unwrap();
    let volume = pod.logs().join("pts");
    fs::create_dir_all(&volume).unwrap();
    for name in ["0", "1", "ptmx"] {
        symlink(&victim, volume.join(name)).unwrap();
    }

    let output = pod
        .output_with("own", "stat -c %t /dev/console; tty", |config| config.tty = true)
        .await;
    let status = uncreatable(&pod, |config| {
        config.tty = true;
        config.mounts = vec![bind(&volume, "/dev/pts")];
    })
    .await;

    assert!(output.starts_with("88\r\n/dev/"), "{output:?}");
    assert_eq!(status.code(), Code::Internal, "{status}");
    assert_eq!(fs::read_to_string(&victim).unwrap(), "kept");
    pod.remove().await;
}
