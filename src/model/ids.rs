//! User namespaces: which ids of a container are which of the host. Further to the reduced API, which has none.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A range of ids of a user namespace, and where it begins on the host (user_namespaces(7)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct IdMapping {
    /// First id in the namespace.
    pub container_id: u32,
    /// First id on the host.
    pub host_id: u32,
    /// Length of the range.
    pub length: u32,
}

impl IdMapping {
    /// The host's id of an id in the namespace; `None`: it is not in the range.
    pub fn to_host(&self, id: u32) -> Option<u32> {
        let offset = id.checked_sub(self.container_id)?;
        match offset < self.length {
            true => self.host_id.checked_add(offset),
            false => None,
        }
    }
}

/// A user namespace that somebody made and keeps, with what it maps.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UserNamespace {
    /// The file that stands for it.
    pub path: PathBuf,
    /// Its users.
    pub uids: IdMapping,
    /// Its groups.
    pub gids: IdMapping,
}

impl UserNamespace {
    /// User and group of the host that are a user and a group of the namespace.
    pub fn to_host(&self, uid: u32, gid: u32) -> Option<(u32, u32)> {
        Some((self.uids.to_host(uid)?, self.gids.to_host(gid)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_mapped_within_their_range_alone() {
        let mapping = IdMapping {
            container_id: 10,
            host_id: 100_000,
            length: 5,
        };
        let check = |id, expected| assert_eq!(mapping.to_host(id), expected, "{id}");

        check(9, None);
        check(10, Some(100_000));
        check(14, Some(100_004));
        check(15, None);
        check(u32::MAX, None);
    }

    #[test]
    fn a_user_without_its_group_is_no_pair() {
        let of = |length| IdMapping {
            container_id: 0,
            host_id: 100_000,
            length,
        };
        let user = UserNamespace {
            uids: of(10),
            gids: of(5),
            ..UserNamespace::default()
        };

        assert_eq!(user.to_host(3, 4), Some((100_003, 100_004)));
        assert_eq!(user.to_host(3, 5), None);
    }
}
