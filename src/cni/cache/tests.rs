//! Entries found, appended to, cut off and damaged.

use std::path::Path;

use super::*;

fn entry(id: &str, ifname: &str, network: &str) -> Entry {
    let text = format!(r#"{{"cniVersion":"1.0.0","name":"{network}","type":"bridge"}}"#);
    let conf = NetworkConf::parse(Path::new("a.conf"), text.as_bytes()).unwrap();
    Entry::begin(&conf, Attachment::new(id, ifname).unwrap(), "/netns/a".into())
}

#[test]
fn what_a_crash_cut_off_is_removed_when_the_cache_is_opened() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("a:net:eth0.json.new"), "{").unwrap();
    fs::write(dir.path().join("b:net:eth0.json"), "{}").unwrap();

    Cache::open(dir.path().to_owned()).unwrap();

    let left: Vec<_> = fs::read_dir(dir.path())
        .unwrap()
        .flatten()
        .map(|e| e.file_name())
        .collect();
    assert_eq!(left, ["b:net:eth0.json"]);
}

#[test]
fn an_entry_is_found_again_by_its_attachment_and_only_by_it() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::open(dir.path().join("made")).unwrap();
    let stored = entry("a", "eth0", "net-1.x");
    for other in [
        &stored,
        &entry("a", "eth1", "net-1.x"),
        &entry("b", "eth0", "net-1.x"),
    ] {
        cache.store(other).unwrap();
    }

    let found = cache.find(&stored.attachment).unwrap();

    assert_eq!(found.len(), 1);
    assert_eq!(found[0].network, "net-1.x");
    assert_eq!(cache.read(&found[0]).unwrap(), stored);
    cache.remove(&found[0]).unwrap();
    cache.remove(&found[0]).unwrap();
    assert_eq!(cache.list().unwrap().len(), 2);
}

#[test]
fn a_later_entry_counts_once_it_is_whole_and_never_hides_the_first() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::open(dir.path().to_owned()).unwrap();
    let first = entry("a", "eth0", "net");
    let with = |begun| Entry {
        begun,
        ..first.clone()
    };
    cache.store(&first).unwrap();
    let named = cache.list().unwrap().remove(0);
    let whole = fs::read(&named.path).unwrap();

    cache.store(&with(7)).unwrap();
    assert_eq!(cache.read(&named).unwrap(), with(7));

    // What a power cut leaves of a line that was not synced: a part, or zeros.
    for torn in [&b"{\"format\":1,\"att"[..], &[0; 40]] {
        fs::write(&named.path, [&whole, torn].concat()).unwrap();
        assert_eq!(cache.read(&named).unwrap(), first);
        cache.store(&with(8)).unwrap();
        assert_eq!(cache.read(&named).unwrap(), with(8));
        assert_eq!(cache.list().unwrap().len(), 1);
    }
}

#[test]
fn a_half_written_file_is_no_entry_and_a_damaged_one_is_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::open(dir.path().to_owned()).unwrap();
    fs::write(dir.path().join("a:net:eth0.json.new"), "{").unwrap();
    fs::write(dir.path().join("b:net:eth0.json"), "{").unwrap();
    let mut later = serde_json::to_value(entry("c", "eth0", "net")).unwrap();
    later["format"] = 2.into();
    fs::write(dir.path().join("c:net:eth0.json"), later.to_string()).unwrap();

    let found = cache.list().unwrap();

    assert_eq!(found.len(), 2);
    assert!(matches!(cache.read(&found[0]), Err(CacheError::Damaged { .. })));
    assert!(matches!(
        cache.read(&found[1]),
        Err(CacheError::Format { format: 2, .. })
    ));
}
