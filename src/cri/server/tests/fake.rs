//! Services that do just what the server's tests look at; every other call is UNIMPLEMENTED.

use futures_util::stream::{self, BoxStream, StreamExt};
use tokio::sync::Semaphore;
use tonic::{Request, Response, Status};

use crate::cri::{
    v1alpha2::ApiVersion,
    wire::v1::{
        ContainerEventResponse, ContainerStatusRequest, ContainerStatusResponse, ExecSyncRequest,
        ExecSyncResponse, GetEventsRequest, PullImageRequest, PullImageResponse, StartContainerRequest,
        StartContainerResponse, VersionRequest, VersionResponse,
    },
};

type Answer<T> = Result<Response<T>, Status>;

/// Both services.
#[derive(Debug)]
pub(super) struct Fake {
    /// One permit more for each StartContainer that began.
    pub(super) started: Semaphore,
    /// Each StartContainer takes one permit before it answers.
    pub(super) gate: Semaphore,
}

impl Fake {
    pub(super) fn new() -> Self {
        Self {
            started: Semaphore::new(0),
            gate: Semaphore::new(0),
        }
    }

    fn version(request: &Request<VersionRequest>) -> VersionResponse {
        let api = request
            .extensions()
            .get::<ApiVersion>()
            .expect("the layer sets the version");
        VersionResponse {
            version: request.get_ref().version.clone(),
            runtime_name: "fake".into(),
            runtime_version: "1.2.3".into(),
            runtime_api_version: api.as_str().into(),
        }
    }
}

/// Writes a whole service: the calls given in full, then those refused.
macro_rules! service {
    (
        $service:path {
            answer { $($full:tt)* }
            refuse { $($name:ident($request:ident) -> $response:ident;)* }
            refuse_streams { $($stream:ident $streaming:ident($from:ident) -> $item:ident;)* }
        }
    ) => {
        #[tonic::async_trait]
        impl $service for Fake {
            $($full)*
            $(
                async fn $name(
                    &self,
                    _: Request<crate::cri::wire::v1::$request>,
                ) -> Answer<crate::cri::wire::v1::$response> {
                    Err(Status::unimplemented(stringify!($name)))
                }
            )*
            $(
                type $stream = BoxStream<'static, Result<crate::cri::wire::v1::$item, Status>>;

                async fn $streaming(
                    &self,
                    _: Request<crate::cri::wire::v1::$from>,
                ) -> Answer<Self::$stream> {
                    Err(Status::unimplemented(stringify!($streaming)))
                }
            )*
        }
    };
}

