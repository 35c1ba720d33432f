//! User namespaces: the mappings of a pod, of its containers, and of their mounts.

use crate::cri::sandbox::Mappings;
use crate::cri::wire::v1;
use crate::model::{Error, IdMapping, Result};

use super::known;

/// What a pod's or a container's options ask for; `None` is the host's.
///
/// # Errors
/// `InvalidArgument`, naming the field.
pub(super) fn user_namespace(from: Option<&v1::UserNamespace>, field: &str) -> Result<Option<Mappings>> {
    let Some(from) = from else { return Ok(None) };
    let mode: v1::NamespaceMode = known(from.mode, &format!("{field}.mode"))?;
    match mode {
        v1::NamespaceMode::Node if from.uids.is_empty() && from.gids.is_empty() => Ok(None),
        v1::NamespaceMode::Node => Err(Error::invalid(format!(
            "{field} has mappings, but its mode is NODE"
        ))),
        v1::NamespaceMode::Pod => mappings(from, field).map(Some),
        other => Err(Error::invalid(format!(
            "{field}.mode cannot be {}",
            other.as_str_name()
        ))),
    }
}

fn mappings(from: &v1::UserNamespace, field: &str) -> Result<Mappings> {
    let uids = only(&from.uids, &format!("{field}.uids"))?;
    let gids = only(&from.gids, &format!("{field}.gids"))?;
    match uids.length == gids.length {
        true => Ok(Mappings { uids, gids }),
        false => Err(Error::invalid(format!(
            "{field} maps {} users and {} groups, not as many",
            uids.length, gids.length
        ))),
    }
}

/// The one mapping of a list. It begins at root, without whom nothing in the namespace can be made.
fn only(from: &[v1::IdMapping], field: &str) -> Result<IdMapping> {
    let refused = |why: String| Err(Error::invalid(format!("{field}{why}")));
    let one = match from {
        [one] => mapping(*one),
        more => return refused(format!(" has {} mappings, not 1", more.len())),
    };
    // The last number is nobody's: to the kernel it says "leave as it is".
    let fits = |first: u32| first.checked_add(one.length).is_some();
    match one {
        IdMapping { length: 0, .. } => refused("[0].length is 0".to_owned()),
        IdMapping { container_id, .. } if container_id != 0 => refused("[0] does not map id 0".to_owned()),
        IdMapping { host_id, .. } if !fits(host_id) => refused("[0] goes beyond the last id".to_owned()),
        IdMapping { host_id: 0, .. } => refused("[0] maps root to the host's".to_owned()),
        one => Ok(one),
    }
}

/// What a container asks for must be what its pod has; one that says nothing gets that.
///
/// # Errors
/// `InvalidArgument`, naming the field.
pub(super) fn check_same(options: Option<&v1::NamespaceOption>, of_pod: Option<Mappings>) -> Result<()> {
    const FIELD: &str = "linux.security_context.namespace_options.userns_options";
    let asked = options.and_then(|options| options.userns_options.as_ref());
    match asked.is_none() || user_namespace(asked, FIELD)? == of_pod {
        true => Ok(()),
        false => Err(Error::invalid(format!("{FIELD} differ from the pod sandbox's"))),
    }
}

/// The mappings of a mount, as given.
pub(super) fn mount_mappings(from: Vec<v1::IdMapping>) -> Vec<IdMapping> {
    from.into_iter().map(mapping).collect()
}

/// What a mount asks for must be what its pod has: an idmapped mount takes the mappings of a user namespace.
///
/// # Errors
/// `InvalidArgument`, naming the field.
pub(super) fn check_mount(
    uids: &[IdMapping],
    gids: &[IdMapping],
    of_pod: Option<Mappings>,
    field: &str,
) -> Result<()> {
    let lists = [
        ("uid_mappings", uids, of_pod.map(|pod| pod.uids)),
        ("gid_mappings", gids, of_pod.map(|pod| pod.gids)),
    ];
    if lists.iter().all(|(_, list, _)| list.is_empty()) {
        return Ok(());
    }
    for (name, list, of_pod) in lists {
        let Some(of_pod) = of_pod else {
            let problem = "need a pod sandbox in a user namespace";
            return Err(Error::invalid(format!("{field}.{name} {problem}")));
        };
        if *list != [of_pod] {
            let problem = "differ from the pod sandbox's";
            return Err(Error::invalid(format!("{field}.{name} {problem}")));
        }
    }
    Ok(())
}

fn mapping(from: v1::IdMapping) -> IdMapping {
    IdMapping {
        container_id: from.container_id,
        host_id: from.host_id,
        length: from.length,
    }
}

