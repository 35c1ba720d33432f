//! Facts of the machine that the specification depends on, read once at start.

use std::io;
use std::path::{Path, PathBuf};

use crate::spec::{Cgroups, Hierarchy, Host};
use crate::sys::cgroup::{self, Version};
use crate::sys::{caps, proc};

/// Reads the facts. `cgroup_parent` is where containers go that name no parent.
///
/// # Errors
/// When `/proc` or the cgroup file system cannot be read.
pub fn host(cgroup_parent: &str) -> io::Result<Host> {
    let cgroups = match cgroup::version() {
        Version::V1 => Cgroups::V1(cgroup::controllers().iter().map(|c| hierarchy(c)).collect()),
        Version::V2 => {
            let names = std::fs::read_to_string(Path::new(cgroup::ROOT).join("cgroup.controllers"))?;
            Cgroups::V2 {
                controllers: names.split_whitespace().map(str::to_owned).collect(),
            }
        }
    };
    Ok(Host {
        swap_accounting: swap_accounting(),
        hugepage_sizes: match cgroups.has("hugetlb") {
            true => hugepage_sizes(),
            false => vec![],
        },
        cgroups,
        bounding: caps::bounding()?,
        can_raise_limits: caps::effective()? & 1 << caps::SYS_RESOURCE != 0,
        own_oom_score_adj: proc::oom_score_adj()?,
        apparmor: enabled("/sys/module/apparmor/parameters/enabled"),
        kernel: kernel(),
        rlimits: vec![],
        default_cgroup_parent: cgroup_parent.to_owned(),
    })
}

fn hierarchy(controller: &str) -> Hierarchy {
    Hierarchy {
        controllers: vec![controller.to_owned()],
        mountpoint: PathBuf::from(cgroup::ROOT).join(controller),
    }
}

fn swap_accounting() -> bool {
    match cgroup::version() {
        Version::V1 => Path::new(cgroup::ROOT)
            .join("memory/memory.memsw.limit_in_bytes")
            .exists(),
        // On v2 the file is in every group but the root.
        Version::V2 => {
            let root = std::fs::read_dir(cgroup::ROOT).into_iter().flatten().flatten();
            root.into_iter()
                .any(|entry| entry.path().join("memory.swap.max").exists())
        }
    }
}

/// Sizes as the control files name them: `/sys/kernel/mm/hugepages/hugepages-2048kB` is `2MB`.
fn hugepage_sizes() -> Vec<String> {
    let entries = std::fs::read_dir("/sys/kernel/mm/hugepages")
        .into_iter()
        .flatten()
        .flatten();
    let kilobytes = |entry: std::fs::DirEntry| -> Option<u64> {
        entry
            .file_name()
            .to_str()?
            .strip_prefix("hugepages-")?
            .strip_suffix("kB")?
            .parse()
            .ok()
    };
    entries.filter_map(kilobytes).map(size_name).collect()
}

fn size_name(kilobytes: u64) -> String {
    match kilobytes {
        k if k % (1 << 20) == 0 => format!("{}GB", k >> 20),
        k if k % (1 << 10) == 0 => format!("{}MB", k >> 10),
        k => format!("{k}KB"),
    }
}

fn enabled(parameter: &str) -> bool {
    std::fs::read_to_string(parameter).is_ok_and(|text| text.starts_with('Y'))
}

fn kernel() -> (u32, u32) {
    let name = rustix::system::uname();
    let release = name.release().to_string_lossy();
    let mut numbers = release
        .split(|c: char| !c.is_ascii_digit())
        .map(|n| n.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn huge_page_sizes_are_named_as_the_control_files_are() {
        assert_eq!(size_name(2048), "2MB");
        assert_eq!(size_name(1 << 20), "1GB");
        assert_eq!(size_name(64), "64KB");
    }

    #[test]
    fn facts_of_this_machine_can_be_read() {
        let host = host("/coracle").unwrap();

        assert!(host.kernel >= (5, 0), "{:?}", host.kernel);
        assert!(host.cgroups.has("memory"));
    }
}
