//! Images for the tests, as OCI layouts made from the machine's own busybox.
//!
//! Its applets are hard links, so that masking one does not mask the others; `/suid-id` is coreutils' `id`, setuid
//! root.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tar::{Builder, EntryType, Header};

/// What a test image has beyond the base: its configuration, and a layer of its own.
#[derive(Debug, Default)]
pub(crate) struct Recipe {
    /// `config` of the image configuration.
    pub(crate) config: Value,
    /// Files of the second layer: path, owner, mode, content.
    pub(crate) files: Vec<(&'static str, u64, u32, Vec<u8>)>,
    /// A layer upon that, packed in an archive already: whatever [`Recipe::files`] has no words for.
    pub(crate) top: Option<Vec<u8>>,
    /// How the layers are packed.
    pub(crate) packing: Packing,
}

/// How a layer is packed.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) enum Packing {
    #[default]
    Plain,
    Gzip,
    Zstd,
}

impl Packing {
    /// Nothing, packed so.
    pub(crate) fn empty(self) -> Vec<u8> {
        self.layer(Vec::new()).content
    }

    fn layer(self, tar: Vec<u8>) -> Blob {
        use std::io::Write;

        let (media_type, content) = match self {
            Packing::Plain => ("application/vnd.oci.image.layer.v1.tar", tar),
            Packing::Gzip => {
                let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                gzip.write_all(&tar).unwrap();
                (
                    "application/vnd.oci.image.layer.v1.tar+gzip",
                    gzip.finish().unwrap(),
                )
            }
            Packing::Zstd => {
                let packed = zstd::encode_all(tar.as_slice(), 1).unwrap();
                ("application/vnd.oci.image.layer.v1.tar+zstd", packed)
            }
        };
        Blob { media_type, content }
    }
}

/// One content-addressed piece of an image.
#[derive(Clone, Debug)]
pub(crate) struct Blob {
    pub(crate) media_type: &'static str,
    pub(crate) content: Vec<u8>,
}

/// The type that artifacts of [`artifact`] are of.
pub(crate) const ARTIFACT: &str = "application/vnd.example.model.v1";

/// An artifact of files: title and content. Its configuration is the empty one of all.
pub(crate) fn artifact(files: &[(&str, &[u8])]) -> TestImage {
    let config = Blob {
        media_type: "application/vnd.oci.empty.v1+json",
        content: b"{}".to_vec(),
    };
    let blobs = files.iter().map(|(_, content)| Blob {
        media_type: "application/octet-stream",
        content: content.to_vec(),
    });
    let blobs: Vec<Blob> = std::iter::once(config).chain(blobs).collect();
    let mut descriptors: Vec<Value> = blobs.iter().map(Blob::descriptor).collect();
    for (descriptor, (title, _)) in descriptors[1..].iter_mut().zip(files) {
        descriptor["annotations"] = json!({"org.opencontainers.image.title": title});
    }
    if files.is_empty() {
        descriptors.push(descriptors[0].clone());
    }
    let manifest = json!({"artifactType": ARTIFACT, "config": descriptors[0], "layers": descriptors[1..]});
    TestImage::of(manifest, blobs)
}

/// An image: its manifest, and what that names.
#[derive(Clone, Debug)]
pub(crate) struct TestImage {
    pub(crate) manifest: Blob,
    /// Configuration first, then layers.
    pub(crate) blobs: Vec<Blob>,
}

impl Blob {
    pub(crate) fn digest(&self) -> String {
        digest(&self.content)
    }

    pub(crate) fn descriptor(&self) -> Value {
        json!({"mediaType": self.media_type, "digest": self.digest(), "size": self.content.len()})
    }
}

