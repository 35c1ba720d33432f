//! What differs between two configurations, and what of it a running daemon can take.

use std::collections::BTreeMap;

use toml::{Table, Value};

use super::settings::Config;

/// Keys, and with a final dot tables, that take effect without a new start.
const LIVE: [&str; 7] = [
    "log.level",
    "log.filter",
    "default_runtime",
    "runtimes.",
    "containers.pids_limit",
    "registry.",
    "images.",
];

/// Dotted keys whose values differ.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Those that take effect without a new start.
    pub live: Vec<String>,
    /// Those that do not.
    pub at_start: Vec<String>,
}

/// Compares two configurations key by key.
pub fn changes(before: &Config, after: &Config) -> Changes {
    let (before, after) = (flat(before), flat(after));
    let all = before
        .keys()
        .chain(after.keys().filter(|key| !before.contains_key(*key)));
    let changed = all.filter(|key| before.get(*key) != after.get(*key)).cloned();
    let (live, at_start) = changed.partition(|key| is_live(key));
    Changes { live, at_start }
}

fn is_live(key: &str) -> bool {
    LIVE.iter().any(|live| covers(live, key))
}

/// Whether an entry of [`LIVE`] is this key, or the table that it is in.
fn covers(live: &str, key: &str) -> bool {
    match live.ends_with('.') {
        true => key.starts_with(live),
        false => key == live,
    }
}

/// Every value by its dotted key. Of a handler that is there by its name alone the table is the value.
fn flat(config: &Config) -> BTreeMap<String, Value> {
    let table = Table::try_from(config).expect("paths come from UTF-8 text: arguments and TOML");
    let mut all = BTreeMap::new();
    flatten("", table, &mut all);
    all
}

fn flatten(within: &str, table: Table, all: &mut BTreeMap<String, Value>) {
    for (name, value) in table {
        let key = match within {
            "" => name,
            _ => format!("{within}.{name}"),
        };
        match value {
            Value::Table(table) if !table.is_empty() => flatten(&key, table, all),
            value => drop(all.insert(key, value)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::settings::{Handler, leaves};

    #[test]
    fn changed_keys_are_told_with_whether_they_take_effect() {
        let before = Config::default();
        let mut after = before.clone();
        after.state_dir = "/elsewhere".into();
        after.cni.conf_template = Some("/template".into());
        after.images.max_layer_ratio = 7;
        after.registry.auth_file = Some("/auth".into());
        after.runtimes.insert("strict".to_owned(), Handler::default());

        let found = changes(&before, &after);

        assert_eq!(found.at_start, ["state_dir", "cni.conf_template"]);
        assert_eq!(found.live.len(), 2 + flat_handler(), "{found:?}");
        assert!(found.live.contains(&"registry.auth_file".to_owned()), "{found:?}");
        assert_eq!(changes(&after, &after), Changes::default());
    }

    /// How many values a handler that says nothing has.
    fn flat_handler() -> usize {
        let table = Table::try_from(Handler::default()).unwrap();
        let inner = |value: &toml::Value| value.as_table().map_or(1, |table| table.len().max(1));
        table.values().map(inner).sum()
    }

    #[test]
    fn live_keys_are_keys() {
        for live in LIVE {
            let there = leaves().any(|(key, _)| covers(live, &key));
            assert!(there, "{live}");
        }
    }
}
