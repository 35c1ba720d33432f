//! Registries on loopback: Debian's docker-registry, and a small one of the tests' own that lies when told to.

use std::collections::HashMap;
use std::convert::Infallible;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;

use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use reqwest::header::{CONTENT_TYPE, LOCATION};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;

use super::daemon::Daemon;
use super::eventually;
use super::image::{Blob, TestImage};
use super::node::{cached, node};

/// Whom the registry that asks for a password lets in.
pub(crate) const USER: &str = "reader";
/// With this.
pub(crate) const PASSWORD: &str = "open sesame";
/// `htpasswd -B` of the two.
const HTPASSWD: &str = "reader:$2b$05$abcdefghijklmnopqrstuupx2xBUC4954936wVIjyyPHmUBFu0wCW\n";

/// A running docker-registry; ends when dropped.
#[derive(Debug)]
pub(crate) struct Registry {
    _process: Child,
    /// `127.0.0.1:PORT`.
    pub(crate) host: String,
    client: reqwest::Client,
    password: Option<&'static str>,
}

impl Registry {
    /// Starts a registry that anyone may use.
    pub(crate) async fn start() -> Registry {
        Registry::start_with("", None).await
    }

    /// Starts a registry that asks for [`USER`] and [`PASSWORD`].
    pub(crate) async fn start_closed() -> Registry {
        let file = node().directory.join(format!("htpasswd-{}", node().number()));
        fs::write(&file, HTPASSWD).unwrap();
        let auth = format!(
            "auth: {{htpasswd: {{realm: e2e, path: \"{}\"}}}}\n",
            file.display()
        );
        Registry::start_with(&auth, Some(PASSWORD)).await
    }

    async fn start_with(further: &str, password: Option<&'static str>) -> Registry {
        let number = node().number();
        let host = format!("127.0.0.1:{}", 20000 + number);
        let storage = node().disk.join(format!("registry-{number}"));
        let config = node().directory.join(format!("registry-{number}.yml"));
        let text = format!(
            "version: 0.1\nlog: {{level: warn, accesslog: {{disabled: true}}}}\n\
             storage: {{filesystem: {{rootdirectory: \"{}\"}}}}\nhttp: {{addr: \"{host}\"}}\n{further}",
            storage.display()
        );
        fs::write(&config, text).unwrap();
        let log = fs::File::create(node().directory.join(format!("registry-{number}.log"))).unwrap();
        let process = Command::new(program())
            .arg("serve")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        // The one that is there stays: it is the same.
        let _there = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let url = format!("http://{host}/v2/");
        eventually("the registry answers", async || {
            client.get(&url).send().await.ok().map(drop)
        })
        .await;
        Registry {
            _process: process,
            host,
            client,
            password,
        }
    }

    fn request(&self, method: reqwest::Method, url: &str) -> reqwest::RequestBuilder {
        let request = self.client.request(method, url);
        match self.password {
            Some(password) => request.basic_auth(USER, Some(password)),
            None => request,
        }
    }

    /// Pushes an image as `repository:tag`.
    pub(crate) async fn push(&self, repository: &str, tag: &str, image: &TestImage) {
        for blob in &image.blobs {
            self.push_blob(repository, blob).await;
        }
        // By its digest too, for indexes that name it.
        self.push_manifest(repository, &image.manifest.digest(), &image.manifest)
            .await;
        self.push_manifest(repository, tag, &image.manifest).await;
    }

    /// Puts a manifest or an index below `reference`.
    pub(crate) async fn push_manifest(&self, repository: &str, reference: &str, manifest: &Blob) {
        let url = format!("http://{}/v2/{repository}/manifests/{reference}", self.host);
        let request = self
            .request(reqwest::Method::PUT, &url)
            .header(CONTENT_TYPE, manifest.media_type);
        let answer = request.body(manifest.content.clone()).send().await.unwrap();
        assert!(answer.status().is_success(), "{url}: {answer:?}");
    }

    async fn push_blob(&self, repository: &str, blob: &Blob) {
        let url = format!("http://{}/v2/{repository}/blobs/uploads/", self.host);
        let begun = self.request(reqwest::Method::POST, &url).send().await.unwrap();
        let location = begun.headers()[LOCATION].to_str().unwrap().to_owned();
        let request = self
            .request(reqwest::Method::PUT, &location)
            .query(&[("digest", blob.digest())]);
        let answer = request.body(blob.content.clone()).send().await.unwrap();
        assert!(answer.status().is_success(), "{location}: {answer:?}");
    }
}

/// Writes a `hosts.toml` for `host`.
pub(crate) fn hosts_toml(daemon: &Daemon, host: &str, text: &str) {
    super::endpoint::ours("configures the daemon");
    let directory = daemon.place.registries.join(host);
    fs::create_dir_all(&directory).unwrap();
    fs::write(directory.join("hosts.toml"), text).unwrap();
}

fn program() -> PathBuf {
    let installed = PathBuf::from("/usr/bin/docker-registry");
    if installed.exists() {
        return installed;
    }
    let unpacked = cached("debs", "docker-registry").map(|dir| dir.join("root/usr/bin/docker-registry"));
    unpacked.expect("docker-registry is neither installed nor unpacked in the cache")
}

/// A registry that serves what it is given below the addresses it is given, whatever their digests say.
#[derive(Debug)]
pub(crate) struct Liar {
    /// `127.0.0.1:PORT`.
    pub(crate) host: String,
    server: JoinHandle<()>,
}

impl Drop for Liar {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Liar {
    /// Serves `image` as `repository:tag` and by digest, with `change` done to the answers, by path.
    pub(crate) async fn start(
        repository: &str,
        tag: &str,
        image: &TestImage,
        change: impl FnOnce(&mut HashMap<String, Blob>),
    ) -> Liar {
        let mut answers = HashMap::new();
        for reference in [tag.to_owned(), image.manifest.digest()] {
            answers.insert(
                format!("/v2/{repository}/manifests/{reference}"),
                image.manifest.clone(),
            );
        }
        for blob in &image.blobs {
            answers.insert(format!("/v2/{repository}/blobs/{}", blob.digest()), blob.clone());
        }
        let root = Blob {
            media_type: "application/json",
            content: json!({}).to_string().into_bytes(),
        };
        answers.insert("/v2/".to_owned(), root);
        change(&mut answers);
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0)))
            .await
            .unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let server = tokio::spawn(serve(listener, Arc::new(answers)));
        Liar { host, server }
    }
}

async fn serve(listener: TcpListener, answers: Arc<HashMap<String, Blob>>) {
    // Ends with the server's task, which owns it.
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let answers = Arc::clone(&answers);
        let service = service_fn(move |request| std::future::ready(answer(&answers, &request)));
        connections.spawn(async move {
            // A client that goes away is no matter.
            let _gone = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

fn answer(
    answers: &HashMap<String, Blob>,
    request: &hyper::Request<Incoming>,
) -> Result<hyper::Response<reqwest::Body>, Infallible> {
    let response = match answers.get(request.uri().path()) {
        Some(blob) => hyper::Response::builder()
            .header("content-type", blob.media_type)
            .body(reqwest::Body::from(blob.content.clone())),
        None => hyper::Response::builder()
            .status(404)
            .body(reqwest::Body::default()),
    };
    Ok(response.expect("a status and a constant header make a response"))
}
