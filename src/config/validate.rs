//! What the types of the settings cannot say.

use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path};

use oci_spec::runtime::Capability;
use tracing_subscriber::EnvFilter;

use super::ConfigError;
use super::settings::{Config, Handler};

/// `sun_path` is 108 bytes with its closing zero (unix(7)).
const LONGEST_SOCKET: usize = 107;
/// A handler's name is a label of DNS (RFC 1123): a RuntimeClass can name no other.
const LONGEST_NAME: usize = 63;
/// The overlay's options that change nothing of what a container may do or see.
const MOUNT_OPTIONS: [&str; 5] = ["volatile", "index=on", "index=off", "xino=on", "xino=off"];

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
            ("api.socket", self.api.socket.as_ref()),
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
        for directory in &self.cdi.spec_dirs {
            absolute("cdi.spec_dirs", directory)?;
        }
        if self.cni.bin_dirs.is_empty() {
            return invalid("cni.bin_dirs", "must name a directory".to_owned());
        }
        let sockets = [
            ("socket", Some(&self.socket)),
            ("api.socket", self.api.socket.as_ref()),
        ];
        for (key, path) in sockets {
            let length = path.map_or(0, |path| path.as_os_str().as_bytes().len());
            if length > LONGEST_SOCKET {
                let reason = format!("must be at most {LONGEST_SOCKET} bytes long, not {length}");
                return invalid(key, reason);
            }
        }
        if self.api.socket.as_ref() == Some(&self.socket) {
            return invalid("api.socket", "must not be the same socket as CRI's".to_owned());
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
        if let Some(filter) = &self.log.filter
            && let Err(error) = EnvFilter::builder().parse(filter)
        {
            let reason =
                format!("must be directives as in info,coracle::image=debug, not {filter:?}: {error}");
            return invalid("log.filter", reason);
        }
        let odd = |name: &&String| {
            let name = name.strip_suffix('*').unwrap_or(name);
            name.contains(|c: char| c == '*' || c.is_whitespace())
        };
        if let Some(name) = (self.images.pinned.iter()).find(|name| name.is_empty() || odd(name)) {
            let reason = format!("must be names of images, or beginnings that end with *, not {name:?}");
            return invalid("images.pinned", reason);
        }
        for (name, handler) in &self.runtimes {
            handler_name(name)?;
            handler.validate(&format!("runtimes.{name}"))?;
        }
        if !self.runtimes.contains_key(&self.default_runtime) {
            let known: Vec<&str> = self.runtimes.keys().map(String::as_str).collect();
            let reason = format!(
                "must be a handler below runtimes ({}), not {:?}",
                known.join(", "),
                self.default_runtime
            );
            return invalid("default_runtime", reason);
        }
        Ok(())
    }
}

impl Handler {
    /// `table` is its dotted name.
    fn validate(&self, table: &str) -> Result<(), ConfigError> {
        let key = |name: &str| format!("{table}.{name}");
        for (name, path) in [
            ("cni_conf_dir", &self.cni_conf_dir),
            ("seccomp_profile", &self.seccomp_profile),
        ] {
            path.as_ref().map_or(Ok(()), |path| absolute(&key(name), path))?;
        }
        let option = |option: &&String| !MOUNT_OPTIONS.contains(&option.as_str());
        if let Some(other) = self.mount_options.iter().find(option) {
            let reason = format!("must be some of {}, not {other:?}", MOUNT_OPTIONS.join(", "));
            return invalid(&key("mount_options"), reason);
        }
        let capabilities = self.default_capabilities.iter().flatten();
        if let Some(other) = capabilities.into_iter().find(|name| !is_capability(name)) {
            let reason = format!("must be names of capabilities, such as CHOWN, not {other:?}");
            return invalid(&key("default_capabilities"), reason);
        }
        let odd = |c: char| c.is_control() || c == '/';
        if let Some(name) = &self.apparmor_profile
            && (name.is_empty() || name.contains(odd))
        {
            let reason = format!("must be the name of a loaded profile, not {name:?}");
            return invalid(&key("apparmor_profile"), reason);
        }
        if let Some((name, value)) = self
            .default_sysctls
            .iter()
            .find(|(name, value)| !is_sysctl(name, value))
        {
            let reason = format!(
                "must be parameters of network or IPC namespaces with their values, not {name:?} = {value:?}"
            );
            return invalid(&key("default_sysctls"), reason);
        }
        if let Some(name) = self.default_annotations.keys().find(|name| name.is_empty()) {
            let reason = format!("must have names, not {name:?}");
            return invalid(&key("default_annotations"), reason);
        }
        Ok(())
    }
}

/// Whether this sets a kernel parameter that a namespace has for itself (ipc_namespaces(7), sysctl(5)).
fn is_sysctl(name: &str, value: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-/".contains(c);
    let of_a_namespace = ["net.", "fs.mqueue.", "kernel.shm", "kernel.msg"]
        .iter()
        .any(|start| name.starts_with(start));
    (of_a_namespace || name == "kernel.sem")
        && name.chars().all(plain)
        && !name.contains("..")
        && !value.contains(['\0', '\n'])
}

fn handler_name(name: &str) -> Result<(), ConfigError> {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let inner = |b: u8| plain(b) || b == b'-';
    let bytes = name.as_bytes();
    let ends = bytes.first().zip(bytes.last());
    if ends.is_some_and(|(first, last)| plain(*first) && plain(*last))
        && bytes.len() <= LONGEST_NAME
        && bytes.iter().all(|b| inner(*b))
    {
        return Ok(());
    }
    let reason = format!(
        "must be named by 1 to {LONGEST_NAME} lower case letters, digits and inner hyphens, as a RuntimeClass names it"
    );
    invalid(&format!("runtimes.{name:?}"), reason)
}

/// With or without `CAP_`, in either case.
fn is_capability(name: &str) -> bool {
    let upper = name.to_ascii_uppercase();
    let bare = upper.strip_prefix("CAP_").unwrap_or(&upper);
    bare.parse::<Capability>().is_ok()
}

/// Takes `/a/b`; neither `a/b` nor `/a/../b`, which mean different things to different readers, nor what TOML
/// could not hold.
fn absolute(key: &str, path: &Path) -> Result<(), ConfigError> {
    let climbs = path.components().any(|part| part == Component::ParentDir);
    if path.is_absolute() && !climbs && path.to_str().is_some() {
        return Ok(());
    }
    invalid(
        key,
        format!("must be an absolute path in UTF-8 without .., not {path:?}"),
    )
}

fn invalid(key: &str, reason: String) -> Result<(), ConfigError> {
    let key = key.to_owned();
    Err(ConfigError::Invalid { key, reason })
}
