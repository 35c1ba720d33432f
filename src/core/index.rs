//! The containers by id and by tag, as one value that is never changed: a copy with a change shares the rest. What belongs
//! together is found among ten thousand others without looking at those.

use std::cmp::Ordering;
use std::sync::Arc;

use rpds::{HashTrieMapSync, RedBlackTreeMapSync, RedBlackTreeSetSync};

use super::entry::Entry;
use crate::model::ContainerFilter;

/// All containers at one moment.
#[derive(Clone, Debug, Default)]
pub(super) struct Index {
    by_id: RedBlackTreeMapSync<String, Arc<Entry>>,
    /// Of each tag, name and value, those that have it.
    by_tag: HashTrieMapSync<(String, String), RedBlackTreeSetSync<ById>>,
    /// The images of those without tags, by id, and how many times each is used.
    untagged_images: HashTrieMapSync<String, usize>,
}

/// A container in the order of ids.
#[derive(Clone, Debug)]
struct ById(Arc<Entry>);

impl PartialEq for ById {
    fn eq(&self, other: &ById) -> bool {
        self.0.id == other.0.id
    }
}

impl Eq for ById {}

impl PartialOrd for ById {
    fn partial_cmp(&self, other: &ById) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ById {
    fn cmp(&self, other: &ById) -> Ordering {
        self.0.id.cmp(&other.0.id)
    }
}

impl Index {
    /// With one container more.
    pub(super) fn with(&self, entry: &Arc<Entry>) -> Index {
        let mut new = self.clone();
        new.by_id.insert_mut(entry.id.clone(), Arc::clone(entry));
        for tag in tags(entry) {
            let mut having = new.by_tag.get(&tag).cloned().unwrap_or_default();
            having.insert_mut(ById(Arc::clone(entry)));
            new.by_tag.insert_mut(tag, having);
        }
        for image in untagged_images(entry) {
            let uses = new.untagged_uses(image);
            new.untagged_images.insert_mut(image.clone(), uses + 1);
        }
        new
    }

    /// Without this container, if it is there.
    pub(super) fn without(&self, id: &str) -> Index {
        let mut new = self.clone();
        let Some(entry) = self.by_id.get(id) else {
            return new;
        };
        new.by_id.remove_mut(id);
        for tag in tags(entry) {
            let mut having = new.by_tag.get(&tag).cloned().unwrap_or_default();
            having.remove_mut(&ById(Arc::clone(entry)));
            match having.is_empty() {
                true => {
                    new.by_tag.remove_mut(&tag);
                }
                false => new.by_tag.insert_mut(tag, having),
            }
        }
        for image in untagged_images(entry) {
            match new.untagged_uses(image) {
                0 | 1 => {
                    new.untagged_images.remove_mut(image);
                }
                more => new.untagged_images.insert_mut(image.clone(), more - 1),
            }
        }
        new
    }

    /// The container of exactly this id.
    pub(super) fn get(&self, id: &str) -> Option<&Arc<Entry>> {
        self.by_id.get(id)
    }

    /// How many times containers without tags use an image, their own or mounted.
    pub(super) fn untagged_uses(&self, image: &str) -> usize {
        self.untagged_images.get(image).copied().unwrap_or_default()
    }

    /// Those whose ids begin so, in order.
    pub(super) fn beginning(&self, id: &str) -> impl Iterator<Item = &Arc<Entry>> {
        let from_here = self.by_id.range(id.to_owned()..);
        from_here
            .map(|(_, entry)| entry)
            .take_while(move |entry| entry.id.starts_with(id))
    }

    /// Everything, in the order of ids.
    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<Entry>> {
        self.by_id.values()
    }

