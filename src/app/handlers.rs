//! The configured handlers in the adapter's terms.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::node::text;
use crate::config::{self, Config};
use crate::cri::{Handler, Handlers};

pub(super) fn handlers(config: &Config) -> Handlers {
    let handlers = config.runtimes.iter();
    let mut by_name: BTreeMap<_, _> = handlers
        .map(|(name, settings)| (name.clone(), handler(settings)))
        .collect();
    by_name
        .entry(config.default_runtime.clone())
        .or_insert_with(|| handler(&config::Handler::default()));
    Handlers::new(&config.default_runtime, by_name)
}

/// The directories of network configurations that handlers have beside the node's.
pub(super) fn conf_dirs(config: &Config) -> BTreeSet<PathBuf> {
    let handlers = config.runtimes.values();
    handlers
        .filter_map(|handler| handler.cni_conf_dir.clone())
        .collect()
}

fn handler(settings: &config::Handler) -> Handler {
    Handler {
        cni_conf_dir: settings.cni_conf_dir.clone(),
        default_annotations: settings.default_annotations.clone(),
        default_sysctls: settings.default_sysctls.clone(),
        mount_options: settings.mount_options.clone(),
        read_only: settings.read_only,
        default_capabilities: settings.default_capabilities.clone(),
        seccomp_profile: settings.seccomp_profile.as_deref().map(text),
        apparmor_profile: settings.apparmor_profile.clone(),
        privileged_without_host_devices: settings.privileged_without_host_devices,
    }
}
