//! The calls about the runtime itself: version, readiness, and what it agrees on with the kubelet.

use std::collections::BTreeMap;

use serde_json::json;

use crate::cri::adapter::Runtime;
use crate::cri::handlers::Handler;
use crate::cri::sandbox::{Network, Pinner, Told};
use crate::cri::v1alpha2::ApiVersion;
use crate::cri::wire::v1;
use crate::model::{self, NETWORK_READY, Result, RuntimeCondition, StatusRequest, VersionRequest};
use crate::sys::cgroup::Driver;

/// The version of the kubelet's runtime API. The kubelet insists on this answer.
const KUBE_API_VERSION: &str = "0.1.0";

impl<R, I, P, N> Runtime<R, I, P, N>
where
    R: model::RuntimeService + model::Stats + model::Events,
    I: model::ImageService + model::Filesystem,
    P: Pinner,
    N: Network,
{
    /// Tells name and version, and the version of the API in which it was asked: the only one an older client knows.
    pub(super) async fn versions(
        &self,
        api: ApiVersion,
        request: v1::VersionRequest,
    ) -> Result<v1::VersionResponse> {
        let request = VersionRequest {
            version: request.version,
        };
        let answer = self.containers.version(request).await?;
        Ok(v1::VersionResponse {
            version: KUBE_API_VERSION.to_owned(),
            runtime_name: answer.runtime_name,
            runtime_version: answer.runtime_version,
            runtime_api_version: api.as_str().to_owned(),
        })
    }

    /// Tells what is ready. From memory: this is asked every few seconds with a short deadline. Only while the daemon starts it
    /// waits for the network, for a kubelet that hears that there is none takes the node out of service.
    pub(super) async fn readiness(&self, request: v1::StatusRequest) -> Result<v1::StatusResponse> {
        let verbose = request.verbose;
        let answer = self.containers.status(StatusRequest { verbose }).await?;
        let mut conditions: Vec<RuntimeCondition> = answer.conditions;
        // The model's network is a container's own; the pods' is the adapter's.
        conditions.retain(|condition| condition.kind != NETWORK_READY);
        self.sandboxes.network().settled().await;
        conditions.push(network_condition(self.sandboxes.network().ready(None)));
        let told = self.sandboxes.debts_told();
        conditions.extend(debt_condition(&told));
        let mut info = answer.info;
        if verbose {
            info.insert("config".to_owned(), self.config_info());
            info.insert("runtimeHandlers".to_owned(), self.handlers_info());
            info.insert(
                "networkDebts".to_owned(),
                json!(self.sandboxes.debts()).to_string(),
            );
            info.insert("networkDebtCounts".to_owned(), json!(told).to_string());
        }
        let user_namespaces = self.sandboxes.user_namespaces().await;
        let features = v1::RuntimeHandlerFeatures {
            recursive_read_only_mounts: true,
            user_namespaces,
        };
        Ok(v1::StatusResponse {
            status: Some(v1::RuntimeStatus {
                conditions: conditions.into_iter().map(condition).collect(),
            }),
            info,
            runtime_handlers: self.handlers_with(features),
            features: Some(v1::RuntimeFeatures {
                supplemental_groups_policy: true,
                user_namespaces_host_network: user_namespaces,
                mount_options: true,
            }),
        })
    }

    /// The default handler by no name, then all by theirs. What they can do is the node's.
    fn handlers_with(&self, features: v1::RuntimeHandlerFeatures) -> Vec<v1::RuntimeHandler> {
        let handlers = self.handlers.load();
        let names = [""].into_iter().chain(handlers.all().map(|(name, _)| name));
        let one = |name: &str| v1::RuntimeHandler {
            name: name.to_owned(),
            features: Some(features),
        };
        names.map(one).collect()
    }

    /// What each handler says, and whether its network is ready.
    fn handlers_info(&self) -> String {
        let handlers = self.handlers.load();
        let one = |(name, handler): (&str, &Handler)| {
            let network = self.sandboxes.network().ready(handler.cni_conf_dir.as_deref());
            let told = json!({
                "settings": handler,
                "default": name == handlers.meant(""),
                "networkReady": network.is_ok(),
                "networkMessage": network.err().unwrap_or_default(),
            });
            (name.to_owned(), told)
        };
        let all: BTreeMap<String, serde_json::Value> = handlers.all().map(one).collect();
        json!(all).to_string()
    }

    fn config_info(&self) -> String {
        json!({
            "stateDir": self.settings.state_dir,
            "runDir": self.settings.run_dir,
        })
        .to_string()
    }

    /// The kubelet must make its pods' cgroups the way the runtime makes its own.
    pub(super) fn agreement(&self) -> v1::RuntimeConfigResponse {
        let driver = match self.settings.cgroup_driver {
            Driver::Cgroupfs => v1::CgroupDriver::Cgroupfs,
            Driver::Systemd => v1::CgroupDriver::Systemd,
        };
        v1::RuntimeConfigResponse {
            linux: Some(v1::LinuxRuntimeConfiguration {
                cgroup_driver: driver as i32,
            }),
        }
    }

    /// Takes the ranges of this node's pods, one for each family, separated by commas.
    pub(super) async fn take_config(
        &self,
        request: v1::UpdateRuntimeConfigRequest,
    ) -> Result<v1::UpdateRuntimeConfigResponse> {
        let network = request.runtime_config.and_then(|config| config.network_config);
        let text = network.map(|network| network.pod_cidr).unwrap_or_default();
        let ranges: Vec<String> = text
            .split(',')
            .map(|range| range.trim().to_owned())
            .filter(|range| !range.is_empty())
            .collect();
        if !ranges.is_empty() {
            self.sandboxes.network().update_ranges(ranges).await?;
        }
        Ok(v1::UpdateRuntimeConfigResponse {})
    }
}

fn network_condition(ready: std::result::Result<(), String>) -> RuntimeCondition {
    let (status, reason, message) = match ready {
        Ok(()) => (true, "", String::new()),
        Err(message) => (false, "NetworkPluginNotReady", message),
    };
    RuntimeCondition {
        kind: NETWORK_READY.to_owned(),
        status,
        reason: reason.to_owned(),
        message,
    }
}

/// Told only while it does not hold: something that plugins do not let go of, try after try.
fn debt_condition(told: &Told) -> Option<RuntimeCondition> {
    let worst = told.lasting.as_ref()?;
    Some(RuntimeCondition {
        kind: "NetworkReleased".to_owned(),
        status: false,
        reason: "NetworkDebts".to_owned(),
        message: format!(
            "{} deleted pods still hold their network, {} among them: {}",
            told.open, worst.sandbox, worst.reason
        ),
    })
}

fn condition(from: RuntimeCondition) -> v1::RuntimeCondition {
    v1::RuntimeCondition {
        r#type: from.kind,
        status: from.status,
        reason: from.reason,
        message: from.message,
    }
}
