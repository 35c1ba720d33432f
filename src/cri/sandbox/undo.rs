//! What has been done, as a list of how to undo it: run backwards when a later step fails.

use std::fmt;
use std::future::Future;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use crate::model::{Error, Result};
use crate::sys::planted;

/// Steps to take back, last one first. Dropping it takes back nothing: say [`Undo::commit`] or [`Undo::run`].
#[must_use]
#[derive(Default)]
pub(super) struct Undo {
    steps: Vec<(&'static str, BoxFuture<'static, Result<()>>)>,
}

impl Undo {
    /// Notes how to take back a step. Called before the step, when failing half-way may leave something behind.
    pub(super) fn push(
        &mut self,
        description: &'static str,
        step: impl Future<Output = Result<()>> + Send + 'static,
    ) {
        self.steps.push((description, step.boxed()));
    }

    /// Keeps everything.
    pub(super) fn commit(self) {}

    /// Takes everything back; a step that fails does not keep the others from being taken.
    ///
    /// # Errors
    /// All that failed.
    pub(super) async fn run(mut self) -> Result<()> {
        let mut errors = vec![];
        while let Some((description, step)) = self.steps.pop() {
            tracing::debug!(step = description, "takes back");
            if let Err(error) = step.await {
                errors.push(error.within(format!("cannot {description}")));
                if planted("undo-all") {
                    break;
                }
            }
        }
        gather(errors)
    }
}

impl fmt::Debug for Undo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.steps.iter().map(|(name, _)| name))
            .finish()
    }
}

/// Makes one result of those of several steps, all of which were taken.
///
/// # Errors
/// The first one's kind, with the text of all.
pub(super) fn gather(mut errors: Vec<Error>) -> Result<()> {
    match errors.len() {
        0 => Ok(()),
        1 => Err(errors.remove(0)),
        _ => {
            let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
            Err(Error::new(errors[0].kind(), texts.join("; ")))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[tokio::test]
    async fn steps_are_taken_back_in_reverse_and_all_of_them() {
        let seen = Arc::new(Mutex::new(vec![]));
        let step = |n: u32, fails: bool| {
            let seen = Arc::clone(&seen);
            async move {
                seen.lock().unwrap().push(n);
                if fails {
                    return Err(Error::internal(format!("step {n}")));
                }
                Ok(())
            }
        };
        let mut undo = Undo::default();
        undo.push("do one", step(1, true));
        undo.push("do two", step(2, false));
        undo.push("do three", step(3, true));

        let error = undo.run().await.unwrap_err();

        assert_eq!(*seen.lock().unwrap(), [3, 2, 1]);
        assert_eq!(
            error.to_string(),
            "cannot do three: step 3; cannot do one: step 1"
        );
    }
}
