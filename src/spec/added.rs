//! What devices bring into a container beside their nodes: mounts with options of their own, and hooks.

use std::path::PathBuf;

use oci_spec::runtime::{Hook as OciHook, HookBuilder, Hooks};

use crate::model::MountPropagation;

use super::cdi::{Hook, Mount};

/// Seconds that a hook may take which names no limit: a call that waits for it has an end.
const HOOK_SECONDS: i64 = 120;

/// Looked up on the host, and checked.
#[derive(Clone, Debug, Default)]
pub struct Added {
    /// In order; a later one takes the place of an earlier one, and of what the configuration has there.
    pub mounts: Vec<AddedMount>,
    /// In order.
    pub hooks: Vec<Hook>,
}

/// A bind of a host path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddedMount {
    /// Of the host, without links in it.
    pub source: PathBuf,
    /// In the container.
    pub destination: String,
    /// With what is mounted below it.
    pub recursive: bool,
    /// Read-only.
    pub readonly: bool,
    /// So are the mounts below.
    pub recursive_readonly: bool,
    /// How later mounts travel.
    pub propagation: MountPropagation,
    /// Further flags, as of mount(8).
    pub flags: Vec<&'static str>,
}

impl AddedMount {
    /// Translates a mount whose host path leads to `source`.
    ///
    /// # Errors
    /// The option that cannot be honoured, as the end of a sentence.
    pub fn new(mount: &Mount, source: PathBuf) -> Result<AddedMount, String> {
        let mut made = AddedMount {
            source,
            destination: mount.container_path.clone(),
            recursive: true,
            readonly: false,
            recursive_readonly: false,
            propagation: MountPropagation::Private,
            flags: vec![],
        };
        if !["", "bind", "none"].contains(&mount.kind.as_str()) {
            return Err(format!("has type {:?}, which is not supported", mount.kind));
        }
        for option in &mount.options {
            made.take(option)
                .map_err(|()| format!("has option {option:?}, which is not supported"))?;
        }
        if made.recursive_readonly && made.propagation != MountPropagation::Private {
            return Err("is rro with a propagation other than private".to_owned());
        }
        Ok(made)
    }

    fn take(&mut self, option: &str) -> Result<(), ()> {
        /// Each flag with its opposite, which is what holds without it.
        const FLAGS: [(&str, &str); 3] = [("nosuid", "suid"), ("nodev", "dev"), ("noexec", "exec")];
        match option {
            "bind" => self.recursive = false,
            "rbind" => self.recursive = true,
            "ro" => self.readonly = true,
            "rro" => (self.readonly, self.recursive_readonly) = (true, true),
            "rw" => (self.readonly, self.recursive_readonly) = (false, false),
            "private" | "rprivate" => self.propagation = MountPropagation::Private,
            "slave" | "rslave" => self.propagation = MountPropagation::HostToContainer,
            "shared" | "rshared" => self.propagation = MountPropagation::Bidirectional,
            _ => {
                let named = |(flag, opposite): &&(&str, &str)| [*flag, *opposite].contains(&option);
                let (flag, _) = FLAGS.iter().find(named).ok_or(())?;
                self.flags.retain(|known| known != flag);
                self.flags.extend((option == *flag).then_some(*flag));
            }
        }
        Ok(())
    }
}

impl Added {
    /// The steps at which hooks are run. The others come too late for the create worker, or would have a program of
    /// the image run with the runtime's rights.
    pub const STEPS: [&'static str; 3] = ["prestart", "createRuntime", "createContainer"];

    /// The hooks in libcontainer's terms; none when there are none, which saves it a round between its processes.
    pub(super) fn hooks(&self) -> Option<Hooks> {
        if self.hooks.is_empty() {
            return None;
        }
        let at = |step: &str| -> Option<Vec<OciHook>> {
            let hooks = self.hooks.iter().filter(|hook| hook.hook_name == step);
            Some(hooks.map(engine_hook).collect())
        };
        let [prestart, runtime, container] = Added::STEPS.map(at);
        let mut hooks = Hooks::default();
        hooks.set_prestart(prestart);
        hooks.set_create_runtime(runtime).set_create_container(container);
        Some(hooks)
    }
}

fn engine_hook(hook: &Hook) -> OciHook {
    HookBuilder::default()
        .path(&hook.path)
        .args(hook.args.clone())
        .env(hook.env.clone())
        .timeout(hook.timeout.unwrap_or(HOOK_SECONDS))
        .build()
        .expect("a hook requires its path only")
}
