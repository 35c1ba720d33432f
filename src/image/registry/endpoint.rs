//! One host that serves a repository.

use std::io;
use std::sync::Once;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use oci_client::Reference;
use oci_client::client::{BlobResponse, Client};
use reqwest::header::{ACCEPT, RANGE};
use reqwest::{RequestBuilder, Response, StatusCode};
use tokio::sync::Mutex;

use crate::image::{
    credentials::{Credentials, Keyring},
    digest::Digest,
    hosts::{Host, is_loopback},
    manifest::MANIFEST_TYPES,
    name::{Name, Version},
};

use super::client::{ClientConfigSource, certificates, http_client, proxy_in_environment};
use super::failure::{oci_error, reason_of, retry_after, shorten, unreachable};
use super::token::{self, Authorization};
use super::{ByteStream, Fetched, RegistryError};

/// A host with its client and credentials.
pub(super) struct Endpoint {
    host: Host,
    name: Name,
    /// `host:port`.
    address: String,
    credentials: Credentials,
    http: reqwest::Client,
    /// Serves blobs, where it can.
    oci: Option<ClientConfigSource>,
    session: Mutex<Option<Session>>,
    /// Longest time for what is small.
    timeout: Duration,
}

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Endpoint")
            .field("host", &self.host.url)
            .finish_non_exhaustive()
    }
}

/// What was negotiated with the host.
#[derive(Clone)]
struct Session {
    authorization: Authorization,
    oci: Option<Client>,
}

