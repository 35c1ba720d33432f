//! How the kubelet is run: its unit as files have it, and the drop-in that points it at another runtime.
//!
//! The drop-in repeats the command of the unit, word by word, with options after it: of options given twice the last
//! counts, and options count more than the kubelet's configuration files. Nobody's file is edited.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::error::{NodeError, OnFile, refused};
use super::files::look;
use super::place::{Place, UNIT, UNITS};

/// Where systemd looks for units, first to last.
const UNIT_DIRS: [&str; 5] = [
    UNITS,
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
];
/// Sorted after every name that others are likely to choose.
const DROP_IN: &str = "zzz-coracle.conf";
/// The kubelet's own default.
const DEFAULT_ENDPOINT: &str = "/run/containerd/containerd.sock";
const ENDPOINT: &str = "--container-runtime-endpoint";

/// Where the drop-in of a unit is.
pub(super) fn drop_in(unit: &str) -> String {
    format!("{UNITS}/{unit}.d/{DROP_IN}")
}

/// The drop-in's content, for a command as [`command`] tells it.
pub(super) fn content(command: &str, socket: &Path, stats_from_cri: bool) -> String {
    let endpoint = format!("unix://{}", socket.display());
    let gates = match stats_from_cri {
        true => " --feature-gates=PodAndContainerStatsFromCRI=true",
        false => "",
    };
    format!(
        "# Written by `coracle node switch`, removed by `coracle node restore`.\n\
         [Unit]\nWants={UNIT}\nAfter={UNIT}\n\n\
         [Service]\nExecStart=\n\
         ExecStart={command} {ENDPOINT}={endpoint} --image-service-endpoint={endpoint}{gates}\n"
    )
}

/// The command of the kubelet's unit, our drop-in aside, as it is written.
pub(super) fn command(place: &Place, unit: &str) -> Result<String, NodeError> {
    let mut text = None;
    for directory in UNIT_DIRS {
        text = text.or(look(&place.at(directory).join(unit))?);
    }
    let Some(text) = text else {
        return refused(format!(
            "there is no unit {unit}: `--unit` names another; a kubelet within another program (k3s, rke2) is pointed at \
             the socket by that program's own configuration"
        ));
    };
    let mut lines = commands(&String::from_utf8_lossy(&text), vec![]);
    for path in drop_ins(place, unit)? {
        let text = look(&path)?.unwrap_or_default();
        lines = commands(&String::from_utf8_lossy(&text), lines);
    }
    let [command] = lines.as_slice() else {
        return refused(format!("{unit} has {} commands instead of one", lines.len()));
    };
    let program = command.split_whitespace().next().unwrap_or_default();
    let program = program.trim_start_matches(['-', ':', '+', '!']);
    if Path::new(program)
        .file_name()
        .is_none_or(|name| name != "kubelet")
    {
        return refused(format!(
            "{unit} runs {program}, which is no kubelet: its options have to be set where that program takes them from"
        ));
    }
    Ok(command.clone())
}

/// Its drop-ins in the order of their names; of two with one name, that of the earlier directory.
fn drop_ins(place: &Place, unit: &str) -> Result<Vec<PathBuf>, NodeError> {
    let mut found = BTreeMap::new();
    for directory in UNIT_DIRS {
        let directory = place.at(directory).join(format!("{unit}.d"));
        for name in crate::sys::fs::names(&directory).on("read", &directory)? {
            if name.ends_with(".conf") && name != DROP_IN {
                found.entry(name.clone()).or_insert_with(|| directory.join(&name));
            }
        }
    }
    Ok(found.into_values().collect())
}

/// The commands after a file of a unit, `before` it.
fn commands(text: &str, before: Vec<String>) -> Vec<String> {
    let (mut found, mut section, mut begun) = (before, String::new(), String::new());
    for line in text.lines() {
        let line = line.trim();
        if line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(head) = line.strip_suffix('\\') {
            begun = format!("{begun}{head} ");
            continue;
        }
        let whole = std::mem::take(&mut begun) + line;
        if whole.starts_with('[') {
            section = whole;
        } else if section == "[Service]"
            && let Some((key, value)) = whole.split_once('=')
            && key.trim() == "ExecStart"
        {
            match value.trim() {
                "" => found.clear(),
                value => found.push(value.split_whitespace().collect::<Vec<_>>().join(" ")),
            }
        }
    }
    found
}

