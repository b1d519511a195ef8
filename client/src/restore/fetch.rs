//! Fetching runs from all members of all shards at once.
//!
//! ```text
//!   runs of a shard ─▶ waiting ─▶ member 1 ─ FetchRun ═▶ open, verify ─▶ sink
//!                        │  ▲ └─▶ member 2 ─ …                │
//!                        │  └──── what failed, for others ◀───┘
//!                        └──── nothing waits: take half of what the slowest still has; it is stopped when all it has
//!                              left was taken
//! ```
//!
//! Promises: every wanted chunk is given to the sink once, verified, or reported lost after every member that answers
//! has failed to give it, twice; what lies with members that are away is waited for, and is never called lost; one bad member costs its own runs a second try and nothing else (N41, N98, N146);
//! memory is bounded by the streams' windows and the chunks being opened. Not here: what chunks are for.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use strongroom_format::command::BlobRef;
use strongroom_format::id::GroupId;
use strongroom_format::seal::Kind;
use strongroom_format::tree::LeafEntry;
use strongroom_proto::v1 as pb;
use strongroom_proto::v1::fetch_run_reply::What;
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tonic::Code;

use super::gate::Gate;
use super::index::RunNode;
use super::open::{NotTaken, dek_of, take};
use crate::error::{Answered, Error, Result, answered};

/// Blobs that wait to be opened, and what they are opened into, take at most so many bytes for each that is opened at once:
/// what waits is lost if the restore is killed.
const MEMORY_BYTES_EACH: usize = 8 << 20;
/// All together at most so many.
const MEMORY_BYTES_MAX: usize = 64 << 20;
/// A member sends so many streams at once, of all shards in turn: they share one window, and each has a blob on its way to it.
const STREAMS_PER_MEMBER: usize = 1;
/// A member that is silent for so long is passed over.
const SILENCE: Duration = Duration::from_secs(10);
/// A member that failed rests so long, twice as long each time,
const REST: Duration = Duration::from_millis(200);
/// at most so long.
const REST_MAX: Duration = Duration::from_secs(5);
/// A member that had no good copy of a chunk is asked for it again after so long: others may have come back meanwhile.
const AGAIN: Duration = Duration::from_millis(500);
/// Who has so many chunks still to give shares them with who has nothing to do,
const WORTH_SHARING: usize = 8;
/// and whoever takes so long shares even the last.
const SLOW: Duration = Duration::from_millis(500);
/// A member asks for so many chunks of a run at once, so that runs can be shared.
const POSITIONS_AT_ONCE: usize = 64;
/// The same where the rate is bounded: what is asked for is not taken back, so less is asked for.
const POSITIONS_AT_ONCE_THROTTLED: usize = 4;
/// Each member may fail so often with one chunk.
const FAILURES_PER_MEMBER: usize = 2;

/// What happens to chunks. Called from threads that may block.
pub(crate) trait Sink: Send + Sync + 'static {
    /// A verified chunk of a wanted run.
    fn take(&self, run: usize, position: usize, plaintext: Vec<u8>) -> Result<()>;
    /// A chunk that nobody has.
    fn lose(&self, run: usize, position: usize, why: &str) -> Result<()>;
}

/// A run, and which of its chunks are wanted.
pub(crate) struct WantedRun {
    /// The caller's number for it.
    pub number: usize,
    pub group: GroupId,
    pub node: RunNode,
    /// Ascending.
    pub positions: Vec<usize>,
}

/// What nodes said about their own troubles.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stats {
    pub fragments_bad: u64,
    pub blobs_rebuilt: u64,
}

/// What a fetch found out besides chunks.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub stats: Stats,
    /// Blobs that do not open to their chunk, by nobody's fault but their maker's.
    pub bad_blobs: BTreeSet<BlobRef>,
}

