//! Levels in use. A policy for containers lets a process use files of its own categories only, so two containers with
//! different pairs of categories have nothing in common, whatever else their labels say.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// Categories of every policy for containers: pairs are made of `c0` to `c1023`.
const CATEGORIES: u32 = 1024;
/// Different pairs.
const PAIRS: u32 = CATEGORIES * (CATEGORIES - 1) / 2;

/// A level that is nobody else's while this lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held(Arc<str>);

impl Deref for Held {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

/// The levels that somebody holds.
#[derive(Debug, Default)]
pub(super) struct Levels(Mutex<BTreeMap<String, Weak<str>>>);

impl Levels {
    /// One that nobody holds; none when all are held.
    pub(super) fn pick(&self) -> Option<Held> {
        let start: u32 = rand::random_range(0..PAIRS);
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.retain(|_, level| level.strong_count() > 0);
        let free = (0..PAIRS)
            .map(|n| pair((start + n) % PAIRS))
            .find(|level| !held.contains_key(level))?;
        Some(insert(&mut held, free))
    }

    /// This one, along with whoever else holds it.
    pub(super) fn hold(&self, level: &str) -> Held {
        let level = in_order(level);
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match held.get(&level).and_then(Weak::upgrade) {
            Some(known) => Held(known),
            None => insert(&mut held, level),
        }
    }
}

fn insert(held: &mut BTreeMap<String, Weak<str>>, level: String) -> Held {
    let new: Arc<str> = level.as_str().into();
    held.insert(level, Arc::downgrade(&new));
    Held(new)
}

/// The pair of this number, the lower category first.
fn pair(mut number: u32) -> String {
    let mut low = 0;
    while number >= CATEGORIES - 1 - low {
        number -= CATEGORIES - 1 - low;
        low += 1;
    }
    format!("s0:c{low},c{}", low + 1 + number)
}

/// A pair as [`pair`] writes it; any other level as it is.
fn in_order(level: &str) -> String {
    let categories = level.strip_prefix("s0:c").and_then(|rest| rest.split_once(",c"));
    let numbers = categories.and_then(|(a, b)| Some((a.parse::<u32>().ok()?, b.parse::<u32>().ok()?)));
    match numbers {
        Some((a, b)) => format!("s0:c{},c{}", a.min(b), a.max(b)),
        None => level.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_pair_has_a_number_of_its_own() {
        let all: BTreeSet<String> = (0..PAIRS).map(pair).collect();

        assert_eq!(all.len(), PAIRS as usize);
        assert_eq!(
            (pair(0), pair(PAIRS - 1)),
            ("s0:c0,c1".into(), "s0:c1022,c1023".into())
        );
    }

    #[test]
    fn a_level_is_picked_once_while_it_is_held() {
        let levels = Levels::default();

        let picked: Vec<Held> = (0..2000).map(|_| levels.pick().unwrap()).collect();

        let different: BTreeSet<&str> = picked.iter().map(Deref::deref).collect();
        assert_eq!(different.len(), picked.len());
    }

    #[test]
    fn a_level_is_free_again_once_its_last_holder_has_gone() {
        let levels = Levels::default();
        // All but one.
        let mut others: Vec<Held> = (1..PAIRS).map(|n| levels.hold(&pair(n))).collect();

        let last = levels.pick().unwrap();
        let again = levels.hold("s0:c1,c0");
        assert_eq!((&*last, levels.pick()), ("s0:c0,c1", None));
        drop(last);
        assert_eq!(levels.pick(), None, "somebody holds it still");
        drop(again);

        assert_eq!(&*levels.pick().unwrap(), "s0:c0,c1");
        let freed = others.swap_remove(77);
        let level = freed.to_string();
        drop(freed);
        let _first = levels.hold("s0:c0,c1");
        assert_eq!(&*levels.pick().unwrap(), level);
    }
}
