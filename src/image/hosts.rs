//! Per-registry settings, in containerd's `hosts.toml` layout: which hosts are asked for a registry's images, in which
//! order, and how.
//!
//! `<dir>/<registry>/hosts.toml`, else `<dir>/_default/hosts.toml`; a port's colon may be written as
//! `registry_5000_`. Relative paths of certificates are relative to that directory. The registry's own server comes
//! last. Read anew at every pull.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Spanned;

/// A host to ask.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Host {
    /// Scheme, host, port and path, without `/` at its end.
    pub url: String,
    /// It may tell what a tag means.
    pub resolve: bool,
    /// It may serve content by digest.
    pub pull: bool,
    /// Files with further certificate authorities.
    pub ca: Vec<PathBuf>,
    /// Certificate and key to show; the key may be in the first file.
    pub client: Vec<(PathBuf, Option<PathBuf>)>,
    /// Its certificate is not checked.
    pub skip_verify: bool,
    /// The URL's path replaces `/v2`.
    pub override_path: bool,
    /// Further request headers.
    pub headers: Vec<(String, String)>,
    /// It is the registry itself, not a mirror.
    pub origin: bool,
}

/// Why settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum HostsError {
    /// The file cannot be read.
    #[error("cannot read registry settings {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not valid.
    #[error("registry settings {path} are malformed: {reason}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

#[derive(Default, Deserialize)]
struct HostsFile {
    server: Option<String>,
    #[serde(flatten)]
    origin: HostTable,
    #[serde(default)]
    host: BTreeMap<String, Spanned<HostTable>>,
}

#[derive(Clone, Default, Deserialize)]
struct HostTable {
    capabilities: Option<Vec<String>>,
    ca: Option<OneOrMany>,
    client: Option<ClientCertificates>,
    #[serde(default)]
    skip_verify: bool,
    #[serde(default)]
    override_path: bool,
    #[serde(default)]
    header: BTreeMap<String, OneOrMany>,
}

#[derive(Clone, Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

#[derive(Clone, Deserialize)]
#[serde(untagged)]
enum ClientCertificates {
    One(String),
    Many(Vec<OneOrMany>),
}

impl OneOrMany {
    fn into_vec(self) -> Vec<String> {
        match self {
            OneOrMany::One(one) => vec![one],
            OneOrMany::Many(many) => many,
        }
    }
}

/// Reads the hosts to ask for a registry's images, in order.
pub(super) fn hosts_of(registry: &str, dir: &Path) -> Result<Vec<Host>, HostsError> {
    for name in [registry.to_owned(), escaped(registry), "_default".to_owned()] {
        let base = dir.join(name);
        let path = base.join("hosts.toml");
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) if error.kind() == std::io::ErrorKind::NotADirectory => continue,
            Err(source) => return Err(HostsError::Read { path, source }),
        };
        return parse(registry, &text, &base).map_err(|reason| HostsError::Malformed { path, reason });
    }
    Ok(vec![origin(registry)])
}

/// `host:5000` as `host_5000_`.
fn escaped(registry: &str) -> String {
    match registry.rsplit_once(':') {
        Some((host, port)) => format!("{host}_{port}_"),
        None => registry.to_owned(),
    }
}

/// The registry itself, without settings.
fn origin(registry: &str) -> Host {
    let server = match registry {
        "docker.io" => "registry-1.docker.io",
        other => other,
    };
    let scheme = if is_loopback(server) { "http" } else { "https" };
    Host {
        url: format!("{scheme}://{server}"),
        resolve: true,
        pull: true,
        origin: true,
        ..Host::default()
    }
}

/// Registries on this machine speak plain HTTP unless settings say otherwise.
pub(super) fn is_loopback(server: &str) -> bool {
    let host = match server.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => server.split(':').next().unwrap_or_default(),
    };
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

pub(super) fn parse(registry: &str, text: &str, base: &Path) -> Result<Vec<Host>, String> {
    let file: HostsFile = toml::from_str(text).map_err(|e| e.message().to_owned())?;
    let mut mirrors: Vec<_> = file.host.into_iter().collect();
    // Order of appearance is order of preference.
    mirrors.sort_by_key(|(_, table)| table.span().start);
    let mut hosts = Vec::new();
    for (url, table) in mirrors {
        hosts.push(host(&url, table.into_inner(), base, false)?);
    }
    let server = file.server.filter(|s| !s.is_empty());
    let server = server.unwrap_or_else(|| origin(registry).url);
    hosts.push(host(&server, file.origin, base, true)?);
    Ok(hosts)
}