/// Fetches everything, from all members at once.
pub(crate) async fn fetch(gate: &Arc<Gate>, kind: Kind, wanted: Vec<WantedRun>, sink: Arc<dyn Sink>) -> Result<Found> {
    let mut by_group: BTreeMap<GroupId, Vec<WantedRun>> = BTreeMap::new();
    for run in wanted {
        if !run.positions.is_empty() {
            by_group.entry(run.group).or_default().push(run);
        }
    }
    let topology = gate.client.topology();
    let at_once = std::thread::available_parallelism().map_or(2, usize::from) + 1;
    let shared = Arc::new(Shared {
        gate: Arc::clone(gate),
        kind,
        sink,
        opening: Semaphore::new(at_once),
        memory: Arc::new(Semaphore::new((at_once * MEMORY_BYTES_EACH).min(MEMORY_BYTES_MAX))),
        fragments_bad: AtomicU64::new(0),
        blobs_rebuilt: AtomicU64::new(0),
        bad_blobs: Mutex::default(),
    });
    let pace = if gate.throttle.is_bounded() { Pace::Throttled } else { Pace::Free };
    let mut tasks = JoinSet::new();
    let mut streams: BTreeMap<String, Arc<Semaphore>> = BTreeMap::new();
    for (group, runs) in by_group {
        let members = topology.shard(group)?.members.clone();
        let work = Arc::new(Group {
            group,
            members: members.len(),
            state: Mutex::new(GroupState::new(runs, pace)),
            ended: Notify::new(),
        });
        for (number, member) in members.into_iter().enumerate() {
            let streams =
                streams.entry(member.endpoint.clone()).or_insert_with(|| Arc::new(Semaphore::new(STREAMS_PER_MEMBER)));
            let worker = Worker {
                shared: Arc::clone(&shared),
                work: Arc::clone(&work),
                number,
                endpoint: member.endpoint,
                streams: Arc::clone(streams),
            };
            tasks.spawn(worker.run());
        }
    }
    while let Some(ended) = tasks.join_next().await {
        ended.map_err(|panic| Error::failed("fetching broke", panic))??;
    }
    let bad_blobs = std::mem::take(&mut *shared.bad_blobs.lock().unwrap_or_else(PoisonError::into_inner));
    let stats = Stats {
        fragments_bad: shared.fragments_bad.load(Ordering::Relaxed),
        blobs_rebuilt: shared.blobs_rebuilt.load(Ordering::Relaxed),
    };
    Ok(Found { stats, bad_blobs })
}

struct Shared {
    gate: Arc<Gate>,
    kind: Kind,
    sink: Arc<dyn Sink>,
    /// Chunks that are opened and written at once.
    opening: Semaphore,
    memory: Arc<Semaphore>,
    fragments_bad: AtomicU64,
    blobs_rebuilt: AtomicU64,
    bad_blobs: Mutex<BTreeSet<BlobRef>>,
}

/// A shard's runs and who works on them.
struct Group {
    group: GroupId,
    members: usize,
    state: Mutex<GroupState>,
    /// Nothing is open any more.
    ended: Notify,
}

/// How fast chunks may come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pace {
    /// As fast as they can: a slow member is helped.
    Free,
    /// At a rate that we keep: all members are slow, and nothing may come twice.
    Throttled,
}

struct GroupState {
    pace: Pace,
    waiting: VecDeque<Task>,
    /// By ticket: what members were asked for and have not given. No chunk stands in two tasks.
    taken: BTreeMap<u64, Task>,
    next_ticket: u64,
    /// When a member last answered.
    heard: Instant,
    /// Chunks that are neither had nor lost.
    open: usize,
}

/// Some chunks of one run.
struct Task {
    run: Arc<Run>,
    positions: BTreeSet<usize>,
    since: Instant,
}

struct Run {
    number: usize,
    node: RunNode,
    state: Mutex<BTreeMap<usize, Chunk>>,
}

