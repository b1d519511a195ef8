//! All members of a shard, asked at once: each gives the fragments in its own slot, and blobs are put together here.
//!
//! ```text
//!   some chunks of a run ─▶ member of slot 0 ─▶ data fragments ─┐
//!                        ─▶ member of slot 1 ─▶ …               ├─▶ k of a blob: opened, which is its proof
//!                        ─▶ …                                   │
//!                            absent, late, wrong, suspect ──────┴─▶ back to who asks one member (gathered.rs)
//! ```
//!
//! Bytes pass one connection so, and not two. Only data fragments in their own slots are asked for: parity, what was handed
//! over, and whom to blame are for members that gather.
//!
//! Promises: nothing is called lost here; what does not come together is asked for as a blob; so much is under way
//! at once. Not here: what is asked for (`work.rs`), what comes of blobs (`opening.rs`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use strongroom_format::code::Code;
use strongroom_format::id::Slot;
use strongroom_proto::v1 as pb;
use strongroom_proto::v1::fetch_run_reply::What;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::opening::{Jobs, Opening, Ready, finish};
use super::work::{Asked, Group, Run};
use crate::error::{Error, Result};
use crate::restore::open::Sealed;

/// So many pieces of runs are asked for at once, over all shards (what is under way is lost if the restore is killed), each at most [`DIRECT_BYTES`](super::work::DIRECT_BYTES).
pub(crate) const AT_ONCE: usize = 4;
/// A member that is silent for so long is not waited for.
const SILENCE: Duration = Duration::from_secs(3);

/// Asks all members of a shard at once.
#[derive(Clone)]
pub(crate) struct Direct {
    pub opening: Opening,
    pub work: Arc<Group>,
    pub code: Code,
    /// By slot.
    pub endpoints: Arc<Vec<String>>,
    /// Of all shards.
    pub turns: Arc<Semaphore>,
}

/// Blobs of which fragments come.
struct Coming {
    code: Code,
    pieces: Mutex<BTreeMap<usize, Vec<Option<Bytes>>>>,
}

impl Direct {
    /// Works until nothing is left that all are asked for.
    ///
    /// # Errors
    /// A sink that takes no more, or a key that is false.
    pub(crate) async fn run(self) -> Result<()> {
        let mut asking: JoinSet<Result<()>> = JoinSet::new();
        loop {
            let turn = Arc::clone(&self.turns).acquire_owned().await;
            let turn = turn.map_err(|_| Error::broken("fetching ended"))?;
            let Some(asked) = self.work.next_of_all() else { break };
            let direct = self.clone();
            asking.spawn(async move {
                let _turn = turn;
                let ended = direct.ask(&asked).await;
                direct.work.give_back(asked.ticket);
                ended
            });
            while let Some(ended) = asking.try_join_next() {
                ended.map_err(|panic| Error::failed("fetching broke", panic))??;
            }
        }
        while let Some(ended) = asking.join_next().await {
            ended.map_err(|panic| Error::failed("fetching broke", panic))??;
        }
        Ok(())
    }

    /// Asks for some chunks, and has opened what comes together.
    async fn ask(&self, asked: &Asked) -> Result<()> {
        let nodes = &self.opening.gate().client.0.nodes;
        let mut by_slot: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
        for at in &asked.positions {
            let blob = &asked.run.node.entries[*at].blob;
            let slots: Vec<Slot> = (0..self.code.k).map(|index| self.code.slot_of(blob, index)).collect();
            if slots.iter().any(|slot| nodes.is_suspect(&self.endpoints[usize::from(slot.0)])) {
                self.work.try_again(&asked.run, *at);
                continue;
            }
            for slot in slots {
                by_slot.entry(slot.0.into()).or_default().insert(*at);
            }
        }
        let coming = Coming { code: self.code, pieces: Mutex::default() };
        let coming = &coming;
        let mut calls: FuturesUnordered<_> =
            by_slot.iter().map(|(slot, positions)| self.ask_one(asked, *slot, positions, coming)).collect();
        while let Some(ended) = calls.next().await {
            ended?;
        }
        Ok(())
    }

