//! The engine against Debian's registry, which these tests need installed.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

use serde_json::json;
use tempfile::TempDir;

use super::fixture::{Bench, INDEX, Item, MANIFEST, TestImage, index, tar};
use crate::image::digest::Digest;

/// A registry on loopback, until it is dropped.
struct Registry {
    address: String,
    process: Child,
    _dir: TempDir,
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Registry {
    fn start() -> Registry {
        let dir = tempfile::tempdir().unwrap();
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let config = dir.path().join("config.yml");
        let text = format!(
            "version: 0.1\nlog: {{level: info}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: '{free}'}}\n",
            dir.path().join("data").display()
        );
        std::fs::write(&config, text).unwrap();
        let mut process = Command::new("docker-registry")
            .arg("serve")
            .arg(&config)
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("Debian's package docker-registry is installed");
        let mut log = BufReader::new(process.stderr.take().unwrap()).lines();
        assert!(log.any(|line| line.unwrap().contains("listening on")));
        // It ends with the process, whose pipe must not break before.
        let _drain = tokio::task::spawn_blocking(move || log.for_each(drop));
        Registry {
            address: free.to_string(),
            process,
            _dir: dir,
        }
    }

    /// Sends a request; returns status and head.
    fn send(&self, method: &str, target: &str, kind: &str, body: &[u8]) -> (u16, String) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let head = format!(
            "{method} {target} HTTP/1.1\r\nhost: {}\r\ncontent-type: {kind}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
            self.address,
            body.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(body).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
        (status, answer)
    }

    fn push(&self, repository: &str, tag: &str, image: &TestImage) {
        for blob in &image.blobs {
            let (status, head) = self.send("POST", &format!("/v2/{repository}/blobs/uploads/"), "", b"");
            assert_eq!(status, 202, "{head}");
            let location = head.lines().find_map(|l| l.strip_prefix("Location: ")).unwrap();
            let target = location
                .split_once(&self.address)
                .map_or(location, |(_, path)| path);
            let target = format!("{target}&digest={}", Digest::of(blob));
            let (status, head) = self.send("PUT", &target, "application/octet-stream", blob);
            assert_eq!(status, 201, "{head}");
        }
        self.put(repository, tag, MANIFEST, &image.manifest);
    }

    fn put(&self, repository: &str, version: &str, kind: &str, manifest: &[u8]) {
        let (status, head) = self.send(
            "PUT",
            &format!("/v2/{repository}/manifests/{version}"),
            kind,
            manifest,
        );
        assert_eq!(status, 201, "{head}");
    }
}

#[tokio::test]
async fn a_real_registry_serves_tags_digests_indexes_and_untagged_names() {
    let registry = Registry::start();
    let shared = tar(&[
        Item::Directory("etc", 0o755),
        Item::File("etc/passwd", "root:x:0:0::/:/bin/sh\n"),
    ]);
    let one = TestImage::new(std::slice::from_ref(&shared), json!({ "Cmd": ["one"] }));
    let two = TestImage::new(
        &[shared, tar(&[Item::File("more", "x")])],
        json!({ "Cmd": ["two"] }),
    );
    registry.push("team/one", "latest", &one);
    registry.push("team/two", "1", &two);
    let both = index(&[("amd64", &two)]);
    registry.put("team/two", "multi", INDEX, &both);
    let bench = Bench::new().await;
    let at = |rest: &str| format!("{}/{rest}", registry.address);

    let untagged = bench.pull(&at("team/one")).await.unwrap();
    let tagged = bench.pull(&at("team/two:1")).await.unwrap();
    let multi = bench.pull(&at("team/two:multi")).await.unwrap();
    let digest = bench
        .pull(&at(&format!("team/two@{}", two.digest())))
        .await
        .unwrap();

    assert_eq!(untagged, one.id());
    assert_eq!([&tagged, &multi, &digest], [&two.id(); 3]);
    assert_eq!(bench.names("l").len(), 2);
    let record = bench.images.resolve(&tagged).unwrap();
    assert_eq!(record.repo_tags, [at("team/two:1"), at("team/two:multi")]);
    assert_eq!(record.repo_digests.len(), 2);
    assert_eq!(
        bench.read(&tagged, "etc/passwd").await.unwrap(),
        "root:x:0:0::/:/bin/sh\n"
    );
    let missing = bench.pull(&at("team/three")).await.unwrap_err();
    assert_eq!(missing.kind(), crate::model::Kind::NotFound, "{missing}");
}
