//! The store over real files, whole and damaged.

use redb::Database;
use serde::Deserialize;

use super::*;

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Boat {
    oars: u32,
}
impl Record for Boat {
    const TABLE: &'static str = "boats";
}
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct OtherBoat {
    sails: String,
}
impl Record for OtherBoat {
    const TABLE: &'static str = "boats";
}

#[tokio::test]
async fn records_survive_closing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    let store = Store::open(&path).unwrap();
    store.put("a", &Boat { oars: 2 }).await.unwrap();
    store.put("b", &Boat { oars: 4 }).await.unwrap();
    store.remove::<Boat>("a").await.unwrap();
    store.close().await;
    drop(store);

    let again = Store::open(&path).unwrap();

    assert_eq!(
        again.load::<Boat>().unwrap(),
        vec![("b".to_owned(), Boat { oars: 4 })]
    );
}

#[tokio::test]
async fn many_writers_at_once_all_get_their_answer() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("db")).unwrap();

    let writes = (0..100u32).map(|n| {
        let store = store.clone();
        async move { store.put(&n.to_string(), &Boat { oars: n }).await }
    });
    let answers = futures_util::future::join_all(writes).await;

    assert!(answers.iter().all(Result::is_ok));
    assert_eq!(store.load::<Boat>().unwrap().len(), 100);
}

#[tokio::test]
async fn a_record_that_cannot_be_read_is_kept_in_quarantine() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("db")).unwrap();
    store
        .put("old", &OtherBoat { sails: "two".into() })
        .await
        .unwrap();
    store.put("new", &Boat { oars: 1 }).await.unwrap();

    let boats = store.load::<Boat>().unwrap();

    assert_eq!(boats, vec![("new".to_owned(), Boat { oars: 1 })]);
    assert_eq!(store.set_aside().unwrap(), ["boats/old"]);
}

/// Boats of three sizes, in two tables.
fn fleet() -> Vec<(String, Boat)> {
    (0..120u32)
        .map(|n| (format!("boat-{n:03}"), Boat { oars: n }))
        .collect()
}

#[derive(Debug, PartialEq, Clone, Serialize, Deserialize)]
struct Ship {
    cargo: String,
}
impl Record for Ship {
    const TABLE: &'static str = "ships";
}

fn ships() -> Vec<(String, Ship)> {
    let cargo = |n: usize| {
        char::from(b'a' + (n % 26) as u8)
            .to_string()
            .repeat(n * 97 % 9000)
    };
    (0..40usize)
        .map(|n| (format!("ship-{n:03}"), Ship { cargo: cargo(n) }))
        .collect()
}

/// A closed store with all of them, some written twice.
async fn write_fleet(path: &Path) {
    let store = Store::open(path).unwrap();
    let (boats, ships) = (fleet(), ships());
    let older: Vec<_> = boats
        .iter()
        .map(|(key, boat)| {
            (
                key,
                Boat {
                    oars: boat.oars + 1000,
                },
            )
        })
        .collect();
    futures_util::future::join_all(older.iter().map(|(key, boat)| store.put(key, boat))).await;
    futures_util::future::join_all(boats.iter().map(|(key, boat)| store.put(key, boat))).await;
    futures_util::future::join_all(ships.iter().map(|(key, ship)| store.put(key, ship))).await;
    store.close().await;
}

/// Opens a store that may be damaged, reads it, and goes on with it. Tells what is missing, and panics over a record that
/// is not what was written.
async fn live_on(path: &Path, what: &str) -> (Vec<String>, bool) {
    let store = Store::open(path).unwrap_or_else(|e| panic!("{what}: {e:?}"));
    let boats = store.load::<Boat>().unwrap();
    let ships_found = store.load::<Ship>().unwrap();
    let mut missing = vec![];
    for (key, boat) in fleet() {
        match boats.iter().find(|(found, _)| *found == key) {
            Some((_, found)) => assert_eq!(*found, boat, "{what}: {key}"),
            None => missing.push(key),
        }
    }
    for (key, ship) in ships() {
        match ships_found.iter().find(|(found, _)| *found == key) {
            Some((_, found)) => assert_eq!(*found, ship, "{what}: {key}"),
            None => missing.push(key),
        }
    }
    assert_eq!(
        boats.len() + ships_found.len() + missing.len(),
        160,
        "{what}: a record from nowhere"
    );
    let told = !store.damaged().is_empty() || store.quarantined() > 0;
    let some: Vec<_> = fleet().into_iter().step_by(3).collect();
    for _ in 0..2 {
        let puts = some.iter().map(|(key, boat)| store.put(key, boat));
        assert!(
            futures_util::future::join_all(puts)
                .await
                .iter()
                .all(Result::is_ok),
            "{what}"
        );
        let removals = some.iter().map(|(key, _)| store.remove::<Boat>(key));
        assert!(
            futures_util::future::join_all(removals)
                .await
                .iter()
                .all(Result::is_ok),
            "{what}"
        );
    }
    store.close().await;
    drop(store);
    let again = Store::open(path).unwrap_or_else(|e| panic!("{what}, again: {e:?}"));
    let left = again.load::<Boat>().unwrap();
    assert!(
        !left
            .iter()
            .any(|(key, _)| some.iter().any(|(gone, _)| gone == key)),
        "{what}"
    );
    again.close().await;
    (missing, told)
}