/// The socket that a running kubelet uses, from the words of its command and the file that those name.
pub(super) fn endpoint(words: &[String]) -> PathBuf {
    let option = |name: &str| {
        let mut found = None;
        for (at, word) in words.iter().enumerate() {
            match word.strip_prefix(name) {
                Some("") => found = words.get(at + 1).cloned(),
                Some(rest) => found = rest.strip_prefix('=').map(str::to_owned).or(found),
                None => {}
            }
        }
        found
    };
    let configured = || {
        let text = fs::read_to_string(option("--config")?).ok()?;
        let value = text
            .lines()
            .find_map(|line| line.strip_prefix("containerRuntimeEndpoint:"))?;
        Some(value.trim().trim_matches(['"', '\'']).to_owned())
    };
    let text = option(ENDPOINT)
        .or_else(configured)
        .filter(|text| !text.is_empty());
    let text = text.unwrap_or_else(|| DEFAULT_ENDPOINT.to_owned());
    PathBuf::from(text.strip_prefix("unix://").unwrap_or(&text))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KUBEADM: &str = "[Service]\nEnvironment=\"A=b\"\nEnvironmentFile=-/etc/default/kubelet\nExecStart=\n\
        ExecStart=/usr/bin/kubelet $A \\\n  # a remark\n  $KUBELET_EXTRA_ARGS\n";

    fn node(files: &[(&str, &str)]) -> (tempfile::TempDir, Place) {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let place = Place::new(root.path());
        (root, place)
    }

    #[test]
    fn the_last_drop_in_decides_about_the_command() {
        let (_root, place) = node(&[
            (
                "lib/systemd/system/kubelet.service",
                "[Service]\nExecStart=/usr/bin/kubelet\n",
            ),
            (
                "usr/lib/systemd/system/kubelet.service.d/10-kubeadm.conf",
                KUBEADM,
            ),
            (
                "etc/systemd/system/kubelet.service.d/zzz-coracle.conf",
                "[Service]\nExecStart=\nExecStart=/x\n",
            ),
        ]);

        let command = command(&place, "kubelet.service").unwrap();

        assert_eq!(command, "/usr/bin/kubelet $A $KUBELET_EXTRA_ARGS");
        let content = content(&command, Path::new("/run/c.sock"), true);
        assert_eq!(
            commands(&content, vec!["/old".into()]),
            [
                "/usr/bin/kubelet $A $KUBELET_EXTRA_ARGS --container-runtime-endpoint=unix:///run/c.sock \
              --image-service-endpoint=unix:///run/c.sock --feature-gates=PodAndContainerStatsFromCRI=true"
            ]
        );
    }

    #[test]
    fn what_runs_no_kubelet_is_refused() {
        for (text, expected) in [
            (
                "[Service]\nExecStart=/bin/sh -c 'kubelet'\n",
                "runs /bin/sh, which is no kubelet",
            ),
            ("[Service]\n", "has 0 commands instead of one"),
        ] {
            let (_root, place) = node(&[("etc/systemd/system/kubelet.service", text)]);

            let error = command(&place, "kubelet.service").unwrap_err();

            assert!(error.to_string().contains(expected), "{error}");
        }
        let (_root, place) = node(&[]);
        assert!(command(&place, "kubelet.service").is_err());
    }

    #[test]
    fn the_socket_in_use_is_the_options_then_the_files_then_the_default() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("config.yaml");
        fs::write(
            &file,
            "kind: x\ncontainerRuntimeEndpoint: \"unix:///run/f.sock\"\n",
        )
        .unwrap();
        let file = file.display();
        for (line, expected) in [
            ("kubelet".to_owned(), "/run/containerd/containerd.sock"),
            (format!("kubelet --config={file}"), "/run/f.sock"),
            (
                format!("kubelet --config {file} --container-runtime-endpoint unix:///run/o.sock"),
                "/run/o.sock",
            ),
        ] {
            let words: Vec<String> = line.split(' ').map(str::to_owned).collect();

            assert_eq!(endpoint(&words), Path::new(expected), "{line}");
        }
    }
}
