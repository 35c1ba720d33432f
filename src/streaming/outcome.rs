//! How a command's end is told on the error stream: as Kubernetes' `Status` object since version 4, as text before.

use serde_json::json;

use super::upgrade::Version;
use crate::model::Result;

/// What to write on the error stream; empty is nothing. `Ok` holds the exit code of the command.
pub(super) fn report(version: Version, outcome: &Result<i32>) -> Vec<u8> {
    match version {
        Version::V4 | Version::V5 => object(outcome).to_string().into_bytes(),
        Version::V1 | Version::V2 | Version::V3 => match outcome {
            Ok(0) => vec![],
            Ok(code) => ended_with(*code).into_bytes(),
            Err(error) => error.to_string().into_bytes(),
        },
    }
}

fn object(outcome: &Result<i32>) -> serde_json::Value {
    match outcome {
        Ok(0) => json!({"status": "Success"}),
        // Clients take the code from here, as a number of 8 bits.
        Ok(code) => json!({
            "status": "Failure",
            "message": ended_with(*code),
            "reason": "NonZeroExitCode",
            "details": {"causes": [{"reason": "ExitCode", "message": (code & 0xff).to_string()}]},
        }),
        Err(error) => json!({
            "status": "Failure",
            "message": format!("Internal error occurred: {error}"),
            "reason": "InternalError",
            "code": 500,
        }),
    }
}

fn ended_with(code: i32) -> String {
    format!("command terminated with non-zero exit code: exit code {code}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Error;

    fn text(version: Version, outcome: Result<i32>) -> String {
        String::from_utf8(report(version, &outcome)).unwrap()
    }

    #[test]
    fn success_is_an_object_since_version_4_and_silence_before() {
        assert_eq!(text(Version::V4, Ok(0)), r#"{"status":"Success"}"#);
        assert_eq!(text(Version::V5, Ok(0)), r#"{"status":"Success"}"#);
        assert_eq!(text(Version::V3, Ok(0)), "");
    }

    #[test]
    fn an_exit_code_is_found_where_clients_look_for_it() {
        let status: serde_json::Value = serde_json::from_str(&text(Version::V4, Ok(137))).unwrap();

        assert_eq!(status["reason"], "NonZeroExitCode");
        assert_eq!(status["details"]["causes"][0]["reason"], "ExitCode");
        assert_eq!(status["details"]["causes"][0]["message"], "137");
        assert!(text(Version::V1, Ok(3)).ends_with("exit code 3"));
    }

    #[test]
    fn a_failure_carries_its_text() {
        let failed = || Err(Error::internal("no such thing"));
        let status: serde_json::Value = serde_json::from_str(&text(Version::V5, failed())).unwrap();

        assert_eq!(status["message"], "Internal error occurred: no such thing");
        assert_eq!(status["code"], 500);
        assert_eq!(text(Version::V2, failed()), "no such thing");
    }
}
