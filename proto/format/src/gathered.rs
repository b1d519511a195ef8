//! Gathered snapshots: several writers, one snapshot. Each writer's stream is a snapshot of its own, under its own identity
//! and keys; the whole is one more snapshot, which names them; committing the whole shows all of them, or nothing is shown.
//!
//! ```text
//!   OpenTicket ─▶ ticket ◀─ OpenSnapshot(stream) … CommitSnapshot: ready, not shown    (each writer for itself)
//!                   └◀─ CommitSnapshot of the whole, whose envelope names every stream: all are shown   (the opener)
//! ```
//!
//! What binds them: a stream's envelope names its ticket and its own name, signed and MACed by its writer; the whole's
//! envelope names each stream's snapshot, writer and envelope digest, signed and MACed by the opener. So nobody writes in
//! another's name, and no stream is shown as part of another whole. Not here: what is decided when (`node/core`).

use borsh::{BorshDeserialize, BorshSerialize};

use crate::id::{Digest, IdentityId, SnapshotId, StreamName, TicketId, VaultId};
use crate::label::Label;

/// What a snapshot is to others.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Gathered {
    /// It stands alone.
    Alone,
    /// It is one writer's stream of a whole.
    Stream(StreamOf),
    /// It is a whole.
    Whole(Whole),
}

/// Under which ticket a stream is made, and what it is called there.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct StreamOf {
    /// The ticket.
    pub ticket: TicketId,
    /// Its name in the whole.
    pub name: StreamName,
}

/// All streams of a whole.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Whole {
    /// The ticket under which they were made.
    pub ticket: TicketId,
    /// Sorted by name, at least one, at most [`Whole::STREAMS_MAX`].
    pub streams: Vec<NamedStream>,
}

/// A stream as its whole names it.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct NamedStream {
    /// Its name.
    pub name: StreamName,
    /// Who wrote it.
    pub writer: IdentityId,
    /// The snapshot that it is.
    pub snapshot: SnapshotId,
    /// The digest of that snapshot's envelope.
    pub envelope: Digest,
}

/// What a writer asks the home shard to open, so that several writers make one snapshot.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct OpenTicket {
    /// Random, chosen by the client.
    pub ticket: TicketId,
    /// The vault of the whole and of all its streams.
    pub vault: VaultId,
    /// What the whole will be called within the opener.
    pub label: Label,
    /// Which streams there will be, and whose; sorted by name, at most [`Whole::STREAMS_MAX`]. Empty: any writer of the
    /// vault may join with any name.
    pub expected: Vec<ExpectedStream>,
}

/// A stream that must be there.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct ExpectedStream {
    /// Its name.
    pub name: StreamName,
    /// Whose it is.
    pub writer: IdentityId,
}

impl Gathered {
    /// The stream that it is, if it is one.
    pub fn stream(&self) -> Option<&StreamOf> {
        match self {
            Self::Stream(of) => Some(of),
            Self::Alone | Self::Whole(_) => None,
        }
    }

    /// The whole that it is, if it is one.
    pub fn whole(&self) -> Option<&Whole> {
        match self {
            Self::Whole(whole) => Some(whole),
            Self::Alone | Self::Stream(_) => None,
        }
    }

    /// What is wrong with it, for people.
    pub(crate) fn check(&self) -> Result<(), &'static str> {
        let Self::Whole(Whole { streams, .. }) = self else {
            return Ok(());
        };
        if streams.is_empty() || Whole::STREAMS_MAX < streams.len() {
            return Err("a whole has no stream, or too many");
        }
        if !streams.is_sorted_by(|one, other| one.name < other.name) {
            return Err("the streams of a whole are not sorted, or one is named twice");
        }
        Ok(())
    }
}

impl Whole {
    /// At most so many streams.
    pub const STREAMS_MAX: usize = 256;

    /// The stream of a name.
    pub fn stream(&self, name: &StreamName) -> Option<&NamedStream> {
        let at = self.streams.binary_search_by(|stream| stream.name.cmp(name)).ok()?;
        self.streams.get(at)
    }
}

impl OpenTicket {
    /// Whether the expected streams are sorted, named once, and not too many.
    pub fn is_sound(&self) -> bool {
        self.expected.len() <= Whole::STREAMS_MAX && self.expected.is_sorted_by(|one, other| one.name < other.name)
    }
}
