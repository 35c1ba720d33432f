//! Calls whose streams are the caller's: a GET that becomes a WebSocket. What it asks for is in its query, since such a
//! request has no body.

use http::header::UPGRADE;
use http::{HeaderValue, Request, StatusCode, Uri};

use super::answer::{self, Answer};
use super::outcome::Outcome;
use super::{Call, Service};
use crate::model::{
    self, AttachRequest, ContainerState, ContainerStatus, Error, ExecRequest, ExecResponse, Result,
};
use crate::streaming::{Attach, Backend, Command, Direct, Streams, Wanted};

/// What can be had by an upgrade.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Session {
    /// The streams of a further command.
    Exec,
    /// The streams of the container's own first process.
    Attach,
}

/// What a query says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Asked {
    container_id: String,
    cmd: Vec<String>,
    streams: Streams,
    force: bool,
}

impl Session {
    pub(super) const ALL: [Session; 2] = [Session::Exec, Session::Attach];

    pub(super) fn name(self) -> &'static str {
        match self {
            Session::Exec => Call::ExecSync.name(),
            Session::Attach => "Attach",
        }
    }

    pub(super) fn meter(self) -> &'static str {
        match self {
            Session::Exec => "api.Exec",
            Session::Attach => "api.Attach",
        }
    }

    pub(super) fn about(self) -> &'static str {
        match self {
            Session::Exec => {
                "Runs a command whose streams are channels of a WebSocket, by the protocol \
                 v5.channel.k8s.io. Channel 0 is standard input, 1 and 2 are the outputs, 3 tells the end, 4 takes sizes of \
                 the terminal, 255 ends a channel."
            }
            Session::Attach => {
                "Attaches to a running container's own streams, from now on, by the same channels."
            }
        }
    }

    /// The session of a name.
    pub(super) fn named(name: &str) -> Option<Session> {
        Session::ALL.into_iter().find(|session| session.name() == name)
    }
}

impl<R, I> Service<R, I>
where
    R: model::RuntimeService + model::Stats,
    I: model::ImageService + model::Filesystem,
{
    /// Answers a request for a session; after an answer that agrees the connection is the session's.
    pub(super) async fn open_session<B>(
        &self,
        session: Session,
        request: Request<B>,
        direct: &Direct,
    ) -> Answer {
        if !request.headers().contains_key(UPGRADE) {
            let text = format!(
                "{} by GET is a WebSocket: the connection must be upgraded",
                session.name()
            );
            let mut refused = answer::refuse_as(StatusCode::UPGRADE_REQUIRED, "INVALID_ARGUMENT", text);
            refused
                .headers_mut()
                .insert(UPGRADE, HeaderValue::from_static("websocket"));
            return refused;
        }
        let (head, body) = request.into_parts();
        let outcome = Outcome::begin(session.name(), session.meter(), &head);
        let asked = outcome.within(self.ask_for(session, &head.uri)).await;
        let mut request = Request::from_parts(head, body);
        let (result, answer) = match asked {
            Err(error) => {
                let answer = answer::refuse(&error);
                (Err(error), answer)
            }
            Ok(wanted) => match direct.answer(&mut request, wanted, self.clone()) {
                Ok(agreed) => (Ok(()), agreed.map(|text| bytes::Bytes::from(text).into())),
                Err(refused) => {
                    let (status, text) = (refused.status(), refused.into_body());
                    let result = Err(Error::invalid(text.clone()));
                    (result, answer::refuse_as(status, "INVALID_ARGUMENT", text))
                }
            },
        };
        outcome.end(&result, answer.status());
        answer
    }

    /// What is wanted, once it is known that it can be had.
    async fn ask_for(&self, session: Session, uri: &Uri) -> Result<Wanted> {
        let asked = read(session, uri.query().unwrap_or_default())?;
        if session == Session::Exec {
            ExecRequest::check_command(&asked.cmd)?;
        }
        let status = self.changeable(&asked.container_id, asked.force).await?;
        if status.state != ContainerState::Running {
            return Err(Error::precondition(format!(
                "container {} does not run",
                status.id
            )));
        }
        if session == Session::Attach {
            can_have(&status, asked.streams)?;
        }
        let (container_id, streams) = (status.id, asked.streams);
        Ok(match session {
            Session::Exec => Wanted::Exec(Command {
                container_id,
                cmd: asked.cmd,
                streams,
            }),
            Session::Attach => Wanted::Attach(Attach {
                container_id,
                streams,
            }),
        })
    }
}

