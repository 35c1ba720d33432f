//! Which protocol a client asks for, and the answer that agrees to it or refuses. Decides by the request's head alone.

use http::header::{
    ALLOW, CONNECTION, CONTENT_TYPE, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

const STREAM_PROTOCOL: HeaderName = HeaderName::from_static("x-stream-protocol-version");
const ACCEPTED: HeaderName = HeaderName::from_static("x-accepted-stream-protocol-versions");
const SPDY: &str = "SPDY/3.1";

/// Names of the protocols for commands, best first, and what each can.
const COMMANDS: [(&str, Version); 4] = [
    ("v4.channel.k8s.io", Version::V4),
    ("v3.channel.k8s.io", Version::V3),
    ("v2.channel.k8s.io", Version::V2),
    ("channel.k8s.io", Version::V1),
];
const FORWARD: &str = "portforward.k8s.io";
const TUNNEL: &str = "SPDY/3.1+portforward.k8s.io";

/// What both sides speak from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    /// SPDY; of which version the streams are, where that makes a difference.
    Spdy(Version),
    /// WebSocket messages that begin with the number of a channel.
    Channels { version: Version, base64: bool },
    /// SPDY within WebSocket messages.
    Tunnel,
}

/// Version of the streams' meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Version {
    /// Neither sizes nor exit codes.
    V1,
    /// As the first.
    V2,
    /// Sizes.
    V3,
    /// Sizes, and the outcome as an object.
    V4,
    /// As the fourth, and channels that end one by one.
    V5,
}

/// What kind of session is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    Command,
    Forward,
}

/// An answer that refuses.
pub(super) type Refusal = Box<Response<String>>;

/// Decides. Both sides of the result are the answer to send; after `Ok` the connection is the session's.
pub(super) fn agree<B>(
    request: &Request<B>,
    purpose: Purpose,
) -> Result<(Protocol, Response<String>), Refusal> {
    let headers = request.headers();
    match contains(headers, &CONNECTION, "upgrade") && names(headers, &UPGRADE, "websocket") {
        true => websocket(request.method(), headers, purpose),
        false => spdy(headers, purpose),
    }
}

fn spdy(headers: &HeaderMap, purpose: Purpose) -> Result<(Protocol, Response<String>), Refusal> {
    let offered = list(headers, &STREAM_PROTOCOL);
    if offered.is_empty() {
        return Err(refusal(
            StatusCode::BAD_REQUEST,
            format!("the header {STREAM_PROTOCOL} is missing"),
        ));
    }
    let known: &[(&str, Version)] = match purpose {
        Purpose::Command => &COMMANDS,
        Purpose::Forward => &[(FORWARD, Version::V1)],
    };
    let chosen = offered
        .iter()
        .find_map(|name| known.iter().find(|(own, _)| own == name));
    let Some((name, version)) = chosen else {
        let text = format!("none of the protocols {offered:?} is served");
        let mut answer = refusal(StatusCode::FORBIDDEN, text);
        for (name, _) in known {
            answer
                .headers_mut()
                .append(ACCEPTED, HeaderValue::from_static(name));
        }
        return Err(answer);
    };
    if !contains(headers, &CONNECTION, "upgrade") || !contains(headers, &UPGRADE, "spdy/3.1") {
        let text = format!("the connection must be upgraded to {SPDY} or websocket");
        return Err(refusal(StatusCode::BAD_REQUEST, text));
    }
    let mut answer = switching(SPDY);
    answer
        .headers_mut()
        .insert(STREAM_PROTOCOL, HeaderValue::from_static(name));
    Ok((Protocol::Spdy(*version), answer))
}

fn websocket(
    method: &Method,
    headers: &HeaderMap,
    purpose: Purpose,
) -> Result<(Protocol, Response<String>), Refusal> {
    if method != Method::GET {
        return Err(not_allowed("GET"));
    }
    if headers.get(SEC_WEBSOCKET_VERSION).is_none_or(|v| v != "13") {
        let text = "version 13 of the WebSocket protocol is served".to_owned();
        let mut answer = refusal(StatusCode::BAD_REQUEST, text);
        answer
            .headers_mut()
            .insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        return Err(answer);
    }
    let Some(key) = headers.get(SEC_WEBSOCKET_KEY) else {
        let text = format!("the header {SEC_WEBSOCKET_KEY} is missing");
        return Err(refusal(StatusCode::BAD_REQUEST, text));
    };
    let offered = list(headers, &SEC_WEBSOCKET_PROTOCOL);
    let first = match (offered.is_empty(), purpose) {
        // Who names none gets the first one there ever was.
        (true, Purpose::Command) => Some((None, raw(Version::V1))),
        _ => offered
            .iter()
            .find_map(|name| Some((Some(*name), channels(name, purpose)?))),
    };
    let Some((name, protocol)) = first else {
        let text = format!("none of the protocols {offered:?} is served");
        return Err(refusal(StatusCode::FORBIDDEN, text));
    };
    let mut answer = switching("websocket");
    let accept = derive_accept_key(key.as_bytes());
    let value = |text: &str| HeaderValue::from_str(text).expect("it came in a header or is base64");
    answer.headers_mut().insert(SEC_WEBSOCKET_ACCEPT, value(&accept));
    if let Some(name) = name {
        answer.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, value(name));
    }
    Ok((protocol, answer))
}

