//! What of a shard's runs is still to come, and who was asked for it: pure but for the clock that says who is slow.
//!
//! ```text
//!   waiting ─▶ asked of everybody at once (direct.rs) ─▶ had
//!      ▲ │          └─ what did not come together ─┐
//!      │ └──▶ asked of one member (gathered.rs) ◀──┘
//!      └────────────── what it did not give
//! ```
//!
//! Promises: no chunk is forgotten and none stands in two tasks. Not here: asking.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use strongroom_format::id::GroupId;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use crate::restore::index::RunNode;

/// A member that had no good copy of a chunk is asked for it again after so long: others may have come back meanwhile.
const AGAIN: Duration = Duration::from_millis(500);
/// Who has so many chunks still to give shares them with who has nothing to do,
const WORTH_SHARING: usize = 8;
/// and whoever takes so long shares even the last.
const SLOW: Duration = Duration::from_millis(500);
/// Where all members were asked at once and nothing came for so long, single ones are asked too.
const STALLED: Duration = Duration::from_secs(1);
/// A member asks for so many chunks of a run at once, so that runs can be shared.
const POSITIONS_AT_ONCE: usize = 64;
/// The same where the rate is bounded: what is asked for is not taken back, so less is asked for.
const POSITIONS_AT_ONCE_THROTTLED: usize = 4;
/// All members are asked at once for so many bytes of a run.
pub(crate) const DIRECT_BYTES: usize = 8 << 20;
/// Less than this is not worth asking all members for.
const DIRECT_BYTES_MIN: usize = 1 << 20;
/// Each member may fail so often with one chunk.
const FAILURES_PER_MEMBER: usize = 2;

/// A run, and which of its chunks are wanted.
pub(crate) struct WantedRun {
    /// The caller's number for it.
    pub number: usize,
    pub group: GroupId,
    pub node: RunNode,
    /// Ascending.
    pub positions: Vec<usize>,
}

/// A shard's runs and who works on them.
pub(crate) struct Group {
    pub(crate) group: GroupId,
    pub(crate) members: usize,
    state: Mutex<GroupState>,
    /// Nothing is open any more.
    ended: Notify,
}

/// How fast chunks may come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pace {
    /// As fast as they can, from all members at once: a slow one is helped.
    Free,
    /// The same where nobody knows which member fills which slot.
    Gathered,
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
    whom: Whom,
    /// When it was handed out, or something of it last came.
    since: Instant,
}

/// Who is asked for chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whom {
    /// All members at once, each for what lies in its own slot.
    All,
    /// One member, which gathers.
    One,
}

/// What is asked for together.
pub(crate) struct Asked {
    /// Under which it is given back.
    pub ticket: u64,
    pub run: Arc<Run>,
    pub positions: BTreeSet<usize>,
}

