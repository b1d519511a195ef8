//! Blobs go out: any `k` good fragments of each, from whoever has them, and the blob's own hash judges.
//!
//! ```text
//!   wanted ─▶ whom to ask (holders.rs) ─▶ this disk, and one call a member ─▶ fragments
//!     ▲                                                                          │ k of a blob are here
//!     │ damaged, absent, late, wrong: others                                     ▼
//!     └─────────────────────────────────────────────────── solve (coding lane): blob = its id ─▶ out
//! ```
//!
//! Promises: what comes out has the hash that it was wanted by; a bad fragment is counted and others are tried; a member
//! that is slow is not waited for longer than [`HEDGE_AFTER`] while others could serve. What is gathered at once is
//! bounded by whoever calls (a batch), and no call to a member carries bytes of two tenants.
//!
//! Not here: which blobs a run has and who may have them (`restore.rs`).

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{BoxStream, FuturesUnordered, SelectAll};
use futures_util::{Stream, StreamExt};
use strongroom_format::id::{BlobId, Digest, NodeName, Slot, TenantId};
use strongroom_peers::fault::FetchFault;
use strongroom_peers::message::{FragmentFound, FragmentsWanted};
use strongroom_peers::peers::Peers;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::coders::Coders;
use crate::holders::{Ask, Holders, SUSPECT, Wanted};
use crate::members::Members;
use crate::metrics;
use crate::solve::{Given, Solved, solve};
use crate::topology::Shard;
use crate::wrong::Wrong;

/// When nothing has come for so long, others are asked too.
pub const HEDGE_AFTER: Duration = Duration::from_millis(400);
/// A member that sends nothing for so long sends nothing more.
const EACH_MAX: Duration = Duration::from_secs(10);

/// What was met on the way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GatherStats {
    /// Fragments that were absent, damaged or wrong.
    pub fragments_bad: u64,
    /// Blobs that took more than data fragments.
    pub blobs_rebuilt: u64,
}

/// A blob, or that it is lost, by its place in what was wanted.
#[derive(Clone, Debug)]
pub struct Gathered {
    /// Its place.
    pub at: usize,
    /// The blob, or why it is not there.
    pub blob: Result<Bytes, NotGathered>,
}

/// Why a blob did not come together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotGathered {
    /// Everybody who should have a fragment has said what it has: too few are good.
    Lost,
    /// Somebody who should have a fragment did not say: it may come back.
    Away,
}

/// A fragment that lies here, by its blob's place in what was wanted.
pub struct Own {
    /// Its blob's place.
    pub at: usize,
    /// Which.
    pub index: u8,
    /// Its bytes, or why they are not there.
    pub found: Result<FragmentFound, FetchFault>,
}

/// Gathers blobs. Clones are the same.
#[derive(Clone)]
pub struct Gather {
    me: NodeName,
    peers: Peers,
    members: Members,
    coders: Coders,
    wrong: Wrong,
}

/// What one member answers: which blob and fragment, and what came of it.
struct Came {
    blob: usize,
    index: u8,
    from: NodeName,
    found: Result<FragmentFound, FetchFault>,
    /// The member itself failed: nothing is said about the fragment.
    by_node: bool,
}

type Answers = Pin<Box<dyn Stream<Item = Came> + Send>>;

/// One blob under way.
struct UnderWay {
    holders: Holders,
    /// What each fragment that came should hash to, and who gave it.
    given: BTreeMap<u8, (Digest, NodeName)>,
    /// Fragments came since the last attempt.
    news: bool,
    solving: bool,
    done: bool,
    /// A member that should have a fragment did not answer.
    away: bool,
}

impl Gather {
    /// On node `me`, whose own fragments `members` reads.
    pub fn new(me: NodeName, peers: Peers, members: Members, coders: Coders) -> Self {
        Self { me, peers, members, coders, wrong: Wrong::default() }
    }

    /// Whether this node has a member in the shard: only members give each other fragments.
    pub fn is_member(&self, shard: &Shard) -> bool {
        shard.member(&self.me).is_some()
    }

