//! Command lines in, commands or errors out.

use clap::CommandFactory;

use super::*;

fn parse(line: &str) -> Result<Cli, String> {
    let words = line.split_whitespace().map(OsString::from);
    Cli::try_parse_from(std::iter::once("coracle".into()).chain(words)).map_err(|error| error.to_string())
}

#[test]
fn the_definition_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn settings_may_stand_before_and_after_the_command() {
    for line in [
        "--state-dir /s config dump",
        "config dump --state-dir /s",
        "config --state-dir /s dump",
    ] {
        let cli = parse(line).unwrap();

        assert_eq!(cli.settings.state_dir, Some("/s".into()), "{line}");
    }
}

#[test]
fn a_socket_may_have_its_scheme() {
    for (typed, meant) in [
        ("/run/c.sock", "/run/c.sock"),
        ("unix:///run/c.sock", "/run/c.sock"),
    ] {
        let cli = parse(&format!("version --socket {typed}")).unwrap();

        assert_eq!(
            cli.settings.load().unwrap().socket,
            PathBuf::from(meant),
            "{typed}"
        );
    }
}

#[test]
fn lines_that_make_no_sense_are_refused() {
    for line in ["", "config", "config frobnicate", "frobnicate", "version extra"] {
        assert!(parse(line).is_err(), "{line:?}");
    }
}
