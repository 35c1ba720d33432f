//! The API under attack: each call with each field that its message has, at every depth, given what no client should send.
//!
//! The rows are made from the descriptor that the daemon's own code is made from: a call or a field that is added joins
//! by itself. Half a message goes with each, good in all else, so that a row is about its field. Protobuf merges
//! what is sent twice, so the field under attack simply follows.

mod base;
mod connections;
mod secrets;
mod values;

use bytes::{Buf, BufMut, Bytes};
use k8s_cri::v1;
use libtest_mimic::Trial;
use prost::Message;
use prost_types::{FileDescriptorSet, MethodDescriptorProto};
use serde_json::json;
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::{Code, Request, Status};

use crate::harness::daemon::Daemon;
use crate::harness::endpoint::ours;
use crate::harness::results;
use crate::harness::trials;
use crate::refusals::{empty, world};
use base::Base;
use values::Row;

pub(crate) fn tests() -> Vec<Trial> {
    let calls = trials![every_call_withstands_what_each_field_may_hold];
    [calls, connections::tests(), secrets::tests()]
        .into_iter()
        .flatten()
        .collect()
}

/// Bytes as they are, either way.
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Raw;
    type Decoder = Raw;

    fn encoder(&mut self) -> Raw {
        Raw
    }

    fn decoder(&mut self) -> Raw {
        Raw
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        let length = from.remaining();
        Ok(Some(from.copy_to_bytes(length)))
    }
}

/// What a row may be answered with: it succeeds, or it is the caller's fault, or not offered.
const FAIR: [Code; 7] = [
    Code::Ok,
    Code::InvalidArgument,
    Code::NotFound,
    Code::FailedPrecondition,
    Code::AlreadyExists,
    Code::ResourceExhausted,
    Code::Unimplemented,
];
/// Longest text of a refusal: it travels in a header.
const LONGEST: usize = 8 << 10;

/// Sends bytes as the request of a call. A stream is asked for its first message, and left.
async fn send(daemon: &Daemon, path: &str, streams: bool, bytes: Bytes) -> Result<Bytes, Status> {
    let mut client = Grpc::new(daemon.channel());
    client.ready().await.unwrap();
    let path = PathAndQuery::try_from(path).unwrap();
    if streams {
        let answer = client.server_streaming(Request::new(bytes), path, Raw).await?;
        drop(answer);
        return Ok(Bytes::new());
    }
    let answer = client.unary(Request::new(bytes), path, Raw).await?;
    Ok(answer.into_inner())
}

async fn every_call_withstands_what_each_field_may_hold() {
    ours("tries thousands of values");
    let daemon = empty().await;
    let base = Base::make(&daemon).await;
    let set = FileDescriptorSet::decode(coracle::cri::wire::FILE_DESCRIPTOR_SET).unwrap();
    let file = set
        .file
        .iter()
        .find(|file| file.package() == "runtime.v1")
        .unwrap();
    let (mut calls, mut rows, mut wrong) = (0, 0, Vec::new());
    let before = world(&daemon).await;
    for service in &file.service {
        for method in &service.method {
            calls += 1;
            let path = format!("/runtime.v1.{}/{}", service.name(), method.name());
            let attacks = values::rows(file, method.input_type());
            rows += attacks.len() + 1;
            attack(&daemon, &path, method, &base, attacks, &mut wrong).await;
            let now = world(&daemon).await;
            if now != before {
                wrong.push(format!("{path}: changed the world from {before:#?} to {now:#?}"));
                break;
            }
        }
    }
    base.remove().await;
    daemon.check().await;

    results::write(
        "attacks",
        "fields",
        json!({"methods": calls, "rows": rows, "losses": wrong.len()}),
    );
    assert!(calls >= 43 && rows > 1000, "{calls} calls, {rows} rows");
    assert!(
        wrong.is_empty(),
        "{} of {rows} rows of {calls} calls:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

async fn attack(
    daemon: &Daemon,
    path: &str,
    method: &MethodDescriptorProto,
    base: &Base<'_>,
    attacks: Vec<Row>,
    wrong: &mut Vec<String>,
) {
    let good = base.request(method.name());
    let nothing = Row {
        what: "an empty message".to_owned(),
        names: Vec::new(),
        bytes: Vec::new(),
        garbled: false,
    };
    for (row, before) in attacks
        .iter()
        .map(|row| (row, &good[..]))
        .chain([(&nothing, &[][..])])
    {
        let request = Bytes::from([before, &row.bytes[..]].concat());
        let answer = send(daemon, path, method.server_streaming(), request).await;
        if let Some(problem) = judge(row, &answer, before.is_empty()) {
            wrong.push(format!("{path}: {}: {problem}", row.what));
        }
        if let Ok(bytes) = answer {
            undo(daemon, method.name(), bytes).await;
        }
    }
}

/// What is wrong with an answer. One to a message that lacks what is required may name that.
fn judge(row: &Row, answer: &Result<Bytes, Status>, lacking: bool) -> Option<String> {
    let Err(status) = answer else { return None };
    let text = status.message();
    // What is no message of the call at all is not for the daemon to judge.
    // And how long a command line may be is for the kernel, which says so when the command is executed.
    let kernels = row.garbled || text.contains("argument list too long");
    let fair = FAIR.contains(&status.code()) || kernels && status.code() == Code::Internal;
    let short = text.get(..300).unwrap_or(text);
    if !fair || text.is_empty() {
        return Some(format!("{:?}: {short}", status.code()));
    }
    if text.len() > LONGEST {
        return Some(format!("a refusal of {} bytes: {short}", text.len()));
    }
    let lower = text.to_lowercase();
    let named = row.names.iter().any(|name| lower.contains(name));
    let fine = named || lacking || row.garbled || status.code() != Code::InvalidArgument;
    (!fine).then(|| format!("does not name {:?}: {short}", row.names))
}

/// Takes down what a row has made.
async fn undo(daemon: &Daemon, method: &str, answer: Bytes) {
    let mut runtime = daemon.runtime();
    match method {
        "RunPodSandbox" => {
            let pod_sandbox_id = v1::RunPodSandboxResponse::decode(answer).unwrap().pod_sandbox_id;
            let request = v1::StopPodSandboxRequest {
                pod_sandbox_id: pod_sandbox_id.clone(),
            };
            runtime.stop_pod_sandbox(request).await.unwrap();
            let request = v1::RemovePodSandboxRequest { pod_sandbox_id };
            runtime.remove_pod_sandbox(request).await.unwrap();
        }
        "CreateContainer" => {
            let container_id = v1::CreateContainerResponse::decode(answer).unwrap().container_id;
            let request = v1::RemoveContainerRequest { container_id };
            runtime.remove_container(request).await.unwrap();
        }
        _ => {}
    }
}
