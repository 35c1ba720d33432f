//! `coracle completions` and `coracle man`: what a shell and man(1) know of the command line, made of its definition, and the
//! configuration's page, made of its keys.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::{Args, Command, CommandFactory};
use clap_complete::{Shell, generate};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use super::{Cli, CliError, print};
use crate::config::{Config, DEFAULT_FILE, dump};
use crate::telemetry::LOG_VARIABLE;

/// The section of programs for whoever looks after a machine.
const SECTION: &str = "8";
const MANUAL: &str = "Coracle";
const SOURCE: &str = concat!("coracle ", env!("CARGO_PKG_VERSION"));

#[derive(Debug, Args)]
pub(super) struct Completions {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

#[derive(Debug, Args)]
pub(super) struct Pages {
    /// Where the pages go; made if it is missing
    directory: PathBuf,
}

pub(super) fn completions(options: &Completions) -> Result<(), CliError> {
    let mut script = vec![];
    generate(options.shell, &mut Cli::command(), "coracle", &mut script);
    print(&String::from_utf8_lossy(&script))
}

/// Writes a page for each command, and one for the configuration.
pub(super) fn pages(options: &Pages) -> Result<(), CliError> {
    let directory = &options.directory;
    write(directory).map_err(|source| CliError::Pages {
        path: directory.clone(),
        source,
    })
}

fn write(directory: &Path) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    let mut command = Cli::command();
    // Gives each command its whole name.
    command.build();
    page(&command, directory)?;
    let name = format!("coracle.{SECTION}");
    further_sections().to_writer(&mut File::options().append(true).open(directory.join(name))?)?;
    let mut file = File::create(directory.join("coracle-config.toml.5"))?;
    configuration().to_writer(&mut file)?;
    file.flush()
}

fn page(command: &Command, directory: &Path) -> io::Result<()> {
    let man = Man::new(command.clone())
        .section(SECTION)
        .source(SOURCE)
        .manual(MANUAL);
    man.generate_to(directory)?;
    command
        .get_subcommands()
        .try_for_each(|command| page(command, directory))
}

/// What the definition of the command line does not have.
fn further_sections() -> Roff {
    let mut page = Roff::new();
    let sections: [(&str, &[(&str, &str)]); 2] = [
        (
            "ENVIRONMENT",
            &[
                ("CORACLE_CONFIG", "The configuration file, as --config."),
                ("CORACLE_SOCKET", "The daemon's socket, as --socket."),
                (
                    LOG_VARIABLE,
                    "What is logged, before what the configuration says.",
                ),
            ],
        ),
        (
            "FILES",
            &[
                (
                    DEFAULT_FILE,
                    "The configuration, and its drop-ins in config.toml.d beside it.",
                ),
                ("/etc/coracle/certs.d", "Registries: a hosts.toml each."),
                (
                    "/etc/cni/net.d, /opt/cni/bin",
                    "The pods' network and its plugins.",
                ),
                ("/run/coracle/coracle.sock", "The socket."),
                ("/var/lib/coracle", "Images, records, and what containers write."),
            ],
        ),
    ];
    for (title, entries) in sections {
        page.control("SH", [title]);
        for (name, text) in entries {
            page.control("TP", []);
            page.text([bold(*name)]).text([roman(*text)]);
        }
    }
    page.control("SH", ["SEE ALSO"]);
    page.text([
        bold("coracle-config.toml"),
        roman("(5), "),
        bold("crictl"),
        roman("(1), "),
        bold("kubelet"),
        roman("(1)"),
    ]);
    page
}

/// The page of the configuration file.
fn configuration() -> Roff {
    let mut page = Roff::new();
    page.control("TH", ["coracle-config.toml", "5", "", SOURCE, MANUAL]);
    page.control("SH", ["NAME"]);
    page.text([roman(
        "coracle-config.toml - configuration of the container runtime Coracle",
    )]);
    page.control("SH", ["DESCRIPTION"]);
    page.text([
        bold(DEFAULT_FILE),
        roman(" and what is in "),
        bold(format!("{DEFAULT_FILE}.d/*.toml")),
        roman(
            ", in the order of the names, a later key before an earlier one. No file is needed; a key that is not known is refused. \
             Most changes are taken while the daemon runs. Below is every key with its default.",
        ),
    ]);
    page.control("SH", ["KEYS"]);
    page.control("nf", []);
    for line in dump(&Config::default()).lines() {
        page.text([roman(line)]);
    }
    page.control("fi", []);
    page.control("SH", ["SEE ALSO"]);
    page.text([
        bold("coracle"),
        roman("(8), "),
        bold("coracle-config"),
        roman("(8)"),
    ]);
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(command: &Command) -> Vec<String> {
        let own = command.get_display_name().unwrap_or_else(|| command.get_name());
        let below = command.get_subcommands().flat_map(names);
        std::iter::once(own.to_owned()).chain(below).collect()
    }

    #[test]
    fn each_command_has_a_page_that_tells_its_name_and_use() {
        let dir = tempfile::tempdir().unwrap();
        let directory = dir.path().join("made/on/the/way");
        pages(&Pages {
            directory: directory.clone(),
        })
        .unwrap();

        let mut command = Cli::command();
        command.build();
        let names = names(&command);
        assert!(names.contains(&"coracle-image-pull".to_owned()), "{names:?}");
        for name in &names {
            let page = fs::read_to_string(directory.join(format!("{name}.8"))).unwrap();
            assert!(page.contains(&format!(".TH {name} 8")), "{name}: {page}");
            assert!(page.contains(".SH SYNOPSIS"), "{name}: {page}");
        }
        // And the configuration's.
        assert_eq!(fs::read_dir(&directory).unwrap().count(), names.len() + 1);
    }

    #[test]
    fn the_configurations_page_has_each_key() {
        let mut text = vec![];
        configuration().to_writer(&mut text).unwrap();
        let text = String::from_utf8(text).unwrap().replace('\\', "");

        let dumped = dump(&Config::default());
        let keys = dumped.lines().filter(|line| line.contains(" = "));
        for key in keys {
            assert!(text.contains(key), "{key} is not in {text}");
        }
    }

    #[test]
    fn a_directory_that_cannot_be_made_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();

        let error = pages(&Pages {
            directory: file.join("man"),
        })
        .unwrap_err();

        assert!(
            error
                .to_string()
                .contains(&file.join("man").display().to_string()),
            "{error}"
        );
    }

    #[test]
    fn each_shell_completes_each_command() {
        use clap::ValueEnum;

        for shell in Shell::value_variants() {
            let mut script = vec![];
            generate(*shell, &mut Cli::command(), "coracle", &mut script);
            let script = String::from_utf8(script).unwrap();
            for command in Cli::command().get_subcommands() {
                assert!(
                    script.contains(command.get_name()),
                    "{shell}: {}",
                    command.get_name()
                );
            }
        }
    }
}