impl Endpoint {
    pub(super) fn new(
        name: &Name,
        host: Host,
        keyring: &Keyring,
        timeout: Duration,
    ) -> Result<Endpoint, RegistryError> {
        static PROVIDER: Once = Once::new();
        PROVIDER.call_once(|| {
            // Fails when another part of the program was first, with the same one.
            let _ = rustls::crypto::ring::default_provider().install_default();
        });
        let (scheme, rest) = host.url.split_once("://").unwrap_or(("https", &host.url));
        let (address, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (address, plain_http, has_path) = (address.to_owned(), scheme == "http", !path.is_empty());
        let certificates = certificates(&host, &address)?;
        let http = http_client(&host, &address, &certificates, timeout)?;
        let credentials = keyring.for_host(&address, name.registry(), host.origin);
        let past_proxy = is_loopback(&address) && proxy_in_environment();
        let beyond = has_path || past_proxy || !host.headers.is_empty() || !host.client.is_empty();
        let oci = (!beyond).then(|| ClientConfigSource {
            plain_http,
            skip_verify: host.skip_verify,
            certificates,
            timeout,
            reference: reference(name, &address, host.origin),
        });
        Ok(Endpoint {
            name: name.clone(),
            credentials,
            http,
            oci,
            session: Mutex::new(None),
            timeout,
            address,
            host,
        })
    }

    pub(super) fn host(&self) -> &Host {
        &self.host
    }

    /// Fetches a manifest.
    pub(super) async fn manifest(&self, version: &Version, limit: u64) -> Result<Fetched, RegistryError> {
        self.in_time(self.whole_manifest(version, limit)).await
    }

    async fn whole_manifest(&self, version: &Version, limit: u64) -> Result<Fetched, RegistryError> {
        let what = format!("manifest {version} of {}", self.name.repository());
        let url = self.url(&format!("manifests/{version}"));
        let response = self
            .send(&what, || {
                self.http.get(&url).header(ACCEPT, MANIFEST_TYPES.join(", "))
            })
            .await?;
        let bytes = self.read(&what, response, limit).await?;
        let digest = match version {
            Version::Tag(_) => Digest::of(&bytes),
            Version::Digest(expected) => {
                let mut hash = expected.hash();
                hash.update(&bytes);
                let found = hash.finish();
                if found != *expected {
                    return Err(self.answer(&what, format!("content of digest {found}")));
                }
                found
            }
        };
        Ok(Fetched { bytes, digest })
    }

    /// Opens a blob from `offset` on.
    pub(super) async fn blob(&self, digest: &Digest, offset: u64) -> Result<ByteStream, RegistryError> {
        let session = self.session().await?;
        let result = match (&session.oci, &self.oci) {
            (Some(client), Some(source)) => self.oci_blob(client, source, digest, offset).await,
            _ => self.plain_blob(digest, offset).await,
        };
        // Asked once more where the answer's head is seen: it may say when to come back.
        if matches!(
            result,
            Err(RegistryError::Status {
                status: 429 | 503,
                ..
            })
        ) && session.oci.is_some()
        {
            return self.plain_blob(digest, offset).await;
        }
        if matches!(result, Err(RegistryError::Denied { .. })) && session.authorization != Authorization::None
        {
            // The token may have been taken back: once more with a new one.
            *self.session.lock().await = None;
            return self.plain_blob(digest, offset).await;
        }
        result
    }

    async fn oci_blob(
        &self,
        client: &Client,
        source: &ClientConfigSource,
        digest: &Digest,
        offset: u64,
    ) -> Result<ByteStream, RegistryError> {
        let what = format!("blob {digest}");
        // With a range, even from 0, the answer is not hashed a second time by the client.
        let response = client
            .pull_blob_stream_partial(&source.reference, digest.as_str(), offset, None)
            .await
            .map_err(|error| oci_error(&self.address, &what, error))?;
        Ok(match response {
            BlobResponse::Partial(sized) => sized.stream.boxed(),
            BlobResponse::Full(sized) => skip(sized.stream.boxed(), offset),
        })
    }

    async fn plain_blob(&self, digest: &Digest, offset: u64) -> Result<ByteStream, RegistryError> {
        let what = format!("blob {digest}");
        let url = self.url(&format!("blobs/{digest}"));
        let response = self
            .send(&what, || {
                let request = self.http.get(&url);
                match offset {
                    0 => request,
                    _ => request.header(RANGE, format!("bytes={offset}-")),
                }
            })
            .await?;
        let whole = response.status() == StatusCode::OK;
        let stream = response
            .bytes_stream()
            .map(|part| part.map_err(io::Error::other))
            .boxed();
        Ok(if whole { skip(stream, offset) } else { stream })
    }

    fn url(&self, rest: &str) -> String {
        let version = if self.host.override_path { "" } else { "/v2" };
        let url = format!("{}{version}/{}/{rest}", self.host.url, self.name.repository());
        // Some registries refuse it: only mirrors are told whose images they serve.
        match self.host.origin {
            true => url,
            false => format!("{url}?ns={}", self.name.registry().replace(':', "%3A")),
        }
    }

    /// Sends a request with our authorization; once more with a new one when it is refused.
    async fn send(
        &self,
        what: &str,
        request: impl Fn() -> RequestBuilder,
    ) -> Result<Response, RegistryError> {
        let mut session = self.session().await?;
        for last in [false, true] {
            let request = session.authorization.apply(request());
            let response = request.send().await.map_err(|e| unreachable(&self.address, e))?;
            match response.status() {
                status if status.is_success() => return Ok(response),
                StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN
                    if !last && session.authorization != Authorization::None =>
                {
                    *self.session.lock().await = None;
                    session = self.session().await?;
                }
                StatusCode::UNAUTHORIZED if !last => {
                    let challenges = token::challenges(&response);
                    let met = self.in_time(self.negotiate(Some(&challenges))).await?;
                    if met.authorization == Authorization::None {
                        return Err(self.refused(what, response).await);
                    }
                    *self.session.lock().await = Some(met.clone());
                    session = met;
                }
                _ => return Err(self.refused(what, response).await),
            }
        }
        Err(self.answer(what, "nothing".to_owned()))
    }

    /// Negotiates once for all requests of a pull.
    async fn session(&self) -> Result<Session, RegistryError> {
        let mut session = self.session.lock().await;
        if let Some(session) = &*session {
            return Ok(session.clone());
        }
        let made = self.in_time(self.negotiate(None)).await?;
        *session = Some(made.clone());
        Ok(made)
    }

    /// By what the registry says at its root, or by these challenges of another answer.
    async fn negotiate(&self, challenges: Option<&[String]>) -> Result<Session, RegistryError> {
        let what = format!("repository {}", self.name.repository());
        let prefix = if self.host.override_path { "" } else { "/v2" };
        let negotiation = token::Negotiation {
            http: &self.http,
            url: format!("{}{prefix}/", self.host.url),
            repository: self.name.repository(),
            credentials: &self.credentials,
        };
        let authorization = match challenges {
            None => token::negotiate(negotiation).await,
            Some(challenges) => negotiation.meet(challenges).await,
        };
        let authorization = authorization.map_err(|error| match error {
            token::TokenError::Transport(error) => unreachable(&self.address, error),
            token::TokenError::Denied(reason) => RegistryError::Denied {
                what: what.clone(),
                host: self.address.clone(),
                reason: shorten(&reason),
            },
            token::TokenError::Status { status, after } => RegistryError::Status {
                what: "a request for a token".to_owned(),
                host: self.address.clone(),
                status,
                reason: "no token is given".to_owned(),
                after,
            },
            token::TokenError::Answer(reason) => self.answer("a request for a token", reason),
        })?;
        let oci = match &self.oci {
            Some(source) => {
                let client = source.client();
                // Without an entry the client would ask again before each request; with an anonymous session it has no
                // credentials stored, and asks never.
                if let Some(auth) = authorization.as_oci() {
                    client
                        .auth(&source.reference, &auth, oci_client::RegistryOperation::Pull)
                        .await
                        .map_err(|error| oci_error(&self.address, &what, error))?;
                }
                Some(client)
            }
            None => None,
        };
        Ok(Session { authorization, oci })
    }

    async fn read(&self, what: &str, response: Response, limit: u64) -> Result<Bytes, RegistryError> {
        let mut body = BytesMut::new();
        let mut stream = response.bytes_stream();
        while let Some(part) = stream.next().await {
            let part = part.map_err(|e| unreachable(&self.address, e))?;
            if (body.len() + part.len()) as u64 > limit {
                let (what, host) = (what.to_owned(), self.address.clone());
                return Err(RegistryError::TooLarge { what, host, limit });
            }
            body.extend_from_slice(&part);
        }
        Ok(body.freeze())
    }

    async fn refused(&self, what: &str, response: Response) -> RegistryError {
        let status = response.status();
        let after = retry_after(&response);
        let body = match self.read(what, response, 64 << 10).await {
            Ok(body) => body,
            Err(_) => Bytes::new(),
        };
        let reason = reason_of(&body);
        let (what, host) = (what.to_owned(), self.address.clone());
        match status {
            StatusCode::NOT_FOUND => RegistryError::NotFound { what, host },
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => RegistryError::Denied { what, host, reason },
            _ => RegistryError::Status {
                what,
                host,
                status: status.as_u16(),
                reason,
                after,
            },
        }
    }

    fn answer(&self, what: &str, reason: String) -> RegistryError {
        RegistryError::Answer {
            what: what.to_owned(),
            host: self.address.clone(),
            reason,
        }
    }

    /// Bounds the time of what has few bytes: a registry that sends them one by one is as good as silent.
    async fn in_time<T>(
        &self,
        work: impl Future<Output = Result<T, RegistryError>>,
    ) -> Result<T, RegistryError> {
        let silent = |_| RegistryError::Unreachable {
            host: self.address.clone(),
            source: io::ErrorKind::TimedOut.into(),
            connect: true,
        };
        tokio::time::timeout(self.timeout, work).await.map_err(silent)?
    }
}

/// The reference by which `oci-client` asks this host.
fn reference(name: &Name, address: &str, origin: bool) -> Reference {
    let (registry, repository) = (name.registry().to_owned(), name.repository().to_owned());
    let version = name.version().to_string();
    if origin {
        // Its server may have another name than the registry, which is not to be told to it.
        return Reference::with_tag(address.to_owned(), repository, version);
    }
    let mut reference = Reference::with_tag(registry, repository, version);
    reference.set_mirror_registry(address.to_owned());
    reference
}

/// Drops the first bytes of a stream: the host ignored the range.
fn skip(stream: ByteStream, mut offset: u64) -> ByteStream {
    if offset == 0 {
        return stream;
    }
    stream
        .filter_map(move |part| {
            let kept = part.map(|mut bytes| {
                let dropped = offset.min(bytes.len() as u64);
                offset -= dropped;
                bytes.split_off(dropped as usize)
            });
            let kept = match kept {
                Ok(bytes) if bytes.is_empty() => None,
                other => Some(other),
            };
            std::future::ready(kept)
        })
        .boxed()
}
