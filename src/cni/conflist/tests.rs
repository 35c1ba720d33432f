//! Tests of loading, validating and deriving configurations.

use super::*;
use crate::telemetry::chain;

fn parse(text: &str) -> Result<NetworkConf, ConfError> {
    NetworkConf::parse(Path::new("/net.d/a.conflist"), text.as_bytes())
}

#[test]
fn lists_and_single_plugins_of_each_version_are_read() {
    let check = |text: &str, version: Version, plugins: &[&str]| {
        let conf = parse(text).unwrap();
        assert_eq!(conf.name(), "net", "{text}");
        assert_eq!(conf.version(), version, "{text}");
        assert_eq!(conf.plugin_types().collect::<Vec<_>>(), plugins, "{text}");
    };

    check(
        r#"{"cniVersion":"0.3.1","name":"net","type":"a"}"#,
        Version::V0_3_1,
        &["a"],
    );
    check(
        r#"{"cniVersion":"0.4.0","name":"net","plugins":[{"type":"a"}]}"#,
        Version::V0_4_0,
        &["a"],
    );
    check(
        r#"{"cniVersion":"1.0.0","name":"net","plugins":[{"type":"a"},{"type":"b"}]}"#,
        Version::V1_0_0,
        &["a", "b"],
    );
    check(
        r#"{"cniVersion":"1.1.0","name":"net","type":"a","later":{"x":1}}"#,
        Version::V1_1_0,
        &["a"],
    );
    check(
        r#"{"cniVersion":"0.4.0","cniVersions":["0.4.0","1.0.0","9.0.0"],"name":"net","type":"a"}"#,
        Version::V1_0_0,
        &["a"],
    );
    check(
        r#"{"cniVersion":"1.1.0","name":"net","loadOnlyInlinedPlugins":true,"plugins":[{"type":"a"}]}"#,
        Version::V1_1_0,
        &["a"],
    );
}

#[test]
fn what_is_wrong_is_told_with_the_file_and_the_field() {
    let check = |text: &str, expected: &str| {
        let told = chain(&parse(text).unwrap_err());
        assert!(told.starts_with("/net.d/a.conflist"), "{told}");
        assert!(told.contains(expected), "{told}");
    };

    check("", "is not valid JSON");
    check("{", "is not valid JSON");
    check("[]", "(top level) is not an object");
    check(r#"{"cniVersion":"1.0.0","type":"a"}"#, "name is missing");
    check(
        r#"{"cniVersion":"1.0.0","name":"a/b","type":"a"}"#,
        "name is missing, or not",
    );
    check(r#"{"name":"net","type":"a"}"#, "cniVersion is missing");
    check(
        r#"{"cniVersion":1,"name":"net","type":"a"}"#,
        "cniVersion is not a string",
    );
    check(
        r#"{"cniVersion":"0.2.0","name":"net","type":"a"}"#,
        r#"cniVersion is "0.2.0"; supported are 0.3.0"#,
    );
    check(
        r#"{"cniVersions":"1.0.0","name":"net","type":"a"}"#,
        "cniVersions is not a list",
    );
    check(
        r#"{"cniVersions":["7.0.0"],"name":"net","type":"a"}"#,
        "cniVersions has none of",
    );
    check(r#"{"cniVersion":"1.0.0","name":"net"}"#, "plugins is missing");
    check(
        r#"{"cniVersion":"1.0.0","name":"net","plugins":[]}"#,
        "plugins is not a list with a plugin",
    );
    check(
        r#"{"cniVersion":"1.0.0","name":"net","plugins":[{"type":"a"},7]}"#,
        "plugins[1] is not an object",
    );
    check(
        r#"{"cniVersion":"1.0.0","name":"net","plugins":[{}]}"#,
        "plugins[0].type is missing",
    );
    check(
        r#"{"cniVersion":"1.0.0","name":"net","type":"../sh"}"#,
        "type is missing or not the name",
    );
    check(
        r#"{"cniVersion":"1.0.0","name":"net","type":"a","capabilities":[]}"#,
        "capabilities is not an object",
    );
    check(
        r#"{"cniVersion":"1.0.0","name":"net","type":"a","disableCheck":1}"#,
        "disableCheck is neither",
    );
}

#[test]
fn flags_are_read_as_booleans_and_as_the_strings_of_old() {
    let check = |version: &str, flags: &str, checks: bool, collects: bool| {
        let conf = parse(&format!(
            r#"{{"cniVersion":"{version}","name":"net","type":"a"{flags}}}"#
        ))
        .unwrap();
        assert_eq!(
            (conf.checks(), conf.collects()),
            (checks, collects),
            "{version} {flags}"
        );
    };

    check("0.3.1", "", false, false);
    check("1.0.0", "", true, false);
    check("1.1.0", "", true, true);
    check("1.1.0", r#","disableCheck":true"#, false, true);
    check(
        "1.1.0",
        r#","disableCheck":"true","disableGC":true"#,
        false,
        false,
    );
}

#[test]
fn a_plugin_is_given_its_fields_and_only_the_capabilities_it_declares() {
    let conf = parse(
        r#"{"cniVersion":"1.0.0","name":"net","plugins":[{"type":"a","name":"own","cniVersion":"0.1.0","mtu":9000,
            "capabilities":{"portMappings":true,"dns":false},"prevResult":{"stale":1}}]}"#,
    )
    .unwrap();
    let capabilities = json!({"portMappings": [1], "dns": {}, "bandwidth": {}});

    let bare = conf.derive(&conf.plugins()[0], Injected::default());
    let full = conf.derive(
        &conf.plugins()[0],
        Injected {
            prev_result: Some(json!({"ips": []})),
            capabilities: capabilities.as_object(),
            extra: json!({"more": 1}).as_object().unwrap().clone(),
        },
    );

    assert_eq!(
        bare,
        json!({"type": "a", "name": "net", "cniVersion": "1.0.0", "mtu": 9000})
    );
    assert_eq!(
        full,
        json!({"type": "a", "name": "net", "cniVersion": "1.0.0", "mtu": 9000, "prevResult": {"ips": []},
            "runtimeConfig": {"portMappings": [1]}, "more": 1})
    );
}

#[test]
fn the_first_valid_file_by_name_is_loaded_and_the_invalid_ones_before_it_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let write = |file: &str, text: &str| std::fs::write(dir.path().join(file), text).unwrap();
    let valid = |name: &str| format!(r#"{{"cniVersion":"1.0.0","name":"{name}","type":"a"}}"#);
    write("05-note.txt", &valid("text"));
    write("06-saved.conflist.bak", &valid("saved"));
    write("10-half.conflist", "{");
    std::fs::create_dir(dir.path().join("15-dir.conf")).unwrap();
    write("20-second.json", &valid("second"));
    write("30-third.conf", &valid("third"));

    let found = load(dir.path()).unwrap();

    assert_eq!(found.conf.unwrap().name(), "second");
    assert_eq!(found.refused.len(), 1);
    assert!(found.refused[0].to_string().contains("10-half.conflist"));
}

#[test]
fn a_directory_that_does_not_exist_holds_no_configuration_and_a_file_in_its_place_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();

    assert!(load(&dir.path().join("none")).unwrap().conf.is_none());
    assert!(matches!(load(&file), Err(ConfError::Directory { .. })));
}
