//! Backup: a tree of files becomes one snapshot, sealed here, kept by the shards of the tenant.
//!
//! ```text
//!   vault statement, card ─▶ draft: key, wrap, id                          (draft.rs)
//!   walk, cache ─▶ read, or refer ─▶ chunks, entries        (walk.rs, cache.rs, read.rs, reading.rs)
//!        small and at home ─▶ one entry from opening to commit             (small.rs)
//!        else ─▶ contents ─▶ every shard of the set                        (spread.rs, stream.rs, upload.rs)
//!             └▶ manifest ─▶ home shard ─▶ seal parts ─▶ commit
//!   receipt, verified                                                      (proof.rs)
//! ```
//!
//! Promises: nothing is sealed before the vault's statement was verified (N119); nothing is sent that does not open
//! (N112); a node that dies or a leader that changes interrupts nothing as long as somebody answers within the client's
//! patience; the receipt in a [`Backup`] has been verified, and one that lacks a majority is not in it. Memory is bounded, whatever is backed up,
//! except for index-tree nodes (about 70 bytes a chunk).

pub(crate) mod cache;
mod clock;
mod cut;
mod distrust;
mod draft;
mod links;
pub(crate) mod memory;
mod owners;
mod pack;
mod pieces;
mod piped;
pub(crate) mod place;
mod plan;
pub(crate) mod proof;
pub(crate) mod read;
mod reading;
mod request;
mod scribe;
pub(crate) mod sealer;
mod small;
mod spread;
mod stamp;
mod standing;
mod stat;
mod stored;
mod stream;
mod tally;
mod upload;
pub(crate) mod walk;
mod which;
mod xattrs;

use std::sync::Arc;
use std::time::{Duration, Instant};

use strongroom_format::code::{Code, Strength};
use strongroom_format::id::{GroupId, SnapshotId, VaultName};
use strongroom_format::label::Label;
use strongroom_format::summary::Summary;

pub use self::piped::Piped;
pub use self::plan::Plan;
pub use self::request::{BackupRequest, Survey};
pub use self::walk::{Bounds, CacheDirectories, FileSystems, Source};

use self::distrust::Distrust;
use self::draft::Draft;
use self::proof::{Proof, Wanted};
use self::reading::Reading;
use self::scribe::Counted;
use self::spread::{Committed, Spread};
use self::tally::Tally;
use crate::client::Client;
use crate::error::{Error, Result};
use crate::session::Session;

/// A backup that loses its lease, or whose dedup answers were stale, is begun again so many times: what arrived before
/// is not sent again.
const ATTEMPTS: usize = 3;

/// A committed snapshot and what it took to make it.
#[derive(Clone, Debug)]
pub struct Backup {
    /// Its id.
    pub snapshot: SnapshotId,
    /// The vault.
    pub vault: VaultName,
    /// Its name within its writer.
    pub name: Label,
    /// Files.
    pub files: u64,
    /// Directories, without the one that was backed up itself.
    pub dirs: u64,
    /// Symbolic links, and names of files besides their first.
    pub links: u64,
    /// FIFOs and devices.
    pub special: u64,
    /// What was there and is not in it.
    pub skipped: u64,
    /// What changed while it was read, or vanished before: in the snapshot as it was read, or not at all.
    pub changed: u64,
    /// Bytes of all files, without their holes.
    pub bytes: u64,
    /// Of these the bytes that were read, and those of files that failed.
    pub bytes_read: u64,
    /// Files that were not read, because nothing about them changed since they were.
    pub files_unchanged: u64,
    /// Their bytes.
    pub bytes_unchanged: u64,
    /// Sealed bytes that were sent.
    pub bytes_sent: u64,
    /// Chunks that were sealed and sent, of contents and manifest.
    pub chunks_new: u64,
    /// Chunks that the shards knew, or that occurred before in this backup.
    pub chunks_known: u64,
    /// How long it took.
    pub duration: Duration,
    /// The code of the home shard.
    pub code: Code,
    /// Fragments that lie in another slot than their own, as the receipt says.
    pub handed_over: Option<u64>,
    /// What it survives.
    pub survives: Strength,
    /// The receipt, verified; `None`: the snapshot is committed, but within the client's patience too few voters signed
    /// its receipt. [`Client::receipt`] fetches it later.
    pub receipt: Option<Proof>,
}

