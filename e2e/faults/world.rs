//! All that a daemon has, as far as it can be told from outside: what a fault must not leave more of.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::caller::Caller;
use crate::harness::daemon::Place;
use crate::harness::node::{cgroups_below, hierarchies, node};
use crate::lane::Lane;
use crate::processes::{self, Role};

/// One line for each thing there is.
pub(crate) type World = BTreeSet<String>;

/// Looks at everything. Nothing is under way meanwhile.
pub(crate) async fn world(caller: &mut Caller<'_>) -> World {
    let mut world = World::new();
    world.extend(caller.pods().await.iter().map(|pod| format!("pod {}", pod.id)));
    let containers = caller.containers().await;
    world.extend(
        containers
            .iter()
            .map(|container| format!("container {}", container.id)),
    );
    let images = caller.images().await;
    world.extend(
        images
            .iter()
            .map(|image| format!("image {} {:?}", image.id, image.repo_tags)),
    );
    // After the last call: who holds the daemon keeps the next one from its place.
    let daemon = caller.lane.daemon().await;
    let processes = processes::of(&daemon.place);
    world.extend(processes.iter().map(|(role, process)| match role {
        // There is one; which one does not matter.
        Role::Zygote => "process Zygote".to_owned(),
        _ => format!("process {role:?} {}", process.pid),
    }));
    world.extend(mounts(daemon.pid(), &daemon.place));
    for zygote in processes::with_role(&daemon.place, Role::Zygote) {
        world.extend(
            mounts(zygote.pid, &daemon.place)
                .into_iter()
                .map(|line| format!("zygote {line}")),
        );
    }
    world.extend(cgroups(&daemon.place));
    for (top, depth) in [(&daemon.place.run, 2), (&daemon.place.state, 3)] {
        files(top, top, depth, &mut world);
    }
    world
}

/// The addresses that are given away, each with its owner.
pub(crate) fn leases() -> BTreeSet<(String, String)> {
    let dir = node().directory.join("cni/state/e2e");
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let owner = fs::read_to_string(entry.path()).ok()?;
            let address = name.starts_with(|c: char| c.is_ascii_digit());
            address.then(|| (name, owner.lines().next().unwrap_or_default().trim().to_owned()))
        })
        .collect()
}

/// Interfaces of the node that lead into pods, and those by which their traffic is shaped.
fn interfaces() -> BTreeSet<String> {
    let entries = fs::read_dir("/sys/class/net").unwrap().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let of_pods = |name: &String| name.starts_with("veth") || name.starts_with("bwp");
    names.filter(of_pods).collect()
}

/// Chains of the node's rules that are for one pod.
fn chains() -> BTreeSet<String> {
    let listed = Command::new("iptables")
        .args(["-t", "nat", "-S"])
        .output()
        .unwrap();
    assert!(listed.status.success(), "{listed:?}");
    let listed = String::from_utf8(listed.stdout).unwrap();
    let made = listed.lines().filter_map(|line| line.strip_prefix("-N CNI-"));
    // Those that plugins keep for all pods have a name.
    let numbered = made.filter(|name| {
        name.bytes()
            .all(|byte| byte.is_ascii_hexdigit() && !byte.is_ascii_uppercase())
    });
    numbered.map(str::to_owned).collect()
}

/// What the network still has of pods, once it has had time to go: none is there any more.
pub(crate) async fn network_left() -> Vec<String> {
    let mut left = vec![];
    for _ in 0..300 {
        left = leases()
            .into_iter()
            .map(|(address, owner)| format!("left: address {address} of {owner}"))
            .collect();
        left.extend(
            interfaces()
                .into_iter()
                .map(|name| format!("left: interface {name}")),
        );
        left.extend(chains().into_iter().map(|name| format!("left: chain {name}")));
        if left.is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    left
}

fn mounts(pid: i32, place: &Place) -> Vec<String> {
    let table = fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap_or_default();
    let own = [place.run.to_str().unwrap(), place.state.to_str().unwrap()];
    let points = table.lines().filter_map(|line| line.split(' ').nth(4));
    let below = |point: &str| {
        own.iter()
            .any(|dir| point.strip_prefix(dir).is_some_and(|rest| rest.starts_with('/')))
    };
    points
        .filter(|point| below(point))
        .map(|point| format!("mount {point}"))
        .collect()
}

fn cgroups(place: &Place) -> Vec<String> {
    let all = [place.cgroup_parent(), place.monitor_cgroup()];
    let mut found = vec![];
    for root in hierarchies() {
        for parent in &all {
            let below = cgroups_below(&root.join(parent.trim_start_matches('/')));
            found.extend(below.iter().map(|path| format!("cgroup {}", path.display())));
        }
    }
    found
}

/// Names below a directory, as deep as they are the daemon's own and not a layer's content.
fn files(top: &Path, dir: &Path, depth: usize, world: &mut World) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path: PathBuf = entry.path();
        let name = path.strip_prefix(top).unwrap_or(&path).display().to_string();
        // Layers get a new number when they come back; that they come back is told by the images.
        let numbered = ["images/l/", "images/m/"]
            .iter()
            .find(|dir| name.starts_with(**dir));
        match numbered {
            Some(dir) => {
                let count = (1..)
                    .find(|n| !world.contains(&format!("file {dir}{n}")))
                    .unwrap();
                world.insert(format!("file {dir}{count}"));
            }
            // Grows with what was compiled, and is used again.
            None if name == "seccomp" || name.starts_with("seccomp/") => {}
            None => {
                world.insert(format!("file {}/{name}", top.display()));
                if depth > 1 && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    files(top, &path, depth - 1, world);
                }
            }
        }
    }
}

/// What is in `now` and was not `before`, and what is gone.
fn difference(before: &World, now: &World) -> Vec<String> {
    let more = now.difference(before).map(|thing| format!("left: {thing}"));
    let less = before.difference(now).map(|thing| format!("gone: {thing}"));
    more.chain(less).collect()
}

/// What is there now and was not `before`, once it has had time to go.
pub(crate) async fn left(lane: &Lane, before: &World) -> Vec<String> {
    let mut caller = Caller::new(lane);
    let mut left = vec![];
    // Debts of the network are paid after a pause, which grows.
    for _ in 0..3000 {
        left = difference(before, &world(&mut caller).await);
        // A zygote comes back with the next pod.
        left.retain(|line| line != "gone: process Zygote" && !line.starts_with("gone: zygote "));
        if left.is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    left
}
