//! One stream of a backup: blobs made durable side by side, and registered in order.
//!
//! ```text
//!   blob ─▶ spread (many at once) ─┐ durable
//!   submit ─▶ waits for the blobs before it ─▶ one entry: the commands, RegisterChunks among them ─▶ outcomes
//!   next submit: its blobs are spread meanwhile, its entry waits for this one's
//! ```
//!
//! Promises: an entry names no chunk that is not durable; entries of one stream are applied in the order in which they
//! were submitted; what a stream has under way is bounded ([`STREAM_BYTES_MAX`], and [`Uploads`] over all streams): while
//! there is no room, nothing is taken from the stream. A refused or failed step ends the stream.
//!
//! Not here: the wire (`node/api`), what commands mean (`node/core`).

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{Stream, StreamExt};
use strongroom_core::query::{Answer, Query, VaultRef};
use strongroom_core::shard::rows::LeasePurpose;
use strongroom_format::code::Strength;
use strongroom_format::codec;
use strongroom_format::command::{Body, Command, RegisteredChunk, SignedCommand};
use strongroom_format::id::{BlobId, DomainId, GroupId, LeaseId, SessionId, Slot, VaultId};
use strongroom_format::outcome::Outcome;
use strongroom_format::seal::{BlobError, BlobHeader, blob_id};
use strongroom_format::sign;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use crate::caller::Caller;
use crate::coders::Coders;
use crate::propose::{ProposeFault, Proposer};
use crate::reads::{ReadFault, Reads};
use crate::spread::{Placed, Spread, SpreadError, Under};
use crate::topology::InForce;

/// What one stream may have under way.
pub const STREAM_BYTES_MAX: usize = 48 << 20;
/// So many steps of a stream are answered late before it waits.
const BATCHES_MAX: usize = 16;
/// Durable bytes are reported when there are so many new ones.
const REPORT_EVERY_BYTES: u64 = 4 << 20;
/// The rows that a stream is opened by are asked for so long.
const OPEN_WITHIN: Duration = Duration::from_secs(10);
/// An entry may take so long; then its outcome is unknown.
const SUBMIT_WITHIN: Duration = Duration::from_secs(30);
/// Memory is counted in KiB.
const UNIT: usize = 1024;
/// A blob counts for so much at least: what its fragments need beside their bytes.
const BLOB_UNITS_MIN: u32 = 64;

/// Where a stream writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Open {
    /// The shard.
    pub group: GroupId,
    /// The lease of the part, or of the session.
    pub lease: LeaseId,
    /// The vault.
    pub vault: VaultId,
    /// The domain.
    pub domain: DomainId,
    /// The client session in that group.
    pub session: SessionId,
}

/// What comes on a stream.
#[derive(Clone, Debug)]
pub enum Step {
    /// A blob and its declared hash.
    Blob {
        /// What its sender says that it hashes to.
        declared: BlobId,
        /// The sealed bytes.
        blob: Bytes,
    },
    /// Commands to be proposed when every blob before is durable.
    Submit(Submit),
}

/// Commands to be proposed as one entry.
#[derive(Clone, Debug)]
pub struct Submit {
    /// In order.
    pub commands: Vec<SignedCommand>,
    /// The place among them at which the blobs are registered.
    pub register_at: usize,
    /// The number of the registration in the session.
    pub register_sequence: u64,
}

/// What goes back on a stream.
#[derive(Clone, Debug)]
pub enum Reply {
    /// So much is durable so far.
    Durable {
        /// Blobs.
        blobs: u64,
        /// Their bytes.
        bytes: u64,
    },
    /// What became of a submit.
    Outcomes(Box<Submitted>),
}

/// What became of a submit.
#[derive(Clone, Debug)]
pub struct Submitted {
    /// Of the registration, if there was anything to register.
    pub register: Option<Outcome>,
    /// Of each other command.
    pub outcomes: Vec<Outcome>,
    /// Fragments of its blobs that another slot took.
    pub fragments_handed_over: u64,
    /// Fragments of its blobs that no slot took.
    pub fragments_missing: u64,
    /// Slots that did not take a fragment of their own, sorted.
    pub slots_missed: Vec<Slot>,
}

