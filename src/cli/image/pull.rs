//! Pulling, with a bar for each layer while someone watches.

use super::progress::Bars;
use crate::app::admin::wire::{self, pull_image_response::Answer};
use crate::cli::CliError;
use crate::cli::client::{Admin, During};

/// Pulls `name`. Ctrl-C ends this process and with it the call; the daemon gives up a pull that nobody waits for.
pub(in crate::cli) async fn pull(admin: &mut Admin, name: &str) -> Result<wire::Image, CliError> {
    let action = format!("pull {name}");
    let request = wire::PullImageRequest {
        name: name.to_owned(),
    };
    let mut answers = admin.pull_image(request).await.during(&action)?;
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
                return Ok(image);
            }
            None => {}
        }
    }
    Err(CliError::Incomplete(action))
}