/// A wanted chunk.
#[derive(Default)]
struct Chunk {
    /// Being opened, had, or lost.
    done: bool,
    /// Members that failed: how often, and when last.
    failures: BTreeMap<usize, (usize, Instant)>,
    /// Since when it lies with members that are away.
    away_since: Option<Instant>,
}

impl GroupState {
    fn new(runs: Vec<WantedRun>, pace: Pace) -> Self {
        let at_once = match pace {
            Pace::Free => POSITIONS_AT_ONCE,
            Pace::Throttled => POSITIONS_AT_ONCE_THROTTLED,
        };
        let mut waiting = VecDeque::new();
        let mut open = 0;
        for WantedRun { number, node, positions, .. } in runs {
            open += positions.len();
            let chunks = positions.iter().map(|position| (*position, Chunk::default())).collect();
            let run = Arc::new(Run { number, node, state: Mutex::new(chunks) });
            for some in positions.chunks(at_once) {
                waiting.push_back(Task::new(Arc::clone(&run), some.iter().copied().collect()));
            }
        }
        Self { pace, waiting, taken: BTreeMap::new(), next_ticket: 0, heard: Instant::now(), open }
    }

    /// The next thing to do for a member: what waits and it has not just failed with; else half of what another takes
    /// long for.
    fn next(&mut self, member: usize) -> Option<(u64, Arc<Run>, BTreeSet<usize>)> {
        if let Some(task) =
            self.waiting.iter().position(|task| task.suits(member)).and_then(|at| self.waiting.remove(at))
        {
            return Some(self.hand_out(task));
        }
        if self.pace == Pace::Throttled {
            return None;
        }
        let is_slow = |left: usize, since: Instant| WORTH_SHARING <= left || (0 < left && SLOW <= since.elapsed());
        let slowest =
            self.taken.values_mut().filter(|task| is_slow(task.left().len(), task.since) && task.suits(member));
        let slowest = slowest.max_by_key(|task| task.left().len())?;
        let left = slowest.left();
        let half: BTreeSet<usize> = left[left.len() / 2..].iter().copied().collect();
        slowest.positions.retain(|position| !half.contains(position));
        let task = Task::new(Arc::clone(&slowest.run), half);
        Some(self.hand_out(task))
    }

    fn hand_out(&mut self, task: Task) -> (u64, Arc<Run>, BTreeSet<usize>) {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        let handed = (ticket, Arc::clone(&task.run), task.positions.clone());
        self.taken.insert(ticket, Task { since: Instant::now(), ..task });
        handed
    }

    /// Whether anything that was handed out under a ticket is not had yet, and not taken by others.
    fn wants(&self, ticket: u64) -> bool {
        self.taken.get(&ticket).is_some_and(|task| !task.left().is_empty())
    }

    /// Puts back what a member did not give.
    fn give_back(&mut self, ticket: u64) {
        let Some(task) = self.taken.remove(&ticket) else { return };
        let positions: BTreeSet<usize> = task.left().into_iter().collect();
        if !positions.is_empty() {
            self.waiting.push_back(Task::new(task.run, positions));
        }
    }

    /// Puts back one chunk with which a member failed, whoever has it now.
    fn try_again(&mut self, run: &Arc<Run>, position: usize) {
        for task in self.taken.values_mut().chain(&mut self.waiting) {
            if Arc::ptr_eq(&task.run, run) {
                task.positions.remove(&position);
            }
        }
        self.taken.retain(|_, task| !task.positions.is_empty());
        self.waiting.retain(|task| !task.positions.is_empty());
        self.waiting.push_back(Task::new(Arc::clone(run), BTreeSet::from([position])));
    }
}

impl Task {
    fn new(run: Arc<Run>, positions: BTreeSet<usize>) -> Self {
        Self { run, positions, since: Instant::now() }
    }

    /// What nobody has yet.
    fn left(&self) -> Vec<usize> {
        let chunks = self.run.chunks();
        self.positions.iter().copied().filter(|at| chunks.get(at).is_some_and(|chunk| !chunk.done)).collect()
    }

