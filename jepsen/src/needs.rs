//! What attacks need of this host, and what it lacks, by name: an attack that cannot be made is skipped, and says why.
//!
//! `jepsen/install-tools` installs on Debian what is named here.

use std::fs;
use std::path::PathBuf;

use crate::network::host;

/// Something that an attack needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Need {
    /// Machines with links between them.
    Network,
    /// A file system of its own for each node.
    Disk,
    /// Somebody who stops a process at its system calls.
    Trace,
    /// Wall clocks of its own for each node.
    Clock,
}

/// What stops a file system at once and drops what is not on its disk: XFS's and ext4's "shutdown".
const DISK_PROGRAMS: [(&str, &str); 5] = [
    ("mkfs.ext4", "e2fsprogs"),
    ("mount", "mount"),
    ("umount", "mount"),
    ("unshare", "util-linux"),
    ("xfs_io", "xfsprogs"),
];
const LOOP: &str = "/dev/loop-control";

impl Need {
    /// What is missing here, each with what to do about it; empty if nothing is.
    pub fn lacks(self) -> Vec<String> {
        match self {
            Self::Network => host::lacks(),
            Self::Disk => {
                let mut lacks = programs(&DISK_PROGRAMS);
                lacks.extend(root("file systems are mounted by root only"));
                if !fs::exists(LOOP).unwrap_or(false) {
                    lacks.push(format!("{LOOP}: no loop devices (modprobe loop; in a container, give it them)"));
                }
                lacks
            }
            Self::Trace => {
                [programs(&[("strace", "strace")]), root("other processes are traced by root only")].concat()
            }
            Self::Clock => match faketime() {
                Some(_) => Vec::new(),
                None => vec!["libfaketimeMT.so.1: not under /usr/lib (apt-get install libfaketime)".to_owned()],
            },
        }
    }
}

/// libfaketime's library for threads, where Debian puts it.
pub fn faketime() -> Option<PathBuf> {
    let places = fs::read_dir("/usr/lib").ok()?.filter_map(Result::ok);
    places.map(|place| place.path().join("faketime/libfaketimeMT.so.1")).find(|library| library.exists())
}

fn root(why: &str) -> Vec<String> {
    if rustix::process::geteuid().is_root() { Vec::new() } else { vec![format!("root: {why} (sudo)")] }
}

fn programs(needed: &[(&str, &str)]) -> Vec<String> {
    let missing = needed.iter().filter(|(program, _)| host::find(program).is_none());
    missing.map(|(program, package)| format!("{program}: not in PATH (apt-get install {package})")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named_with_its_package() {
        let said = programs(&[("sh", "dash"), ("no-such-program-anywhere", "some-package")]);
        assert_eq!(said, ["no-such-program-anywhere: not in PATH (apt-get install some-package)"]);
    }
}
