//! Telling the kernel that a process will be moved soon.

use std::fs;
use std::io::{self, ErrorKind};

use crate::sys::cgroup::{Cgroup, Version, leading, version};

/// Moves the calling process to the group where it is. Blocks, for a grace period of RCU if nobody was moved for a while: some
/// ten milliseconds, which the move that is to come soon does not have to wait for again. Groups cannot be made meanwhile.
pub fn announce_move() -> io::Result<()> {
    let text = fs::read_to_string("/proc/self/cgroup")?;
    let own = own(&text, version()).ok_or(ErrorKind::NotFound)?;
    super::join_dirs(vec![Cgroup::new(own)?.leading_dir()])
}

/// The path in the leading hierarchy, of lines `number:controllers:path` (cgroups(7)).
fn own(text: &str, version: Version) -> Option<&str> {
    let leading = leading(version);
    text.lines().find_map(|line| {
        let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
        controllers.split(',').any(|one| one == leading).then_some(path)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "9:pids:/p\n4:freezer,net_cls:/a:b\n1:name=systemd:/s\n0::/u\n";

    #[test]
    fn the_leading_hierarchy_s_path_is_found() {
        assert_eq!(own(HYBRID, Version::V1), Some("/a:b"));
        assert_eq!(own("0::/system.slice/x\n", Version::V2), Some("/system.slice/x"));
        assert_eq!(own("1:name=systemd:/s\n", Version::V1), None);
    }

    #[test]
    fn who_announces_stays_where_it_is() {
        let groups = || fs::read_to_string("/proc/self/cgroup").unwrap();
        let before = groups();

        // Only root may.
        let announced = announce_move();

        assert_eq!(groups(), before);
        assert!(announced.is_ok() || !rustix::process::geteuid().is_root());
    }
}