    /// Asks one member for its fragments. Whatever it does is no error: what it does not give comes otherwise.
    async fn ask_one(&self, asked: &Asked, slot: usize, positions: &BTreeSet<usize>, coming: &Coming) -> Result<()> {
        let endpoint = &self.endpoints[slot];
        let nodes = &self.opening.gate().client.0.nodes;
        let request = self.opening.request(&self.work, &asked.run, positions);
        let request = pb::FetchRunRequest { fragments: true, ..request };
        let mut jobs = Jobs::new();
        let mut to_come = positions.clone();
        let mut stream = match timeout(SILENCE, nodes.fetch_run(endpoint, &request)).await {
            Ok(Ok(Ok(stream))) => stream,
            Ok(Ok(Err(_)) | Err(_)) | Err(_) => {
                nodes.suspect(endpoint);
                return Ok(());
            }
        };
        loop {
            // Others have taken the rest.
            if !to_come.is_empty() && !self.work.wants(asked.ticket) {
                break;
            }
            let message = tokio::select! {
                biased;
                message = timeout(SILENCE, stream.message()) => message,
                () = self.work.wait(2 * SILENCE), if !to_come.is_empty() => continue,
            };
            let message = match message {
                Ok(Ok(Some(message))) => message,
                Ok(Ok(None)) if to_come.is_empty() => {
                    nodes.answered(endpoint);
                    break;
                }
                Ok(Ok(None) | Err(_)) | Err(_) => {
                    tracing::debug!(endpoint, "a member gave no fragments");
                    nodes.suspect(endpoint);
                    break;
                }
            };
            // One answer for each, and nothing but these is progress: who says much and gives nothing is passed over.
            match message.what {
                Some(What::Fragment(pb::FetchedFragment { position, index, payload })) => {
                    let position = position as usize;
                    let is_its_own = to_come.remove(&position)
                        && u8::try_from(index).is_ok_and(|index| {
                            let blob = &asked.run.node.entries[position].blob;
                            usize::from(self.code.slot_of(blob, index).0) == slot && index < self.code.k
                        });
                    if !is_its_own {
                        break;
                    }
                    self.work.came(asked.ticket);
                    if let Some(pieces) = coming.came(&asked.run, position, index as usize, payload) {
                        self.take(asked, position, Sealed::Pieces(pieces), &mut jobs).await?;
                    }
                }
                Some(What::Lost(lost)) => {
                    if !to_come.remove(&(lost.position as usize)) {
                        break;
                    }
                    self.work.came(asked.ticket);
                    self.work.try_again(&asked.run, lost.position as usize);
                }
                // The last thing that a member says.
                Some(What::Stats(_)) | None if to_come.is_empty() => {
                    nodes.answered(endpoint);
                    break;
                }
                Some(What::Stats(_)) | None => {
                    nodes.suspect(endpoint);
                    break;
                }
                // A node that knows nothing of fragments.
                Some(What::Blob(_)) => break,
            }
        }
        drop(stream);
        finish(jobs).await
    }

    /// Has a blob opened whose data fragments are all here.
    async fn take(&self, asked: &Asked, position: usize, sealed: Sealed, jobs: &mut Jobs) -> Result<()> {
        let run = &asked.run;
        let Ok(dek) = sealed.dek() else {
            self.work.try_again(run, position);
            return Ok(());
        };
        // One that nobody knows may be a fragment's lie: whoever gathers finds out.
        let Ok(dek) = self.opening.gate().dek(dek).await else {
            self.work.try_again(run, position);
            return Ok(());
        };
        if run.claim(position) {
            let (work, of) = (Arc::clone(&self.work), Arc::clone(run));
            let wrong = move |why: &str| {
                tracing::debug!(position, why, "data fragments gave another blob");
                work.try_again(&of, position);
                Ok(())
            };
            let ready = Ready { run: Arc::clone(run), position, dek, sealed };
            self.opening.open(&self.work, ready, jobs, wrong).await?;
        }
        Ok(())
    }
}

impl Coming {
    /// Takes one fragment, and gives all data fragments of its blob once they are here. Another length than a fragment of
    /// this blob has, or a second one, is as if nothing had come.
    fn came(&self, run: &Run, position: usize, index: usize, payload: Bytes) -> Option<Vec<Bytes>> {
        let fragment_bytes = self.code.fragment_bytes(run.node.entries[position].stored_bytes) as usize;
        if payload.len() != fragment_bytes {
            return None;
        }
        let mut coming = self.pieces.lock().unwrap_or_else(PoisonError::into_inner);
        let pieces = coming.entry(position).or_insert_with(|| vec![None; self.code.k.into()]);
        pieces[index] = Some(payload);
        if pieces.iter().any(Option::is_none) {
            return None;
        }
        coming.remove(&position).map(|pieces| pieces.into_iter().flatten().collect())
    }
}
