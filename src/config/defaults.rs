//! What the keys are when nobody sets them, all in one place.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroU64, NonZeroUsize};

use super::settings::{
    Api, BUILT_IN, Cdi, CgroupDriver, Cni, Config, Containers, Handler, Images, Log, LogFormat, LogLevel,
    Metrics, Registry, Streaming,
};

impl Default for Config {
    fn default() -> Config {
        Config {
            state_dir: "/var/lib/coracle".into(),
            run_dir: "/run/coracle".into(),
            socket: "/run/coracle/coracle.sock".into(),
            socket_group: None,
            cgroup_driver: CgroupDriver::Auto,
            cgroup_parent: "/coracle".into(),
            monitor_cgroup: "/coracle/monitors".into(),
            default_runtime: BUILT_IN.to_owned(),
            runtimes: BTreeMap::from([(BUILT_IN.to_owned(), Handler::default())]),
            log: Log {
                level: LogLevel::Info,
                filter: None,
                format: LogFormat::Text,
            },
            containers: Containers {
                pids_limit: 0,
                selinux: true,
            },
            cni: Cni {
                conf_dir: "/etc/cni/net.d".into(),
                bin_dirs: vec![
                    "/opt/cni/bin".into(),
                    "/usr/lib/cni".into(),
                    "/usr/libexec/cni".into(),
                ],
                conf_template: None,
                timeout_seconds: NonZeroU32::new(100).expect("100 is not zero"),
            },
            cdi: Cdi {
                spec_dirs: vec!["/etc/cdi".into(), "/var/run/cdi".into()],
            },
            registry: Registry {
                config_dir: "/etc/coracle/certs.d".into(),
                auth_file: None,
                max_parallel_layers: NonZeroUsize::new(3).expect("3 is not zero"),
                progress_timeout_seconds: NonZeroU32::new(60).expect("60 is not zero"),
            },
            images: Images {
                max_layer_bytes: NonZeroU64::new(64 << 30).expect("not zero"),
                max_layer_entries: NonZeroU64::new(4_000_000).expect("not zero"),
                max_layer_depth: NonZeroUsize::new(256).expect("not zero"),
                max_layer_ratio: 1100,
                max_document_bytes: NonZeroU64::new(4 << 20).expect("not zero"),
                pinned: vec![],
            },
            api: Api { socket: None },
            streaming: Streaming {
                address: SocketAddr::from(([127, 0, 0, 1], 0)),
                tls_certificate: None,
                tls_key: None,
                idle_timeout_seconds: NonZeroU32::new(4 * 60 * 60).expect("it is not zero"),
                creation_timeout_seconds: NonZeroU32::new(30).expect("30 is not zero"),
            },
            metrics: Metrics { address: None },
        }
    }
}

#[allow(
    clippy::derivable_impls,
    reason = "every key's default is written here, beside the others"
)]
impl Default for Handler {
    fn default() -> Handler {
        Handler {
            cni_conf_dir: None,
            default_annotations: BTreeMap::new(),
            default_sysctls: [
                ("net.ipv4.ip_unprivileged_port_start", "0"),
                ("net.ipv4.ping_group_range", "0 2147483647"),
            ]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
            mount_options: vec![],
            read_only: false,
            default_capabilities: None,
            seccomp_profile: None,
            apparmor_profile: None,
            privileged_without_host_devices: false,
        }
    }
}

// A table that is given in part takes the rest from here, and so from the one `Default` above.
impl Default for Log {
    fn default() -> Log {
        Config::default().log
    }
}

impl Default for Containers {
    fn default() -> Containers {
        Config::default().containers
    }
}

impl Default for Cni {
    fn default() -> Cni {
        Config::default().cni
    }
}

impl Default for Cdi {
    fn default() -> Cdi {
        Config::default().cdi
    }
}

impl Default for Registry {
    fn default() -> Registry {
        Config::default().registry
    }
}

impl Default for Images {
    fn default() -> Images {
        Config::default().images
    }
}

impl Default for Api {
    fn default() -> Api {
        Config::default().api
    }
}

impl Default for Streaming {
    fn default() -> Streaming {
        Config::default().streaming
    }
}

impl Default for Metrics {
    fn default() -> Metrics {
        Config::default().metrics
    }
}
