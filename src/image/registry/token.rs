//! Authorization at a registry (distribution project, "Token Authentication" and "OAuth2 Token Authentication").
//!
//! One unauthenticated request tells how the registry wants it; a token is asked for where that answer says. A registry
//! that lets everybody in there may ask who it is for some of its repositories: then the answer to that request tells.

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use oci_client::secrets::RegistryAuth;
use reqwest::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use reqwest::{RequestBuilder, StatusCode};
use serde::Deserialize;

use crate::image::credentials::Credentials;

use super::failure::retry_after;

const MAX_ANSWER: usize = 1 << 20;

/// What requests carry. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Authorization {
    None,
    Basic { username: String, password: String },
    Bearer(String),
}

impl fmt::Debug for Authorization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Authorization")
    }
}

impl Authorization {
    /// Adds it to a request.
    pub(super) fn apply(&self, request: RequestBuilder) -> RequestBuilder {
        match self {
            Authorization::None => request,
            Authorization::Basic { username, password } => request.basic_auth(username, Some(password)),
            Authorization::Bearer(token) => request.bearer_auth(token),
        }
    }

    /// The same for `oci-client`.
    pub(super) fn as_oci(&self) -> Option<RegistryAuth> {
        match self {
            Authorization::None => None,
            Authorization::Basic { username, password } => {
                Some(RegistryAuth::Basic(username.clone(), password.clone()))
            }
            Authorization::Bearer(token) => Some(RegistryAuth::Bearer(token.clone())),
        }
    }
}

/// Why there is no authorization.
#[derive(Debug)]
pub(super) enum TokenError {
    Transport(reqwest::Error),
    Denied(String),
    Status { status: u16, after: Option<Duration> },
    Answer(String),
}

impl From<reqwest::Error> for TokenError {
    fn from(error: reqwest::Error) -> TokenError {
        TokenError::Transport(error)
    }
}

/// A negotiation with one host about one repository.
pub(super) struct Negotiation<'a> {
    pub http: &'a reqwest::Client,
    /// The root of the registry's API.
    pub url: String,
    pub repository: &'a str,
    pub credentials: &'a Credentials,
}

impl fmt::Debug for Negotiation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Negotiation")
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
struct TokenAnswer {
    #[serde(default)]
    token: String,
    #[serde(default)]
    access_token: String,
}

/// Finds out what requests have to carry.
pub(super) async fn negotiate(negotiation: Negotiation<'_>) -> Result<Authorization, TokenError> {
    if let Credentials::Bearer(token) = negotiation.credentials {
        return Ok(Authorization::Bearer(token.clone()));
    }
    let response = negotiation.http.get(&negotiation.url).send().await?;
    match response.status() {
        StatusCode::UNAUTHORIZED => negotiation.meet(&challenges(&response)).await,
        _ => Ok(Authorization::None),
    }
}

/// How an answer wants to be asked.
pub(super) fn challenges(response: &reqwest::Response) -> Vec<String> {
    response
        .headers()
        .get_all(WWW_AUTHENTICATE)
        .iter()
        .filter_map(|value| value.to_str().ok().map(str::to_owned))
        .collect()
}

