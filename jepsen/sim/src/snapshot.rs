//! Installing Raft snapshots: a follower whose last entries contradict its new leader gets a snapshot, then entries, then
//! perhaps another snapshot, while a second group uses the same log.
//!
//! Judged as in `state.rs`; and an install that was answered is there; a state ahead of its log is one that was
//! installed; no entry contradicts what was installed.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use strongroom_consensus::stores::{EntryId, GroupStores, LogContents, SnapshotBytes, StoredVote};
use strongroom_format::id::GroupId;
use strongroom_host::Host;
use strongroom_host::clock::SimClock;
use strongroom_host::sim_disk::SimDisk;

use crate::dice::Dice;
use crate::finding::{Broken, Finding};
use crate::group::{End, join, open};
use crate::history::History;
use crate::machine::Chain;
use crate::state::{Seen, Unopened, check_again, check_orders, check_rows, look_into};
use crate::world::{World, life};

/// The group that installs, and one that only appends.
const GROUPS: [GroupId; 2] = [GroupId(3), GroupId(4)];

const LOG_FILE_BYTES_MAX: u64 = 24 << 10;
const CALLS: u64 = 110;
const RECOVERY_CALLS: u64 = 18;

/// So many different leaders there are.
const LEADERS: u64 = 16;
const OLD_TERM: u64 = 1;
const LOST_TERM: u64 = 2;
const NEW_TERM: u64 = 3;

/// The leader: all entries, and snapshots of them.
#[derive(Debug)]
struct Leader {
    chain: Vec<(EntryId, Bytes)>,
    /// How many entries the follower has too.
    common: u64,
    snapshots: Vec<SnapshotBytes>,
}

thread_local! {
    /// Leaders are made once in each thread: their disks never crash.
    static KNOWN: RefCell<Vec<Option<Rc<Leader>>>> = const { RefCell::new(Vec::new()) };
}

impl Leader {
    fn known(number: u64) -> Rc<Self> {
        KNOWN.with_borrow_mut(|known| {
            known.resize(LEADERS as usize, None);
            let place = &mut known[(number % LEADERS) as usize];
            Rc::clone(place.get_or_insert_with(|| Rc::new(Self::make(number % LEADERS))))
        })
    }

    /// # Panics
    ///
    /// If a disk that nothing happens to fails.
    fn make(number: u64) -> Self {
        let mut dice = Dice::named(number, 5);
        let common = 1 + dice.below(12);
        let end = common + 8 + dice.below(24);
        let chain: Vec<(EntryId, Bytes)> = (0..end)
            .map(|index| {
                let term = if index < common { OLD_TERM } else { NEW_TERM };
                let length = dice.length(2000);
                (EntryId { term, index }, dice.bytes((number << 32) | index, length).into())
            })
            .collect();
        let first = common + 1 + dice.below(4);
        let second = first + 1 + dice.below(end - first - 1);
        let host = Host::simulated(number, SimDisk::new(), SimClock::new(0));
        let made = life(async {
            let (stores, _) = open(&host, 1 << 20).await.map_err(io::Error::other)?;
            let mut group = stores.group(GROUPS[0], Arc::new(Chain)).await?;
            group.log().append(chain.clone()).await?.wait().await?;
            let mut snapshots = Vec::new();
            for upto in [first, second] {
                group.apply_to(upto).await?;
                snapshots.push(group.build_snapshot().await?);
            }
            Ok::<_, io::Error>(snapshots)
        });
        Self { chain, common, snapshots: made.expect("a disk that nothing happens to does not fail") }
    }
}

/// What the follower's stores must and may show.
#[derive(Debug)]
struct Expected {
    history: History,
    /// The last snapshot whose installation was begun, and whether it was answered.
    begun: Option<EntryId>,
    installed: Option<EntryId>,
    checkpointed: Option<u64>,
}

pub(crate) fn image(world: &mut World) -> Result<(), Finding> {
    let leader = Leader::known(world.dice.next());
    let mut expected = Expected {
        history: History::new(format!("group {}", GROUPS[0])),
        begun: None,
        installed: None,
        checkpointed: None,
    };
    let mut other = History::new(format!("group {}", GROUPS[1]));
    world.trouble(CALLS);
    let dice = Dice::named(world.dice.next(), 6);
    other = life(live(world.host.clone(), Rc::clone(&leader), &mut expected, other, dice))?;
    world.end_life();
    let (seen, others) = world.recover(RECOVERY_CALLS, look)?;
    expected.check(&leader, &seen[0])?;
    other.check(&others)?;
    if world.dice.one_in(3) {
        world.lose_power();
        let (again, others_again) = world.recover(RECOVERY_CALLS, look)?;
        check_again(&seen, &again)?;
        if others != others_again {
            return Err(Finding::new(Broken::Unstable, "opening again shows another log"));
        }
    }
    Ok(())
}

/// The group that installs, recovered, and the other one's log.
async fn look(host: Host) -> Result<(Vec<Seen>, LogContents), Unopened> {
    let (stores, _) = open(&host, LOG_FILE_BYTES_MAX).await?;
    let other = stores.log(GROUPS[1]).read().await.map_err(|error| error.to_string())?;
    Ok((look_into(&stores, &GROUPS[..1]).await?, other))
}

