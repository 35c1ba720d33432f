//! What a caller asks of the network: attachments, arguments and capabilities, checked when they are made.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// The longest interface name the kernel takes (`IFNAMSIZ` less its NUL).
const INTERFACE_NAME_MAX: usize = 15;

/// One network interface of one container: what every verb is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Attachment {
    #[serde(rename = "containerID")]
    id: String,
    ifname: String,
}

impl Attachment {
    /// Names an attachment: `id` as the container's id, `ifname` as the interface inside its namespace.
    ///
    /// # Errors
    ///
    /// [`RequestError`] when a name is not as the CNI specification, section 2 "Parameters", wants it.
    pub fn new(id: impl Into<String>, ifname: impl Into<String>) -> Result<Self, RequestError> {
        let (id, ifname) = (id.into(), ifname.into());
        if !is_name(&id) {
            return Err(RequestError::Id { id });
        }
        let odd = |c: char| c == '/' || c == ':' || c.is_whitespace() || c.is_control();
        if ifname.is_empty()
            || ifname.len() > INTERFACE_NAME_MAX
            || ifname == "."
            || ifname == ".."
            || ifname.contains(odd)
        {
            return Err(RequestError::Interface { ifname });
        }
        Ok(Self { id, ifname })
    }

    /// The container's id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The interface's name inside the namespace.
    pub fn ifname(&self) -> &str {
        &self.ifname
    }
}

impl fmt::Display for Attachment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.id, self.ifname)
    }
}

/// Returns whether `name` may name a network or a container: a letter or digit, then letters, digits and `_.-`.
pub(super) fn is_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|first| first.is_ascii_alphanumeric())
        && bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

/// Asks to attach a namespace to the network.
#[derive(Clone, Debug)]
pub struct AddRequest {
    /// What to attach.
    pub attachment: Attachment,
    /// The network namespace, as a path that stays valid until the attachment is removed.
    pub netns: PathBuf,
    /// `CNI_ARGS`, in order. A caller that sends keys not every plugin knows sends `IgnoreUnknown=1` too.
    pub args: Vec<(String, String)>,
    /// What is offered to plugins that declare the capability.
    pub capabilities: Capabilities,
}

/// Asks to detach a namespace from the network.
#[derive(Clone, Debug)]
pub struct DelRequest {
    /// What to detach.
    pub attachment: Attachment,
    /// The network namespace when it may still be there.
    pub netns: Option<PathBuf>,
}

/// Arguments for plugins that declare, under `capabilities`, that they want them (CNI conventions, "Dynamic Plugin
/// specific Fields").
#[derive(Clone, Debug, Default)]
pub struct Capabilities {
    /// `portMappings`; mappings without a host port are left out.
    pub port_mappings: Vec<PortMapping>,
    /// `dns`.
    pub dns: Option<DnsConfig>,
    /// `bandwidth`.
    pub bandwidth: Option<Bandwidth>,
    /// `cgroupPath`.
    pub cgroup_path: Option<String>,
    /// Any other capability, under its own name.
    pub others: Map<String, Value>,
}

impl Capabilities {
    /// Returns the arguments by the capability's name, those that say nothing left out.
    pub(super) fn to_json(&self) -> Map<String, Value> {
        let mut map = self.others.clone();
        let mappings: Vec<&PortMapping> = self.port_mappings.iter().filter(|m| m.host_port != 0).collect();
        if !mappings.is_empty() {
            map.insert("portMappings".to_owned(), json!(mappings));
        }
        if let Some(dns) = self.dns.as_ref().filter(|dns| **dns != DnsConfig::default()) {
            map.insert("dns".to_owned(), json!(dns));
        }
        if let Some(bandwidth) = &self.bandwidth {
            map.insert("bandwidth".to_owned(), json!(bandwidth));
        }
        if let Some(path) = &self.cgroup_path {
            map.insert("cgroupPath".to_owned(), json!(path));
        }
        map
    }
}

/// A port of the host that leads to one of the container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PortMapping {
    /// The host's port; 0 asks for none.
    pub host_port: u16,
    /// The container's port.
    pub container_port: u16,
    /// The transport.
    pub protocol: Protocol,
    /// The host's address to listen on; all of them when absent.
    #[serde(rename = "hostIP", skip_serializing_if = "Option::is_none")]
    pub host_ip: Option<IpAddr>,
}

/// A transport protocol of a port mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "each names itself")]
pub enum Protocol {
    Tcp,
    Udp,
    Sctp,
}

/// Name resolution asked for, for plugins that configure it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct DnsConfig {
    /// Servers' addresses.
    pub servers: Vec<String>,
    /// Search domains.
    pub searches: Vec<String>,
    /// Options, as resolv.conf has them.
    pub options: Vec<String>,
}

