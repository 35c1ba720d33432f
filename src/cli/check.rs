//! `coracle check`: what is on the machine and should not be, or should be and is not.
//!
//! A running daemon looks itself, since it knows what is under way; without one this process takes the state directory
//! for as long as it looks. A socket that was named means that daemon and no other, as for `coracle image`.

use std::fmt::Write;
use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::client::{During, admin};
use super::{CliError, Settings, print};
use crate::app::AppError;
use crate::app::admin::wire;
use crate::app::check::{Request, check_at_rest};
use crate::app::client::channel;
use crate::config::Config;
use crate::telemetry;

/// The code of a check that could not be made.
const CANNOT_CHECK: u8 = 2;

#[derive(Debug, Args)]
pub(super) struct Options {
    /// Puts right what can be, and never touches what a container or a call under way uses
    #[arg(long)]
    repair: bool,
    /// Reads every file of every layer and compares it with what was unpacked
    #[arg(long)]
    deep: bool,
    /// Answers in JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(options: Options, settings: &Settings) -> Result<ExitCode, CliError> {
    match ask(&options, settings).await {
        Ok(answer) => {
            let text = match options.json {
                true => as_json(&answer),
                false => as_table(&answer),
            };
            print(&text)?;
            Ok(match is_clean(&answer) {
                true => ExitCode::SUCCESS,
                false => ExitCode::FAILURE,
            })
        }
        Err(error) => {
            let _ = error.report();
            Ok(ExitCode::from(CANNOT_CHECK))
        }
    }
}

async fn ask(options: &Options, settings: &Settings) -> Result<wire::CheckResponse, CliError> {
    let config = settings.load()?;
    if settings.socket.is_some() {
        return dial(options, &config).await;
    }
    // What a daemon would write to its log concerns the person now.
    telemetry::init(
        telemetry::Wanted::at("warn"),
        telemetry::Format::Text,
        telemetry::Traced::Never,
    )?;
    let request = Request {
        repair: options.repair,
        deep: options.deep,
    };
    match check_at_rest(&config, request).await {
        Ok(report) => Ok(report.into()),
        Err(AppError::Lock(held)) if held.is_someone_elses() => dial(options, &config).await,
        Err(error) => Err(error.into()),
    }
}

async fn dial(options: &Options, config: &Config) -> Result<wire::CheckResponse, CliError> {
    let mut admin = admin(channel(&config.socket).await?);
    let request = wire::CheckRequest {
        repair: options.repair,
        deep: options.deep,
    };
    admin.check(request).await.during("check")
}

/// Nothing is left.
fn is_clean(answer: &wire::CheckResponse) -> bool {
    answer.findings.iter().all(|finding| finding.repaired)
}

fn as_json(answer: &wire::CheckResponse) -> String {
    let finding = |finding: &wire::Finding| {
        json!({
            "class": finding.class, "thing": finding.thing, "expected": finding.expected,
            "repairable": finding.repairable, "repaired": finding.repaired, "error": finding.error,
        })
    };
    let findings: Vec<_> = answer.findings.iter().map(finding).collect();
    let answer = json!({
        "clean": is_clean(answer), "findings": findings, "unverifiable": answer.unverifiable});
    format!("{answer:#}\n")
}

fn as_table(answer: &wire::CheckResponse) -> String {
    let mut text = String::new();
    for finding in &answer.findings {
        let state = match (finding.repaired, finding.repairable) {
            (true, _) => "repaired",
            (false, true) => "repairable",
            (false, false) => "left",
        };
        let _ = writeln!(text, "{:<10}  {:<10}  {}", finding.class, state, finding.thing);
        let _ = writeln!(text, "{:24}expected: {}", "", finding.expected);
        if !finding.error.is_empty() {
            let _ = writeln!(text, "{:24}not repaired: {}", "", finding.error);
        }
    }
    if !answer.unverifiable.is_empty() {
        let count = answer.unverifiable.len();
        let _ = writeln!(
            text,
            "{count} layers cannot be compared: an earlier version unpacked them"
        );
    }
    let left = answer.findings.iter().filter(|finding| !finding.repaired).count();
    let _ = match left {
        0 => writeln!(text, "everything is as it should be"),
        1 => writeln!(text, "1 thing is not as it should be"),
        count => writeln!(text, "{count} things are not as they should be"),
    };
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_repaired_is_told_and_does_not_count() {
        let finding = |class: &str, repaired| wire::Finding {
            class: class.into(),
            thing: "/x".into(),
            expected: "nothing".into(),
            repairable: true,
            repaired,
            error: String::new(),
        };
        let mut answer = wire::CheckResponse {
            findings: vec![finding("mount", true)],
            unverifiable: vec![],
        };

        assert!(is_clean(&answer));
        assert!(as_table(&answer).ends_with("everything is as it should be\n"));

        answer.findings.push(finding("process", false));

        assert!(!is_clean(&answer));
        let expected = "\
mount       repaired    /x
                        expected: nothing
process     repairable  /x
                        expected: nothing
1 thing is not as it should be
";
        assert_eq!(as_table(&answer), expected);
    }
}
