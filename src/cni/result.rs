//! What `ADD` answers (CNI specification, section 5 "ADD Success"), in the formats of 0.3.0 to 1.1.0.
//!
//! A result is kept as the plugin wrote it, since the next plugin and `DEL` must get it back whole, and read into
//! types for those who use it here.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::cni::Cidr;
use crate::cni::version::Version;

/// A valid result, in the version of the configuration it belongs to.
#[derive(Clone, Debug, PartialEq)]
pub struct AddResult {
    raw: Value,
    version: Version,
    fields: Fields,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
struct Fields {
    #[serde(default)]
    interfaces: Vec<Interface>,
    #[serde(default)]
    ips: Vec<Ip>,
    #[serde(default)]
    routes: Vec<Route>,
    #[serde(default)]
    dns: ResultDns,
}

/// An interface a plugin made, inside the namespace or outside.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct Interface {
    /// Its name.
    #[serde(default)]
    pub name: String,
    /// Its hardware address.
    #[serde(default)]
    pub mac: String,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
struct Ip {
    address: String,
    #[serde(default)]
    interface: Option<i64>,
}

/// A route a plugin set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct Route {
    /// The destination, as a range.
    pub dst: String,
    /// The next hop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gw: Option<String>,
}

/// Name resolution of the network.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct ResultDns {
    /// Servers' addresses.
    pub nameservers: Vec<String>,
    /// The local domain.
    pub domain: String,
    /// Search domains.
    pub search: Vec<String>,
    /// Resolver options.
    pub options: Vec<String>,
}

impl AddResult {
    /// Reads what a plugin wrote and converts it to `wanted`, the version of its configuration.
    ///
    /// # Errors
    ///
    /// [`ResultError`] when it is not JSON, of a version not spoken here, or without a readable address in each place
    /// of one.
    pub(super) fn parse(stdout: &[u8], wanted: Version) -> Result<Self, ResultError> {
        if stdout.iter().all(u8::is_ascii_whitespace) {
            return Err(ResultError::Empty);
        }
        let raw: Value = serde_json::from_slice(stdout).map_err(|source| ResultError::Json {
            text: crate::cni::exec::excerpt(stdout),
            source,
        })?;
        Self::from_json(raw, wanted)
    }

    /// Reads a result that is JSON already; see [`AddResult::parse`].
    pub(super) fn from_json(raw: Value, wanted: Version) -> Result<Self, ResultError> {
        let Value::Object(mut object) = raw else {
            return Err(ResultError::NotAnObject);
        };
        let version = match object
            .get("cniVersion")
            .and_then(Value::as_str)
            .unwrap_or_default()
        {
            // Plugins forget it; what they were asked in is what they answer in.
            "" => wanted,
            text => text.parse().map_err(|_| ResultError::Version {
                text: text.to_owned(),
            })?,
        };
        // Old plugins write null for an empty list.
        object.retain(|_, value| !value.is_null());
        let fields: Fields =
            serde_json::from_value(Value::Object(object.clone())).map_err(ResultError::Shape)?;
        for ip in &fields.ips {
            ip.address.parse::<Cidr>().map_err(|_| ResultError::Address {
                text: ip.address.clone(),
            })?;
        }
        object.insert("cniVersion".to_owned(), json!(wanted.as_str()));
        if version != wanted {
            convert(&mut object, wanted);
        }
        Ok(Self {
            raw: Value::Object(object),
            version: wanted,
            fields,
        })
    }

    /// Returns the container's addresses on `ifname`: those of IPv4 first, else in the plugin's order.
    ///
    /// An address belongs to `ifname` when it names no interface or one of that name. When a plugin names another
    /// for every address, all of them are taken: it knows better than its configuration which it made.
    pub fn addresses(&self, ifname: &str) -> Vec<IpAddr> {
        let own = |ip: &&Ip| match ip.interface {
            None => true,
            Some(index) => usize::try_from(index)
                .ok()
                .and_then(|index| self.fields.interfaces.get(index))
                .is_none_or(|interface| interface.name == ifname),
        };
        let mut ips: Vec<&Ip> = self.fields.ips.iter().filter(own).collect();
        if ips.is_empty() {
            ips = self.fields.ips.iter().collect();
        }
        let mut addresses: Vec<IpAddr> = ips
            .iter()
            .filter_map(|ip| ip.address.parse::<Cidr>().ok())
            .map(|cidr| cidr.address())
            .collect();
        addresses.sort_by_key(IpAddr::is_ipv6);
        addresses
    }

    /// The interfaces made, inside the namespace and outside.
    pub fn interfaces(&self) -> &[Interface] {
        &self.fields.interfaces
    }

    /// The routes set.
    pub fn routes(&self) -> &[Route] {
        &self.fields.routes
    }

    /// The network's name resolution.
    pub fn dns(&self) -> &ResultDns {
        &self.fields.dns
    }

    /// The version its JSON is in.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The result as JSON: what verbose answers show and later plugins get.
    pub fn to_json(&self) -> &Value {
        &self.raw
    }
}

/// Brings a result into another version's format.
fn convert(object: &mut Map<String, Value>, wanted: Version) {
    for ip in entries(object, "ips") {
        if wanted.marks_address_family() {
            let six = ip
                .get("address")
                .and_then(Value::as_str)
                .is_some_and(|address| address.contains(':'));
            ip.insert("version".to_owned(), json!(if six { "6" } else { "4" }));
        } else {
            ip.remove("version");
        }
    }
    if wanted < Version::V1_1_0 {
        for interface in entries(object, "interfaces") {
            interface.retain(|field, _| !matches!(field.as_str(), "mtu" | "socketPath" | "pciID"));
        }
        for route in entries(object, "routes") {
            route.retain(|field, _| {
                !matches!(field.as_str(), "mtu" | "advmss" | "priority" | "table" | "scope")
            });
        }
    }
}

fn entries<'a>(
    object: &'a mut Map<String, Value>,
    field: &str,
) -> impl Iterator<Item = &'a mut Map<String, Value>> {
    object
        .get_mut(field)
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
        .filter_map(Value::as_object_mut)
}

/// Why an answer is not a result.
#[derive(Debug, thiserror::Error)]
pub enum ResultError {
    /// Nothing was answered.
    #[error("the answer is empty")]
    Empty,
    /// It is not JSON, or only a part of it.
    #[error("the answer {text:?} is not JSON")]
    Json {
        /// Its end.
        text: String,
        /// Where it stops being JSON.
        source: serde_json::Error,
    },
    /// It is JSON and not an object.
    #[error("the answer is not an object")]
    NotAnObject,
    /// It is in a version not spoken here.
    #[error("the answer is in version {text:?}")]
    Version {
        /// The version.
        text: String,
    },
    /// A field has another type than the specification's.
    #[error("a field of the answer has the wrong type")]
    Shape(#[source] serde_json::Error),
    /// An address is not one.
    #[error("the answer has {text:?} for an address")]
    Address {
        /// What stands in its place.
        text: String,
    },
}

#[cfg(test)]
mod tests;
