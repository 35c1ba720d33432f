//! What plugins hold, compared with the attachments that are recorded, and those with who claims them.
//!
//! Addresses are counted where the `host-local` plugin keeps them, which other runtimes of the machine may share: one
//! is left over only when no device anywhere has it and no plugin runs for its owner. Devices are looked at on bridges
//! of the configuration: a pair of which both ends are here serves nobody.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::cni::cache::{Cache, Entry, name};
use crate::cni::{Attachment, Network, NetworkConf, NetworkError, Settings, conflist};
use crate::sys::{links, proc};

/// Where `host-local` keeps addresses unless configured.
const HOST_LOCAL: &str = "/var/lib/cni/networks";
/// The bridge that the plugin `bridge` uses unless configured.
const BRIDGE: &str = "cni0";

/// Something that plugins, or the records of their work, hold for nobody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stray {
    /// A recorded attachment that nobody claims: its file.
    Attachment(PathBuf),
    /// An address.
    Address {
        /// Its network.
        network: String,
        /// Itself, as its file is named.
        address: String,
        /// Whom it was given to.
        id: String,
        /// On which interface.
        ifname: String,
    },
    /// A pair of devices: the name of the one on the bridge.
    Link(String),
}

/// Looks at what is held, then asks who claims it: ids, as in [`Attachment`]. Whoever asks looks twice, since what ends
/// in the same moment may be told. Blocks.
///
/// # Errors
/// A directory cannot be read, or the claims cannot.
pub fn audit<E: From<io::Error>>(
    settings: &Settings,
    claims: impl FnOnce() -> Result<BTreeSet<String>, E>,
) -> Result<Vec<Stray>, E> {
    let dirs = [&settings.conf_dir]
        .into_iter()
        .chain(&settings.further_conf_dirs);
    let confs: Vec<NetworkConf> = dirs.filter_map(|dir| conflist::load(dir).ok()?.conf).collect();
    let reserved = reserved(&confs);
    let entries = entries(&settings.cache_dir)?;
    let claimed = claims()?;

    let mut strays: Vec<Stray> = entries
        .iter()
        .filter(|(attachment, _)| !claimed.contains(attachment.id()))
        .map(|(_, path)| Stray::Attachment(path.clone()))
        .collect();
    let known: BTreeSet<&str> = entries.iter().map(|(attachment, _)| attachment.id()).collect();
    let unknown = reserved
        .into_iter()
        .filter(|held| !known.contains(held.id.as_str()) && !claimed.contains(&held.id));
    let unknown: Vec<Reserved> = unknown.collect();
    strays.extend(pairs_on_bridges(&confs)?.into_iter().map(Stray::Link));
    if unknown.is_empty() {
        return Ok(strays);
    }
    let (served, in_use) = (served()?, links::addresses()?);
    let idle = unknown
        .into_iter()
        .filter(|held| !served.contains(&held.id) && !in_use.contains(&held.ip));
    strays.extend(idle.map(|held| Stray::Address {
        network: held.network,
        address: held.address,
        id: held.id,
        ifname: held.ifname,
    }));
    Ok(strays)
}

impl Network {
    /// Lets go of what nobody claims, by the plugins where it is theirs. Safe to repeat.
    ///
    /// # Errors
    /// As [`Network::del`].
    pub async fn release(&self, stray: &Stray) -> Result<(), NetworkError> {
        let _gate = self.shared.gate.read().await;
        match stray {
            Stray::Attachment(path) => match name(path.clone()) {
                Some(named) => self.remove(&named, None).await,
                None => Ok(()),
            },
            Stray::Address {
                network, id, ifname, ..
            } => {
                let attachment = Attachment::new(id, ifname)?;
                let Some(conf) = self.conf().filter(|conf| conf.name() == network) else {
                    let reason = format!("network {network} is not configured");
                    return Err(NetworkError::NotConfigured { reason });
                };
                // As an attachment that was begun: plugins know what they hold by its id.
                let begun = Entry::begin(&conf, attachment.clone(), PathBuf::new());
                self.record(Entry { ended: true, ..begun }).await?;
                self.remove_recorded(&attachment, None).await
            }
            Stray::Link(name) => {
                let name = name.clone();
                let removal = tokio::task::spawn_blocking(move || {
                    let all = links::links()?;
                    let found = all.iter().find(|link| link.name == name);
                    found.map_or(Ok(()), |link| links::remove(link.index))
                });
                let removed = removal.await.map_err(io::Error::other).and_then(|done| done);
                removed.map_err(|source| NetworkError::Device { source })
            }
        }
    }
}

