//! An import: from a path that the daemon can read, or from an archive that the client sends.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use tokio::io::AsyncWriteExt;
use tonic::{Status, Streaming};

use super::AdminService;
use super::wire::{self, import_images_request::Part};
use crate::cri::status::refuse;

impl AdminService {
    pub(super) async fn import(
        &self,
        mut parts: Streaming<wire::ImportImagesRequest>,
    ) -> Result<Vec<wire::Image>, Status> {
        let first = parts.message().await?.and_then(|message| message.part);
        let Some(Part::Source(source)) = first else {
            return Err(Status::invalid_argument("source is missing"));
        };
        let name = Some(source.name.as_str()).filter(|name| !name.is_empty());
        if source.path.is_empty() {
            let archive = self.receive(parts).await?;
            // The file has no name; this is the way to open it again from its start.
            let path = format!("/proc/self/fd/{}", archive.as_raw_fd());
            return self.import_path(Path::new(&path), name).await;
        }
        let path = PathBuf::from(source.path);
        if !path.is_absolute() {
            return Err(Status::invalid_argument("path is not absolute"));
        }
        self.import_path(&path, name).await
    }

    async fn import_path(&self, path: &Path, name: Option<&str>) -> Result<Vec<wire::Image>, Status> {
        let images = self.images.import(path, name).await.map_err(refuse)?;
        Ok(images.into_iter().map(wire::Image::from).collect())
    }

    /// Writes the archive to a file that vanishes with its descriptor, so that nothing is left after a crash.
    async fn receive(&self, mut parts: Streaming<wire::ImportImagesRequest>) -> Result<File, Status> {
        let spool = |error: io::Error| {
            Status::internal(format!("write archive to {}: {error}", self.spool.display()))
        };
        let mut file = tokio::fs::File::from_std(unnamed_file(&self.spool).map_err(spool)?);
        while let Some(message) = parts.message().await? {
            let Some(Part::Archive(piece)) = message.part else {
                return Err(Status::invalid_argument("source is repeated"));
            };
            file.write_all(&piece).await.map_err(spool)?;
        }
        file.flush().await.map_err(spool)?;
        Ok(file.into_std().await)
    }
}

fn unnamed_file(directory: &Path) -> io::Result<File> {
    std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .mode(0o600)
        .custom_flags(OFlags::TMPFILE.bits() as i32)
        .open(directory)
}
