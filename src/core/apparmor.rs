//! AppArmor: the profile of containers that ask for none, loaded when the first of them comes, and whether one that a
//! container asks for is loaded. What makes a process change to its profile is the last stage before its program.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::sync::Mutex;

use crate::model::{Error, Profile, Result, Security};
use crate::sys::{proc, step};

/// The profile of containers that ask for none.
const DEFAULT: &str = "coracle-default";
const BODY: &str = include_str!("apparmor/default.profile");
const FIELD: &str = "linux.security.apparmor";
/// A compiler of profiles writes the network rules of this version of the language as containers expect them: with Unix
/// sockets among them. Later ones have a rule for those alone.
const ABI: &str = "/etc/apparmor.d/abi/3.0";

/// What is known of this machine's AppArmor.
#[derive(Debug)]
pub(super) struct Apparmor {
    enabled: bool,
    /// The kernel's list of profiles, a line each: `name (mode)`.
    list: PathBuf,
    /// What makes the kernel's form of a profile; absent it cannot be loaded.
    parser: Option<PathBuf>,
    /// This process has loaded its own version of the default. Held while it is loaded.
    loaded: Mutex<bool>,
}

impl Apparmor {
    pub(super) fn new(enabled: bool) -> Apparmor {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let usual = ["/usr/sbin", "/sbin"].map(PathBuf::from);
        let parser = std::env::split_paths(&path)
            .chain(usual)
            .map(|dir| dir.join("apparmor_parser"))
            .find(|file| file.is_file());
        if enabled && parser.is_none() {
            tracing::warn!(
                "AppArmor is enabled and apparmor_parser is missing: containers are not confined by {DEFAULT}"
            );
        }
        Apparmor {
            enabled,
            list: "/sys/kernel/security/apparmor/profiles".into(),
            parser,
            loaded: Mutex::new(false),
        }
    }

    /// Makes of what a container asks for what it gets: a profile that is loaded, by name, or none.
    pub(super) async fn resolve(&self, security: &mut Security) -> Result<()> {
        // Where it is not enabled, the specification refuses what is asked for by name.
        if !self.enabled || security.privileged {
            return Ok(());
        }
        match &security.apparmor {
            Profile::Unconfined => {}
            Profile::Localhost(name) => {
                if !self.has(name)? {
                    return Err(Error::invalid(format!(
                        "{FIELD} names profile {name:?}, which is not loaded"
                    )));
                }
            }
            Profile::RuntimeDefault => {
                security.apparmor = match self.default().await? {
                    true => Profile::Localhost(DEFAULT.to_owned()),
                    false => Profile::Unconfined,
                };
            }
        }
        Ok(())
    }

    /// Whether the default is there; loads it if this process has not, or if it was taken away since.
    async fn default(&self) -> Result<bool> {
        let mut loaded = self.loaded.lock().await;
        let there = self.has(DEFAULT)?;
        let Some(parser) = self.parser.as_deref().filter(|_| !(there && *loaded)) else {
            return Ok(there);
        };
        let text = profile(proc::confinement().as_deref(), Path::new(ABI).exists());
        step("apparmor.load");
        load(parser, &text)
            .await
            .map_err(|e| Error::precondition(format!("cannot load AppArmor profile {DEFAULT}")).because(e))?;
        *loaded = true;
        Ok(true)
    }

    fn has(&self, name: &str) -> Result<bool> {
        let list = std::fs::read_to_string(&self.list)
            .map_err(|e| Error::internal(format!("cannot read {}", self.list.display())).because(e))?;
        // A name may have blanks in it.
        Ok(list
            .lines()
            .any(|line| line.rsplit_once(" (").is_some_and(|(first, _)| first == name)))
    }
}

/// The default's text. A daemon that is confined itself must still be able to end what it started.
fn profile(confinement: Option<&str>, abi: bool) -> String {
    let header = if abi { "abi <abi/3.0>,\n" } else { "" };
    let own = confinement.map(|label| format!("  signal (receive) peer={label:?},\n}}\n"));
    match own {
        Some(own) => format!("{header}{}{own}", BODY.trim_end().trim_end_matches('}')),
        None => format!("{header}{BODY}"),
    }
}

