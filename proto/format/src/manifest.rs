//! Manifests: what a snapshot contains, as its writer saw it. Sealed in chunks of kind manifest; nodes cannot read it.
//!
//! ```text
//! stream   = "SRMF" ‖ version u8 ‖ header ‖ entry … ‖ runs … ‖ end        hardened: ‖ zeros to a multiple of 4 MiB
//! record   = kind u8 ‖ body bytes u32 ‖ body            header 1, entry 2, runs 3, end 4; integers little-endian
//! body     = field …           of header, entry, end
//! field    = tag u8 ‖ value bytes varint ‖ value        tags strictly ascending
//! body     = (group varint ‖ chunks varint) …           of runs
//! ```
//!
//! **Order.** Entries are sorted by path, component by component, each compared byte by byte (as if `/` were the
//! smallest byte): a directory stands directly before everything inside of it. Paths are unique, and every parent is
//! there before, as a directory. So a reader needs no memory of what it has read but the way to the root.
//!
//! **Contents.** A snapshot's contents are one sequence of chunk references: the runs, in the order that the runs
//! records give, each a leaf in its shard's part. An ordinal counts in that sequence. A file is a list of pieces, each
//! from an offset in one chunk over as many following chunks as its length takes. On the wire ordinals are differences
//! to the piece before, so that what is unchanged stays equal, byte for byte, when chunks come or go before it, and is
//! deduplicated.
//!
//! **Names of one file.** An entry that had several names says how many. Its other names in the snapshot are entries of
//! their own that count back to it, among the entries that say so. So they can name nothing else, nothing outside, and
//! a reader checks them with a counter.
//!
//! **Holes** are not stored: pieces and hash are of the stored bytes (`holes.rs`).
//!
//! **The future.** A reader keeps fields that it does not know and writes them back. Who does not know a tag of 128 or
//! above has not understood the entry, and leaves it out of a restore, by name ([`entry::Entry::is_understood`]).
//!
//! Not here: totals that a part or an envelope needs (`summary.rs`, `envelope.rs`), the walk over a directory (client).

pub mod decode;
pub mod encode;
pub mod entry;
pub mod field;
pub mod holes;
pub mod names;
mod order;
pub mod path;
pub mod xattr;

/// The first bytes of every manifest.
pub const MAGIC: [u8; 4] = *b"SRMF";
/// The version that is written and read.
pub const VERSION: u8 = 1;
/// No record's body is longer.
pub const RECORD_BYTES_MAX: usize = 1 << 20;
/// A runs record holds so many, the last one perhaps fewer.
pub const RUNS_PER_RECORD: usize = 4096;

/// Why bytes are no manifest, or entries make none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// Written by a version that this reader does not know, or not a manifest (N36).
    #[error("manifest: version {found} is not supported, this reader knows version {VERSION}")]
    UnsupportedVersion {
        /// What stands there.
        found: u8,
    },
    /// It ends before its end record.
    #[error("manifest: cut off after record {record}")]
    CutOff {
        /// How many records were whole.
        record: u64,
    },
    /// A rule of the format is broken.
    #[error("manifest: record {record}: {why}")]
    Malformed {
        /// Which record, from 0 (the header).
        record: u64,
        /// What is wrong, for people.
        why: &'static str,
    },
    /// More than the reader wants to take (N115). A reader may be given higher limits.
    #[error("manifest: record {record}: more than {most} {what}")]
    Limit {
        /// Which record, from 0 (the header).
        record: u64,
        /// Of what.
        what: &'static str,
        /// How many may be.
        most: u64,
    },
}
