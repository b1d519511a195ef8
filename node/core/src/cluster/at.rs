//! Where and when a command of the cluster group is applied: all that rules may know besides rows.

/// Where and when.
#[derive(Clone, Copy, Debug)]
pub(crate) struct At {
    /// The entry's log index.
    pub(crate) index: u64,
    /// `E`: rights run on it.
    pub(crate) now_ms: u64,
    /// The compliance clock, in milliseconds since 1970: locks end on it.
    pub(crate) clock_ms: u64,
    /// Whether the group decides nothing, because its voters hold different states.
    pub(crate) disputed: bool,
    /// The leader's wall clock.
    pub(crate) wall_unix_ms: u64,
}
