//! Overlay mounts of any number of layers.
//!
//! The old interface takes one page of options, which some sixty layers fill. Kernels since 6.5 take layers one by one
//! (`lowerdir+`); for older ones the mount is made from `/proc/self/fd`, where an open layer's name is a number.

use rustix::fs::{Mode, OFlags, open};
use rustix::mount as rx;
use std::ffi::CString;
use std::io;
use std::os::fd::AsRawFd;
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
    if full.len() <= LONGEST_OPTIONS {
        return mount_with(full, target);
    }
    // Descriptors' numbers are the shortest names there are; the kernel resolves relative ones at the time of the call.
    let open = |layer| {
        open(
            layer,
            OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )
    };
    let layers = lower.iter().map(open).collect::<Result<Vec<_>, _>>()?;
    let numbers: Vec<PathBuf> = layers
        .iter()
        .map(|fd| fd.as_raw_fd().to_string().into())
        .collect();
    let text = option_text(&numbers, writable, options);
    if text.len() > LONGEST_OPTIONS {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "too many layers for this kernel",
        ));
    }
    rustix::process::chdir("/proc/self/fd")?;
    let mounted = mount_with(text, target);
    rustix::process::chdir("/")?;
    mounted
}

fn mount_with(options: String, target: &Path) -> io::Result<()> {
    let options = CString::new(options).map_err(io::Error::other)?;
    Ok(rx::mount(
        "overlay",
        target,
        "overlay",
        rx::MountFlags::empty(),
        options.as_c_str(),
    )?)
}

fn option_text(lower: &[PathBuf], writable: Option<(&Path, &Path)>, options: &[String]) -> String {
    let layers: Vec<String> = lower.iter().map(|l| escape(l)).collect();
    let mut parts = vec![format!("lowerdir={}", layers.join(":"))];
    if let Some((upper, work)) = writable {
        parts.push(format!("upperdir={}", escape(upper)));
        parts.push(format!("workdir={}", escape(work)));
    }
    parts.extend(options.iter().map(|option| quoted(option)));
    parts.join(",")
}

/// A label's categories are separated as options are.
fn quoted(option: &str) -> String {
    match option.split_once('=') {
        Some((key @ "context", label)) => format!("{key}=\"{label}\""),
        _ => option.to_owned(),
    }
}

/// Overlay's own separators inside a name.
fn escape(path: &Path) -> String {
    path.to_string_lossy()
        .replace('\\', "\\\\")
        .replace(':', "\\:")
        .replace(',', "\\,")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::mount;
    use crate::sys::namespace::{self, Kinds};

    #[test]
    fn a_label_is_quoted_where_options_are_one_text() {
        let options = ["context=u:object_r:t:s0:c1,c2".to_owned(), "volatile".to_owned()];

        let text = option_text(&["/l".into()], None, &options);

        assert_eq!(text, "lowerdir=/l,context=\"u:object_r:t:s0:c1,c2\",volatile");
    }

    #[test]
    fn separators_inside_names_are_escaped() {
        let text = option_text(
            &["/a:b".into(), "/c".into()],
            Some((Path::new("/u,1"), Path::new("/w"))),
            &[],
        );
        assert_eq!(text, r"lowerdir=/a\:b:/c,upperdir=/u\,1,workdir=/w");
    }

    /// 100 layers with long names, seen through both interfaces. In a mount namespace and with a working directory of the
    /// test's own thread.
    #[test]
    fn layers_that_fill_more_than_a_page_are_mounted_by_either_interface() {
        if !rustix::process::geteuid().is_root() {
            return eprintln!("skipped: needs root");
        }
        namespace::leave(Kinds::CLONE_NEWNS).unwrap();
        mount::make_all_private().unwrap();
        let root = tempfile::tempdir().unwrap();
        let layers: Vec<PathBuf> = (0..100).map(|n| root.path().join(format!("{n:064}"))).collect();
        for (number, layer) in layers.iter().enumerate() {
            std::fs::create_dir(layer).unwrap();
            std::fs::write(layer.join(number.to_string()), "").unwrap();
        }
        let target = root.path().join("target");
        std::fs::create_dir(&target).unwrap();

        for mount in [overlay, by_options] {
            mount(&layers, None, &[], &target).unwrap();
            assert_eq!(std::fs::read_dir(&target).unwrap().count(), 100);
            mount::detach(&target).unwrap();
        }
    }
}
