//! Registries: manifests and blobs over HTTP, from the first host that has them.
//!
//! `oci-client` speaks the token protocol and serves blobs; a client of it is never shared between credentials, since it
//! keeps the first ones it saw for a registry. Manifests are fetched here, with a limit. What `oci-client` cannot do
//! (client certificates, further headers, paths before `/v2`, refresh tokens) is done here too.

mod client;
mod endpoint;
mod failure;
mod token;

use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use rand::RngExt as _;

use crate::model::Kind;

use super::credentials::{CredentialsError, Keyring};
use super::digest::Digest;
use super::hosts::Host;
use super::name::{Name, Version};
use endpoint::Endpoint;

/// The bytes of a blob, or a part of it.
pub(super) type ByteStream = Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>;

/// How often a request is tried, and how long it waits between: twice as long each time.
const TRIES: u32 = 5;
/// A host that cannot be reached at all is not tried as often: the caller comes back.
const CONNECT_TRIES: u32 = 2;
const FIRST_WAIT: Duration = Duration::from_millis(200);
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// A registry that wants to be left alone for longer is: the caller comes back.
const LONGEST_REST: Duration = Duration::from_secs(30);

/// What went wrong with a registry. Carries no secret.
#[derive(Debug, thiserror::Error)]
pub(super) enum RegistryError {
    /// It does not have it.
    #[error("{what} is not in registry {host}")]
    NotFound { what: String, host: String },
    /// It does not let us.
    #[error("registry {host} denies access to {what}: {reason}")]
    Denied {
        what: String,
        host: String,
        reason: String,
    },
    /// No connection, or it broke.
    #[error("registry {host} does not answer")]
    Unreachable {
        host: String,
        source: io::Error,
        connect: bool,
    },
    /// A transfer broke too often.
    #[error("transfer of {digest} stops at byte {offset} of {size}")]
    Transfer {
        digest: String,
        offset: u64,
        size: u64,
        source: io::Error,
    },
    /// It answered with an error.
    #[error("registry {host} answered {status} for {what}: {reason}{}", later(*after))]
    Status {
        what: String,
        host: String,
        status: u16,
        reason: String,
        /// How long it wants to be left alone.
        after: Option<Duration>,
    },
    /// It answered with something else.
    #[error("registry {host} answered {what} with {reason}")]
    Answer {
        what: String,
        host: String,
        reason: String,
    },
    /// It sent more than is read.
    #[error("registry {host} sent {what} beyond the limit of {limit} bytes (images.max_document_bytes)")]
    TooLarge { what: String, host: String, limit: u64 },
    /// A client for a host cannot be made.
    #[error("cannot use registry {host}: {reason}")]
    Setup { host: String, reason: String },
    /// A file that the settings name cannot be read.
    #[error("cannot read {path} for registry {host}")]
    File {
        path: PathBuf,
        host: String,
        source: io::Error,
    },
    /// No host may be asked.
    #[error("no host of registry {0} is allowed to serve this")]
    NoHost(String),
    /// Our own credentials.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
}

impl RegistryError {
    /// What it means to a caller.
    pub(super) fn kind(&self) -> Kind {
        match self {
            RegistryError::NotFound { .. } => Kind::NotFound,
            RegistryError::Denied { .. } => Kind::PermissionDenied,
            RegistryError::Unreachable { .. } | RegistryError::Transfer { .. } => Kind::Unavailable,
            RegistryError::Status { status, .. } if *status >= 500 || *status == 429 => Kind::Unavailable,
            RegistryError::Credentials(CredentialsError::Malformed(_)) => Kind::InvalidArgument,
            RegistryError::TooLarge { .. } => Kind::ResourceExhausted,
            RegistryError::NoHost(_) | RegistryError::Setup { .. } => Kind::FailedPrecondition,
            _ => Kind::Internal,
        }
    }

    fn tries(&self) -> u32 {
        match self {
            RegistryError::Unreachable { connect: true, .. } => CONNECT_TRIES,
            RegistryError::Unreachable { .. } => TRIES,
            RegistryError::Status {
                status: 408 | 425 | 429 | 500..,
                ..
            } => TRIES,
            _ => 1,
        }
    }
}

fn later(after: Option<Duration>) -> String {
    after.map_or(String::new(), |after| {
        format!(" (not again before {} s)", after.as_secs())
    })
}

/// A manifest as it came.
#[derive(Debug)]
pub(super) struct Fetched {
    pub bytes: Bytes,
    pub digest: Digest,
}

