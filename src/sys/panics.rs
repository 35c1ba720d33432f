//! Panics: the end of the process, everywhere but in one kind of place.
//!
//! A panic must not unwind into the loop of a monitor, nor leave a daemon with half of its tasks. So the process aborts
//! at the first one, as a profile with `panic = "abort"` would have it. The exception is work on a file that somebody
//! else's code may panic about, [`guarded`]: there the panic is an answer.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};

thread_local! {
    static GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// Makes every panic outside of [`guarded`] abort the process, after it has been told. Forks inherit it.
pub fn abort_unless_guarded() {
    let tell = take_hook();
    set_hook(Box::new(move |info| {
        if !GUARDED.get() {
            tell(info);
            std::process::abort();
        }
    }));
}

/// Does work whose panic is an answer: its text. What the work has touched must not be used again unless it can be
/// trusted half done.
///
/// # Errors
/// The text of the panic.
pub fn guarded<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    let before = GUARDED.replace(true);
    let outcome = catch_unwind(AssertUnwindSafe(work));
    GUARDED.set(before);
    outcome.map_err(
        |panic| match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
            (Some(text), _) => (*text).to_owned(),
            (_, Some(text)) => text.clone(),
            _ => "no reason was given".to_owned(),
        },
    )
}

/// For tests that provoke guarded panics by the hundred: they are not told on standard error.
#[cfg(test)]
pub(crate) fn keep_guarded_quiet() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let tell = take_hook();
        set_hook(Box::new(move |info| {
            if !GUARDED.get() {
                tell(info);
            }
        }));
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guarded_panic_is_an_answer() {
        keep_guarded_quiet();

        let outcome = guarded(|| -> u32 { panic!("page {} is bad", 7) });

        assert_eq!(outcome, Err("page 7 is bad".to_owned()));
        assert_eq!(guarded(|| 3), Ok(3));
    }
}
