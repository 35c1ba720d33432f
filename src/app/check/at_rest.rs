//! The audit without a daemon: this process takes the state directory for as long as it looks.

use super::{Look, Report, Request};
use crate::app::error::AppError;
use crate::app::images::open_records;
use crate::app::lock::StateLock;
use crate::app::node::network;
use crate::config::Config;
use crate::model::Error;

/// Looks at the state directory of `config`, which no daemon may have, and repairs if asked to.
///
/// # Errors
/// [`super::super::lock::LockError::Held`] while a daemon has it; what cannot be looked at.
pub async fn check(config: &Config, request: Request) -> Result<Report, AppError> {
    if !config.state_dir.exists() {
        let missing = Error::not_found(format!(
            "there is no state directory {}",
            config.state_dir.display()
        ));
        return Err(AppError::Check(missing));
    }
    let lock = StateLock::take(&config.state_dir)?;
    let records = open_records(config)?;
    let look = Look::new(config, network(config), records.clone(), None);
    let report = look.check(request).await;
    drop(look);
    records.close().await;
    drop(lock);
    report.map_err(AppError::Check)
}