/// Why a stream ended.
#[derive(Debug, thiserror::Error)]
pub enum UploadFault {
    /// No such lease, vault or shard, or not the caller's; all look the same.
    #[error("there is no such lease")]
    NotFound,
    /// A field is outside its range.
    #[error("{why}")]
    Invalid {
        /// What is wrong, for people.
        why: &'static str,
    },
    /// The bytes are no blob that these nodes know.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// A blob was not taken.
    #[error(transparent)]
    Spread(#[from] SpreadError),
    /// An entry has no outcomes.
    #[error(transparent)]
    Propose(#[from] ProposeFault),
    /// The rows that the stream stands on cannot be read.
    #[error(transparent)]
    Read(#[from] ReadFault),
}

/// Opens streams. Clones are the same.
#[derive(Clone)]
pub struct Uploads {
    topology: InForce,
    reads: Reads,
    proposer: Proposer,
    spread: Spread,
    coders: Coders,
    room: Arc<Semaphore>,
}

impl Uploads {
    /// With room for so many bytes of blobs over all streams.
    pub fn new(
        topology: InForce,
        reads: Reads,
        proposer: Proposer,
        spread: Spread,
        coders: Coders,
        bytes_max: usize,
    ) -> Self {
        let room = Arc::new(Semaphore::new((bytes_max / UNIT).max(STREAM_BYTES_MAX / UNIT)));
        Self { topology, reads, proposer, spread, coders, room }
    }

    /// Checks that the lease is the caller's and open, and what its vault demands.
    pub async fn open(&self, caller: Caller, open: Open) -> Result<Upload, UploadFault> {
        let shard = self.topology.shard(open.group).ok_or(UploadFault::NotFound)?;
        let tenant = self.topology.tenant(caller.tenant).ok_or(UploadFault::NotFound)?;
        let lease = Query::Lease { tenant: caller.tenant, lease: open.lease };
        let vault =
            Query::Vault { tenant: caller.tenant, vault: VaultRef::Id(open.vault), by: Some(caller.identity.clone()) };
        let lease = self.reads.linearizable(open.group, &lease, OPEN_WITHIN);
        let vault = self.reads.linearizable(tenant.home, &vault, OPEN_WITHIN);
        let (lease, vault) = futures_util::future::try_join(lease, vault).await?;
        let Answer::Lease(view) = lease else { return Err(UploadFault::NotFound) };
        let fits = match &view.lease.purpose {
            LeasePurpose::Session(session) => *session == open.session,
            LeasePurpose::Part { vault, domain, .. } => *vault == open.vault && *domain == open.domain,
            LeasePurpose::Ticket(_) => false,
        };
        if view.lease.identity != caller.identity || !fits {
            return Err(UploadFault::NotFound);
        }
        if !view.lease.writable {
            return Err(SpreadError::LeaseEnded.into());
        }
        let least = match vault {
            Answer::Vault { vault, .. } => Strength { regions: vault.policy.least_regions, nodes: 0 },
            _ => return Err(UploadFault::NotFound),
        };
        let under = Under { shard, tenant: caller.tenant, lease: open.lease, least };
        Ok(Upload { uploads: self.clone(), caller, open, under, epoch: view.epoch })
    }
}

/// An open stream.
pub struct Upload {
    uploads: Uploads,
    caller: Caller,
    open: Open,
    under: Under,
    epoch: strongroom_format::id::ClusterEpoch,
}

/// What is submitted together: blobs, then commands.
#[derive(Default)]
struct Batch {
    /// Blobs that are not durable yet.
    waits_for: usize,
    placed: Vec<(u64, RegisteredChunk)>,
    slots_missed: Vec<Slot>,
    submit: Option<Submit>,
}

struct Done {
    batch: u64,
    order: u64,
    chunk: RegisteredChunk,
    slots_missed: Vec<Slot>,
    bytes: u64,
}

impl Upload {
    /// Moves steps to their end. Replies that nobody takes hold the stream up. Ends when the steps have ended and are
    /// answered, when nobody takes replies any more, or with the first fault.
    pub async fn run(
        &self,
        steps: impl Stream<Item = Step> + Unpin,
        replies: &mpsc::Sender<Reply>,
    ) -> Result<(), UploadFault> {
        let room = Arc::new(Semaphore::new(STREAM_BYTES_MAX / UNIT));
        let mut steps = steps.fuse();
        let mut batches = VecDeque::from([Batch::default()]);
        let mut first_batch = 0_u64;
        let mut order = 0_u64;
        let mut placing = FuturesUnordered::new();
        let mut entering: Option<BoxFuture<'_, Result<Submitted, UploadFault>>> = None;
        // A blob that waits for room: nothing more is taken from the stream meanwhile.
        let mut waiting: Option<BoxFuture<'_, (OwnedSemaphorePermit, OwnedSemaphorePermit, BlobId, Bytes)>> = None;
        let (mut durable_blobs, mut durable_bytes, mut reported_bytes) = (0_u64, 0_u64, 0_u64);
        let mut ended = false;
        loop {
            if entering.is_none()
                && batches.front().is_some_and(|batch| batch.waits_for == 0 && batch.submit.is_some())
                && let Some(batch) = batches.pop_front()
            {
                first_batch += 1;
                entering = Some(Box::pin(self.enter(batch)));
            }
            if ended && waiting.is_none() && entering.is_none() && placing.is_empty() {
                return Ok(());
            }
            let takes = !ended && waiting.is_none() && batches.len() < BATCHES_MAX;
            tokio::select! {
                biased;
                submitted = async { entering.as_mut().expect("guarded").await }, if entering.is_some() => {
                    entering = None;
                    if replies.send(Reply::Outcomes(Box::new(submitted?))).await.is_err() {
                        return Ok(());
                    }
                }
                Some(done) = placing.next(), if !placing.is_empty() => {
                    let Done { batch, order, chunk, slots_missed, bytes } = done?;
                    let place = usize::try_from(batch - first_batch).expect("batches under way are few");
                    let batch: &mut Batch = &mut batches[place];
                    batch.waits_for -= 1;
                    batch.placed.push((order, chunk));
                    batch.slots_missed.extend(slots_missed);
                    durable_blobs += 1;
                    durable_bytes += bytes;
                    if REPORT_EVERY_BYTES <= durable_bytes - reported_bytes {
                        reported_bytes = durable_bytes;
                        let reply = Reply::Durable { blobs: durable_blobs, bytes: durable_bytes };
                        if replies.send(reply).await.is_err() {
                            return Ok(());
                        }
                    }
                }
                (here, everywhere, declared, blob) = async { waiting.as_mut().expect("guarded").await },
                    if waiting.is_some() =>
                {
                    waiting = None;
                    let batch = first_batch + batches.len() as u64 - 1;
                    order += 1;
                    let last = batches.back_mut().expect("the last batch is always open");
                    if Body::CHUNKS_MAX <= last.waits_for + last.placed.len() {
                        return Err(UploadFault::Invalid { why: "too many blobs for one registration" });
                    }
                    last.waits_for += 1;
                    let (order, held) = (order, (here, everywhere));
                    placing.push(async move {
                        let done = self.place(batch, order, declared, blob).await;
                        drop(held);
                        done
                    });
                }
                step = steps.next(), if takes => match step {
                    None => ended = true,
                    Some(Step::Blob { declared, blob }) => {
                        waiting = Some(Box::pin(self.wait_for_room(Arc::clone(&room), declared, blob)));
                    }
                    Some(Step::Submit(submit)) => {
                        let last = batches.back_mut().expect("the last batch is always open");
                        let has_blobs = last.waits_for + last.placed.len() != 0;
                        if has_blobs && submit.commands.len() < submit.register_at {
                            return Err(UploadFault::Invalid { why: "the registration's place is behind the commands" });
                        }
                        last.submit = Some(submit);
                        batches.push_back(Batch::default());
                    }
                }
            }
        }
    }

    async fn wait_for_room(
        &self,
        here: Arc<Semaphore>,
        declared: BlobId,
        blob: Bytes,
    ) -> (OwnedSemaphorePermit, OwnedSemaphorePermit, BlobId, Bytes) {
        let most = u32::try_from(STREAM_BYTES_MAX / UNIT).expect("a few megabytes");
        let units = u32::try_from(blob.len() / UNIT).unwrap_or(u32::MAX).clamp(BLOB_UNITS_MIN, most);
        let here = here.acquire_many_owned(units).await.expect("the room is never closed");
        let everywhere = Arc::clone(&self.uploads.room).acquire_many_owned(units).await;
        (here, everywhere.expect("the room is never closed"), declared, blob)
    }

    async fn place(&self, batch: u64, order: u64, declared: BlobId, blob: Bytes) -> Result<Done, UploadFault> {
        let header = match BlobHeader::parse(&blob) {
            Ok(header) => header,
            Err(error) => {
                // What did not arrive as it was sent is that, and not a blob of an unknown kind.
                let arrived = self.uploads.coders.run(move || blob_id(&blob)).await.map_err(SpreadError::from)?;
                return Err(if arrived == declared { error.into() } else { SpreadError::HashMismatch.into() });
            }
        };
        let Placed { blob, blob_bytes, handed_over, missing, slots_missed } =
            self.uploads.spread.place(&self.under, declared, blob).await?;
        let chunk = RegisteredChunk {
            chunk: header.chunk,
            blob,
            stored_bytes: blob_bytes,
            dek: header.dek,
            handed_over,
            missing,
        };
        Ok(Done { batch, order, chunk, slots_missed, bytes: u64::from(blob_bytes) })
    }

    /// One entry: the commands, with the registration of what is durable among them.
    async fn enter(&self, batch: Batch) -> Result<Submitted, UploadFault> {
        let Batch { mut placed, mut slots_missed, submit, .. } = batch;
        let Submit { commands, register_at, register_sequence } = submit.expect("entered only once submitted");
        placed.sort_by_key(|(order, _)| *order);
        let mut chunks: Vec<RegisteredChunk> = Vec::with_capacity(placed.len());
        for (_, chunk) in placed {
            // The same blob twice in one batch is one chunk.
            if !chunks.iter().any(|other| other.blob == chunk.blob && other.chunk == chunk.chunk) {
                chunks.push(chunk);
            }
        }
        slots_missed.sort_unstable();
        slots_missed.dedup();
        let fragments_handed_over = chunks.iter().map(|chunk| chunk.handed_over.len() as u64).sum();
        let fragments_missing = chunks.iter().map(|chunk| chunk.missing.len() as u64).sum();
        let registers = !chunks.is_empty();
        // These fragments are durable: this node stands for that.
        let own = registers.then(|| (register_at, self.registration(chunks, register_sequence)));
        let mut submitted =
            Submitted { register: None, outcomes: Vec::new(), fragments_handed_over, fragments_missing, slots_missed };
        if commands.is_empty() && own.is_none() {
            return Ok(submitted);
        }
        let applied = self.uploads.proposer.enter(self.open.group, commands, own, SUBMIT_WITHIN).await?;
        submitted.outcomes = applied.outcomes;
        if registers && register_at < submitted.outcomes.len() {
            submitted.register = Some(submitted.outcomes.remove(register_at));
        }
        Ok(submitted)
    }

    /// Unsigned: it flows inside the caller's session, and `apply` takes it for the session's own lease and domain only.
    fn registration(&self, chunks: Vec<RegisteredChunk>, sequence: u64) -> SignedCommand {
        sign::unsigned_command(&Command {
            cluster: self.epoch,
            group: self.open.group,
            tenant: self.caller.tenant,
            principal: self.caller.identity.clone(),
            session: Some(self.open.session),
            sequence,
            needs_previous: false,
            body: Body::RegisterChunks {
                lease: self.open.lease,
                vault: self.open.vault,
                domain: self.open.domain,
                chunks,
            },
        })
    }
}

/// Reads a signed command, so that what is no command never reaches the log.
pub fn read_command(bytes: &[u8]) -> Result<(SignedCommand, Command), codec::FormatError> {
    let signed: SignedCommand = codec::decode(bytes)?;
    let command = codec::decode(&signed.command)?;
    Ok((signed, command))
}
