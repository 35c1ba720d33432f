//! Overlay mounts of any number of layers.
//!
//! The old interface takes one page of options, which some sixty layers fill. Kernels since 6.5 take layers one by one
//! (`lowerdir+`); for older ones the mount is made from the layers' common directory, with short relative names.

use rustix::mount as rx;
use std::ffi::CString;
use std::io;
use std::path::{Path, PathBuf};

/// One page, less the final zero.
const LONGEST_OPTIONS: usize = 4095;

/// Mounts an overlay. `lower` is topmost first; `writable` is the upper and the work directory; `options` are further
/// ones such as `volatile`. Changes the working directory: for single-threaded processes.
pub fn overlay(
    lower: &[PathBuf],
    writable: Option<(&Path, &Path)>,
    options: &[String],
    target: &Path,
) -> io::Result<()> {
    match by_descriptor(lower, writable, options, target) {
        // 5.2 has the calls, but overlay took its options from them only since 6.5, with EINVAL before.
        Err(e) if matches!(e.raw_os_error(), Some(libc::ENOSYS | libc::EINVAL)) => {
            by_options(lower, writable, options, target)
        }
        done => done,
    }
}

fn by_descriptor(
    lower: &[PathBuf],
    writable: Option<(&Path, &Path)>,
    options: &[String],
    target: &Path,
) -> io::Result<()> {
    let context = rx::fsopen("overlay", rx::FsOpenFlags::FSOPEN_CLOEXEC)?;
    rx::fsconfig_set_string(&context, "source", "overlay")?;
    for layer in lower {
        rx::fsconfig_set_string(&context, "lowerdir+", layer)?;
    }
    if let Some((upper, work)) = writable {
        rx::fsconfig_set_string(&context, "upperdir", upper)?;
        rx::fsconfig_set_string(&context, "workdir", work)?;
    }
    for option in options {
        match option.split_once('=') {
            Some((key, value)) => rx::fsconfig_set_string(&context, key, value)?,
            None => rx::fsconfig_set_flag(&context, option.as_str())?,
        }
    }
    rx::fsconfig_create(&context)?;
    let mount = rx::fsmount(
        &context,
        rx::FsMountFlags::FSMOUNT_CLOEXEC,
        rx::MountAttrFlags::empty(),
    )?;
    super::attach(&mount, target)
}

fn by_options(
    lower: &[PathBuf],
    writable: Option<(&Path, &Path)>,
    options: &[String],
    target: &Path,
) -> io::Result<()> {
    let full = option_text(lower, writable, options);
    let (base, text) = match common_parent(lower) {
        Some(base) if full.len() > LONGEST_OPTIONS => {
            let short: Vec<PathBuf> = lower
                .iter()
                .map(|l| l.strip_prefix(&base).unwrap_or(l).to_owned())
                .collect();
            (base, option_text(&short, writable, options))
        }
        _ => (PathBuf::from("/"), full),
    };
    if text.len() > LONGEST_OPTIONS {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "too many layers for this kernel",
        ));
    }
    // Relative names are resolved by the kernel at the time of the call.
    rustix::process::chdir(&base)?;
    let text = CString::new(text).map_err(io::Error::other)?;
    let mounted = rx::mount(
        "overlay",
        target,
        "overlay",
        rx::MountFlags::empty(),
        text.as_c_str(),
    );
    rustix::process::chdir("/")?;
    Ok(mounted?)
}

fn option_text(lower: &[PathBuf], writable: Option<(&Path, &Path)>, options: &[String]) -> String {
    let layers: Vec<String> = lower.iter().map(|l| escape(l)).collect();
    let mut parts = vec![format!("lowerdir={}", layers.join(":"))];
    if let Some((upper, work)) = writable {
        parts.push(format!("upperdir={}", escape(upper)));
        parts.push(format!("workdir={}", escape(work)));
    }
    parts.extend(options.iter().cloned());
    parts.join(",")
}

/// Overlay's own separators inside a name.
fn escape(path: &Path) -> String {
    path.to_string_lossy()
        .replace('\\', "\\\\")
        .replace(':', "\\:")
        .replace(',', "\\,")
}

fn common_parent(paths: &[PathBuf]) -> Option<PathBuf> {
    let first = paths.first()?.parent()?;
    first
        .ancestors()
        .find(|a| paths.iter().all(|p| p.starts_with(a)))
        .map(Path::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn separators_inside_names_are_escaped() {
        let text = option_text(
            &["/a:b".into(), "/c".into()],
            Some((Path::new("/u,1"), Path::new("/w"))),
            &[],
        );
        assert_eq!(text, r"lowerdir=/a\:b:/c,upperdir=/u\,1,workdir=/w");
    }

    #[test]
    fn layers_share_their_nearest_directory() {
        let parent = |paths: &[&str]| common_parent(&paths.iter().map(PathBuf::from).collect::<Vec<_>>());
        assert_eq!(parent(&["/s/1/fs", "/s/2/fs"]), Some("/s".into()));
        assert_eq!(parent(&["/s/1", "/t/1"]), Some("/".into()));
        assert_eq!(parent(&[]), None);
    }
}
