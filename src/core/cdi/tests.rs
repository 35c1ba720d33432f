//! Files in directories, and what the devices in them come to.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use tempfile::TempDir;

use super::*;
use crate::model::{ContainerConfig, IdMapping, Kind};
use crate::spec::DeviceKind;

/// Two directories of descriptions, the second one of higher rank.
struct Fixture {
    root: TempDir,
    described: Described,
}

impl Fixture {
    fn new(files: &[(&str, &str)]) -> Fixture {
        let root = tempfile::tempdir().unwrap();
        let dirs = ["low", "high"].map(|dir| root.path().join(dir));
        for dir in &dirs {
            fs::create_dir(dir).unwrap();
        }
        for (name, text) in files {
            fs::write(root.path().join(name), text).unwrap();
        }
        Fixture {
            described: Described::new(dirs.into()),
            root,
        }
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.root.path().join(name), text).unwrap();
    }

    fn find(&self, names: &[&str]) -> Result<Brought> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        self.described.find(&names, None)
    }

    /// The environment that devices bring.
    fn env(&self, names: &[&str]) -> Vec<String> {
        let mut config = ContainerConfig::default();
        self.find(names).unwrap().amend(&mut config);
        config
            .envs
            .into_iter()
            .map(|e| format!("{}={}", e.key, e.value))
            .collect()
    }

    fn refused(&self, name: &str) -> (Kind, String) {
        let error = self.find(&[name]).unwrap_err();
        (error.kind(), error.to_string())
    }
}

fn description(edits: &str) -> String {
    format!(
        r#"{{"cdiVersion":"1.1.0","kind":"v.com/c","devices":[{{"name":"d","containerEdits":{edits}}}]}}"#
    )
}

