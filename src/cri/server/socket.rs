//! The unix socket a daemon listens on: taken over from a dead one, never from a living one.

use std::{
    fs::{self, DirBuilder, File, Permissions},
    io,
    os::{
        fd::OwnedFd,
        unix::{
            fs::{DirBuilderExt, FileTypeExt, PermissionsExt},
            net,
        },
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::{Mode, fchmod},
    io::Errno,
    net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType},
};
use tokio::net::UnixListener;

/// The owner may connect.
const MODE: u32 = 0o600;
/// The owner and a group may.
const GROUP_MODE: u32 = 0o660;
const BACKLOG: i32 = 1024;

/// Listens on a unix socket at `path`, for the owner alone or for a group beside; directories that lack are made, of mode
/// 0755. A socket nobody answers on, left by a daemon that died, is replaced. Needs a tokio runtime around it.
///
/// # Errors
///
/// [`BindError::InUse`] when another daemon answers on it, [`BindError::NotASocket`] when something else lies
/// there, [`BindError::Io`] for what the system refused.
pub fn bind(path: &Path, group: Option<u32>) -> Result<UnixListener, BindError> {
    let failed = |action: &'static str| {
        move |source| BindError::Io {
            action,
            path: path.to_owned(),
            source,
        }
    };
    let parent = path
        .parent()
        .filter(|it| !it.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(parent)
        .map_err(failed("create the directory of"))?;

    // Two daemons that start at once must not both find the old socket dead, or one removes the other's new
    // one.
    let directory = File::open(parent).map_err(failed("open the directory of"))?;
    directory.lock().map_err(failed("lock the directory of"))?;
    remove_stale(path)?;
    listen(path, group).map_err(failed("listen on"))
}

fn remove_stale(path: &Path) -> Result<(), BindError> {
    let failed = |action: &'static str| {
        move |source| BindError::Io {
            action,
            path: path.to_owned(),
            source,
        }
    };
    match fs::symlink_metadata(path) {
        Ok(there) if !there.file_type().is_socket() => return Err(BindError::NotASocket(path.to_owned())),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed("look at")(error)),
    }
    match probe(path) {
        // A full backlog: the daemon is there, if slow.
        Ok(()) | Err(Errno::AGAIN) => Err(BindError::InUse(path.to_owned())),
        Err(Errno::CONNREFUSED) => fs::remove_file(path).map_err(failed("remove the stale")),
        Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(failed("probe")(error.into())),
    }
}

/// Connects without waiting, so that a daemon that hangs cannot make this one hang.
fn probe(path: &Path) -> rustix::io::Result<()> {
    rustix::net::connect(&stream_socket()?, &SocketAddrUnix::new(path)?)
}

fn listen(path: &Path, group: Option<u32>) -> io::Result<UnixListener> {
    let socket = stream_socket()?;
    // The file's mode comes from the unbound socket's: at no moment can others connect (unix(7) has the file
    // made with all permissions that the umask leaves).
    fchmod(&socket, Mode::from_raw_mode(MODE))?;
    rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
    // The umask may have taken more than it should, and the group comes before its right.
    if group.is_some() {
        std::os::unix::fs::lchown(path, None, group)?;
    }
    let mode = group.map_or(MODE, |_| GROUP_MODE);
    fs::set_permissions(path, Permissions::from_mode(mode))?;
    rustix::net::listen(&socket, BACKLOG)?;
    UnixListener::from_std(net::UnixListener::from(socket))
}

fn stream_socket() -> rustix::io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
}

/// A socket could not be listened on.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Another daemon serves here.
    #[error("another daemon answers on socket {}", .0.display())]
    InUse(PathBuf),
    /// Something that is no socket has this path; it is left alone.
    #[error("{} is no socket", .0.display())]
    NotASocket(PathBuf),
    /// The system refused.
    #[error("{action} socket {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The socket.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

#[cfg(test)]
mod tests {
    use std::{
        fs, io,
        os::unix::fs::{MetadataExt, PermissionsExt},
    };

    use super::{BindError, bind};

    #[tokio::test]
    async fn a_socket_is_made_for_its_owner_below_directories_that_lacked() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("run/daemon/api.sock");

        let _listener = bind(&path, None).unwrap();

        let mode = |it: &std::path::Path| fs::metadata(it).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o755));
    }

    #[tokio::test]
    async fn a_group_may_use_the_socket_when_it_is_named() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("api.sock");
        let own = rustix::process::getgid().as_raw();

        let _listener = bind(&path, Some(own)).unwrap();

        let facts = fs::metadata(&path).unwrap();
        assert_eq!((facts.permissions().mode() & 0o777, facts.gid()), (0o660, own));
    }

    #[tokio::test]
    async fn a_socket_that_somebody_answers_on_is_refused() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("api.sock");
        let _first = bind(&path, None).unwrap();

        let second = bind(&path, None).unwrap_err();

        assert!(matches!(&second, BindError::InUse(it) if *it == path), "{second}");
        assert!(
            second
                .to_string()
                .starts_with("another daemon answers on socket /")
        );
    }

    #[tokio::test]
    async fn a_socket_left_by_a_dead_daemon_is_replaced() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("api.sock");
        drop(bind(&path, None).unwrap());
        assert!(path.exists());

        let listener = bind(&path, None).unwrap();

        tokio::net::UnixStream::connect(&path).await.unwrap();
        listener.accept().await.unwrap();
    }

    #[tokio::test]
    async fn a_file_that_is_no_socket_is_left_alone() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("api.sock");
        fs::write(&path, "precious").unwrap();

        let error = bind(&path, None).unwrap_err();

        assert!(matches!(error, BindError::NotASocket(_)), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    }

    #[tokio::test]
    async fn a_path_longer_than_an_address_is_an_error_that_names_it() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("x".repeat(120));

        let error = bind(&path, None).unwrap_err();

        assert!(error.to_string().contains("xxx"), "{error}");
        let BindError::Io { source, .. } = error else {
            panic!("another error")
        };
        assert_ne!(source.kind(), io::ErrorKind::NotFound);
    }
}