fn raw(version: Version) -> Protocol {
    Protocol::Channels {
        version,
        base64: false,
    }
}

fn channels(name: &str, purpose: Purpose) -> Option<Protocol> {
    let encoded = |version| Protocol::Channels {
        version,
        base64: true,
    };
    match (name, purpose) {
        ("v4.channel.k8s.io", Purpose::Command) => Some(raw(Version::V4)),
        ("v4.base64.channel.k8s.io", Purpose::Command) => Some(encoded(Version::V4)),
        ("v5.channel.k8s.io", Purpose::Command) => Some(raw(Version::V5)),
        ("channel.k8s.io", Purpose::Command) => Some(raw(Version::V1)),
        ("base64.channel.k8s.io", Purpose::Command) => Some(encoded(Version::V1)),
        (TUNNEL, Purpose::Forward) => Some(Protocol::Tunnel),
        _ => None,
    }
}

/// An answer that refuses, with its reason in plain words: clients show it.
pub(super) fn refusal(status: StatusCode, text: String) -> Refusal {
    let mut answer = Box::new(Response::new(text));
    *answer.status_mut() = status;
    answer.headers_mut().insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    answer
}

/// An answer to a method that is not one of `methods`.
pub(super) fn not_allowed(methods: &'static str) -> Refusal {
    let text = format!("the method must be {methods}");
    let mut answer = refusal(StatusCode::METHOD_NOT_ALLOWED, text);
    answer
        .headers_mut()
        .insert(ALLOW, HeaderValue::from_static(methods));
    answer
}

fn switching(to: &'static str) -> Response<String> {
    let mut answer = Response::new(String::new());
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = answer.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static(to));
    answer
}

/// The values of a header that may be given as several lines, as a list with commas, or both.
fn list<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Vec<&'a str> {
    let lines = headers.get_all(name).iter().filter_map(|v| v.to_str().ok());
    lines
        .flat_map(|line| line.split(','))
        .map(str::trim)
        .filter(|name| !name.is_empty())
        .collect()
}

fn contains(headers: &HeaderMap, name: &HeaderName, text: &str) -> bool {
    list(headers, name)
        .iter()
        .any(|value| value.to_ascii_lowercase().contains(text))
}

