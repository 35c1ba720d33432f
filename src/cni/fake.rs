//! A network for tests: directories of its own, and plugins that are small shell scripts.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::cni::{AddRequest, Attachment, Capabilities, DelRequest, Settings};

/// What each script begins with: it notes the call, its input and its environment.
const NOTE: &str = r#"#!/bin/sh
root="${0%/*}/.."; self="${0##*/}"
echo "$self $CNI_COMMAND" >> "$root/calls"
cat > "$root/$self.$CNI_COMMAND.json"
env > "$root/$self.$CNI_COMMAND.env"
"#;

/// A plugin that answers `ADD` with an address.
pub(super) const ADDRESS: &str = r#"
[ "$CNI_COMMAND" = ADD ] && echo '{"cniVersion":"1.0.0","ips":[{"address":"10.9.0.2/24"}]}'
exit 0"#;

/// A plugin that hands on what the one before it answered.
pub(super) const PASS: &str = r#"
[ "$CNI_COMMAND" = ADD ] && sed 's/.*"prevResult":\({[^}]*}]}\).*/\1/' "$root/$self.ADD.json"
exit 0"#;

/// Directories with configurations, plugins and attachments, gone with the value.
#[derive(Debug)]
pub(super) struct Fake {
    root: TempDir,
}

impl Fake {
    pub(super) fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("conf")).unwrap();
        fs::create_dir(root.path().join("bin")).unwrap();
        Self { root }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    pub(super) fn settings(&self) -> Settings {
        Settings {
            conf_dir: self.path("conf"),
            further_conf_dirs: Default::default(),
            plugin_dirs: vec![self.path("bin")],
            cache_dir: self.path("cache"),
            template: None,
            deadline: Duration::from_secs(60),
        }
    }

    /// Puts a plugin in place, or another in its place, whole from the first moment.
    pub(super) fn plugin(&self, name: &str, script: &str) {
        let path = self.path("bin").join(name);
        let new = self.path("new");
        fs::write(&new, format!("{NOTE}{script}\n")).unwrap();
        fs::set_permissions(&new, fs::Permissions::from_mode(0o755)).unwrap();
        fs::rename(new, path).unwrap();
    }

    /// Puts a configuration in place, whole from the first moment.
    pub(super) fn conf(&self, file: &str, text: &str) {
        let new = self.path("new");
        fs::write(&new, text).unwrap();
        fs::rename(new, self.path("conf").join(file)).unwrap();
    }

    /// Returns each call so far, `plugin VERB`.
    pub(super) fn calls(&self) -> Vec<String> {
        let text = fs::read_to_string(self.path("calls")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    pub(super) fn forget_calls(&self) {
        let _ = fs::remove_file(self.path("calls"));
    }

    /// Returns what a plugin last read for a verb.
    pub(super) fn input(&self, plugin: &str, verb: &str) -> Value {
        serde_json::from_slice(&fs::read(self.path(&format!("{plugin}.{verb}.json"))).unwrap()).unwrap()
    }

    /// Returns a variable of a plugin's last run for a verb.
    pub(super) fn variable(&self, plugin: &str, verb: &str, name: &str) -> Option<String> {
        let text = fs::read_to_string(self.path(&format!("{plugin}.{verb}.env"))).unwrap();
        let value = |line: &str| line.strip_prefix(name)?.strip_prefix('=').map(str::to_owned);
        text.lines().find_map(value)
    }
}

/// A namespace that is there for as long as the tests run.
pub(super) fn netns() -> &'static Path {
    Path::new("/proc/self/ns/net")
}

/// The id that a test's `id` stands for, of this test alone: what is left of an attachment's plugins is looked for among all
/// processes of the machine.
pub(super) fn own(id: &str) -> String {
    static TESTS: AtomicU32 = AtomicU32::new(0);
    thread_local! {
        static TEST: u32 = TESTS.fetch_add(1, Ordering::Relaxed);
    }
    format!("{id}-{}-{}", std::process::id(), TEST.with(|number| *number))
}

pub(super) fn attachment(id: &str) -> Attachment {
    Attachment::new(own(id), "eth0").unwrap()
}

pub(super) fn add(id: &str) -> AddRequest {
    AddRequest {
        attachment: attachment(id),
        netns: netns().to_owned(),
        args: vec![
            ("IgnoreUnknown".to_owned(), "1".to_owned()),
            ("NAME".to_owned(), "a".to_owned()),
        ],
        capabilities: Capabilities::default(),
    }
}

pub(super) fn del(id: &str) -> DelRequest {
    DelRequest {
        attachment: attachment(id),
        netns: Some(netns().to_owned()),
    }
}

/// Returns a configuration of some plugins.
pub(super) fn conflist(version: &str, plugins: &[&str]) -> String {
    let plugins: Vec<String> = plugins
        .iter()
        .map(|kind| format!(r#"{{"type":"{kind}"}}"#))
        .collect();
    format!(
        r#"{{"cniVersion":"{version}","name":"net","plugins":[{}]}}"#,
        plugins.join(",")
    )
}
