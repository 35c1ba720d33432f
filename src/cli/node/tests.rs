//! A node's life on a scratch root, with a service manager that only writes down what it is asked for.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::install::{install, uninstall, version_of};
use super::place::{SETTINGS, UNIT};
use super::*;
use crate::sys::systemd::service::Job;

const KUBELET: &str = "usr/lib/systemd/system/kubelet.service";
const DROP_IN: &str = "etc/systemd/system/kubelet.service.d/zzz-coracle.conf";

/// Writes down what it is asked for.
#[derive(Debug, Default)]
struct Fake(RefCell<Vec<String>>);

impl Fake {
    fn note(&self, text: String) -> Result<(), NodeError> {
        self.0.borrow_mut().push(text);
        Ok(())
    }

    fn notes(&self) -> Vec<String> {
        self.0.take()
    }
}

impl Services for Fake {
    fn works(&self) -> bool {
        true
    }
    fn run(&self, job: Job, unit: &str) -> Result<(), NodeError> {
        self.note(format!("{job:?} {unit}"))
    }
    fn begin(&self, unit: &str) -> Result<(), NodeError> {
        self.note(format!("begin {unit}"))
    }
    fn reload(&self) -> Result<(), NodeError> {
        self.note("reload".into())
    }
    fn enable(&self, unit: &str) -> Result<(), NodeError> {
        self.note(format!("enable {unit}"))
    }
    fn disable(&self, unit: &str) -> Result<(), NodeError> {
        self.note(format!("disable {unit}"))
    }
    fn command_line(&self, _unit: &str) -> Result<Option<Vec<String>>, NodeError> {
        Ok(Some(vec![]))
    }
}

fn root() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    let unit = root.path().join(KUBELET);
    fs::create_dir_all(unit.parent().unwrap()).unwrap();
    fs::write(unit, "[Service]\nExecStart=/usr/bin/kubelet $ARGS\n").unwrap();
    root
}

/// Every path below the root, with what is there.
fn tree(root: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut left = vec![root.to_owned()];
    while let Some(directory) = left.pop() {
        for entry in fs::read_dir(directory).unwrap().flatten() {
            let path = entry.path();
            let what = if path.is_symlink() {
                fs::read_link(&path).unwrap().display().to_string()
            } else if path.is_dir() {
                left.push(path.clone());
                String::new()
            } else {
                fs::read_to_string(&path).unwrap()
            };
            found.insert(path.strip_prefix(root).unwrap().display().to_string(), what);
        }
    }
    found
}

fn memory(root: &tempfile::TempDir) -> Memory {
    Memory::take(&Place::new(root.path())).unwrap()
}

fn nobody(root: &tempfile::TempDir) -> Box<dyn Services> {
    choose(Some(Choice::None), &Place::new(root.path())).unwrap()
}

fn a_way(socket: &str) -> switch::Way {
    switch::Way {
        unit: "kubelet.service".into(),
        socket: socket.into(),
        old: Some("/nowhere/old.sock".into()),
        healthz: "127.0.0.1:1".into(),
        patience: Duration::ZERO,
        grace: Duration::ZERO,
        stats_from_cri: false,
    }
}

#[test]
fn a_daemon_is_started_anew_only_when_something_has_changed() {
    let (root, fake) = (root(), Fake::default());
    let mut memory = memory(&root);

    install(&mut memory, &fake, b"one", Some(b"a = 1")).unwrap();
    assert_eq!(
        fake.notes(),
        ["reload", "enable coracle.service", "Restart coracle.service"]
    );
    install(&mut memory, &fake, b"one", Some(b"a = 1")).unwrap();
    assert_eq!(
        fake.notes(),
        ["reload", "enable coracle.service", "Start coracle.service"]
    );
    install(&mut memory, &fake, b"one", Some(b"a = 2")).unwrap();
    assert!(fake.notes().contains(&"Restart coracle.service".to_owned()));
    for program in [b"two".as_slice(), b"three"] {
        install(&mut memory, &fake, program, None).unwrap();
        assert!(fake.notes().contains(&"Restart coracle.service".to_owned()));
    }

    let tree = tree(root.path());
    assert_eq!(
        tree["opt/coracle/current"],
        format!("versions/{}", version_of(b"three"))
    );
    assert_eq!(tree["usr/local/bin/coracle"], PROGRAM);
    assert_eq!(tree[SETTINGS.trim_start_matches('/')], "a = 2");
    assert!(
        tree[&format!("etc/systemd/system/{UNIT}")]
            .contains("\nExecStart=/opt/coracle/current/coracle serve\n")
    );
    let kept = |program| tree.contains_key(&format!("opt/coracle/versions/{}/coracle", version_of(program)));
    assert_eq!((kept(b"one"), kept(b"two"), kept(b"three")), (false, true, true));
}

