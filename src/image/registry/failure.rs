//! Answers that are errors, in our words.

use std::io;
use std::time::Duration;

use oci_client::errors::{OciDistributionError, OciEnvelope, OciErrorCode as Code};
use reqwest::Response;
use reqwest::header::RETRY_AFTER;

use super::RegistryError;
use crate::telemetry::chain;

/// As much of an error's text as is shown.
const MAX_REASON: usize = 300;

/// The messages of an error in the distribution specification's form, else the beginning of the text.
pub(super) fn reason_of(body: &[u8]) -> String {
    #[derive(serde::Deserialize)]
    struct Envelope {
        errors: Vec<Message>,
    }
    #[derive(serde::Deserialize)]
    struct Message {
        #[serde(default)]
        code: String,
        #[serde(default)]
        message: String,
    }
    let text = match serde_json::from_slice::<Envelope>(body) {
        Ok(envelope) => {
            let messages: Vec<_> = envelope
                .errors
                .iter()
                .map(|e| format!("{} {}", e.code, e.message))
                .collect();
            messages.join(", ")
        }
        Err(_) => String::from_utf8_lossy(body).into_owned(),
    };
    shorten(&text)
}

/// Makes one short line of a foreign text.
pub(super) fn shorten(text: &str) -> String {
    let line: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(MAX_REASON)
        .collect();
    match line.trim() {
        "" => "no reason given".to_owned(),
        trimmed => trimmed.to_owned(),
    }
}

/// An error in the distribution specification's form.
pub(super) fn envelope_error(what: String, host: String, envelope: &OciEnvelope) -> RegistryError {
    let reason = shorten(&envelope.to_string());
    match envelope.errors.first().map(|e| &e.code) {
        Some(Code::BlobUnknown | Code::ManifestUnknown | Code::NameUnknown | Code::NotFound) => {
            RegistryError::NotFound { what, host }
        }
        Some(Code::Denied | Code::Unauthorized) => RegistryError::Denied { what, host, reason },
        Some(Code::Toomanyrequests) => RegistryError::Status {
            what,
            host,
            status: 429,
            reason,
            after: None,
        },
        _ => RegistryError::Answer { what, host, reason },
    }
}

/// A host that could not be asked.
pub(super) fn unreachable(host: &str, error: reqwest::Error) -> RegistryError {
    if error.is_redirect() {
        return RegistryError::Answer {
            what: "a request".to_owned(),
            host: host.to_owned(),
            reason: "redirects without end".to_owned(),
        };
    }
    let connect = error.is_connect();
    // The address may carry a token of a redirect.
    let error = error.without_url();
    RegistryError::Unreachable {
        host: host.to_owned(),
        source: io::Error::other(chain(&error)),
        connect,
    }
}

/// An error of `oci-client`.
pub(super) fn oci_error(host: &str, what: &str, error: OciDistributionError) -> RegistryError {
    let (what, host) = (what.to_owned(), host.to_owned());
    match error {
        OciDistributionError::RequestError(error) => unreachable(&host, error),
        OciDistributionError::UnauthorizedError { .. } => RegistryError::Denied {
            what,
            host,
            reason: "not authorized".to_owned(),
        },
        OciDistributionError::AuthenticationFailure(reason) => RegistryError::Denied {
            what,
            host,
            reason: shorten(&reason),
        },
        OciDistributionError::ServerError { code: 404, .. }
        | OciDistributionError::ImageManifestNotFoundError(_) => RegistryError::NotFound { what, host },
        OciDistributionError::ServerError { code, message, .. } => RegistryError::Status {
            what,
            host,
            status: code,
            reason: shorten(&message),
            after: None,
        },
        OciDistributionError::RegistryError { envelope, .. } => envelope_error(what, host, &envelope),
        other => RegistryError::Answer {
            what,
            host,
            reason: shorten(&other.to_string()),
        },
    }
}

/// The time after which a registry wants to be asked again, where it names seconds.
pub(super) fn retry_after(response: &Response) -> Option<Duration> {
    let value = response.headers().get(RETRY_AFTER)?;
    value.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}