/// What was made.
struct Made {
    committed: Committed,
    receipt: Result<Option<Proof>>,
}

impl Client {
    /// Backs up, and returns when the snapshot is committed and its receipt verified, or when it is committed and no
    /// receipt came within the client's patience. Dropping the future abandons the
    /// upload; what was registered is known to the next backup for as long as its lease lasts.
    ///
    /// # Errors
    /// `Refused` with the rules' reason, or with `PROVENANCE_INVALID`, `ROLLBACK_DETECTED`, `NO_CARD` before anything
    /// is sealed; `Unknown` if nobody said whether the commit took effect; `Unavailable` after the client's patience.
    pub async fn back_up(&self, request: BackupRequest) -> Result<Backup> {
        let began = Instant::now();
        let distrust = Arc::new(Distrust::default());
        let mut attempt = 0;
        loop {
            attempt += 1;
            let distrusted = distrust.len();
            let draft = Draft::begin(self, request.clone()).await?;
            let tally = Arc::new(Tally::new(request.progress.clone()));
            // One entry is awaited for some seconds, which a bounded rate may exceed.
            // A stream that failed is given up, so that its name is free: the long way does that.
            let may_be_short = attempt == 1 && draft.request.upload_bytes_per_second.is_none() && !draft.is_stream();
            match make(&draft, may_be_short, &tally, &distrust).await {
                Ok(made) => return finish(&draft, made, &tally, began),
                // Where nothing moved, patience is patience: it does not begin anew with each attempt.
                Err(error)
                    if attempt < ATTEMPTS
                        && draft.request.piped.is_none()
                        && is_worth_another(&error, distrusted < distrust.len())
                        && (distrusted < distrust.len()
                            || 0 < tally.batches()
                            || began.elapsed() < draft.client.patience()) =>
                {
                    tracing::warn!(%error, attempt, "the backup begins again; what arrived is not sent again");
                }
                Err(error) => return Err(error),
            }
        }
    }
}

/// Makes the snapshot, the short way, if that is allowed and possible, else the long one, and fetches its receipt.
async fn make(draft: &Draft, may_be_short: bool, tally: &Arc<Tally>, distrust: &Arc<Distrust>) -> Result<Made> {
    let mut reading = Reading::start(draft, tally, distrust);
    let session = session_at_home(draft);
    let (session, ()) = futures_util::future::join(session, reading.look_ahead()).await;
    let mut session = Arc::new(session?);
    let home = draft.topology.home;
    let (groups, is_whole) = match reading.whole() {
        Some(steps) => (small::groups(draft, steps), true),
        None => (draft.topology.part_groups(), false),
    };
    let is_short = may_be_short && is_whole && groups == [home];
    if !is_short && session.was_kept() {
        // It may have ended, and a round more is nothing here.
        leave(session, true).await;
        session = Arc::new(Session::open(&draft.client, home, small::BUDGET_BYTES).await?);
    }
    let committed = match is_short {
        true => make_short(draft, &mut session, &mut reading, tally, distrust).await,
        false => make_long(draft, &session, groups, &mut reading, tally, distrust).await,
    };
    let keeps = is_short && committed.is_ok();
    // A courtesy, beside what is waited for: it ends by itself.
    let end = tokio::time::timeout(Duration::from_secs(2), leave(session, keeps));
    let made = async {
        let committed = committed?;
        let receipt = receipt(draft, &committed).await;
        Ok::<_, Error>(Made { committed, receipt })
    };
    let (_ended, made) = futures_util::future::join(end, made).await;
    let made = made?;
    if let Some(next) = reading.into_cache().into_next() {
        let kept = tokio::task::spawn_blocking(move || next.keep()).await;
        if let Err(cause) = kept.map_err(std::io::Error::other).flatten() {
            tracing::warn!(%cause, "the cache was not written; what is in the old one is believed once more");
        }
    }
    Ok(made)
}