/// The recorded attachments, with their files.
fn entries(dir: &Path) -> io::Result<Vec<(Attachment, PathBuf)>> {
    if !dir.exists() {
        return Ok(vec![]);
    }
    let listed = Cache::at(dir.to_owned()).list().map_err(io::Error::other)?;
    Ok(listed
        .into_iter()
        .map(|named| (named.attachment, named.path))
        .collect())
}

/// An address that `host-local` keeps for somebody.
#[derive(Debug)]
struct Reserved {
    network: String,
    address: String,
    ip: IpAddr,
    id: String,
    ifname: String,
}

fn reserved(confs: &[NetworkConf]) -> Vec<Reserved> {
    // Two configurations may be of one network.
    let dirs: BTreeSet<(PathBuf, &str)> = confs
        .iter()
        .flat_map(|conf| plugins(conf).map(move |plugin| (conf, plugin)))
        .filter_map(|(conf, plugin)| {
            let ipam = plugin.get("ipam")?;
            (ipam.get("type")?.as_str()? == "host-local").then_some(())?;
            let dir = ipam.get("dataDir").and_then(Value::as_str).unwrap_or(HOST_LOCAL);
            Some((Path::new(dir).join(conf.name()), conf.name()))
        })
        .collect();
    let files = dirs
        .iter()
        .filter_map(|(dir, network)| Some((fs::read_dir(dir).ok()?, network)))
        .flat_map(|(files, network)| files.flatten().map(move |file| (file, network)));
    let read = |(file, network): (fs::DirEntry, &&str)| {
        let address = file.file_name().into_string().ok()?;
        // Its other files are no addresses.
        let ip = address.parse().ok()?;
        let text = fs::read_to_string(file.path()).ok()?;
        let mut lines = text.lines().map(str::trim);
        Some(Reserved {
            network: (*network).to_owned(),
            address,
            ip,
            id: lines.next()?.to_owned(),
            ifname: lines.next().unwrap_or("eth0").to_owned(),
        })
    };
    files.filter_map(read).collect()
}

/// Pairs with one end on a bridge of a configuration and the other end here as well. The plugin makes the pair in
/// the other namespace, so that this is no stage of its work.
fn pairs_on_bridges(confs: &[NetworkConf]) -> io::Result<Vec<String>> {
    let bridges: BTreeSet<&str> = confs
        .iter()
        .flat_map(plugins)
        .filter(|plugin| plugin.get("type").and_then(Value::as_str) == Some("bridge"))
        .map(|plugin| plugin.get("bridge").and_then(Value::as_str).unwrap_or(BRIDGE))
        .collect();
    if bridges.is_empty() {
        return Ok(vec![]);
    }
    let all = links::links()?;
    let numbers: BTreeSet<i32> = all
        .iter()
        .filter(|link| bridges.contains(link.name.as_str()))
        .map(|link| link.index)
        .collect();
    let pairs = all
        .iter()
        .filter(|link| link.kind == "veth" && numbers.contains(&link.master) && !link.peer_elsewhere);
    Ok(pairs.map(|link| link.name.clone()).collect())
}

fn plugins(conf: &NetworkConf) -> impl Iterator<Item = &Value> {
    let raw = conf.raw();
    // A configuration of one plugin is the plugin.
    let list = raw
        .get("plugins")
        .and_then(Value::as_array)
        .map_or(std::slice::from_ref(raw), Vec::as_slice);
    list.iter()
}

/// The ids that plugins, of whatever runtime, run for at this moment.
fn served() -> io::Result<BTreeSet<String>> {
    let mut ids = BTreeSet::new();
    for pid in proc::processes()? {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        let id = environment
            .split(|b| *b == 0)
            .find_map(|pair| pair.strip_prefix(b"CNI_CONTAINERID="));
        ids.extend(id.map(|id| String::from_utf8_lossy(id).into_owned()));
    }
    Ok(ids)
}
