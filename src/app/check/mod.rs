//! The audit: compares what exists on the machine with what should, and puts right what can be.
//!
//! Each layer looks at what it owns (`audit` in [`crate::core`], [`crate::image`], [`crate::cri`], [`crate::cni`],
//! [`crate::monitor`]); here the answers are put together. Everything is looked at twice, and what only one look found
//! was under way: see docs/adr/0008.

mod at_rest;
mod look;
mod repair;

use crate::image::{Compared, Images, compare_at_rest};
use crate::model::audit::{Finding, Repaired};

pub use at_rest::check as check_at_rest;
pub(super) use look::{Daemon, Look};
use look::{Found, Origin};

/// What is asked of an audit.
#[derive(Clone, Copy, Debug, Default)]
pub struct Request {
    /// Puts right what can be.
    pub repair: bool,
    /// Reads the whole content of layers.
    pub deep: bool,
}

/// What an audit found.
#[derive(Debug, Default)]
pub struct Report {
    /// What is as it should not be.
    pub left: Vec<Finding>,
    /// What was tried to put right. What did not come right is in `left` as well.
    pub repaired: Vec<Repaired>,
    /// Layers whose content cannot be compared.
    pub unverifiable: Vec<String>,
}

impl Look {
    /// Looks, repairs if asked to, and looks again at what it repaired.
    ///
    /// # Errors
    /// What cannot be looked at.
    pub(super) async fn check(&self, request: Request) -> crate::model::Result<Report> {
        let mut report = self.shallow(request).await?;
        if request.deep {
            let mut compared = self.compare().await?;
            report.unverifiable = std::mem::take(&mut compared.unverifiable);
            if request.repair && !compared.findings.is_empty() {
                self.mend(compared, &mut report).await?;
            } else {
                report.left.extend(compared.findings);
            }
        }
        Ok(report)
    }

    async fn compare(&self) -> crate::model::Result<Compared> {
        if let Some(daemon) = &self.daemon {
            return daemon.images.compare().await;
        }
        let root = self.images.root.clone();
        let compared = tokio::task::spawn_blocking(move || compare_at_rest(&root)).await;
        let compared = compared.map_err(std::io::Error::other).and_then(|done| done);
        compared.map_err(|e| crate::model::Error::internal("cannot read the layers").because(e))
    }

    /// Puts damaged layers right. At rest the store is opened for it.
    async fn mend(&self, compared: Compared, report: &mut Report) -> crate::model::Result<()> {
        let mended = if let Some(daemon) = &self.daemon {
            daemon.images.mend(compared).await?
        } else {
            let images = Images::open(self.images.clone(), self.records.clone()).await?;
            let mended = images.mend(compared).await;
            images.close().await;
            mended?
        };
        for (finding, outcome) in mended.repaired {
            if outcome.is_err() {
                report.left.push(finding.clone());
            }
            report.repaired.push(Repaired { finding, outcome });
        }
        report.left.extend(mended.left);
        Ok(())
    }

    async fn shallow(&self, request: Request) -> crate::model::Result<Report> {
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
