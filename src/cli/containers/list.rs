//! `coracle ps`.

use std::process::ExitCode;

use clap::Args;

use super::place::{Place, name};
use super::table::{Format, ago, short, table};
use crate::app::client::owner;
use crate::cli::{CliError, print};
use crate::model::{Container, ContainerState};
use crate::sys::clock;

#[derive(Clone, Debug, Args)]
pub(in crate::cli) struct Options {
    /// Shows those that do not run, too
    #[arg(short, long)]
    all: bool,
    /// Prints ids only
    #[arg(short, long)]
    quiet: bool,
    /// Shows ids and images whole
    #[arg(long)]
    no_trunc: bool,
    /// Shows those that have a label
    #[arg(short, long, value_name = "NAME=VALUE", value_parser = super::create::pair)]
    label: Vec<(String, String)>,
    /// How they are printed
    #[arg(short, long, value_enum, default_value = "table", hide_default_value = true)]
    output: Format,
}

pub(super) async fn run(place: &Place, options: Options) -> Result<ExitCode, CliError> {
    let mut all = place.containers().await?;
    all.retain(|container| options.all || container.state == ContainerState::Running);
    let labelled = |container: &Container| {
        let mut wanted = options.label.iter();
        wanted.all(|(key, value)| container.labels.get(key) == Some(value))
    };
    all.retain(labelled);
    all.sort_by_key(|container| std::cmp::Reverse(container.created_at));
    let text = match (options.output, options.quiet) {
        (Format::Json, _) => format!("{:#}\n", serde_json::json!(all)),
        (Format::Table, true) => all.iter().map(|it| format!("{}\n", id(it, &options))).collect(),
        (Format::Table, false) => lines(&all, &options, clock::now()),
    };
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}

fn id<'a>(container: &'a Container, options: &Options) -> &'a str {
    match options.no_trunc {
        true => &container.id,
        false => short(&container.id),
    }
}

fn lines(all: &[Container], options: &Options, now: i64) -> String {
    let mut rows = vec![["CONTAINER ID", "IMAGE", "CREATED", "STATE", "OWNER", "NAME"].map(str::to_owned)];
    for container in all {
        let image = container.image.as_ref().map_or("", |image| &image.image);
        // An image by its id alone.
        let image = match image.strip_prefix("sha256:") {
            Some(digits) if !options.no_trunc => short(digits),
            _ => image,
        };
        let owned = owner(&container.tags).is_some();
        rows.push([
            id(container, options).to_owned(),
            image.to_owned(),
            ago(container.created_at, now),
            state(container.state).to_owned(),
            if owned { "kubelet" } else { "-" }.to_owned(),
            name(container).to_owned(),
        ]);
    }
    table(&rows)
}

fn state(state: ContainerState) -> &'static str {
    match state {
        ContainerState::Created => "created",
        ContainerState::Running => "running",
        ContainerState::Exited => "exited",
        ContainerState::Unknown => "unknown",
    }
}
