//! The audit: compares what exists on the machine with what should, and puts right what can be.
//!
//! Each layer looks at what it owns (`audit` in [`crate::core`], [`crate::image`], [`crate::cri`], [`crate::cni`],
//! [`crate::monitor`]); here the answers are put together. Everything is looked at twice, and what only one look found
//! was under way: see docs/adr/0008.

mod at_rest;
mod look;
mod repair;

use crate::model::audit::{Finding, Repaired};

pub use at_rest::check as check_at_rest;
pub(super) use look::{Daemon, Look};
use look::{Found, Origin};

/// What is asked of an audit.
#[derive(Clone, Copy, Debug, Default)]
pub struct Request {
    /// Puts right what can be.
    pub repair: bool,
}

/// What an audit found.
#[derive(Debug, Default)]
pub struct Report {
    /// What is as it should not be.
    pub left: Vec<Finding>,
    /// What was tried to put right. What did not come right is in `left` as well.
    pub repaired: Vec<Repaired>,
}

impl Look {
    /// Looks, repairs if asked to, and looks again at what it repaired.
    ///
    /// # Errors
    /// What cannot be looked at.
    pub(super) async fn check(&self, request: Request) -> crate::model::Result<Report> {
        let mut report = Report::default();
        let found = self.twice().await?;
        if !request.repair || found.iter().all(|found| !found.finding.repairable) {
            report.left = found.into_iter().map(|found| found.finding).collect();
            return Ok(report);
        }
        for found in found.into_iter().filter(|found| found.finding.repairable) {
            let outcome = self.repair(&found).await;
            report.repaired.push(Repaired {
                finding: found.finding,
                outcome,
            });
        }
        report.left = self
            .twice()
            .await?
            .into_iter()
            .map(|found| found.finding)
            .collect();
        Ok(report)
    }
}
