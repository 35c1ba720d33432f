//! Pulling, with a bar for each layer while someone watches.

use super::progress::Bars;
use super::{Admin, short};
use crate::app::admin::wire::{self, pull_image_response::Answer};
use crate::cli::client::During;
use crate::cli::{CliError, print};

/// Ctrl-C ends this process and with it the call; the daemon gives up a pull that nobody waits for.
pub(super) async fn pull(admin: &mut Admin, name: String) -> Result<(), CliError> {
    let action = format!("pull {name}");
    let mut answers = admin
        .pull_image(wire::PullImageRequest { name: name.clone() })
        .await
        .during(&action)?;
    let mut bars = Bars::new();
    while let Some(message) = answers
        .message()
        .await
        .map(tonic::Response::new)
        .during(&action)?
    {
        match message.answer {
            Some(Answer::Progress(progress)) => bars.show(&progress.layers),
            Some(Answer::Image(image)) => {
                bars.clear();
                return print(&format!("{name} is {}, {}\n", short(&image.id), size(image.size)));
            }
            None => {}
        }
    }
    Err(CliError::Incomplete(action))
}

fn size(bytes: u64) -> String {
    indicatif::BinaryBytes(bytes).to_string()
}