service! {
    crate::cri::wire::v1::runtime_service_server::RuntimeService {
        answer {
            async fn version(&self, request: Request<VersionRequest>) -> Answer<VersionResponse> {
                Ok(Response::new(Fake::version(&request)))
            }

            /// Prints as many bytes as its timeout has seconds, and exits with the length of its command.
            async fn exec_sync(&self, request: Request<ExecSyncRequest>) -> Answer<ExecSyncResponse> {
                let asked = request.into_inner();
                let length = asked.cmd.iter().map(String::len).sum::<usize>();
                Ok(Response::new(ExecSyncResponse {
                    stdout: vec![b'x'; usize::try_from(asked.timeout).expect("tests ask for a size")],
                    stderr: Vec::new(),
                    exit_code: i32::try_from(length).expect("tests send less than 2 GiB"),
                }))
            }

            async fn start_container(&self, _: Request<StartContainerRequest>) -> Answer<StartContainerResponse> {
                self.started.add_permits(1);
                self.gate.acquire().await.expect("the gate is never closed").forget();
                Ok(Response::new(StartContainerResponse {}))
            }

            async fn container_status(&self, _: Request<ContainerStatusRequest>) -> Answer<ContainerStatusResponse> {
                Err(Status::not_found("container c1 does not exist"))
            }

            type GetContainerEventsStream = BoxStream<'static, Result<ContainerEventResponse, Status>>;

            /// One event, then silence without an end.
            async fn get_container_events(&self, _: Request<GetEventsRequest>) -> Answer<Self::GetContainerEventsStream> {
                let event = ContainerEventResponse { container_id: "c1".into(), ..Default::default() };
                Ok(Response::new(stream::iter([Ok(event)]).chain(stream::pending()).boxed()))
            }
        }
        refuse {
            run_pod_sandbox(RunPodSandboxRequest) -> RunPodSandboxResponse;
            stop_pod_sandbox(StopPodSandboxRequest) -> StopPodSandboxResponse;
            remove_pod_sandbox(RemovePodSandboxRequest) -> RemovePodSandboxResponse;
            pod_sandbox_status(PodSandboxStatusRequest) -> PodSandboxStatusResponse;
            list_pod_sandbox(ListPodSandboxRequest) -> ListPodSandboxResponse;
            create_container(CreateContainerRequest) -> CreateContainerResponse;
            stop_container(StopContainerRequest) -> StopContainerResponse;
            remove_container(RemoveContainerRequest) -> RemoveContainerResponse;
            list_containers(ListContainersRequest) -> ListContainersResponse;
            update_container_resources(UpdateContainerResourcesRequest) -> UpdateContainerResourcesResponse;
            reopen_container_log(ReopenContainerLogRequest) -> ReopenContainerLogResponse;
            exec(ExecRequest) -> ExecResponse;
            attach(AttachRequest) -> AttachResponse;
            port_forward(PortForwardRequest) -> PortForwardResponse;
            container_stats(ContainerStatsRequest) -> ContainerStatsResponse;
            list_container_stats(ListContainerStatsRequest) -> ListContainerStatsResponse;
            pod_sandbox_stats(PodSandboxStatsRequest) -> PodSandboxStatsResponse;
            list_pod_sandbox_stats(ListPodSandboxStatsRequest) -> ListPodSandboxStatsResponse;
            update_runtime_config(UpdateRuntimeConfigRequest) -> UpdateRuntimeConfigResponse;
            status(StatusRequest) -> StatusResponse;
            checkpoint_container(CheckpointContainerRequest) -> CheckpointContainerResponse;
            checkpoint_pod(CheckpointPodRequest) -> CheckpointPodResponse;
            restore_pod(RestorePodRequest) -> RestorePodResponse;
            list_metric_descriptors(ListMetricDescriptorsRequest) -> ListMetricDescriptorsResponse;
            list_pod_sandbox_metrics(ListPodSandboxMetricsRequest) -> ListPodSandboxMetricsResponse;
            runtime_config(RuntimeConfigRequest) -> RuntimeConfigResponse;
            update_pod_sandbox_resources(UpdatePodSandboxResourcesRequest) -> UpdatePodSandboxResourcesResponse;
        }
        refuse_streams {
            StreamPodSandboxesStream stream_pod_sandboxes(StreamPodSandboxesRequest) -> StreamPodSandboxesResponse;
            StreamContainersStream stream_containers(StreamContainersRequest) -> StreamContainersResponse;
            StreamContainerStatsStream stream_container_stats(StreamContainerStatsRequest) -> StreamContainerStatsResponse;
            StreamPodSandboxStatsStream stream_pod_sandbox_stats(StreamPodSandboxStatsRequest) -> StreamPodSandboxStatsResponse;
            StreamPodSandboxMetricsStream stream_pod_sandbox_metrics(StreamPodSandboxMetricsRequest) -> StreamPodSandboxMetricsResponse;
        }
    }
}

service! {
    crate::cri::wire::v1::image_service_server::ImageService {
        answer {
            async fn pull_image(&self, _: Request<PullImageRequest>) -> Answer<PullImageResponse> {
                Err(Status::unavailable("registry registry.example does not answer"))
            }
        }
        refuse {
            list_images(ListImagesRequest) -> ListImagesResponse;
            image_status(ImageStatusRequest) -> ImageStatusResponse;
            remove_image(RemoveImageRequest) -> RemoveImageResponse;
            image_fs_info(ImageFsInfoRequest) -> ImageFsInfoResponse;
        }
        refuse_streams {
            StreamImagesStream stream_images(StreamImagesRequest) -> StreamImagesResponse;
        }
    }
}