#[test]
fn what_is_installed_is_the_version_with_its_settings_and_runs_where_somebody_runs_it() {
    let root = root();
    let mut memory = memory(&root);
    let place = memory.place.clone();
    let (one, two) = (root.path().join("one"), root.path().join("two"));
    fs::write(&one, "a = 1").unwrap();
    fs::write(&two, "a = 2").unwrap();
    let is_installed = |record: &Record, program, drop_in, anybody| {
        let wanted = Wanted { drop_in, anybody };
        wanted.is_installed(&place, record, &version_of(program)).unwrap()
    };
    assert!(!is_installed(&memory.record, b"one".as_slice(), None, false));

    // Nobody tells that the daemon was run anew.
    install(&mut memory, &*nobody(&root), b"one", Some(b"a = 1")).unwrap();
    assert!(is_installed(&memory.record, b"one", Some(&one), false));
    assert!(!is_installed(&memory.record, b"one", Some(&one), true));

    install(&mut memory, &Fake::default(), b"one", Some(b"a = 1")).unwrap();
    assert!(is_installed(&memory.record, b"one", None, true));
    assert!(is_installed(&memory.record, b"one", Some(&one), true));
    assert!(!is_installed(&memory.record, b"one", Some(&two), true));
    assert!(!is_installed(&memory.record, b"two", Some(&one), true));
}

#[test]
fn at_another_root_somebody_runs_services_unless_it_is_said() {
    let place = Place::new(Path::new("/host"));
    let anybody = |choice| services::anybody(choice, &place);
    assert!(anybody(None) && anybody(Some(Choice::Systemd)) && !anybody(Some(Choice::None)));
}

#[test]
fn uninstalling_leaves_the_node_as_it_was() {
    let (root, fake) = (root(), Fake::default());
    fs::create_dir_all(root.path().join("etc/systemd/system")).unwrap();
    fs::write(root.path().join("etc/systemd/system").join(UNIT), "theirs").unwrap();
    fs::create_dir_all(root.path().join("var/lib")).unwrap();
    let before = tree(root.path());

    install(&mut memory(&root), &fake, b"one", Some(b"a = 1")).unwrap();
    uninstall(memory(&root), &fake).unwrap();

    assert_eq!(tree(root.path()), before);
    assert!(fake.notes().ends_with(&[
        "Stop coracle.service".to_owned(),
        "disable coracle.service".into(),
        "reload".into()
    ]));
    uninstall(memory(&root), &fake).unwrap();
}

#[tokio::test]
async fn a_switch_without_a_service_manager_writes_the_drop_in_and_restoring_takes_it_back() {
    let root = root();
    let services = nobody(&root);
    let way = a_way("/run/coracle/coracle.sock");
    let refusal = switch::switch(&mut memory(&root), services.as_ref(), &way).await;
    assert!(refusal.unwrap_err().to_string().contains("not installed"));
    install(&mut memory(&root), services.as_ref(), b"one", None).unwrap();
    let before = tree(root.path());

    for _ in 0..2 {
        switch::switch(&mut memory(&root), services.as_ref(), &way)
            .await
            .unwrap();
    }

    let text = fs::read_to_string(root.path().join(DROP_IN)).unwrap();
    let line =
        "ExecStart=/usr/bin/kubelet $ARGS --container-runtime-endpoint=unix:///run/coracle/coracle.sock ";
    assert!(text.contains(line), "{text}");
    let refusal = uninstall(memory(&root), services.as_ref()).unwrap_err();
    assert!(refusal.to_string().contains("restore"), "{refusal}");
    for _ in 0..2 {
        switch::restore(&mut memory(&root), services.as_ref(), &way)
            .await
            .unwrap();
    }
    let mut after = tree(root.path());
    after.retain(|path, _| !path.contains("kubelet.service.d") && !path.ends_with("state.json"));
    let mut before = before;
    before.retain(|path, _| !path.ends_with("state.json"));
    assert_eq!(after, before);
}

