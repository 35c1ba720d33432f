//! Files in, settings or an error out.

use std::fs;

use tempfile::TempDir;

use super::settings::{NAMED, TABLES, is_table, leaves};
use super::*;

/// Loads `main` with `drop_ins` beside it; the error is the whole chain, without the directory.
fn load_texts(main: &str, drop_ins: &[(&str, &str)]) -> Result<Config, String> {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("config.toml");
    fs::write(&file, main).unwrap();
    fs::create_dir(directory.path().join("config.toml.d")).unwrap();
    for (name, text) in drop_ins {
        fs::write(directory.path().join("config.toml.d").join(name), text).unwrap();
    }

    load(Some(&file), Overrides::default()).map_err(|error| {
        let mut text = error.to_string();
        let mut cause = std::error::Error::source(&error);
        while let Some(error) = cause {
            text = format!("{text}: {error}");
            cause = error.source();
        }
        text.replace(&format!("{}/", directory.path().display()), "")
    })
}

#[track_caller]
fn check_refused(main: &str, expected: &str) {
    let error = load_texts(main, &[]).unwrap_err();

    assert!(error.contains(expected), "{main:?} was refused with {error:?}");
}

#[test]
fn an_empty_file_gives_the_defaults() {
    assert_eq!(load_texts("", &[]), Ok(Config::default()));
}

#[test]
fn the_defaults_are_valid() {
    assert!(Config::default().validate().is_ok());
}

#[test]
fn later_files_win_key_by_key() {
    let config = load_texts(
        "state_dir = '/a'\n[cni]\nconf_dir = '/main'\nbin_dirs = ['/x', '/y']\n",
        &[
            ("20-b.toml", "[cni]\nconf_dir = '/twenty'\n"),
            (
                "10-a.toml",
                "[cni]\nconf_dir = '/ten'\nbin_dirs = ['/z']\n[log]\nlevel = 'debug'\n",
            ),
            ("30-c.toml.bak", "nonsense"),
        ],
    )
    .unwrap();

    assert_eq!(config.state_dir, PathBuf::from("/a"));
    assert_eq!(config.cni.conf_dir, PathBuf::from("/twenty"));
    assert_eq!(config.cni.bin_dirs, vec![PathBuf::from("/z")]);
    assert_eq!(config.log.level, LogLevel::Debug);
    assert_eq!(config.log.format, LogFormat::Text);
}

#[test]
fn unknown_keys_are_refused_with_a_suggestion() {
    for (main, expected) in [
        (
            "stat_dir = '/x'",
            "unknown keys in config.toml: stat_dir (did you mean state_dir?)",
        ),
        ("[log]\nlevle = 'info'", "log.levle (did you mean log.level?)"),
        ("conf_dir = '/x'", "conf_dir (did you mean cni.conf_dir?)"),
        ("[regsitry]\nauth_file = '/x'", "regsitry (did you mean registry"),
        ("[zzz]\nq = 1", "unknown keys in config.toml: zzz"),
    ] {
        check_refused(main, expected);
    }
}

#[test]
fn an_unknown_key_is_told_with_its_file() {
    let error = load_texts("", &[("50-x.toml", "[cni]\nconfdir = '/x'")]).unwrap_err();

    assert_eq!(
        error,
        "unknown keys in config.toml.d/50-x.toml: cni.confdir (did you mean cni.conf_dir?)"
    );
}

