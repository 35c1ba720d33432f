//! Reads the files and merges them key by key: the later of two that name a key wins, tables are merged, lists
//! are replaced. Each file is checked alone first, so that a mistake is told with the file it is in.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::{Table, Value};

use super::ConfigError;
use super::settings::{BUILT_IN, Config, leaves};

/// The file that is read when none is named. It may be missing; a named one may not.
pub const DEFAULT_FILE: &str = "/etc/coracle/config.toml";

/// Keys that the command line sets, over all files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    /// Any keys, each as `table.key=value` with a value in TOML; what is not TOML is text.
    pub keys: Vec<String>,
    /// Sets `state_dir`, over `keys`.
    pub state_dir: Option<PathBuf>,
    /// Sets `run_dir`, over `keys`.
    pub run_dir: Option<PathBuf>,
    /// Sets `socket`, over `keys`.
    pub socket: Option<PathBuf>,
}

/// Where a configuration comes from, to be read again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Files {
    /// The main file; absent is [`DEFAULT_FILE`], if it is there.
    pub file: Option<PathBuf>,
    /// What the command line sets over all files.
    pub overrides: Overrides,
}

impl Files {
    /// As [`load`].
    ///
    /// # Errors
    /// As [`load`].
    pub fn load(&self) -> Result<Config, ConfigError> {
        load(self.file.as_deref(), self.overrides.clone())
    }

    /// The directories whose entries are files that are read.
    pub fn directories(&self) -> Vec<PathBuf> {
        let main = self.file.as_deref().unwrap_or(Path::new(DEFAULT_FILE));
        let main = std::path::absolute(main).unwrap_or_else(|_| main.to_owned());
        let beside = main.parent().map(Path::to_owned);
        beside.into_iter().chain([drop_in_directory(&main)]).collect()
    }
}

/// Reads `file` (absent: [`DEFAULT_FILE`], if it is there) and the `*.toml` files of the directory beside it that
/// has its name and `.d`, in the order of their names; then applies `overrides` and validates.
///
/// # Errors
/// A file that cannot be read or parsed, that has an unknown key, or a value that cannot be used.
pub fn load(file: Option<&Path>, overrides: Overrides) -> Result<Config, ConfigError> {
    let mut merged = Table::new();
    for path in files(file)? {
        merge(&mut merged, read(&path)?);
    }
    for text in &overrides.keys {
        let origin = PathBuf::from(format!("the option --set {text}"));
        merge(&mut merged, parse(&origin, &as_toml(text))?);
    }
    let mut config = Config::deserialize(Value::Table(merged)).map_err(|source| ConfigError::Parse {
        path: file.unwrap_or(Path::new(DEFAULT_FILE)).to_owned(),
        source,
    })?;
    overrides.apply(&mut config);
    config.runtimes.entry(BUILT_IN.to_owned()).or_default();
    config.validate()?;
    Ok(config)
}

impl Overrides {
    fn apply(self, config: &mut Config) {
        let Overrides {
            state_dir,
            run_dir,
            socket,
            keys: _,
        } = self;
        for (value, key) in [
            (state_dir, &mut config.state_dir),
            (run_dir, &mut config.run_dir),
            (socket, &mut config.socket),
        ] {
            if let Some(value) = value {
                *key = value;
            }
        }
    }
}

/// The files to read, first to last.
fn files(named: Option<&Path>) -> Result<Vec<PathBuf>, ConfigError> {
    let main = named.unwrap_or(Path::new(DEFAULT_FILE));
    let mut files = Vec::new();
    if named.is_some() || main.exists() {
        files.push(main.to_owned());
    }
    files.extend(drop_ins(&drop_in_directory(main))?);
    Ok(files)
}

fn drop_in_directory(main: &Path) -> PathBuf {
    let mut directory = main.as_os_str().to_owned();
    directory.push(".d");
    directory.into()
}

fn drop_ins(directory: &Path) -> Result<Vec<PathBuf>, ConfigError> {
    let failed = |source| ConfigError::Read {
        path: directory.to_owned(),
        source,
    };
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn read(path: &Path) -> Result<Table, ConfigError> {
    let text = fs::read_to_string(path).map_err(|source| ConfigError::Read {
        path: path.to_owned(),
        source,
    })?;
    parse(path, &text)
}

fn parse(path: &Path, text: &str) -> Result<Table, ConfigError> {
    check(path, text)?;
    text.parse().map_err(|source| parse_error(path, source))
}

/// `cni.conf_dir=/x` needs no quotes: whoever types it has a shell that wants its own.
fn as_toml(text: &str) -> String {
    let Some((key, value)) = text.split_once('=') else {
        return text.to_owned();
    };
    match text.parse::<Table>() {
        Ok(_) => text.to_owned(),
        Err(_) => format!("{key} = {}", Value::from(value)),
    }
}

/// Checks types and names against [`Config`], with the position in the text for the first.
fn check(path: &Path, text: &str) -> Result<(), ConfigError> {
    let document = toml::Deserializer::parse(text).map_err(|source| parse_error(path, source))?;
    let mut unknown = Vec::new();
    serde_ignored::deserialize::<_, _, Config>(document, |key| unknown.push(describe(&key.to_string())))
        .map_err(|source| parse_error(path, source))?;
    if unknown.is_empty() {
        return Ok(());
    }
    Err(ConfigError::Unknown {
        path: path.to_owned(),
        keys: unknown,
    })
}

fn parse_error(path: &Path, source: toml::de::Error) -> ConfigError {
    ConfigError::Parse {
        path: path.to_owned(),
        source,
    }
}

/// The unknown key, and the known one that is most like it, if any is like it at all.
fn describe(unknown: &str) -> String {
    /// Below this a suggestion would be a guess.
    const LIKE: f64 = 0.8;
    let name = unknown.rsplit('.').next().unwrap_or(unknown);
    let best = leaves()
        .map(|(key, leaf)| {
            let whole = strsim::jaro_winkler(unknown, &key);
            // The right name in the wrong table.
            let last = strsim::jaro_winkler(name, leaf.name) * 0.99;
            (whole.max(last), key)
        })
        .max_by(|a, b| a.0.total_cmp(&b.0));
    match best {
        Some((likeness, key)) if likeness >= LIKE => format!("{unknown} (did you mean {key}?)"),
        _ => unknown.to_owned(),
    }
}

fn merge(into: &mut Table, from: Table) {
    for (key, value) in from {
        match (into.get_mut(&key), value) {
            (Some(Value::Table(into)), Value::Table(from)) => merge(into, from),
            (_, value) => {
                into.insert(key, value);
            }
        }
    }
}
