//! Reads sources: the files, their text without comments and strings, and whole words in it.

use std::fs;
use std::path::Path;

/// What follows each occurrence of a whole word.
pub(super) fn words<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = &'a str> {
    code.match_indices(word).filter_map(move |(at, _)| {
        let rest = &code[at + word.len()..];
        let starts = !code[..at].ends_with(is_word);
        (starts && !rest.starts_with(is_word)).then_some(rest)
    })
}

pub(super) fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The text without comments, and if asked without what strings hold.
pub(super) fn without(text: &str, strings: bool) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let raw = rest
            .strip_prefix('r')
            .map(|r| r.trim_start_matches('#'))
            .filter(|r| r.starts_with('"'));
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if let (Some(quoted), false) = (raw, out.ends_with(is_word)) {
            let hashes = rest.len() - quoted.len() - 1;
            let end = format!("\"{}", "#".repeat(hashes));
            let inner = &quoted[1..];
            let length = inner
                .find(&end)
                .map_or(rest.len(), |n| hashes + 2 + n + end.len());
            out.push_str(if strings { "\"\"" } else { &rest[..length] });
            length
        } else if first == '"' {
            let length = string_length(rest);
            out.push_str(if strings { "\"\"" } else { &rest[..length] });
            length
        } else if rest.starts_with("'\"'") || rest.starts_with("'\\") {
            // A quote as a character would open a string.
            rest[2..].find('\'').map_or(rest.len(), |n| n + 3)
        } else {
            out.push(first);
            first.len_utf8()
        };
        rest = &rest[length..];
    }
    out
}

fn string_length(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// Every Rust file below a directory, as path from `root` and text.
pub(super) fn sources(directory: &Path, root: &Path, files: &mut Vec<(String, String)>) {
    let mut entries: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|e| e.unwrap().path())
        .collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            sources(&path, root, files);
        } else if path.extension().is_some_and(|e| e == "rs") {
            let name = path.strip_prefix(root).unwrap().to_string_lossy().into_owned();
            files.push((name, fs::read_to_string(&path).unwrap()));
        }
    }
}
