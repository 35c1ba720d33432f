//! Gives unpacked layers their places, several at once: those that are ready while others are synced are the next group. A
//! group costs one sync of the file system and one of each directory, however many layers it has.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use tokio::sync::oneshot;

use super::blocking::blocking;
use super::description::Description;
use super::error::ImageError;
use super::layers::{Layer, LayerKey, Layers, lock};
use super::number::name_number;
use super::staging::{Staging, sync_directory};
use super::unpack::{LayerFacts, content};
use crate::sys::{planted, step};

/// The layers that wait for their places.
#[derive(Debug, Default)]
pub(super) struct Commits {
    waiting: Mutex<Vec<Member>>,
    /// Held by who commits what waits.
    turn: tokio::sync::Mutex<()>,
    /// Held while layers become known. A turn ends with its caller, what it began does not.
    publishing: Mutex<()>,
}

type Answer = Result<Arc<Layer>, ImageError>;

#[derive(Debug)]
struct Member {
    staging: Staging,
    file: Description,
    answer: oneshot::Sender<Answer>,
}

impl Member {
    fn fail(self, error: &io::Error) {
        let path = self.staging.path().to_owned();
        // Who has gone needs no answer.
        let _ = self.answer.send(Err(commit_error(path)(copy_of(error))));
    }
}

/// Somebody who waits; what they have brought leaves with them.
struct Waiter<'a> {
    commits: &'a Commits,
    answer: oneshot::Receiver<Answer>,
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.answer.close();
        lock(&self.commits.waiting).retain(|member| !member.answer.is_closed());
    }
}

impl Layers {
    /// Gives an unpacked layer its place. It is on disk, whole, when this returns. A layer with the same key wins.
    pub(super) async fn commit(
        self: &Arc<Layers>,
        staging: Staging,
        key: LayerKey,
        facts: LayerFacts,
    ) -> Answer {
        let (staging, file) = blocking(move || {
            step("image.layer.describe");
            let written = Description::write(staging.path(), key, facts);
            let file = written.map_err(commit_error(staging.path().to_owned()))?;
            Ok((staging, file))
        })
        .await?;
        let commits = self.commits();
        let (answer, answered) = oneshot::channel();
        lock(&commits.waiting).push(Member {
            staging,
            file,
            answer,
        });
        let mut waiter = Waiter {
            commits,
            answer: answered,
        };
        {
            let _turn = commits.turn.lock().await;
            let group = std::mem::take(&mut *lock(&commits.waiting));
            // Else somebody else's turn was ours too.
            if !group.is_empty() {
                let layers = Arc::clone(self);
                blocking(move || {
                    layers.publish(group);
                    Ok(())
                })
                .await?;
            }
        }
        (&mut waiter.answer)
            .await
            .map_err(|e| ImageError::Task(e.to_string()))?
    }

    /// Answers every member of a group.
    fn publish(&self, group: Vec<Member>) {
        let _publishing = lock(&self.commits().publishing);
        step("image.layer.sync");
        if let Err(error) = self.sync() {
            return group.into_iter().for_each(|member| member.fail(&error));
        }
        let (mut keys, mut described, mut same) = (HashSet::new(), Vec::new(), Vec::new());
        for member in group {
            let key = &member.file.key;
            if self.get(key).is_some() || !keys.insert(key.clone()) {
                same.push(member);
                continue;
            }
            let number = self.next().fetch_add(1, Ordering::Relaxed);
            let (meta, path) = (
                self.meta_path(number),
                self.root().join("l").join(name_number(number)),
            );
            let holds = (self.live().hold(&meta), self.live().hold(&path));
            step("image.layer.publish");
            match fs::rename(member.staging.path().join("meta"), &meta) {
                Ok(()) => described.push((member, number, path, holds)),
                Err(error) => member.fail(&error),
            }
        }
        let told = match described.is_empty() {
            true => Ok(()),
            false => sync_directory(&self.root().join("m")),
        };
        let mut placed = Vec::new();
        for (member, number, path, holds) in described {
            step("image.layer.content");
            let moved = match &told {
                Ok(()) => fs::rename(content(member.staging.path()), &path),
                Err(error) => Err(copy_of(error)),
            };
            match moved {
                Ok(()) => placed.push((member, number, path, holds)),
                Err(error) => member.fail(&error),
            }
        }
        let kept = match placed.is_empty() {
            true => Ok(()),
            false => sync_directory(&self.root().join("l")),
        };
        for (member, number, path, _holds) in placed {
            if let Err(error) = &kept {
                member.fail(error);
                continue;
            }
            step("image.layer.done");
            let layer = self.insert(Layer::new(number, path, member.file));
            let _ = member.answer.send(Ok(layer));
        }
        for member in same {
            match self.get(&member.file.key) {
                Some(layer) => drop(member.answer.send(Ok(layer))),
                None => member.fail(&io::Error::other("the same layer could not be committed")),
            }
        }
    }