/// Limits in bits and bits a second; 0 is no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "named as the convention has them")]
pub struct Bandwidth {
    pub ingress_rate: u64,
    pub ingress_burst: u64,
    pub egress_rate: u64,
    pub egress_burst: u64,
}

/// A range of addresses, `10.1.0.0/16` or `fd00::/64`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    address: IpAddr,
    prefix: u8,
}

impl Cidr {
    /// The address before the slash.
    pub fn address(&self) -> IpAddr {
        self.address
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl FromStr for Cidr {
    type Err = RequestError;

    fn from_str(text: &str) -> Result<Self, RequestError> {
        let parse = || {
            let (address, prefix) = text.split_once('/')?;
            let address: IpAddr = address.parse().ok()?;
            let prefix: u8 = prefix.parse().ok()?;
            let widest = if address.is_ipv4() { 32 } else { 128 };
            (prefix <= widest).then_some(Self { address, prefix })
        };
        parse().ok_or_else(|| RequestError::Cidr {
            text: text.to_owned(),
        })
    }
}

/// Returns `args` as `CNI_ARGS` has them: `KEY=value` joined by semicolons.
pub(super) fn join_args(args: &[(String, String)]) -> Result<String, RequestError> {
    for (key, value) in args {
        let clean = |text: &str| !text.contains([';', '\0']);
        if key.is_empty() || key.contains('=') || !clean(key) || !clean(value) {
            return Err(RequestError::Argument { key: key.clone() });
        }
    }
    let pairs: Vec<String> = args.iter().map(|(key, value)| format!("{key}={value}")).collect();
    Ok(pairs.join(";"))
}

/// A request that no plugin could be given.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// The container's id has characters the specification does not allow.
    #[error("container id {id:?} is not a letter or digit followed by letters, digits, '_', '.' and '-'")]
    Id {
        /// The id.
        id: String,
    },
    /// The kernel would not take the interface's name.
    #[error("interface name {ifname:?} is empty, longer than 15 bytes, or has a '/', ':' or space")]
    Interface {
        /// The name.
        ifname: String,
    },
    /// An argument cannot be written as `KEY=value` between semicolons.
    #[error("argument {key:?} has a ';' or NUL in it, or a '=' in its key")]
    Argument {
        /// The argument's key.
        key: String,
    },
    /// Not an address and the length of its prefix.
    #[error("address range {text:?} is not an address, a slash and the length of a prefix")]
    Cidr {
        /// What was given.
        text: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attachment_takes_only_names_the_specification_allows() {
        let check = |id: &str, ifname: &str, fits: bool| {
            assert_eq!(Attachment::new(id, ifname).is_ok(), fits, "{id:?} {ifname:?}");
        };

        check("0f3a", "eth0", true);
        check("a_b.c-d", "abcdefghijklmno", true);
        check("", "eth0", false);
        check("-a", "eth0", false);
        check("a/b", "eth0", false);
        check("a", "", false);
        check("a", "abcdefghijklmnop", false);
        check("a", "..", false);
        check("a", "e/0", false);
        check("a", "e:0", false);
        check("a", "e 0", false);
    }

    #[test]
    fn arguments_that_would_become_others_are_refused() {
        let join =
            |key: &str, value: &str| join_args(&[("A".into(), "1".into()), (key.into(), value.into())]);

        assert_eq!(join("B", "x=y"), Ok("A=1;B=x=y".to_owned()));
        assert_eq!(join("B", ""), Ok("A=1;B=".to_owned()));
        assert!(join("B", "x;C=2").is_err());
        assert!(join("B=", "x").is_err());
        assert!(join("", "x").is_err());
    }

    #[test]
    fn capabilities_that_say_nothing_are_left_out() {
        let mapping = PortMapping {
            host_port: 0,
            container_port: 80,
            protocol: Protocol::Tcp,
            host_ip: None,
        };
        let nothing = Capabilities {
            port_mappings: vec![mapping.clone()],
            dns: Some(DnsConfig::default()),
            ..Capabilities::default()
        };
        let some = Capabilities {
            port_mappings: vec![
                mapping.clone(),
                PortMapping {
                    host_port: 8080,
                    ..mapping
                },
            ],
            ..Capabilities::default()
        };

        assert!(nothing.to_json().is_empty());
        assert_eq!(
            Value::Object(some.to_json()),
            json!({"portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]})
        );
    }

    #[test]
    fn address_ranges_of_either_family_are_read() {
        let check = |text: &str, fits: bool| assert_eq!(text.parse::<Cidr>().is_ok(), fits, "{text:?}");

        check("10.1.0.0/16", true);
        check("fd00::/64", true);
        check("10.1.0.0/33", false);
        check("10.1.0.0", false);
        check("x/8", false);
        check("", false);
    }
}
