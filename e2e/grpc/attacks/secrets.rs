//! Credentials: given to the daemon in every way there is, then looked for everywhere it writes to or shows itself.

use std::fs;
use std::path::Path;

use base64::Engine;
use k8s_cri::v1;
use libtest_mimic::Trial;

use crate::harness::daemon::{Daemon, Place, refused};
use crate::harness::image::{Recipe, TestImage};
use crate::harness::node::node;
use crate::harness::registry::{PASSWORD, Registry, USER};
use crate::harness::trials;
use crate::pulls::request;

pub(super) fn tests() -> Vec<Trial> {
    trials![credentials_are_found_nowhere]
}

const CANARY: &str = "canary-c0ffee-5ecret";

/// Files below a directory that contain a text; what goes away meanwhile does not.
fn containing(directory: &Path, text: &[u8], found: &mut Vec<String>) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let Ok(kind) = entry.file_type() else { continue };
        if kind.is_dir() {
            containing(&entry.path(), text, found);
        } else if kind.is_file() {
            let content = fs::read(entry.path()).unwrap_or_default();
            if content.windows(text.len()).any(|part| part == text) {
                found.push(entry.path().display().to_string());
            }
        }
    }
}

/// What processes of this node, other than the tests, show of themselves.
fn shown(text: &[u8], found: &mut Vec<String>) {
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let is_process = entry.file_name().to_string_lossy().parse::<u32>().is_ok();
        for file in ["cmdline", "environ"].iter().filter(|_| is_process) {
            let path = entry.path().join(file);
            let content = fs::read(&path).unwrap_or_default();
            if content.windows(text.len()).any(|part| part == text) {
                found.push(path.display().to_string());
            }
        }
    }
}

async fn credentials_are_found_nowhere() {
    let daemon = Daemon::start(Place::new("secrets")).await;
    let registry = Registry::start_closed().await;
    registry
        .push("e2e/closed", "1", &TestImage::build(&Recipe::default()))
        .await;
    let name = format!("{}/e2e/closed:1", registry.host);
    let encode = |text: String| base64::engine::general_purpose::STANDARD.encode(text);
    let wrong = [
        v1::AuthConfig {
            username: USER.into(),
            password: CANARY.into(),
            ..Default::default()
        },
        v1::AuthConfig {
            username: CANARY.into(),
            password: CANARY.into(),
            ..Default::default()
        },
        v1::AuthConfig {
            auth: encode(format!("{USER}:{CANARY}")),
            ..Default::default()
        },
        v1::AuthConfig {
            auth: format!("{CANARY} that is no base64"),
            ..Default::default()
        },
        v1::AuthConfig {
            identity_token: CANARY.into(),
            ..Default::default()
        },
        v1::AuthConfig {
            registry_token: CANARY.into(),
            ..Default::default()
        },
        v1::AuthConfig {
            registry_token: format!("{CANARY}\r\nX-Other: y"),
            ..Default::default()
        },
        v1::AuthConfig {
            username: USER.into(),
            password: CANARY.into(),
            server_address: format!("https://{USER}:{CANARY}@{}", registry.host),
            ..Default::default()
        },
    ];
    for auth in wrong {
        let status = refused(daemon.images().pull_image(request(&name, Some(auth)))).await;
        assert!(!format!("{status:?}").contains(CANARY), "{status:?}");
    }
    let right = v1::AuthConfig {
        username: USER.into(),
        password: PASSWORD.into(),
        ..Default::default()
    };
    daemon
        .images()
        .pull_image(request(&name, Some(right)))
        .await
        .unwrap();
    // As part of a name, where it does not belong but is put at times.
    let status = refused(
        daemon
            .images()
            .pull_image(request(&format!("{USER}:{CANARY}@{name}"), None)),
    )
    .await;
    let told = status.message().contains(CANARY);

    for secret in [
        CANARY.to_owned(),
        PASSWORD.to_owned(),
        encode(format!("{USER}:{CANARY}")),
        encode(format!("{USER}:{PASSWORD}")),
    ] {
        let mut found = Vec::new();
        containing(&daemon.place.state, secret.as_bytes(), &mut found);
        containing(&daemon.place.run, secret.as_bytes(), &mut found);
        shown(secret.as_bytes(), &mut found);
        let log = fs::read_to_string(daemon.place.log()).unwrap();
        found.extend(
            log.lines()
                .filter(|line| line.contains(&secret))
                .map(str::to_owned),
        );
        assert!(found.is_empty(), "{secret} is in {found:#?}");
    }
    assert!(!told, "{status}");
    assert!(node().directory.exists());
}
