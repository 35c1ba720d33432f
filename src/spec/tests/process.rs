//! Command, environment, working directory, limits.

use super::{Fixture, host_v1};
use crate::model::{KeyValue, Kind};
use crate::spec::Rlimit;

#[test]
fn a_command_replaces_the_images_and_arguments_only_its_command() {
    let image = r#"{"Entrypoint":["/e"],"Cmd":["c"]}"#;
    let rows: [(&str, &str, &[&str]); 7] = [
        (image, "{}", &["/e", "c"]),
        (image, r#"{"args":["a"]}"#, &["/e", "a"]),
        (image, r#"{"command":["x"]}"#, &["x"]),
        (image, r#"{"command":["x"],"args":["a","b"]}"#, &["x", "a", "b"]),
        (r#"{"Cmd":["c","d"]}"#, "{}", &["c", "d"]),
        (r#"{"Cmd":["c"]}"#, r#"{"args":["a"]}"#, &["a"]),
        (r#"{"Entrypoint":["/e"],"Cmd":null}"#, "{}", &["/e"]),
    ];
    for (image, config, expected) in rows {
        let out = Fixture::new(config).image(image).output();
        assert_eq!(out.process.args, expected, "{image} {config}");
    }
    let none = "command and args are empty, and the image names no command";
    assert_eq!(Fixture::new("{}").image("{}").refused(), none);
    assert_eq!(Fixture::new(r#"{"command":[""]}"#).refused(), none);
}

fn env(f: &Fixture) -> Vec<String> {
    let env = f.output().process.env;
    env.iter()
        .map(|e| String::from_utf8_lossy(e).into_owned())
        .collect()
}

#[test]
fn the_environment_is_the_images_then_the_configurations() {
    let image = r#"{"Cmd":["x"],"Env":["PATH=/img","A=1","B=2","NOVALUE"]}"#;
    let config = r#"{"hostname":"h","tty":true,"envs":[{"key":"A","value":"9"},{"key":"C"},{"key":"AB","value":"="}]}"#;

    assert_eq!(
        env(&Fixture::new(config).image(image)),
        [
            "PATH=/img",
            "TERM=xterm",
            "HOSTNAME=h",
            "A=9",
            "B=2",
            "C=",
            "AB==",
            "HOME=/root"
        ]
    );
    assert_eq!(
        env(&Fixture::new(
            r#"{"envs":[{"key":"HOME","value":""}],"linux":{"namespaces":{"uts":"host"}}}"#
        )),
        [
            "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME="
        ]
    );
}

#[test]
fn values_that_are_not_utf_8_survive_and_libcontainer_always_gets_a_home() {
    let mut f = Fixture::new(r#"{"envs":[{"key":"HOME","value":""}]}"#);
    f.config.envs.push(KeyValue::new("RAW", b"\xff\xfe"));

    let out = f.output();

    assert!(out.process.env.contains(&b"RAW=\xff\xfe".to_vec()));
    assert!(out.process.env.contains(&b"HOME=".to_vec()));
    let told = out.spec.process().as_ref().unwrap().env().clone().unwrap();
    assert!(told.contains(&"HOME=/".to_owned()));
}

#[test]
fn a_relative_working_directory_is_refused_from_the_configuration_and_rooted_from_the_image() {
    let rows = [
        ("{}", "", "/"),
        ("{}", "/srv", "/srv"),
        ("{}", "srv", "/srv"),
        (r#"{"workingDir":"/w"}"#, "/srv", "/w"),
    ];
    for (config, of_image, expected) in rows {
        let image = format!(r#"{{"Cmd":["x"],"WorkingDir":"{of_image}"}}"#);
        assert_eq!(Fixture::new(config).image(&image).output().process.cwd, expected);
    }
    assert_eq!(
        Fixture::new(r#"{"workingDir":"w"}"#).refused(),
        "working_dir is not an absolute path"
    );
}

#[test]
fn limits_stay_within_what_the_runtime_may_set() {
    let mut f = Fixture::new(r#"{"linux":{"resources":{"oomScoreAdj":-998}}}"#);
    let limit = |soft, hard| Rlimit {
        resource: 7,
        soft,
        hard,
        own_hard: 4096,
    };
    f.host.rlimits = vec![limit(5000, 9000)];
    let free = f.output();
    f.host = super::Host {
        rlimits: vec![limit(5000, 9000)],
        ..host_v1()
    };
    let bound = f.output();

    assert_eq!(free.process.oom_score_adj, -998);
    assert_eq!(free.process.rlimits, [limit(5000, 9000)]);
    assert!(free.warnings.is_empty());
    assert_eq!(bound.process.oom_score_adj, -100);
    assert_eq!(bound.spec.process().as_ref().unwrap().oom_score_adj(), Some(-100));
    assert_eq!(bound.process.rlimits, [limit(4096, 4096)]);
    assert_eq!(bound.warnings.len(), 2);
}

#[test]
fn the_stop_signal_is_the_configurations_else_the_images_else_sigterm() {
    let rows = [
        ("{}", "", "SIGTERM"),
        ("{}", "SIGQUIT", "SIGQUIT"),
        ("{}", "SIGRTMIN+3", "SIGRTMIN+3"),
        ("{}", "SIGNOPE", "SIGTERM"),
        (r#"{"stopSignal":"SIGUSR1"}"#, "SIGQUIT", "SIGUSR1"),
    ];
    for (config, of_image, expected) in rows {
        let image = format!(r#"{{"Cmd":["x"],"StopSignal":"{of_image}"}}"#);
        let out = Fixture::new(config).image(&image).output();
        assert_eq!(out.stop_signal.name(), expected);
        assert_eq!(out.warnings.len(), usize::from(of_image == "SIGNOPE"));
    }
}

#[test]
fn an_apparmor_profile_needs_apparmor() {
    let config = |profile: &str, more: &str| {
        Fixture::new(&format!(
            r#"{{"linux":{{"security":{{"apparmor":{profile}{more}}}}}}}"#
        ))
    };
    let named = r#"{"localhost":"p"}"#;
    let mut enabled = config(named, "");
    enabled.host.apparmor = true;

    assert_eq!(enabled.output().process.apparmor.as_deref(), Some("p"));
    assert_eq!(config(r#""runtimeDefault""#, "").output().process.apparmor, None);
    assert_eq!(
        config(named, r#","privileged":true"#).output().process.apparmor,
        None
    );
    let error = crate::model::Error::from(config(named, "").generate().unwrap_err());
    assert_eq!(error.kind(), Kind::FailedPrecondition);
    assert_eq!(
        error.to_string(),
        "container configuration cannot be used: linux.security.apparmor names profile \"p\", but AppArmor is not enabled"
    );
}

#[test]
fn malformed_values_are_refused_by_field() {
    let rows = [
        (
            r#"{"envs":[{"key":""}]}"#,
            r#"envs[0].key "" is not a name of a variable"#,
        ),
        (
            r#"{"envs":[{"key":"a"},{"key":"a=b"}]}"#,
            r#"envs[1].key "a=b" is not a name of a variable"#,
        ),
        (
            r#"{"envs":[{"key":"a","value":"\u0000"}]}"#,
            "envs[0].value contains a NUL character",
        ),
        (
            r#"{"command":["a\u0000"]}"#,
            "command or args contains a NUL character",
        ),
        (
            r#"{"stopSignal":"SIGNOPE"}"#,
            r#"stop_signal "SIGNOPE" is not a signal"#,
        ),
        (r#"{"hostname":"a b"}"#, r#"hostname "a b" is not a hostname"#),
        (
            r#"{"linux":{"cgroupParent":"/a/../b"}}"#,
            r#"linux.cgroup_parent "/a/../b" is not a cgroup"#,
        ),
        (
            r#"{"linux":{"security":{"seccomp":{"localhost":"/p"}}}}"#,
            r#"linux.security.seccomp names "/p", which was not read"#,
        ),
    ];
    for (config, expected) in rows {
        assert_eq!(Fixture::new(config).refused(), expected, "{config}");
    }
}