fn env(value: &str) -> String {
    description(&format!(r#"{{"env":["FROM={value}"]}}"#))
}

#[test]
fn the_directory_named_last_wins() {
    let fixture = Fixture::new(&[("low/a.json", &env("low")), ("high/b.json", &env("high"))]);

    assert_eq!(fixture.env(&["v.com/c=d"]), ["FROM=high"]);
}

#[test]
fn a_device_in_two_files_of_a_directory_cannot_be_used_until_one_is_gone() {
    let fixture = Fixture::new(&[("low/a.json", &env("a")), ("low/b.json", &env("b"))]);

    let (kind, error) = fixture.refused("v.com/c=d");
    assert_eq!(kind, Kind::InvalidArgument);
    assert!(
        error.contains("low/a.json") && error.contains("low/b.json"),
        "{error}"
    );
    assert!(fixture.described.info()["problems"]["v.com/c=d"].is_string());

    fs::remove_file(fixture.root.path().join("low/b.json")).unwrap();
    assert_eq!(fixture.env(&["v.com/c=d"]), ["FROM=a"]);
}

#[test]
fn a_conflict_below_does_not_matter_to_a_device_above() {
    let fixture = Fixture::new(&[
        ("low/a.json", &env("a")),
        ("low/b.json", &env("b")),
        ("high/c.json", &env("c")),
    ]);

    assert_eq!(fixture.env(&["v.com/c=d"]), ["FROM=c"]);
    assert_eq!(fixture.described.info()["problems"], json!({}));
}

#[test]
fn an_unknown_device_is_named_and_so_is_the_file_that_may_have_it() {
    let fixture = Fixture::new(&[("low/a.json", "{"), ("low/notes.txt", "{")]);

    let (kind, error) = fixture.refused("v.com/c=d");

    assert_eq!(kind, Kind::InvalidArgument);
    assert!(error.contains("\"v.com/c=d\" is in no description"), "{error}");
    assert!(
        error.contains("a.json is malformed") && !error.contains("notes"),
        "{error}"
    );
    let (_, error) = fixture.refused("d");
    assert!(error.contains("vendor/class=name"), "{error}");
}

#[test]
fn a_file_that_changes_is_read_again_before_the_next_device_is_found() {
    let fixture = Fixture::new(&[("low/a.json", &env("one"))]);
    assert_eq!(fixture.env(&["v.com/c=d"]), ["FROM=one"]);

    fixture.write("low/a.json", &env("two"));

    assert_eq!(fixture.env(&["v.com/c=d"]), ["FROM=two"]);
}

#[tokio::test]
async fn a_change_shows_though_nobody_asks_for_a_device() {
    let fixture = Fixture::new(&[]);
    let closing = CancellationToken::new();
    let following = fixture.described.clone().follow(closing.clone());

    let seen = async {
        let limit = tokio::time::Instant::now() + Duration::from_secs(60);
        while fixture.described.info()["devices"] != json!(["v.com/c=d"]) {
            assert!(tokio::time::Instant::now() < limit, "the file is never read");
            fixture.write("high/a.json", &env("x"));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        closing.cancel();
    };
    tokio::join!(following, seen);
}

#[test]
fn what_a_file_says_for_all_its_devices_comes_once_and_first() {
    let text = r#"{"cdiVersion":"1.1.0","kind":"v.com/c","containerEdits":{"env":["ALL=1"],"additionalGids":[0,44]},
        "devices":[{"name":"a","containerEdits":{"env":["A=1"]}},{"name":"b","containerEdits":{"env":["B=1"]}}]}"#;
    let fixture = Fixture::new(&[("low/a.json", text)]);

    assert_eq!(fixture.env(&["v.com/c=b", "v.com/c=a"]), ["ALL=1", "B=1", "A=1"]);
    let mut config = ContainerConfig::default();
    fixture.find(&["v.com/c=a"]).unwrap().amend(&mut config);
    assert_eq!(config.linux.unwrap().security.supplemental_groups, [44]);
}

#[test]
fn a_node_takes_from_the_host_what_its_description_leaves_out() {
    let nodes = |edits: &str| {
        let fixture = Fixture::new(&[("low/a.json", &description(edits))]);
        fixture.find(&["v.com/c=d"]).map(|brought| brought.nodes)
    };

    let found = nodes(r#"{"deviceNodes":[{"path":"/dev/mine","hostPath":"/dev/null","uid":5}]}"#).unwrap();
    let node = &found[0];
    assert_eq!((node.kind, node.major, node.minor), (DeviceKind::Char, 1, 3));
    assert_eq!(
        (node.uid, node.gid, node.mode, node.access.as_str()),
        (Some(5), None, 0o666, "rwm")
    );

    // A generator that keeps the type's bits in the mode.
    let found = nodes(
        r#"{"deviceNodes":[{"path":"/dev/x","type":"b","major":7,"minor":9,"fileMode":24992,"permissions":"r"}]}"#,
    );
    let node = &found.unwrap()[0];
    assert_eq!((node.kind, node.major, node.minor), (DeviceKind::Block, 7, 9));
    assert_eq!((node.mode, node.access.as_str()), (0o640, "r"));

    // There to be seen only.
    let found = nodes(r#"{"deviceNodes":[{"path":"/dev/null","permissions":"none"}]}"#);
    assert_eq!(found.unwrap()[0].access, "");
}

#[test]
fn what_cannot_be_honoured_is_refused_by_name() {
    let check = |edits: &str, kind: Kind, expected: &str| {
        let fixture = Fixture::new(&[("low/a.json", &description(edits))]);
        let (got, error) = fixture.refused("v.com/c=d");
        assert_eq!(got, kind, "{error}");
        assert!(error.contains("v.com/c=d") && error.contains(expected), "{error}");
    };
    let (bad, undone) = (Kind::InvalidArgument, Kind::Unimplemented);

    check(r#"{"intelRdt":{"closID":"x"}}"#, undone, "intelRdt");
    check(
        r#"{"netDevices":[{"hostInterfaceName":"a","name":"b"}]}"#,
        undone,
        "netDevices",
    );
    for step in ["startContainer", "poststart", "poststop"] {
        let hook = format!(r#"{{"hooks":[{{"hookName":"{step}","path":"/bin/true"}}]}}"#);
        check(&hook, undone, step);
    }
    let mount = |more: &str| format!(r#"{{"mounts":[{{"containerPath":"/x","hostPath":"/etc"{more}}}]}}"#);
    check(&mount(r#","type":"tmpfs""#), undone, "tmpfs");
    check(&mount(r#","options":["ro","sync"]"#), undone, "sync");
    check(
        r#"{"mounts":[{"containerPath":"/x","hostPath":"/nope"}]}"#,
        bad,
        "/nope",
    );
    check(
        r#"{"hooks":[{"hookName":"createRuntime","path":"/nope"}]}"#,
        bad,
        "/nope",
    );
    check(
        r#"{"hooks":[{"hookName":"createRuntime","path":"/etc/passwd"}]}"#,
        bad,
        "is no program",
    );
    check(r#"{"deviceNodes":[{"path":"/dev/nope"}]}"#, bad, "does not exist");
    check(
        r#"{"deviceNodes":[{"path":"/dev/x","hostPath":"/etc/passwd"}]}"#,
        bad,
        "is no device",
    );
    check(
        r#"{"deviceNodes":[{"path":"/dev/x","hostPath":"/dev/null","type":"b"}]}"#,
        bad,
        "another type",
    );
    check(
        r#"{"deviceNodes":[{"path":"/dev/pts/9","hostPath":"/dev/null"}]}"#,
        bad,
        "/dev/pts/9",
    );
    check(
        r#"{"deviceNodes":[{"path":"/x","hostPath":"/dev/null","uid":1}]}"#,
        bad,
        "outside /dev",
    );
}

#[test]
fn all_that_is_wrong_with_names_is_told_at_once() {
    let fixture = Fixture::new(&[("low/a.json", &env("a"))]);

    let error = fixture.find(&["v.com/c=x", "v.com/c=d", "y"]).unwrap_err();

    assert_eq!(
        error.to_string(),
        "CDI device \"v.com/c=x\" is in no description; CDI device \"y\" is not named vendor/class=name"
    );
}

#[test]
fn what_others_can_write_is_not_believed() {
    let hook = |path: &str| {
        let text = format!(r#"{{"hooks":[{{"hookName":"createRuntime","path":"{path}"}}]}}"#);
        description(&text)
    };
    let chmod = |fixture: &Fixture, name: &str, mode: u32| {
        let path = fixture.root.path().join(name);
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let fixture = Fixture::new(&[("low/a.json", &env("a")), ("program", "#!/bin/sh\n")]);
    assert_eq!(fixture.env(&["v.com/c=d"]), ["FROM=a"]);

    chmod(&fixture, "low/a.json", 0o666);
    let (kind, error) = fixture.refused("v.com/c=d");
    assert_eq!(kind, Kind::InvalidArgument);
    assert!(error.contains("a.json can be written by everybody"), "{error}");

    chmod(&fixture, "low/a.json", 0o600);
    chmod(&fixture, "low", 0o777);
    let (_, error) = fixture.refused("v.com/c=d");
    assert!(error.contains("low can be written by everybody"), "{error}");

    chmod(&fixture, "low", 0o755);
    let program = chmod(&fixture, "program", 0o757);
    fixture.write("low/a.json", &hook(&program));
    let (_, error) = fixture.refused("v.com/c=d");
    assert!(error.contains("program can be written by everybody"), "{error}");

    chmod(&fixture, "program", 0o755);
    assert_eq!(fixture.find(&["v.com/c=d"]).unwrap().added.hooks.len(), 1);
}

#[test]
fn in_a_user_namespace_a_node_is_the_hosts_own() {
    let ids = IdMapping {
        container_id: 0,
        host_id: 100_000,
        length: 65_536,
    };
    let user = UserNamespace {
        path: "/u".into(),
        uids: ids,
        gids: ids,
    };
    let found = |node: &str| {
        let text = description(&format!(r#"{{"deviceNodes":[{node}]}}"#));
        let fixture = Fixture::new(&[("low/a.json", &text)]);
        let found = fixture.described.find(&["v.com/c=d".to_owned()], Some(&user));
        found
            .map(|brought| brought.nodes[0].clone())
            .map_err(|e| e.to_string())
    };

    let node = found(r#"{"path":"/dev/x","hostPath":"/dev/null","major":1,"minor":3,"type":"c","uid":7}"#);
    assert_eq!(node.unwrap().host_path, Path::new("/dev/null"));
    let error = found(r#"{"path":"/dev/x","hostPath":"/dev/null","major":1,"minor":5,"type":"c"}"#);
    assert!(error.unwrap_err().contains("other numbers than /dev/null"));
    let error = found(r#"{"path":"/dev/none","major":1,"minor":5,"type":"c"}"#);
    assert!(error.unwrap_err().contains("does not exist"));
}

#[test]
fn an_audit_names_files_and_devices_that_cannot_be_used() {
    let fixture = Fixture::new(&[
        ("low/a.json", "{"),
        ("high/a.json", &env("a")),
        ("high/b.yaml", &env("b")),
    ]);

    let findings = audit(&fixture.described.0.dirs);

    let things: Vec<String> = findings.iter().map(|finding| finding.thing.to_string()).collect();
    assert_eq!(things.len(), 2, "{findings:?}");
    assert!(things[0].ends_with("low/a.json"), "{things:?}");
    assert_eq!(things[1], "v.com/c=d");
    assert!(findings.iter().all(|finding| !finding.repairable));
}

#[test]
fn what_is_no_file_is_not_opened() {
    let fixture = Fixture::new(&[]);
    let path = fixture.root.path().join("low/a.json");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &path,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();

    let (_, error) = fixture.refused("v.com/c=d");

    assert!(error.contains("a.json is not a file"), "{error}");
}
