//! A configuration made from a template and the ranges this node's addresses come from.
//!
//! The template is a configuration in JSON, in which these stand for values (quoted where JSON wants a string):
//!
//! | placeholder | stands for | example |
//! | --- | --- | --- |
//! | `{{cidr}}` | the first range | `10.1.0.0/24` |
//! | `{{cidrs}}` | all ranges, as a JSON list | `["10.1.0.0/24","fd00::/64"]` |
//! | `{{ranges}}` | all ranges, as `host-local` takes them | `[[{"subnet":"10.1.0.0/24"}],[{"subnet":"fd00::/64"}]]` |
//! | `{{routes}}` | a default route for each family | `[{"dst":"0.0.0.0/0"},{"dst":"::/0"}]` |

use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::cni::{Cidr, ConfError, NetworkConf};

/// The name of the file that is written.
pub(super) const FILE_NAME: &str = "10-coracle.conflist";

/// What became of the ranges told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TemplateOutcome {
    /// No template is configured.
    NoTemplate,
    /// Another configuration is in use, which stays.
    OtherConf {
        /// Its file.
        path: PathBuf,
    },
    /// The file has this text already.
    Current {
        /// The file.
        path: PathBuf,
    },
    /// The file was written.
    Written {
        /// The file.
        path: PathBuf,
    },
}

/// Returns the text of the configuration `own`, validated.
pub(super) fn render(template: &Path, own: &Path, cidrs: &[Cidr]) -> Result<String, TemplateError> {
    let path = || template.to_owned();
    let text =
        std::fs::read_to_string(template).map_err(|source| TemplateError::Read { path: path(), source })?;
    let text = fill(&text, cidrs).map_err(|placeholder| TemplateError::Placeholder {
        path: path(),
        placeholder,
    })?;
    NetworkConf::parse(own, text.as_bytes()).map_err(|source| TemplateError::Invalid {
        path: path(),
        source: Box::new(source),
    })?;
    Ok(text)
}

/// Replaces each placeholder; returns the name of one that is not known, or has no value without a range.
fn fill(template: &str, cidrs: &[Cidr]) -> Result<String, String> {
    let mut text = String::with_capacity(template.len());
    let mut rest = template;
    // `{{` and `}}` are no rarity in JSON; only a bare word between them is a placeholder.
    while let Some(start) = rest.find("{{") {
        text.push_str(&rest[..start]);
        let after = &rest[start + 2..];
        let word = after.find("}}").map(|end| &after[..end]);
        match word
            .filter(|word| !word.trim().is_empty() && word.trim().bytes().all(|b| b.is_ascii_alphanumeric()))
        {
            Some(word) => {
                text.push_str(&value(word.trim(), cidrs).ok_or_else(|| word.trim().to_owned())?);
                rest = &after[word.len() + 2..];
            }
            None => {
                text.push('{');
                rest = &rest[start + 1..];
            }
        }
    }
    text.push_str(rest);
    Ok(text)
}

fn value(placeholder: &str, cidrs: &[Cidr]) -> Option<String> {
    let subnets = || cidrs.iter().map(ToString::to_string);
    let list = |values: Vec<Value>| Value::Array(values).to_string();
    match placeholder {
        "cidr" => subnets().next(),
        "cidrs" => Some(list(subnets().map(Value::from).collect())),
        "ranges" => Some(list(
            subnets().map(|subnet| json!([{"subnet": subnet}])).collect(),
        )),
        "routes" => {
            let has = |six: bool| cidrs.iter().any(|cidr| cidr.address().is_ipv6() == six);
            let routes = [(has(false), "0.0.0.0/0"), (has(true), "::/0")];
            Some(list(
                routes
                    .into_iter()
                    .filter(|(has, _)| *has)
                    .map(|(_, dst)| json!({"dst": dst}))
                    .collect(),
            ))
        }
        _ => None,
    }
}

/// Why no configuration could be made.
#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    /// The template cannot be read.
    #[error("cannot read network template {path}", path = path.display())]
    Read {
        /// The template.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A placeholder is not known, or no range was told to put there.
    #[error("network template {path} has {{{{{placeholder}}}}}, which stands for nothing", path = path.display())]
    Placeholder {
        /// The template.
        path: PathBuf,
        /// The placeholder.
        placeholder: String,
    },
    /// Filled in, it is not a valid configuration.
    #[error("network template {path} does not make a configuration", path = path.display())]
    Invalid {
        /// The template.
        path: PathBuf,
        /// What is wrong with the outcome.
        source: Box<ConfError>,
    },
    /// The configuration cannot be written.
    #[error("cannot write {path}", path = path.display())]
    Write {
        /// The configuration.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(template: &str, cidrs: &[&str]) -> Result<String, String> {
        let cidrs: Vec<Cidr> = cidrs.iter().map(|text| text.parse().unwrap()).collect();
        fill(template, &cidrs)
    }

    #[test]
    fn placeholders_stand_for_the_ranges_and_braces_of_json_for_themselves() {
        let check = |template: &str, cidrs: &[&str], expected: &str| {
            assert_eq!(filled(template, cidrs).as_deref(), Ok(expected), "{template}");
        };
        let both = ["10.1.0.0/24", "fd00::/64"];

        check(r#"{"subnet":"{{cidr}}"}"#, &both, r#"{"subnet":"10.1.0.0/24"}"#);
        check("{{ cidrs }}", &both, r#"["10.1.0.0/24","fd00::/64"]"#);
        check(
            "{{ranges}}",
            &both,
            r#"[[{"subnet":"10.1.0.0/24"}],[{"subnet":"fd00::/64"}]]"#,
        );
        check("{{routes}}", &both, r#"[{"dst":"0.0.0.0/0"},{"dst":"::/0"}]"#);
        check("{{routes}}", &both[1..], r#"[{"dst":"::/0"}]"#);
        check(
            r#"{"a":{"b":{{ranges}}}}"#,
            &both[..1],
            r#"{"a":{"b":[[{"subnet":"10.1.0.0/24"}]]}}"#,
        );
        check(r#"{"a":{"b":{}}}"#, &both, r#"{"a":{"b":{}}}"#);
    }

    #[test]
    fn a_placeholder_without_a_value_is_named() {
        assert_eq!(filled("{{pool}}", &["10.1.0.0/24"]), Err("pool".to_owned()));
        assert_eq!(filled("{{cidr}}", &[]), Err("cidr".to_owned()));
    }
}