    /// Those that may match, in the order of ids: all, or fewer when a tag is asked for.
    pub(super) fn candidates(&self, filter: &ContainerFilter) -> Vec<&Arc<Entry>> {
        let asked = filter.tag_selector.iter();
        let having = asked.map(|(name, value)| self.by_tag.get(&(name.clone(), value.clone())));
        // The tag that the fewest have.
        match having.min_by_key(|set| set.map_or(0, RedBlackTreeSetSync::size)) {
            Some(set) => set
                .into_iter()
                .flat_map(RedBlackTreeSetSync::iter)
                .map(|ById(entry)| entry)
                .collect(),
            None => self.all().collect(),
        }
    }
}

fn tags(entry: &Entry) -> impl Iterator<Item = (String, String)> {
    let tags = entry.record.config.tags.iter();
    tags.map(|(name, value)| (name.clone(), value.clone()))
}

fn untagged_images(entry: &Entry) -> impl Iterator<Item = &String> {
    let record = &entry.record;
    record.images().filter(|_| record.config.tags.is_empty())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::core::entry::Phase;
    use crate::core::record::ContainerRecord;
    use crate::model::{ContainerConfig, ContainerUser};

    fn pairs(tags: &[(&str, &str)]) -> impl Iterator<Item = (String, String)> {
        tags.iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
    }

    pub(in crate::core) fn entry(id: &str, tags: &[(&str, &str)]) -> Arc<Entry> {
        using(id, tags, &["own"])
    }

    /// A container of the first image, which mounts the others.
    fn using(id: &str, tags: &[(&str, &str)], images: &[&str]) -> Arc<Entry> {
        let mut images = images.iter().map(|image| (*image).to_owned());
        let record = ContainerRecord {
            version: 1,
            config: ContainerConfig {
                tags: pairs(tags).collect(),
                ..ContainerConfig::default()
            },
            image_id: images.next().unwrap_or_default(),
            mounted_images: images.collect(),
            image_ref: String::new(),
            image_name: String::new(),
            created_at: 0,
            log_path: String::new(),
            cgroup: String::new(),
            user: ContainerUser::default(),
            stop_signal: String::new(),
            resources: None,
            end: None,
        };
        Arc::new(Entry::new(id.to_owned(), record, Phase::Creating))
    }

    fn check(index: &Index, tags: &[(&str, &str)], expected: &[&str]) {
        let filter = ContainerFilter {
            tag_selector: pairs(tags).collect(),
            ..ContainerFilter::default()
        };
        let found: Vec<&str> = index.candidates(&filter).iter().map(|e| e.id.as_str()).collect();
        assert_eq!(found, expected, "{tags:?}");
    }

    #[test]
    fn those_of_a_tag_are_found_until_they_go() {
        let index = [
            entry("b", &[("group", "1"), ("try", "0")]),
            entry("a", &[("group", "1"), ("try", "1")]),
            entry("c", &[("group", "2"), ("try", "0")]),
        ]
        .iter()
        .fold(Index::default(), |index, entry| index.with(entry));

        check(&index, &[], &["a", "b", "c"]);
        check(&index, &[("group", "1")], &["a", "b"]);
        check(&index, &[("group", "3")], &[]);
        // The narrower of the two: the rest is the filter's.
        check(&index, &[("group", "2"), ("try", "0")], &["c"]);

        let fewer = index.without("a").without("c").without("unknown");

        check(&fewer, &[("group", "1")], &["b"]);
        check(&fewer, &[("group", "2")], &[]);
        assert_eq!(fewer.by_tag.size(), 2);
        check(&index, &[("group", "2")], &["c"]);
    }

    #[test]
    fn images_of_those_without_tags_are_in_use_until_the_last_one_goes() {
        let all = [
            using("a", &[], &["one", "two"]),
            using("b", &[], &["two", "two"]),
            using("c", &[("group", "1")], &["three", "two"]),
        ];
        let uses = |index: &Index| ["one", "two", "three"].map(|image| index.untagged_uses(image));
        let index = all
            .iter()
            .fold(Index::default(), |index, entry| index.with(entry));

        assert_eq!(uses(&index), [1, 3, 0]);
        assert_eq!(uses(&index.without("c")), [1, 3, 0]);
        let fewer = index.without("b");
        assert_eq!(uses(&fewer), [1, 1, 0]);
        let none = fewer.without("a").without("a");
        assert_eq!((uses(&none), none.untagged_images.size()), ([0, 0, 0], 0));
    }
}