#[tokio::test]
async fn flipped_bits_change_no_record_and_end_nothing() {
    crate::sys::panics::keep_guarded_quiet();
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    let good = dir.path().join("good");
    write_fleet(&good).await;
    let bytes = std::fs::read(&good).unwrap();
    let mut silent = vec![];
    // Every part of the file, and more of its beginning, where the database keeps what it is built on.
    let (flips, part) = (250usize, bytes.len() / 250);
    let spread = (0..flips).map(|n| n * part + n * 37 % part);
    for offset in (0..512).step_by(8).chain(spread) {
        let place = dir.path().join(format!("at-{offset}"));
        std::fs::create_dir(&place).unwrap();
        let path = place.join("db");
        let mut bad = bytes.clone();
        bad[offset] ^= 1 << (offset % 8);
        std::fs::write(&path, &bad).unwrap();

        let (lost, told) = live_on(&path, &format!("bit {} of byte {offset}", offset % 8)).await;

        // Only the record that the bit is in; of a page's list of where records end, the two that meet there.
        assert!(lost.len() <= 2, "byte {offset}: {lost:?}");
        if !lost.is_empty() && !told {
            silent.push(offset);
        }
        std::fs::remove_dir_all(&place).unwrap();
    }
    assert!(silent.is_empty(), "records went without a word: {silent:?}");
}

#[tokio::test]
async fn a_store_of_garbage_is_kept_and_a_new_one_goes_on() {
    crate::sys::panics::keep_guarded_quiet();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    std::fs::write(&path, vec![0x5a; 100_000]).unwrap();

    let store = Store::open(&path).unwrap();
    store.put("a", &Boat { oars: 2 }).await.unwrap();

    assert_eq!(store.damaged().len(), 1);
    assert_eq!(std::fs::read(&store.damaged()[0]).unwrap(), vec![0x5a; 100_000]);
    store.close().await;
    drop(store);
    let again = Store::open(&path).unwrap();
    assert_eq!(again.load::<Boat>().unwrap().len(), 1);
    assert_eq!(again.damaged().len(), 1);
}

#[tokio::test]
async fn records_without_a_checksum_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    let database = Database::create(&path).unwrap();
    let write = database.begin_write().unwrap();
    let old = TableDefinition::<&str, &[u8]>::new("boats");
    write
        .open_table(old)
        .unwrap()
        .insert("old", &br#"{"oars":8}"#[..])
        .unwrap();
    write.commit().unwrap();
    drop(database);

    let store = Store::open(&path).unwrap();

    assert_eq!(
        store.load::<Boat>().unwrap(),
        [("old".to_owned(), Boat { oars: 8 })]
    );
}

#[tokio::test]
async fn after_a_failed_write_the_store_is_opened_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("db")).unwrap();
    store.put("a", &Boat { oars: 2 }).await.unwrap();

    for n in 3..6 {
        // What a failed write leads to.
        store.base.forget();
        store.put(&n.to_string(), &Boat { oars: n }).await.unwrap();
    }

    assert_eq!(store.trouble(), None);
    assert_eq!(store.load::<Boat>().unwrap().len(), 4);
}

#[tokio::test]
async fn a_file_has_a_reserve_beyond_its_end() {
    use std::os::unix::fs::MetadataExt;

    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    let store = Store::open(&path).unwrap();
    store.put("a", &Boat { oars: 2 }).await.unwrap();

    let file = std::fs::metadata(&path).unwrap();
    assert!(
        file.blocks() * 512 >= 2 * file.len(),
        "{} of {}",
        file.blocks() * 512,
        file.len()
    );
}

#[tokio::test]
async fn a_store_cannot_be_opened_twice() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    let _first = Store::open(&path).unwrap();

    let second = Store::open(&path);

    assert!(matches!(second, Err(StateError::InUse(_))), "{second:?}");
}
