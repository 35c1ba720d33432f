//! Exec and PortForward: what gets a URL, and what does not.

use tonic::{Code, Request};

use super::requests::refused;
use super::support::TestNode;
use crate::cri::wire::v1::{self, runtime_service_server::RuntimeService as _};

fn exec(container_id: &str) -> v1::ExecRequest {
    v1::ExecRequest {
        container_id: container_id.to_owned(),
        cmd: vec!["true".to_owned()],
        stdout: true,
        ..Default::default()
    }
}

#[tokio::test]
async fn a_running_container_s_command_gets_a_url_of_its_own() {
    let node = TestNode::new().await;
    let pod = node.run_pod("web").await;
    let id = node.running(&pod, "app").await;

    let mut urls = std::collections::BTreeSet::new();
    for _ in 0..2 {
        let answer = node.adapter.exec(Request::new(exec(&id))).await.unwrap();
        urls.insert(answer.into_inner().url);
    }

    assert_eq!(urls.len(), 2);
    // Whole: without scheme and host the kubelet dials TLS.
    assert!(
        urls.iter().all(|url| url.starts_with("http://127.0.0.1:1/exec/")),
        "{urls:?}"
    );
}

#[tokio::test]
async fn bad_commands_get_none() {
    let node = TestNode::new().await;
    let pod = node.run_pod("web").await;
    let id = node.running(&pod, "app").await;
    let created = node.create(&pod, "created").await;
    let good = exec(&id);
    let check = async |request: v1::ExecRequest, code: Code, text: &str| {
        refused(node.adapter.exec(Request::new(request)).await, code, text);
    };
    let bad = Code::InvalidArgument;

    check(exec(""), bad, "container_id is empty").await;
    check(exec("zz"), Code::NotFound, "zz").await;
    check(exec(&created), Code::FailedPrecondition, "not running").await;
    let cmd = vec![];
    check(v1::ExecRequest { cmd, ..good.clone() }, bad, "cmd is empty").await;
    let cmd = vec!["a".to_owned(), "b\0".to_owned()];
    check(v1::ExecRequest { cmd, ..good.clone() }, bad, "cmd[1]").await;
    let stdout = false;
    check(
        v1::ExecRequest {
            stdout,
            ..good.clone()
        },
        bad,
        "stdin, stdout and stderr",
    )
    .await;
    let both = v1::ExecRequest {
        tty: true,
        stderr: true,
        ..good
    };
    check(both, bad, "stderr must not be set with tty").await;
}

#[tokio::test]
async fn only_a_ready_sandbox_can_be_forwarded_to() {
    let node = TestNode::new().await;
    let pod = node.run_pod("web").await;
    let forward = |id: &str, port: Vec<i32>| {
        let pod_sandbox_id = id.to_owned();
        Request::new(v1::PortForwardRequest { pod_sandbox_id, port })
    };
    let bad = Code::InvalidArgument;

    let answer = node.adapter.port_forward(forward(&pod, vec![])).await.unwrap();
    assert!(
        answer
            .into_inner()
            .url
            .starts_with("http://127.0.0.1:1/portforward/")
    );
    let refused_port = node.adapter.port_forward(forward(&pod, vec![80, 65536])).await;
    refused(refused_port, bad, "port[1] 65536");
    refused(
        node.adapter.port_forward(forward("", vec![])).await,
        bad,
        "pod_sandbox_id is empty",
    );
    refused(
        node.adapter.port_forward(forward("zz", vec![])).await,
        Code::NotFound,
        "zz",
    );
    node.stop_pod(&pod).await.unwrap();
    let stopped = node.adapter.port_forward(forward(&pod, vec![])).await;
    refused(stopped, Code::FailedPrecondition, "not ready");
}

#[tokio::test]
async fn only_what_a_running_container_has_can_be_attached_to() {
    let node = TestNode::new().await;
    let pod = node.run_pod("web").await;
    let id = node.running(&pod, "app").await;
    let created = node.create(&pod, "created").await;
    let good = v1::AttachRequest {
        container_id: id.clone(),
        stdin: true,
        stdout: true,
        stderr: true,
        ..Default::default()
    };
    let check = async |request: v1::AttachRequest, code: Code, text: &str| {
        refused(node.adapter.attach(Request::new(request)).await, code, text);
    };
    let bad = Code::InvalidArgument;

    let answer = node.adapter.attach(Request::new(good.clone())).await.unwrap();
    let url = answer.into_inner().url;
    assert!(url.starts_with("http://127.0.0.1:1/attach/"), "{url}");
    let of = |id: &str| v1::AttachRequest {
        container_id: id.to_owned(),
        ..good.clone()
    };
    check(of(""), bad, "container_id is empty").await;
    check(of("zz"), Code::NotFound, "zz").await;
    check(of(&created), Code::FailedPrecondition, "not running").await;
    let nothing = v1::AttachRequest {
        container_id: id.clone(),
        ..Default::default()
    };
    check(nothing, bad, "stdin, stdout and stderr").await;
    let both = v1::AttachRequest {
        tty: true,
        ..good.clone()
    };
    check(both, bad, "stderr must not be set with tty").await;
    let terminal = v1::AttachRequest {
        tty: true,
        stderr: false,
        ..good.clone()
    };
    check(terminal, bad, "has no terminal").await;
    let input = v1::AttachRequest {
        stdout: false,
        stderr: false,
        ..good
    };
    check(input, bad, "takes none").await;
}
