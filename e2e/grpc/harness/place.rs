//! Where a daemon under test keeps what, its configuration, and the program set up to use it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::json;

use super::endpoint;
use super::node::{cni_plugins, node};

/// Where a daemon keeps what: outlives the process, so that another can take it over.
#[derive(Debug)]
pub(crate) struct Place {
    /// Name of its files on the node.
    pub(crate) name: String,
    /// Directory of its sockets and of what a reboot takes.
    pub(crate) run: PathBuf,
    /// The socket it serves on.
    pub(crate) socket: PathBuf,
    /// Directory of its records and images.
    pub(crate) state: PathBuf,
    /// Directory of `hosts.toml` files.
    pub(crate) registries: PathBuf,
}

impl Place {
    /// A place no daemon was in.
    pub(crate) fn new(purpose: &str) -> Place {
        endpoint::ours("starts a daemon of its own");
        let node = node();
        let name = format!("{purpose}-{}", node.number());
        let place = Place {
            run: node.run.join(&name),
            socket: node.run.join(format!("{name}.sock")),
            state: node.disk.join(&name),
            registries: node.directory.join(format!("{name}.certs.d")),
            name,
        };
        fs::create_dir_all(&place.registries).unwrap();
        fs::create_dir_all(place.logs()).unwrap();
        let config = place.config_text();
        fs::write(place.config(), config).unwrap();
        place
    }

    /// The place of a runtime that is not ours: its socket, and directories for what tests give it.
    pub(crate) fn given(socket: PathBuf) -> Place {
        let node = node();
        let name = format!("given-{}", node.number());
        let place = Place {
            run: node.run.join(&name),
            socket,
            state: node.disk.join(&name),
            registries: node.directory.join(format!("{name}.certs.d")),
            name,
        };
        fs::create_dir_all(place.logs()).unwrap();
        place
    }

    /// As [`Place::new`], with a network that no other daemon of the node shares: what is left over in it is this one's.
    pub(crate) fn with_own_network(purpose: &str) -> Place {
        let place = Place::new(purpose);
        let network = place.network();
        node().write_network(&network, &network);
        let shared = json!(node().cni_conf()).to_string();
        let own = json!(node().network_conf(&network)).to_string();
        let config = place.config_text().replace(&shared, &own);
        fs::write(place.config(), config).unwrap();
        place
    }

    /// The name of this daemon's own network, and of its bridge.
    pub(crate) fn network(&self) -> String {
        let number = self.name.rsplit('-').next().unwrap_or_default();
        format!("own{number}")
    }

    /// Sets keys beyond those that every place has.
    pub(crate) fn set(&self, toml: &str) {
        let directory = self.drop_ins();
        fs::create_dir_all(&directory).unwrap();
        let file = directory.join(format!("{}.toml", node().number()));
        fs::write(file, toml).unwrap();
    }

    /// Takes back what [`Place::set`] set.
    pub(crate) fn unset(&self) {
        fs::remove_dir_all(self.drop_ins()).unwrap();
    }

    /// The directory of files beside the main one, by which keys are set.
    pub(crate) fn drop_ins(&self) -> PathBuf {
        self.config().with_extension("toml.d")
    }

    /// Parent of the cgroups of this daemon's pods.
    pub(crate) fn cgroup_parent(&self) -> String {
        format!("{}/{}", node().cgroup_parent(), self.name)
    }

    /// The cgroup of this daemon's zygote and monitors.
    pub(crate) fn monitor_cgroup(&self) -> String {
        format!("{}/monitors-{}", node().cgroup_parent(), self.name)
    }

    /// Directory for containers' logs.
    pub(crate) fn logs(&self) -> PathBuf {
        node().disk.join(format!("{}-logs", self.name))
    }

    /// Directory of descriptions of devices; missing until a test makes it.
    pub(crate) fn descriptions(&self) -> PathBuf {
        endpoint::ours("describes devices to the daemon");
        node().directory.join(format!("{}.cdi", self.name))
    }

    fn config(&self) -> PathBuf {
        endpoint::ours("configures the daemon");
        node().directory.join(format!("{}.toml", self.name))
    }

    /// Where the board of its step points is, if a test makes one.
    pub(crate) fn steps(&self) -> PathBuf {
        node().directory.join(format!("{}.steps", self.name))
    }

    /// What the daemon says, at level debug.
    pub(crate) fn log(&self) -> PathBuf {
        endpoint::ours("reads the daemon's log");
        node().directory.join(format!("{}.log", self.name))
    }

    fn config_text(&self) -> String {
        let quoted = |path: &Path| json!(path).to_string();
        format!(
            "state_dir = {state}\nrun_dir = {run}\nsocket = {socket}\ncgroup_parent = {cgroup}\n\
             monitor_cgroup = {monitors}\n\n\
             [log]\nlevel = \"debug\"\n\n\
             [cni]\nconf_dir = {conf}\nbin_dirs = [{bin}]\n\n\
             [cdi]\nspec_dirs = [{descriptions}]\n\n\
             [registry]\nconfig_dir = {registries}\n",
            state = quoted(&self.state),
            run = quoted(&self.run),
            socket = quoted(&self.socket),
            cgroup = quoted(Path::new(&self.cgroup_parent())),
            monitors = quoted(Path::new(&self.monitor_cgroup())),
            conf = quoted(&node().cni_conf()),
            bin = quoted(&cni_plugins()),
            descriptions = quoted(&self.descriptions()),
            registries = quoted(&self.registries),
        )
    }

    /// Runs an audit, by the daemon that is here or at rest.
    pub(crate) async fn audit(&self, options: &[&str]) -> Audit {
        endpoint::ours("has the daemon audit itself");
        let arguments = [&["check", "--json"], options].concat();
        let mut command = tokio::process::Command::from(self.command(&arguments));
        let output = command.stdin(Stdio::null()).output().await.unwrap();
        let answer = serde_json::from_slice(&output.stdout);
        let answer: serde_json::Value =
            answer.unwrap_or_else(|_| panic!("the check could not be made: {output:?}"));
        Audit {
            code: output.status.code().unwrap(),
            findings: answer["findings"].as_array().unwrap().clone(),
        }
    }

    /// Asserts that an audit finds nothing out of place.
    pub(crate) async fn check(&self) {
        let audit = self.audit(&[]).await;
        assert_eq!(audit.code, 0, "{:#?}", audit.findings);
    }

    /// The program, set up to use this place.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        endpoint::ours("uses the command line");
        let mut command = Command::new(env!("CARGO_BIN_EXE_coracle"));
        command.arg("--config").arg(self.config()).args(arguments);
        // Read by builds with step points, when a test has made it.
        command.env(coracle::sys::step::VARIABLE, self.steps());
        command
    }
}

/// What `coracle check --json` answered.
#[derive(Debug)]
pub(crate) struct Audit {
    pub(crate) code: i32,
    pub(crate) findings: Vec<serde_json::Value>,
}

impl Audit {
    /// The findings of a class, as what they are about, with whether each was repaired.
    pub(crate) fn of(&self, class: &str) -> Vec<(String, bool)> {
        let of_class = self.findings.iter().filter(|finding| finding["class"] == class);
        let told = |finding: &serde_json::Value| {
            let thing = finding["thing"].as_str().unwrap().to_owned();
            (thing, finding["repaired"].as_bool().unwrap())
        };
        of_class.map(told).collect()
    }
}