/// What a container has not cannot be attached to.
fn can_have(status: &ContainerStatus, streams: Streams) -> Result<()> {
    let id = &status.id;
    if streams.tty && !status.tty {
        let text = format!("tty must not be set: container {id} has no terminal");
        return Err(Error::invalid(text));
    }
    if !streams.stdout && !streams.stderr && !status.stdin {
        let text = format!("stdin must not be all: container {id} takes none");
        return Err(Error::invalid(text));
    }
    Ok(())
}

/// Reads a query. Output is wanted unless it is said otherwise, standard error with it where there is no terminal.
fn read(session: Session, query: &str) -> Result<Asked> {
    let mut asked = Asked::default();
    let (mut stdout, mut stderr) = (None, None);
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        let flag = || match &*value {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err(Error::invalid(format!("{name} is true or false, not {value:?}"))),
        };
        match &*name {
            "containerID" => asked.container_id = value.into_owned(),
            "cmd" if session == Session::Exec => asked.cmd.push(value.into_owned()),
            "stdin" => asked.streams.stdin = flag()?,
            "stdout" => stdout = Some(flag()?),
            "stderr" => stderr = Some(flag()?),
            "tty" => asked.streams.tty = flag()?,
            "force" => asked.force = flag()?,
            _ => return Err(Error::invalid(format!("{name}: there is no such parameter"))),
        }
    }
    asked.streams.stdout = stdout.unwrap_or(true);
    asked.streams.stderr = stderr.unwrap_or(!asked.streams.tty);
    match asked.streams {
        Streams {
            tty: true,
            stderr: true,
            ..
        } => Err(Error::invalid("stderr must not be set with tty")),
        Streams {
            stdin: false,
            stdout: false,
            stderr: false,
            ..
        } => Err(Error::invalid("one of stdin, stdout and stderr must be set")),
        _ => Ok(asked),
    }
}

impl<R, I> Backend for Service<R, I>
where
    R: model::RuntimeService + model::Stats,
    I: model::ImageService + model::Filesystem,
{
    async fn exec(&self, request: ExecRequest) -> Result<ExecResponse> {
        self.runtime.exec_sync(request).await
    }

    async fn attach(&self, request: AttachRequest) -> Result<()> {
        self.runtime.attach(request).await
    }

    fn network(&self, _: &str) -> Result<Option<std::path::PathBuf>> {
        Err(Error::new(
            model::Kind::Unimplemented,
            "no connections are forwarded here",
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(session: Session, query: &str, expected: &str) {
        let error = read(session, query).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{query}: {error}");
    }

    #[test]
    fn a_query_says_what_is_wanted() {
        let asked = read(
            Session::Exec,
            "containerID=a&cmd=sh&cmd=-c&cmd=echo+%26%20%C3%A4&stdin=true",
        )
        .unwrap();
        let tty = read(Session::Attach, "containerID=a&tty=true&force=true").unwrap();

        assert_eq!(asked.cmd, ["sh", "-c", "echo & \u{e4}"]);
        let streams = |stdin, stderr, tty| Streams {
            stdin,
            stdout: true,
            stderr,
            tty,
        };
        assert_eq!((asked.streams, asked.force), (streams(true, true, false), false));
        assert_eq!((tty.streams, tty.force), (streams(false, false, true), true));
    }

    #[test]
    fn what_a_query_does_not_have_is_refused_by_its_name() {
        refused(
            Session::Exec,
            "containerId=a",
            "containerId: there is no such parameter",
        );
        refused(Session::Attach, "cmd=a", "cmd: there is no such parameter");
        refused(Session::Exec, "stdin=yes", "stdin is true or false");
        refused(
            Session::Exec,
            "tty=true&stderr=true",
            "stderr must not be set with tty",
        );
        refused(Session::Exec, "stdout=false&stderr=false", "one of stdin");
    }
}
