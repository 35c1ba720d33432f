//! The sources themselves, and planted violations.

use std::path::Path;

use super::source::sources;
use super::{WALL, violations};

#[test]
fn the_sources_keep_to_the_layers() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = vec![];
    sources(&root.join("src"), root, &mut files);

    assert!(files.len() > 20);
    assert_eq!(violations(&files), Vec::<String>::new());
}

#[test]
fn a_planted_violation_is_found_and_what_only_looks_like_one_is_not() {
    let long = format!("//! Long.\n{}", "\n".repeat(WALL));
    let tested = format!("//! Tested.\n#[cfg(test)]\nmod tests {{\n{}}}", "\n".repeat(WALL));
    let rows = [
        (
            "src/core/a.rs",
            "//! A.\nuse crate::cri::Adapter;",
            "names cri, which core may not",
        ),
        (
            "src/spec/a.rs",
            "//! A.\nfn f() { crate::sys::now() }",
            "names sys, which spec may not",
        ),
        (
            "src/spec/a.rs",
            "//! A.\nuse crate::model::Error;\nuse crate::spec::Host;",
            "",
        ),
        (
            "src/spec/a.rs",
            "//! A.\n/// See [`crate::core`]. // crate::cri\n",
            "",
        ),
        (
            "src/main.rs",
            "//! A.\nuse coracle::core::Core;",
            "names core, which main may not",
        ),
        (
            "src/cri/a.rs",
            "//! A.\nuse crate::{model, sys};",
            "contains use crate::{",
        ),
        (
            "src/cri/a/b.rs",
            "//! A.\nuse super::super::x;",
            "contains super::super",
        ),
        (
            "src/config/mod.rs",
            "//! A.\nuse super::state::Db;",
            "names state by super, which config may not",
        ),
        ("src/config/a.rs", "//! A.\nuse super::state::Db;", ""),
        (
            "src/monitor/a.rs",
            "//! A.\nuse libcontainer::container;",
            "names libcontainer outside its door",
        ),
        (
            "src/monitor/process/container.rs",
            "//! A.\nuse libcontainer::container;",
            "",
        ),
        (
            "src/core/a.rs",
            "//! A.\nconst TEXT: &str = \"libcontainer::x\";",
            "",
        ),
        (
            "src/core/a.rs",
            "//! A.\nuse tonic::Status;",
            "names tonic outside its door",
        ),
        ("src/state/a.rs", "//! A.\nuse redb;", ""),
        (
            "src/core/a.rs",
            "//! A.\nfn f() { unsafe { g() } }",
            "uses unsafe outside src/sys/",
        ),
        (
            "src/core/a.rs",
            "//! A.\n#![forbid(unsafe_code)]\nconst C: char = '\"'; // unsafe",
            "",
        ),
        (
            "src/core/a.rs",
            "//! A.\nconst R: &str = r#\"unsafe \" unsafe\"#;",
            "",
        ),
        ("src/core/a.rs", "//! A.\nfn stop_pod() {}", "speaks of \"pod\""),
        (
            "src/core/a.rs",
            "//! A.\nconst T: &str = \"KubeLet\";",
            "speaks of \"kube\"",
        ),
        ("src/core/sandbox.rs", "//! A.\n", "speaks of \"sandbox\""),
        ("src/core/a.rs", "//! A pod.\nfn f() {} // of a sandbox", ""),
        ("src/cri/pod.rs", "//! A.\nfn stop_pod() {}", ""),
        ("src/core/a.rs", "fn f() {}", "does not start with //!"),
        ("src/core/a.rs", &long, "has more than 400 lines"),
        ("src/core/a.rs", &tested, ""),
        ("src/util.rs", "//! A.\n", "module util has no row in the table"),
    ];

    for (path, text, expected) in rows {
        let found = violations(&[(path.to_owned(), text.to_owned())]);
        let expected: Vec<String> = Some(expected)
            .filter(|e| !e.is_empty())
            .map(|e| format!("{path}: {e}"))
            .into_iter()
            .collect();
        assert_eq!(found, expected, "{path}: {text:.60}");
    }
}
