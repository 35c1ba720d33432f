//! Sessions for clients that are let in by other means than a URL: over a unix socket, by WebSocket.

use std::time::Duration;

use bytes::Bytes;
use http::header::UPGRADE;
use http::{Request, Response, StatusCode};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::channels::{self, Encoding};
use super::command::Work;
use super::transport::Transport;
use super::upgrade::{Protocol, Purpose, agree, refusal};
use super::{Attach, Backend, Command};

/// A session in which nothing moves for so long ends.
const IDLE: Duration = Duration::from_secs(4 * 60 * 60);

/// Who owns the sessions.
#[derive(Clone, Debug)]
pub struct Direct {
    stop: CancellationToken,
    tasks: TaskTracker,
}

/// What a client is to have.
#[derive(Clone, Debug)]
pub enum Wanted {
    /// The streams of a further command.
    Exec(Command),
    /// The streams of the container itself.
    Attach(Attach),
}

impl Direct {
    /// Sessions that are tasks of `tasks`, and end with `stop`.
    pub fn new(stop: CancellationToken, tasks: TaskTracker) -> Direct {
        Direct { stop, tasks }
    }

    /// Agrees on a protocol and serves the session once the answer is sent; or refuses. The connection is one of
    /// [`UnixStream`].
    ///
    /// # Errors
    /// The answer that refuses.
    pub fn answer<B>(
        &self,
        request: &mut Request<B>,
        wanted: Wanted,
        backend: impl Backend,
    ) -> Result<Response<String>, Box<Response<String>>> {
        let (protocol, answer) = agree(request, Purpose::Command)?;
        let Protocol::Channels { version, base64 } = protocol else {
            let text = "the connection must be upgraded to websocket".to_owned();
            let mut refused = refusal(StatusCode::UPGRADE_REQUIRED, text);
            refused
                .headers_mut()
                .insert(UPGRADE, http::HeaderValue::from_static("websocket"));
            return Err(refused);
        };
        let session = channels::Session {
            version,
            encoding: Encoding { base64 },
            work: match wanted {
                Wanted::Exec(command) => Work::Exec(command),
                Wanted::Attach(attach) => Work::Attach(attach),
            },
            idle: IDLE,
            stop: self.stop.clone(),
        };
        let upgrade = hyper::upgrade::on(request);
        self.tasks.spawn(async move {
            if let Some((transport, read)) = upgraded(upgrade).await {
                channels::serve(transport, read, session, &backend).await;
            }
        });
        Ok(answer)
    }
}

async fn upgraded(upgrade: OnUpgrade) -> Option<(Transport, Bytes)> {
    let parts = upgrade.await.ok()?.downcast::<TokioIo<UnixStream>>().ok()?;
    Some((Transport::Unix(parts.io.into_inner()), parts.read_buf))
}
