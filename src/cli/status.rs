//! `coracle status`: what runs, and what keeps the node from being ready.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::process::ExitCode;

use indicatif::BinaryBytes;
use k8s_cri::v1 as wire;

use super::client::{Cri, During};
use super::{CliError, print};

/// Prints readiness and counts. The code is 1 when a condition does not hold.
pub(super) async fn run(socket: &Path) -> Result<ExitCode, CliError> {
    let mut cri = Cri::connect(socket).await?;
    let version = cri
        .runtime
        .version(wire::VersionRequest::default())
        .await
        .during("ask for the version")?;
    let conditions = cri
        .runtime
        .status(wire::StatusRequest::default())
        .await
        .during("ask for the status")?
        .status
        .unwrap_or_default()
        .conditions;
    let mut text = format!(
        "{} {} at {}, CRI {}\n",
        version.runtime_name,
        version.runtime_version,
        socket.display(),
        version.runtime_api_version
    );
    for condition in &conditions {
        row(&mut text, &condition.r#type, &verdict(condition));
    }
    row(&mut text, "pods", &pods(&mut cri).await?);
    row(&mut text, "containers", &containers(&mut cri).await?);
    row(&mut text, "images", &images(&mut cri).await?);
    print(&text)?;
    let ready = conditions.iter().all(|condition| condition.status);
    Ok(if ready {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn row(text: &mut String, name: &str, value: &str) {
    let _ = writeln!(text, "  {name:<14} {value}");
}

fn verdict(condition: &wire::RuntimeCondition) -> String {
    if condition.status {
        return "yes".to_owned();
    }
    format!("no: {}: {}", condition.reason, condition.message)
}

async fn pods(cri: &mut Cri) -> Result<String, CliError> {
    let request = wire::ListPodSandboxRequest::default();
    let answer = cri.runtime.list_pod_sandbox(request).await.during("list pods")?;
    Ok(counts(answer.items.iter().map(|pod| match pod.state() {
        wire::PodSandboxState::SandboxReady => "ready",
        wire::PodSandboxState::SandboxNotready => "not ready",
    })))
}

async fn containers(cri: &mut Cri) -> Result<String, CliError> {
    let request = wire::ListContainersRequest::default();
    let answer = cri
        .runtime
        .list_containers(request)
        .await
        .during("list containers")?;
    Ok(counts(answer.containers.iter().map(
        |container| match container.state() {
            wire::ContainerState::ContainerCreated => "created",
            wire::ContainerState::ContainerRunning => "running",
            wire::ContainerState::ContainerExited => "exited",
            wire::ContainerState::ContainerUnknown => "unknown",
        },
    )))
}

async fn images(cri: &mut Cri) -> Result<String, CliError> {
    let list = cri
        .images
        .list_images(wire::ListImagesRequest::default())
        .await
        .during("list images")?;
    let usage = cri
        .images
        .image_fs_info(wire::ImageFsInfoRequest::default())
        .await
        .during("ask for the image file system")?;
    let bytes: u64 = usage
        .image_filesystems
        .iter()
        .filter_map(|filesystem| Some(filesystem.used_bytes?.value))
        .sum();
    Ok(format!("{}, {} on disk", list.images.len(), BinaryBytes(bytes)))
}

/// `2 ready, 1 not ready`, or `none`.
fn counts<'a>(states: impl Iterator<Item = &'a str>) -> String {
    let mut counts = BTreeMap::<&str, usize>::new();
    for state in states {
        *counts.entry(state).or_default() += 1;
    }
    let texts: Vec<_> = counts
        .into_iter()
        .map(|(state, count)| format!("{count} {state}"))
        .collect();
    if texts.is_empty() {
        "none".to_owned()
    } else {
        texts.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_counted() {
        for (states, expected) in [
            (&[][..], "none"),
            (&["ready"], "1 ready"),
            (&["ready", "not ready", "ready"], "1 not ready, 2 ready"),
        ] {
            assert_eq!(counts(states.iter().copied()), expected);
        }
    }

    #[test]
    fn a_condition_that_does_not_hold_says_why() {
        let condition = wire::RuntimeCondition {
            r#type: "NetworkReady".into(),
            status: false,
            reason: "NoNetworkConfiguration".into(),
            message: "no configuration in /etc/cni/net.d".into(),
        };

        assert_eq!(
            verdict(&condition),
            "no: NoNetworkConfiguration: no configuration in /etc/cni/net.d"
        );
    }
}
