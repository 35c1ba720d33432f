//! Credentials, tokens and mirrors.

use serde_json::json;

use super::fixture::{Answer, Bench, INDEX, Item, Request, Server, TestImage, index, serve_image, tar};
use crate::image::digest::Digest;
use crate::model::{AuthConfig, Kind};

fn nothing(_: &Request) -> Option<Answer> {
    None
}

fn basic(username: &str) -> Option<AuthConfig> {
    Some(AuthConfig {
        username: username.to_owned(),
        password: "s3cret".to_owned(),
        ..AuthConfig::default()
    })
}

#[tokio::test]
async fn a_token_is_asked_for_where_the_registry_says() {
    let image = TestImage::of("text");
    let server = Server::registry(image.clone(), |request| {
        let host = &request.headers["host"];
        let authorization = request.headers.get("authorization").map(String::as_str);
        if request.target.starts_with("/token") {
            // u:s3cret
            return Some(match authorization {
                Some("Basic dTpzM2NyZXQ=") => Answer::ok(r#"{"token": "t0ken"}"#),
                _ => Answer::status(401),
            });
        }
        let challenge = format!("Bearer realm=\"http://{host}/token\",service=\"svc\"");
        (authorization != Some("Bearer t0ken"))
            .then(|| Answer::status(401).header("www-authenticate", challenge))
    })
    .await;
    let bench = Bench::new().await;
    let name = format!("{}/a", server.address);

    let refused = bench.pull_as(&name, basic("other")).await.unwrap_err();
    let id = bench.pull_as(&name, basic("u")).await.unwrap();

    assert_eq!(id, image.id());
    assert_eq!(refused.kind(), Kind::PermissionDenied, "{refused}");
    assert!(!refused.to_string().contains("s3cret"), "{refused}");
    let asked: Vec<_> = server
        .requests()
        .into_iter()
        .filter(|r| r.target.starts_with("/token"))
        .collect();
    assert_eq!(asked.len(), 2);
    assert!(
        asked[1].target.contains("scope=repository%3Aa%3Apull") && asked[1].target.contains("service=svc")
    );
}

#[tokio::test]
async fn a_registry_that_is_open_at_its_root_is_answered_where_it_asks() {
    for challenge in ["Bearer realm=\"http://HOST/token\"", "Basic realm=\"x\""] {
        let image = TestImage::of("text");
        let server = Server::registry(image.clone(), move |request| {
            let host = &request.headers["host"];
            let authorization = request.headers.get("authorization").map(String::as_str);
            if request.target.starts_with("/token") {
                return Some(match authorization {
                    Some("Basic dTpzM2NyZXQ=") => Answer::ok(r#"{"token": "t0ken"}"#),
                    _ => Answer::status(401),
                });
            }
            let known = ["Bearer t0ken", "Basic dTpzM2NyZXQ="];
            let open = request.target == "/v2/" || authorization.is_some_and(|value| known.contains(&value));
            (!open).then(|| Answer::status(401).header("www-authenticate", challenge.replace("HOST", host)))
        })
        .await;
        let bench = Bench::new().await;
        let name = format!("{}/a", server.address);

        let refused = bench.pull(&name).await.unwrap_err();
        let id = bench.pull_as(&name, basic("u")).await.unwrap();

        assert_eq!(id, image.id(), "{challenge}");
        assert_eq!(refused.kind(), Kind::PermissionDenied, "{refused}");
    }
}

/// What docs/scale.md counts with.
#[tokio::test]
async fn a_pull_is_five_requests_and_one_for_each_layer_that_is_not_there() {
    let layers: Vec<_> = ["a", "b", "c", "d"]
        .map(|name| tar(&[Item::File(name, name)]))
        .into();
    let image = TestImage::new(&layers, json!({}));
    let top = index(&[("amd64", &image)]);
    let server = Server::registry(image.clone(), move |request| {
        if request.target.starts_with("/token") {
            return Some(Answer::ok(r#"{"token": "t0ken"}"#));
        }
        if request.headers.get("authorization").map(String::as_str) != Some("Bearer t0ken") {
            let challenge = format!("Bearer realm=\"http://{}/token\"", request.headers["host"]);
            return Some(Answer::status(401).header("www-authenticate", challenge));
        }
        let by_tag = request.target.ends_with("/manifests/1");
        by_tag.then(|| Answer::ok(top.clone()).header("content-type", INDEX))
    })
    .await;
    let bench = Bench::new().await;
    let asked = |request: &Request| (request.method.clone(), request.target.clone());
    let mut expected: Vec<_> = (image.blobs.iter())
        .map(|blob| format!("/v2/a/blobs/{}", Digest::of(blob)))
        .chain([
            "/v2/".to_owned(),
            "/token?scope=repository%3Aa%3Apull".to_owned(),
            "/v2/a/manifests/1".to_owned(),
            format!("/v2/a/manifests/{}", image.digest()),
        ])
        .map(|target| ("GET".to_owned(), target))
        .collect();
    expected.sort();

    bench.pull(&format!("{}/a:1", server.address)).await.unwrap();
    let mut first: Vec<_> = server.requests().iter().map(asked).collect();
    bench.pull(&format!("{}/a:1", server.address)).await.unwrap();
    let again = server.requests().len() - first.len();

    first.sort();
    assert_eq!(first, expected);
    assert_eq!(first.len(), 5 + layers.len());
    assert_eq!(again, 5, "the same without the layers");
}

#[tokio::test]
async fn one_callers_credentials_do_not_serve_another() {
    let server = Server::registry(TestImage::of("text"), |request| {
        let allowed = request.headers.get("authorization").map(String::as_str) == Some("Basic dTpzM2NyZXQ=");
        (!allowed).then(|| Answer::status(401).header("www-authenticate", "Basic realm=\"x\""))
    })
    .await;
    let bench = Bench::new().await;
    let name = format!("{}/a", server.address);

    bench.pull_as(&name, basic("u")).await.unwrap();
    let anonymous = bench.pull(&name).await;

    assert_eq!(anonymous.unwrap_err().kind(), Kind::PermissionDenied);
}

#[tokio::test]
async fn a_refresh_token_is_exchanged() {
    let server = Server::registry(TestImage::of("text"), |request| {
        let host = &request.headers["host"];
        if request.target == "/token" && request.method == "POST" {
            let right = request.body.contains("refresh_token=fresh")
                && request.body.contains("grant_type=refresh_token");
            return right.then(|| Answer::ok(r#"{"access_token": "t0ken"}"#));
        }
        let challenge = format!("Bearer realm=\"http://{host}/token\"");
        let allowed = request.headers.get("authorization").map(String::as_str) == Some("Bearer t0ken");
        (!allowed).then(|| Answer::status(401).header("www-authenticate", challenge))
    })
    .await;
    let bench = Bench::new().await;
    let auth = AuthConfig {
        identity_token: "fresh".to_owned(),
        ..AuthConfig::default()
    };

    let result = bench.pull_as(&format!("{}/a", server.address), Some(auth)).await;

    assert_eq!(result.unwrap(), TestImage::of("text").id());
}

fn write_hosts(bench: &Bench, registry: &str, text: &str) {
    let dir = bench.dir.path().join("certs.d").join(registry);
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(dir.join("hosts.toml"), text).unwrap();
}

#[tokio::test]
async fn mirrors_are_asked_first_and_the_original_name_is_recorded() {
    let broken = Server::start(|_| Answer::status(404)).await;
    let mirror = Server::registry(TestImage::of("text"), nothing).await;
    let bench = Bench::new().await;
    let text = format!(
        "server = \"http://127.0.0.1:1\"\n[host.\"http://{}\"]\n[host.\"http://{}\"]\n",
        broken.address, mirror.address
    );
    write_hosts(&bench, "registry.example", &text);

    let id = bench.pull("registry.example/team/app:1").await.unwrap();

    let record = bench.images.resolve(&id).unwrap();
    assert_eq!(record.repo_tags, ["registry.example/team/app:1"]);
    assert!(broken.count("/manifests/1?ns=registry.example") == 1);
    assert!(
        mirror
            .requests()
            .iter()
            .skip(1)
            .all(|r| r.target.contains("?ns=registry.example"))
    );
}

#[tokio::test]
async fn a_mirror_with_a_path_and_headers_is_asked_there() {
    let image = TestImage::of("text");
    let served = image.clone();
    let server = Server::start(move |request| {
        match request
            .target
            .strip_prefix("/cache/v2")
            .filter(|_| request.headers.contains_key("x-key"))
        {
            Some("/") => Answer::ok("{}"),
            Some(rest) => serve_image(
                &served,
                &Request {
                    target: rest.to_owned(),
                    ..request.clone()
                },
            ),
            None => Answer::status(404),
        }
    })
    .await;
    let bench = Bench::new().await;
    let text = format!(
        "[host.\"http://{0}/cache/v2\"]\noverride_path = true\n[host.\"http://{0}/cache/v2\".header]\nx-key = \"1\"\n",
        server.address
    );
    write_hosts(&bench, "_default", &text);

    let id = bench.pull("registry.example/app").await.unwrap();

    assert_eq!(id, image.id());
}

#[tokio::test]
async fn a_mirror_without_the_right_to_resolve_serves_blobs_only() {
    let image = TestImage::of("text");
    let mirror = Server::registry(image.clone(), nothing).await;
    let origin = Server::registry(image.clone(), nothing).await;
    let bench = Bench::new().await;
    let text = format!(
        "server = \"http://{}\"\n[host.\"http://{}\"]\ncapabilities = [\"pull\"]\n",
        origin.address, mirror.address
    );
    write_hosts(&bench, "registry.example", &text);

    bench.pull("registry.example/app:1").await.unwrap();

    assert_eq!((mirror.count("/manifests/"), origin.count("/manifests/")), (0, 1));
}
