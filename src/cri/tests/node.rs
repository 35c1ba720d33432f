//! Version, readiness and agreements.

use tonic::Request;

use super::support::TestNode;
use crate::cri::wire::v1::{self, runtime_service_server::RuntimeService as _};
use crate::sys::cgroup::Driver;

async fn status(node: &TestNode) -> v1::StatusResponse {
    let request = v1::StatusRequest { verbose: true };
    node.adapter
        .status(Request::new(request))
        .await
        .unwrap()
        .into_inner()
}

#[tokio::test]
async fn every_part_of_the_version_is_told() {
    let node = TestNode::new().await;
    let version = "0.1.0".to_owned();

    let answer = node
        .adapter
        .version(Request::new(v1::VersionRequest { version }))
        .await
        .unwrap();

    let answer = answer.into_inner();
    assert_eq!(
        (answer.version.as_str(), answer.runtime_api_version.as_str()),
        ("0.1.0", "v1")
    );
    assert!(!answer.runtime_name.is_empty() && !answer.runtime_version.is_empty());
}

#[tokio::test]
async fn a_node_with_a_network_is_ready() {
    let node = TestNode::new().await;

    let answer = status(&node).await;

    let conditions = answer.status.unwrap().conditions;
    let told: Vec<_> = conditions.iter().map(|c| (c.r#type.as_str(), c.status)).collect();
    assert_eq!(told, [("RuntimeReady", true), ("NetworkReady", true)]);
    assert_eq!(answer.runtime_handlers[0].name, "");
    assert!(
        answer.runtime_handlers[0]
            .features
            .unwrap()
            .recursive_read_only_mounts
    );
    let config: serde_json::Value = serde_json::from_str(&answer.info["config"]).unwrap();
    assert_eq!(config["stateDir"], node.dir.path().to_str().unwrap());
}

#[tokio::test]
async fn a_node_without_a_network_says_why() {
    let node = TestNode::new().await;
    node.world.fail("ready", true);

    let conditions = status(&node).await.status.unwrap().conditions;

    let network = conditions.iter().find(|c| c.r#type == "NetworkReady").unwrap();
    assert!(!network.status);
    assert_eq!(network.reason, "NetworkPluginNotReady");
    assert_eq!(network.message, "no network configuration in /etc/cni/net.d");
}

#[tokio::test]
async fn the_kubelet_is_told_who_makes_cgroups() {
    let check = async |driver, expected| {
        let node = TestNode::driven_by(driver).await;

        let answer = node
            .adapter
            .runtime_config(Request::new(v1::RuntimeConfigRequest {}))
            .await;

        let linux = answer.unwrap().into_inner().linux.unwrap();
        assert_eq!(linux.cgroup_driver(), expected);
    };

    check(Driver::Cgroupfs, v1::CgroupDriver::Cgroupfs).await;
    check(Driver::Systemd, v1::CgroupDriver::Systemd).await;
}

#[tokio::test]
async fn address_ranges_reach_the_network() {
    let check = async |cidr: &str, expected: &[&str]| {
        let node = TestNode::new().await;
        let request = v1::UpdateRuntimeConfigRequest {
            runtime_config: Some(v1::RuntimeConfig {
                network_config: Some(v1::NetworkConfig {
                    pod_cidr: cidr.to_owned(),
                }),
            }),
        };
        node.adapter
            .update_runtime_config(Request::new(request))
            .await
            .unwrap();
        assert_eq!(node.world.lock().ranges, expected, "{cidr}");
    };

    check("10.1.0.0/24", &["10.1.0.0/24"]).await;
    check("10.1.0.0/24, fd00::/64", &["10.1.0.0/24", "fd00::/64"]).await;
    check("", &[]).await;
}

#[tokio::test]
async fn calls_that_are_not_implemented_say_so_by_name() {
    let node = TestNode::new().await;

    let checkpoint = node
        .adapter
        .checkpoint_pod(Request::new(Default::default()))
        .await
        .unwrap_err();

    assert_eq!(checkpoint.code(), tonic::Code::Unimplemented);
    assert_eq!(checkpoint.message(), "CheckpointPod is not implemented");
}
