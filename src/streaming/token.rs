//! Requests that wait for their client: each is behind a URL that nobody can guess, works once, and is good for a minute.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tokio::time::Instant;

use super::Asked;
use crate::model::{Error, Kind, Result};

/// How long a URL is good for.
const LIFE: Duration = Duration::from_secs(60);
/// URLs that wait for their client at the same time.
const MOST: usize = 1000;

/// The URLs that were handed out and not used. Clones share them.
#[derive(Clone)]
pub struct Urls {
    /// Scheme, host and port: without them the kubelet takes the server for one with TLS.
    base: String,
    waiting: Arc<Mutex<HashMap<String, Waiting>>>,
}

struct Waiting {
    asked: Asked,
    until: Instant,
}

impl Urls {
    /// Hands out URLs below `base`, such as `http://127.0.0.1:4321`.
    pub fn new(base: String) -> Urls {
        Urls {
            base,
            waiting: Arc::default(),
        }
    }

    /// Keeps a request for whoever comes with the URL that is returned.
    ///
    /// # Errors
    /// `ResourceExhausted`: too many wait already.
    pub fn hand_out(&self, asked: Asked) -> Result<String> {
        let now = Instant::now();
        let mut waiting = self.lock();
        if waiting.len() >= MOST {
            waiting.retain(|_, one| one.until > now);
        }
        if waiting.len() >= MOST {
            let text = format!("{MOST} streaming requests wait for their clients already");
            return Err(Error::new(Kind::ResourceExhausted, text));
        }
        let token = URL_SAFE_NO_PAD.encode(rand::random::<[u8; 16]>());
        let url = format!("{}/{}/{token}", self.base, asked.verb());
        let until = now + LIFE;
        waiting.insert(token, Waiting { asked, until });
        Ok(url)
    }

    /// Gives the request of a URL's path out, once, whether the path names the right verb or not.
    pub(super) fn redeem(&self, path: &str) -> Option<Asked> {
        let (verb, token) = path.strip_prefix('/')?.split_once('/')?;
        let Waiting { asked, until } = self.lock().remove(token)?;
        (until > Instant::now() && asked.verb() == verb).then_some(asked)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Urls {
    /// Without the tokens: who knows one may use it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Urls")
            .field("base", &self.base)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::streaming::{Command, Streams};

    fn urls() -> Urls {
        Urls::new("http://127.0.0.1:1".to_owned())
    }

    fn exec(container_id: &str) -> Asked {
        Asked::Exec(Command {
            container_id: container_id.to_owned(),
            cmd: vec!["true".to_owned()],
            streams: Streams::default(),
        })
    }

    fn path(url: &str) -> &str {
        url.strip_prefix("http://127.0.0.1:1").unwrap()
    }

    #[test]
    fn a_url_works_once() {
        let urls = urls();
        let url = urls.hand_out(exec("a")).unwrap();

        assert!(matches!(urls.redeem(path(&url)), Some(Asked::Exec(command)) if command.container_id == "a"));
        assert!(urls.redeem(path(&url)).is_none());
    }

    #[test]
    fn a_url_for_something_else_is_used_up() {
        let urls = urls();
        let url = urls.hand_out(exec("a")).unwrap();

        assert!(urls.redeem(&path(&url).replace("exec", "attach")).is_none());
        assert!(urls.redeem(path(&url)).is_none());
    }

    #[test]
    fn paths_that_were_never_handed_out_lead_nowhere() {
        for path in [
            "",
            "/",
            "/exec",
            "/exec/",
            "/exec/AAAAAAAAAAAAAAAAAAAAAA",
            "exec/x/y",
        ] {
            assert!(urls().redeem(path).is_none(), "{path}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_url_is_good_for_a_minute() {
        let urls = urls();
        let (early, late) = (
            urls.hand_out(exec("a")).unwrap(),
            urls.hand_out(exec("b")).unwrap(),
        );

        tokio::time::advance(LIFE - Duration::from_millis(1)).await;
        assert!(urls.redeem(path(&early)).is_some());
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(urls.redeem(path(&late)).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_table_refuses_until_what_is_in_it_has_expired() {
        let urls = urls();
        for _ in 0..MOST {
            urls.hand_out(exec("a")).unwrap();
        }

        assert_eq!(
            urls.hand_out(exec("a")).unwrap_err().kind(),
            Kind::ResourceExhausted
        );
        tokio::time::advance(LIFE).await;
        urls.hand_out(exec("a")).unwrap();
    }

    #[test]
    fn what_is_printed_of_it_holds_no_token() {
        let urls = urls();
        let url = urls.hand_out(exec("a")).unwrap();

        let token = url.rsplit('/').next().unwrap();
        assert!(!format!("{urls:?}").contains(token));
    }
}
