//! HTTP clients for one host: certificates, headers, time-outs.

use std::path::Path;
use std::time::Duration;

use oci_client::Reference;
use oci_client::client::{Certificate, CertificateEncoding, Client, ClientConfig, ClientProtocol};
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};

use crate::image::hosts::{Host, is_loopback};

use super::RegistryError;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const USER_AGENT: &str = concat!("coracle/", env!("CARGO_PKG_VERSION"));

/// What clients of `oci-client` are made from; a configuration of it cannot be cloned.
pub(super) struct ClientConfigSource {
    pub plain_http: bool,
    pub skip_verify: bool,
    pub certificates: Vec<Vec<u8>>,
    pub timeout: Duration,
    pub reference: Reference,
}

impl ClientConfigSource {
    pub(super) fn client(&self) -> Client {
        let certificate = |data: &Vec<u8>| Certificate {
            encoding: CertificateEncoding::Pem,
            data: data.clone(),
        };
        Client::new(ClientConfig {
            protocol: match self.plain_http {
                true => ClientProtocol::Http,
                false => ClientProtocol::Https,
            },
            accept_invalid_certificates: self.skip_verify,
            extra_root_certificates: self.certificates.iter().map(certificate).collect(),
            connect_timeout: Some(CONNECT_TIMEOUT),
            read_timeout: Some(self.timeout),
            user_agent: USER_AGENT,
            ..ClientConfig::default()
        })
    }
}

/// Reads the certificate authorities that settings name.
pub(super) fn certificates(host: &Host, address: &str) -> Result<Vec<Vec<u8>>, RegistryError> {
    host.ca.iter().map(|path| read(path, address)).collect()
}

fn read(path: &Path, address: &str) -> Result<Vec<u8>, RegistryError> {
    std::fs::read(path).map_err(|source| RegistryError::File {
        path: path.to_owned(),
        host: address.to_owned(),
        source,
    })
}

/// Tells whether the environment names a proxy, which `oci-client` would use for this machine's own registries too.
pub(super) fn proxy_in_environment() -> bool {
    [
        "http_proxy",
        "HTTP_PROXY",
        "https_proxy",
        "HTTPS_PROXY",
        "all_proxy",
        "ALL_PROXY",
    ]
    .iter()
    .any(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()))
}

/// Makes the client for what `oci-client` does not do.
pub(super) fn http_client(
    host: &Host,
    address: &str,
    certificates: &[Vec<u8>],
    timeout: Duration,
) -> Result<reqwest::Client, RegistryError> {
    let setup = |reason: String| RegistryError::Setup {
        host: address.to_owned(),
        reason,
    };
    let mut headers = HeaderMap::new();
    for (name, value) in &host.headers {
        let name = HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| setup(format!("header {name:?} has a bad name")))?;
        let mut value =
            HeaderValue::from_str(value).map_err(|_| setup(format!("header {name} has a bad value")))?;
        value.set_sensitive(name == AUTHORIZATION);
        headers.append(name, value);
    }
    let mut builder = reqwest::Client::builder()
        .user_agent(USER_AGENT)
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(timeout)
        .default_headers(headers)
        .tls_danger_accept_invalid_certs(host.skip_verify);
    // As other clients do: a proxy's loopback is not ours.
    if is_loopback(address) {
        builder = builder.no_proxy();
    }
    let mut roots = Vec::new();
    for pem in certificates {
        let parsed = reqwest::Certificate::from_pem_bundle(pem);
        roots.extend(parsed.map_err(|_| setup("a certificate authority is malformed".to_owned()))?);
    }
    if !roots.is_empty() {
        builder = builder.tls_certs_merge(roots);
    }
    if let Some((certificate, key)) = host.client.first() {
        let mut pem = read(certificate, address)?;
        if let Some(key) = key {
            pem.extend(read(key, address)?);
        }
        let identity = reqwest::Identity::from_pem(&pem);
        builder =
            builder.identity(identity.map_err(|_| setup("the client certificate is malformed".to_owned()))?);
    }
    builder.build().map_err(|error| setup(error.to_string()))
}