/// The follower follows and the other group works, until something fails or all is done.
async fn live(
    host: Host,
    leader: Rc<Leader>,
    expected: &mut Expected,
    mut other: History,
    mut dice: Dice,
) -> Result<History, Finding> {
    let Ok((stores, mut end)) = open(&host, LOG_FILE_BYTES_MAX).await else { return Ok(other) };
    let mut log = stores.log(GROUPS[1]);
    let mut its_dice = Dice::named(dice.next(), 7);
    let busy = tokio::spawn(async move {
        for _ in 0..10 + its_dice.below(20) {
            if other.act(&mut log, &mut its_dice).await.is_err() {
                break;
            }
            for _ in 0..its_dice.below(12) {
                tokio::task::yield_now().await;
            }
        }
        other
    });
    let opened = end.or(stores.group(GROUPS[0], Arc::new(Chain))).await;
    if let Ok(mut opened) = opened {
        // what fails ends the life; what was promised before stands in `expected`
        let _ = expected.follow(&leader, &mut opened, &mut end, &mut dice).await;
    }
    join(busy).await
}

impl Expected {
    /// What a follower does that was away while another led.
    async fn follow(
        &mut self,
        leader: &Leader,
        stores: &mut GroupStores,
        end: &mut End,
        dice: &mut Dice,
    ) -> io::Result<()> {
        let mut log = stores.log().clone();
        self.history.append(&mut log, leader.chain[..leader.common as usize].to_vec()).await?;
        let committed = dice.below(leader.common);
        self.commit(stores, end, committed).await?;
        if dice.one_in(2) {
            self.checkpoint(stores, end).await?;
        }
        let lost = (leader.common..leader.common + dice.below(7)).map(|index| {
            let length = dice.length(1000);
            (EntryId { term: LOST_TERM, index }, dice.bytes(index ^ 0xdead_0000_0000, length).into())
        });
        let lost = lost.collect();
        self.history.append(&mut log, lost).await?;
        if dice.one_in(2) {
            self.history.wait().await?;
        }
        self.history.store_vote(&mut log, StoredVote { term: NEW_TERM, replica: 2, granted: true }).await?;
        for snapshot in &leader.snapshots[usize::from(dice.one_in(4))..] {
            self.install(snapshot, stores, end, dice).await?;
            let from = self.history.end();
            let upto = from + dice.below(leader.chain.len() as u64 - from + 1);
            for piece in leader.chain[from as usize..upto as usize].chunks(3) {
                self.history.append(&mut log, piece.to_vec()).await?;
                if dice.one_in(2) {
                    self.history.wait().await?;
                }
            }
            if from < upto {
                self.commit(stores, end, from + dice.below(upto - from)).await?;
            }
            if dice.one_in(2) {
                self.checkpoint(stores, end).await?;
            }
        }
        Ok(())
    }

    async fn commit(&mut self, stores: &mut GroupStores, end: &mut End, index: u64) -> io::Result<()> {
        let mut log = stores.log().clone();
        self.history.commit(&mut log, index).await?;
        end.or(stores.apply_to(index)).await
    }

    async fn checkpoint(&mut self, stores: &mut GroupStores, end: &mut End) -> io::Result<()> {
        let applied = stores.applied().map(|applied| applied.index);
        end.or(stores.checkpoint()).await?;
        self.checkpointed = self.checkpointed.max(applied);
        Ok(())
    }

    /// As openraft does it: truncate what contradicts, install, purge.
    async fn install(
        &mut self,
        snapshot: &SnapshotBytes,
        stores: &mut GroupStores,
        end: &mut End,
        dice: &mut Dice,
    ) -> io::Result<()> {
        let Some(last) = snapshot.last() else { return Ok(()) };
        if last.index < self.history.committed() {
            return Ok(());
        }
        let mut log = stores.log().clone();
        if self.history.id(last.index).is_some_and(|there| there != last) {
            let committed = self.history.committed();
            self.history.truncate(&mut log, committed).await?;
        }
        self.begun = Some(last);
        let piece_bytes = 512 + dice.below(20_000) as usize;
        end.or(stores.install(snapshot, piece_bytes)).await?;
        self.installed = Some(last);
        self.checkpointed = self.checkpointed.max(Some(last.index));
        self.history.purge(&mut log, last).await
    }

    fn check(&mut self, leader: &Leader, seen: &Seen) -> Result<(), Finding> {
        let Seen { log, opened_at, applied, rows, snapshot, recovered } = seen;
        let opened = opened_at.map(|opened| opened.index);
        if opened < self.checkpointed {
            let story = format!("the state was durable at {:?} and is at {opened:?}", self.checkpointed);
            return Err(Finding::new(Broken::Lost, story));
        }
        // an install alone may put a state ahead of its log
        let installed = opened_at.filter(|opened| leader.snapshots.iter().any(|taken| taken.last() == Some(*opened)));
        let last = log.entries.last().map(|(last, _)| *last).max(log.purged).max(installed);
        check_orders(log, *opened_at, last)?;
        let is_of_the_leader = |id: &EntryId| leader.chain.get(id.index as usize).is_some_and(|(own, _)| own == id);
        for (log, after) in [(log, *opened_at), (recovered, *applied)] {
            let beyond = log.entries.iter().filter(|(id, _)| after.is_none_or(|after| after.index < id.index));
            if self.begun.is_some_and(|begun| after.is_some_and(|after| begun <= after))
                && let Some((id, _)) = beyond.into_iter().find(|(id, _)| !is_of_the_leader(id))
            {
                let story = format!("entry {id:?} lies behind a state that was installed at {after:?}");
                return Err(Finding::new(Broken::Contradiction, story));
            }
        }
        self.history.check_purged(log, installed)?;
        check_rows(&leader.chain, *applied, rows)?;
        if *applied < log.committed {
            let story = format!("{:?} is known to be committed and {applied:?} is applied", log.committed);
            return Err(Finding::new(Broken::Lost, story));
        }
        match snapshot {
            Some((last, rows)) => check_rows(&leader.chain, *last, rows),
            None if self.installed.is_some() => Err(Finding::new(Broken::Lost, "the installed snapshot is gone")),
            None => Ok(()),
        }
    }
}
