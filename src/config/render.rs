//! Prints a configuration as TOML that reads back as the same, each key below its documentation.

use std::fmt::Write;

use toml::{Table, Value};

use super::settings::{Config, Key, NAMED, TABLES, is_table};

/// Renders the effective values. An optional key that is not set is shown as a comment.
pub fn dump(config: &Config) -> String {
    let values = Table::try_from(config).expect("paths come from UTF-8 text: arguments and TOML");
    let mut text = String::new();
    for (table, keys) in TABLES {
        for (name, values) in instances(table, &values) {
            dump_table(&mut text, &name, keys, values);
        }
    }
    text
}

/// The tables that a row of [`TABLES`] stands for, with their names.
fn instances<'a>(table: &str, values: &'a Table) -> Vec<(String, &'a Table)> {
    let of = |name: &str| values.get(name).and_then(Value::as_table);
    match table {
        "" => vec![(String::new(), values)],
        NAMED => {
            let all = of("runtimes").into_iter().flatten();
            all.filter_map(|(name, value)| Some((format!("runtimes.{name}"), value.as_table()?)))
                .collect()
        }
        _ => of(table)
            .map(|values| (table.to_owned(), values))
            .into_iter()
            .collect(),
    }
}

fn dump_table(text: &mut String, table: &str, keys: &[Key], values: &Table) {
    if !table.is_empty() {
        let _ = writeln!(text, "\n[{table}]");
    }
    for key in keys {
        let value = values.get(key.name);
        if table.is_empty() && is_table(key) {
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
