//! Reading a manifest: bytes in, as they come; items out, each checked.
//!
//! Safe on any bytes: the memory is one record and what the caller has pushed and not yet taken out; numbers are
//! checked before they are believed; nothing is believed before its record is whole.

use crate::chunk::{CHUNK_BYTES_FIXED, Chunking};
use crate::id::GroupId;
use crate::manifest::entry::{End, Entry, Header, Run};
use crate::manifest::field::{Reader, Why};
use crate::manifest::order::Sequence;
use crate::manifest::{MAGIC, ManifestError, RECORD_BYTES_MAX, RUNS_PER_RECORD, VERSION};

/// How much a reader is willing to take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Entries.
    pub entries: u64,
    /// Stored bytes of all files together.
    pub bytes: u64,
    /// Runs.
    pub runs: u64,
    /// Pieces and holes of all files together.
    pub pieces: u64,
    /// Bytes of all extended attributes together.
    pub xattr_bytes: u64,
}

impl Default for Limits {
    /// 2²⁶ entries, 2⁴⁸ bytes, 2²⁴ runs, 2²⁶ pieces and holes, 1 GiB of extended attributes.
    fn default() -> Self {
        Limits { entries: 1 << 26, bytes: 1 << 48, runs: 1 << 24, pieces: 1 << 26, xattr_bytes: 1 << 30 }
    }
}

/// What a manifest consists of, in this order: one header, entries, runs, one end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// The header.
    Header(Header),
    /// An entry.
    Entry(Entry),
    /// Some of the runs, in order; those of one record.
    Runs(Vec<Run>),
    /// The end; its counts are those of what came before.
    End(End),
}

/// Reads a manifest that comes in pieces.
#[derive(Debug)]
pub struct Decoder {
    limits: Limits,
    buffer: Vec<u8>,
    /// Bytes at the buffer's beginning that were taken out.
    taken: usize,
    stage: Stage,
    sequence: Sequence,
    previous_ordinal: u64,
    records: u64,
    pushed: u64,
    padding: usize,
    is_hardened: bool,
    failed: Option<ManifestError>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Magic,
    Header,
    Entries,
    /// The last runs record was a full one.
    Runs,
    /// The last runs record was not full: only the end may follow.
    LastRuns,
    Ended,
}

impl Decoder {
    /// At the beginning of a manifest.
    pub fn new(limits: Limits) -> Decoder {
        Decoder {
            limits,
            buffer: Vec::new(),
            taken: 0,
            stage: Stage::Magic,
            sequence: Sequence::default(),
            previous_ordinal: 0,
            records: 0,
            pushed: 0,
            padding: 0,
            is_hardened: false,
            failed: None,
        }
    }

