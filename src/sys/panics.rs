//! Panics: the end of the process, everywhere but in one kind of place.
//!
//! A panic must not unwind into the loop of a monitor, nor leave a daemon with half of its tasks. So the process aborts
//! at the first one, in a release by its profile. The exception is work on a file that somebody else's code may panic
//! about, [`guarded`]: there the panic is noted beside the file, and the process executes itself anew.

use std::cell::RefCell;
use std::os::unix::process::CommandExt;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::path::PathBuf;
use std::process::Command;

/// Where a panic is noted, and what it is about.
#[derive(Clone, Debug)]
pub struct Note {
    /// The file, which is made.
    pub path: PathBuf,
    /// Its first line.
    pub about: String,
}

thread_local! {
    static GUARDED: RefCell<Option<Note>> = const { RefCell::new(None) };
}

/// Makes every panic end the process, after it has been told: one outside of [`guarded`] aborts it, any other has it begin
/// anew. Forks inherit it.
pub fn abort_unless_guarded() {
    let tell = take_hook();
    set_hook(Box::new(move |info| {
        tell(info);
        if let Some(note) = GUARDED.take() {
            begin_anew(&note, &payload(info.payload()));
        }
        std::process::abort();
    }));
}

/// Notes a panic, and executes this program with its arguments. Comes back when that cannot be done.
fn begin_anew(note: &Note, text: &str) {
    if std::fs::write(&note.path, format!("{}\n{text}", note.about)).is_err() {
        return;
    }
    let mut arguments = std::env::args_os();
    let name = arguments.next().unwrap_or_default();
    // As the file was when this process began, whatever is in its place now.
    let _ = Command::new("/proc/self/exe").arg0(name).args(arguments).exec();
}

/// Does work whose panic is an answer: its text. In a program, whose panics [end it](abort_unless_guarded), that is in the note
/// when it begins anew; in a test it is returned, and what the work has touched must not be used again.
///
/// # Errors
/// The text of the panic.
pub fn guarded<T>(note: Note, work: impl FnOnce() -> T) -> Result<T, String> {
    GUARDED.set(Some(note));
    let outcome = catch_unwind(AssertUnwindSafe(work));
    GUARDED.take();
    outcome.map_err(|panic| payload(&*panic))
}

fn payload(panic: &(dyn std::any::Any + Send)) -> String {
    match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(text), _) => (*text).to_owned(),
        (_, Some(text)) => text.clone(),
        _ => "no reason was given".to_owned(),
    }
}

/// For tests that provoke guarded panics by the hundred: they are not told on standard error.
#[cfg(test)]
pub(crate) fn keep_guarded_quiet() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let tell = take_hook();
        set_hook(Box::new(move |info| {
            if GUARDED.with_borrow(Option::is_none) {
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
        let note = Note {
            path: "/nowhere".into(),
            about: String::new(),
        };

        let outcome = guarded(note.clone(), || -> u32 { panic!("page {} is bad", 7) });

        assert_eq!(outcome, Err("page 7 is bad".to_owned()));
        assert_eq!(guarded(note, || 3), Ok(3));
    }
}
