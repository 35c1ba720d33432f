//! `coracle pull`, `images` and `rmi`, through the daemon's API. `coracle image` does more, and without a daemon too.

use std::process::ExitCode;

use clap::Args;
use indicatif::BinaryBytes;

use super::place::Place;
use super::table::{Format, short, table};
use crate::app::client::{Call, Empty};
use crate::cli::{CliError, print};
use crate::model::{
    Image, ImageSpec, ListImagesRequest, ListImagesResponse, PullImageRequest, PullImageResponse,
    RemoveImageRequest,
};

#[derive(Clone, Debug, Args)]
pub(in crate::cli) struct Pull {
    /// Names, with a tag or a digest; `busybox` is short for docker.io/library/busybox:latest
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
}

#[derive(Clone, Debug, Args)]
pub(in crate::cli) struct List {
    /// Prints ids only
    #[arg(short, long)]
    quiet: bool,
    /// Shows ids whole
    #[arg(long)]
    no_trunc: bool,
    /// How they are printed
    #[arg(short, long, value_enum, default_value = "table", hide_default_value = true)]
    output: Format,
}

#[derive(Clone, Debug, Args)]
pub(in crate::cli) struct Remove {
    /// Any of an image's names, or its id
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
}

pub(super) async fn pull(place: &Place, options: Pull) -> Result<ExitCode, CliError> {
    let mut code = ExitCode::SUCCESS;
    for image in &options.images {
        match pull_one(place, image).await {
            Ok(id) => print(&format!("{id}\n"))?,
            Err(error) => code = error.report(),
        }
    }
    Ok(code)
}

/// Pulls an image, and returns its id.
pub(super) async fn pull_one(place: &Place, image: &str) -> Result<String, CliError> {
    let request = PullImageRequest {
        image: Some(ImageSpec::named(image)),
        auth: None,
    };
    let action = || format!("pull {image}");
    let pulled: PullImageResponse = place.call(Call::PullImage, &request, action).await?;
    Ok(pulled.image_ref)
}

pub(super) async fn list(place: &Place, options: List) -> Result<ExitCode, CliError> {
    let request = ListImagesRequest::default();
    let action = || "list images".to_owned();
    let listed: ListImagesResponse = place.call(Call::ListImages, &request, action).await?;
    let id = |image: &Image| match options.no_trunc {
        true => image.id.clone(),
        false => short(&image.id).to_owned(),
    };
    let text = match (options.output, options.quiet) {
        (Format::Json, _) => format!("{:#}\n", serde_json::json!(listed.images)),
        (Format::Table, true) => listed.images.iter().map(|image| id(image) + "\n").collect(),
        (Format::Table, false) => {
            let mut rows = vec![["NAME", "IMAGE ID", "SIZE"].map(str::to_owned)];
            for image in &listed.images {
                let size = BinaryBytes(image.size).to_string();
                rows.extend(names(image).map(|name| [name.to_owned(), id(image), size.clone()]));
            }
            table(&rows)
        }
    };
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// The names with a tag; those with a digest only if there is no other; something in any case.
fn names(image: &Image) -> impl Iterator<Item = &str> {
    let names = match (image.repo_tags.is_empty(), image.repo_digests.is_empty()) {
        (false, _) => &image.repo_tags[..],
        (true, false) => &image.repo_digests[..1],
        (true, true) => &[],
    };
    let nameless = names.is_empty().then_some("<none>");
    names.iter().map(String::as_str).chain(nameless)
}

pub(super) async fn remove(place: &Place, options: Remove) -> Result<ExitCode, CliError> {
    let mut code = ExitCode::SUCCESS;
    for image in &options.images {
        let request = RemoveImageRequest {
            image: Some(ImageSpec::named(image)),
        };
        let action = || format!("remove {image}");
        // The call succeeds also when there is nothing to remove, and who types a name means something.
        let removed = match super::create::has(place, image).await {
            Ok(true) => place.call(Call::RemoveImage, &request, action).await,
            Ok(false) => Err(CliError::NoImage(image.clone())),
            Err(error) => Err(error),
        };
        match removed {
            Ok(Empty {}) => print(&format!("{image}\n"))?,
            Err(error) => code = error.report(),
        }
    }
    Ok(code)
}
