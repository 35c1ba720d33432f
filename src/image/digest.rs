//! Content digests, `algorithm:hex` (OCI image spec, descriptor, "Digests").

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256, Sha512};

/// The digest of some content, in lower case.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(super) struct Digest(String);

impl Digest {
    /// Parses a digest of an algorithm known here.
    pub(super) fn parse(text: &str) -> Option<Digest> {
        let (algorithm, hex) = text.split_once(':')?;
        let length = match algorithm {
            "sha256" => 64,
            "sha512" => 128,
            _ => return None,
        };
        let lower_hex = hex
            .bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        (hex.len() == length && lower_hex).then(|| Digest(text.to_owned()))
    }

    /// The SHA-256 digest of some bytes.
    pub(super) fn of(bytes: &[u8]) -> Digest {
        let mut hash = Hash::sha256();
        hash.update(bytes);
        hash.finish()
    }

    /// The text.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// A hash of the digest's algorithm, to compare with it.
    pub(super) fn hash(&self) -> Hash {
        match self.0.starts_with("sha512:") {
            true => Hash::Sha512(Box::new(Sha512::new())),
            false => Hash::sha256(),
        }
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> String {
        digest.0
    }
}

impl TryFrom<String> for Digest {
    type Error = String;

    fn try_from(text: String) -> Result<Digest, String> {
        Digest::parse(&text).ok_or_else(|| format!("{text:?} is no digest"))
    }
}

/// A digest in the making.
#[derive(Clone)]
pub(super) enum Hash {
    Sha256(Sha256),
    Sha512(Box<Sha512>),
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hash")
    }
}

impl Hash {
    pub(super) fn sha256() -> Hash {
        Hash::Sha256(Sha256::new())
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        match self {
            Hash::Sha256(hash) => hash.update(bytes),
            Hash::Sha512(hash) => hash.update(bytes),
        }
    }

    pub(super) fn finish(self) -> Digest {
        use fmt::Write as _;

        let (algorithm, bytes) = match self {
            Hash::Sha256(hash) => ("sha256:", hash.finalize().to_vec()),
            Hash::Sha512(hash) => ("sha512:", hash.finalize().to_vec()),
        };
        Digest(bytes.iter().fold(algorithm.to_owned(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        }))
    }
}
