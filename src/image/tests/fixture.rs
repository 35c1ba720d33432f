//! Images made in memory, a store to put them in, and a small HTTP server to get them from.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::image::digest::Digest;
use crate::image::{Images, Settings};
use crate::model::{AuthConfig, ImageService as _, ImageSpec, PullImageRequest, Result};
use crate::state::Store;

pub(super) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(super) const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// An entry of a layer in the making.
pub(super) enum Item<'a> {
    File(&'a str, &'a str),
    Directory(&'a str, u32),
    Symlink(&'a str, &'a str),
}

/// Makes a tar archive.
pub(super) fn tar(items: &[Item<'_>]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for item in items {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_mtime(1_600_000_000);
        match item {
            Item::File(path, text) => {
                header.set_size(text.len() as u64);
                builder.append_data(&mut header, path, text.as_bytes()).unwrap();
            }
            Item::Directory(path, mode) => {
                header.set_entry_type(tar::EntryType::Directory);
                header.set_mode(*mode);
                header.set_size(0);
                builder.append_data(&mut header, path, std::io::empty()).unwrap();
            }
            Item::Symlink(path, target) => {
                header.set_entry_type(tar::EntryType::Symlink);
                header.set_size(0);
                builder.append_link(&mut header, path, target).unwrap();
            }
        }
    }
    builder.into_inner().unwrap()
}

pub(super) fn gzip(plain: &[u8]) -> Vec<u8> {
    use std::io::Write as _;

    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

/// An image in memory.
#[derive(Clone)]
pub(super) struct TestImage {
    pub manifest: Vec<u8>,
    pub blobs: Vec<Vec<u8>>,
}

impl TestImage {
    /// Makes an image of layers, gzip, plain and zstd in turn. `config` is merged into its configuration.
    pub(super) fn new(layers: &[Vec<u8>], config: Value) -> TestImage {
        let diff_ids: Vec<_> = layers.iter().map(|l| Digest::of(l).to_string()).collect();
        let mut blobs: Vec<Vec<u8>> = (layers.iter().enumerate())
            .map(|(index, layer)| match index % 3 {
                0 => gzip(layer),
                1 => layer.clone(),
                _ => zstd::encode_all(&layer[..], 1).unwrap(),
            })
            .collect();
        let config = json!({
            "architecture": "amd64", "os": "linux", "config": config,
            "rootfs": { "type": "layers", "diff_ids": diff_ids },
        });
        let config = serde_json::to_vec(&config).unwrap();
        let describe = |kind: &str, blob: &[u8]| json!({ "mediaType": kind, "digest": Digest::of(blob).to_string(), "size": blob.len() });
        let manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST,
            "config": describe("application/vnd.oci.image.config.v1+json", &config),
            "layers": blobs.iter().map(|b| describe("application/vnd.oci.image.layer.v1.tar+gzip", b)).collect::<Vec<_>>(),
        });
        blobs.push(config);
        TestImage {
            manifest: serde_json::to_vec(&manifest).unwrap(),
            blobs,
        }
    }

    /// An image of one file.
    pub(super) fn of(text: &str) -> TestImage {
        TestImage::new(&[tar(&[Item::File("file", text)])], json!({}))
    }

    pub(super) fn digest(&self) -> String {
        Digest::of(&self.manifest).to_string()
    }

    pub(super) fn id(&self) -> String {
        Digest::of(self.blobs.last().unwrap()).to_string()
    }

    /// Writes it as an OCI layout.
    pub(super) fn layout(&self, dir: &Path, annotations: Value) {
        let blobs = dir.join("blobs/sha256");
        std::fs::create_dir_all(&blobs).unwrap();
        for blob in self.blobs.iter().chain([&self.manifest]) {
            std::fs::write(blobs.join(&Digest::of(blob).as_str()[7..]), blob).unwrap();
        }
        let index = json!({
            "schemaVersion": 2,
            "manifests": [{
                "mediaType": MANIFEST, "digest": self.digest(), "size": self.manifest.len(), "annotations": annotations,
            }],
        });
        std::fs::write(dir.join("index.json"), index.to_string()).unwrap();
        std::fs::write(dir.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    }
}

/// An index with one image a platform.
pub(super) fn index(images: &[(&str, &TestImage)]) -> Vec<u8> {
    let entries: Vec<_> = images
        .iter()
        .map(|(architecture, image)| {
            json!({
                "mediaType": MANIFEST, "digest": image.digest(), "size": image.manifest.len(),
                "platform": { "os": "linux", "architecture": architecture },
            })
        })
        .collect();
    serde_json::to_vec(&json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": entries })).unwrap()
}

/// A store of its own.
pub(super) struct Bench {
    pub dir: TempDir,
    pub images: Images,
    store: Store,
}

impl Bench {
    pub(super) async fn new() -> Bench {
        Bench::open(tempfile::tempdir().unwrap()).await
    }

    /// Ends the engine as a daemon's end does, and runs another after `between`.
    pub(super) async fn restart(self, between: impl FnOnce(&Path)) -> Bench {
        let Bench { dir, images, store } = self;
        images.drain().await;
        store.close().await;
        drop((images, store));
        between(&dir.path().join("images"));
        Bench::open(dir).await
    }

    async fn open(temporary: TempDir) -> Bench {
        let dir = temporary.path();
        let settings = Settings {
            registry_config_dir: dir.join("certs.d"),
            auth_file: Some(dir.join("config.json")),
            platform: crate::image::Platform {
                os: "linux".to_owned(),
                architecture: "amd64".to_owned(),
                variant: String::new(),
            },
            abandoned_pull_grace: std::time::Duration::from_millis(10),
            ..Settings::at(dir.join("images"))
        };
        let store = Store::open(&dir.join("state.db")).unwrap();
        let images = Images::open(settings, store.clone()).await.unwrap();
        Bench {
            dir: temporary,
            images,
            store,
        }
    }

    pub(super) async fn pull(&self, name: &str) -> Result<String> {
        self.pull_as(name, None).await
    }

    pub(super) async fn pull_as(&self, name: &str, auth: Option<AuthConfig>) -> Result<String> {
        let image = Some(ImageSpec::named(name));
        let answer = self.images.pull_image(PullImageRequest { image, auth }).await?;
        Ok(answer.image_ref)
    }

    /// The names in a directory of the store.
    pub(super) fn names(&self, directory: &str) -> Vec<String> {
        let mut names: Vec<_> = std::fs::read_dir(self.dir.path().join("images").join(directory))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    pub(super) async fn read(&self, name: &str, path: &str) -> Option<String> {
        let image = self.images.resolve(name).expect("the image is in the store");
        let bytes = self.images.read_file(&image, path).await.unwrap();
        bytes.map(|b| String::from_utf8(b).unwrap())
    }
}

/// A request as the server sees it.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub method: String,
    /// Path with query.
    pub target: String,
    pub headers: HashMap<String, String>,
    pub body: String,
}

/// An answer.
#[derive(Clone, Debug, Default)]
pub(super) struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// Breaks the connection after so many bytes of the body.
    pub cut: Option<usize>,
    /// Never answers.
    pub hang: bool,
}