/// Loads a profile, or replaces it.
async fn load(parser: &Path, text: &str) -> io::Result<()> {
    let mut child = Command::new(parser)
        .args(["--replace", "--skip-cache"])
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let mut input = child.stdin.take().ok_or_else(|| io::Error::other("no input"))?;
    // A compiler that ends early has said why.
    let _ = input.write_all(text.as_bytes()).await;
    drop(input);
    let output = child.wait_with_output().await?;
    match output.status.success() {
        true => Ok(()),
        false => Err(io::Error::other(format!(
            "{} ended with {}: {}",
            parser.display(),
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// AppArmor with a list of profiles that `script`, as the compiler, may add to: it is `$LIST`.
    fn apparmor(dir: &Path, script: Option<&str>) -> Apparmor {
        let (list, parser) = (dir.join("profiles"), dir.join("apparmor_parser"));
        fs::write(&list, "web server (enforce)\nold (complain)\n").unwrap();
        if let Some(script) = script {
            fs::write(&parser, format!("#!/bin/sh\nLIST={}\n{script}\n", list.display())).unwrap();
            fs::set_permissions(&parser, fs::Permissions::from_mode(0o755)).unwrap();
        }
        Apparmor {
            enabled: true,
            list,
            parser: script.map(|_| parser),
            loaded: Mutex::new(false),
        }
    }

    async fn resolved(apparmor: &Apparmor, asked: Profile) -> Result<Profile> {
        let mut security = Security {
            apparmor: asked,
            ..Security::default()
        };
        apparmor.resolve(&mut security).await.map(|()| security.apparmor)
    }

    const LOADS: &str =
        r#"cat >"$LIST.text"; echo "$@" >>"$LIST.calls"; echo 'coracle-default (enforce)' >>"$LIST""#;

    #[tokio::test]
    async fn the_default_is_loaded_once_and_again_when_it_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let apparmor = apparmor(dir.path(), Some(LOADS));
        let calls = || fs::read_to_string(dir.path().join("profiles.calls")).unwrap();
        let default = || resolved(&apparmor, Profile::RuntimeDefault);

        for _ in 0..2 {
            assert_eq!(default().await.unwrap(), Profile::Localhost(DEFAULT.into()));
        }
        assert_eq!(calls(), "--replace --skip-cache\n");
        assert!(
            fs::read_to_string(dir.path().join("profiles.text"))
                .unwrap()
                .contains("profile coracle-default ")
        );

        fs::write(&apparmor.list, "").unwrap();
        default().await.unwrap();
        assert_eq!(calls().lines().count(), 2);
    }

    #[tokio::test]
    async fn a_profile_that_cannot_be_loaded_is_told_and_starts_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let apparmor = apparmor(
            dir.path(),
            Some("cat >/dev/null; echo 'syntax error' >&2; exit 1"),
        );

        let refusal = resolved(&apparmor, Profile::RuntimeDefault).await.unwrap_err();
        assert_eq!(refusal.kind(), crate::model::Kind::FailedPrecondition);
        assert!(refusal.to_string().contains("syntax error"), "{refusal}");
    }

    #[tokio::test]
    async fn a_profile_that_is_asked_for_must_be_loaded() {
        let dir = tempfile::tempdir().unwrap();
        let apparmor = apparmor(dir.path(), None);
        let local = |name: &str| Profile::Localhost(name.to_owned());

        assert_eq!(
            resolved(&apparmor, local("web server")).await.unwrap(),
            local("web server")
        );
        let refusal = resolved(&apparmor, local("web")).await.unwrap_err();
        assert_eq!(
            refusal.to_string(),
            "linux.security.apparmor names profile \"web\", which is not loaded"
        );
        // Nobody can load the default.
        assert_eq!(
            resolved(&apparmor, Profile::RuntimeDefault).await.unwrap(),
            Profile::Unconfined
        );
    }

    #[tokio::test]
    async fn nothing_is_looked_at_where_apparmor_is_off_or_does_not_matter() {
        let dir = tempfile::tempdir().unwrap();
        let mut off = apparmor(dir.path(), None);
        fs::remove_file(&off.list).unwrap();
        off.enabled = false;
        assert_eq!(
            resolved(&off, Profile::RuntimeDefault).await.unwrap(),
            Profile::RuntimeDefault
        );

        off.enabled = true;
        let mut security = Security {
            apparmor: Profile::RuntimeDefault,
            privileged: true,
            ..Security::default()
        };
        off.resolve(&mut security).await.unwrap();
    }

    #[test]
    fn a_confined_daemon_may_end_its_containers() {
        let text = profile(Some("snap.coracle"), true);
        assert!(text.starts_with("abi <abi/3.0>,\n"));
        assert!(
            text.ends_with("  signal (receive) peer=\"snap.coracle\",\n}\n"),
            "{text}"
        );
        assert_eq!(profile(None, false), BODY);
    }
}