fn names(headers: &HeaderMap, name: &HeaderName, text: &str) -> bool {
    list(headers, name)
        .iter()
        .any(|value| value.eq_ignore_ascii_case(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(method: &str, headers: &[(&str, &str)]) -> Request<()> {
        let mut request = Request::builder().method(method);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap()
    }

    const PROTOCOL: &str = "X-Stream-Protocol-Version";

    fn spdy_request(protocols: &[&str]) -> Request<()> {
        let mut headers = vec![("Connection", "Upgrade"), ("Upgrade", "SPDY/3.1")];
        headers.extend(protocols.iter().map(|name| (PROTOCOL, *name)));
        request("POST", &headers)
    }

    fn websocket_request(protocols: &str) -> Request<()> {
        request(
            "GET",
            &[
                ("Connection", "keep-alive, Upgrade"),
                ("Upgrade", "WebSocket"),
                ("Sec-WebSocket-Version", "13"),
                ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
                ("Sec-WebSocket-Protocol", protocols),
            ],
        )
    }

    #[test]
    fn the_client_s_first_choice_that_is_known_is_taken() {
        let check = |protocols: &[&str], version: Version, name: &str| {
            let (protocol, answer) = agree(&spdy_request(protocols), Purpose::Command).unwrap();
            assert_eq!(protocol, Protocol::Spdy(version), "{protocols:?}");
            assert_eq!(answer.status(), 101);
            assert_eq!(answer.headers()[PROTOCOL], name);
            assert_eq!(answer.headers()["upgrade"], "SPDY/3.1");
        };

        check(
            &["v5.channel.k8s.io", "v4.channel.k8s.io", "channel.k8s.io"],
            Version::V4,
            "v4.channel.k8s.io",
        );
        check(
            &["v2.channel.k8s.io, v4.channel.k8s.io"],
            Version::V2,
            "v2.channel.k8s.io",
        );
        check(&["channel.k8s.io"], Version::V1, "channel.k8s.io");
    }

    #[test]
    fn forwarding_has_a_protocol_of_its_own() {
        let (protocol, answer) = agree(&spdy_request(&[FORWARD]), Purpose::Forward).unwrap();

        assert_eq!(protocol, Protocol::Spdy(Version::V1));
        assert_eq!(answer.headers()[PROTOCOL], FORWARD);
        assert_eq!(
            agree(&spdy_request(&[FORWARD]), Purpose::Command)
                .unwrap_err()
                .status(),
            403
        );
    }

    #[test]
    fn what_cannot_be_agreed_on_is_refused_with_a_reason() {
        let check = |request: &Request<()>, status: u16, text: &str| {
            let answer = agree(request, Purpose::Command).unwrap_err();
            assert_eq!(answer.status(), status, "{request:?}");
            assert!(answer.body().contains(text), "{}", answer.body());
        };

        check(&spdy_request(&[]), 400, "is missing");
        check(&spdy_request(&[" , "]), 400, "is missing");
        check(&spdy_request(&["v9.channel.k8s.io"]), 403, "v9.channel.k8s.io");
        check(
            &request("POST", &[(PROTOCOL, "v4.channel.k8s.io")]),
            400,
            "must be upgraded",
        );
        check(&websocket_request("v9.channel.k8s.io"), 403, "v9.channel.k8s.io");
        check(&websocket_request(TUNNEL), 403, "SPDY/3.1+portforward");
        let mut post = websocket_request("v5.channel.k8s.io");
        *post.method_mut() = Method::POST;
        check(&post, 405, "GET");
        let mut old = websocket_request("v5.channel.k8s.io");
        old.headers_mut()
            .insert("sec-websocket-version", HeaderValue::from_static("8"));
        check(&old, 400, "version 13");
        let mut keyless = websocket_request("v5.channel.k8s.io");
        keyless.headers_mut().remove("sec-websocket-key");
        check(&keyless, 400, "is missing");
    }

    #[test]
    fn who_names_no_common_protocol_is_told_which_there_are() {
        let answer = agree(&spdy_request(&["v9.channel.k8s.io"]), Purpose::Command).unwrap_err();

        let accepted: Vec<_> = answer.headers().get_all(ACCEPTED).iter().collect();
        assert_eq!(accepted, COMMANDS.map(|(name, _)| name));
    }

    #[test]
    fn websocket_protocols_are_chosen_by_name() {
        let check = |protocols: &str, purpose: Purpose, expected: Protocol, name: &str| {
            let (protocol, answer) = agree(&websocket_request(protocols), purpose).unwrap();
            assert_eq!(protocol, expected, "{protocols}");
            assert_eq!(answer.headers()["sec-websocket-protocol"], name);
            assert_eq!(
                answer.headers()["sec-websocket-accept"],
                "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
            );
        };
        let encoded = |version| Protocol::Channels {
            version,
            base64: true,
        };
        let command = Purpose::Command;

        check(
            "v5.channel.k8s.io",
            command,
            raw(Version::V5),
            "v5.channel.k8s.io",
        );
        check(
            "x, v4.channel.k8s.io",
            command,
            raw(Version::V4),
            "v4.channel.k8s.io",
        );
        check(
            "v4.base64.channel.k8s.io",
            command,
            encoded(Version::V4),
            "v4.base64.channel.k8s.io",
        );
        check(
            "base64.channel.k8s.io",
            command,
            encoded(Version::V1),
            "base64.channel.k8s.io",
        );
        check(TUNNEL, Purpose::Forward, Protocol::Tunnel, TUNNEL);
    }

    #[test]
    fn who_names_no_websocket_protocol_gets_the_first_one_unnamed() {
        let mut unnamed = websocket_request("");
        unnamed.headers_mut().remove("sec-websocket-protocol");

        let (protocol, answer) = agree(&unnamed, Purpose::Command).unwrap();

        assert_eq!(protocol, raw(Version::V1));
        assert!(!answer.headers().contains_key("sec-websocket-protocol"));
    }
}