    /// Whether a member has not failed with it a moment ago.
    fn suits(&self, member: usize) -> bool {
        let chunks = self.run.chunks();
        let failed = |chunk: &Chunk| chunk.failures.get(&member).is_some_and(|(_, at)| at.elapsed() < AGAIN);
        !self.positions.iter().any(|at| chunks.get(at).is_some_and(failed))
    }
}

impl Run {
    fn chunks(&self) -> MutexGuard<'_, BTreeMap<usize, Chunk>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Claims a chunk for opening; `false` if it is had already.
    fn claim(&self, position: usize) -> bool {
        match self.chunks().get_mut(&position) {
            Some(chunk) if !chunk.done => {
                chunk.done = true;
                true
            }
            Some(_) | None => false,
        }
    }
}

struct Worker {
    shared: Arc<Shared>,
    work: Arc<Group>,
    number: usize,
    endpoint: String,
    /// Of this member, over all shards.
    streams: Arc<Semaphore>,
}

/// Why a member gave no more.
enum Silent {
    /// For now.
    Now(String),
    /// For good: nobody else would.
    Refused(Error),
}

impl From<Error> for Silent {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}

impl Worker {
    async fn run(self) -> Result<()> {
        let mut rest = REST;
        loop {
            let (next, open, heard) = {
                let mut state = self.work.lock();
                (state.next(self.number), state.open, state.heard)
            };
            if open == 0 {
                return Ok(());
            }
            let Some((ticket, run, positions)) = next else {
                // What others hold may come back.
                self.work.wait(Duration::from_millis(100)).await;
                continue;
            };
            let ended = self.ask(ticket, &run, &positions).await;
            self.work.lock().give_back(ticket);
            match ended {
                Ok(()) => rest = REST,
                Err(Silent::Refused(error)) => return Err(error),
                Err(Silent::Now(text)) => {
                    tracing::debug!(endpoint = self.endpoint, text, "a member gave no run");
                    if self.shared.gate.client.patience() < heard.elapsed() {
                        return Err(Error::Unavailable { message: format!("{}: {text}", self.endpoint) });
                    }
                    self.work.wait(rest).await;
                    rest = (2 * rest).min(REST_MAX);
                }
            }
        }
    }

    /// Asks the member for some chunks of a run, and takes what it gives.
    async fn ask(&self, ticket: u64, run: &Arc<Run>, positions: &BTreeSet<usize>) -> std::result::Result<(), Silent> {
        let gate = &self.shared.gate;
        let nodes = &gate.client.0.nodes;
        let whole = positions.len() == run.node.entries.len();
        let request = pb::FetchRunRequest {
            group: self.work.group.0,
            restore: gate.restore.0,
            vault: Bytes::copy_from_slice(gate.envelope.vault.as_bytes()),
            domain: Bytes::copy_from_slice(gate.envelope.domain.as_bytes()),
            leaf: Bytes::copy_from_slice(run.node.leaf.as_bytes()),
            positions: if whole { Vec::new() } else { positions.iter().map(|at| *at as u32).collect() },
        };
        let _stream = self.streams.acquire().await.map_err(|_| Error::broken("fetching ended"))?;
        let silent = || Silent::Now("no answer in time".into());
        let opened = timeout(SILENCE, nodes.fetch_run(&self.endpoint, &request)).await.map_err(|_| silent())??;
        let mut stream = opened.map_err(|status| self.broken(&status))?;
        let mut opening = JoinSet::new();
        let mut to_come = positions.len();
        let ended = loop {
            // Others have taken the rest: what it would still send has come already, or comes from them.
            if 0 < to_come && !self.work.lock().wants(ticket) {
                break Ok(());
            }
            let message = match timeout(SILENCE, stream.message()).await {
                Ok(Ok(Some(message))) => message,
                Ok(Ok(None)) => break Ok(()),
                Ok(Err(status)) => break Err(self.broken(&status)),
                Err(_elapsed) => break Err(silent()),
            };
            self.work.lock().heard = Instant::now();
            match message.what {
                Some(What::Blob(blob)) => {
                    to_come = to_come.saturating_sub(1);
                    self.shared.gate.throttle.take(blob.blob.len() as u64).await;
                    if let Err(silent) = self.take(run, positions, blob, &mut opening).await {
                        break Err(silent);
                    }
                }
                Some(What::Lost(lost)) => {
                    to_come = to_come.saturating_sub(1);
                    let position = lost.position as usize;
                    match (positions.contains(&position), lost.away) {
                        (true, true) => self.wait_for(run, position, &lost.why)?,
                        (true, false) => self.fail(run, position, &lost.why)?,
                        (false, _) => {}
                    }
                }
                Some(What::Stats(stats)) => {
                    self.shared.fragments_bad.fetch_add(stats.fragments_bad, Ordering::Relaxed);
                    self.shared.blobs_rebuilt.fetch_add(stats.blobs_rebuilt, Ordering::Relaxed);
                }
                None => {}
            }
        };
        drop(stream);
        while let Some(done) = opening.join_next().await {
            let done: Result<()> = done.map_err(|panic| Error::failed("opening broke", panic))?;
            done?;
        }
        if ended.is_ok() {
            nodes.answered(&self.endpoint);
        }
        ended
    }

