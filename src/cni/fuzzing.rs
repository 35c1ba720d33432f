//! Doors for fuzzing: each takes bytes, and panics at what must not come of them. Not in an ordinary build.

use std::path::Path;

use serde_json::{Map, json};

use crate::cni::conflist::Injected;
use crate::cni::result::AddResult;
use crate::cni::{NetworkConf, Version};

/// A configuration that is taken runs executables by plain names, each told the network's name and version and no
/// capability that it does not declare.
pub fn configuration(data: &[u8]) {
    let Ok(conf) = NetworkConf::parse(Path::new("/etc/cni/net.d/10.conflist"), data) else {
        return;
    };
    assert!(!conf.name().contains('/') && !conf.name().starts_with('.'));
    assert!(conf.plugin_types().len() > 0);
    let capabilities = Map::from_iter([("portMappings".to_owned(), json!([{"hostPort": 80}]))]);
    for plugin in conf.plugins() {
        let kind = plugin.kind();
        assert!(
            !kind.is_empty() && !kind.contains(['/', '\0']) && kind != "..",
            "{kind:?}"
        );
        let injected = Injected {
            capabilities: Some(&capabilities),
            ..Injected::default()
        };
        let derived = conf.derive(plugin, injected);
        assert_eq!(derived["name"], conf.name());
        assert_eq!(derived["cniVersion"], conf.version().as_str());
        assert!(derived.get("prevResult").is_none());
        if let Some(given) = derived.get("runtimeConfig") {
            assert_eq!(given, &json!({"portMappings": [{"hostPort": 80}]}));
        }
    }
}

/// A result that is taken, in whatever version, is one in every version that is asked for.
pub fn result(data: &[u8]) {
    for wanted in Version::ALL {
        let Ok(result) = AddResult::parse(data, wanted) else {
            continue;
        };
        let _ = result.addresses("eth0");
        let raw = result.to_json().clone();
        assert_eq!(raw["cniVersion"], wanted.as_str());
        let again = AddResult::from_json(raw, wanted).expect("what was converted can be read");
        assert_eq!(again.addresses("eth0"), result.addresses("eth0"));
    }
}
