//! `coracle image`: people's way to the image store.
//!
//! Always the admin service: a daemon's if one runs, else one in this process (see [`session`]).

mod import;
mod list;
mod progress;
pub(super) mod pull;
mod session;

use std::path::PathBuf;

use clap::Subcommand;

use super::client::{Admin, During};
use super::{CliError, Settings, print};
use crate::app::admin::wire;
use session::Session;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Pulls an image from its registry.
    Pull {
        /// Name, with a tag or a digest; `busybox` is short for docker.io/library/busybox:latest
        image: String,
    },
    /// Lists the images of the store.
    #[command(visible_alias = "ls")]
    List {
        /// Prints ids only
        #[arg(short, long)]
        quiet: bool,
    },
    /// Brings the images of an OCI layout or of `docker save` into the store.
    Import {
        /// The archive or directory; `-` reads an archive from standard input
        file: PathBuf,
        /// Name for the only image of the archive; by default the names that the archive tells
        #[arg(long)]
        name: Option<String>,
    },
    /// Removes images, with all their names.
    #[command(visible_alias = "rm")]
    Remove {
        /// Any of an image's names, or its id
        #[arg(required = true)]
        images: Vec<String>,
    },
}

pub(super) async fn run(command: Command, settings: &Settings) -> Result<(), CliError> {
    let mut session = Session::open(settings).await?;
    let answer = match command {
        Command::Pull { image } => pull(&mut session.admin, &image).await,
        Command::List { quiet } => list::list(&mut session.admin, quiet).await,
        Command::Import { file, name } => import::import(&mut session.admin, file, name).await,
        Command::Remove { images } => remove(&mut session.admin, images).await,
    };
    session.close().await;
    answer
}

async fn pull(admin: &mut Admin, name: &str) -> Result<(), CliError> {
    let image = pull::pull(admin, name).await?;
    let size = indicatif::BinaryBytes(image.size);
    print(&format!("{name} is {}, {size}\n", short(&image.id)))
}

async fn remove(admin: &mut Admin, images: Vec<String>) -> Result<(), CliError> {
    for name in images {
        let request = wire::RemoveImageRequest { name: name.clone() };
        admin
            .remove_image(request)
            .await
            .during(format!("remove {name}"))?;
        print(&format!("{name} is gone\n"))?;
    }
    Ok(())
}

/// The first 12 digits of an id, without its algorithm.
fn short(id: &str) -> &str {
    let digits = id.split_once(':').map_or(id, |(_, digits)| digits);
    digits.get(..12).unwrap_or(digits)
}
