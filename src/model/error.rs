//! The one error of the model. Its kinds are named as the gRPC codes are, so that the adapter's mapping is total.

use std::error::Error as StdError;
use std::fmt;
use std::io;

/// The result of every call of the model.
pub type Result<T> = std::result::Result<T, Error>;

/// What went wrong, in the caller's terms. Chosen where the meaning is known: in the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// The named object does not exist.
    NotFound,
    /// The named object exists, and with other contents than asked for.
    AlreadyExists,
    /// The request can never succeed as it is.
    InvalidArgument,
    /// The request is fine, but not in the object's present state.
    FailedPrecondition,
    /// A limit is reached: size of an answer, disk, processes.
    ResourceExhausted,
    /// The caller's, or the operation's own, time is up.
    DeadlineExceeded,
    /// Something the call depends on does not answer; the same call may succeed later.
    Unavailable,
    /// The caller's credentials were refused by a registry.
    PermissionDenied,
    /// The call, or a field of it, is not supported.
    Unimplemented,
    /// The caller gave up on the call.
    Cancelled,
    /// Anything else: a broken invariant, an input/output error.
    Internal,
}

/// A failed call: its kind, what was being done, and why it did not work.
///
/// `Display` prints this level and every cause below it, joined by `: `, since it ends up in one line of a log or a
/// gRPC status.
#[derive(Debug)]
#[allow(
    clippy::error_impl_error,
    reason = "the one error of the crate's public model; modules below have their own"
)]
pub struct Error {
    kind: Kind,
    context: String,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// Makes an error that has no deeper cause.
    pub fn new(kind: Kind, context: impl Into<String>) -> Error {
        Error {
            kind,
            context: context.into(),
            source: None,
        }
    }

    /// Adds the cause. An internal error whose cause is that something has run out is one of that kind; so is a refusal that
    /// comes from a look which could not be taken for want of descriptors or memory.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Error {
        let source = source.into();
        let exhausted = match self.kind {
            Kind::Internal => is_shortage(&*source),
            Kind::InvalidArgument | Kind::FailedPrecondition | Kind::Unavailable => {
                has_run_out(&*source, &BLIND)
            }
            _ => false,
        };
        if exhausted {
            self.kind = Kind::ResourceExhausted;
        }
        self.source = Some(source);
        self
    }

    /// Puts a wider context before this error and keeps its kind.
    #[must_use]
    pub fn within(self, context: impl Into<String>) -> Error {
        Error {
            kind: self.kind,
            context: context.into(),
            source: Some(Box::new(self)),
        }
    }

    /// The named object does not exist.
    pub fn not_found(context: impl Into<String>) -> Error {
        Error::new(Kind::NotFound, context)
    }

    /// The request can never succeed as it is.
    pub fn invalid(context: impl Into<String>) -> Error {
        Error::new(Kind::InvalidArgument, context)
    }

    /// The request does not fit the object's present state.
    pub fn precondition(context: impl Into<String>) -> Error {
        Error::new(Kind::FailedPrecondition, context)
    }

    /// Something of ours, or of the machine's, failed.
    pub fn internal(context: impl Into<String>) -> Error {
        Error::new(Kind::Internal, context)
    }

    /// The error's kind.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// What was being done, without the causes.
    pub fn context(&self) -> &str {
        &self.context
    }
}

/// The kernel's numbers for what has run out, see [`is_shortage`].
pub const SHORTAGES: [i32; 6] = [
    libc::ENOSPC,
    libc::EDQUOT,
    libc::EMFILE,
    libc::ENFILE,
    libc::ENOMEM,
    // No process more: nothing else that is judged by these is asked without waiting.
    libc::EAGAIN,
];

/// Those that nothing in a request brings about. The others may be how the kernel refuses a value.
const BLIND: [i32; 3] = [libc::EMFILE, libc::ENFILE, libc::ENOMEM];

/// Tells whether an error comes from something that has run out: room or inodes of a disk, a quota, descriptors,
/// processes, memory.
/// The same may succeed when there is some again.
pub fn is_shortage(error: &(dyn StdError + 'static)) -> bool {
    has_run_out(error, &SHORTAGES)
}

fn has_run_out(error: &(dyn StdError + 'static), numbers: &[i32]) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            match (error.raw_os_error(), error.kind()) {
                (Some(number), _) => return numbers.contains(&number),
                (None, io::ErrorKind::StorageFull) => return numbers.contains(&libc::ENOSPC),
                (None, io::ErrorKind::QuotaExceeded) => return numbers.contains(&libc::EDQUOT),
                (None, io::ErrorKind::OutOfMemory) => return numbers.contains(&libc::ENOMEM),
                _ => {}
            }
            // What an error of this type wraps is not its source.
            next = error.get_ref().map(|inner| inner as &(dyn StdError + 'static));
            continue;
        }
        next = error.source();
    }
    false
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.context)?;
        if let Some(source) = &self.source {
            write!(f, ": {source}")?;
            // Our own errors print their causes themselves; others print one level.
            if !source.is::<Error>() {
                let mut cause = source.source();
                while let Some(next) = cause {
                    write!(f, ": {next}")?;
                    cause = next.source();
                }
            }
        }
        Ok(())
    }
}

impl StdError for Error {
    /// The cause. `Display` already prints it.
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|s| s as &(dyn StdError + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_run_out_is_told_apart_from_what_is_broken() {
        for (number, kind) in [
            (libc::ENOSPC, Kind::ResourceExhausted),
            (libc::EDQUOT, Kind::ResourceExhausted),
            (libc::EMFILE, Kind::ResourceExhausted),
            (libc::ENOMEM, Kind::ResourceExhausted),
            (libc::EIO, Kind::Internal),
            (libc::EACCES, Kind::Internal),
        ] {
            let plain = Error::internal("a").because(io::Error::from_raw_os_error(number));
            assert_eq!(plain.kind(), kind, "{plain}");
            let wrapped = io::Error::other(io::Error::from_raw_os_error(number));
            assert_eq!(Error::internal("a").because(wrapped).kind(), kind);
        }
    }

    #[test]
    fn nobody_is_blamed_when_there_are_no_descriptors_to_look_with() {
        for (number, kind) in [
            (libc::EMFILE, Kind::ResourceExhausted),
            (libc::ENFILE, Kind::ResourceExhausted),
            (libc::ENOMEM, Kind::ResourceExhausted),
            // How cpuset groups refuse a value.
            (libc::ENOSPC, Kind::InvalidArgument),
            (libc::EINVAL, Kind::InvalidArgument),
        ] {
            let named = Error::invalid("a").because(io::Error::from_raw_os_error(number));
            assert_eq!(named.kind(), kind, "{named}");
        }
        let absent = Error::not_found("a").because(io::Error::from_raw_os_error(libc::EMFILE));
        assert_eq!(absent.kind(), Kind::NotFound);
    }

    #[test]
    fn an_error_prints_every_cause_once() {
        let disk = std::io::Error::other("disk is full");

        let error = Error::internal("cannot store record a")
            .because(disk)
            .within("cannot create container b");

        assert_eq!(
            error.to_string(),
            "cannot create container b: cannot store record a: disk is full"
        );
        assert_eq!(error.kind(), Kind::Internal);
    }
}