#[test]
fn values_that_cannot_be_used_are_refused_by_key() {
    let long = format!("socket = '/{}'", "s".repeat(107));
    for (main, expected) in [
        ("state_dir = 'relative'", "state_dir must be an absolute path"),
        ("run_dir = '/run/../etc'", "run_dir must be an absolute path"),
        ("run_dir = '/var/lib/coracle'", "run_dir must not be the same"),
        (
            "cgroup_parent = 'coracle'",
            "cgroup_parent must be an absolute path",
        ),
        ("[cni]\nbin_dirs = []", "cni.bin_dirs must name a directory"),
        (
            "[cni]\nbin_dirs = ['/a', 'b']",
            "cni.bin_dirs must be an absolute path",
        ),
        (
            "[registry]\nauth_file = 'auth.json'",
            "registry.auth_file must be an absolute path",
        ),
        ("[registry]\nmax_parallel_layers = 0", "max_parallel_layers"),
        ("[log]\nlevel = 'loud'", "unknown variant `loud`"),
        ("[log]\nformat = 3", "cannot parse config.toml"),
        ("state_dir = ", "cannot parse config.toml"),
        (&long, "socket must be at most 107 bytes long, not 108"),
        (
            "default_runtime = 'rnuc'\n[runtimes.runc]",
            r#"default_runtime must be a handler below runtimes (coracle, runc), not "rnuc""#,
        ),
        (
            "[log]\nfilter = 'coracle=loud'",
            "log.filter must be directives as in info,coracle::image=debug, not \"coracle=loud\"",
        ),
        (
            "images.pinned = ['a', 'b*c']",
            "images.pinned must be names of images, or beginnings that end with *, not \"b*c\"",
        ),
        ("images.pinned = ['']", "images.pinned must be names of images"),
        ("[runtimes.Kata]", "runtimes.\"Kata\" must be named by"),
        ("[runtimes.a-]", "runtimes.\"a-\" must be named by"),
        ("[runtimes.\"\"]", "runtimes.\"\" must be named by"),
        (
            "[runtimes.x]\ncni_conf_dir = 'net.d'",
            "runtimes.x.cni_conf_dir must be an absolute path",
        ),
        (
            "[runtimes.x]\nseccomp_profile = 'a.json'",
            "runtimes.x.seccomp_profile must be an absolute path",
        ),
        (
            "[runtimes.x]\nmount_options = ['volatile', 'metacopy=on']",
            "runtimes.x.mount_options must be some of volatile, index=on, index=off, xino=on, xino=off, not \"metacopy=on\"",
        ),
        (
            "[runtimes.x]\ndefault_capabilities = ['CAP_CHOWN', 'FLY']",
            "runtimes.x.default_capabilities must be names of capabilities, such as CHOWN, not \"FLY\"",
        ),
        (
            "[runtimes.x]\napparmor_profile = ''",
            "runtimes.x.apparmor_profile must be the name of a loaded profile",
        ),
        (
            "[runtimes.x.default_annotations]\n'' = 'y'",
            "runtimes.x.default_annotations must have names",
        ),
        (
            "[runtimes.x.default_sysctls]\n'vm.swappiness' = '1'",
            "runtimes.x.default_sysctls must be parameters of network or IPC namespaces with their values, not \"vm.swappiness\" = \"1\"",
        ),
        (
            "[runtimes.x.default_sysctls]\n'net.../../kernel.panic' = '1'",
            "runtimes.x.default_sysctls must be",
        ),
        ("[runtimes.x]\nread_only = 'yes'", "cannot parse config.toml"),
        (
            "[runtimes.x]\nsnapshotter = 'overlayfs'",
            "unknown keys in config.toml: runtimes.x.snapshotter",
        ),
        (
            "[runtimes.x]\ncni_confdir = '/x'",
            "runtimes.x.cni_confdir (did you mean runtimes.NAME.cni_conf_dir?)",
        ),
    ] {
        check_refused(main, expected);
    }
}

#[test]
fn a_named_file_must_exist() {
    let error = load(Some("/nonexistent/config.toml".as_ref()), Overrides::default()).unwrap_err();

    assert_eq!(error.to_string(), "cannot read /nonexistent/config.toml");
}

#[test]
fn the_command_line_wins_over_files() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("c.toml");
    fs::write(
        &file,
        "state_dir = '/file'\nrun_dir = '/file-run'\n[cni]\nconf_dir = '/file-cni'",
    )
    .unwrap();
    let overrides = Overrides {
        keys: [
            "cni.conf_dir=/line-cni",
            "registry.max_parallel_layers=7",
            "state_dir=/x",
        ]
        .map(str::to_owned)
        .to_vec(),
        state_dir: Some("/line".into()),
        ..Overrides::default()
    };

    let config = load(Some(&file), overrides).unwrap();

    assert_eq!(config.state_dir, PathBuf::from("/line"));
    assert_eq!(config.run_dir, PathBuf::from("/file-run"));
    assert_eq!(config.cni.conf_dir, PathBuf::from("/line-cni"));
    assert_eq!(config.registry.max_parallel_layers.get(), 7);
}