fn host(url: &str, table: HostTable, base: &Path, origin: bool) -> Result<Host, String> {
    let url = match url.contains("://") {
        true => url.to_owned(),
        false => format!("{}://{url}", if is_loopback(url) { "http" } else { "https" }),
    };
    let known = url
        .strip_prefix("https://")
        .or_else(|| url.strip_prefix("http://"));
    if known.is_none_or(|rest| rest.is_empty() || rest.starts_with('/')) {
        return Err(format!("host {url:?} is no http or https address"));
    }
    let capability = |name: &str| {
        table
            .capabilities
            .as_ref()
            .is_none_or(|c| c.iter().any(|c| c == name))
    };
    let (resolve, pull) = (capability("resolve"), capability("pull"));
    let path = |text: String| base.join(text);
    let client = client_certificates(table.client, base)?;
    let headers = (table.header.into_iter())
        .flat_map(|(name, values)| values.into_vec().into_iter().map(move |v| (name.clone(), v)))
        .collect();
    Ok(Host {
        url: url.trim_end_matches('/').to_owned(),
        resolve,
        pull,
        ca: table
            .ca
            .map(OneOrMany::into_vec)
            .unwrap_or_default()
            .into_iter()
            .map(path)
            .collect(),
        client,
        skip_verify: table.skip_verify,
        override_path: table.override_path,
        headers,
        origin,
    })
}

fn client_certificates(
    client: Option<ClientCertificates>,
    base: &Path,
) -> Result<Vec<(PathBuf, Option<PathBuf>)>, String> {
    let pairs = match client {
        None => return Ok(Vec::new()),
        Some(ClientCertificates::One(file)) => return Ok(vec![(base.join(file), None)]),
        Some(ClientCertificates::Many(pairs)) => pairs,
    };
    let mut found = Vec::new();
    for pair in pairs {
        let mut files = pair.into_vec().into_iter();
        let certificate = files.next().ok_or("client has an empty pair")?;
        let key = files.next().filter(|key| !key.is_empty());
        found.push((base.join(certificate), key.map(|key| base.join(key))));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn urls(registry: &str, text: &str) -> Vec<String> {
        let hosts = parse(registry, text, Path::new("/certs")).unwrap();
        hosts.into_iter().map(|h| h.url).collect()
    }

    #[test]
    fn hosts_are_asked_in_order_of_appearance_and_the_registry_last() {
        let text = r#"
            server = "https://registry.example"
            [host."https://z.example"]
            [host."http://a.example:5000/"]
        "#;

        assert_eq!(
            urls("registry.example", text),
            [
                "https://z.example",
                "http://a.example:5000",
                "https://registry.example"
            ]
        );
    }

    #[test]
    fn a_registry_without_settings_is_asked_itself() {
        let check = |registry: &str, url: &str| {
            let hosts = hosts_of(registry, Path::new("/nonexistent")).unwrap();
            assert_eq!(hosts.len(), 1);
            assert_eq!(hosts[0].url, url);
            assert!(hosts[0].origin && hosts[0].resolve && hosts[0].pull);
        };

        check("docker.io", "https://registry-1.docker.io");
        check("registry.example:5000", "https://registry.example:5000");
        check("localhost:5000", "http://localhost:5000");
        check("127.0.0.1:5000", "http://127.0.0.1:5000");
        check("[::1]:5000", "http://[::1]:5000");
    }

    #[test]
    fn every_setting_is_understood() {
        let text = r#"
            [host."https://mirror.example/path"]
            capabilities = ["pull"]
            ca = "ca.pem"
            client = [["c.pem", "k.pem"], "/abs.pem"]
            skip_verify = true
            override_path = true
            [host."https://mirror.example/path".header]
            x-one = "1"
            x-two = ["2", "3"]
        "#;

        let hosts = parse("registry.example", text, Path::new("/certs")).unwrap();

        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(
            hosts[0],
            Host {
                url: "https://mirror.example/path".to_owned(),
                resolve: false,
                pull: true,
                ca: vec!["/certs/ca.pem".into()],
                client: vec![
                    ("/certs/c.pem".into(), Some("/certs/k.pem".into())),
                    ("/abs.pem".into(), None)
                ],
                skip_verify: true,
                override_path: true,
                headers: vec![pair("x-one", "1"), pair("x-two", "2"), pair("x-two", "3")],
                origin: false,
            }
        );
    }

    #[test]
    fn settings_are_found_by_registry_and_by_default() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, url: &str| {
            std::fs::create_dir(dir.path().join(name)).unwrap();
            let text = format!("[host.\"{url}\"]\n");
            std::fs::write(dir.path().join(name).join("hosts.toml"), text).unwrap();
        };
        write("registry.example", "https://one.example");
        write("registry.example_5000_", "https://two.example");
        write("_default", "https://three.example");
        let first = |registry: &str| hosts_of(registry, dir.path()).unwrap()[0].url.clone();

        assert_eq!(first("registry.example"), "https://one.example");
        assert_eq!(first("registry.example:5000"), "https://two.example");
        assert_eq!(first("other.example"), "https://three.example");
    }

    #[test]
    fn malformed_settings_are_refused() {
        for text in ["server = 1", "[host.\"ftp://a\"]", "[host.\"https://\"]", "[host"] {
            assert!(parse("registry.example", text, Path::new("/")).is_err(), "{text}");
        }
    }
}