/// A run of which chunks are wanted.
pub(crate) struct Run {
    pub number: usize,
    pub node: RunNode,
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
        let mut waiting = VecDeque::new();
        let mut open = 0;
        for WantedRun { number, node, positions, .. } in runs {
            open += positions.len();
            let chunks = positions.iter().map(|position| (*position, Chunk::default())).collect();
            let run = Arc::new(Run { number, node, state: Mutex::new(chunks) });
            for (whom, some) in cut(&run.node, &positions, pace) {
                let positions = some.iter().copied().collect();
                waiting.push_back(Task { whom, ..Task::new(Arc::clone(&run), positions) });
            }
        }
        Self { pace, waiting, taken: BTreeMap::new(), next_ticket: 0, heard: Instant::now(), open }
    }

    /// The next thing to ask all members for at once.
    fn next_of_all(&mut self) -> Option<Asked> {
        let at = self.waiting.iter().position(|task| task.whom == Whom::All)?;
        let task = self.waiting.remove(at)?;
        Some(self.hand_out(task))
    }

    /// The next thing to do for a member: what waits and it has not just failed with; else half of what another takes
    /// long for.
    fn next(&mut self, member: usize) -> Option<Asked> {
        let suits = |task: &Task| task.whom == Whom::One && task.suits(member);
        if let Some(task) = self.waiting.iter().position(suits).and_then(|at| self.waiting.remove(at)) {
            return Some(self.hand_out(task));
        }
        if self.pace == Pace::Throttled {
            return None;
        }
        let is_slow = |task: &&mut Task| {
            let (left, since) = (task.left().len(), task.since.elapsed());
            match task.whom {
                Whom::All => 0 < left && STALLED <= since,
                Whom::One => WORTH_SHARING <= left || (0 < left && SLOW <= since),
            }
        };
        let slowest = self.taken.values_mut().filter(is_slow).filter(|task| task.suits(member));
        let slowest = slowest.max_by_key(|task| task.left().len())?;
        let left = slowest.left();
        let half: BTreeSet<usize> = left[left.len() / 2..].iter().copied().collect();
        slowest.positions.retain(|position| !half.contains(position));
        let task = Task::new(Arc::clone(&slowest.run), half);
        Some(self.hand_out(task))
    }

    fn hand_out(&mut self, task: Task) -> Asked {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        let asked = Asked { ticket, run: Arc::clone(&task.run), positions: task.positions.clone() };
        self.taken.insert(ticket, Task { since: Instant::now(), ..task });
        asked
    }

    /// Whether anything that was handed out under a ticket is not had yet, and not taken by others.
    fn wants(&self, ticket: u64) -> bool {
        self.taken.get(&ticket).is_some_and(|task| !task.left().is_empty())
    }

    /// Puts back what was not given.
    fn give_back(&mut self, ticket: u64) {
        let Some(task) = self.taken.remove(&ticket) else { return };
        let positions: BTreeSet<usize> = task.left().into_iter().collect();
        if !positions.is_empty() {
            self.waiting.push_back(Task::new(task.run, positions));
        }
    }

    /// Puts back one chunk that did not come together, whoever has it now: one member is asked for it next.
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

/// Cuts what is wanted of a run into what is asked for at once.
fn cut<'run>(node: &RunNode, positions: &'run [usize], pace: Pace) -> Vec<(Whom, &'run [usize])> {
    let bytes = |some: &[usize]| some.iter().map(|at| node.entries[*at].stored_bytes as usize).sum::<usize>();
    match pace {
        Pace::Throttled => positions.chunks(POSITIONS_AT_ONCE_THROTTLED).map(|some| (Whom::One, some)).collect(),
        Pace::Gathered => positions.chunks(POSITIONS_AT_ONCE).map(|some| (Whom::One, some)).collect(),
        Pace::Free if bytes(positions) < DIRECT_BYTES_MIN => cut(node, positions, Pace::Gathered),
        Pace::Free => {
            let (mut pieces, mut rest) = (Vec::new(), positions);
            while !rest.is_empty() {
                let mut sum = 0;
                let fits = |at: &&usize| {
                    sum += node.entries[**at].stored_bytes as usize;
                    sum <= DIRECT_BYTES
                };
                let count = rest.iter().take_while(fits).count().max(1);
                pieces.push((Whom::All, &rest[..count]));
                rest = &rest[count..];
            }
            pieces
        }
    }
}

