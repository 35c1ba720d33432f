//! `coracle node install` and `uninstall`: the program, its unit and its settings. The kubelet is not touched.
//!
//! A version is a directory of its own, and the one in use a link: a new version is complete before it is used.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::Path;

use super::error::{NodeError, OnFile, refused};
use super::files::{self, Taken, directories, put, take_back};
use super::memory::Memory;
use super::place::{COMMAND, HOME, PROGRAM, Place, SETTINGS, UNIT, unit_file};
use super::services::Services;
use crate::sys::fs::{sync_parent, write_atomic};
use crate::sys::step::step;
use crate::sys::systemd::service::Job;

/// The unit for a daemon that was installed by package.
const PACKAGED: &str = include_str!("../../../hack/coracle.service");
const PACKAGED_PROGRAM: &str = "ExecStart=/usr/bin/coracle ";

/// What is told of the work, a line each.
pub(super) type Told = Vec<String>;

/// The unit of the daemon that is installed here.
fn unit() -> String {
    PACKAGED.replace(PACKAGED_PROGRAM, &format!("ExecStart={PROGRAM} "))
}

/// The name of a version: the release, and which build of it.
pub(super) fn version_of(program: &[u8]) -> String {
    format!("{}-{}", env!("CARGO_PKG_VERSION"), &files::sum(program)[..12])
}

/// This program.
pub(super) fn own_program() -> Result<Vec<u8>, NodeError> {
    fs::read("/proc/self/exe").on("read", "/proc/self/exe")
}

/// Installs `program`, with `settings` as a drop-in of the configuration, and has the daemon run. What runs already and
/// has not changed is left alone; containers outlive the daemon's restart.
pub(super) fn install(
    memory: &mut Memory,
    services: &dyn Services,
    program: &[u8],
    settings: Option<&[u8]>,
) -> Result<Told, NodeError> {
    let version = version_of(program);
    let directory = format!("{HOME}/versions/{version}");
    directories(memory, &format!("{directory}/coracle"))?;
    let place = memory.place.clone();
    let at = place.at(&directory).join("coracle");
    if files::look(&at)?.as_deref() != Some(program) {
        write_atomic(&at, program, 0o755).on("write", &at)?;
    }
    step("node.install.program");
    let mut changed = put(memory, &unit_file(UNIT), unit().as_bytes())?;
    if let Some(settings) = settings {
        changed |= put(memory, SETTINGS, settings)?;
    }
    let mut told = vec![];
    let old = memory.record.version.clone();
    changed |= old.as_deref() != Some(version.as_str());
    if changed {
        memory.record.stale = true;
    }
    if let Some(old) = old.filter(|old| *old != version) {
        memory.record.previous = Some(old);
        // What failed with another version may succeed with this one.
        memory.record.rolled_back = None;
    }
    memory.record.version = Some(version.clone());
    memory.save()?;
    step("node.install.record");
    link(&place, &format!("versions/{version}"), &format!("{HOME}/current"))?;
    step("node.install.current");
    told.extend(offer(memory)?);
    run(memory, services, &mut told)?;
    sweep(memory)?;
    told.insert(0, format!("coracle {version} is installed"));
    Ok(told)
}

/// Puts the program on everybody's path, unless another one is there.
fn offer(memory: &mut Memory) -> Result<Option<String>, NodeError> {
    let at = memory.place.at(COMMAND);
    match fs::read_link(&at) {
        Ok(target) if target == Path::new(PROGRAM) => return Ok(None),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        _ => return Ok(Some(format!("{COMMAND} is not ours and stays as it is"))),
    }
    directories(memory, COMMAND)?;
    link(&memory.place, PROGRAM, COMMAND)?;
    step("node.install.command");
    Ok(None)
}

/// Has the daemon run the present version.
fn run(memory: &mut Memory, services: &dyn Services, told: &mut Told) -> Result<(), NodeError> {
    if !services.works() {
        told.push(format!(
            "left to you: run `{PROGRAM} serve`, anew after each change"
        ));
        return Ok(());
    }
    memory.record.enabled = true;
    memory.save()?;
    services.reload()?;
    services.enable(UNIT)?;
    let job = if memory.record.stale {
        Job::Restart
    } else {
        Job::Start
    };
    services.run(job, UNIT)?;
    step("node.install.started");
    memory.record.stale = false;
    memory.save()
}

/// Removes versions that are neither in use nor the one before.
fn sweep(memory: &Memory) -> Result<(), NodeError> {
    let versions = memory.place.at(HOME).join("versions");
    for name in crate::sys::fs::names(&versions).on("read", &versions)? {
        let kept = [&memory.record.version, &memory.record.previous];
        if !kept.iter().any(|version| version.as_deref() == Some(&name)) {
            let old = versions.join(&name);
            fs::remove_dir_all(&old).on("remove", &old)?;
        }
    }
    Ok(())
}

/// Makes `path` a link to `target`, at once if it was another.
fn link(place: &Place, target: &str, path: &str) -> Result<(), NodeError> {
    let at = place.at(path);
    if fs::read_link(&at).is_ok_and(|known| known == Path::new(target)) {
        return Ok(());
    }
    let new = at.with_extension("new");
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error).on("remove", &new),
        _ => {}
    }
    symlink(target, &new).on("make the link", &new)?;
    fs::rename(&new, &at).on("rename", &new)?;
    sync_parent(&at).on("sync the directory of", &at)
}

/// Takes everything back. Images, records and settings that are not ours stay.
pub(super) fn uninstall(mut memory: Memory, services: &dyn Services) -> Result<Told, NodeError> {
    if memory.record.switch.is_some() {
        return refused("the kubelet uses Coracle: `coracle node restore` comes first");
    }
    let mut told = vec![];
    if memory.record.enabled && services.works() {
        services.run(Job::Stop, UNIT)?;
        services.disable(UNIT)?;
        step("node.uninstall.stopped");
    }
    let paths: Vec<String> = memory.record.files.iter().map(|file| file.path.clone()).collect();
    for path in paths.iter().rev() {
        if take_back(&mut memory, path)? == Taken::Changed {
            told.push(format!("{path} was changed since and stays"));
        }
    }
    let command = memory.place.at(COMMAND);
    if fs::read_link(&command).is_ok_and(|target| target == Path::new(PROGRAM)) {
        fs::remove_file(&command).on("remove", &command)?;
    }
    for name in ["current", "versions"] {
        let path = memory.place.at(HOME).join(name);
        let removed = match path.is_symlink() {
            true => fs::remove_file(&path),
            false => fs::remove_dir_all(&path),
        };
        match removed {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error).on("remove", path),
            _ => {}
        }
    }
    step("node.uninstall.program");
    if services.works() {
        services.reload()?;
    }
    for directory in memory.record.directories.iter().rev() {
        // Somebody's files, or a mount: not ours to remove.
        let _ = fs::remove_dir(memory.place.at(directory));
    }
    told.insert(
        0,
        "everything that was installed is taken back; images and records stay in /var/lib/coracle".into(),
    );
    memory.forget()?;
    Ok(told)
}
