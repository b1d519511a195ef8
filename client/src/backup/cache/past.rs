//! Reading the cache: all of it is checked first, then it comes block by block, beside the walk.
//!
//! Promises: nothing of a cache is believed whose MACs do not all hold; a record comes out with what the shards say about
//! its chunks. Memory holds one block. Not here: what makes a file unchanged (`read.rs`).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::File;
use std::io::{BufReader, Read as _, Seek as _, SeekFrom};
use std::os::fd::AsFd as _;
use std::path::Path;
use std::sync::Arc;

use strongroom_format::id::{ChunkId, DomainId, GroupId, VaultId};
use strongroom_format::manifest::entry::Moment;
use strongroom_format::manifest::path::EntryPath;
use tokio::runtime::Handle;

use super::record::{Binding, Header, HeaderMac, More, Record, Seal, Unbelieved};
use crate::backup::distrust::Distrust;
use crate::backup::place::KeptChunk;
use crate::backup::stamp::Stamp;
use crate::backup::which::{Known, Shelf};
use crate::client::Client;

/// Whom to ask about chunks.
#[derive(Clone)]
pub(crate) struct Shelves {
    pub client: Client,
    pub runtime: Handle,
    pub vault: VaultId,
    pub domain: DomainId,
    /// The shards that a backup may refer to now.
    pub set: Vec<GroupId>,
    pub distrust: Arc<Distrust>,
}

/// A record, and what the shards say about its chunks.
#[derive(Clone, Debug)]
pub(crate) struct Remembered {
    pub record: Record,
    /// In order; `None` for a chunk that is not there.
    pub chunks: Vec<Option<KeptChunk>>,
}

/// A cache that is believed, being read.
pub(crate) struct Past {
    file: BufReader<File>,
    seal: Seal,
    header: HeaderMac,
    number: u64,
    more: More,
    shelves: Shelves,
    records: VecDeque<(EntryPath, Remembered)>,
}

impl Remembered {
    /// Whether a file need not be read: all that the file system says of it is as it was, it is not due to be read again,
    /// and the shards have its chunks.
    pub(crate) fn is_unchanged(&self, stamp: Stamp, now: Moment) -> bool {
        self.record.stamp == stamp && !self.record.is_due(now) && self.chunks.iter().all(Option::is_some)
    }

    /// All chunks, if the shards have all of them.
    pub(crate) fn whole(&self) -> Option<Vec<KeptChunk>> {
        self.chunks.iter().copied().collect()
    }
}

impl Past {
    /// Opens a cache. `None`: there is none; an error says why there is one that is not believed.
    pub(crate) fn open(path: &Path, binding: &Binding, seal: &Seal, shelves: Shelves) -> Result<Option<Self>, String> {
        let explain = |why: Unbelieved| match &why {
            Unbelieved::Io(cause) => format!("{}: {why}: {cause}", path.display()),
            _ => format!("{}: {why}", path.display()),
        };
        let file = match File::open(path) {
            Ok(file) => file,
            Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(cause) => return Err(explain(cause.into())),
        };
        Self::check(file, binding, seal, shelves).map(Some).map_err(explain)
    }

    /// Reads all of it once, and goes back to the first block.
    fn check(file: File, binding: &Binding, seal: &Seal, shelves: Shelves) -> Result<Self, Unbelieved> {
        let inode = rustix::fs::fstat(file.as_fd()).map_err(std::io::Error::from)?.st_ino;
        let mut file = BufReader::with_capacity(1 << 20, file);
        let header = seal.read_header(&Header { binding: binding.clone(), inode }, &mut file)?;
        let first_block = file.stream_position()?;
        let mut number = 0;
        while seal.read_block(header, number, &mut file)?.1 == More::Follows {
            number += 1;
        }
        if file.read(&mut [0])? != 0 {
            return Err(Unbelieved::Changed);
        }
        file.seek(SeekFrom::Start(first_block))?;
        let (records, seal) = (VecDeque::new(), seal.clone());
        Ok(Self { file, seal, header, number: 0, more: More::Follows, shelves, records })
    }

    /// What is remembered of a path; paths ascend.
    pub(crate) fn recall(&mut self, path: &EntryPath) -> Option<Remembered> {
        loop {
            match self.records.front() {
                Some((front, _)) if front < path => {
                    self.records.pop_front();
                }
                Some((front, _)) if front == path => return self.records.pop_front().map(|(_, found)| found),
                Some(_) => return None,
                None if self.more == More::Ends => return None,
                None => self.fill(),
            }
        }
    }

    /// The next block. One that does not read any more, though it did a moment ago, is the last.
    fn fill(&mut self) {
        let records = self.seal.read_block(self.header, self.number, &mut self.file).and_then(|(bytes, more)| {
            let records: Vec<Record> = borsh::from_slice(&bytes).map_err(|_| Unbelieved::Changed)?;
            Ok((records, more))
        });
        match records {
            Ok((records, more)) => {
                (self.number, self.more) = (self.number + 1, more);
                self.records = self.shelves.resolve(records);
            }
            Err(why) => {
                tracing::warn!(%why, "the rest of the cache is not believed");
                self.more = More::Ends;
            }
        }
    }
}

impl Shelves {
    /// Asks the shards about all chunks of some records.
    fn resolve(&self, records: Vec<Record>) -> VecDeque<(EntryPath, Remembered)> {
        let mut asked: BTreeMap<GroupId, BTreeSet<ChunkId>> = BTreeMap::new();
        for chunk in records.iter().flat_map(|record| &record.chunks) {
            if self.set.contains(&chunk.group) && self.distrust.trusts(&chunk.id) {
                asked.entry(chunk.group).or_default().insert(chunk.id);
            }
        }
        let known = self.runtime.block_on(self.ask(asked));
        let remembered = |record: Record| {
            let path = EntryPath::new(record.path.clone()).ok()?;
            let kept = record.chunks.iter().map(|chunk| {
                let known = *known.get(&(chunk.group, chunk.id))?;
                let (id, plaintext_bytes, group) = (chunk.id, chunk.plaintext_bytes, chunk.group);
                Some(KeptChunk { id, plaintext_bytes, group, known })
            });
            let chunks = kept.collect();
            Some((path, Remembered { record, chunks }))
        };
        records.into_iter().filter_map(remembered).collect()
    }

    async fn ask(&self, asked: BTreeMap<GroupId, BTreeSet<ChunkId>>) -> BTreeMap<(GroupId, ChunkId), Known> {
        let asks = asked.into_iter().map(|(group, chunks)| async move {
            let shelf = Shelf { client: &self.client, group, vault: self.vault, domain: self.domain };
            let chunks: Vec<ChunkId> = chunks.into_iter().collect();
            match shelf.which(&chunks).await {
                Ok(known) => known.into_iter().map(|(chunk, known)| ((group, chunk), known)).collect(),
                Err(error) => {
                    // Files are read, and whoever stores their chunks will be told why nobody answers.
                    tracing::debug!(%group, %error, "a shard did not say what it has");
                    Vec::new()
                }
            }
        });
        futures_util::future::join_all(asks).await.into_iter().flatten().collect()
    }
}
