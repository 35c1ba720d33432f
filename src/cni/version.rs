//! Versions of the CNI specification this runtime speaks, and what each brought.

use std::fmt;
use std::str::FromStr;

/// A version of the CNI specification, oldest first.
///
/// 0.3.0 differs from 0.3.1 in the wording alone; 0.1.0 and 0.2.0 have another result format and are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// 0.3.0: lists of plugins.
    V0_3_0,
    /// 0.3.1.
    V0_3_1,
    /// 0.4.0: `CHECK`, and `prevResult` for `DEL`.
    V0_4_0,
    /// 1.0.0: addresses without a `version` of their own.
    V1_0_0,
    /// 1.1.0: `GC`, `STATUS`, `cniVersions`, more fields of interfaces and routes.
    V1_1_0,
}

impl Version {
    /// Every version spoken, oldest first.
    pub const ALL: [Self; 5] = [
        Self::V0_3_0,
        Self::V0_3_1,
        Self::V0_4_0,
        Self::V1_0_0,
        Self::V1_1_0,
    ];

    /// The newest version spoken.
    pub const NEWEST: Self = Self::V1_1_0;

    /// Returns the version as configurations write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V0_3_0 => "0.3.0",
            Self::V0_3_1 => "0.3.1",
            Self::V0_4_0 => "0.4.0",
            Self::V1_0_0 => "1.0.0",
            Self::V1_1_0 => "1.1.0",
        }
    }

    /// Returns whether plugins of this version know `CHECK`.
    pub(super) fn has_check(self) -> bool {
        self >= Self::V0_4_0
    }

    /// Returns whether plugins of this version know `GC` and `STATUS`.
    pub(super) fn has_gc_and_status(self) -> bool {
        self >= Self::V1_1_0
    }

    /// Returns whether each address of a result carries a `version` field, "4" or "6".
    pub(super) fn marks_address_family(self) -> bool {
        self < Self::V1_0_0
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Version {
    type Err = UnknownVersion;

    fn from_str(text: &str) -> Result<Self, UnknownVersion> {
        Self::ALL
            .into_iter()
            .find(|version| version.as_str() == text)
            .ok_or_else(|| UnknownVersion {
                text: text.to_owned(),
            })
    }
}

/// A version of the specification that is not spoken here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("version {text:?} is not one of 0.3.0, 0.3.1, 0.4.0, 1.0.0 and 1.1.0")]
pub struct UnknownVersion {
    /// What was found in its place.
    pub text: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_back_as_written_and_ordered_by_age() {
        for pair in Version::ALL.windows(2) {
            assert!(pair[0] < pair[1]);
        }

        for version in Version::ALL {
            assert_eq!(version.as_str().parse(), Ok(version));
        }
        assert!("0.2.0".parse::<Version>().is_err());
        assert!("1.0".parse::<Version>().is_err());
    }
}