    /// Gathers all of `wanted`, which the caller keeps small, and sends each as it is ready. Ends early when nobody
    /// receives any more.
    pub async fn gather(
        &self,
        shard: &Arc<Shard>,
        tenant: TenantId,
        wanted: &[Wanted],
        out: &mpsc::Sender<Gathered>,
    ) -> GatherStats {
        let mut stats = GatherStats::default();
        let mut blobs: Vec<UnderWay> = wanted
            .iter()
            .map(|one| UnderWay {
                holders: Holders::new(shard.code, one, |slot| self.distance(shard, slot)),
                given: BTreeMap::new(),
                news: false,
                solving: false,
                done: false,
                away: false,
            })
            .collect();
        let mut answers: SelectAll<Answers> = SelectAll::new();
        let mut solving = FuturesUnordered::new();
        let mut left = blobs.len();
        // Nothing is under way and nothing can be asked for: what is left is lost.
        let mut stuck = false;
        let asks = blobs.iter_mut().enumerate().flat_map(|(at, blob)| with_blob(at, blob.holders.wants())).collect();
        self.ask(shard, tenant, wanted, asks, &mut answers);
        while left != 0 {
            tokio::select! {
                biased;
                Some((at, solved)) = solving.next(), if !solving.is_empty() => {
                    let blob: &mut UnderWay = &mut blobs[at];
                    blob.solving = false;
                    match solved {
                        Ok(Solved::Blob { blob: bytes, bad, rebuilt }) => {
                            self.mark(shard, blob, &bad);
                            stats.fragments_bad += bad.len() as u64;
                            stats.blobs_rebuilt += u64::from(rebuilt);
                            metrics::fragments_bad(bad.len() as u64);
                            metrics::blob_gathered(shard.group.0, rebuilt);
                            blob.done = true;
                            left -= 1;
                            if out.send(Gathered { at, blob: Ok(bytes) }).await.is_err() {
                                return stats;
                            }
                        }
                        Ok(Solved::Nothing { bad }) => {
                            self.mark(shard, blob, &bad);
                            stats.fragments_bad += bad.len() as u64;
                            metrics::fragments_bad(bad.len() as u64);
                            let is_puzzle = bad.is_empty();
                            bad.into_iter().for_each(|index| blob.holders.discard(index));
                            let asks = if is_puzzle { blob.holders.one_more() } else { blob.holders.wants() };
                            self.ask(shard, tenant, wanted, with_blob(at, asks), &mut answers);
                        }
                        // The lanes have ended: so does the process.
                        Err(_) => return stats,
                    }
                }
                Some(came) = answers.next(), if !answers.is_empty() => {
                    let Came { blob: at, index, from, found, by_node } = came;
                    let blob = &mut blobs[at];
                    if blob.done {
                        continue;
                    }
                    match found {
                        Ok(found) => {
                            blob.given.insert(index, (found.payload_hash, from));
                            blob.holders.came(index, found.payload);
                            blob.news = true;
                        }
                        Err(fault) => {
                            if !by_node && matches!(fault, FetchFault::Absent | FetchFault::Damaged) {
                                stats.fragments_bad += 1;
                                metrics::fragments_bad(1);
                            } else {
                                blob.away = true;
                            }
                            blob.holders.failed();
                            let asks = blob.holders.wants();
                            self.ask(shard, tenant, wanted, with_blob(at, asks), &mut answers);
                        }
                    }
                }
                () = tokio::time::sleep(HEDGE_AFTER), if !answers.is_empty() || solving.is_empty() => {
                    let mut asks = Vec::new();
                    for (at, blob) in blobs.iter_mut().enumerate().filter(|(_, blob)| !blob.done && !blob.solving) {
                        asks.extend(with_blob(at, blob.holders.hedge()));
                    }
                    stuck = asks.is_empty() && answers.is_empty() && solving.is_empty();
                    self.ask(shard, tenant, wanted, asks, &mut answers);
                }
            }
            for (at, blob) in blobs.iter_mut().enumerate().filter(|(_, blob)| !blob.done && !blob.solving) {
                if let Some(given) = blob.try_again() {
                    let (code, id, bytes) = (shard.code, wanted[at].blob, wanted[at].blob_bytes);
                    let coders = self.coders.clone();
                    solving.push(async move { (at, coders.run(move || solve(code, &id, bytes, &given)).await) });
                } else if stuck || blob.holders.is_exhausted() {
                    blob.done = true;
                    left -= 1;
                    let why = if blob.away { NotGathered::Away } else { NotGathered::Lost };
                    if why == NotGathered::Lost {
                        metrics::blob_lost();
                        tracing::warn!(shard = %shard.group, blob = %wanted[at].blob, "too few good fragments of a blob");
                    }
                    if out.send(Gathered { at, blob: Err(why) }).await.is_err() {
                        return stats;
                    }
                }
            }
        }
        stats
    }

