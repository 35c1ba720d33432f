//! Who we are to a registry: from the caller, or from a file in docker's `config.json` layout.
//!
//! A caller's credentials go to the registry itself and to hosts they name, never to other mirrors. Credential helpers
//! are programs and are not run.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use serde::Deserialize;

use crate::model::AuthConfig;
use crate::sys::planted;

use super::digest::{Digest, Hash};

/// What is shown to a registry. Never printed.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) enum Credentials {
    /// Nothing.
    #[default]
    Anonymous,
    /// User and password.
    Basic { username: String, password: String },
    /// A refresh token, exchanged for an access token.
    Identity(String),
    /// A bearer token, sent as it is.
    Bearer(String),
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Credentials::Anonymous => "Anonymous",
            Credentials::Basic { .. } => "Basic",
            Credentials::Identity(_) => "Identity",
            Credentials::Bearer(_) => "Bearer",
        })
    }
}

/// The credentials at hand for one pull.
#[derive(Clone, Debug, Default)]
pub(super) struct Keyring {
    /// What the caller gave, and the host it is for; an empty one is the registry.
    given: Option<(Credentials, String)>,
    /// From the file, by host.
    file: BTreeMap<String, Credentials>,
}

/// Why credentials cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum CredentialsError {
    /// The caller's are malformed.
    #[error("registry credentials are malformed: {0}")]
    Malformed(&'static str),
    /// The file cannot be read.
    #[error("cannot read registry credentials {path}: {reason}")]
    File {
        /// The file.
        path: String,
        /// Why, without its content.
        reason: String,
    },
}

#[derive(Default, Deserialize)]
struct ConfigFile {
    #[serde(default)]
    auths: BTreeMap<String, FileEntry>,
}

#[derive(Default, Deserialize)]
struct FileEntry {
    #[serde(default)]
    auth: String,
    #[serde(default)]
    username: String,
    #[serde(default)]
    password: String,
    #[serde(default)]
    identitytoken: String,
    #[serde(default)]
    registrytoken: String,
}

impl Keyring {
    /// Gathers the credentials for a pull. A file that does not exist is empty.
    pub(super) fn gather(
        given: Option<&AuthConfig>,
        file: Option<&Path>,
    ) -> Result<Keyring, CredentialsError> {
        let given = match given {
            Some(auth) => match decode(auth).map_err(CredentialsError::Malformed)? {
                Credentials::Anonymous => None,
                credentials => Some((credentials, host_of(&auth.server_address).to_owned())),
            },
            None => None,
        };
        let file = file.map_or(Ok(BTreeMap::new()), read_file)?;
        Ok(Keyring { given, file })
    }

    /// Chooses for a host; `origin` says that it is the registry itself.
    pub(super) fn for_host(&self, host: &str, registry: &str, origin: bool) -> Credentials {
        if let Some((credentials, server)) = &self.given {
            let named = !server.is_empty() && alias(server) == alias(host);
            if named
                || planted("mirror-credentials")
                || (origin && (server.is_empty() || alias(server) == alias(registry)))
            {
                return credentials.clone();
            }
        }
        let names = if origin { vec![host, registry] } else { vec![host] };
        names
            .into_iter()
            .find_map(|name| self.file.get(alias(name)))
            .cloned()
            .unwrap_or_default()
    }

    /// Tells apart pulls that may have different rights, without keeping secrets.
    pub(super) fn identity(&self) -> Digest {
        let mut hash = Hash::sha256();
        if let Some((credentials, server)) = &self.given {
            let (kind, one, two) = match credentials {
                Credentials::Anonymous => ("none", "", ""),
                Credentials::Basic { username, password } => ("basic", username.as_str(), password.as_str()),
                Credentials::Identity(token) => ("identity", token.as_str(), ""),
                Credentials::Bearer(token) => ("bearer", token.as_str(), ""),
            };
            for part in [server, kind, one, two] {
                hash.update(&(part.len() as u64).to_le_bytes());
                hash.update(part.as_bytes());
            }
        }
        hash.finish()
    }
}

fn decode(auth: &AuthConfig) -> Result<Credentials, &'static str> {
    if !auth.registry_token.is_empty() {
        return Ok(Credentials::Bearer(auth.registry_token.clone()));
    }
    if !auth.identity_token.is_empty() {
        return Ok(Credentials::Identity(auth.identity_token.clone()));
    }
    if !auth.username.is_empty() {
        return Ok(Credentials::Basic {
            username: auth.username.clone(),
            password: auth.password.clone(),
        });
    }
    if auth.auth.is_empty() {
        return Ok(Credentials::Anonymous);
    }
    let text = auth.auth.trim_end_matches('\0');
    let bytes = STANDARD
        .decode(text)
        .or_else(|_| STANDARD_NO_PAD.decode(text))
        .map_err(|_| "auth is not base64")?;
    let text = String::from_utf8(bytes).map_err(|_| "auth is not text")?;
    let (username, password) = text.split_once(':').ok_or("auth is not user:password")?;
    Ok(Credentials::Basic {
        username: username.to_owned(),
        password: password.trim_end_matches('\0').to_owned(),
    })
}

