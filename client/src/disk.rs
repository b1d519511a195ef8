//! What kind of file system a directory lies on, as far as it matters for what must not be lost.
//!
//! Not here: what follows from it (`doctor.rs`, and the doctor of a node).

use std::path::Path;

use crate::error::{Error, Result};

/// A kind of file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileSystem {
    /// Of this machine's own disks, as far as the kernel says.
    Local,
    /// In memory: empty after the next start of the machine.
    Memory(&'static str),
    /// On another machine: locks and syncs mean what that machine makes of them.
    Network(&'static str),
    /// A program of this machine answers for it.
    Program(&'static str),
    /// Layers of a container: gone with it, unless a volume is mounted.
    Layers(&'static str),
}

impl FileSystem {
    /// Of a directory or file that is there.
    ///
    /// # Errors
    /// `Failed` if it cannot be looked at.
    pub fn of(path: &Path) -> Result<Self> {
        let found = rustix::fs::statfs(path).map_err(|cause| Error::file("look at", path, cause))?;
        // The kernel's magic numbers (linux/magic.h, and those of file systems outside of it): 32 bits.
        Ok(Self::of_magic(u32::try_from(found.f_type & 0xffff_ffff).unwrap_or_default()))
    }

    fn of_magic(magic: u32) -> Self {
        match magic {
            0x0102_1994 => Self::Memory("tmpfs"),
            0x8584_58f6 => Self::Memory("ramfs"),
            0x0000_6969 => Self::Network("nfs"),
            0x0000_517b | 0xfe53_4d42 | 0xff53_4d42 => Self::Network("smb"),
            0x00c3_6400 => Self::Network("ceph"),
            0x0102_1997 => Self::Network("9p"),
            0x6573_5546 => Self::Program("fuse"),
            0x794c_7630 => Self::Layers("overlay"),
            _ => Self::Local,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_says_what_a_directory_lies_on() {
        // /proc is of a kind that holds nothing; what matters is that the number arrives whole.
        assert_eq!(FileSystem::of(Path::new("/proc")).unwrap(), FileSystem::Local);
        assert_eq!(FileSystem::of_magic(0x0102_1994), FileSystem::Memory("tmpfs"));
        assert_eq!(FileSystem::of_magic(0xff53_4d42), FileSystem::Network("smb"));
        assert!(FileSystem::of(Path::new("/absent")).is_err());
    }
}
