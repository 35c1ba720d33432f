//! What the types of the settings cannot say.

use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path};

use super::ConfigError;
use super::settings::Config;

/// `sun_path` is 108 bytes with its closing zero (unix(7)).
const LONGEST_SOCKET: usize = 107;

impl Config {
    /// Checks every value that could not be used later.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`], naming the first such key.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let paths = [
            ("state_dir", Some(&self.state_dir)),
            ("run_dir", Some(&self.run_dir)),
            ("socket", Some(&self.socket)),
            ("cgroup_parent", Some(&self.cgroup_parent)),
            ("monitor_cgroup", Some(&self.monitor_cgroup)),
            ("cni.conf_dir", Some(&self.cni.conf_dir)),
            ("cni.conf_template", self.cni.conf_template.as_ref()),
            ("registry.config_dir", Some(&self.registry.config_dir)),
            ("registry.auth_file", self.registry.auth_file.as_ref()),
            (
                "streaming.tls_certificate",
                self.streaming.tls_certificate.as_ref(),
            ),
            ("streaming.tls_key", self.streaming.tls_key.as_ref()),
        ];
        for (key, path) in paths {
            path.map_or(Ok(()), |path| absolute(key, path))?;
        }
        for directory in &self.cni.bin_dirs {
            absolute("cni.bin_dirs", directory)?;
        }
        if self.cni.bin_dirs.is_empty() {
            return invalid("cni.bin_dirs", "must name a directory".to_owned());
        }
        let length = self.socket.as_os_str().as_bytes().len();
        if length > LONGEST_SOCKET {
            return invalid(
                "socket",
                format!("must be at most {LONGEST_SOCKET} bytes long, not {length}"),
            );
        }
        if self.state_dir == self.run_dir {
            return invalid(
                "run_dir",
                "must not be the same directory as state_dir".to_owned(),
            );
        }
        let tls = [&self.streaming.tls_certificate, &self.streaming.tls_key];
        if tls.iter().filter(|path| path.is_some()).count() == 1 {
            let reason = "and streaming.tls_key must be set together".to_owned();
            return invalid("streaming.tls_certificate", reason);
        }
        Ok(())
    }
}

/// Takes `/a/b`; neither `a/b` nor `/a/../b`, which mean different things to different readers, nor what TOML
/// could not hold.
fn absolute(key: &'static str, path: &Path) -> Result<(), ConfigError> {
    let climbs = path.components().any(|part| part == Component::ParentDir);
    if path.is_absolute() && !climbs && path.to_str().is_some() {
        return Ok(());
    }
    invalid(
        key,
        format!("must be an absolute path in UTF-8 without .., not {path:?}"),
    )
}

fn invalid(key: &'static str, reason: String) -> Result<(), ConfigError> {
    Err(ConfigError::Invalid { key, reason })
}
