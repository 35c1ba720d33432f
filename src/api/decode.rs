//! Bodies to requests, and answers to bodies. What a request does not have is refused by its name: a misspelled limit
//! must not be no limit.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::model::{Error, Result};

/// Reads a request. An empty body is a request that says nothing.
///
/// # Errors
/// `InvalidArgument`, naming the field.
pub(super) fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T> {
    let body = if body.is_empty() { b"{}" } else { body };
    // A structure can be read of a list too, its fields in order. No request is meant so.
    if body.iter().find(|byte| !byte.is_ascii_whitespace()) != Some(&b'{') {
        return Err(Error::invalid(
            "the body is not the request's JSON: it is no object",
        ));
    }
    let mut json = serde_json::Deserializer::from_slice(body);
    let mut track = serde_path_to_error::Track::new();
    let mut unknown = None;
    let tracked = serde_path_to_error::Deserializer::new(&mut json, &mut track);
    let read = serde_ignored::deserialize(tracked, |path| {
        unknown.get_or_insert_with(|| path.to_string());
    });
    let request = read.map_err(|error| match track.path().to_string() {
        root if root == "." || root == "?" => {
            Error::invalid(format!("the body is not the request's JSON: {error}"))
        }
        field => Error::invalid(format!("{field}: {error}")),
    })?;
    json.end()
        .map_err(|error| Error::invalid(format!("the body goes on after the request: {error}")))?;
    match unknown {
        // How an optional value is told of in a path.
        Some(path) => Err(Error::invalid(format!(
            "{}: there is no such field",
            path.replace(".?", "")
        ))),
        None => Ok(request),
    }
}

/// Writes an answer.
///
/// # Errors
/// `Internal`: it cannot be written as JSON.
pub(super) fn encode<T: Serialize>(answer: &T) -> Result<Vec<u8>> {
    serde_json::to_vec(answer).map_err(|error| Error::internal("cannot write the answer").because(error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{CreateContainerRequest, StopContainerRequest};

    #[track_caller]
    fn refused<T: DeserializeOwned + std::fmt::Debug>(body: &str, expected: &str) {
        let error = decode::<T>(body.as_bytes()).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{body}: {error}");
    }

    #[test]
    fn what_is_wrong_with_a_body_is_told_by_the_field() {
        refused::<StopContainerRequest>(r#"{"containerID":1}"#, "containerID: invalid type: integer");
        refused::<StopContainerRequest>(r#"{"containerId":"a"}"#, "containerId: there is no such field");
        refused::<StopContainerRequest>(r#"{"timeout":"5"}"#, "timeout: invalid type: string");
        refused::<StopContainerRequest>("{} {}", "the body goes on after the request");
        refused::<StopContainerRequest>("[]", "the body is not the request's JSON");
        refused::<StopContainerRequest>("{", "the body is not the request's JSON");
        refused::<StopContainerRequest>("null", "the body is not the request's JSON");
        let deep = |field: &str| format!(r#"{{"config":{{"linux":{{"resources":{{{field}}}}}}}}}"#);
        refused::<CreateContainerRequest>(
            &deep(r#""memoryLimit":1"#),
            "config.linux.resources.memoryLimit: there is no such field",
        );
        refused::<CreateContainerRequest>(
            &deep(r#""cpuShares":"many""#),
            "config.linux.resources.cpuShares: invalid type: string",
        );
        refused::<CreateContainerRequest>(
            r#"{"config":{"mounts":[{"propagation":9}]}}"#,
            "config.mounts[0].propagation: unknown mount propagation 9",
        );
    }

    #[test]
    fn a_request_that_says_nothing_may_have_no_body() {
        assert_eq!(
            decode::<StopContainerRequest>(b"").unwrap(),
            StopContainerRequest::default()
        );
    }

    #[test]
    fn a_body_that_nests_without_end_is_refused_and_not_followed() {
        let deep = format!(r#"{{"config":{}"#, "[".repeat(100_000));

        assert!(decode::<CreateContainerRequest>(deep.as_bytes()).is_err());
    }
}