    /// Has one blob opened, verified and given to the sink on a thread that may block.
    async fn take(
        &self,
        run: &Arc<Run>,
        positions: &BTreeSet<usize>,
        fetched: pb::FetchedBlob,
        opening: &mut JoinSet<Result<()>>,
    ) -> std::result::Result<(), Silent> {
        let position = fetched.position as usize;
        if !positions.contains(&position) {
            return Err(Silent::Now("it gave what nobody asked for".into()));
        }
        let dek = match dek_of(&fetched.blob) {
            Ok(dek) => dek,
            Err(fault) => {
                self.fail(run, position, &fault.to_string())?;
                return Ok(());
            }
        };
        // A blob that names a key nobody has is not the one that we want; one whose wrap is false stops everything.
        let dek = self.shared.gate.dek(dek).await?;
        if !run.claim(position) {
            return Ok(());
        }
        let shared = Arc::clone(&self.shared);
        let (worker, run) = (self.clone(), Arc::clone(run));
        while let Some(done) = opening.try_join_next() {
            let done: Result<()> = done.map_err(|panic| Error::failed("opening broke", panic))?;
            done?;
        }
        let held = fetched.blob.len() + run.node.plaintext_bytes[position] as usize;
        let held = u32::try_from(held).expect("a blob and its chunk have a few MiB");
        let room = Arc::clone(&shared.memory).acquire_many_owned(held).await;
        let room = room.map_err(|_| Error::broken("opening ended"))?;
        opening.spawn(async move {
            let _room = room;
            let _turn = shared.opening.acquire().await.map_err(|_| Error::broken("opening ended"))?;
            let opened = tokio::task::spawn_blocking(move || worker.open(&run, position, &dek, &fetched.blob)).await;
            opened.map_err(|panic| Error::failed("opening broke", panic))?
        });
        Ok(())
    }

    fn open(&self, run: &Arc<Run>, position: usize, dek: &strongroom_format::seal::Dek, blob: &[u8]) -> Result<()> {
        let gate = &self.shared.gate;
        let entry: &LeafEntry = &run.node.entries[position];
        let context = gate.context(dek.id(), entry.chunk, run.node.plaintext_bytes[position]);
        match take(dek, self.shared.kind, &gate.keys.id_key, &context, entry, blob) {
            Ok(plaintext) => {
                self.shared.sink.take(run.number, position, plaintext)?;
                self.work.close_one();
                Ok(())
            }
            Err(NotTaken::BadBlob(why)) => {
                let bad = BlobRef { chunk: entry.chunk, blob: entry.blob };
                self.shared.bad_blobs.lock().unwrap_or_else(PoisonError::into_inner).insert(bad);
                // Every member has the same bytes: nobody else need be asked.
                self.shared.sink.lose(run.number, position, &why)?;
                self.work.close_one();
                Ok(())
            }
            Err(NotTaken::AnotherBlob(why)) => {
                if let Some(chunk) = run.chunks().get_mut(&position) {
                    chunk.done = false;
                }
                self.fail(run, position, &why)
            }
        }
    }