impl Answer {
    pub(super) fn ok(body: impl Into<Vec<u8>>) -> Answer {
        Answer {
            status: 200,
            body: body.into(),
            ..Answer::default()
        }
    }

    pub(super) fn status(status: u16) -> Answer {
        Answer {
            status,
            ..Answer::default()
        }
    }

    pub(super) fn header(mut self, name: &str, value: impl Into<String>) -> Answer {
        self.headers.push((name.to_owned(), value.into()));
        self
    }
}

type Handler = dyn Fn(&Request) -> Answer + Send + Sync;

/// An HTTP server on loopback, until it is dropped.
pub(super) struct Server {
    pub address: String,
    requests: Arc<Mutex<Vec<Request>>>,
    _tasks: JoinSet<()>,
}

impl Server {
    pub(super) async fn start(handler: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (handler, seen): (Arc<Handler>, _) = (Arc::new(handler), Arc::clone(&requests));
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, Arc::clone(&handler), Arc::clone(&seen)));
            }
        });
        Server {
            address,
            requests,
            _tasks: tasks,
        }
    }

    /// A registry that has an image under any repository and tag; `before` may answer first.
    pub(super) async fn registry(
        image: TestImage,
        before: impl Fn(&Request) -> Option<Answer> + Send + Sync + 'static,
    ) -> Server {
        Server::start(move |request| before(request).unwrap_or_else(|| serve_image(&image, request))).await
    }

    /// The requests so far, as `METHOD target`.
    pub(super) fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    /// How many requests had a target with this text.
    pub(super) fn count(&self, text: &str) -> usize {
        self.requests().iter().filter(|r| r.target.contains(text)).count()
    }
}

/// Answers as a registry that has one image.
pub(super) fn serve_image(image: &TestImage, request: &Request) -> Answer {
    let path = request.target.split('?').next().unwrap();
    if path == "/v2/" {
        return Answer::ok("{}");
    }
    if path.contains("/manifests/") {
        return Answer::ok(image.manifest.clone()).header("content-type", MANIFEST);
    }
    let digest = path.rsplit('/').next().unwrap();
    let Some(blob) = image.blobs.iter().find(|b| Digest::of(b).as_str() == digest) else {
        return Answer::status(404);
    };
    let from = request.headers.get("range").and_then(|range| {
        let (from, _) = range.strip_prefix("bytes=")?.split_once('-')?;
        from.parse::<usize>().ok()
    });
    match from {
        Some(from) => Answer {
            status: 206,
            body: blob[from..].to_vec(),
            ..Answer::default()
        },
        None => Answer::ok(blob.clone()),
    }
}

async fn serve(stream: tokio::net::TcpStream, handler: Arc<Handler>, seen: Arc<Mutex<Vec<Request>>>) {
    let mut stream = BufReader::new(stream);
    while let Some(request) = read_request(&mut stream).await {
        let answer = handler(&request);
        seen.lock().unwrap().push(request);
        if answer.hang {
            std::future::pending::<()>().await;
        }
        let mut head = format!(
            "HTTP/1.1 {} x\r\ncontent-length: {}\r\n",
            answer.status,
            answer.body.len()
        );
        for (name, value) in &answer.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        let end = answer.cut.unwrap_or(answer.body.len());
        let sent = async {
            stream.write_all(head.as_bytes()).await?;
            stream.write_all(&answer.body[..end]).await?;
            stream.flush().await
        };
        if sent.await.is_err() || answer.cut.is_some() {
            return;
        }
    }
}

async fn read_request(stream: &mut BufReader<tokio::net::TcpStream>) -> Option<Request> {
    let mut line = String::new();
    stream.read_line(&mut line).await.ok().filter(|n| *n > 0)?;
    let mut words = line.split_whitespace().map(str::to_owned);
    let (method, target) = (words.next()?, words.next()?);
    let mut headers = HashMap::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else {
            break;
        };
        headers.insert(name.to_ascii_lowercase(), value.to_owned());
    }
    let length = headers
        .get("content-length")
        .and_then(|l| l.parse().ok())
        .unwrap_or(0);
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some(Request {
        method,
        target,
        headers,
        body: String::from_utf8_lossy(&body).into_owned(),
    })
}
