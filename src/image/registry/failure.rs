//! Answers that are errors, in our words.

use oci_client::errors::{OciEnvelope, OciErrorCode as Code};

use super::RegistryError;

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