    /// Notes that members which hold a chunk are away: others, and they, are asked again until patience ends.
    fn wait_for(&self, run: &Arc<Run>, position: usize, why: &str) -> Result<()> {
        {
            let mut chunks = run.chunks();
            let Some(chunk) = chunks.get_mut(&position).filter(|chunk| !chunk.done) else { return Ok(()) };
            chunk.failures.entry(self.number).or_insert((0, Instant::now())).1 = Instant::now();
            let since = *chunk.away_since.get_or_insert_with(Instant::now);
            if self.shared.gate.client.patience() < since.elapsed() {
                return Err(Error::Unavailable { message: format!("{why}; start them and restore again") });
            }
        }
        self.work.lock().try_again(run, position);
        Ok(())
    }

    /// Notes that this member has no good copy of a chunk; after everybody failed it is lost.
    fn fail(&self, run: &Arc<Run>, position: usize, why: &str) -> Result<()> {
        let is_lost = {
            let mut chunks = run.chunks();
            let Some(chunk) = chunks.get_mut(&position).filter(|chunk| !chunk.done) else { return Ok(()) };
            let (times, at) = chunk.failures.entry(self.number).or_insert((0, Instant::now()));
            *times += 1;
            *at = Instant::now();
            let tried = chunk.failures.values().filter(|(times, _)| FAILURES_PER_MEMBER <= *times).count();
            let all: usize = chunk.failures.values().map(|(times, _)| times).sum();
            // Members that do not answer fail nothing; after enough failures of the others they are not waited for.
            chunk.done = self.work.members <= tried || 2 * FAILURES_PER_MEMBER * self.work.members <= all;
            chunk.done
        };
        if is_lost {
            self.shared.sink.lose(run.number, position, why)?;
            self.work.close_one();
        } else {
            self.work.lock().try_again(run, position);
        }
        Ok(())
    }

    fn broken(&self, status: &tonic::Status) -> Silent {
        match answered(status) {
            // What this member has lost or not yet heard of, another may have.
            Answered::No(error) if matches!(status.code(), Code::NotFound | Code::DataLoss) => {
                Silent::Now(error.to_string())
            }
            Answered::No(error) => Silent::Refused(error),
            Answered::NotNow(text) | Answered::Perhaps(text) => {
                self.shared.gate.client.0.nodes.suspect(&self.endpoint);
                Silent::Now(text)
            }
        }
    }
}

impl Clone for Worker {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            work: Arc::clone(&self.work),
            number: self.number,
            endpoint: self.endpoint.clone(),
            streams: Arc::clone(&self.streams),
        }
    }
}