    /// What lies of each of these blobs in this node's own slot of the shard, in any order. Nobody else is asked, and
    /// what was handed over to this node is not looked for.
    pub fn own(&self, shard: &Shard, tenant: TenantId, blobs: Vec<BlobId>) -> BoxStream<'static, Own> {
        let Some(slot) = shard.member(&self.me).map(|me| me.slot) else { return futures_util::stream::empty().boxed() };
        let index_in = |blob: &BlobId| shard.code.index_in(slot, blob).expect("a member's slot is one of the code's");
        let wanted: Vec<(BlobId, u8)> = blobs.into_iter().map(|blob| (blob, index_in(&blob))).collect();
        let indexes: Vec<u8> = wanted.iter().map(|(_, index)| *index).collect();
        let found = self.members.get(self.me.clone(), FragmentsWanted { group: shard.group, tenant, wanted });
        found.map(move |(at, found)| Own { at: at as usize, index: indexes[at as usize], found }).boxed()
    }

    /// Remembers who gave these fragments, which are wrong.
    fn mark(&self, shard: &Shard, blob: &UnderWay, bad: &[u8]) {
        for (_, node) in bad.iter().filter_map(|index| blob.given.get(index)) {
            self.wrong.mark(node, shard.group, Instant::now());
        }
    }

    /// Asks everybody for what was chosen, in one call each.
    fn ask(
        &self,
        shard: &Arc<Shard>,
        tenant: TenantId,
        wanted: &[Wanted],
        asks: Vec<(usize, Ask)>,
        answers: &mut SelectAll<Answers>,
    ) {
        let mut by_slot: BTreeMap<u8, Vec<(usize, u8)>> = BTreeMap::new();
        for (at, ask) in asks {
            by_slot.entry(ask.slot.0).or_default().push((at, ask.index));
        }
        for (slot, places) in by_slot {
            let Some(member) = shard.slot(Slot(slot)) else { continue };
            for places in places.chunks(FragmentsWanted::AT_ONCE_MAX) {
                let request = FragmentsWanted {
                    group: shard.group,
                    tenant,
                    wanted: places.iter().map(|(at, index)| (wanted[*at].blob, *index)).collect(),
                };
                let answer = if member.node == self.me {
                    here(&self.members, self.me.clone(), request, places.to_vec())
                } else {
                    there(self.peers.clone(), member.node.clone(), request, places.to_vec())
                };
                answers.push(answer);
            }
        }
    }

    /// This node, then its region, then the others; who is suspect, or gave wrong fragments lately, comes last.
    fn distance(&self, shard: &Shard, slot: Slot) -> u32 {
        let Some(member) = shard.slot(slot) else { return u32::MAX };
        let is_wrong = self.wrong.is_marked(&member.node, Instant::now());
        if member.node == self.me {
            return if is_wrong { SUSPECT } else { 0 };
        }
        let my_region = shard.member(&self.me).map(|mine| &mine.region);
        let region = if my_region == Some(&member.region) { 1 } else { 2 };
        region + if is_wrong || self.peers.is_suspect(&member.node) { SUSPECT } else { 0 }
    }
}

impl UnderWay {
    /// What to try to make the blob of, if there is enough and something new among it.
    fn try_again(&mut self) -> Option<Vec<Given>> {
        if !self.news {
            return None;
        }
        let fragments = self.holders.enough()?;
        self.news = false;
        self.solving = true;
        let given = fragments.into_iter().map(|(index, payload)| {
            let (payload_hash, _) = *self.given.get(&index).expect("it is written down with the fragment");
            Given { index, payload_hash, payload }
        });
        Some(given.collect())
    }
}

fn with_blob(at: usize, asks: Vec<Ask>) -> Vec<(usize, Ask)> {
    asks.into_iter().map(|ask| (at, ask)).collect()
}

/// Reads from this disk.
fn here(members: &Members, me: NodeName, request: FragmentsWanted, places: Vec<(usize, u8)>) -> Answers {
    let found = members.get(me.clone(), request).map(move |(at, found)| {
        let (blob, index) = places[at as usize];
        Came { blob, index, from: me.clone(), found, by_node: false }
    });
    Box::pin(found)
}

/// What is left to be answered by a member.
struct There {
    peers: Peers,
    node: NodeName,
    request: Option<FragmentsWanted>,
    incoming: Option<strongroom_peers::peers::Fragments>,
    /// By place in the request; `None`: answered.
    places: Vec<Option<(usize, u8)>>,
}

/// Asks a member. Whatever happens to the call, every place is answered once.
fn there(peers: Peers, node: NodeName, request: FragmentsWanted, places: Vec<(usize, u8)>) -> Answers {
    let places = places.into_iter().map(Some).collect();
    let there = There { peers, node, request: Some(request), incoming: None, places };
    Box::pin(futures_util::stream::unfold(there, |mut there| async move {
        let came = there.next().await?;
        Some((came, there))
    }))
}

impl There {
    async fn next(&mut self) -> Option<Came> {
        if let Some(request) = self.request.take() {
            match self.peers.get_fragments(&self.node, &request, EACH_MAX).await {
                Ok(incoming) => self.incoming = Some(incoming),
                Err(error) => tracing::debug!(node = %self.node, %error, "a member gives no fragments"),
            }
        }
        while let Some(incoming) = &mut self.incoming {
            match incoming.next().await {
                Some(Ok((at, found))) => {
                    // An answer to nothing that was asked, or a second one, is passed over.
                    if let Some((blob, index)) = self.places.get_mut(at as usize).and_then(Option::take) {
                        return Some(Came { blob, index, from: self.node.clone(), found, by_node: false });
                    }
                }
                Some(Err(error)) => {
                    tracing::debug!(node = %self.node, %error, "a member stopped giving fragments");
                    self.incoming = None;
                }
                None => self.incoming = None,
            }
        }
        let (blob, index) = self.places.iter_mut().find_map(Option::take)?;
        Some(Came { blob, index, from: self.node.clone(), found: Err(FetchFault::Failed), by_node: true })
    }
}