/// One repository, as one pull sees it: hosts to ask, each with its client and credentials.
#[derive(Debug)]
pub(super) struct Repository {
    name: Name,
    endpoints: Vec<Endpoint>,
    /// The host that answered last is asked first.
    favourite: AtomicUsize,
}

impl Repository {
    /// Prepares to talk to the hosts of an image's registry. Sends nothing.
    pub(super) fn open(
        name: &Name,
        hosts: Vec<Host>,
        keyring: &Keyring,
        timeout: Duration,
    ) -> Result<Repository, RegistryError> {
        let endpoints: Result<Vec<_>, _> = hosts
            .into_iter()
            .map(|host| Endpoint::new(name, host, keyring, timeout))
            .collect();
        Ok(Repository {
            name: name.clone(),
            endpoints: endpoints?,
            favourite: AtomicUsize::new(0),
        })
    }

    /// Fetches a manifest or an index of at most `limit` bytes. One asked for by digest is checked against it.
    pub(super) async fn manifest(&self, version: &Version, limit: u64) -> Result<Fetched, RegistryError> {
        let by_tag = matches!(version, Version::Tag(_));
        let allowed = |host: &Host| if by_tag { host.resolve } else { host.pull };
        let mut failure = None;
        for (index, endpoint) in self.in_order(allowed) {
            match retry(|| endpoint.manifest(version, limit)).await {
                Ok(fetched) => {
                    self.favourite.store(index, Ordering::Relaxed);
                    return Ok(fetched);
                }
                Err(error) => self.passed_over(endpoint, error, &mut failure),
            }
        }
        Err(failure.unwrap_or_else(|| RegistryError::NoHost(self.name.registry().to_owned())))
    }

    /// Opens the content of a blob from `offset` on. Its digest is the caller's to check.
    pub(super) async fn blob(&self, digest: &Digest, offset: u64) -> Result<ByteStream, RegistryError> {
        let mut failure = None;
        for (_, endpoint) in self.in_order(|host| host.pull) {
            match retry(|| endpoint.blob(digest, offset)).await {
                Ok(stream) => return Ok(stream),
                Err(error) => self.passed_over(endpoint, error, &mut failure),
            }
        }
        Err(failure.unwrap_or_else(|| RegistryError::NoHost(self.name.registry().to_owned())))
    }

    fn in_order(&self, allowed: impl Fn(&Host) -> bool) -> impl Iterator<Item = (usize, &Endpoint)> {
        let favourite = self.favourite.load(Ordering::Relaxed);
        let mut order: Vec<_> = self.endpoints.iter().enumerate().collect();
        if let Some(position) = order.iter().position(|(index, _)| *index == favourite) {
            order[..=position].rotate_right(1);
        }
        order
            .into_iter()
            .filter(move |(_, endpoint)| allowed(endpoint.host()))
    }

    /// Keeps the error to show in the end: what the registry itself says, unless it cannot be reached and a mirror says
    /// more.
    fn passed_over(&self, endpoint: &Endpoint, error: RegistryError, failure: &mut Option<RegistryError>) {
        if self.endpoints.len() > 1 {
            tracing::debug!(image = %self.name, host = endpoint.host().url, %error, "host is passed over");
        }
        match failure {
            Some(known) if error.kind() == Kind::Unavailable && known.kind() != Kind::NotFound => {}
            _ => *failure = Some(error),
        }
    }
}

/// Tries again what may work the next time.
async fn retry<T, F: Future<Output = Result<T, RegistryError>>>(
    request: impl Fn() -> F,
) -> Result<T, RegistryError> {
    let mut tried = 0;
    loop {
        match request().await {
            Ok(answer) => return Ok(answer),
            Err(error) => {
                tried += 1;
                if tried >= error.tries() {
                    return Err(error);
                }
                if let RegistryError::Status {
                    after: Some(after), ..
                } = error
                {
                    if after > LONGEST_REST {
                        return Err(error);
                    }
                    tokio::time::sleep(after).await;
                }
                tracing::debug!(%error, tried, "request to registry is tried again");
                wait(tried).await;
            }
        }
    }
}

/// Waits before another try, the longer the more there were.
pub(super) async fn wait(tried: u32) {
    let longest = LONGEST_WAIT.min(FIRST_WAIT * 2u32.saturating_pow(tried - 1));
    let jitter = rand::rng().random_range(0.5..1.0);
    tokio::time::sleep(longest.mul_f64(jitter)).await;
}
