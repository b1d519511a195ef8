//! What a record of the node's shared log says.
//!
//! ```text
//!   record of the append-only file: kind 1 ‖ version 1 ‖ borsh(JournalRecord)
//! ```
//!
//! A record belongs to one group; order in the log is order in time. `State` is repeated for every group at the head of
//! each file, so that the files before it may go once no entry in them is needed.

use borsh::{BorshDeserialize, BorshSerialize};
use strongroom_format::codec::{self, Format, FormatError};
use strongroom_host::log::AppendLog;

use crate::plain::{PlainEntry, PlainLogId, PlainVote};

/// The kind byte of all our records in the append-only file.
pub(crate) const RECORD_KIND: u8 = 1;

/// Something that happened to one group's log.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct JournalRecord {
    /// Whose log.
    pub(crate) group: u32,
    /// What happened.
    pub(crate) event: JournalEvent,
}

/// See [`JournalRecord`].
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) enum JournalEvent {
    /// An entry was appended behind the last one.
    Entry(PlainEntry),
    /// A vote was cast or granted.
    Vote(PlainVote),
    /// Everything up to this entry is known to be committed.
    Committed(PlainLogId),
    /// Entries behind this index were dropped; all of them if there is none.
    Truncate(Option<u64>),
    /// Entries up to this one are not needed any more.
    Purge(PlainLogId),
    /// What was true of the group when a file began.
    State(GroupState),
    /// The group's replica is gone: nothing before this counts, neither entries nor votes.
    Forgotten,
}

/// What a group's log knows beside entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct GroupState {
    /// The last vote.
    pub(crate) vote: Option<PlainVote>,
    /// The last entry known to be committed.
    pub(crate) committed: Option<PlainLogId>,
    /// The last entry that was purged.
    pub(crate) purged: Option<PlainLogId>,
}

impl Format for JournalRecord {
    const VERSION: u8 = 1;
    const BYTES_MAX: usize = AppendLog::RECORD_BYTES_MAX;
    const NAME: &'static str = "journal record";
}

/// The bytes of a record.
pub(crate) fn record(group: u32, event: JournalEvent) -> Vec<u8> {
    codec::encode(&JournalRecord { group, event })
}

/// Reads a record.
pub(crate) fn read(bytes: &[u8]) -> Result<JournalRecord, FormatError> {
    codec::decode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plain::PlainPayload;

    #[test]
    fn records_keep_their_bytes() {
        let entry = PlainEntry { id: PlainLogId { term: 2, index: 3 }, payload: PlainPayload::Proposal(vec![9, 8]) };
        let bytes = record(7, JournalEvent::Entry(entry.clone()));
        assert_eq!(bytes, [1, 7, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0, 9, 8]);
        assert_eq!(read(&bytes), Ok(JournalRecord { group: 7, event: JournalEvent::Entry(entry) }));

        let vote = PlainVote { term: 1, replica: 256, granted: true };
        let bytes = record(0, JournalEvent::Vote(vote));
        assert_eq!(bytes, [1, 0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1]);

        let state = GroupState { vote: None, committed: Some(PlainLogId { term: 1, index: 2 }), purged: None };
        let bytes = record(0, JournalEvent::State(state));
        assert_eq!(bytes, [1, 0, 0, 0, 0, 5, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0]);

        assert_eq!(record(3, JournalEvent::Forgotten), [1, 3, 0, 0, 0, 6]);
    }

    #[test]
    fn cut_records_and_rest_bytes_are_refused() {
        let bytes = record(1, JournalEvent::Truncate(Some(5)));
        for end in 0..bytes.len() {
            assert!(read(&bytes[..end]).is_err());
        }
        assert!(read(&[bytes.as_slice(), &[0]].concat()).is_err());
    }
}