impl Group {
    fn lock(&self) -> MutexGuard<'_, GroupState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close_one(&self) {
        let mut state = self.lock();
        state.open -= 1;
        if state.open == 0 {
            self.ended.notify_waiters();
        }
    }

    /// Waits so long, or until nothing is open.
    async fn wait(&self, most: Duration) {
        let ended = self.ended.notified();
        if self.lock().open != 0 {
            let _ended_or_not = timeout(most, ended).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use strongroom_format::id::{BlobId, ChunkId, TreeId};

    use super::*;

    fn wanted(number: usize, chunks: u8) -> WantedRun {
        let entry = |n: u8| LeafEntry {
            chunk: ChunkId::from_bytes([n; 32]),
            blob: BlobId::from_bytes([n; 32]),
            stored_bytes: 1,
        };
        let node = RunNode {
            leaf: TreeId::from_bytes([0; 32]),
            entries: (0..chunks).map(entry).collect(),
            plaintext_bytes: vec![1; chunks.into()],
        };
        WantedRun { number, group: GroupId(1), node, positions: (0..chunks.into()).collect() }
    }

    /// What the tasks say that is not had, each as often as it stands somewhere.
    fn outstanding(state: &GroupState) -> Vec<(usize, usize)> {
        let tasks = state.waiting.iter().chain(state.taken.values());
        let mut all: Vec<_> =
            tasks.flat_map(|task| task.left().into_iter().map(|position| (task.run.number, position))).collect();
        all.sort_unstable();
        all
    }

    #[test]
    fn who_has_nothing_to_do_takes_half_of_what_the_slowest_still_has() {
        let mut state = GroupState::new(vec![wanted(0, 60)], Pace::Free);
        let (_, run, first) = state.next(0).unwrap();
        assert_eq!(first.len(), 60);
        assert!(run.claim(3), "member 0 gives something");
        assert!(!run.claim(3), "and nobody takes it twice");
        let (_, _, half) = state.next(1).unwrap();
        assert_eq!(half.len(), 30);
        let (_, _, quarter) = state.next(2).unwrap();
        assert_eq!(quarter.len(), 15);
        assert_eq!(outstanding(&state).len(), 59);
    }

    #[test]
    fn a_member_is_stopped_once_others_have_taken_the_rest_and_not_before() {
        let mut state = GroupState::new(vec![wanted(0, 20)], Pace::Free);
        let (slow, run, _) = state.next(0).unwrap();
        let (fast, _, half) = state.next(1).unwrap();
        assert_eq!(half, (10..20).collect());
        for position in 0..10 {
            assert!(state.wants(slow));
            assert!(run.claim(position));
        }
        assert!(!state.wants(slow), "its second half comes from the other");
        assert!(state.wants(fast));
        state.try_again(&run, 12);
        half.iter().filter(|position| **position != 12).for_each(|position| assert!(run.claim(*position)));
        assert!(!state.wants(fast), "what it spoilt is somebody else's");
        state.give_back(fast);
        assert!(!state.wants(fast));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        /// Whatever members give, keep or spoil, and in whatever order: no chunk is forgotten, none stands in two tasks.
        #[test]
        fn no_chunk_is_forgotten_and_none_is_in_two_hands(
            chunks in 1_u8..200, steps in proptest::collection::vec((0_usize..4, 0_u8..8, any::<u8>()), 1..120)
        ) {
            let mut state = GroupState::new(vec![wanted(0, chunks), wanted(1, 5)], Pace::Free);
            let mut open: BTreeSet<(usize, usize)> =
                (0..chunks.into()).map(|at| (0, at)).chain((0..5).map(|at| (1, at))).collect();
            let mut held: Vec<(u64, Arc<Run>, BTreeSet<usize>)> = Vec::new();
            for (member, what, pick) in steps {
                match what {
                    0..3 => held.extend(state.next(member)),
                    _ if held.is_empty() => {}
                    // Gives a chunk, good or spoilt, of what it was asked for.
                    3..6 => {
                        let (_, run, positions) = &held[usize::from(pick) % held.len()];
                        let position = *positions.iter().nth(usize::from(pick) % positions.len()).unwrap();
                        if run.claim(position) {
                            if what == 5 {
                                run.chunks().get_mut(&position).unwrap().done = false;
                                state.try_again(run, position);
                            } else {
                                open.remove(&(run.number, position));
                            }
                        }
                    }
                    _ => {
                        let (ticket, ..) = held.swap_remove(usize::from(pick) % held.len());
                        state.give_back(ticket);
                    }
                }
                let expected: Vec<_> = open.iter().copied().collect();
                prop_assert_eq!(outstanding(&state), expected);
            }
        }
    }
}
