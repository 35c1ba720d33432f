//! Who the first process is: ids and groups, by the image's passwd and group files.

use std::collections::BTreeSet;

use crate::model::{GroupsPolicy, Security, User};

use super::error::SpecError;

/// The kernel reads this id as "leave it as it is", which would leave the container root.
const NO_CHANGE: u32 = u32::MAX;

/// An identity with all names resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// Every group: the primary one, then the others, ascending.
    pub(super) groups: Vec<u32>,
    /// The user's home directory; `/` for one that the image does not know.
    pub(super) home: String,
}

/// The image's files.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Accounts<'a> {
    pub(super) passwd: &'a str,
    pub(super) group: &'a str,
}

struct PasswdEntry<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

/// Resolves the user of the configuration or else of the image (`user[:group]`, each by name or number).
pub(super) fn resolve(
    security: &Security,
    image_user: &str,
    accounts: Accounts<'_>,
) -> Result<Identity, SpecError> {
    let (user, group) = match (&security.user, security.group) {
        (None, Some(_)) => {
            return Err(SpecError::invalid(
                "linux.security.group",
                "is set without a user",
            ));
        }
        (None, None) => image_user
            .split_once(':')
            .map_or((image_user, None), |(user, group)| (user, Some(group))),
        (Some(User::Name(name)), _) if name.is_empty() => {
            return Err(SpecError::invalid("linux.security.user", "has an empty name"));
        }
        (Some(User::Name(name)), _) => (name.as_str(), None),
        (Some(User::Id(uid)), gid) => {
            return identity(*uid, accounts.by_uid(*uid), gid, security, accounts);
        }
    };
    let (uid, entry) = accounts.user(user)?;
    let gid = match security.group {
        Some(gid) => Some(gid),
        None => group
            .filter(|g| !g.is_empty())
            .map(|g| accounts.group_id(g))
            .transpose()?,
    };
    identity(uid, entry, gid, security, accounts)
}

fn identity(
    uid: u32,
    entry: Option<PasswdEntry<'_>>,
    gid: Option<u32>,
    security: &Security,
    accounts: Accounts<'_>,
) -> Result<Identity, SpecError> {
    let gid = gid.or(entry.as_ref().map(|e| e.gid)).unwrap_or(0);
    let mut others: BTreeSet<u32> = security.supplemental_groups.iter().copied().collect();
    if let (GroupsPolicy::Merge, Some(entry)) = (security.supplemental_groups_policy, &entry) {
        others.extend(accounts.groups_of(entry.name));
    }
    others.remove(&gid);
    let groups: Vec<u32> = std::iter::once(gid).chain(others).collect();
    if uid == NO_CHANGE {
        return Err(SpecError::invalid("linux.security.user", "is not a user number"));
    }
    if groups.contains(&NO_CHANGE) {
        return Err(SpecError::invalid(
            "linux.security.supplemental_groups or group",
            "is not a group number",
        ));
    }
    Ok(Identity {
        uid,
        gid,
        groups,
        home: entry
            .map(|e| e.home)
            .filter(|home| home.starts_with('/'))
            .unwrap_or("/")
            .to_owned(),
    })
}

impl<'a> Accounts<'a> {
    fn entries(self) -> impl Iterator<Item = PasswdEntry<'a>> {
        self.passwd.lines().filter_map(|line| {
            let fields: Vec<&str> = line.split(':').collect();
            Some(PasswdEntry {
                name: fields.first().copied().filter(|name| !name.is_empty())?,
                uid: fields.get(2)?.parse().ok()?,
                gid: fields.get(3)?.parse().ok()?,
                home: fields.get(5).copied().unwrap_or(""),
            })
        })
    }

    fn by_uid(self, uid: u32) -> Option<PasswdEntry<'a>> {
        self.entries().find(|e| e.uid == uid)
    }

    /// A name of the file wins over a number, since a name may be all digits. Empty is root.
    fn user(self, user: &str) -> Result<(u32, Option<PasswdEntry<'a>>), SpecError> {
        if user.is_empty() {
            return Ok((0, self.by_uid(0)));
        }
        if let Some(entry) = self.entries().find(|e| e.name == user) {
            return Ok((entry.uid, Some(entry)));
        }
        match user.parse() {
            Ok(uid) => Ok((uid, self.by_uid(uid))),
            Err(_) => Err(SpecError::UnknownUser {
                name: user.to_owned(),
            }),
        }
    }

    /// Name, number and members of each group.
    fn groups(self) -> impl Iterator<Item = (&'a str, u32, &'a str)> {
        self.group.lines().filter_map(|line| {
            let fields: Vec<&str> = line.split(':').collect();
            let gid = fields.get(2)?.parse().ok()?;
            Some((*fields.first()?, gid, fields.get(3).copied().unwrap_or("")))
        })
    }

    fn group_id(self, group: &str) -> Result<u32, SpecError> {
        if let Some((_, gid, _)) = self.groups().find(|(name, _, _)| *name == group) {
            return Ok(gid);
        }
        group.parse().map_err(|_| SpecError::UnknownGroup {
            name: group.to_owned(),
        })
    }

    fn groups_of(self, user: &str) -> impl Iterator<Item = u32> {
        self.groups()
            .filter(move |(_, _, members)| members.split(',').any(|member| member.trim() == user))
            .map(|(_, gid, _)| gid)
    }
}
