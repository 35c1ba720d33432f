//! Prints a configuration as TOML that reads back as the same, each key below its documentation.

use std::fmt::Write;

use toml::{Table, Value};

use super::settings::{Config, Key, TABLES};

/// Renders the effective values. An optional key that is not set is shown as a comment.
pub fn dump(config: &Config) -> String {
    let values = Table::try_from(config).expect("paths come from UTF-8 text: arguments and TOML");
    let mut text = String::new();
    for (table, keys) in TABLES {
        let values = match table {
            "" => Some(&values),
            _ => values.get(table).and_then(Value::as_table),
        };
        if let Some(values) = values {
            dump_table(&mut text, table, keys, values);
        }
    }
    text
}

fn dump_table(text: &mut String, table: &str, keys: &[Key], values: &Table) {
    if !table.is_empty() {
        let _ = writeln!(text, "\n[{table}]");
    }
    for key in keys {
        let value = values.get(key.name);
        if value.is_some_and(Value::is_table) {
            continue;
        }
        for line in key.docs {
            let _ = writeln!(text, "#{line}");
        }
        let _ = match value {
            Some(value) => writeln!(text, "{} = {value}", key.name),
            None => writeln!(text, "# {} = (not set)", key.name),
        };
    }
}