    /// Takes the next bytes: a chunk of the manifest, say. Take all items out before the next call.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.taken);
        self.taken = 0;
        self.pushed += bytes.len() as u64;
        if self.failed.is_none() {
            self.buffer.extend_from_slice(bytes);
        }
    }

    /// The next item; `None` until more bytes are pushed, and after the end. An error stays.
    pub fn next_item(&mut self) -> Result<Option<Item>, ManifestError> {
        if let Some(failed) = self.failed {
            return Err(failed);
        }
        let next = self.read();
        if let Err(failed) = next {
            self.failed = Some(failed);
            self.buffer = Vec::new();
            self.taken = 0;
        }
        next
    }

    /// Says whether the manifest was whole. To be asked after all items were taken out.
    pub fn finish(&self) -> Result<(), ManifestError> {
        if let Some(failed) = self.failed {
            return Err(failed);
        }
        let is_full = !self.is_hardened || self.pushed.is_multiple_of(CHUNK_BYTES_FIXED.into());
        match self.stage == Stage::Ended && is_full {
            true => Ok(()),
            false => Err(ManifestError::CutOff { record: self.records }),
        }
    }

    fn read(&mut self) -> Result<Option<Item>, ManifestError> {
        if self.stage == Stage::Magic {
            let Some([magic @ .., version]) = self.buffer.first_chunk::<5>() else { return Ok(None) };
            if *magic != MAGIC {
                return self.malformed("not a manifest");
            }
            if *version != VERSION {
                return Err(ManifestError::UnsupportedVersion { found: *version });
            }
            self.taken = 5;
            self.stage = Stage::Header;
        }
        if self.stage == Stage::Ended {
            return self.read_padding();
        }
        let rest = &self.buffer[self.taken..];
        let Some(([kind, length @ ..], rest)) = rest.split_first_chunk::<5>() else { return Ok(None) };
        let (kind, length) = (*kind, u32::from_le_bytes(*length) as usize);
        if length > RECORD_BYTES_MAX {
            return self.malformed("a record has at most 1 MiB");
        }
        let Some(body) = rest.get(..length) else { return Ok(None) };

        let item = match (kind, self.stage) {
            (1, Stage::Header) => Header::decode(body).map(Item::Header),
            (2, Stage::Entries) => Entry::decode(body, &mut self.previous_ordinal).map(Item::Entry),
            (3, Stage::Entries | Stage::Runs) => decode_runs(body).map(Item::Runs),
            (4, Stage::Entries | Stage::Runs | Stage::LastRuns) => End::decode(body).map(Item::End),
            (1..=4, _) => Err("a record is out of place"),
            _ => Err("an unknown kind of record"),
        };
        self.taken += 5 + length;
        let accepted = item.and_then(|item| self.accept(&item).map(|()| item));
        let item = accepted.map_err(|why| ManifestError::Malformed { record: self.records, why })?;
        self.check_limits()?;
        self.records += 1;
        Ok(Some(item))
    }

    fn accept(&mut self, item: &Item) -> Result<(), Why> {
        match item {
            Item::Header(header) => {
                self.stage = Stage::Entries;
                self.is_hardened = header.chunking == Chunking::Hardened;
            }
            Item::Entry(entry) => self.sequence.entry(entry)?,
            Item::Runs(runs) => {
                self.stage = if runs.len() == RUNS_PER_RECORD { Stage::Runs } else { Stage::LastRuns };
                runs.iter().try_for_each(|run| self.sequence.run(run))?;
            }
            Item::End(end) => {
                self.stage = Stage::Ended;
                self.sequence.end()?;
                let counted = &self.sequence.counted;
                let found = [end.entries, end.bytes, end.runs, end.chunks];
                if found != [counted.entries, counted.bytes, counted.runs, counted.chunks] {
                    return Err("the end counts otherwise");
                }
            }
        }
        Ok(())
    }

    fn check_limits(&self) -> Result<(), ManifestError> {
        let counted = &self.sequence.counted;
        let over = |what, found: u64, most| match found > most {
            true => Err(ManifestError::Limit { record: self.records, what, most }),
            false => Ok(()),
        };
        over("entries", counted.entries, self.limits.entries)?;
        over("bytes in files", counted.bytes, self.limits.bytes)?;
        over("runs", counted.runs, self.limits.runs)?;
        over("pieces and holes", self.sequence.pieces, self.limits.pieces)?;
        over("bytes in extended attributes", self.sequence.xattr_bytes, self.limits.xattr_bytes)
    }

    /// Behind a hardened manifest's end stand zeros, fewer than a chunk has bytes; behind others nothing.
    fn read_padding(&mut self) -> Result<Option<Item>, ManifestError> {
        let rest = &self.buffer[self.taken..];
        self.padding += rest.len();
        let room = if self.is_hardened { CHUNK_BYTES_FIXED as usize - 1 } else { 0 };
        if rest.iter().any(|byte| *byte != 0) || self.padding > room {
            return self.malformed("something stands behind the end");
        }
        self.taken = self.buffer.len();
        Ok(None)
    }

    fn malformed<T>(&self, why: Why) -> Result<T, ManifestError> {
        Err(ManifestError::Malformed { record: self.records, why })
    }
}

fn decode_runs(body: &[u8]) -> Result<Vec<Run>, Why> {
    let mut reader = Reader(body);
    let mut runs = Vec::new();
    while !reader.is_empty() {
        if runs.len() == RUNS_PER_RECORD {
            return Err("a record has at most 4096 runs");
        }
        let group = u32::try_from(reader.varint()?).map_err(|_| "no group has that number")?;
        let chunks = u32::try_from(reader.varint()?).map_err(|_| "a run has 1 to 1024 chunks")?;
        runs.push(Run { group: GroupId(group), chunks });
    }
    if runs.is_empty() { Err("a record without runs") } else { Ok(runs) }
}

#[cfg(test)]
mod tests;
