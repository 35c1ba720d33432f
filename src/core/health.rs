//! Whether the records are whole, as a condition. From memory: it is asked for every few seconds.

use super::Core;
use crate::model::{RuntimeCondition, STORE_HEALTHY};

impl Core {
    pub(super) fn store_condition(&self) -> RuntimeCondition {
        let store = &self.inner.store;
        let (reason, message) = match (store.damaged().as_slice(), store.quarantined()) {
            ([], 0) => ("", String::new()),
            ([], count) => (
                "RecordsQuarantined",
                format!("{count} records cannot be read and are kept aside; `coracle check` names them"),
            ),
            ([.., latest], _) => (
                "StoreDamaged",
                format!(
                    "the record store was damaged and what could be read goes on; {} is what it was",
                    latest.display()
                ),
            ),
        };
        RuntimeCondition {
            kind: STORE_HEALTHY.to_owned(),
            status: reason.is_empty(),
            reason: reason.to_owned(),
            message,
        }
    }
}