impl Task {
    fn new(run: Arc<Run>, positions: BTreeSet<usize>) -> Self {
        Self { run, positions, whom: Whom::One, since: Instant::now() }
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
    pub(crate) fn claim(&self, position: usize) -> bool {
        match self.chunks().get_mut(&position) {
            Some(chunk) if !chunk.done => {
                chunk.done = true;
                true
            }
            Some(_) | None => false,
        }
    }

    /// What was claimed is not had after all.
    pub(crate) fn unclaim(&self, position: usize) {
        if let Some(chunk) = self.chunks().get_mut(&position) {
            chunk.done = false;
        }
    }

    /// Notes that members which hold a chunk are away, as one of them says, and since when; `None`: it is had meanwhile.
    pub(crate) fn is_away(&self, position: usize, member: usize) -> Option<Duration> {
        let mut chunks = self.chunks();
        let chunk = chunks.get_mut(&position).filter(|chunk| !chunk.done)?;
        chunk.failures.entry(member).or_insert((0, Instant::now())).1 = Instant::now();
        Some(chunk.away_since.get_or_insert_with(Instant::now).elapsed())
    }

    /// Notes that a member of so many has no good copy of a chunk, and says whether it is lost, after everybody failed;
    /// `None`: it is had meanwhile.
    pub(crate) fn has_failed(&self, position: usize, member: usize, members: usize) -> Option<bool> {
        let mut chunks = self.chunks();
        let chunk = chunks.get_mut(&position).filter(|chunk| !chunk.done)?;
        let (times, at) = chunk.failures.entry(member).or_insert((0, Instant::now()));
        *times += 1;
        *at = Instant::now();
        let tried = chunk.failures.values().filter(|(times, _)| FAILURES_PER_MEMBER <= *times).count();
        let all: usize = chunk.failures.values().map(|(times, _)| times).sum();
        // Members that do not answer fail nothing; after enough failures of the others they are not waited for. But what a
        // minority says, however often, calls nothing lost.
        chunk.done = members <= tried || (members < 2 * tried && 2 * FAILURES_PER_MEMBER * members <= all);
        Some(chunk.done)
    }
}

impl Group {
    /// A shard's wanted runs, for so many members.
    pub(crate) fn new(group: GroupId, members: usize, runs: Vec<WantedRun>, pace: Pace) -> Self {
        Self { group, members, state: Mutex::new(GroupState::new(runs, pace)), ended: Notify::new() }
    }

    fn lock(&self) -> MutexGuard<'_, GroupState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What to ask a member for, if there is anything.
    pub(crate) fn next(&self, member: usize) -> Option<Asked> {
        self.lock().next(member)
    }

    /// What to ask all members for, if there is anything.
    pub(crate) fn next_of_all(&self) -> Option<Asked> {
        self.lock().next_of_all()
    }

    /// Whether anything that was handed out under a ticket is not had yet, and not taken by others.
    pub(crate) fn wants(&self, ticket: u64) -> bool {
        self.lock().wants(ticket)
    }

    /// Notes that something came of what was handed out under a ticket.
    pub(crate) fn came(&self, ticket: u64) {
        let mut state = self.lock();
        let now = Instant::now();
        state.heard = now;
        if let Some(task) = state.taken.get_mut(&ticket).filter(|task| task.whom == Whom::All) {
            task.since = now;
        }
    }

    /// Puts back what was not given under a ticket.
    pub(crate) fn give_back(&self, ticket: u64) {
        self.lock().give_back(ticket);
    }

    /// Puts back one chunk that did not come together: one member is asked for it next.
    pub(crate) fn try_again(&self, run: &Arc<Run>, position: usize) {
        self.lock().try_again(run, position);
    }

    /// For how long nobody has answered.
    pub(crate) fn silent_for(&self) -> Duration {
        self.lock().heard.elapsed()
    }

    /// Whether every chunk is had or lost.
    pub(crate) fn is_done(&self) -> bool {
        self.lock().open == 0
    }

    /// A chunk is had or lost.
    pub(crate) fn close_one(&self) {
        let mut state = self.lock();
        state.open -= 1;
        if state.open == 0 {
            self.ended.notify_waiters();
        }
    }

