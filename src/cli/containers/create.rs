//! `coracle create`: from the command line to a request.

use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};

use super::place::Place;
use crate::app::client::Call;
use crate::cli::{CliError, print};
use crate::model::{CreateContainerResponse, ImageSpec, ImageStatusRequest, ImageStatusResponse};

/// A period of the CFS scheduler, in microseconds.
const PERIOD: f64 = 100_000.0;

#[derive(Clone, Debug, Default, Args)]
pub(in crate::cli) struct Options {
    /// Name of the container
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Sets a variable of the environment; without a value, to the one here. May be repeated
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    env: Vec<String>,
    /// Sets a label. May be repeated
    #[arg(short, long, value_name = "NAME=VALUE", value_parser = pair)]
    label: Vec<(String, String)>,
    /// Binds a path of the host. May be repeated
    #[arg(short = 'v', long, visible_alias = "volume", value_name = "HOST:CONTAINER[:ro]", value_parser = mount)]
    mount: Vec<Value>,
    /// Working directory; by default the image's
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<String>,
    /// User, by name or number, and perhaps a group, by number; by default the image's
    #[arg(short, long, value_name = "USER[:GROUP]", value_parser = user)]
    user: Option<Value>,
    /// Gives it a terminal
    #[arg(short, long)]
    tty: bool,
    /// Keeps its standard input open for those who attach
    #[arg(short, long)]
    interactive: bool,
    /// Most memory, as in `64m` or `1g`
    #[arg(short, long, value_name = "BYTES", value_parser = bytes)]
    memory: Option<i64>,
    /// Most processors, as in `1.5`
    #[arg(long, value_name = "NUMBER", value_parser = processors)]
    cpus: Option<f64>,
    /// Replaces the image's entrypoint
    #[arg(long, value_name = "COMMAND")]
    entrypoint: Option<String>,
    /// Uses the host's network; by default the container has one of its own, with nothing but a loopback
    #[arg(long)]
    host_network: bool,
    /// Mounts its root read-only
    #[arg(long)]
    read_only: bool,
    /// Adds a capability. May be repeated
    #[arg(long, value_name = "NAME")]
    cap_add: Vec<String>,
    /// Takes a capability away. May be repeated
    #[arg(long, value_name = "NAME")]
    cap_drop: Vec<String>,
    /// Gives it everything the host has: all devices and capabilities, no filter
    #[arg(long)]
    privileged: bool,
    /// Image: a name or an id
    image: String,
    /// Command and arguments; by default the image's
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

pub(super) async fn run(place: &Place, options: Options) -> Result<ExitCode, CliError> {
    if !has(place, &options.image).await? {
        super::images::pull_one(place, &options.image).await?;
    }
    let action = || format!("create a container of {}", options.image);
    let made: CreateContainerResponse = place
        .call(Call::CreateContainer, &options.request(), action)
        .await?;
    print(&format!("{}\n", made.container_id))?;
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn has(place: &Place, image: &str) -> Result<bool, CliError> {
    let request = ImageStatusRequest {
        image: Some(ImageSpec::named(image)),
        verbose: false,
    };
    let action = || format!("look for image {image}");
    let answer: ImageStatusResponse = place.call(Call::ImageStatus, &request, action).await?;
    Ok(answer.image.is_some())
}

impl Options {
    /// The request: what is not asked for is not said, so that the daemon's defaults hold.
    fn request(&self) -> Value {
        let mut security = self.user.clone().unwrap_or_else(|| json!({}));
        if self.privileged {
            security["privileged"] = json!(true);
        }
        if self.read_only {
            security["readonlyRootfs"] = json!(true);
        }
        if !self.cap_add.is_empty() || !self.cap_drop.is_empty() {
            security["capabilities"] = json!({"add": self.cap_add, "drop": self.cap_drop});
        }
        let mut resources = json!({});
        if let Some(memory) = self.memory {
            resources["memoryLimitInBytes"] = json!(memory);
        }
        if let Some(cpus) = self.cpus {
            resources["cpuPeriod"] = json!(PERIOD as i64);
            resources["cpuQuota"] = json!((cpus * PERIOD) as i64);
        }
        let network = if self.host_network { "host" } else { "new" };
        let mut config = json!({
            "metadata": {"name": self.name.clone().unwrap_or_default()},
            "image": {"image": self.image},
            // The image's entrypoint stays, as elsewhere: what is typed are its arguments, if it has one.
            "args": self.command,
            "envs": self.variables(),
            "labels": self.label.iter().cloned().collect::<std::collections::BTreeMap<_, _>>(),
            "mounts": self.mount,
            "tty": self.tty,
            "stdin": self.interactive,
            "linux": {"security": security, "resources": resources, "namespaces": {"network": network}},
        });
        if let Some(entrypoint) = &self.entrypoint {
            config["command"] = json!([entrypoint]);
        }
        if let Some(workdir) = &self.workdir {
            config["workingDir"] = json!(workdir);
        }
        json!({"config": config})
    }

    fn variables(&self) -> Vec<Value> {
        let typed = self.env.iter().filter_map(|text| match text.split_once('=') {
            Some((name, value)) => Some(json!({"key": name, "value": value})),
            None => Some(json!({"key": text, "value": std::env::var(text).ok()?})),
        });
        typed.collect()
    }
}

/// `NAME=VALUE`.
pub(super) fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("it is not NAME=VALUE")?;
    match name.is_empty() {
        true => Err("it has no name".to_owned()),
        false => Ok((name.to_owned(), value.to_owned())),
    }
}

/// `HOST:CONTAINER[:ro]`.
fn mount(text: &str) -> Result<Value, String> {
    let parts: Vec<&str> = text.split(':').collect();
    let readonly = match parts[..] {
        [_, _] | [_, _, "rw"] => false,
        [_, _, "ro"] => true,
        _ => return Err("it is not HOST:CONTAINER[:ro]".to_owned()),
    };
    if !parts[0].starts_with('/') || !parts[1].starts_with('/') {
        return Err("both paths must begin with /".to_owned());
    }
    Ok(json!({"hostPath": parts[0], "containerPath": parts[1], "readonly": readonly}))
}

/// `USER[:GROUP]`, as the part of the request that says so.
fn user(text: &str) -> Result<Value, String> {
    let (user, group) = text
        .split_once(':')
        .map_or((text, None), |(user, group)| (user, Some(group)));
    if user.is_empty() {
        return Err("it names no user".to_owned());
    }
    let mut said = match user.parse::<u32>() {
        Ok(id) => json!({"user": {"id": id}}),
        Err(_) => json!({"user": {"name": user}}),
    };
    if let Some(group) = group {
        let number = group
            .parse::<u32>()
            .map_err(|_| format!("group {group:?} is no number"))?;
        said["group"] = json!(number);
    }
    Ok(said)
}

/// `64m`: a number of bytes, with a unit of a power of 1024.
fn bytes(text: &str) -> Result<i64, String> {
    let lower = text.to_ascii_lowercase();
    let digits = lower.trim_end_matches(['b', 'i']);
    let (number, shift) = match digits.chars().last() {
        Some('k') => (&digits[..digits.len() - 1], 10),
        Some('m') => (&digits[..digits.len() - 1], 20),
        Some('g') => (&digits[..digits.len() - 1], 30),
        _ => (digits, 0),
    };
    let number: i64 = number
        .parse()
        .map_err(|_| "it is not a number with k, m or g".to_owned())?;
    let bytes = number.checked_mul(1 << shift).filter(|bytes| *bytes > 0);
    bytes.ok_or_else(|| "it must be more than 0, and less than there is anywhere".to_owned())
}

/// `1.5`: a number of processors.
fn processors(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| "it is not a number".to_owned())?;
    match (0.01..=8192.0).contains(&number) {
        true => Ok(number),
        false => Err("it must be at least 0.01, and no more than there are anywhere".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{CreateContainerRequest, User};

    #[test]
    fn sizes_are_read_with_their_units() {
        for (text, expected) in [
            ("1", 1),
            ("64m", 64 << 20),
            ("1G", 1 << 30),
            ("2KiB", 2048),
            ("3mb", 3 << 20),
        ] {
            assert_eq!(bytes(text), Ok(expected), "{text}");
        }
        for text in ["", "m", "-1m", "0", "1.5g", "9999999999g", "1t"] {
            assert!(bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_typed_is_a_request_that_the_daemon_takes() {
        let options = Options {
            name: Some("web".to_owned()),
            env: vec!["A=1".to_owned()],
            label: vec![pair("k=v").unwrap()],
            mount: vec![mount("/host:/in:ro").unwrap()],
            user: Some(user("1000:100").unwrap()),
            memory: Some(64 << 20),
            cpus: Some(1.5),
            cap_add: vec!["NET_ADMIN".to_owned()],
            image: "x".to_owned(),
            command: vec!["ls".to_owned(), "-l".to_owned()],
            ..Options::default()
        };

        let request: CreateContainerRequest = serde_json::from_value(options.request()).unwrap();

        let config = request.config.unwrap();
        let linux = config.linux.unwrap();
        let resources = linux.resources.unwrap();
        assert_eq!(config.args, ["ls", "-l"]);
        assert!(config.mounts[0].readonly && config.mounts[0].container_path == "/in");
        assert_eq!(
            (linux.security.user, linux.security.group),
            (Some(User::Id(1000)), Some(100))
        );
        assert_eq!(resources.memory_limit_in_bytes, 64 << 20);
        assert_eq!((resources.cpu_quota, resources.cpu_period), (150_000, 100_000));
        assert_eq!(config.labels["k"], "v");
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        assert!(mount("/only").is_err() && mount("a:/b").is_err() && mount("/a:/b:rx").is_err());
        assert!(user("").is_err() && user("a:users").is_err());
        assert!(pair("a").is_err() && pair("=a").is_err());
        assert!(processors("0").is_err() && processors("many").is_err());
    }
}
