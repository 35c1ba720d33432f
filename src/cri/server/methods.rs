//! The methods that calls are counted by. A client may name any path: what is none of these is one, [`OTHER`].

/// The methods of the services that are served, in the order of their definitions.
const METHODS: &[&str] = &[
    "Version",
    "RunPodSandbox",
    "StopPodSandbox",
    "RemovePodSandbox",
    "PodSandboxStatus",
    "ListPodSandbox",
    "StreamPodSandboxes",
    "CreateContainer",
    "StartContainer",
    "StopContainer",
    "RemoveContainer",
    "ListContainers",
    "StreamContainers",
    "ContainerStatus",
    "UpdateContainerResources",
    "ReopenContainerLog",
    "ExecSync",
    "Exec",
    "Attach",
    "PortForward",
    "ContainerStats",
    "ListContainerStats",
    "StreamContainerStats",
    "PodSandboxStats",
    "ListPodSandboxStats",
    "StreamPodSandboxStats",
    "UpdateRuntimeConfig",
    "Status",
    "CheckpointContainer",
    "GetContainerEvents",
    "ListMetricDescriptors",
    "ListPodSandboxMetrics",
    "StreamPodSandboxMetrics",
    "RuntimeConfig",
    "UpdatePodSandboxResources",
    "CheckpointPod",
    "RestorePod",
    "ListImages",
    "StreamImages",
    "ImageStatus",
    "PullImage",
    "RemoveImage",
    "ImageFsInfo",
];
/// Everything else: health, the admin service, and what nobody serves.
pub(super) const OTHER: &str = "other";

/// The method that a request's path names.
pub(super) fn method(path: &str) -> &'static str {
    let Some((service, name)) = path.trim_start_matches('/').split_once('/') else {
        return OTHER;
    };
    let ours = service.starts_with("runtime.v1.") || service.starts_with("runtime.v1alpha2.");
    let known = METHODS.iter().find(|method| **method == name);
    known.copied().filter(|_| ours).unwrap_or(OTHER)
}

/// Whether a call that ends so was failed by the server, as OpenTelemetry's conventions for gRPC have it.
pub(super) fn is_fault(code: tonic::Code) -> bool {
    use tonic::Code;
    matches!(
        code,
        Code::Unknown
            | Code::DeadlineExceeded
            | Code::Unimplemented
            | Code::Internal
            | Code::Unavailable
            | Code::DataLoss
    )
}

/// A status code as the field writes it.
pub(super) fn code(code: tonic::Code) -> &'static str {
    use tonic::Code;
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "Canceled",
        Code::Unknown => "Unknown",
        Code::InvalidArgument => "InvalidArgument",
        Code::DeadlineExceeded => "DeadlineExceeded",
        Code::NotFound => "NotFound",
        Code::AlreadyExists => "AlreadyExists",
        Code::PermissionDenied => "PermissionDenied",
        Code::ResourceExhausted => "ResourceExhausted",
        Code::FailedPrecondition => "FailedPrecondition",
        Code::Aborted => "Aborted",
        Code::OutOfRange => "OutOfRange",
        Code::Unimplemented => "Unimplemented",
        Code::Internal => "Internal",
        Code::Unavailable => "Unavailable",
        Code::DataLoss => "DataLoss",
        Code::Unauthenticated => "Unauthenticated",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_defined_method_is_known() {
        let definition = include_str!("../../../proto/runtime/v1/api.proto");
        let defined: BTreeSet<&str> = definition
            .lines()
            .filter_map(|line| line.trim().strip_prefix("rpc ")?.split(['(', ' ']).next())
            .collect();

        assert_eq!(METHODS.iter().copied().collect::<BTreeSet<_>>(), defined);
    }

    #[test]
    fn what_nobody_serves_is_one_method() {
        for (path, expected) in [
            ("/runtime.v1.RuntimeService/RunPodSandbox", "RunPodSandbox"),
            ("/runtime.v1alpha2.ImageService/PullImage", "PullImage"),
            ("/runtime.v1.RuntimeService/Anything", OTHER),
            ("/other.Service/PullImage", OTHER),
            ("/grpc.health.v1.Health/Check", OTHER),
            ("", OTHER),
        ] {
            assert_eq!(method(path), expected, "{path}");
        }
    }
}