    /// Waits so long, or until nothing is open.
    pub(crate) async fn wait(&self, most: Duration) {
        let ended = self.ended.notified();
        if !self.is_done() {
            let _ended_or_not = timeout(most, ended).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use strongroom_format::id::{BlobId, ChunkId, TreeId};
    use strongroom_format::tree::LeafEntry;

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

    fn large(mut wanted: WantedRun) -> WantedRun {
        wanted.node.entries.iter_mut().for_each(|entry| entry.stored_bytes = DIRECT_BYTES as u32 / 2);
        wanted
    }

    #[test]
    fn a_large_run_is_asked_of_all_at_once_and_what_did_not_come_of_one() {
        let mut state = GroupState::new(vec![large(wanted(0, 5))], Pace::Free);
        assert!(state.next(0).is_none(), "nobody is asked for all of it");
        let first = state.next_of_all().unwrap();
        assert_eq!(first.positions, BTreeSet::from([0, 1]));
        assert_eq!(state.next_of_all().unwrap().positions, BTreeSet::from([2, 3]));
        assert!(state.next(0).is_none(), "what is on its way is not asked for twice");
        assert!(first.run.claim(0));
        state.try_again(&first.run, 1);
        assert_eq!(state.next(3).unwrap().positions, BTreeSet::from([1]));
        state.give_back(first.ticket);
        assert_eq!(state.next_of_all().unwrap().positions, BTreeSet::from([4]));
        assert!(state.next_of_all().is_none());
    }

    #[test]
    fn who_keeps_a_rate_asks_one_member_at_a_time() {
        let mut state = GroupState::new(vec![large(wanted(0, 5))], Pace::Throttled);
        assert!(state.next_of_all().is_none());
        assert_eq!(state.next(0).unwrap().positions.len(), POSITIONS_AT_ONCE_THROTTLED);
    }

    #[test]
    fn what_a_minority_says_calls_nothing_lost_and_what_a_majority_says_twice_does() {
        let mut state = GroupState::new(vec![wanted(0, 1)], Pace::Free);
        let Asked { run, .. } = state.next(0).unwrap();
        for _ in 0..100 {
            assert_eq!(run.has_failed(0, 5, 6), Some(false), "one member, however often");
        }
        for member in 0..2 {
            for _ in 0..100 {
                assert_eq!(run.has_failed(0, member, 6), Some(false), "half of them");
            }
        }
        assert_eq!(run.has_failed(0, 2, 6), Some(false), "the fourth, once");
        assert_eq!(run.has_failed(0, 2, 6), Some(true), "and again: two do not answer");
        assert_eq!(run.has_failed(0, 3, 6), None);
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
        let Asked { run, positions: first, .. } = state.next(0).unwrap();
        assert_eq!(first.len(), 60);
        assert!(run.claim(3), "member 0 gives something");
        assert!(!run.claim(3), "and nobody takes it twice");
        let half = state.next(1).unwrap().positions;
        assert_eq!(half.len(), 30);
        let quarter = state.next(2).unwrap().positions;
        assert_eq!(quarter.len(), 15);
        assert_eq!(outstanding(&state).len(), 59);
    }

    #[test]
    fn a_member_is_stopped_once_others_have_taken_the_rest_and_not_before() {
        let mut state = GroupState::new(vec![wanted(0, 20)], Pace::Free);
        let Asked { ticket: slow, run, .. } = state.next(0).unwrap();
        let Asked { ticket: fast, positions: half, .. } = state.next(1).unwrap();
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
            // The second run is large enough to be asked of all at once.
            let mut state = GroupState::new(vec![wanted(0, chunks), large(wanted(1, 5))], Pace::Free);
            let mut open: BTreeSet<(usize, usize)> =
                (0..chunks.into()).map(|at| (0, at)).chain((0..5).map(|at| (1, at))).collect();
            let mut held: Vec<Asked> = Vec::new();
            for (member, what, pick) in steps {
                match what {
                    0 => held.extend(state.next_of_all()),
                    1..3 => held.extend(state.next(member)),
                    _ if held.is_empty() => {}
                    // Gives a chunk, good or spoilt, of what it was asked for.
                    3..6 => {
                        let Asked { run, positions, .. } = &held[usize::from(pick) % held.len()];
                        let position = *positions.iter().nth(usize::from(pick) % positions.len()).unwrap();
                        if run.claim(position) {
                            if what == 5 {
                                run.unclaim(position);
                                state.try_again(run, position);
                            } else {
                                open.remove(&(run.number, position));
                            }
                        }
                    }
                    _ => {
                        let asked = held.swap_remove(usize::from(pick) % held.len());
                        state.give_back(asked.ticket);
                    }
                }
                let expected: Vec<_> = open.iter().copied().collect();
                prop_assert_eq!(outstanding(&state), expected);
            }
        }
    }
}