fn read_file(path: &Path) -> Result<BTreeMap<String, Credentials>, CredentialsError> {
    let fail = |reason: String| CredentialsError::File {
        path: path.display().to_string(),
        reason,
    };
    let text = match std::fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(error) => return Err(fail(error.to_string())),
    };
    // The parser's own message might quote a secret.
    let file: ConfigFile =
        serde_json::from_slice(&text).map_err(|e| fail(format!("malformed at line {}", e.line())))?;
    let mut all = BTreeMap::new();
    for (server, entry) in file.auths {
        let auth = AuthConfig {
            username: entry.username,
            password: entry.password,
            auth: entry.auth,
            server_address: String::new(),
            identity_token: entry.identitytoken,
            registry_token: entry.registrytoken,
        };
        let credentials = decode(&auth).map_err(|reason| fail(format!("entry {server}: {reason}")))?;
        if credentials != Credentials::Anonymous {
            all.insert(alias(host_of(&server)).to_owned(), credentials);
        }
    }
    Ok(all)
}

/// The host of a server's address: `https://index.docker.io/v1/` is `index.docker.io`.
fn host_of(server: &str) -> &str {
    let rest = server.split_once("://").map_or(server, |(_, rest)| rest);
    rest.split('/').next().unwrap_or_default()
}

/// The names of Docker Hub are one.
fn alias(host: &str) -> &str {
    match host {
        "index.docker.io" | "registry-1.docker.io" => "docker.io",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn basic(username: &str, password: &str) -> Credentials {
        Credentials::Basic {
            username: username.to_owned(),
            password: password.to_owned(),
        }
    }

    fn auth(username: &str, auth: &str, identity: &str, token: &str) -> AuthConfig {
        AuthConfig {
            username: username.to_owned(),
            password: if username.is_empty() { "" } else { "pw" }.to_owned(),
            auth: auth.to_owned(),
            server_address: String::new(),
            identity_token: identity.to_owned(),
            registry_token: token.to_owned(),
        }
    }

    #[test]
    fn every_kind_of_credentials_is_understood() {
        assert_eq!(decode(&auth("", "", "", "")), Ok(Credentials::Anonymous));
        assert_eq!(decode(&auth("u", "", "", "")), Ok(basic("u", "pw")));
        assert_eq!(decode(&auth("", "dTpwOnc=", "", "")), Ok(basic("u", "p:w")));
        assert_eq!(decode(&auth("", "dTpwOnc", "", "")), Ok(basic("u", "p:w")));
        assert_eq!(
            decode(&auth("", "", "i", "")),
            Ok(Credentials::Identity("i".to_owned()))
        );
        assert_eq!(
            decode(&auth("u", "", "", "t")),
            Ok(Credentials::Bearer("t".to_owned()))
        );
        assert!(decode(&auth("", "%%", "", "")).is_err());
        assert!(decode(&auth("", "dQ==", "", "")).is_err());
    }

    #[test]
    fn a_callers_credentials_do_not_go_to_mirrors() {
        let keyring = Keyring::gather(Some(&auth("u", "", "", "")), None).unwrap();

        assert_eq!(
            keyring.for_host("registry.example", "registry.example", true),
            basic("u", "pw")
        );
        assert_eq!(
            keyring.for_host("mirror.example", "registry.example", false),
            Credentials::Anonymous
        );
    }

    #[test]
    fn credentials_for_a_named_server_go_there_only() {
        let mut given = auth("u", "", "", "");
        given.server_address = "https://mirror.example/v2/".to_owned();
        let keyring = Keyring::gather(Some(&given), None).unwrap();

        assert_eq!(
            keyring.for_host("registry.example", "registry.example", true),
            Credentials::Anonymous
        );
        assert_eq!(
            keyring.for_host("mirror.example", "registry.example", false),
            basic("u", "pw")
        );
    }

    #[test]
    fn a_file_serves_hosts_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.json");
        let text = r#"{"auths": {"https://index.docker.io/v1/": {"auth": "dTpw"}, "registry.example:5000": {"identitytoken": "i"}},
            "credsStore": "x"}"#;
        std::fs::write(&path, text).unwrap();
        let keyring = Keyring::gather(None, Some(&path)).unwrap();

        assert_eq!(
            keyring.for_host("registry-1.docker.io", "docker.io", true),
            basic("u", "p")
        );
        let identity = Credentials::Identity("i".to_owned());
        assert_eq!(
            keyring.for_host("registry.example:5000", "docker.io", false),
            identity
        );
        assert_eq!(
            keyring.for_host("registry.example", "registry.example", true),
            Credentials::Anonymous
        );
    }

    #[test]
    fn errors_and_debug_show_no_secret() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.json");
        std::fs::write(&path, r#"{"auths": {"a": {"auth": ["s3cret"]}}}"#).unwrap();
        let error = Keyring::gather(None, Some(&path)).unwrap_err();
        let keyring = Keyring::gather(Some(&auth("s3cret", "", "", "")), None).unwrap();

        assert!(!error.to_string().contains("s3cret"), "{error}");
        assert!(!format!("{keyring:?}").contains("s3cret"));
    }
}