#[test]
fn keys_on_the_command_line_are_checked_as_those_in_files_are() {
    for (text, expected) in [
        (
            "cni.confdir=/x",
            "unknown keys in the option --set cni.confdir=/x: cni.confdir (did you mean cni.conf_dir?)",
        ),
        ("log.level=loud", "cannot parse the option --set log.level=loud"),
        ("state_dir", "cannot parse the option --set state_dir"),
        (
            "state_dir=x",
            "state_dir must be an absolute path in UTF-8 without .., not \"x\"",
        ),
    ] {
        let overrides = Overrides {
            keys: vec![text.to_owned()],
            ..Overrides::default()
        };

        let error = load(None, overrides).unwrap_err();

        assert_eq!(error.to_string(), expected);
    }
}

#[test]
fn the_built_in_handler_is_there_beside_those_of_the_files() {
    let config = load_texts(
        "default_runtime = 'strict'\n[runtimes.strict]\nread_only = true\nmount_options = ['volatile']\n",
        &[(
            "10-a.toml",
            "[runtimes.strict]\nmount_options = []\n[runtimes.other]\n",
        )],
    )
    .unwrap();

    let strict = Handler {
        read_only: true,
        ..Handler::default()
    };
    let expected = [
        ("coracle", Handler::default()),
        ("other", Handler::default()),
        ("strict", strict),
    ];
    let expected = expected.map(|(name, handler)| (name.to_owned(), handler));
    assert_eq!(config.runtimes, expected.into());
    assert_eq!(config.default_runtime, "strict");
}

#[test]
fn what_is_dumped_loads_as_the_same() {
    let mut config = Config::default();
    let handler = Handler {
        default_annotations: [("example.com/a b".to_owned(), "\"quoted\"".to_owned())].into(),
        default_sysctls: [("net.core.somaxconn".to_owned(), "9".to_owned())].into(),
        default_capabilities: Some(vec!["CHOWN".to_owned()]),
        apparmor_profile: Some("x".to_owned()),
        ..Handler::default()
    };
    config.runtimes.insert("x-1".to_owned(), handler);
    config.registry.auth_file = Some("/etc/coracle/auth.json".into());
    config.log.format = LogFormat::Json;

    let text = dump(&config);

    assert_eq!(load_texts(&text, &[]), Ok(config));
}

#[test]
fn a_dump_documents_every_key() {
    let text = dump(&Config::default());

    for (dotted, key) in leaves() {
        let named = text.lines().any(|line| {
            line.trim_start_matches("# ")
                .starts_with(&format!("{} = ", key.name))
        });
        assert!(named, "{dotted} is missing");
        for line in key.docs {
            assert!(
                text.contains(&format!("#{line}\n")),
                "{dotted}: {line:?} is missing"
            );
        }
    }
}

/// The reference as it is to be: a section for each table, a paragraph for each key.
fn reference() -> String {
    let defaults = dump(&Config::default());
    let default_of = |table: &str, name: &str| {
        let section = match table {
            "" => defaults.split("\n[").next(),
            _ => defaults
                .split("\n[")
                .find(|section| section.starts_with(&format!("{table}]"))),
        };
        let mut lines = section.unwrap_or_default().lines();
        let line = lines.find(|line| line.trim_start_matches("# ").starts_with(&format!("{name} = ")));
        let (_, value) = line.unwrap_or_default().split_once(" = ").unwrap_or_default();
        value.to_owned()
    };
    let mut text = include_str!("reference-head.md").to_owned();
    for (table, keys) in TABLES {
        if !table.is_empty() {
            text += &format!("\n## `[{table}]`\n");
        }
        if table == NAMED {
            let docs: Vec<_> = Handler::DOCS.iter().map(|line| line.trim()).collect();
            text += &format!("\n{}\n", docs.join("\n"));
        }
        let instance = match table {
            NAMED => "runtimes.coracle",
            _ => table,
        };
        for key in keys.iter().filter(|key| !(table.is_empty() && is_table(key))) {
            let docs: Vec<_> = key.docs.iter().map(|line| line.trim()).collect();
            let value = default_of(instance, key.name);
            text += &format!(
                "\n### `{}`\n\n{}\n\nDefault: `{value}`\n",
                key.name,
                docs.join("\n")
            );
        }
    }
    text
}

/// `CORACLE_UPDATE_DOCS=1 cargo test` writes it.
#[test]
fn the_reference_in_docs_is_up_to_date() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/configuration.md");
    if std::env::var_os("CORACLE_UPDATE_DOCS").is_some() {
        fs::write(path, reference()).unwrap();
    }

    assert_eq!(fs::read_to_string(path).unwrap(), reference());
}
