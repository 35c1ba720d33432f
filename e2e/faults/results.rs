//! Result lines, JSON each, in the cache: what was walked, killed and lost, with commit, seed and date.

use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};

/// Appends a line about one run of one test.
pub(crate) fn write(test: &str, figures: Value) {
    let Some(file) = std::env::var_os("CORACLE_FAULTS_RESULTS").map(PathBuf::from) else {
        return;
    };
    let mut line = json!({
        "suite": "faults",
        "test": test,
        "commit": std::env::var("CORACLE_COMMIT").unwrap_or_default(),
        "date": date(),
    });
    if let (Some(all), Some(figures)) = (line.as_object_mut(), figures.as_object()) {
        all.extend(figures.clone());
    }
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    let mut file = File::options().create(true).append(true).open(file).unwrap();
    writeln!(file, "{line}").unwrap();
}

/// The number that all random choices of a run come from: the environment's, else one of the clock.
pub(crate) fn seed() -> u64 {
    match std::env::var("CORACLE_SEED") {
        Ok(text) => text.parse().expect("CORACLE_SEED is a number"),
        Err(_) => rand::random::<u32>().into(),
    }
}

fn date() -> String {
    let output = Command::new("date")
        .args(["-u", "+%Y-%m-%dT%H:%M:%SZ"])
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}
