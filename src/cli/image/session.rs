//! Who answers: the daemon that holds the store, or nobody, and then this process opens it.
//!
//! A socket that was named means that daemon and no other. Otherwise the lock on the state directory decides, since
//! a daemon that answers on the usual socket may well hold another directory.

use crate::app::offline::Offline;
use crate::app::{AppError, client};
use crate::cli::client::{Admin, admin};
use crate::cli::{CliError, Settings};
use crate::telemetry;

/// A way to the admin service. To be closed.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) admin: Admin,
    offline: Option<Offline>,
}

impl Session {
    pub(super) async fn open(settings: &Settings) -> Result<Session, CliError> {
        let config = settings.load()?;
        if settings.socket.is_some() {
            return Session::dial(&config.socket).await;
        }
        match Offline::open(&config).await {
            Ok((offline, channel)) => {
                // What the daemon would write to its log concerns the person now.
                telemetry::init(
                    telemetry::Wanted::at("warn"),
                    telemetry::Format::Text,
                    telemetry::Traced::Never,
                )?;
                Ok(Session {
                    admin: admin(channel),
                    offline: Some(offline),
                })
            }
            Err(AppError::Lock(held)) if held.is_someone_elses() => Session::dial(&config.socket).await,
            Err(error) => Err(error.into()),
        }
    }

    async fn dial(socket: &std::path::Path) -> Result<Session, CliError> {
        Ok(Session {
            admin: admin(client::channel(socket).await?),
            offline: None,
        })
    }

    /// Gives the store back, if this process opened it.
    pub(super) async fn close(self) {
        drop(self.admin);
        if let Some(offline) = self.offline {
            offline.close().await;
        }
    }
}
