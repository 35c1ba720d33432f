//! Where the API is, and which container is meant by what a person types.

use std::process::ExitCode;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::app::client::{Call, Client, Command, Empty, Ends, Insistence};
use crate::cli::{CliError, Settings};
use crate::model::{Container, ListContainersRequest, ListContainersResponse};

/// The daemon's API.
#[derive(Debug)]
pub(super) struct Place {
    client: Client,
}

impl Place {
    /// The one that the configuration names.
    pub(super) fn of(settings: &Settings) -> Result<Place, CliError> {
        let socket = settings.load()?.api.socket.ok_or(CliError::NoApi)?;
        Ok(Place {
            client: Client::at(socket),
        })
    }

    /// Makes a call; `action` completes "cannot …".
    pub(super) async fn call<Q: Serialize, A: DeserializeOwned>(
        &self,
        call: Call,
        request: &Q,
        action: impl FnOnce() -> String,
    ) -> Result<A, CliError> {
        self.insist(call, Insistence::Polite, request, action).await
    }

    /// Changes a container, perhaps one of the kubelet's.
    pub(super) async fn change<Q: Serialize>(
        &self,
        call: Call,
        insistence: Insistence,
        request: &Q,
        action: impl FnOnce() -> String,
    ) -> Result<(), CliError> {
        let Empty {} = self.insist(call, insistence, request, action).await?;
        Ok(())
    }

    async fn insist<Q: Serialize, A: DeserializeOwned>(
        &self,
        call: Call,
        insistence: Insistence,
        request: &Q,
        action: impl FnOnce() -> String,
    ) -> Result<A, CliError> {
        let answer = self.client.call(call, insistence, request).await;
        answer.map_err(|source| CliError::Api {
            action: action(),
            source,
        })
    }

    /// Runs a command between local streams, and returns its exit code.
    pub(super) async fn exec(&self, command: &Command, ends: Ends) -> Result<i32, CliError> {
        let ended = self.client.exec(command, ends).await;
        ended.map_err(|source| CliError::Api {
            action: format!("run a command in {}", command.container_id),
            source,
        })
    }

    /// Every container.
    pub(super) async fn containers(&self) -> Result<Vec<Container>, CliError> {
        let request = ListContainersRequest::default();
        let listed: ListContainersResponse = self
            .call(Call::ListContainers, &request, || "list containers".to_owned())
            .await?;
        Ok(listed.containers)
    }

    /// The container that a word means.
    pub(super) async fn find(&self, word: &str) -> Result<Container, CliError> {
        chosen(&self.containers().await?, word).cloned()
    }

    /// Does something with each of the containers that are named; one that fails keeps no other from its turn. Prints the
    /// names of those it was done with.
    pub(super) async fn each(
        &self,
        words: &[String],
        mut act: impl AsyncFnMut(&Container) -> Result<(), CliError>,
    ) -> Result<ExitCode, CliError> {
        let all = self.containers().await?;
        let mut code = ExitCode::SUCCESS;
        for word in words {
            let done = match chosen(&all, word) {
                Ok(container) => act(container).await,
                Err(error) => Err(error),
            };
            match done {
                Ok(()) => crate::cli::print(&format!("{word}\n"))?,
                Err(error) => code = error.report(),
            }
        }
        Ok(code)
    }
}

/// Which container is meant: by its id, by the only one that begins so, or by the only one of this name.
fn chosen<'a>(all: &'a [Container], word: &str) -> Result<&'a Container, CliError> {
    let means = |container: &&Container| container.id.starts_with(word) || name(container) == word;
    if let Some(exact) = all.iter().find(|container| container.id == word) {
        return Ok(exact);
    }
    let meant: Vec<_> = all.iter().filter(|_| !word.is_empty()).filter(means).collect();
    match meant[..] {
        [one] => Ok(one),
        [] => Err(CliError::NoContainer(word.to_owned())),
        _ => Err(CliError::ManyContainers {
            word: word.to_owned(),
            ids: meant.iter().map(|container| container.id.clone()).collect(),
        }),
    }
}

/// The name of a container, as its maker gave it; perhaps empty.
pub(super) fn name(container: &Container) -> &str {
    container.metadata.as_ref().map_or("", |metadata| &metadata.name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ContainerMetadata;

    fn container(id: &str, name: &str) -> Container {
        Container {
            id: id.to_owned(),
            metadata: Some(ContainerMetadata {
                name: name.to_owned(),
                attempt: 0,
            }),
            ..Container::default()
        }
    }

    #[test]
    fn a_container_is_meant_by_id_beginning_or_name_if_it_is_the_only_one() {
        let all = [
            container("aab", "web"),
            container("aac", "db"),
            container("aa", "web"),
        ];
        let check = |word: &str, expected: &str| match chosen(&all, word) {
            Ok(container) => assert_eq!(container.id, expected, "{word}"),
            Err(error) => assert!(error.to_string().starts_with(expected), "{word}: {error}"),
        };

        check("aab", "aab");
        check("aac", "aac");
        check("aa", "aa");
        check("db", "aac");
        check("a", "several containers are meant by a: aab, aac, aa");
        check("web", "several containers are meant by web: aab, aa");
        check("x", "no container x");
        check("", "no container ");
    }
}