/// `sha256:` and the hash.
pub(crate) fn digest(content: &[u8]) -> String {
    let hash = Sha256::digest(content);
    let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

impl TestImage {
    /// Builds an image upon the base layer.
    pub(crate) fn build(recipe: &Recipe) -> TestImage {
        let mut layers = vec![base_layer()];
        if !recipe.files.is_empty() {
            layers.push(layer(&recipe.files));
        }
        layers.extend(recipe.top.clone());
        let diff_ids: Vec<String> = layers.iter().map(|tar| digest(tar)).collect();
        let mut config = json!({"Env": ["PATH=/usr/bin:/bin"], "Cmd": ["sh"]});
        merge(&mut config, &recipe.config);
        let config = json!({
            "architecture": architecture(), "os": "linux", "config": config,
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        });
        let config = Blob {
            media_type: "application/vnd.oci.image.config.v1+json",
            content: config.to_string().into_bytes(),
        };
        let layers = layers.into_iter().map(|tar| recipe.packing.layer(tar));
        let blobs: Vec<Blob> = std::iter::once(config).chain(layers).collect();
        let descriptors: Vec<Value> = blobs.iter().map(Blob::descriptor).collect();
        TestImage::of(
            json!({"config": descriptors[0], "layers": descriptors[1..]}),
            blobs,
        )
    }

    /// What a manifest says that names its version and type beside this.
    pub(crate) fn of(mut manifest: Value, blobs: Vec<Blob>) -> TestImage {
        const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
        manifest["schemaVersion"] = json!(2);
        manifest["mediaType"] = json!(MANIFEST);
        TestImage {
            manifest: Blob {
                media_type: MANIFEST,
                content: manifest.to_string().into_bytes(),
            },
            blobs,
        }
    }

    /// The image's id: the digest of its configuration.
    pub(crate) fn id(&self) -> String {
        self.blobs[0].digest()
    }

    /// Writes the image as an OCI layout in an archive (image-spec, "OCI Image Layout Specification").
    pub(crate) fn write_archive(&self, path: &Path) {
        let mut archive = Builder::new(fs::File::create(path).unwrap());
        let index = json!({"schemaVersion": 2, "manifests": [self.manifest.descriptor()]});
        add(
            &mut archive,
            "oci-layout",
            0,
            0o644,
            br#"{"imageLayoutVersion":"1.0.0"}"#,
        );
        add(&mut archive, "index.json", 0, 0o644, index.to_string().as_bytes());
        for blob in self.blobs.iter().chain([&self.manifest]) {
            let name = format!("blobs/{}", blob.digest().replace(':', "/"));
            add(&mut archive, &name, 0, 0o644, &blob.content);
        }
        archive.finish().unwrap();
    }

    /// Writes the image as `docker save` does; `change` is done to what the archive says of itself.
    pub(crate) fn write_docker_archive(&self, path: &Path, tag: &str, change: impl FnOnce(&mut Value)) {
        let layers: Vec<String> = (1..self.blobs.len()).map(|n| format!("{n}/layer.tar")).collect();
        let mut manifest = json!([{"Config": "config.json", "RepoTags": [tag], "Layers": layers}]);
        change(&mut manifest);
        let mut archive = Builder::new(fs::File::create(path).unwrap());
        add(
            &mut archive,
            "manifest.json",
            0,
            0o644,
            manifest.to_string().as_bytes(),
        );
        add(&mut archive, "config.json", 0, 0o644, &self.blobs[0].content);
        for (path, blob) in layers.iter().zip(&self.blobs[1..]) {
            add(&mut archive, path, 0, 0o644, &blob.content);
        }
        archive.finish().unwrap();
    }
}

fn merge(into: &mut Value, from: &Value) {
    for (key, value) in from.as_object().into_iter().flatten() {
        into[key] = value.clone();
    }
}

pub(crate) fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// Busybox, coreutils' `id`, what they are linked with, users and directories.
fn base_layer() -> Vec<u8> {
    let mut tar = Builder::new(Vec::new());
    for (path, mode) in [
        ("bin", 0o755),
        ("etc", 0o755),
        ("root", 0o700),
        ("tmp", 0o1777),
        ("var", 0o755),
    ] {
        directory(&mut tar, path, 0, mode);
    }
    add(&mut tar, "etc/passwd", 0, 0o644, PASSWD);
    add(&mut tar, "etc/group", 0, 0o644, GROUP);
    let (busybox, id) = (program("busybox"), program("id"));
    add(&mut tar, "bin/busybox", 0, 0o755, &fs::read(&busybox).unwrap());
    add(&mut tar, "suid-id", 0, 0o4755, &fs::read(&id).unwrap());
    for applet in applets(&busybox) {
        let mut header = header(EntryType::Link, 0, 0o755, 0);
        tar.append_link(&mut header, format!("bin/{applet}"), "bin/busybox")
            .unwrap();
    }
    let libraries: BTreeSet<PathBuf> = [&busybox, &id]
        .into_iter()
        .flat_map(|path| libraries(path))
        .collect();
    for library in libraries {
        let name = library.to_string_lossy().trim_start_matches('/').to_owned();
        add(&mut tar, &name, 0, 0o755, &fs::read(&library).unwrap());
    }
    tar.into_inner().unwrap()
}

const PASSWD: &[u8] = b"root:x:0:0:root:/root:/bin/sh\n\
    app:x:1000:1000:app:/tmp:/bin/sh\n\
    nobody:x:65534:65534:nobody:/nonexistent:/bin/false\n";
const GROUP: &[u8] = b"root:x:0:\napp:x:1000:\nextra:x:50000:app\nnogroup:x:65534:\n";

fn layer(files: &[(&str, u64, u32, Vec<u8>)]) -> Vec<u8> {
    let mut tar = Builder::new(Vec::new());
    for (path, owner, mode, content) in files {
        match path.strip_suffix('/') {
            Some(path) => directory(&mut tar, path, *owner, *mode),
            None => add(&mut tar, path, *owner, *mode, content),
        }
    }
    tar.into_inner().unwrap()
}

/// A layer with nothing but these symbolic links, path and target.
pub(crate) fn links(links: &[(&str, &str)]) -> Vec<u8> {
    let mut tar = Builder::new(Vec::new());
    for (path, target) in links {
        let mut header = header(EntryType::Symlink, 0, 0o777, 0);
        tar.append_link(&mut header, path, target).unwrap();
    }
    tar.into_inner().unwrap()
}

/// A layer with nothing but these nodes: path, kind, major and minor number.
pub(crate) fn nodes(nodes: &[(&str, EntryType, u32, u32)]) -> Vec<u8> {
    let mut tar = Builder::new(Vec::new());
    for (path, kind, major, minor) in nodes {
        let mut header = header(*kind, 0, 0o666, 0);
        header.set_device_major(*major).unwrap();
        header.set_device_minor(*minor).unwrap();
        tar.append_data(&mut header, path, std::io::empty()).unwrap();
    }
    tar.into_inner().unwrap()
}

/// A layer with perl, which can make any system call.
pub(crate) fn perl() -> Vec<u8> {
    let mut tar = Builder::new(Vec::new());
    let perl = program("perl");
    let files = std::iter::once(perl.clone()).chain(libraries(&perl));
    for file in files {
        let name = file.to_string_lossy().trim_start_matches('/').to_owned();
        add(&mut tar, &name, 0, 0o755, &fs::read(&file).unwrap());
    }
    tar.into_inner().unwrap()
}

fn header(kind: EntryType, owner: u64, mode: u32, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_uid(owner);
    header.set_gid(owner);
    header.set_mode(mode);
    header.set_size(size);
    header.set_mtime(1_700_000_000);
    header
}

fn directory<W: std::io::Write>(tar: &mut Builder<W>, path: &str, owner: u64, mode: u32) {
    let mut header = header(EntryType::Directory, owner, mode, 0);
    tar.append_data(&mut header, path, std::io::empty()).unwrap();
}

fn add<W: std::io::Write>(tar: &mut Builder<W>, path: &str, owner: u64, mode: u32, content: &[u8]) {
    let mut header = header(EntryType::Regular, owner, mode, content.len() as u64);
    tar.append_data(&mut header, path, content).unwrap();
}

fn program(name: &str) -> PathBuf {
    let found = ["/usr/bin", "/bin"].map(|directory| Path::new(directory).join(name));
    found
        .into_iter()
        .find(|path| path.exists())
        .unwrap_or_else(|| panic!("{name} is not installed"))
}

fn applets(busybox: &Path) -> Vec<String> {
    let output = Command::new(busybox).arg("--list").output().unwrap();
    let names = String::from_utf8(output.stdout).unwrap();
    names
        .lines()
        .filter(|name| *name != "busybox")
        .map(str::to_owned)
        .collect()
}

/// The shared libraries of a program, the loader among them, where the program looks for them.
fn libraries(program: &Path) -> Vec<PathBuf> {
    let output = Command::new("ldd").arg(program).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let paths = text.split_whitespace().filter(|word| word.starts_with('/'));
    paths.map(PathBuf::from).collect()
}
