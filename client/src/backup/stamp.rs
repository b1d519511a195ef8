//! What a file system says of a file without reading it: if all of it agrees with what it said before the file was last
//! read, the file did not change.
//!
//! Not here: where it is kept (`cache.rs`).

use borsh::{BorshDeserialize, BorshSerialize};
use rustix::fs::Stat;
use strongroom_format::manifest::entry::Moment;

/// A file system tells times in steps; what changed within one of them looks unchanged. FAT's are the longest.
const STEP_SECONDS: i64 = 2;

/// Size, times and inode of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct Stamp {
    pub bytes: u64,
    modified: (i64, u32),
    /// When its inode changed: nobody sets it back.
    changed: (i64, u32),
    inode: u64,
}

impl Stamp {
    /// Of a file that was looked at.
    pub(crate) fn of(stat: &Stat) -> Self {
        let nanos = |nanos| u32::try_from(nanos).unwrap_or(0);
        Self {
            bytes: u64::try_from(stat.st_size).unwrap_or(0),
            modified: (stat.st_mtime, nanos(stat.st_mtime_nsec)),
            changed: (stat.st_ctime, nanos(stat.st_ctime_nsec)),
            inode: stat.st_ino,
        }
    }

    /// Whether a change at `now` or later would show: the last one is older than the steps in which times are told.
    pub(crate) fn is_settled_at(&self, now: Moment) -> bool {
        self.changed.0.saturating_add(STEP_SECONDS) < now.seconds
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_changed_just_now_may_change_again_unseen() {
        let stamp = Stamp { bytes: 1, modified: (0, 0), changed: (100, 5), inode: 7 };
        let at = |seconds| Moment { seconds, nanos: 0 };
        assert!(!stamp.is_settled_at(at(99)), "a clock that was set back");
        assert!(!stamp.is_settled_at(at(102)));
        assert!(stamp.is_settled_at(at(103)));
    }
}
