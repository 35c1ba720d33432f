//! The clients of a CRI server, from the bindings that other programs use: what works here works for them.

use std::path::Path;

use k8s_cri::v1::image_service_client::ImageServiceClient;
use k8s_cri::v1::runtime_service_client::RuntimeServiceClient;
use tonic::transport::Channel;

use super::CliError;
use crate::app::admin::wire::admin_client::AdminClient;
use crate::app::client::{MAX_MESSAGE_BYTES, channel};

/// Both CRI services on one socket.
#[derive(Clone, Debug)]
pub(super) struct Cri {
    /// Pods and containers.
    pub(super) runtime: RuntimeServiceClient<Channel>,
    /// Images.
    pub(super) images: ImageServiceClient<Channel>,
}

impl Cri {
    /// Connects to the server at `socket`.
    pub(super) async fn connect(socket: &Path) -> Result<Cri, CliError> {
        let channel = channel(socket).await?;
        Ok(Cri {
            runtime: RuntimeServiceClient::new(channel.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES),
            images: ImageServiceClient::new(channel).max_decoding_message_size(MAX_MESSAGE_BYTES),
        })
    }
}

/// Coracle's own service.
pub(super) type Admin = AdminClient<Channel>;

/// The client of Coracle's own service on a channel.
pub(super) fn admin(channel: Channel) -> Admin {
    Admin::new(channel).max_decoding_message_size(MAX_MESSAGE_BYTES)
}

/// Names the call that failed.
pub(super) trait During<T> {
    /// `action` completes "cannot …".
    fn during(self, action: impl Into<String>) -> Result<T, CliError>;
}

impl<T> During<T> for Result<tonic::Response<T>, tonic::Status> {
    fn during(self, action: impl Into<String>) -> Result<T, CliError> {
        match self {
            Ok(response) => Ok(response.into_inner()),
            Err(status) => Err(CliError::Refused {
                action: action.into(),
                code: status.code(),
                message: status.message().to_owned(),
            }),
        }
    }
}