/// A pod's mappings, as they were asked for.
pub(super) fn user_to_wire(from: Mappings) -> v1::UserNamespace {
    v1::UserNamespace {
        mode: v1::NamespaceMode::Pod as i32,
        uids: vec![to_wire(from.uids)],
        gids: vec![to_wire(from.gids)],
    }
}

/// A mapping, as it was asked for.
pub(super) fn to_wire(from: IdMapping) -> v1::IdMapping {
    v1::IdMapping {
        host_id: from.host_id,
        container_id: from.container_id,
        length: from.length,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIELD: &str = "options";

    fn run(container_id: u32, host_id: u32, length: u32) -> v1::IdMapping {
        v1::IdMapping {
            host_id,
            container_id,
            length,
        }
    }

    fn options(uids: &[v1::IdMapping], gids: &[v1::IdMapping]) -> v1::UserNamespace {
        v1::UserNamespace {
            mode: v1::NamespaceMode::Pod as i32,
            uids: uids.to_vec(),
            gids: gids.to_vec(),
        }
    }

    fn good() -> Mappings {
        let one = [run(0, 100_000, 65_536)];
        let found = user_namespace(Some(&options(&one, &one)), FIELD).unwrap();
        found.unwrap()
    }

    #[test]
    fn what_the_kernel_or_the_pod_cannot_do_is_refused_by_name() {
        let check = |uids: &[v1::IdMapping], gids: &[v1::IdMapping], expected: &str| {
            let error = user_namespace(Some(&options(uids, gids)), FIELD).unwrap_err();
            assert_eq!(error.to_string(), expected);
        };
        let one = [run(0, 100_000, 65_536)];

        check(&[], &one, "options.uids has 0 mappings, not 1");
        check(&one, &[one[0], one[0]], "options.gids has 2 mappings, not 1");
        check(&[run(0, 100_000, 0)], &one, "options.uids[0].length is 0");
        check(&[run(1, 100_000, 9)], &one, "options.uids[0] does not map id 0");
        check(
            &[run(0, u32::MAX, 1)],
            &one,
            "options.uids[0] goes beyond the last id",
        );
        check(
            &one,
            &[run(0, 0, 65_536)],
            "options.gids[0] maps root to the host's",
        );
        check(
            &one,
            &[run(0, 200_000, 9)],
            "options maps 65536 users and 9 groups, not as many",
        );
    }

    #[test]
    fn a_mapping_may_end_with_the_last_id() {
        let one = [run(0, u32::MAX - 5, 5)];

        assert!(
            user_namespace(Some(&options(&one, &one)), FIELD)
                .unwrap()
                .is_some()
        );
    }

    #[test]
    fn what_was_asked_for_is_told() {
        let one = [run(0, 100_000, 65_536)];

        assert_eq!(user_to_wire(good()), options(&one, &one));
    }

    #[test]
    fn a_container_that_says_nothing_is_in_its_pods_namespace() {
        let other = [run(0, 300_000, 65_536)];
        let asks = |userns_options| v1::NamespaceOption {
            userns_options,
            ..v1::NamespaceOption::default()
        };
        let node = v1::UserNamespace {
            mode: v1::NamespaceMode::Node as i32,
            ..v1::UserNamespace::default()
        };

        check_same(None, Some(good())).unwrap();
        check_same(Some(&asks(None)), Some(good())).unwrap();
        check_same(Some(&asks(Some(user_to_wire(good())))), Some(good())).unwrap();
        check_same(Some(&asks(Some(node.clone()))), None).unwrap();
        for (asked, of_pod) in [
            (node, Some(good())),
            (user_to_wire(good()), None),
            (options(&other, &other), Some(good())),
        ] {
            let error = check_same(Some(&asks(Some(asked))), of_pod).unwrap_err();
            assert!(
                error.to_string().ends_with("differ from the pod sandbox's"),
                "{error}"
            );
        }
    }

    #[test]
    fn a_mount_is_shown_by_its_pods_mappings_or_none() {
        let (uids, gids) = ([good().uids], [good().gids]);
        let check = |uids: &[IdMapping], gids: &[IdMapping], of_pod, expected: Option<&str>| {
            let error = check_mount(uids, gids, of_pod, "mounts[1]").err();
            assert_eq!(error.map(|e| e.to_string()).as_deref(), expected);
        };

        check(&[], &[], None, None);
        check(&[], &[], Some(good()), None);
        check(&uids, &gids, Some(good()), None);
        check(
            &uids,
            &gids,
            None,
            Some("mounts[1].uid_mappings need a pod sandbox in a user namespace"),
        );
        check(
            &uids,
            &[],
            Some(good()),
            Some("mounts[1].gid_mappings differ from the pod sandbox's"),
        );
    }
}
