//! The manifest of a backup, written while it is read.
//!
//! Not here: the format (`strongroom_format::manifest`), where its chunks go.

use strongroom_format::chunk::Chunking;
use strongroom_format::manifest::ManifestError;
use strongroom_format::manifest::encode::Encoder;
use strongroom_format::manifest::entry::{Attributes, Content, Entry, Header, Run};
use strongroom_format::manifest::names::OwnerNames;
use strongroom_format::summary::Summary;

use crate::error::{Error, Result};

/// A manifest in the making, and what it counts.
pub(crate) struct Scribe {
    header: Header,
    encoder: Option<Encoder>,
    counted: Counted,
}

/// What a backup counted of its entries.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counted {
    /// What the envelope holds.
    pub summary: Summary,
    /// FIFOs and devices.
    pub special: u64,
    /// What changed or vanished meanwhile.
    pub changed: u64,
}

impl Scribe {
    pub(crate) fn new(chunking: Chunking) -> Self {
        Self {
            header: Header { chunking, root: None, unknown: Vec::new() },
            encoder: None,
            counted: Counted::default(),
        }
    }

    /// Notes the attributes of the directory that is backed up itself: before any entry, or never.
    pub(crate) fn top(&mut self, attributes: Attributes) {
        debug_assert!(self.encoder.is_none(), "the top comes first");
        self.header.root = Some(attributes);
    }

    /// Notes that something is not backed up.
    pub(crate) fn skipped(&mut self) {
        self.counted.summary.skipped += 1;
    }

    /// Notes that something changed or vanished.
    pub(crate) fn changed(&mut self) {
        self.counted.changed += 1;
    }

    /// Notes what the owners are called: after the last entry.
    pub(crate) fn owners(&mut self, names: OwnerNames) -> Result<()> {
        self.encoder()?.name_owners(names);
        Ok(())
    }

    /// Writes the next entry. Sometimes a chunk is complete.
    pub(crate) fn entry(&mut self, entry: &Entry) -> Result<Option<Vec<u8>>> {
        let Counted { summary, special, .. } = &mut self.counted;
        match &entry.content {
            Content::File(file) => {
                summary.files += 1;
                summary.bytes += file.stored_bytes();
            }
            Content::Directory => summary.dirs += 1,
            Content::Symlink { .. } | Content::HardLink { .. } => summary.links += 1,
            Content::Fifo | Content::Device(_) => *special += 1,
            Content::Other { .. } => {}
        }
        self.encoder()?.push(entry).map_err(failed)
    }

    /// Writes the order of runs and the end: the chunks that are still missing.
    pub(crate) fn finish(mut self, runs: &[Run]) -> Result<(Vec<Vec<u8>>, Counted)> {
        self.encoder()?;
        let chunks = self.encoder.map(|encoder| encoder.finish(runs)).transpose().map_err(failed)?;
        Ok((chunks.unwrap_or_default(), self.counted))
    }

    fn encoder(&mut self) -> Result<&mut Encoder> {
        Ok(match &mut self.encoder {
            Some(encoder) => encoder,
            none => none.insert(Encoder::new(&self.header).map_err(failed)?),
        })
    }
}

fn failed(fault: ManifestError) -> Error {
    Error::failed("the manifest cannot be written", fault)
}
