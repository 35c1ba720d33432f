//! Network configurations: loading and validating them (CNI specification, section 1), and deriving the
//! configuration of one run of one plugin (section 3). Who watches the directory is not known here.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use crate::cni::request::is_name;
use crate::cni::version::{UnknownVersion, Version};
use crate::sys::planted;

/// What files of a configuration directory are read.
const EXTENSIONS: [&str; 3] = ["conf", "conflist", "json"];

/// A validated configuration: a list of plugins under one name.
#[derive(Clone, Debug, PartialEq)]
pub struct NetworkConf {
    name: String,
    version: Version,
    disable_check: bool,
    disable_gc: bool,
    plugins: Vec<PluginConf>,
    source: PathBuf,
    raw: Value,
}

/// One plugin of a list.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct PluginConf {
    kind: String,
    fields: Map<String, Value>,
}

/// What a runtime adds to a plugin's configuration for one run.
#[derive(Debug, Default)]
pub(super) struct Injected<'a> {
    /// The result of the plugin before it, or of the whole `ADD`.
    pub(super) prev_result: Option<Value>,
    /// Arguments by capability; those the plugin does not declare stay out.
    pub(super) capabilities: Option<&'a Map<String, Value>>,
    /// Further top-level keys.
    pub(super) extra: Map<String, Value>,
}

impl NetworkConf {
    /// Validates the text of `source`, a list of plugins or the configuration of a single one.
    ///
    /// # Errors
    ///
    /// [`ConfError`] naming the file and the field.
    pub fn parse(source: &Path, text: &[u8]) -> Result<Self, ConfError> {
        let raw = serde_json::from_slice(text).map_err(|error| ConfError::Json {
            path: source.to_owned(),
            source: error,
        })?;
        Self::from_json(source, raw)
    }

    /// Validates a configuration already read as JSON; see [`NetworkConf::parse`].
    pub(super) fn from_json(source: &Path, raw: Value) -> Result<Self, ConfError> {
        let wrong = |field: &str, problem: &str| ConfError::Field {
            path: source.to_owned(),
            field: field.to_owned(),
            problem: problem.to_owned(),
        };
        let Value::Object(fields) = &raw else {
            return Err(wrong("(top level)", "is not an object"));
        };

        let name = fields
            .get("name")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned();
        if !is_name(&name) {
            return Err(wrong(
                "name",
                "is missing, or not a letter or digit followed by letters, digits, '_', '.' and '-'",
            ));
        }
        let version = negotiate(fields).map_err(|(field, problem)| wrong(field, &problem))?;
        let plugins = plugins(fields).map_err(|(field, problem)| wrong(&field, problem))?;
        let flag =
            |field: &str| flag(fields.get(field)).ok_or_else(|| wrong(field, "is neither true nor false"));
        let (disable_check, disable_gc) = (flag("disableCheck")?, flag("disableGC")?);
        Ok(Self {
            name,
            version,
            disable_check,
            disable_gc,
            plugins,
            source: source.to_owned(),
            raw,
        })
    }

    /// The network's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The version its plugins are spoken to in.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The file it was read from.
    pub fn source(&self) -> &Path {
        &self.source
    }

    /// The types of its plugins, in order: the names of their executables.
    pub fn plugin_types(&self) -> impl ExactSizeIterator<Item = &str> {
        self.plugins.iter().map(|plugin| plugin.kind.as_str())
    }

    pub(super) fn checks(&self) -> bool {
        self.version.has_check() && !self.disable_check
    }

    pub(super) fn collects(&self) -> bool {
        self.version.has_gc_and_status() && !self.disable_gc
    }

    pub(super) fn plugins(&self) -> &[PluginConf] {
        &self.plugins
    }

    /// The configuration as it was read.
    pub(super) fn raw(&self) -> &Value {
        &self.raw
    }

    /// Returns the configuration `plugin` reads on its standard input for one run.
    ///
    /// Specification, section 3, "Deriving request configuration from plugin configuration".
    pub(super) fn derive(&self, plugin: &PluginConf, injected: Injected<'_>) -> Value {
        let mut fields = plugin.fields.clone();
        let declared = fields.remove("capabilities");
        fields.remove("runtimeConfig");
        fields.remove("prevResult");
        fields.insert("name".to_owned(), json!(self.name));
        fields.insert("cniVersion".to_owned(), json!(self.version.as_str()));

        let wanted = |name: &str| {
            declared
                .as_ref()
                .and_then(|declared| declared.get(name))
                .and_then(Value::as_bool)
                .unwrap_or(false)
        };
        let runtime_config: Map<String, Value> = injected
            .capabilities
            .into_iter()
            .flatten()
            .filter(|(name, _)| wanted(name))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        if !runtime_config.is_empty() {
            fields.insert("runtimeConfig".to_owned(), Value::Object(runtime_config));
        }
        if let Some(result) = injected.prev_result {
            fields.insert("prevResult".to_owned(), result);
        }
        fields.extend(injected.extra);
        Value::Object(fields)
    }
}

impl PluginConf {
    /// The plugin's type: the name of its executable.
    pub(super) fn kind(&self) -> &str {
        &self.kind
    }
}

