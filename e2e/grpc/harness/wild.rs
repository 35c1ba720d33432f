//! A network whose plugin misbehaves when told to: a script in front of the real bridge plugin, with addresses of the
//! real host-local.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use k8s_cri::v1;
use serde_json::{Value, json};

use super::daemon::{Daemon, Place};
use super::node::{cni_plugins, node};

/// What the script does is in a file named as the verb; without one it is the real plugin.
const SCRIPT: &str = r##"#!/bin/sh
echo "$CNI_COMMAND $CNI_CONTAINERID" >>"$dir/calls"
real() { "$plugins/bridge"; }
# The reference plugins do not collect: their GC does nothing.
collect() {
    valid=$(cat)
    for lease in "$dir"/state/*/10.*; do
        holder=$(head -n 1 "$lease" | tr -d '\r')
        case "$valid" in *"$holder"*) ;; *) rm "$lease" ;; esac
    done
}
refuse() { echo '{"cniVersion":"1.0.0","code":100,"msg":"refuses as told"}'; exit 1; }
case "$(cat "$dir/$CNI_COMMAND" 2>/dev/null)" in
fail) refuse ;;
fail-late) real >/dev/null; refuse ;;
hang) exec sleep 600 ;;
oops) cat >/dev/null; echo oops; exit 3 ;;
garbage) real >/dev/null; echo oops ;;
half) real | head -c 40 ;;
flood) real >/dev/null; head -c 100000000 /dev/zero ;;
killed) real >/dev/null; kill -9 $$ ;;
orphan) real; sleep 600 & ;;
late)
    conf=$(cat)
    export conf
    # As a daemon of the plugin would: nothing tells that it works for this call.
    CNI_NETNS_OVERRIDE=1 CNI_NETNS=/proc/1/ns/net setsid env -u CNI_COMMAND sh -c '
        sleep 6; export CNI_COMMAND=ADD
        printf %s "$conf" | "$plugins/host-local" >"$dir/late" 2>&1; touch "$dir/late-done"' >/dev/null 2>&1 &
    exec sleep 600 ;;
some)
    # Three in ten calls, each in a way of its own.
    case "$(wc -l <"$dir/calls")" in
    *1) refuse ;;
    *4) real >/dev/null; refuse ;;
    *8) real >/dev/null; kill -9 $$ ;;
    *) real ;;
    esac ;;
*) if [ "$CNI_COMMAND" = GC ]; then collect; else real; fi ;;
esac
"##;

/// The network, and what it holds.
#[derive(Debug)]
pub(crate) struct Wild {
    directory: PathBuf,
    /// Name of the network and of its bridge.
    name: String,
}

impl Wild {
    /// Makes a network, and has the daemon of a place use it.
    pub(crate) fn new(place: &Place, version: &str, timeout_seconds: u32) -> Wild {
        let number = node().number();
        let wild = Wild {
            directory: node().directory.join(format!("wild-{number}")),
            name: format!("wild{number}"),
        };
        let (conf, bin) = (wild.directory.join("conf"), wild.directory.join("bin"));
        fs::create_dir_all(&conf).unwrap();
        fs::create_dir_all(&bin).unwrap();
        fs::write(wild.directory.join("calls"), "").unwrap();
        let script = SCRIPT.replacen(
            '\n',
            &format!(
                "\nexport dir={} plugins={}\n",
                wild.directory.display(),
                cni_plugins().display()
            ),
            1,
        );
        fs::write(bin.join("wild"), script).unwrap();
        fs::set_permissions(bin.join("wild"), fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(
            conf.join("10-wild.conflist"),
            wild.conflist(version, number).to_string(),
        )
        .unwrap();
        place.set(&format!(
            "[cni]\nconf_dir = {}\nbin_dirs = [{}, {}]\ntimeout_seconds = {timeout_seconds}\n",
            json!(conf),
            json!(bin),
            json!(cni_plugins())
        ));
        wild
    }

    fn conflist(&self, version: &str, number: u32) -> Value {
        json!({
            "cniVersion": version, "name": self.name, "plugins": [{
                "type": "wild", "bridge": self.name, "isGateway": true,
                "ipam": self.ipam(number),
            }],
        })
    }

    fn ipam(&self, number: u32) -> Value {
        let subnet = format!("10.{}.0.0/16", 100 + number % 100);
        json!({"type": "host-local", "dataDir": self.directory.join("state"), "ranges": [[{"subnet": subnet}]]})
    }

    /// Has the plugin do something else at a verb.
    pub(crate) fn tell(&self, verb: &str, what: &str) {
        let file = self.directory.join(verb);
        let new = file.with_extension("new");
        fs::write(&new, what).unwrap();
        fs::rename(new, file).unwrap();
    }

    /// Has the plugin do everything as it should.
    pub(crate) fn behave(&self) {
        for verb in ["ADD", "DEL", "STATUS", "GC"] {
            self.tell(verb, "");
        }
    }

    /// The calls so far: verb and container.
    pub(crate) fn calls(&self) -> Vec<String> {
        let text = fs::read_to_string(self.directory.join("calls")).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    /// The addresses that are reserved, each with what reserved it.
    pub(crate) fn leases(&self) -> Vec<(String, String)> {
        let Ok(entries) = fs::read_dir(self.directory.join("state").join(&self.name)) else {
            return Vec::new();
        };
        let lease = |path: PathBuf| {
            let name = path.file_name()?.to_str()?.to_owned();
            let holder = fs::read_to_string(&path).ok()?;
            name.starts_with("10.").then_some((name, holder))
        };
        entries
            .flatten()
            .filter_map(|entry| lease(entry.path()))
            .collect()
    }

    /// How many interfaces are on the network's bridge.
    pub(crate) fn interfaces(&self) -> usize {
        match fs::read_dir(format!("/sys/class/net/{}/brif", self.name)) {
            Ok(entries) => entries.count(),
            Err(_) => 0,
        }
    }

    /// Whether the call that came after its deadline is over.
    pub(crate) fn late_done(&self) -> bool {
        self.directory.join("late-done").exists()
    }

    /// Reserves an address for nobody, as a runtime does that forgets what it attached.
    pub(crate) fn lose_address(&self) {
        let conf = json!({"cniVersion": "1.0.0", "name": self.name, "ipam": self.ipam(1)});
        let file = self.directory.join("lost.json");
        fs::write(&file, conf.to_string()).unwrap();
        let status = Command::new(cni_plugins().join("host-local"))
            .env("CNI_COMMAND", "ADD")
            .env("CNI_CONTAINERID", "nobody")
            .env("CNI_IFNAME", "eth0")
            .env("CNI_NETNS", "/proc/1/ns/net")
            .env("CNI_NETNS_OVERRIDE", "1")
            .env("CNI_PATH", cni_plugins())
            .stdin(fs::File::open(&file).unwrap())
            .stdout(Stdio::null())
            .status();
        assert!(status.unwrap().success());
    }
}

/// The status of a daemon, with its details.
pub(crate) async fn status(daemon: &Daemon) -> v1::StatusResponse {
    let request = v1::StatusRequest { verbose: true };
    daemon.runtime().status(request).await.unwrap().into_inner()
}

/// A detail of the status.
pub(crate) async fn detail(daemon: &Daemon, key: &str) -> Value {
    serde_json::from_str(&status(daemon).await.info[key]).unwrap()
}
