//! From the command line to the model: the container that is asked for.

use super::Options;
use crate::model::{
    ContainerConfig, ContainerMetadata, CreateContainerRequest, ImageSpec, KeyValue, LinuxContainerConfig,
    Namespace, Namespaces, Profile, Security,
};

impl Options {
    /// The request: no log, no labels, the default filter, everything that can be new is.
    pub(super) fn request(&self) -> CreateContainerRequest {
        let owned = |paths: &[&str]| paths.iter().map(|&path| path.to_owned()).collect();
        CreateContainerRequest {
            container_id: String::new(),
            config: Some(ContainerConfig {
                metadata: Some(ContainerMetadata {
                    name: "run".to_owned(),
                    attempt: 0,
                }),
                image: Some(ImageSpec::named(&self.image)),
                // The image's entrypoint stays, as elsewhere: what is typed are its arguments, if it has one.
                args: self.command.clone(),
                working_dir: self.workdir.clone(),
                envs: self.variables(),
                tty: self.tty,
                stdin: true,
                linux: Some(LinuxContainerConfig {
                    security: Security {
                        seccomp: Profile::RuntimeDefault,
                        masked_paths: owned(&Security::MASKED_PATHS),
                        readonly_paths: owned(&Security::READONLY_PATHS),
                        ..Security::default()
                    },
                    namespaces: Namespaces {
                        network: if self.host_network {
                            Namespace::Host
                        } else {
                            Namespace::New
                        },
                        ..Namespaces::default()
                    },
                    ..LinuxContainerConfig::default()
                }),
                ..ContainerConfig::default()
            }),
        }
    }

    fn variables(&self) -> Vec<KeyValue> {
        let terminal = std::env::var("TERM").ok().filter(|_| self.tty);
        let terminal = terminal.map(|kind| KeyValue::new("TERM", kind.as_bytes()));
        let typed = self.env.iter().filter_map(|text| match text.split_once('=') {
            Some((name, value)) => Some(KeyValue::new(name, value.as_bytes())),
            None => Some(KeyValue::new(text, std::env::var(text).ok()?.as_bytes())),
        });
        terminal.into_iter().chain(typed).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(env: &[&str]) -> Options {
        Options {
            tty: false,
            env: env.iter().map(|&text| text.to_owned()).collect(),
            workdir: String::new(),
            host_network: false,
            image: "registry.example/x".to_owned(),
            command: vec!["ls".to_owned(), "-l".to_owned()],
        }
    }

    #[test]
    fn variables_are_given_or_taken_from_here() {
        let variables = options(&["A=1", "B=", "C=x=y", "CORACLE_NO_SUCH_VARIABLE", "PATH"]).variables();

        let names: Vec<_> = variables.iter().map(|pair| pair.key.as_str()).collect();
        assert_eq!(names, ["A", "B", "C", "PATH"]);
        assert_eq!(variables[2].value, "x=y");
        assert_eq!(variables[3].value, std::env::var("PATH").unwrap());
    }

    #[test]
    fn a_container_is_confined_and_has_a_network_of_its_own() {
        let config = options(&[]).request().config.unwrap();

        let linux = config.linux.unwrap();
        assert_eq!(config.args, ["ls", "-l"]);
        assert_eq!(linux.namespaces.network, Namespace::New);
        assert_eq!(linux.security.seccomp, Profile::RuntimeDefault);
        assert!(linux.security.masked_paths.contains(&"/proc/kcore".to_owned()));
    }
}