/// Returns the newest version both sides speak: of `cniVersions` where given (1.1), else `cniVersion`.
fn negotiate(fields: &Map<String, Value>) -> Result<Version, (&'static str, String)> {
    let single = match fields.get("cniVersion") {
        None => None,
        Some(Value::String(text)) => Some(text.parse::<Version>()),
        Some(_) => return Err(("cniVersion", "is not a string".to_owned())),
    };
    let Some(list) = fields.get("cniVersions") else {
        return match single {
            Some(Ok(version)) => Ok(version),
            Some(Err(UnknownVersion { text })) => Err((
                "cniVersion",
                format!("is {text:?}; supported are 0.3.0, 0.3.1, 0.4.0, 1.0.0 and 1.1.0"),
            )),
            None => Err(("cniVersion", "is missing".to_owned())),
        };
    };
    let list = list.as_array().filter(|list| list.iter().all(Value::is_string));
    let list = list.ok_or(("cniVersions", "is not a list of strings".to_owned()))?;
    let spoken = list
        .iter()
        .filter_map(Value::as_str)
        .filter_map(|text| text.parse().ok());
    spoken.chain(single.and_then(Result::ok)).max().ok_or((
        "cniVersions",
        "has none of 0.3.0, 0.3.1, 0.4.0, 1.0.0 and 1.1.0".to_owned(),
    ))
}

/// Returns the plugins of a list, or the one of a single configuration.
fn plugins(fields: &Map<String, Value>) -> Result<Vec<PluginConf>, (String, &'static str)> {
    let Some(list) = fields.get("plugins") else {
        if !fields.contains_key("type") {
            return Err((
                "plugins".to_owned(),
                "is missing, and so is the type of a single plugin",
            ));
        }
        return Ok(vec![
            plugin(fields).map_err(|(field, problem)| (field.to_owned(), problem))?,
        ]);
    };
    let list = list.as_array().filter(|list| !list.is_empty());
    let list = list.ok_or(("plugins".to_owned(), "is not a list with a plugin in it"))?;
    let entry = |(index, value): (usize, &Value)| {
        let fields = value
            .as_object()
            .ok_or((format!("plugins[{index}]"), "is not an object"))?;
        plugin(fields).map_err(|(field, problem)| (format!("plugins[{index}].{field}"), problem))
    };
    list.iter().enumerate().map(entry).collect()
}

fn plugin(fields: &Map<String, Value>) -> Result<PluginConf, (&'static str, &'static str)> {
    let kind = fields.get("type").and_then(Value::as_str).unwrap_or_default();
    // The type becomes a file name below the plugin directories: it must not lead out of them.
    if kind.is_empty()
        || kind == "."
        || kind == ".."
        || (kind.contains(['/', '\0']) && !planted("plugin-path"))
    {
        return Err(("type", "is missing or not the name of an executable"));
    }
    if fields
        .get("capabilities")
        .is_some_and(|declared| !declared.is_object() && !declared.is_null())
    {
        return Err(("capabilities", "is not an object"));
    }
    Ok(PluginConf {
        kind: kind.to_owned(),
        fields: fields.clone(),
    })
}

/// Reads a flag: the specification's boolean, or the string of older ones.
fn flag(value: Option<&Value>) -> Option<bool> {
    match value {
        None | Some(Value::Null) => Some(false),
        Some(Value::Bool(flag)) => Some(*flag),
        Some(Value::String(text)) => text.to_ascii_lowercase().parse().ok(),
        Some(_) => None,
    }
}

/// What a configuration directory holds.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// The first valid configuration by file name.
    pub(super) conf: Option<NetworkConf>,
    /// The files before it that are not valid, by file name.
    pub(super) refused: Vec<ConfError>,
}

/// Loads the first valid configuration of `dir` in the order of the files' names; a directory that does not exist
/// holds none.
///
/// # Errors
///
/// [`ConfError::Directory`] when it exists and cannot be read.
pub(super) fn load(dir: &Path) -> Result<Found, ConfError> {
    let failed = |source: io::Error| ConfError::Directory {
        path: dir.to_owned(),
        source,
    };
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::default()),
        Err(error) => return Err(failed(error)),
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(failed)?.path();
        let known = path
            .extension()
            .and_then(OsStr::to_str)
            .is_some_and(|ext| EXTENSIONS.contains(&ext));
        if known && path.is_file() {
            paths.push(path);
        }
    }
    paths.sort();

    let mut found = Found::default();
    for path in paths {
        let read = std::fs::read(&path).map_err(|source| ConfError::Read {
            path: path.clone(),
            source,
        });
        match read.and_then(|text| NetworkConf::parse(&path, &text)) {
            Ok(conf) => {
                found.conf = Some(conf);
                break;
            }
            Err(error) => found.refused.push(error),
        }
    }
    Ok(found)
}

/// Why a configuration was refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfError {
    /// The directory cannot be read.
    #[error("cannot read directory {path}", path = path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file cannot be read.
    #[error("cannot read {path}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is not JSON.
    #[error("{path} is not valid JSON", path = path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Where it stops being JSON.
        source: serde_json::Error,
    },
    /// A field is not as the specification wants it.
    #[error("{path}: {field} {problem}", path = path.display())]
    Field {
        /// The file.
        path: PathBuf,
        /// The field, with its place in the list.
        field: String,
        /// What is wrong with it.
        problem: String,
    },
}

#[cfg(test)]
mod tests;
