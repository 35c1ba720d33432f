//! The handlers that a RuntimeClass can name: what each adds to the pods that are run with it, and which there are.
//!
//! A pod keeps what its handler said when it was run ([`Config::handler`](crate::cri::sandbox::Config)): what is
//! configured later changes the pods that come later.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use serde::{Deserialize, Serialize};

use crate::model::{ContainerConfig, Error, Profile, Result};

/// What a handler adds to a pod. The one that adds nothing is the default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Handler {
    /// Directory of the network configurations; absent is that of the node.
    pub cni_conf_dir: Option<PathBuf>,
    /// Annotations, unless the pod or the container has its own of the same name.
    pub default_annotations: BTreeMap<String, String>,
    /// Kernel parameters, unless the pod has its own of the same name.
    pub default_sysctls: BTreeMap<String, String>,
    /// Options of the overlay that a container's root is.
    pub mount_options: Vec<String>,
    /// Every root is read-only.
    pub read_only: bool,
    /// The default capabilities; absent are the runtime's own.
    pub default_capabilities: Option<Vec<String>>,
    /// File with the system call filter that `RuntimeDefault` stands for; absent is the runtime's own.
    pub seccomp_profile: Option<String>,
    /// The AppArmor profile that `RuntimeDefault` stands for.
    pub apparmor_profile: Option<String>,
    /// Privileged containers have no more devices than others.
    pub privileged_without_host_devices: bool,
}

impl Handler {
    /// Adds what the handler says to a container's configuration.
    pub(in crate::cri) fn add_to(&self, config: &mut ContainerConfig) {
        config.mount_options.clone_from(&self.mount_options);
        config.default_annotations.clone_from(&self.default_annotations);
        let security = &mut config.linux.get_or_insert_default().security;
        security.without_host_devices |= self.privileged_without_host_devices;
        security
            .capabilities
            .default
            .clone_from(&self.default_capabilities);
        for (profile, default) in [
            (&mut security.seccomp, &self.seccomp_profile),
            (&mut security.apparmor, &self.apparmor_profile),
        ] {
            if let (Profile::RuntimeDefault, Some(default)) = (&*profile, default) {
                *profile = Profile::Localhost(default.clone());
            }
        }
    }

    /// A pod's annotations, the handler's among them.
    pub(in crate::cri) fn annotations(&self, own: &BTreeMap<String, String>) -> BTreeMap<String, String> {
        let mut all = self.default_annotations.clone();
        all.extend(own.clone());
        all
    }
}

/// All handlers, by name, and the one of pods that name none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Handlers {
    default: String,
    by_name: BTreeMap<String, Handler>,
}

impl Handlers {
    /// Handlers of which `default` is one; where it is not, it is one that adds nothing.
    pub fn new(default: impl Into<String>, mut by_name: BTreeMap<String, Handler>) -> Handlers {
        let default = default.into();
        by_name.entry(default.clone()).or_default();
        Handlers { default, by_name }
    }

    /// The name of the handler that a request means.
    pub(in crate::cri) fn meant<'a>(&'a self, named: &'a str) -> &'a str {
        match named.is_empty() {
            true => &self.default,
            false => named,
        }
    }

    /// The handler that a request means.
    ///
    /// # Errors
    /// `InvalidArgument`: there is none of the name.
    pub(in crate::cri) fn get(&self, named: &str) -> Result<&Handler> {
        let found = self.by_name.get(self.meant(named));
        found.ok_or_else(|| Error::invalid(format!("runtime_handler {named} is not configured")))
    }

    /// The handlers by name.
    pub(in crate::cri) fn all(&self) -> impl Iterator<Item = (&str, &Handler)> {
        self.by_name
            .iter()
            .map(|(name, handler)| (name.as_str(), handler))
    }
}

/// The handlers of this moment, shared: replaced as a whole.
pub(in crate::cri) type Current = Arc<ArcSwap<Handlers>>;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{LinuxContainerConfig, Security};

    fn added(handler: &Handler, security: Security) -> ContainerConfig {
        let mut config = ContainerConfig {
            linux: Some(LinuxContainerConfig {
                security,
                ..LinuxContainerConfig::default()
            }),
            ..ContainerConfig::default()
        };
        handler.add_to(&mut config);
        config
    }

    #[test]
    fn a_handlers_profiles_stand_for_the_default_ones_alone() {
        let handler = Handler {
            seccomp_profile: Some("/etc/strict.json".to_owned()),
            apparmor_profile: Some("strict".to_owned()),
            ..Handler::default()
        };
        let check = |asked: Profile, seccomp: Profile, apparmor: Profile| {
            let security = Security {
                seccomp: asked.clone(),
                apparmor: asked,
                ..Security::default()
            };

            let security = added(&handler, security).linux.unwrap().security;

            assert_eq!((security.seccomp, security.apparmor), (seccomp, apparmor));
        };
        let local = |name: &str| Profile::Localhost(name.to_owned());

        check(
            Profile::RuntimeDefault,
            local("/etc/strict.json"),
            local("strict"),
        );
        check(Profile::Unconfined, Profile::Unconfined, Profile::Unconfined);
        check(local("own"), local("own"), local("own"));
    }

    #[test]
    fn a_handler_that_says_nothing_adds_nothing() {
        let security = Security {
            privileged: true,
            seccomp: Profile::RuntimeDefault,
            ..Security::default()
        };

        let config = added(&Handler::default(), security.clone());

        assert_eq!(config.linux.as_ref().unwrap().security, security);
        assert!(config.mount_options.is_empty() && config.default_annotations.is_empty());
    }

    #[test]
    fn the_default_handler_is_meant_by_its_name_and_by_none() {
        let strict = Handler {
            read_only: true,
            ..Handler::default()
        };
        let handlers = Handlers::new("strict", [("strict".to_owned(), strict.clone())].into());

        assert_eq!(handlers.get("").unwrap(), &strict);
        assert_eq!(handlers.get("strict").unwrap(), &strict);
        let refusal = handlers.get("kata").unwrap_err();
        assert_eq!(refusal.context(), "runtime_handler kata is not configured");
    }
}
