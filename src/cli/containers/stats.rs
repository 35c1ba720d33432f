//! `coracle stats`: what containers use, measured over a second.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use indicatif::BinaryBytes;

use super::place::{Place, name};
use super::table::{Format, short, table};
use crate::app::client::{Call, ListContainerStatsRequest, ListContainerStatsResponse};
use crate::cli::{CliError, print};
use crate::model::{ContainerStats, CpuUsage};

/// Time between the two readings that a rate is made of.
const SPAN: Duration = Duration::from_secs(1);

#[derive(Clone, Debug, Args)]
pub(in crate::cli) struct Options {
    /// How they are printed; as JSON it is one reading, without rates
    #[arg(short, long, value_enum, default_value = "table", hide_default_value = true)]
    output: Format,
    /// Ids, beginnings of ids, or names; by default all that run
    #[arg(value_name = "CONTAINER")]
    containers: Vec<String>,
}

pub(super) async fn run(place: &Place, options: Options) -> Result<ExitCode, CliError> {
    let names: BTreeMap<String, String> = match options.containers.is_empty() {
        true => {
            let all = place.containers().await?;
            all.iter()
                .map(|it| (it.id.clone(), name(it).to_owned()))
                .collect()
        }
        false => {
            let mut named = BTreeMap::new();
            for word in &options.containers {
                let found = place.find(word).await?;
                named.insert(found.id.clone(), name(&found).to_owned());
            }
            named
        }
    };
    let first = read(place, &names).await?;
    let text = match options.output {
        Format::Json => format!("{:#}\n", serde_json::json!(first)),
        Format::Table => {
            tokio::time::sleep(SPAN).await;
            lines(&names, &first, &read(place, &names).await?)
        }
    };
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}

async fn read(place: &Place, of: &BTreeMap<String, String>) -> Result<Vec<ContainerStats>, CliError> {
    let request = ListContainerStatsRequest::default();
    let action = || "measure containers".to_owned();
    let answer: ListContainerStatsResponse = place.call(Call::ListContainerStats, &request, action).await?;
    let mut stats = answer.stats;
    stats.retain(|stats| of.contains_key(&stats.id));
    Ok(stats)
}

fn lines(names: &BTreeMap<String, String>, before: &[ContainerStats], after: &[ContainerStats]) -> String {
    let head = [
        "CONTAINER ID",
        "NAME",
        "CPU",
        "MEMORY",
        "LIMIT",
        "PIDS",
        "WRITTEN",
    ];
    let mut rows = vec![head.map(str::to_owned)];
    let unknown = || "-".to_owned();
    for now in after {
        let group = now.group.clone().unwrap_or_default();
        let memory = group.memory.unwrap_or_default();
        let earlier = before.iter().find(|stats| stats.id == now.id);
        let share = earlier.and_then(|earlier| share(earlier, now));
        rows.push([
            short(&now.id).to_owned(),
            names.get(&now.id).cloned().unwrap_or_default(),
            share.map_or_else(unknown, |share| format!("{share:.1}%")),
            BinaryBytes(memory.working_set_bytes).to_string(),
            memory
                .limit_bytes
                .map_or_else(unknown, |bytes| BinaryBytes(bytes).to_string()),
            group.tasks.map_or_else(unknown, |tasks| tasks.to_string()),
            now.writable_layer
                .as_ref()
                .map_or_else(unknown, |layer| BinaryBytes(layer.used_bytes).to_string()),
        ]);
    }
    table(&rows)
}

/// Percent of one processor between two readings.
fn share(before: &ContainerStats, after: &ContainerStats) -> Option<f64> {
    let point = |stats: &ContainerStats| {
        let group = stats.group.as_ref()?;
        Some((group.timestamp, group.cpu?.usage_core_nano_seconds))
    };
    let nanoseconds = CpuUsage::rate(point(before)?, point(after)?)?;
    Some(nanoseconds as f64 / 1e7)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::GroupStats;

    #[test]
    fn the_share_of_a_processor_is_that_between_two_readings() {
        let reading = |seconds: i64, used: u64| ContainerStats {
            id: "a".to_owned(),
            group: Some(GroupStats {
                timestamp: seconds * 1_000_000_000,
                cpu: Some(CpuUsage {
                    usage_core_nano_seconds: used,
                    ..CpuUsage::default()
                }),
                ..GroupStats::default()
            }),
            writable_layer: None,
        };
        let names = BTreeMap::from([("a".to_owned(), "web".to_owned())]);

        let text = lines(&names, &[reading(1, 0)], &[reading(3, 3_000_000_000)]);

        assert!(
            text.lines()
                .nth(1)
                .unwrap()
                .starts_with("a             web   150.0%"),
            "{text}"
        );
        assert_eq!(share(&reading(1, 0), &reading(1, 5)), None);
    }
}
