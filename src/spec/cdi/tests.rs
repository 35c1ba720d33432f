//! Descriptions as vendors write them, and what is refused.

use super::*;

/// As NVIDIA's generator writes them, shortened.
const GPU: &str = r#"
cdiVersion: 0.5.0
kind: nvidia.com/gpu
containerEdits:
  env:
  - NVIDIA_VISIBLE_DEVICES=void
  deviceNodes:
  - path: /dev/nvidiactl
  hooks:
  - hookName: createContainer
    path: /usr/bin/nvidia-ctk
    args: [nvidia-ctk, hook, update-ldcache, --folder, /usr/lib/x86_64-linux-gnu]
  mounts:
  - hostPath: /usr/bin/nvidia-smi
    containerPath: /usr/bin/nvidia-smi
    options: [ro, nosuid, nodev, bind]
devices:
- name: "0"
  containerEdits:
    deviceNodes:
    - path: /dev/nvidia0
      hostPath: /host/dev/nvidia0
      type: c
      major: 195
      fileMode: 8630
      permissions: rw
      uid: 7
- name: all
  containerEdits:
    deviceNodes:
    - path: /dev/nvidia0
"#;

fn json(devices: &str, more: &str) -> String {
    format!(r#"{{"cdiVersion":"1.1.0","kind":"v.com/c","devices":{devices}{more}}}"#)
}

#[test]
fn a_description_in_yaml_is_read_whole() {
    let document = parse(Format::Yaml, GPU).unwrap();

    assert_eq!(document.kind, "nvidia.com/gpu");
    assert_eq!(document.devices.keys().collect::<Vec<_>>(), ["0", "all"]);
    assert_eq!(document.edits.env, ["NVIDIA_VISIBLE_DEVICES=void"]);
    assert_eq!(
        document.edits.mounts[0].options,
        ["ro", "nosuid", "nodev", "bind"]
    );
    assert_eq!(document.edits.hooks[0].args.len(), 5);
    let node = &document.devices["0"].device_nodes[0];
    assert_eq!(
        (
            node.major,
            node.minor,
            node.uid,
            node.gid,
            node.permissions.as_str()
        ),
        (195, 0, Some(7), None, "rw")
    );
}

#[test]
fn json_and_yaml_say_the_same() {
    let text = json(
        r#"[{"name":"d","containerEdits":{"env":["A=1"],"additionalGids":[5],"hooks":null,
            "deviceNodes":[{"path":"/dev/x","type":"c","major":1,"minor":3,"fileMode":432}]}}]"#,
        "",
    );

    assert_eq!(
        parse(Format::Json, &text).unwrap(),
        parse(Format::Yaml, &text).unwrap()
    );
}

#[test]
fn a_mode_with_a_leading_zero_is_octal_in_yaml() {
    let text = "cdiVersion: 0.3.0\nkind: v.com/c\ndevices:\n- name: d\n  containerEdits:\n    deviceNodes:\n    \
                - {path: /dev/x, fileMode: 0660}\n";

    let document = parse(Format::Yaml, text).unwrap();

    assert_eq!(document.devices["d"].device_nodes[0].file_mode, Some(0o660));
}

