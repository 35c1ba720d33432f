//! Levels of SELinux's: one for each pod, which its containers share, and which is kept while the pod is.

use std::path::Path;

use tonic::{Code, Request};

use super::requests::{container, create_request, pod, run_request, secured};
use super::support::TestNode;
use crate::cri::wire::v1::{self, runtime_service_server::RuntimeService as _};
use crate::model::SelinuxLabel;
use crate::sys::selinux::{Held, Policy, Selinux};

/// SELinux that is on and knows every label, with a directory in the place of the kernel.
fn selinux(root: &Path) -> Selinux {
    std::fs::write(root.join("context"), "").unwrap();
    let policy = Policy {
        process: "system_u:system_r:container_t:s0".parse().unwrap(),
        files: "system_u:object_r:container_file_t:s0".parse().unwrap(),
    };
    Selinux::with(root.to_owned(), policy)
}

/// A node on which it is on.
async fn node() -> TestNode {
    let node = TestNode::new().await;
    node.world.lock().selinux = selinux(node.dir.path());
    node.restart().await
}

/// The label that a container of a pod is created with.
async fn label(node: &TestNode, pod: &str, config: v1::ContainerConfig) -> SelinuxLabel {
    let made = node.adapter.create_container(create_request(pod, config)).await;
    let id = made.unwrap().into_inner().container_id;
    node.fake.config(&id).unwrap().linux.unwrap().security.selinux
}

fn asking(name: &str, options: v1::SeLinuxOption) -> v1::ContainerConfig {
    let context = v1::LinuxContainerSecurityContext {
        selinux_options: Some(options),
        ..Default::default()
    };
    secured(name, context)
}

/// A pod that asks for a label.
fn pod_asking(name: &str, options: v1::SeLinuxOption) -> v1::PodSandboxConfig {
    let mut config = pod(name);
    config.linux.get_or_insert_default().security_context = Some(v1::LinuxSandboxSecurityContext {
        selinux_options: Some(options),
        ..Default::default()
    });
    config
}

/// Takes every level but those that are held already.
fn take_all(selinux: &Selinux, but: &str) -> Vec<Held> {
    let pairs = (0..1024).flat_map(|low| (low + 1..1024).map(move |high| format!("s0:c{low},c{high}")));
    pairs
        .filter(|level| level != but)
        .filter_map(|level| selinux.hold(&level))
        .collect()
}

#[tokio::test]
async fn pods_have_levels_of_their_own_and_containers_that_of_their_pod() {
    let node = node().await;
    let (one, other) = (node.run_pod("one").await, node.run_pod("other").await);

    let first = label(&node, &one, container("a")).await;
    let typed = asking(
        "b",
        v1::SeLinuxOption {
            r#type: "own_t".into(),
            ..Default::default()
        },
    );
    let second = label(&node, &one, typed).await;
    let third = label(&node, &other, container("a")).await;

    assert!(first.level.starts_with("s0:c"), "{first:?}");
    assert_eq!((&*second.kind, &second.level), ("own_t", &first.level));
    assert_ne!(third.level, first.level);
}

#[tokio::test]
async fn a_label_that_a_pod_asks_for_is_that_of_its_containers() {
    let node = node().await;
    let asked = v1::SeLinuxOption {
        user: "u".into(),
        role: "r".into(),
        r#type: "t".into(),
        level: "s0:c7".into(),
    };
    let answer = node
        .adapter
        .run_pod_sandbox(run_request(pod_asking("web", asked)))
        .await;
    let id = answer.unwrap().into_inner().pod_sandbox_id;

    let found = label(&node, &id, container("a")).await;

    let parts = [found.user, found.role, found.kind, found.level];
    assert_eq!(parts, ["u", "r", "t", "s0:c7"]);
}

#[tokio::test]
async fn a_level_is_kept_over_a_restart_and_free_when_its_pod_is_gone() {
    let node = node().await;
    let id = node.run_pod("web").await;
    let level = label(&node, &id, container("a")).await.level;
    // Another daemon, which has no other memory of it than the pod's record.
    let after = selinux(node.dir.path());
    node.world.lock().selinux = after.clone();
    let node = node.restart().await;
    let _others = take_all(&after, &level);

    let refused = node
        .adapter
        .run_pod_sandbox(run_request(pod("late")))
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
    assert_eq!(label(&node, &id, container("b")).await.level, level);

    let request = v1::RemovePodSandboxRequest { pod_sandbox_id: id };
    node.adapter
        .remove_pod_sandbox(Request::new(request))
        .await
        .unwrap();
    let late = node.run_pod("late").await;
    assert_eq!(label(&node, &late, container("a")).await.level, level);
}

#[tokio::test]
async fn a_pod_with_a_label_that_the_policy_does_not_have_is_refused() {
    let node = node().await;
    let context = node.dir.path().join("context");
    // Writing there is EINVAL, as it is for a label that the policy does not have.
    std::fs::remove_file(&context).unwrap();
    std::os::unix::fs::symlink("/proc/self/timens_offsets", &context).unwrap();
    let asked = v1::SeLinuxOption {
        r#type: "odd_t".into(),
        level: "s0:c7".into(),
        ..Default::default()
    };

    let refused = node
        .adapter
        .run_pod_sandbox(run_request(pod_asking("web", asked)))
        .await;

    let text = "config.linux.security_context.selinux_options: the node's policy does not know the label \
                system_u:system_r:odd_t:s0:c7";
    let refused = refused.unwrap_err();
    assert_eq!((refused.code(), refused.message()), (Code::InvalidArgument, text));
}

#[tokio::test]
async fn what_is_no_part_of_a_label_is_refused_by_name_on_any_node() {
    let node = TestNode::new().await;
    let id = node.run_pod("web").await;
    let wrong = |part: &str, value: &str| {
        let mut options = v1::SeLinuxOption::default();
        let field = match part {
            "user" => &mut options.user,
            "role" => &mut options.role,
            "type" => &mut options.r#type,
            _ => &mut options.level,
        };
        *field = value.to_owned();
        options
    };
    for (part, value) in [
        ("user", "a:b"),
        ("role", "r\0"),
        ("type", "t t"),
        ("level", "s0,c4,c5"),
    ] {
        let text = format!("linux.security_context.selinux_options.{part} is not the {part} of a label");
        let config = asking("refused", wrong(part, value));
        let refusal = node
            .adapter
            .create_container(create_request(&id, config))
            .await
            .unwrap_err();
        assert_eq!(
            (refusal.code(), refusal.message()),
            (Code::InvalidArgument, &*text)
        );

        let config = pod_asking("refused", wrong(part, value));
        let refusal = node
            .adapter
            .run_pod_sandbox(run_request(config))
            .await
            .unwrap_err();
        assert_eq!(
            (refusal.code(), refusal.message()),
            (Code::InvalidArgument, &*format!("config.{text}"))
        );
    }
    // Good ones are taken, and without SELinux there are no levels.
    assert_eq!(label(&node, &id, asking("a", wrong("type", "t"))).await.level, "");
    assert_eq!(label(&node, &id, container("b")).await, SelinuxLabel::default());
}
