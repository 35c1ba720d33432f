//! Texts of failures: from the last stage's short report, and from an error's chain of causes.

use crate::model::{SHORTAGES, is_shortage};
use crate::monitor::protocol::{Failure, FailureKind};
use nix::errno::Errno;
use std::error::Error;
use std::io;

/// What a failed last stage names in its text.
#[derive(Clone, Debug, Default)]
pub(super) struct Subject {
    /// First argument.
    pub(super) command: String,
    /// Working directory.
    pub(super) cwd: String,
}

impl Subject {
    /// Reads the stage's report, "errno step"; `None`: empty, the command runs.
    pub(super) fn failure(&self, report: &[u8]) -> Option<Failure> {
        let report = String::from_utf8_lossy(report);
        let (errno, step) = report.split_once(' ')?;
        let why = describe(errno.parse().unwrap_or(libc::EINVAL));
        Some(match step {
            "exec" => of(FailureKind::Command, format!("exec {:?}: {why}", self.command)),
            "chdir" => of(
                FailureKind::Command,
                format!("working directory {:?}: {why}", self.cwd),
            ),
            step => of(
                FailureKind::Runtime,
                format!("cannot set {step} of {:?}: {why}", self.command),
            ),
        })
    }
}

/// An errno's text as this crate writes errors: lower case.
fn describe(errno: i32) -> String {
    let text = nix::errno::Errno::from_raw(errno).desc();
    match text.split_at_checked(1) {
        // "I/O error" and the like stay.
        Some((first, rest)) if !rest.starts_with(|c: char| c.is_uppercase() || c == '/') => {
            first.to_lowercase() + rest
        }
        _ => text.to_owned(),
    }
}

/// A failure of a kind.
pub(super) fn of(kind: FailureKind, text: impl Into<String>) -> Failure {
    let text = text.into();
    Failure {
        kind,
        shortage: kind == FailureKind::Runtime && tells_shortage(&text),
        text,
    }
}

/// Tells from the words whether something has run out: the engine's errors come from other processes, as texts. The number
/// is how the standard library tells, whose words for some are not ours.
fn tells_shortage(text: &str) -> bool {
    SHORTAGES.map(Errno::from_raw).iter().any(|errno| {
        let number = format!("(os error {})", *errno as i32);
        text.contains(&number) || text.contains(errno.desc()) || text.contains(&format!("{errno:?}"))
    })
}

/// Names what failed before an error's own text.
pub(super) fn at<E: Error + 'static>(what: &str) -> impl FnOnce(E) -> Failure {
    move |e| {
        let failure = of(FailureKind::Runtime, format!("{what}: {e}"));
        Failure {
            shortage: failure.shortage || is_shortage(&e),
            ..failure
        }
    }
}

/// A process that is to do the work cannot be forked.
pub(super) fn no_worker(error: io::Error) -> Failure {
    let failure = at("fork")(error);
    match failure.shortage {
        true => Failure {
            kind: FailureKind::Exhausted,
            ..failure
        },
        false => failure,
    }
}

/// The whole chain of causes in one line.
pub(super) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        // Some of the engine's errors repeat their source.
        if !text.ends_with(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        cause = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(report: &str, expected: Option<(FailureKind, &str)>) {
        let subject = Subject {
            command: "/nope".into(),
            cwd: "/work".into(),
        };
        let found = subject.failure(report.as_bytes());
        assert_eq!(found.as_ref().map(|f| (f.kind, f.text.as_str())), expected);
    }

    #[test]
    fn a_shortage_is_told_from_the_words() {
        let full = std::io::Error::from_raw_os_error(libc::ENOSPC);
        assert!(at("make")(full).shortage);
        let no_process = std::io::Error::from_raw_os_error(libc::EAGAIN);
        let failure = no_worker(no_process);
        assert_eq!((failure.kind, failure.shortage), (FailureKind::Exhausted, true));
        assert!(of(FailureKind::Runtime, "mount: ENOMEM").shortage);
        assert!(!of(FailureKind::Runtime, "mount: EPERM").shortage);
        assert!(!of(FailureKind::Command, "exec \"/ENOSPC\": permission denied").shortage);
    }

    #[test]
    fn a_stage_report_becomes_a_sentence() {
        use FailureKind::{Command, Runtime};
        check("", None);
        check(
            "2 exec",
            Some((Command, r#"exec "/nope": no such file or directory"#)),
        );
        check("13 exec", Some((Command, r#"exec "/nope": permission denied"#)));
        check(
            "2 chdir",
            Some((Command, r#"working directory "/work": no such file or directory"#)),
        );
        check(
            "1 seccomp filter",
            Some((
                Runtime,
                r#"cannot set seccomp filter of "/nope": operation not permitted"#,
            )),
        );
    }
}
