//! What a host must have so that machines can be set up on it, and what this one lacks, by name.

use std::fs::File;
use std::path::PathBuf;

/// Programs that are called, and the Debian package of each.
const PROGRAMS: [(&str, &str); 5] =
    [("ip", "iproute2"), ("unshare", "util-linux"), ("nsenter", "util-linux"), ("mount", "mount"), ("bash", "bash")];

/// What hands out TAP devices.
const TUN: &str = "/dev/net/tun";

/// What is missing here, each with what to do about it; empty if nothing is.
pub fn lacks() -> Vec<String> {
    let is_root = rustix::process::geteuid().is_root();
    let mut lacks = Vec::new();
    if !is_root {
        lacks.push("root: namespaces and TAP devices are made by root only (sudo)".to_owned());
    }
    match File::options().read(true).write(true).open(TUN) {
        Ok(_opened) => {}
        // Whoever is not root may not open it: that was said.
        Err(cause) if !is_root && cause.kind() == std::io::ErrorKind::PermissionDenied => {}
        Err(cause) => lacks.push(format!("{TUN}: {cause} (modprobe tun; in a container, give it the device)")),
    }
    for (program, package) in PROGRAMS {
        if find(program).is_none() {
            lacks.push(format!("{program}: not in PATH (apt-get install {package})"));
        }
    }
    lacks
}

/// Where a program is.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(program)).find(|file| file.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_found_where_it_is_and_missed_where_it_is_not() {
        assert!(find("sh").is_some());
        assert_eq!(find("no-such-program-anywhere"), None);
    }
}
