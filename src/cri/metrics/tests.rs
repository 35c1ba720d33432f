//! The table holds together.

use std::collections::BTreeSet;

use super::*;

#[test]
fn every_metric_is_described_once_and_explained() {
    let all = descriptors().descriptors;

    let names: BTreeSet<&str> = all.iter().map(|one| one.name.as_str()).collect();

    assert_eq!(names.len(), all.len());
    assert!(
        all.iter()
            .all(|one| !one.help.is_empty() && one.name.starts_with("container_"))
    );
    for one in &all {
        let keys: BTreeSet<&String> = one.label_keys.iter().collect();
        assert_eq!(keys.len(), one.label_keys.len(), "{}", one.name);
    }
}

#[test]
fn every_value_has_as_many_labels_as_its_descriptor() {
    let mut found = ContainerMetrics::default();
    found.stats.group = Some(Default::default());
    found.stats.writable_layer = Some(Default::default());
    found.capacity = Some(Default::default());
    found.detail.disks.insert("8:0".into(), Default::default());
    found.detail.hugepages.insert("2MB".into(), (1, Some(2)));
    found.detail.files_limit = Some(1024);
    let (mut metrics, base) = (vec![], Default::default());

    values(CONTAINER, &found, &base, 1, &mut metrics);
    values(NETWORK, &Interface::default(), &base, 1, &mut metrics);

    for one in descriptors().descriptors {
        let mut own = metrics.iter().filter(|metric| metric.name == one.name).peekable();
        assert!(own.peek().is_some(), "{} has no value", one.name);
        assert!(
            own.all(|metric| metric.label_values.len() == one.label_keys.len()),
            "{}",
            one.name
        );
    }
}