    /// Returns when what was written before the call is on disk.
    fn sync(&self) -> io::Result<()> {
        if planted("layer-sync") {
            return Ok(());
        }
        Ok(rustix::fs::syncfs(File::open(self.root())?)?)
    }
}

/// What failed for all of a group is told to each.
fn copy_of(error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), error.to_string())
}

fn commit_error(path: PathBuf) -> impl FnOnce(io::Error) -> ImageError {
    move |source| ImageError::Disk {
        what: "commit layer",
        path,
        source,
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;
    use tokio_util::task::TaskTracker;

    use super::*;
    use crate::image::unpack::file_list;

    fn store() -> (tempfile::TempDir, Arc<Layers>) {
        let dir = tempfile::tempdir().unwrap();
        let layers = Layers::open(dir.path(), TaskTracker::new()).unwrap();
        (dir, Arc::new(layers))
    }

    fn staged(layers: &Layers) -> Staging {
        let staging = layers.stage().unwrap();
        fs::create_dir(content(staging.path())).unwrap();
        fs::write(file_list(staging.path()), "").unwrap();
        staging
    }

    fn key(name: &str) -> LayerKey {
        LayerKey::Free(name.to_owned())
    }

    fn names(path: &std::path::Path) -> usize {
        fs::read_dir(path).unwrap().count()
    }

    #[tokio::test]
    async fn layers_that_come_together_are_each_there_once() {
        let (dir, layers) = store();
        let keys = ["a", "b", "a", "c", "b"];

        let placed =
            join_all(keys.map(|name| layers.commit(staged(&layers), key(name), LayerFacts::default()))).await;

        for (name, layer) in keys.iter().zip(placed) {
            assert_eq!(layer.unwrap().path(), layers.get(&key(name)).unwrap().path());
        }
        assert_eq!(
            (names(&dir.path().join("l")), names(&dir.path().join("m"))),
            (3, 3)
        );
    }

    #[tokio::test]
    async fn what_is_brought_leaves_with_who_does_not_wait() {
        let (dir, layers) = store();
        let turn = layers.commits().turn.lock().await;
        let mut commit = Box::pin(layers.commit(staged(&layers), key("a"), LayerFacts::default()));
        while lock(&layers.commits().waiting).is_empty() {
            assert!(futures_util::poll!(&mut commit).is_pending());
            tokio::task::yield_now().await;
        }

        drop(commit);
        drop(turn);

        assert!(lock(&layers.commits().waiting).is_empty());
        assert_eq!(names(&dir.path().join("l")), 0);
    }

    #[tokio::test]
    async fn what_cannot_be_placed_is_no_layer() {
        let (dir, layers) = store();
        let first = staged(&layers);
        let second = staged(&layers);
        fs::remove_dir(dir.path().join("m")).unwrap();
        fs::write(dir.path().join("m"), "no directory").unwrap();

        let (a, b) = tokio::join!(
            layers.commit(first, key("a"), LayerFacts::default()),
            layers.commit(second, key("b"), LayerFacts::default())
        );

        assert!(a.is_err() && b.is_err());
        assert!(layers.all().is_empty());
    }
}
