//! The keys: one struct a table, one documented field a key. What they are by default is in `defaults`.
//!
//! `settings!` keeps a field's documentation beside the field, so that it can be printed as well as read.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroU64, NonZeroUsize};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// One key of a table, and what its field's documentation says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// Name in TOML; empty for a table that is a field of [`Config`].
    pub name: &'static str,
    /// The documentation, a line each, as written (with a leading space).
    pub docs: &'static [&'static str],
}

/// Declares a table of settings and `KEYS`, its fields with their documentation.
macro_rules! settings {
    ($(#[doc = $about:literal])+ pub struct $name:ident { $($(#[doc = $docs:literal])+ pub $key:ident: $kind:ty,)+ }) => {
        $(#[doc = $about])+
        #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(default)]
        pub struct $name { $($(#[doc = $docs])+ pub $key: $kind,)+ }

        impl $name {
            /// The documentation of the table, a line each, as written.
            #[allow(dead_code, reason = "most tables are told of by their keys alone")]
            pub const DOCS: &[&str] = &[$($about),+];
            /// The fields of this table in the order of their declaration.
            pub const KEYS: &[Key] = &[$(Key { name: stringify!($key), docs: &[$($docs),+] }),+];
        }
    };
}

settings! {
    /// Everything that can be set. [`Config::default`] runs a node without any file.
    pub struct Config {
        /// Directory of what outlives a reboot: images, layers, records. Given to one daemon alone.
        pub state_dir: PathBuf,
        /// Directory of what does not outlive one: bundles, sockets, pinned namespaces. Best on a tmpfs.
        pub run_dir: PathBuf,
        /// Unix socket that the kubelet, crictl and this command line dial. At most 107 bytes long.
        pub socket: PathBuf,
        /// Group, by name or number, that may use the socket beside root; without it root alone may. Whoever may use the
        /// socket is root on the node.
        pub socket_group: Option<String>,
        /// Who makes the cgroups of containers: `cgroupfs`, this daemon; `systemd`, the service manager, as scopes in
        /// slices, which takes cgroup v2; `auto`, systemd where it is and the cgroups are of version 2, else this daemon.
        /// A kubelet from 1.28 on asks which; an older one must be told the same.
        pub cgroup_driver: CgroupDriver,
        /// Parent of the cgroups of pods that name none, from the root of each hierarchy. With systemd `/a` is the slice
        /// `a.slice`.
        pub cgroup_parent: PathBuf,
        /// Cgroup of the processes that watch over containers, from the root of each hierarchy. Never a pod's, so that
        /// no pod pays for them or takes them along when it is killed.
        pub monitor_cgroup: PathBuf,
        /// The handler of pods that name none: one of the tables below `runtimes`. It answers to its own name as well.
        pub default_runtime: String,
        /// The handlers that a RuntimeClass can name, each a table of its own.
        pub runtimes: BTreeMap<String, Handler>,
        /// What the daemon says about its work, on standard error.
        pub log: Log,
        /// Limits of every container.
        pub containers: Containers,
        /// Pod networks, made by CNI plugins.
        pub cni: Cni,
        /// Devices that their vendors describe by the Container Device Interface.
        pub cdi: Cdi,
        /// Where images come from.
        pub registry: Registry,
        /// What an image may be at most, and which are kept. One that exceeds a limit is not pulled, and the error names the
        /// key.
        pub images: Images,
        /// The reduced model over HTTP and JSON, beside CRI.
        pub api: Api,
        /// The server for the streams of exec, attach and port-forward.
        pub streaming: Streaming,
        /// What Prometheus reads of the daemon.
        pub metrics: Metrics,
    }
}

settings! {
    /// Table `[log]`.
    pub struct Log {
        /// Least severe level that is written: `error`, `warn`, `info`, `debug` or `trace`. The environment
        /// variable `CORACLE_LOG` overrides it, and may name modules: `info,coracle::image=debug`.
        pub level: LogLevel,
        /// What is written, module by module, in place of `level`: `info,coracle::image=debug`. Overridden by
        /// `CORACLE_LOG` too.
        pub filter: Option<String>,
        /// `text` for people, `json` for collectors: one object a line.
        pub format: LogFormat,
    }
}

settings! {
    /// Table `[containers]`.
    pub struct Containers {
        /// Most processes and threads that a container may have; 0 is no limit. The kubelet's `podPidsLimit` holds for
        /// the pod as a whole, beside it.
        pub pids_limit: u32,
        /// Containers have SELinux labels, where SELinux is on and its policy has some for containers. Read at start.
        pub selinux: bool,
    }
}

settings! {
    /// Table `[runtimes.NAME]`: the handler NAME, as RuntimeClasses name it. `coracle` is always there. What a handler
    /// says holds for the pods that are run after it was said: a pod keeps what it was run with, also when its handler
    /// is no longer configured.
    pub struct Handler {
        /// Directory of the network configurations of its pods, in place of `cni.conf_dir`.
        pub cni_conf_dir: Option<PathBuf>,
        /// Annotations that its pods have unless they bring their own of the same name. They are told to network plugins
        /// that ask for annotations, and written to the OCI configuration of containers; CRI calls answer what was asked for.
        pub default_annotations: BTreeMap<String, String>,
        /// Kernel parameters of namespaces (`net.*`, `kernel.shm*`, `kernel.msg*`, `kernel.sem`, `fs.mqueue.*`) that its pods have
        /// unless they bring their own of the same name. Those of a namespace that a pod shares with the node are left out, and
        /// in a user namespace `net.ipv4.ping_group_range`, whose groups that has not. By default a process that is not root may
        /// listen on every port of its pod, and ping.
        pub default_sysctls: BTreeMap<String, String>,
        /// Options of the overlay that the root of a container is: `volatile`, which never waits for the disk (what a
        /// container wrote is lost if the machine crashes), and `index` and `xino`, each with `=on` or `=off`.
        pub mount_options: Vec<String>,
        /// Roots of containers are read-only, whether they ask for it or not.
        pub read_only: bool,
        /// Capabilities of a container that asks for no others, in place of the built-in set. Those that it adds and drops
        /// are added to these and dropped from them.
        pub default_capabilities: Option<Vec<String>>,
        /// File with the system call filter that `RuntimeDefault` stands for, in place of the built-in one.
        pub seccomp_profile: Option<PathBuf>,
        /// AppArmor profile that `RuntimeDefault` stands for. Where AppArmor is off its containers are refused.
        pub apparmor_profile: Option<String>,
        /// Privileged containers get neither the devices of the host nor the right to use them.
        pub privileged_without_host_devices: bool,
    }
}

settings! {
    /// Table `[cni]`.
    pub struct Cni {
        /// Directory of network configurations. The first by name is used; it is watched, and may be missing:
        /// then only pods in the host's network run.
        pub conf_dir: PathBuf,
        /// Directories that plugins are looked for in, in this order.
        pub bin_dirs: Vec<PathBuf>,
        /// Template of a network configuration. When set, the pod CIDR that the kubelet hands over is filled in
        /// and the result is written to `conf_dir`. For clusters without a network add-on.
        pub conf_template: Option<PathBuf>,
        /// Seconds that the plugins together may take to attach a pod, or to detach it. Then they are killed, and
        /// what they did is undone. Deleting a pod does not wait that long: after ten seconds the plugins are
        /// asked again in the background.
        pub timeout_seconds: NonZeroU32,
    }
}

settings! {
    /// Table `[cdi]`.
    pub struct Cdi {
        /// Directories of descriptions, `*.json` and `*.yaml`. Of a device that two directories have, the later one
        /// counts; one that two files of a directory have cannot be used. They are watched, and may be missing. None:
        /// no device is known.
        pub spec_dirs: Vec<PathBuf>,
    }
}

settings! {
    /// Table `[registry]`.
    pub struct Registry {
        /// Directory of one folder a registry, each with a `hosts.toml`: mirrors, plain HTTP, certificates,
        /// headers. Read anew at every pull.
        pub config_dir: PathBuf,
        /// Credentials in the format of Docker's `config.json`, for pulls that bring none. Read anew at every
        /// pull.
        pub auth_file: Option<PathBuf>,
        /// Layers of one image that are fetched at the same time. At least 1.
        pub max_parallel_layers: NonZeroUsize,
        /// Seconds without progress after which a transfer counts as broken: it goes on where it stopped, a few
        /// times, and then the pull fails. Less than 1 KiB a second is no progress.
        pub progress_timeout_seconds: NonZeroU32,
    }
}

settings! {
    /// Table `[images]`.
    pub struct Images {
        /// Inflated bytes of one layer; the holes of sparse files count.
        pub max_layer_bytes: NonZeroU64,
        /// Entries of one layer.
        pub max_layer_entries: NonZeroU64,
        /// Directories in a path of a layer, one below the other.
        pub max_layer_depth: NonZeroUsize,
        /// How many times larger one layer may be inflated than packed, from 64 MiB on; 0 is no limit. What gzip packs
        /// cannot exceed 1032.
        pub max_layer_ratio: u64,
        /// Bytes of one manifest, index or image configuration.
        pub max_document_bytes: NonZeroU64,
        /// Images that are told of as pinned, which the kubelet's collection leaves alone: names as pods have them, or the
        /// beginning of full names with a `*` at its end, as `registry.k8s.io/*`; `*` is all. They can be removed by hand.
        pub pinned: Vec<String>,
    }
}

settings! {
    /// Table `[api]`.
    pub struct Api {
        /// Unix socket of the API for containers without pods, and of `coracle ps` and its like; without it there is none.
        /// Root alone may use it, and whoever may is root on the node. Best is `/run/coracle/api.sock`.
        pub socket: Option<PathBuf>,
    }
}

settings! {
    /// Table `[streaming]`.
    pub struct Streaming {
        /// Address and port to listen on; port 0 takes any that is free. The kubelet passes streams on, so loopback is
        /// enough.
        pub address: SocketAddr,
        /// Certificate in PEM, with what signed it, for clients that insist on TLS. The kubelet checks it by the
        /// machine's own roots. Set together with `tls_key`. Both files are read again when they have changed.
        pub tls_certificate: Option<PathBuf>,
        /// Key of the certificate in PEM.
        pub tls_key: Option<PathBuf>,
        /// Seconds after which a session in which nothing moves ends.
        pub idle_timeout_seconds: NonZeroU32,
        /// Seconds that a client may take to open the streams of its session.
        pub creation_timeout_seconds: NonZeroU32,
    }
}

settings! {
    /// Table `[metrics]`.
    pub struct Metrics {
        /// Address and port to answer `GET /metrics` on, in the text format of OpenMetrics; without it there is none.
        /// Anybody who reaches it may read what the node does, though no names: a loopback address is best, as
        /// `127.0.0.1:9464`.
        pub address: Option<SocketAddr>,
    }
}

/// Who makes the cgroups of containers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CgroupDriver {
    /// systemd if it can.
    #[default]
    Auto,
    /// The daemon.
    Cgroupfs,
    /// The service manager.
    Systemd,
}

/// How severe an event must be to be written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// Someone must act.
    Error,
    /// Something went wrong and was put right.
    Warn,
    /// Each change of a container's or a pod's state.
    #[default]
    Info,
    /// Decisions.
    Debug,
    /// Bytes.
    Trace,
}

impl LogLevel {
    /// The level's name in TOML.
    pub fn name(self) -> &'static str {
        match self {
            LogLevel::Error => "error",
            LogLevel::Warn => "warn",
            LogLevel::Info => "info",
            LogLevel::Debug => "debug",
            LogLevel::Trace => "trace",
        }
    }
}

/// What an event looks like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// A line of words.
    #[default]
    Text,
    /// A line of JSON.
    Json,
}

/// The handler that is there without being configured.
pub(super) const BUILT_IN: &str = "coracle";
/// The table that there is any number of, each by a name of its own in the place of the last part.
pub(super) const NAMED: &str = "runtimes.NAME";

/// The tables of [`Config`] with their keys, as they are printed; the first has no name.
pub(super) const TABLES: [(&str, &[Key]); 11] = [
    ("", Config::KEYS),
    (NAMED, Handler::KEYS),
    ("log", Log::KEYS),
    ("containers", Containers::KEYS),
    ("cni", Cni::KEYS),
    ("cdi", Cdi::KEYS),
    ("registry", Registry::KEYS),
    ("images", Images::KEYS),
    ("api", Api::KEYS),
    ("streaming", Streaming::KEYS),
    ("metrics", Metrics::KEYS),
];

/// Whether a key of the first table stands for tables.
pub(super) fn is_table(key: &Key) -> bool {
    TABLES
        .iter()
        .any(|(name, _)| name.split('.').next() == Some(key.name))
}

/// Every key that takes a value, dotted.
pub(super) fn leaves() -> impl Iterator<Item = (String, &'static Key)> {
    TABLES.into_iter().flat_map(|(table, keys)| {
        keys.iter()
            .filter(move |key| !(table.is_empty() && is_table(key)))
            .map(move |key| match table {
                "" => (key.name.to_owned(), key),
                _ => (format!("{table}.{}", key.name), key),
            })
    })
}
