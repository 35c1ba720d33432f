//! Test only: reads the sources and holds them to the layers, the doors and the few rules of form.
//!
//! What is checked: (1) a module names only the modules of its row; (2) a crate behind a door, and `unsafe`, only where
//! the door is; (3) words of the adapter are not spoken below it, in names, strings or file names; (4) a file says what
//! it is before anything else; (5) no file grows past the wall; (6) every top-level module has a row. `use crate::{…}`
//! and `super::super` are refused, so that rule 1 can be read off the text.

mod source;
mod tests;

use source::{is_word, without, words};

/// Each module and the modules it may name besides itself.
const MAY_NAME: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("sys", &[]),
    ("config", &[]),
    ("telemetry", &[]),
    ("state", &["model", "sys"]),
    ("spec", &["model"]),
    ("monitor", &["model", "sys"]),
    ("image", &["model", "sys", "state", "telemetry"]),
    ("cni", &["sys", "telemetry"]),
    (
        "core",
        &["model", "sys", "state", "telemetry", "spec", "image", "monitor"],
    ),
    ("streaming", &["model", "sys"]),
    ("api", &["model", "sys", "telemetry", "streaming"]),
    ("cri", &["model", "sys", "state", "telemetry", "cni", "streaming"]),
    ("app", ALL),
    ("cli", &["app", "config", "monitor", "model", "telemetry", "sys"]),
    ("main", &["app", "cli", "monitor"]),
    ("lib", &[]),
    ("layering", &[]),
];
const ALL: &[&str] = &[
    "model",
    "sys",
    "config",
    "telemetry",
    "state",
    "spec",
    "monitor",
    "image",
    "cni",
    "core",
    "streaming",
    "api",
    "cri",
];

/// Outside crates, and the paths that may name them.
const DOORS: &[(&[&str], &[&str])] = &[
    (&["libcontainer"], &["src/monitor/process/container.rs"]),
    (&["libseccomp"], &["src/monitor/seccomp.rs"]),
    (&["oci_client", "reqwest"], &["src/image/registry"]),
    (
        &[
            "tonic",
            "tonic_prost",
            "tonic_health",
            "tonic_reflection",
            "tower",
            "k8s_cri",
        ],
        &["src/cri/", "src/app", "src/cli"],
    ),
    (&["redb"], &["src/state/"]),
    (&["humantime"], &["src/sys/clock.rs"]),
    (&["clap_complete", "clap_mangen"], &["src/cli/manual.rs"]),
    (&["tokio_rustls", "tokio_tungstenite"], &["src/streaming/"]),
    (
        &["hyper"],
        &[
            "src/streaming/",
            "src/api/server.rs",
            "src/api/client.rs",
            "src/telemetry/scrape.rs",
            "src/cri/server/tests/deadline.rs",
        ],
    ),
    (&["schemars"], &["src/model/", "src/api/"]),
    (&["form_urlencoded"], &["src/api/"]),
    (&["serde_path_to_error"], &["src/api/decode.rs"]),
    (&["prometheus_client"], &["src/telemetry/meters.rs"]),
    (
        &[
            "opentelemetry",
            "opentelemetry_sdk",
            "opentelemetry_otlp",
            "tracing_opentelemetry",
        ],
        &["src/telemetry/traces/"],
    ),
    (&["serde_saphyr"], &["src/spec/cdi/mod.rs"]),
];
const UNSAFE_DOOR: &str = "src/sys/";

/// Words of the adapter, and the modules that may speak them.
const UNSPOKEN: [&str; 3] = ["pod", "sandbox", "kube"];
const SPEAKERS: [&str; 5] = ["cri", "app", "cli", "main", "layering"];

/// Most lines of a file, its tests aside.
const WALL: usize = 400;

/// Every breach of the rules in these files, given as path from the package's root and text.
fn violations(files: &[(String, String)]) -> Vec<String> {
    let mut found = vec![];
    for (path, text) in files {
        let module = module_of(path);
        let mut breach = |what: String| found.push(format!("{path}: {what}"));
        if !text.starts_with("//!") {
            breach("does not start with //!".to_owned());
        }
        if counted_lines(path, text) > WALL {
            breach(format!("has more than {WALL} lines"));
        }
        let Some((_, row)) = MAY_NAME.iter().find(|(name, _)| *name == module) else {
            breach(format!("module {module} has no row in the table"));
            continue;
        };
        let spoken = without(text, false);
        let code = without(text, true);
        names(&code, module, row).for_each(&mut breach);
        siblings(path, &code, module).for_each(&mut breach);
        doors(path, &code).for_each(&mut breach);
        if !SPEAKERS.contains(&module) {
            let lower = (path.clone() + &spoken).to_lowercase();
            let words = UNSPOKEN.iter().filter(|word| lower.contains(**word));
            words.for_each(|word| breach(format!("speaks of {word:?}")));
        }
    }
    found
}

fn module_of(path: &str) -> &str {
    let inner = path.strip_prefix("src/").unwrap_or(path);
    inner.split('/').next().unwrap_or(inner).trim_end_matches(".rs")
}

/// Lines before an in-file test module; test files have no wall.
fn counted_lines(path: &str, text: &str) -> usize {
    if path.ends_with("/tests.rs") || path.contains("/tests/") {
        return 0;
    }
    let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or(text);
    code.lines().count()
}

/// Rule 1, and the forms that would get round it.
fn names<'a>(code: &'a str, module: &'a str, row: &'a [&str]) -> impl Iterator<Item = String> + 'a {
    let forms = ["use crate::{", "super::super", "crate::*"];
    let forms = forms
        .into_iter()
        .filter(|form| code.contains(form))
        .map(|form| format!("contains {form}"));
    let roots = ["crate", "coracle"]
        .into_iter()
        .flat_map(|root| after(code, root));
    let strangers = roots
        .filter(move |name| !name.is_empty() && *name != module && !row.contains(name))
        .map(move |name| format!("names {name}, which {module} may not"));
    forms.chain(strangers)
}

/// The crate's root, reached from a top-level module's own file by `super`.
fn siblings<'a>(path: &str, code: &'a str, module: &'a str) -> impl Iterator<Item = String> + 'a {
    let top = path.ends_with("/mod.rs") && path.matches('/').count() == 2 || path.matches('/').count() == 1;
    after(code, "super")
        .filter(move |name| top && MAY_NAME.iter().any(|(other, _)| other == name))
        .map(move |name| format!("names {name} by super, which {module} may not"))
}

/// The identifiers that follow `root::`.
fn after<'a>(code: &'a str, root: &'a str) -> impl Iterator<Item = &'a str> {
    words(code, root).filter_map(|rest| {
        let rest = rest.strip_prefix("::")?;
        let end = rest.find(|c: char| !is_word(c)).unwrap_or(rest.len());
        Some(&rest[..end])
    })
}

/// Rule 2.
fn doors<'a>(path: &'a str, code: &'a str) -> impl Iterator<Item = String> + 'a {
    let crates = DOORS
        .iter()
        .filter(|(_, doors)| !doors.iter().any(|door| path.starts_with(door)))
        .flat_map(|(crates, _)| *crates)
        .filter(|name| words(code, name).any(|rest| rest.starts_with("::") || rest.starts_with(';')))
        .map(|name| format!("names {name} outside its door"));
    let unsafety = (!path.starts_with(UNSAFE_DOOR) && words(code, "unsafe").next().is_some())
        .then(|| format!("uses unsafe outside {UNSAFE_DOOR}"));
    crates.chain(unsafety)
}
