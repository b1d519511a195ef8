//! Writing a manifest: entries in, chunks of it out.
//!
//! **Where it is cut.** A chunk ends before an entry if it has [`CUT_BYTES_MIN`] or more and the first 8 bytes
//! (little-endian) of the BLAKE3 hash of the entry's path are a multiple of 16, for a directory, or of 2048, for
//! anything else; at the latest when the record would take it beyond [`CUT_BYTES_MAX`]. A new chunk begins at the
//! first runs record. So an unchanged part of the tree of directories gives the same chunks in the next backup.
//! `Hardened` manifests are cut every 4 MiB, wherever that is, and padded with zeros: their chunks say nothing.

use crate::chunk::{CHUNK_BYTES_FIXED, Chunking};
use crate::manifest::entry::{Content, Entry, Header, Run};
use crate::manifest::field::{Why, put_varint};
use crate::manifest::names::OwnerNames;
use crate::manifest::order::Sequence;
use crate::manifest::{MAGIC, ManifestError, RUNS_PER_RECORD, VERSION};

/// No cut before so many bytes.
pub const CUT_BYTES_MIN: usize = 128 << 10;
/// A chunk has at most so many bytes, or one record.
pub const CUT_BYTES_MAX: usize = 1 << 20;

/// Makes a manifest, chunk by chunk. It holds one chunk. After an error it is of no more use.
#[derive(Debug)]
pub struct Encoder {
    chunking: Chunking,
    chunk: Vec<u8>,
    sequence: Sequence,
    previous_ordinal: u64,
    records: u64,
}

impl Encoder {
    /// Begins with the header.
    pub fn new(header: &Header) -> Result<Encoder, ManifestError> {
        let mut encoder = Encoder {
            chunking: header.chunking,
            chunk: [&MAGIC[..], &[VERSION]].concat(),
            sequence: Sequence::default(),
            previous_ordinal: 0,
            records: 0,
        };
        let body = encoder.at(header.encode())?;
        encoder.put(1, &body);
        Ok(encoder)
    }

    /// Takes the next entry in order. Sometimes a chunk is complete.
    pub fn push(&mut self, entry: &Entry) -> Result<Option<Vec<u8>>, ManifestError> {
        let checked = self.sequence.entry(entry);
        self.at(checked)?;
        let body = entry.encode(&mut self.previous_ordinal);
        let body = self.at(body)?;
        let complete = match self.chunking {
            Chunking::Default | Chunking::Fixed if self.is_cut_before(entry, body.len() + 5) => {
                Some(std::mem::take(&mut self.chunk))
            }
            Chunking::Default | Chunking::Fixed | Chunking::Hardened => None,
        };
        self.put(2, &body);
        Ok(complete.or_else(|| self.full_chunk()))
    }

    /// Says what the owners are called; it stands at the end. The latest word counts.
    pub fn name_owners(&mut self, names: OwnerNames) {
        self.sequence.counted.names = names;
    }

    /// Takes the order of the runs and gives out the chunks that are still missing.
    pub fn finish(mut self, runs: &[Run]) -> Result<Vec<Vec<u8>>, ManifestError> {
        let mut chunks = Vec::new();
        if self.chunking != Chunking::Hardened {
            chunks.push(std::mem::take(&mut self.chunk));
        }
        for some in runs.chunks(RUNS_PER_RECORD) {
            let mut body = Vec::with_capacity(some.len() * 4);
            for run in some {
                let checked = self.sequence.run(run);
                self.at(checked)?;
                put_varint(&mut body, run.group.0.into());
                put_varint(&mut body, run.chunks.into());
            }
            if self.chunking != Chunking::Hardened && self.chunk.len() + body.len() > CUT_BYTES_MAX {
                chunks.push(std::mem::take(&mut self.chunk));
            }
            self.put(3, &body);
            chunks.extend(self.full_chunk());
        }
        let checked = self.sequence.end().and_then(|()| self.sequence.counted.encode());
        let body = self.at(checked)?;
        self.put(4, &body);
        chunks.extend(self.full_chunk());
        if self.chunking == Chunking::Hardened && !self.chunk.is_empty() {
            self.chunk.resize(CHUNK_BYTES_FIXED as usize, 0);
        }
        if !self.chunk.is_empty() {
            chunks.push(self.chunk);
        }
        Ok(chunks)
    }

    fn put(&mut self, kind: u8, body: &[u8]) {
        self.chunk.push(kind);
        let length = u32::try_from(body.len()).expect("a record has at most 1 MiB");
        self.chunk.extend(length.to_le_bytes());
        self.chunk.extend(body);
        self.records += 1;
    }

    /// Of a hardened manifest: the first 4 MiB, once there are so many. A record is shorter, so one call is enough.
    fn full_chunk(&mut self) -> Option<Vec<u8>> {
        let full = CHUNK_BYTES_FIXED as usize;
        if self.chunking != Chunking::Hardened || self.chunk.len() < full {
            return None;
        }
        let rest = self.chunk.split_off(full);
        Some(std::mem::replace(&mut self.chunk, rest))
    }

    fn is_cut_before(&self, entry: &Entry, record_bytes: usize) -> bool {
        if self.chunk.len() + record_bytes > CUT_BYTES_MAX {
            return true;
        }
        if self.chunk.len() < CUT_BYTES_MIN {
            return false;
        }
        let one_in = match entry.content {
            Content::Directory => 16,
            Content::File(_)
            | Content::Symlink { .. }
            | Content::HardLink { .. }
            | Content::Fifo
            | Content::Device(_)
            | Content::Other { .. } => 2048,
        };
        let hash = blake3::hash(entry.path.as_bytes());
        u64::from_le_bytes(*hash.as_bytes().first_chunk().expect("a hash has 32 bytes")).is_multiple_of(one_in)
    }

    fn at<T>(&self, result: Result<T, Why>) -> Result<T, ManifestError> {
        result.map_err(|why| ManifestError::Malformed { record: self.records, why })
    }
}
