//! Whether the records are whole and can be written, as a condition. From memory: it is asked for every few seconds.

use super::Core;
use crate::model::{RuntimeCondition, STORE_HEALTHY};
use crate::state::Trouble;

impl Core {
    pub(super) fn store_condition(&self) -> RuntimeCondition {
        let store = &self.inner.store;
        let (reason, message) = match (store.trouble(), store.damaged().as_slice(), store.quarantined()) {
            (None, [], 0) => ("", String::new()),
            (Some(Trouble { text, full: true }), ..) => (
                "StoreFull",
                format!("there is no room for new records, what is there goes on: {text}"),
            ),
            (Some(Trouble { text, full: false }), ..) => (
                "StoreNotWritable",
                format!("records cannot be written; it is tried again: {text}"),
            ),
            (None, [], count) => (
                "RecordsQuarantined",
                format!("{count} records cannot be read and are kept aside; `coracle check` names them"),
            ),
            (None, [.., latest], _) => (
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