/// Its receipt; none if within the client's patience too few voters signed it, or if it is a stream, which has none
/// before its whole is committed.
async fn receipt(draft: &Draft, committed: &Committed) -> Result<Option<Proof>> {
    if draft.is_stream() {
        return Ok(None);
    }
    let wanted = Wanted {
        snapshot: draft.snapshot,
        envelope: &committed.envelope,
        vault: draft.vault.statement.vault,
        label: &draft.request.name,
    };
    match Proof::fetch(&draft.client, wanted).await {
        Err(Error::Unavailable { message }) => {
            tracing::warn!(message, "the snapshot is committed; too few voters have signed its receipt yet");
            Ok(None)
        }
        // Too few of the voters that this machine knows have signed yet.
        Err(Error::Refused { code: "UNAVAILABLE", message, .. }) => {
            tracing::warn!(message, "the snapshot is committed; its receipt is not signed by voters known here yet");
            Ok(None)
        }
        // Turned away at the door, a certificate that ended just now for instance: that says nothing of the snapshot, and
        // "refused" would say that it was not made.
        Err(Error::Refused { code: "UNAUTHENTICATED" | "PERMISSION_DENIED", message, .. }) => {
            tracing::warn!(message, "the snapshot is committed; its receipt is not to be had now");
            Ok(None)
        }
        fetched => fetched.map(Some),
    }
}

/// The session that the client keeps, or a new one.
async fn session_at_home(draft: &Draft) -> Result<Session> {
    let home = draft.topology.home;
    match Session::kept(&draft.client, home, small::KEPT_BYTES_MIN).await {
        Some(kept) => Ok(kept),
        None => Session::open(&draft.client, home, small::BUDGET_BYTES).await,
    }
}

/// Keeps a session in which all went well, or ends it.
async fn leave(session: Arc<Session>, keeps: bool) {
    match Arc::try_unwrap(session) {
        Ok(session) if keeps => session.keep().await,
        Ok(session) => session.end().await,
        Err(shared) => shared.end().await,
    }
}

async fn make_short(
    draft: &Draft,
    session: &mut Arc<Session>,
    reading: &mut Reading,
    tally: &Tally,
    distrust: &Distrust,
) -> Result<Committed> {
    reading.finish().await?;
    let steps = reading.whole().expect("it was whole before");
    small::commit(draft, session, steps, tally, distrust).await
}

async fn make_long(
    draft: &Draft,
    session: &Arc<Session>,
    groups: Vec<GroupId>,
    reading: &mut Reading,
    tally: &Arc<Tally>,
    distrust: &Arc<Distrust>,
) -> Result<Committed> {
    let spread = Spread::open(draft, Arc::clone(session), groups, Arc::clone(tally), Arc::clone(distrust)).await?;
    spread.commit(reading).await
}

/// Whether beginning again can help.
fn is_worth_another(error: &Error, learnt: bool) -> bool {
    match error.reason() {
        Some(
            "LEASE_ENDED" | "SESSION_ENDED" | "SET_VERSION" | "POLICY_MISMATCH" | "VERSION_CONFLICT" | "WITHDRAWN",
        ) => true,
        Some("MANIFEST_MISMATCH") => learnt,
        Some(_) | None => false,
    }
}

fn finish(draft: &Draft, made: Made, tally: &Tally, began: Instant) -> Result<Backup> {
    let Made { committed, receipt } = made;
    let receipt = receipt?;
    let Counted { summary: Summary { files, dirs, links, bytes, skipped }, special, changed } = committed.counted;
    Ok(Backup {
        snapshot: draft.snapshot,
        vault: draft.request.vault.clone(),
        name: draft.request.name.clone(),
        files,
        dirs,
        links,
        special,
        skipped,
        changed,
        bytes,
        bytes_read: tally.bytes_read(),
        files_unchanged: tally.files_unchanged(),
        bytes_unchanged: tally.bytes_unchanged(),
        bytes_sent: tally.bytes_sent(),
        chunks_new: tally.chunks_new(),
        chunks_known: tally.chunks_known(),
        duration: began.elapsed(),
        code: receipt.as_ref().map_or(draft.topology.shard(draft.topology.home)?.code, |proof| proof.receipt.code),
        handed_over: receipt.as_ref().map(|proof| proof.says.handed_over),
        survives: receipt.as_ref().map_or(committed.strength, |proof| proof.says.strength),
        receipt,
    })
}
