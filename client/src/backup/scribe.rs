//! The manifest of a backup, written while it is read.
//!
//! Not here: the format (`strongroom_format::manifest`), where its chunks go.

use strongroom_format::chunk::Chunking;
use strongroom_format::manifest::ManifestError;
use strongroom_format::manifest::encode::Encoder;
use strongroom_format::manifest::entry::{Attributes, Content, Entry, Header, Run};
use strongroom_format::summary::Summary;

use crate::error::{Error, Result};

/// A manifest in the making, and what it counts.
pub(crate) struct Scribe {
    header: Header,
    encoder: Option<Encoder>,
    summary: Summary,
}

impl Scribe {
    pub(crate) fn new(chunking: Chunking) -> Self {
        Self {
            header: Header { chunking, root: None, unknown: Vec::new() },
            encoder: None,
            summary: Summary::default(),
        }
    }

    /// Notes the attributes of the directory that is backed up itself: before any entry, or never.
    pub(crate) fn top(&mut self, attributes: Attributes) {
        debug_assert!(self.encoder.is_none(), "the top comes first");
        self.header.root = Some(attributes);
    }

    /// Notes that something is not backed up.
    pub(crate) fn skipped(&mut self) {
        self.summary.skipped += 1;
    }

    /// Writes the next entry. Sometimes a chunk is complete.
    pub(crate) fn entry(&mut self, entry: &Entry) -> Result<Option<Vec<u8>>> {
        match &entry.content {
            Content::File(file) => {
                self.summary.files += 1;
                self.summary.bytes += file.size;
            }
            Content::Directory => self.summary.dirs += 1,
            Content::Symlink { .. } => self.summary.links += 1,
            Content::Other { .. } => {}
        }
        let encoder = match &mut self.encoder {
            Some(encoder) => encoder,
            none => none.insert(Encoder::new(&self.header).map_err(failed)?),
        };
        encoder.push(entry).map_err(failed)
    }

    /// Writes the order of runs and the end: the chunks that are still missing.
    pub(crate) fn finish(self, runs: &[Run]) -> Result<(Vec<Vec<u8>>, Summary)> {
        let encoder = match self.encoder {
            Some(encoder) => encoder,
            None => Encoder::new(&self.header).map_err(failed)?,
        };
        Ok((encoder.finish(runs).map_err(failed)?, self.summary))
    }
}

fn failed(fault: ManifestError) -> Error {
    Error::failed("the manifest cannot be written", fault)
}
