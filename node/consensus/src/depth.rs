//! How deep a group's log may become, and how much of it stays when a snapshot lets the rest go.
//!
//! ```text
//!   purged │ tail: kept behind every snapshot │ snapshot ─ ─ entries behind it ─ ─ ▶ the next snapshot is due
//! ```
//!
//! May differ from node to node. Smaller values make snapshots more frequent and catching up by log rarer: good for tests
//! of that, bad for anything else. Not here: who looks whether a snapshot is due (`keeping.rs`), when files of the log go.

/// See the head of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogDepth {
    snapshot_entries: u64,
    snapshot_bytes: u64,
    tail_entries: u64,
}

/// Why values are none: the log could not work with them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DepthError {
    /// A purge would come close to entries that are being applied, and openraft panics there.
    #[error("{0} entries of tail are too few: at least {least}", least = LogDepth::TAIL_ENTRIES_MIN)]
    ShortTail(u64),
    /// Snapshots would come more often than there is anything to let go.
    #[error("a snapshot after {snapshot} entries lets nothing go where {tail} stay")]
    SnapshotWithinTail {
        /// After how many entries a snapshot would be due.
        snapshot: u64,
        /// How many stay.
        tail: u64,
    },
}

impl LogDepth {
    /// A tail has at least so many entries.
    pub const TAIL_ENTRIES_MIN: u64 = 100;

    /// `snapshot_entries`: a snapshot is due when so many entries are behind the last one. `snapshot_bytes`: … or when
    /// the group's entries take so many bytes of log and it has some to let go. `tail_entries`: so many entries stay when
    /// a snapshot would let them go, because openraft panics when purging overtakes applying, and because a replica that
    /// missed a few minutes should not need a snapshot.
    pub fn new(snapshot_entries: u64, snapshot_bytes: u64, tail_entries: u64) -> Result<Self, DepthError> {
        if tail_entries < Self::TAIL_ENTRIES_MIN {
            return Err(DepthError::ShortTail(tail_entries));
        }
        if snapshot_entries < tail_entries {
            return Err(DepthError::SnapshotWithinTail { snapshot: snapshot_entries, tail: tail_entries });
        }
        Ok(Self { snapshot_entries, snapshot_bytes, tail_entries })
    }

    /// A snapshot is due when so many entries are behind the last one.
    pub fn snapshot_entries(self) -> u64 {
        self.snapshot_entries
    }

    /// A snapshot is due when the group's entries take so many bytes of log, and it has some to let go.
    pub fn snapshot_bytes(self) -> u64 {
        self.snapshot_bytes
    }

    /// So many entries stay.
    pub fn tail_entries(self) -> u64 {
        self.tail_entries
    }
}

impl Default for LogDepth {
    /// 50 000 entries or 512 MiB; 20 000 entries stay.
    fn default() -> Self {
        Self { snapshot_entries: 50_000, snapshot_bytes: 512 << 20, tail_entries: 20_000 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_keeps_a_tail_and_lets_something_go_behind_it() {
        let LogDepth { snapshot_entries, snapshot_bytes, tail_entries } = LogDepth::default();
        assert_eq!(LogDepth::new(snapshot_entries, snapshot_bytes, tail_entries), Ok(LogDepth::default()));
        assert!(LogDepth::new(100, 0, 100).is_ok());
        assert_eq!(LogDepth::new(100, 0, 99), Err(DepthError::ShortTail(99)));
        assert_eq!(LogDepth::new(199, 0, 200), Err(DepthError::SnapshotWithinTail { snapshot: 199, tail: 200 }));
    }
}