impl Negotiation<'_> {
    /// Finds out what requests have to carry where an answer has these challenges.
    pub(super) async fn meet(&self, challenges: &[String]) -> Result<Authorization, TokenError> {
        if let Some(challenge) = challenges.iter().find_map(|c| parameters(c, "bearer")) {
            return self.bearer(&challenge).await;
        }
        match self.credentials {
            Credentials::Basic { username, password } => Ok(Authorization::Basic {
                username: username.clone(),
                password: password.clone(),
            }),
            _ => Ok(Authorization::None),
        }
    }

    async fn bearer(&self, challenge: &HashMap<String, String>) -> Result<Authorization, TokenError> {
        let realm = challenge
            .get("realm")
            .filter(|realm| realm.starts_with("https://") || realm.starts_with("http://"))
            .ok_or_else(|| TokenError::Answer("a challenge without an address".to_owned()))?;
        let scope = format!("repository:{}:pull", self.repository);
        let service = challenge.get("service").map(String::as_str);
        let request = match self.credentials {
            Credentials::Identity(token) => {
                let mut form = vec![
                    ("grant_type", "refresh_token"),
                    ("client_id", "coracle"),
                    ("scope", scope.as_str()),
                    ("refresh_token", token.as_str()),
                ];
                form.extend(service.map(|service| ("service", service)));
                self.http
                    .post(realm)
                    .header("content-type", "application/x-www-form-urlencoded")
                    .body(encode_form(&form))
            }
            credentials => {
                let mut query = vec![("scope", scope.as_str())];
                query.extend(service.map(|service| ("service", service)));
                let request = self.http.get(realm).query(&query);
                match credentials {
                    Credentials::Basic { username, password } => {
                        let pair = format!("{username}:{password}");
                        let text = base64::engine::general_purpose::STANDARD.encode(pair);
                        request.header(AUTHORIZATION, format!("Basic {text}"))
                    }
                    _ => request,
                }
            }
        };
        token_of(request.send().await?).await.map(Authorization::Bearer)
    }
}

async fn token_of(mut response: reqwest::Response) -> Result<String, TokenError> {
    let (status, after) = (response.status(), retry_after(&response));
    let mut body = Vec::new();
    while let Some(part) = response.chunk().await? {
        body.extend_from_slice(&part);
        if body.len() > MAX_ANSWER {
            return Err(TokenError::Answer("too long a token".to_owned()));
        }
    }
    if matches!(status.as_u16(), 400 | 401 | 403) {
        return Err(TokenError::Denied(format!("no token is given ({status})")));
    }
    if !status.is_success() {
        let status = status.as_u16();
        return Err(TokenError::Status { status, after });
    }
    let answer: TokenAnswer = serde_json::from_slice(&body)
        .map_err(|_| TokenError::Answer("something that is no token".to_owned()))?;
    match [answer.token, answer.access_token]
        .into_iter()
        .find(|t| !t.is_empty())
    {
        Some(token) => Ok(token),
        None => Err(TokenError::Answer("an empty token".to_owned())),
    }
}

fn encode_form(pairs: &[(&str, &str)]) -> String {
    let mut text = String::new();
    for (name, value) in pairs {
        if !text.is_empty() {
            text.push('&');
        }
        text.push_str(name);
        text.push('=');
        for byte in value.bytes() {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                    text.push(char::from(byte))
                }
                _ => text.push_str(&format!("%{byte:02X}")),
            }
        }
    }
    text
}

/// The parameters of a challenge of a scheme: `Bearer realm="…",service="…"`.
fn parameters(challenge: &str, scheme: &str) -> Option<HashMap<String, String>> {
    let (first, mut rest) = challenge.trim().split_once(' ')?;
    if !first.eq_ignore_ascii_case(scheme) {
        return None;
    }
    let mut found = HashMap::new();
    while let Some((name, after)) = rest.split_once('=') {
        let name = name
            .trim_matches(|c: char| c == ',' || c.is_whitespace())
            .to_ascii_lowercase();
        let (value, after) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => after.split_once(',').unwrap_or((after, "")),
        };
        found.insert(name, value.to_owned());
        rest = after;
    }
    Some(found)
}

#[cfg(test)]
mod tests {

    use super::*;

    #[test]
    fn challenges_are_taken_apart() {
        let found = parameters(
            r#"Bearer realm="https://auth.example/token?a=b", service="registry.example",scope="x:y:pull,push""#,
            "bearer",
        )
        .unwrap();

        assert_eq!(found["realm"], "https://auth.example/token?a=b");
        assert_eq!(found["service"], "registry.example");
        assert_eq!(found["scope"], "x:y:pull,push");
        assert!(parameters("Basic realm=\"x\"", "bearer").is_none());
    }

    #[test]
    fn forms_are_encoded() {
        assert_eq!(
            encode_form(&[("a", "b c"), ("d", "é/=")]),
            "a=b%20c&d=%C3%A9%2F%3D"
        );
    }
}
