//! Result lines, JSON each, in the cache: what was walked, killed and lost, with commit, seed and date.

use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};

/// Appends a line about one run of one test to the suite's file, where the environment names a directory for them.
pub(crate) fn write(suite: &str, test: &str, figures: Value) {
    let Some(directory) = std::env::var_os("CORACLE_E2E_FIGURES").map(PathBuf::from) else {
        return;
    };
    let mut line = json!({
        "suite": suite,
        "test": test,
        "commit": std::env::var("CORACLE_COMMIT").unwrap_or_default(),
        "date": date(),
    });
    if let (Some(all), Some(figures)) = (line.as_object_mut(), figures.as_object()) {
        all.extend(figures.clone());
    }
    fs::create_dir_all(&directory).unwrap();
    let file = directory.join(format!("{suite}.jsonl"));
    let mut file = File::options().create(true).append(true).open(file).unwrap();
    writeln!(file, "{line}").unwrap();
}

fn date() -> String {
    let output = Command::new("date")
        .args(["-u", "+%Y-%m-%dT%H:%M:%SZ"])
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}