#[test]
fn what_is_known_and_not_done_is_told_by_its_field() {
    let check = |edits: &str, expected: Option<&str>| {
        let text = json(&format!(r#"[{{"name":"d","containerEdits":{edits}}}]"#), "");
        let document = parse(Format::Json, &text).unwrap();
        assert_eq!(document.devices["d"].unsupported(), expected, "{edits}");
    };

    check(r#"{"intelRdt":{"closID":"a"}}"#, Some("intelRdt"));
    check(
        r#"{"netDevices":[{"hostInterfaceName":"eth1","name":"net0"}]}"#,
        Some("netDevices"),
    );
    check(r#"{"env":["A=1"]}"#, None);
}

#[test]
fn names_are_taken_apart_or_are_none() {
    let check = |name: &str, expected| assert_eq!(qualified(name), expected, "{name}");

    check("nvidia.com/gpu=0", Some(("nvidia.com/gpu", "0")));
    check("v/c=a:1.2-b_c", Some(("v/c", "a:1.2-b_c")));
    check("v/c.d=a", Some(("v/c.d", "a")));
    for none in [
        "", "gpu0", "v/c", "v/c=", "/c=a", "v/=a", "1v/c=a", "v/1c=a", "v/c=-a", "v/c=a-", "v/c=a=b",
        "v/c/d=a", "v/c=a/b",
    ] {
        check(none, None);
    }
}

#[test]
fn a_wrong_description_is_refused_by_its_field() {
    let device = |edits: &str| json(&format!(r#"[{{"name":"d","containerEdits":{edits}}}]"#), "");
    let check = |text: &str, expected: &str| {
        let error = parse(Format::Json, text).unwrap_err().to_string();
        assert!(error.contains(expected), "{text}: {error}");
    };

    check("7", "invalid type");
    check("{}", "kind \"\" is not vendor/class");
    check(&json("[]", ""), "devices is empty");
    check(
        &json(r#"[{"name":"d","containerEdits":{}}]"#, ""),
        "devices[0].containerEdits is empty",
    );
    check(&json("[]", r#","device":[]"#), "unknown field `device`");
    let twice = r#"{"name":"d","containerEdits":{"env":["A=1"]}}"#;
    check(
        &json(&format!("[{twice},{twice}]"), ""),
        "devices[1].name \"d\" is there twice",
    );
    check(
        &device(r#"{"env":["A"]}"#),
        "devices[0].containerEdits.env \"A\" is not NAME=value",
    );
    check(&device(r#"{"env":["=A"]}"#), "is not NAME=value");
    check(
        &device(r#"{"deviceNodes":[{"path":"dev/x"}]}"#),
        "deviceNodes[0].path",
    );
    check(&device(r#"{"deviceNodes":[{"path":"/dev/../x"}]}"#), "without ..");
    check(
        &device(r#"{"deviceNodes":[{"path":"/dev/x","type":"d"}]}"#),
        "deviceNodes[0].type",
    );
    check(
        &device(r#"{"deviceNodes":[{"path":"/dev/x","permissions":"rx"}]}"#),
        "deviceNodes[0].permissions",
    );
    check(
        &device(r#"{"mounts":[{"containerPath":"/x"}]}"#),
        "mounts[0].hostPath",
    );
    check(
        &device(r#"{"mounts":[{"hostPath":"/x"}]}"#),
        "mounts[0].containerPath",
    );
    check(
        &device(r#"{"hooks":[{"hookName":"later","path":"/x"}]}"#),
        "hooks[0].hookName",
    );
    check(
        &device(r#"{"hooks":[{"hookName":"poststop","path":"x"}]}"#),
        "hooks[0].path",
    );
    check(
        &device(r#"{"hooks":[{"hookName":"poststop","path":"/x","timeout":0}]}"#),
        "hooks[0].timeout",
    );
}

#[test]
fn a_version_is_known_and_has_what_the_file_uses() {
    let check = |version: &str, kind: &str, device: &str, expected: Option<&str>| {
        let text = format!(r#"{{"cdiVersion":"{version}","kind":"{kind}","devices":[{device}]}}"#);
        let error = parse(Format::Json, &text).err().map(|e| e.to_string());
        match expected {
            None => assert_eq!(error, None, "{text}"),
            Some(part) => assert!(
                error.clone().is_some_and(|e| e.contains(part)),
                "{text}: {error:?}"
            ),
        }
    };
    let plain = r#"{"name":"d","containerEdits":{"env":["A=1"]}}"#;

    for version in ["0.3.0", "0.8.0", "1.0.0", "1.1.0", "v0.6.0"] {
        check(version, "v/c", plain, None);
    }
    for version in ["", "0.2.0", "2.0.0", "1.0"] {
        check(version, "v/c", plain, Some("cdiVersion"));
    }
    check("0.5.0", "v/c.d", plain, Some("0.6.0"));
    let digit = r#"{"name":"0","containerEdits":{"env":["A=1"]}}"#;
    check("0.4.0", "v/c", digit, Some("0.5.0"));
    let typed =
        r#"{"name":"d","containerEdits":{"mounts":[{"hostPath":"/a","containerPath":"/b","type":"bind"}]}}"#;
    check("0.3.0", "v/c", typed, Some("0.4.0"));
    check("0.4.0", "v/c", typed, None);
    let groups = r#"{"name":"d","containerEdits":{"additionalGids":[1]}}"#;
    check("0.6.0", "v/c", groups, Some("0.7.0"));
    let moved = r#"{"name":"d","containerEdits":{"netDevices":[{"hostInterfaceName":"a","name":"b"}]}}"#;
    check("1.0.0", "v/c", moved, Some("1.1.0"));
}
