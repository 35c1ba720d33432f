//! Names of images, brought into one form: `registry/repository:tag` or `registry/repository@digest`.
//!
//! The grammar is that of the distribution project's references; short names are Docker Hub's.

use std::borrow::Cow;
use std::fmt;

use super::digest::Digest;

const HUB: &str = "docker.io";
const MAX_NAME: usize = 255;
const MAX_TAG: usize = 128;

/// The name of an image, as it is recorded and shown. With a digest it has no tag: the digest decides.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Name {
    registry: String,
    repository: String,
    version: Version,
}

/// What a name selects in its repository.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Version {
    Tag(String),
    Digest(Digest),
}

/// Why a text names no image.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("image name {name:?} is malformed: {reason}")]
pub(super) struct NameError {
    name: String,
    reason: &'static str,
}

/// The text without what some put before a registry: `user:password@`. It goes to logs and to whoever asks.
fn without_secrets(text: &str) -> Cow<'_, str> {
    match text.rsplit_once('@') {
        Some((_, rest)) if !rest.starts_with("sha") => Cow::Owned(format!("***@{rest}")),
        _ => Cow::Borrowed(text),
    }
}

impl Name {
    /// Parses a name; one without a registry is Docker Hub's, one without tag and digest means `latest`.
    pub(super) fn parse(text: &str) -> Result<Name, NameError> {
        let fail = |reason| NameError {
            name: without_secrets(text).chars().take(MAX_NAME).collect(),
            reason,
        };
        if text.is_empty() {
            return Err(fail("it is empty"));
        }
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => {
                let digest = Digest::parse(digest).ok_or_else(|| fail("its digest is no digest"))?;
                (rest, Some(digest))
            }
            None => (text, None),
        };
        let (path, tag) = match rest.rsplit_once(':') {
            Some((path, tag)) if !tag.contains('/') => (path, Some(tag)),
            _ => (rest, None),
        };
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return Err(fail(
                "its tag is not up to 128 letters, digits, dots, dashes or underscores",
            ));
        }
        let (registry, repository) = split_registry(path);
        if !is_host(registry) {
            return Err(fail("its registry is no host with or without a port"));
        }
        if registry.len() + 1 + repository.len() > MAX_NAME {
            return Err(fail("it is longer than 255 characters"));
        }
        if !repository.split('/').all(is_component) {
            return Err(fail(
                "its repository is not lower-case letters, digits and single separators",
            ));
        }
        Ok(Name {
            registry: registry.to_owned(),
            repository,
            version: match digest {
                Some(digest) => Version::Digest(digest),
                None => Version::Tag(tag.unwrap_or("latest").to_owned()),
            },
        })
    }

    /// Host, with the port if it was given.
    pub(super) fn registry(&self) -> &str {
        &self.registry
    }

    /// Path in the registry.
    pub(super) fn repository(&self) -> &str {
        &self.repository
    }

    /// Tag or digest.
    pub(super) fn version(&self) -> &Version {
        &self.version
    }

    /// The same repository at a digest.
    pub(super) fn at(&self, digest: &Digest) -> Name {
        Name {
            version: Version::Digest(digest.clone()),
            ..self.clone()
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Name {
            registry,
            repository,
            version,
        } = self;
        match version {
            Version::Tag(tag) => write!(f, "{registry}/{repository}:{tag}"),
            Version::Digest(digest) => write!(f, "{registry}/{repository}@{digest}"),
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Version::Tag(tag) => f.write_str(tag),
            Version::Digest(digest) => digest.fmt(f),
        }
    }
}

/// Takes a path apart; what has no registry, and what is at the top there, is Docker Hub's.
fn split_registry(path: &str) -> (&str, String) {
    let (registry, repository) = match path.split_once('/') {
        Some((first, rest)) if is_registry(first) => (first, rest),
        _ => (HUB, path),
    };
    let registry = match registry {
        "index.docker.io" | "registry-1.docker.io" => HUB,
        other => other,
    };
    if registry == HUB && !repository.contains('/') {
        return (HUB, format!("library/{repository}"));
    }
    (registry, repository.to_owned())
}

/// The first component is a host if it cannot be a part of a repository, or is `localhost`.
fn is_registry(component: &str) -> bool {
    component == "localhost"
        || component.contains(['.', ':'])
        || component.chars().any(|c| c.is_ascii_uppercase())
}

fn is_host(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, port)) if address.parse::<std::net::Ipv6Addr>().is_ok() => {
            match (port, port.strip_prefix(':')) {
                ("", _) => ("v6", None),
                (_, Some(port)) => ("v6", Some(port)),
                (_, None) => return false,
            }
        }
        Some(_) => return false,
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let labels = host.split('.').all(|label| {
        !label.is_empty()
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    });
    labels && port.is_none_or(|port| port.parse::<u16>().is_ok() && !port.starts_with('+'))
}

fn is_tag(text: &str) -> bool {
    (1..=MAX_TAG).contains(&text.len())
        && !text.starts_with(['.', '-'])
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
}

/// Letters and digits, separated by one dot, one or two underscores, or dashes.
fn is_component(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let Some((first, last)) = text.bytes().next().zip(text.bytes().next_back()) else {
        return false;
    };
    let separators = text.split(|c: char| plain(c as u8) && c.is_ascii());
    plain(first)
        && plain(last)
        && separators
            .into_iter()
            .all(|s| matches!(s, "" | "." | "_" | "__") || s.bytes().all(|b| b == b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn check(text: &str, expected: &str) {
        assert_eq!(Name::parse(text).unwrap().to_string(), expected, "{text}");
    }

    #[test]
    fn names_are_brought_into_one_form() {
        check("busybox", "docker.io/library/busybox:latest");
        check("busybox:1.36", "docker.io/library/busybox:1.36");
        check("team/app", "docker.io/team/app:latest");
        check("docker.io/busybox", "docker.io/library/busybox:latest");
        check("index.docker.io/busybox", "docker.io/library/busybox:latest");
        check("localhost/app", "localhost/app:latest");
        check("localhost:5000/a/b:1", "localhost:5000/a/b:1");
        check("127.0.0.1:5000/app", "127.0.0.1:5000/app:latest");
        check("[::1]:5000/app:1", "[::1]:5000/app:1");
        check(
            "registry.example/a__b/c-d.e:V1_x",
            "registry.example/a__b/c-d.e:V1_x",
        );
        check(
            &format!("registry.example/app:1@sha256:{HEX}"),
            &format!("registry.example/app@sha256:{HEX}"),
        );
    }

    #[test]
    fn malformed_names_are_refused() {
        for text in [
            "",
            "[::1]more/y",
            "[::1]\0/y",
            "localhost:+80/y",
            ":1",
            "a:",
            "a/",
            "/a",
            "a//b",
            "Foo",
            "registry.example/Foo",
            "a b",
            "a..b",
            "a_-b",
            "-a",
            "a:.x",
            "a@sha256:12",
            "a@",
            "registry.example:port/a",
            "[::1/a",
            "..//../etc",
            "a\u{e9}",
        ] {
            assert!(Name::parse(text).is_err(), "{text}");
        }
        assert!(Name::parse(&format!("a@sha256:{}", HEX.to_uppercase())).is_err());
        assert!(Name::parse(&"a/".repeat(200)).is_err());
    }
}
