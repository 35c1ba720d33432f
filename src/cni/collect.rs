//! The verb of a network as a whole: `GC`, by which plugins release what no attachment holds any more (CNI
//! specification, section 2 "GC"). Attachments that are recorded are released one by one, by `DEL`, in `attach`.

use std::collections::HashSet;
use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::time::Instant;

use crate::cni::conflist::Injected;
use crate::cni::exec::Run;
use crate::cni::{Attachment, Network, NetworkError, Verb};
use crate::sys::planted;

/// How long collecting waits for attachments being made or removed: they may not be held up behind it for longer.
const GATE_WAIT: Duration = Duration::from_secs(5);
/// How long all plugins together may take: attaching and detaching wait meanwhile.
const DEADLINE: Duration = Duration::from_secs(10);

impl Network {
    /// Has each plugin release what attachments other than `valid` hold, where the configuration is of 1.1.0 or newer and
    /// does not disable it; elsewhere does nothing. `valid` is called once nothing is being attached or detached; what it
    /// returns must have everything that is attached or ever will be without a new `ADD`.
    ///
    /// # Errors
    ///
    /// [`NetworkError::Busy`] when that moment does not come within five seconds; otherwise all that failed, after the rest
    /// has been done.
    pub async fn gc(&self, valid: impl FnOnce() -> HashSet<Attachment>) -> Result<(), NetworkError> {
        let Some(conf) = self.conf().filter(|conf| conf.collects()) else {
            return Ok(());
        };
        let gate = tokio::time::timeout(GATE_WAIT, self.shared.gate.write());
        let _gate = gate.await.map_err(|_| NetworkError::Busy)?;
        let valid = valid();
        let mut listed: Vec<&Attachment> = valid.iter().collect();
        listed.sort();
        if planted("network-collect") {
            listed.clear();
        }
        // The specification first had the second name; plugins of that time know it alone.
        let names = ["cni.dev/valid-attachments", "cni.dev/attachments"];
        let extra: Map<String, Value> = names
            .map(|name| (name.to_owned(), json!(listed)))
            .into_iter()
            .collect();
        let run = Run {
            verb: Verb::Gc,
            path: &self.shared.path,
            subject: None,
            deadline: Instant::now() + DEADLINE,
        };
        let mut errors = Vec::new();
        for plugin in conf.plugins() {
            let injected = Injected {
                extra: extra.clone(),
                ..Injected::default()
            };
            let ran = run.plugin(plugin.kind(), &conf.derive(plugin, injected)).await;
            errors.extend(ran.err().map(NetworkError::from));
        }
        NetworkError::join(errors)
    }
}
