//! Importing: the daemon reads a file itself, and is sent what comes from standard input.

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use futures_util::{Stream, StreamExt, stream};
use tokio::io::AsyncReadExt;

use super::short;
use crate::app::admin::ARCHIVE_PIECE;
use crate::app::admin::wire::{self, import_images_request::Part};
use crate::cli::client::{Admin, During};
use crate::cli::{CliError, print};

pub(super) async fn import(admin: &mut Admin, file: PathBuf, name: Option<String>) -> Result<(), CliError> {
    let action = format!("import {}", file.display());
    let path = if file == Path::new("-") {
        String::new()
    } else {
        absolute(&file)?
    };
    let archive = path.is_empty().then(standard_input).transpose()?;
    let source = wire::Source {
        path,
        name: name.unwrap_or_default(),
    };
    let parts = stream::once(std::future::ready(Part::Source(source)))
        .chain(stream::iter(archive).flatten())
        .map(|part| wire::ImportImagesRequest { part: Some(part) });
    let answer = admin.import_images(parts).await.during(action)?;
    for image in answer.images {
        let name = image.names.first().map_or("<none>", String::as_str);
        print(&format!("{name} is {}\n", short(&image.id)))?;
    }
    Ok(())
}

/// The daemon has another working directory.
fn absolute(file: &Path) -> Result<String, CliError> {
    let found = std::fs::canonicalize(file).and_then(|path| {
        path.into_os_string()
            .into_string()
            .map_err(|_| std::io::Error::from(std::io::ErrorKind::InvalidFilename))
    });
    found.map_err(|source| CliError::File {
        action: "find",
        path: file.to_owned(),
        source,
    })
}

/// Standard input in pieces. One that cannot be read ends early, and so as a broken archive.
fn standard_input() -> Result<impl Stream<Item = Part>, CliError> {
    let input = std::io::stdin().as_fd().try_clone_to_owned();
    let input = input.map_err(|source| CliError::File {
        action: "read",
        path: "standard input".into(),
        source,
    })?;
    let input = tokio::fs::File::from_std(input.into());
    Ok(stream::unfold(input, |mut input| async move {
        let mut piece = Vec::with_capacity(ARCHIVE_PIECE);
        match (&mut input)
            .take(ARCHIVE_PIECE as u64)
            .read_to_end(&mut piece)
            .await
        {
            Ok(length) if length > 0 => Some((Part::Archive(piece), input)),
            _ => None,
        }
    }))
}