/// A kubelet's healthz, which says once that it is well; where it is.
async fn a_kubelet_that_is_well(tasks: &mut JoinSet<()>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tasks.spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut asked = [0; 1024];
        assert_ne!(stream.read(&mut asked).await.unwrap(), 0);
        stream.write_all(b"HTTP/1.0 200 OK\r\n\r\nok").await.unwrap();
    });
    address
}

#[tokio::test]
async fn a_switch_from_a_kubelet_or_to_a_daemon_that_is_not_well_changes_nothing() {
    let (root, fake, mut tasks) = (root(), Fake::default(), JoinSet::new());
    install(&mut memory(&root), &fake, b"one", None).unwrap();
    fake.notes();
    let well = switch::Way {
        healthz: a_kubelet_that_is_well(&mut tasks).await,
        ..a_way("/nowhere/c.sock")
    };
    for (way, expected) in [
        (
            a_way("/nowhere/c.sock"),
            "the kubelet does not answer at 127.0.0.1:1",
        ),
        (well, "the runtime at /nowhere/c.sock is not ready"),
    ] {
        let error = switch::switch(&mut memory(&root), &fake, &way).await.unwrap_err();

        assert!(error.to_string().contains(expected), "{error}");
        assert!(fake.notes().is_empty());
        assert_eq!(memory(&root).record.switch, None);
        assert!(!root.path().join(DROP_IN).exists());
    }
}

fn moving(from: &str) -> Moving {
    Moving {
        unit: "kubelet.service".into(),
        from: Some(from.into()),
        healthz: "127.0.0.1:10248".into(),
        timeout: 1,
        grace: 2,
        stats_from_cri: true,
        by_unit: true,
    }
}

#[tokio::test]
async fn who_left_a_switch_to_a_unit_learns_why_it_failed_until_it_is_tried_again() {
    let (root, fake) = (root(), Fake::default());
    install(&mut memory(&root), &fake, b"one", None).unwrap();
    let place = Place::new(root.path());
    let (command, reason) = (Command::Switch(moving("/run/c.sock")), "there is no kubelet");

    noted(&mut memory(&root), refused(reason)).unwrap_err();

    assert_eq!(stay(&command, &place).await.unwrap_err().to_string(), reason);
    assert!(describe(&memory(&root).record).ends_with("failed     there is no kubelet\n"));
    by_unit(memory(&root), &fake, "switch", &moving("/run/c.sock")).unwrap();
    assert_eq!(memory(&root).record.failed, None);
}

#[tokio::test]
async fn who_left_a_switch_to_a_unit_learns_that_it_was_undone() {
    let root = root();
    let place = Place::new(root.path());
    let mut memory = memory(&root);
    memory.record.version = Some("1".into());
    memory.record.rolled_back = Some("it is late".into());

    noted(&mut memory, refused("x")).unwrap_err();
    memory.save().unwrap();

    assert_eq!(memory.record.failed, None);
    let told = stay(&Command::Switch(moving("/run/c.sock")), &place).await;
    assert_eq!(
        told.unwrap_err().to_string(),
        "the switch was undone: it is late; restore the node to forget that"
    );
}

#[test]
fn the_command_of_a_unit_is_plain() {
    let expected = "switch --unit kubelet.service --healthz 127.0.0.1:10248 --timeout 1 --grace 2 --from /run/c.sock \
                    --stats-from-cri";
    assert_eq!(words("switch", &moving("/run/c.sock")).unwrap(), expected);
    for strange in ["/run/%n", "/run/a;b", "/run/$HOME"] {
        assert!(words("switch", &moving(strange)).is_err(), "{strange}");
    }
}

#[test]
fn at_another_root_the_service_manager_has_to_be_named() {
    let root = root();

    assert!(choose(None, &Place::new(root.path())).is_err());
}
