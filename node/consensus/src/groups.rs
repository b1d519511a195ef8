//! All groups of this node behind one small door: propose, read, follow, and let messages of other nodes in.
//!
//! ```text
//!   propose ─▶ leader? ─▶ log of a majority ─▶ apply ─▶ answer        done · refused · unknown, and nothing else
//!   read    ─▶ leader still? (ReadIndex) ─▶ applied up to there ─▶ query
//! ```
//!
//! Not here: how nodes reach each other (`transport.rs`), what entries mean (`Machine`), who may ask (floors above).

use std::collections::BTreeMap;
use std::fmt::{self, Debug};
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use openraft::errors::{ClientWriteError, ForwardToLeader, LinearizableReadError, RaftError};
use openraft::{RaftMetrics, ReadPolicy};
use strongroom_core::machine::Machine;
use strongroom_core::tables::{Halt, Reads};
use strongroom_format::codec;
use strongroom_format::id::{GroupId, NodeName, ReplicaId};
use strongroom_host::Host;
use strongroom_host::lane::{Lane, LaneError};
use tokio::sync::{broadcast, watch};

use crate::depth::LogDepth;
use crate::door::{self, HandleError};
use crate::fatal::Fatal;
use crate::group::{GroupEvent, GroupStatus, Member, Position, Replica, lock};
use crate::health::{Death, run_shared};
use crate::heartbeats::{self, Heartbeats};
use crate::keeping;
use crate::log::store::GroupStore;
use crate::log::{LogError, SharedLog};
use crate::membership::{self, ChangeError, MemberChange, Membership, MembershipId};
use crate::opening::{OpenError, Opener, With};
use crate::running::Group;
use crate::scrub;
use crate::snapshot::RESERVE_BYTES;
use crate::state::{self, StateStore};
use crate::supervise::Supervised;
use crate::timing::Timing;
use crate::transfers::Transfers;
use crate::transport::{Message, Transport};
use crate::types::{Proposal, TypeConfig};
use crate::wire::{HeartbeatReply, HeartbeatsAsk, Kind, PROPOSAL_BYTES_MAX};

/// How many lanes answer queries.
const READ_LANES: usize = 2;

/// So many news of applied entries wait for a slow follower of them; then it misses some and is told so.
const NEWS_MAX: usize = 4096;

/// So many events wait for a slow listener.
const EVENTS_MAX: usize = 256;

/// How a node takes part.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where `log/` and `state/` are.
    pub data_dir: PathBuf,
    /// The node's name, as memberships have it.
    pub node: NodeName,
    /// How fast leaders are missed.
    pub timing: Timing,
    /// When a group's log is cut, and how much of it stays.
    pub depth: LogDepth,
}

/// Why consensus or a group did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The shared log did not open.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The group's state did not open, or is damaged: rebuild the replica.
    #[error("the state of group {group} does not open: {halt}")]
    State {
        /// The group.
        group: GroupId,
        /// What was found.
        halt: Halt,
    },
    /// A thread ended.
    #[error(transparent)]
    Lane(#[from] LaneError),
    /// The group runs already, as another replica: a node holds one replica of a group.
    #[error("group {group} runs here already, as replica {replica}")]
    AlreadyRuns {
        /// The group.
        group: GroupId,
        /// What it runs as.
        replica: ReplicaId,
    },
    /// The group's task did not start: its log and state do not fit together.
    #[error("group {group} does not start: {why}")]
    Raft {
        /// The group.
        group: GroupId,
        /// What openraft said.
        why: String,
    },
    /// This node has been told to end.
    #[error("this node is ending")]
    Ending,
}

/// A proposal that was applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// Its index in the group's log.
    pub index: u64,
    /// What the rules answered. A refusal by the rules is an answer, too.
    pub answer: Vec<u8>,
}

/// Why a proposal has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// Another replica leads, or nobody. Nothing happened: ask the leader.
    #[error("this replica does not lead")]
    NotLeader {
        /// The leader's node, if known.
        leader: Option<NodeName>,
    },
    /// Too many proposals were under way until the deadline. Nothing happened: try later.
    #[error("too many proposals are under way")]
    Busy,
    /// The proposal is longer than [`PROPOSAL_BYTES_MAX`]. Nothing happened.
    #[error("a proposal of {bytes} bytes is too long")]
    TooLong {
        /// How long it is.
        bytes: usize,
    },
    /// It may take effect, now or later, or not: ask for its outcome.
    #[error("the outcome is unknown: {why}")]
    Unknown {
        /// What happened, for people.
        why: String,
    },
    /// The group is not on this node or has ended. Nothing happened.
    #[error("the group is not here")]
    Stopped,
}

/// Why a query has no answer. Asking again is always safe.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// Another replica leads, or nobody: ask the leader.
    #[error("this replica does not lead")]
    NotLeader {
        /// The leader's node, if known.
        leader: Option<NodeName>,
    },
    /// This replica could not make sure in time that it still leads, or had not applied enough.
    #[error("no majority confirmed the lead in time: {why}")]
    Unavailable {
        /// What happened, for people.
        why: String,
    },
    /// The group is not on this node or has ended.
    #[error("the group is not here")]
    Stopped,
}

/// Why an index was not seen to be applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WaitError {
    /// It is not applied yet.
    #[error("only entry {applied} is applied")]
    NotYet {
        /// The last entry that is.
        applied: u64,
    },
    /// The group is not on this node or has ended.
    #[error("the group is not here")]
    Stopped,
}

/// Why a group was not founded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FoundError {
    /// There are no voters, or this node's replica is not among the members under this node's name.
    #[error("this node is no member of the group")]
    NotAMember,
    /// The group is not on this node or has ended.
    #[error("the group is not here")]
    Stopped,
    /// The replica is not admitted yet.
    #[error("the replica is not admitted")]
    NotAdmitted,
    /// The first entry could not be written.
    #[error("the group could not be founded: {why}")]
    Failed {
        /// What openraft said.
        why: String,
    },
}

/// All groups of this node. Clones are the same.
#[derive(Clone)]
pub struct Consensus {
    inner: Arc<Inner>,
}

struct Inner {
    host: Host,
    settings: Settings,
    opener: Arc<Opener>,
    read_lanes: Vec<Lane>,
    next_read_lane: AtomicUsize,
    groups: Mutex<BTreeMap<GroupId, Arc<Supervised>>>,
    events: broadcast::Sender<GroupEvent>,
    is_ending: AtomicBool,
}

impl Debug for Consensus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consensus").field("node", &self.inner.settings.node).field("groups", &self.groups()).finish()
    }
}

impl Consensus {
    /// Opens the shared log below `data_dir` and replays it. No group runs yet.
    ///
    /// `fatal` is called when the log or a checkpoint fails: the process must end.
    pub async fn open(
        host: Host,
        settings: Settings,
        transport: Arc<dyn Transport>,
        fatal: Fatal,
    ) -> Result<Self, StartError> {
        let log = SharedLog::open(&host, &settings.data_dir.join("log"), fatal.clone()).await?;
        let read_lanes = (0..READ_LANES).map(|number| host.lane(&format!("state-read-{number}"))).collect();
        let opener = Opener {
            host: host.clone(),
            directory: settings.data_dir.join("state"),
            timing: settings.timing,
            depth: settings.depth,
            transfers: Transfers::new(),
            heartbeats: Heartbeats::new(Arc::clone(&transport)),
            transport,
            log,
            snapshot_lane: host.lane("raft-snapshots"),
            scrub_lane: host.lane("state-scrub"),
            news: broadcast::channel(NEWS_MAX).0,
            fatal,
        };
        let inner = Inner {
            opener: Arc::new(opener),
            read_lanes,
            next_read_lane: AtomicUsize::new(0),
            host,
            settings,
            groups: Mutex::default(),
            events: broadcast::channel(EVENTS_MAX).0,
            is_ending: AtomicBool::new(false),
        };
        let inner = Arc::new(inner);
        let (beating, fatal) = (AssertUnwindSafe(beat(Arc::downgrade(&inner))), inner.opener.fatal.clone());
        tokio::spawn(async move {
            if beating.catch_unwind().await.is_err() {
                fatal.call("whoever sends the heartbeats of all groups has died");
            }
        });
        Ok(Self { inner })
    }

    /// Starts this node's replica of a group over what is on the disk, or over nothing; a damaged state is made again. A
    /// group that runs already as this replica is left alone. It takes no part until it is admitted.
    ///
    /// A replica id must never be used again after its disk was lost.
    pub async fn start_group(
        &self,
        id: GroupId,
        replica: ReplicaId,
        rules: Arc<dyn Machine>,
    ) -> Result<(), StartError> {
        let inner = &*self.inner;
        if inner.is_ending.load(Ordering::Acquire) {
            return Err(StartError::Ending);
        }
        if let Some(there) = self.replica(id) {
            return match there == replica {
                true => Ok(()),
                false => Err(StartError::AlreadyRuns { group: id, replica: there }),
            };
        }
        let own = Arc::new(Replica::new(id, replica, rules));
        let group = inner.opener.open(&own, With::ItsState).await.map_err(|error| match error {
            OpenError::State(halt) => StartError::State { group: id, halt },
            OpenError::Raft(why) => StartError::Raft { group: id, why },
        })?;
        let supervised = Supervised::begin(own, group, Arc::clone(&inner.opener), inner.events.clone());
        lock(&inner.groups).insert(id, supervised);
        Ok(())
    }

    /// Ends a group on this node in order. What it has on the disk stays, and it may be started again.
    pub async fn stop_group(&self, id: GroupId) {
        let supervised = lock(&self.inner.groups).remove(&id);
        if let Some(supervised) = supervised {
            supervised.stop().await;
        }
    }

    /// Removes what a stopped group has on this node, for good: its entries and votes from the log, then its state and its
    /// snapshots. After a crash between the two the state counts no more, and this may be called again.
    pub async fn forget_group(&self, id: GroupId) -> Result<(), StartError> {
        if let Some(replica) = self.replica(id) {
            return Err(StartError::AlreadyRuns { group: id, replica });
        }
        let failed = |error: std::io::Error| {
            let halt = Halt { why: format!("it cannot be forgotten: {error}") };
            StartError::State { group: id, halt }
        };
        let inner = &*self.inner;
        GroupStore::new(&inner.opener.log, id).forget().await.map_err(failed)?;
        let (host, directory) = (inner.host.clone(), inner.opener.directory.clone());
        inner.opener.snapshot_lane.run(move || state::remove_all(&host, &directory, id)).await?.map_err(failed)
    }

    /// Panics inside a group's task, as a bug there would, for tests of what becomes of it. `false`: the group does not run
    /// here.
    pub async fn kill_group(&self, id: GroupId) -> bool {
        let Some(group) = self.group(id) else { return false };
        // That it is dead is all that it can answer.
        let _ = group.raft.with_raft_state::<_, ()>(|_| panic!("a test kills the task of this group")).await;
        true
    }

    /// Tells of groups that died and run again, or cannot. Who is too slow misses some and is told so.
    pub fn events(&self) -> broadcast::Receiver<GroupEvent> {
        self.inner.events.subscribe()
    }

    /// Reads all rows of this node's replica, compares them with the digest that was kept, and says how many there are. What
    /// is wrong ends the group: its state is made again. Each group does this by itself once an hour.
    pub async fn scrub(&self, id: GroupId) -> Result<u64, ReadError> {
        let group = self.group(id).ok_or(ReadError::Stopped)?;
        scrub::scrub(&group, &self.inner.opener.scrub_lane).await.map_err(|_| ReadError::Stopped)
    }

    /// The replica that this node has of a group, whether it runs or is broken.
    pub fn replica(&self, id: GroupId) -> Option<ReplicaId> {
        self.own(id).map(|own| own.id)
    }

    /// How far this node's replica is durable.
    pub fn position(&self, id: GroupId) -> Option<Position> {
        let group = self.group(id)?;
        Some(
            group.log.look(|log| Position {
                vote_term: log.durable_vote_term(),
                last_index: log.durable().unwrap_or_default(),
            }),
        )
    }

    /// What this node remembers of another replica of a group, since it started: that one must have had as much on its
    /// disk. The index was acknowledged in that very term. `None`: the group is not on this node.
    pub fn known_of(&self, id: GroupId, replica: ReplicaId) -> Option<Position> {
        self.own(id).map(|own| own.known_of(replica))
    }

    /// Lets a replica take part: until then it answers no Raft message and never stands for election.
    pub fn admit(&self, id: GroupId) {
        if let Some(own) = self.own(id) {
            own.admit();
        }
        self.take_part(id);
    }

    /// A fenced replica neither leads nor votes. It still follows; one that leads falls silent, so hand its lead over
    /// before.
    pub fn fence(&self, id: GroupId, is_fenced: bool) {
        if let Some(own) = self.own(id) {
            own.fence(is_fenced);
        }
        self.take_part(id);
    }

    fn take_part(&self, id: GroupId) {
        if let Some(group) = self.group(id) {
            group.take_part();
        }
    }

    /// Who is in a group, as far as this replica knows.
    pub fn membership(&self, id: GroupId) -> Option<Membership> {
        self.group(id).map(|group| membership::of(&group))
    }

    /// Changes who is in a group, if that is still what the entry `expected` brought. Only the leader can.
    ///
    /// Dropping the future leaves the outcome unknown.
    pub async fn change(
        &self,
        id: GroupId,
        expected: Option<MembershipId>,
        change: MemberChange,
        within: Duration,
    ) -> Result<(), ChangeError> {
        let group = self.group(id).ok_or(ChangeError::Stopped)?;
        membership::change(&group, expected, change, within).await
    }

    /// Tells a group its members, and founds it if its log is empty. Call it on every member with the same members after
    /// each start, and again when learners are to be added; but never for a replica whose disk was lost.
    ///
    /// The voters found it; whoever leads then adds the learners that the membership does not have. Until the log has a
    /// membership, messages are taken from these members only.
    pub async fn initialize(&self, id: GroupId, members: BTreeMap<ReplicaId, Member>) -> Result<(), FoundError> {
        let voters: Vec<ReplicaId> =
            members.iter().filter(|(_, member)| member.voter).map(|(&replica, _)| replica).collect();
        // Each group begins with another of them: who leads all groups of a cluster works for all.
        let founder = usize::try_from(id.0).unwrap_or_default().checked_rem(voters.len());
        let founder = voters[founder.ok_or(FoundError::NotAMember)?];
        self.tell(id, members.clone())?;
        // One founds at once, so that one stands for election; the others follow if it does not (`keeping.rs`).
        let group = self.group(id).ok_or(FoundError::Stopped)?;
        group.own.may_found_with(members);
        if !group.own.is_admitted() {
            return Err(FoundError::NotAdmitted);
        }
        if founder == group.replica {
            keeping::found(&group).await.map_err(|why| FoundError::Failed { why })?;
        }
        Ok(())
    }

    /// Tells a group its members and founds nothing: for a group that others have, where a replica was replaced, and
    /// whenever the members have changed. Else a new member that leads is a stranger to whoever does not know it from the
    /// log yet.
    pub fn tell(&self, id: GroupId, members: BTreeMap<ReplicaId, Member>) -> Result<(), FoundError> {
        let own = self.own(id).ok_or(FoundError::Stopped)?;
        match members.get(&own.id) {
            Some(member) if member.node == self.inner.settings.node => {
                own.tell(members);
                Ok(())
            }
            Some(_) | None => Err(FoundError::NotAMember),
        }
    }

    /// Proposes an entry and waits until it is applied here. Only the leader can.
    ///
    /// Dropping the future leaves the outcome unknown.
    pub async fn propose(&self, id: GroupId, entry: Vec<u8>, within: Duration) -> Result<Applied, ProposeError> {
        let group = self.group(id).ok_or(ProposeError::Stopped)?;
        if PROPOSAL_BYTES_MAX < entry.len() {
            return Err(ProposeError::TooLong { bytes: entry.len() });
        }
        if !group.own.may_lead() {
            let leader = group.leader().filter(|(leader, _)| *leader != group.replica);
            return Err(ProposeError::NotLeader { leader: leader.map(|(_, node)| node) });
        }
        let was_sent = AtomicBool::new(false);
        let propose = async {
            let _turn = group.proposals.acquire().await.map_err(|_| ProposeError::Stopped)?;
            was_sent.store(true, Ordering::Relaxed);
            group.raft.client_write(Proposal(Bytes::from(entry))).await.map_err(|error| propose_error(&group, error))
        };
        match tokio::time::timeout(within, propose).await {
            Ok(Ok(response)) => Ok(Applied { index: response.log_id.index, answer: response.data.0 }),
            Ok(Err(error)) => Err(error),
            Err(_) if was_sent.load(Ordering::Relaxed) => {
                Err(ProposeError::Unknown { why: format!("no answer within {within:?}") })
            }
            Err(_) => Err(ProposeError::Busy),
        }
    }

    /// Answers a query from a state that has everything that was acknowledged before this call. Only the leader can,
    /// and it makes sure that it still leads (ReadIndex).
    pub async fn read(&self, id: GroupId, query: Vec<u8>, within: Duration) -> Result<Vec<u8>, ReadError> {
        let group = self.group(id).ok_or(ReadError::Stopped)?;
        match tokio::time::timeout(within, group.raft.ensure_linearizable(ReadPolicy::ReadIndex)).await {
            Ok(Ok(_)) => self.query(&group, query).await,
            Ok(Err(error)) => Err(read_error(&group, error)),
            Err(_) => Err(ReadError::Unavailable { why: format!("not confirmed within {within:?}") }),
        }
    }

    /// Answers a query from this replica's state as it is, which may be old.
    pub async fn read_local(&self, id: GroupId, query: Vec<u8>) -> Result<Vec<u8>, ReadError> {
        let group = self.group(id).ok_or(ReadError::Stopped)?;
        self.query(&group, query).await
    }

    /// Looks at this replica's rows as they are, which may be old. What is made of them never leaves this process: for
    /// values that only rows can make.
    pub async fn look<T: Send + 'static>(
        &self,
        id: GroupId,
        look: impl FnOnce(&dyn Reads) -> Result<T, Halt> + Send + 'static,
    ) -> Result<T, ReadError> {
        let group = self.group(id).ok_or(ReadError::Stopped)?;
        self.on_a_read_lane(&group, move |state| look(&state.view()?.rows)).await
    }

    async fn query(&self, group: &Group, query: Vec<u8>) -> Result<Vec<u8>, ReadError> {
        let rules = Arc::clone(&group.machine.rules);
        self.on_a_read_lane(group, move |state| rules.query(&state.view()?.rows, &query)).await
    }

    async fn on_a_read_lane<T: Send + 'static>(
        &self,
        group: &Group,
        read: impl FnOnce(&StateStore) -> Result<T, Halt> + Send + 'static,
    ) -> Result<T, ReadError> {
        let lanes = &self.inner.read_lanes;
        let lane = &lanes[self.inner.next_read_lane.fetch_add(1, Ordering::Relaxed) % lanes.len()];
        let state = group.machine.state.clone();
        run_shared(lane, move || read(&state)).await.map_err(|halt| {
            group.health.report(Death::State(halt.why));
            ReadError::Stopped
        })
    }

    /// Follows the index of the last applied entry; 0 until there is one (entry 0 is the first membership).
    pub fn applied(&self, id: GroupId) -> Option<watch::Receiver<u64>> {
        self.own(id).map(|own| own.applied.subscribe())
    }

    /// Waits until this replica has applied an entry.
    pub async fn wait_applied(&self, id: GroupId, index: u64, within: Duration) -> Result<(), WaitError> {
        let mut applied = self.applied(id).ok_or(WaitError::Stopped)?;
        let reach = async { applied.wait_for(|applied| index <= *applied).await.map(|_| ()) };
        match tokio::time::timeout(within, reach).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(WaitError::Stopped),
            Err(_) => Err(WaitError::NotYet { applied: *applied.borrow() }),
        }
    }

    /// News of every group: the index of the last applied entry, after each batch. Who is too slow misses some and is
    /// told so: then look at [`Consensus::applied`].
    pub fn on_applied(&self) -> broadcast::Receiver<(GroupId, u64)> {
        self.inner.opener.news.subscribe()
    }

    /// Who leads a group, as far as this replica knows.
    pub fn leader(&self, id: GroupId) -> Option<(ReplicaId, NodeName)> {
        self.group(id)?.leader()
    }

    /// Whether this node's replica leads, as far as it knows.
    pub fn leads(&self, id: GroupId) -> bool {
        self.group(id).is_some_and(|group| group.leads())
    }

    /// Whether this node's replica leads and nobody led before it: then it remembers of everybody who acknowledged anything
    /// in the group that they did ([`Self::known_of`]).
    pub fn leads_since_founding(&self, id: GroupId) -> bool {
        self.group(id).is_some_and(|group| {
            group.leads() && group.log.look(|log| log.first_led_term() == Some(log.durable_vote_term()))
        })
    }

    /// The groups that this node leads, as far as it knows.
    pub fn led(&self) -> Vec<GroupId> {
        let groups = lock(&self.inner.groups);
        let leads = |supervised: &Supervised| supervised.running().is_some_and(|group| group.leads());
        groups.iter().filter(|(_, supervised)| leads(supervised)).map(|(id, _)| *id).collect()
    }

    /// How a group stands.
    pub fn status(&self, id: GroupId) -> Option<GroupStatus> {
        self.group(id).map(|group| group.status())
    }

    /// The groups of which a replica is here, also those that are broken.
    pub fn groups(&self) -> Vec<GroupId> {
        lock(&self.inner.groups).keys().copied().collect()
    }

    /// Asks another replica to lead. It may decline; watch [`Consensus::leader`].
    pub async fn transfer(&self, id: GroupId, to: ReplicaId) -> Result<(), ProposeError> {
        let group = self.group(id).ok_or(ProposeError::Stopped)?;
        group.raft.trigger().transfer_leader(to.0).await.map_err(|_| ProposeError::Stopped)
    }

    /// Writes a snapshot of a group as it is and lets its log go up to an entry that the snapshot has. The group does
    /// this by itself when its log is deep and keeps a long tail; a person may want it sooner, of a group that is quiet:
    /// openraft can fail where a purge comes close to entries that are being applied.
    pub async fn snapshot_and_purge(&self, id: GroupId, upto: u64) -> Result<(), WaitError> {
        let group = self.group(id).ok_or(WaitError::Stopped)?;
        let applied = group.machine.state.applied_index().unwrap_or_default();
        if applied < upto {
            return Err(WaitError::NotYet { applied });
        }
        let stopped = |_| WaitError::Stopped;
        group.raft.trigger().snapshot().await.map_err(stopped)?;
        let raft = group.raft.wait(None);
        let has_snapshot = |metrics: &RaftMetrics<_>| upto <= metrics.snapshot.map_or(0, |last| last.index);
        raft.metrics(has_snapshot, "snapshot").await.map_err(|_| WaitError::Stopped)?;
        group.raft.trigger().purge_log(upto).await.map_err(stopped)?;
        let is_purged = |metrics: &RaftMetrics<_>| upto <= metrics.purged.map_or(0, |last| last.index);
        raft.metrics(is_purged, "purge").await.map_err(|_| WaitError::Stopped)?;
        self.inner.opener.log.remove_old_files().await.map_err(|_| WaitError::Stopped)
    }

    /// Answers a message that came from the node `from`: its certificate said so.
    pub async fn handle(&self, from: &NodeName, message: Message) -> Result<Bytes, HandleError> {
        if message.kind == Kind::Heartbeats as u8 {
            return self.hear(from, message).await;
        }
        let group = self.group(message.group).ok_or(HandleError::NoSuchGroup(message.group))?;
        door::handle(&group, from, message).await
    }

    /// Answers heartbeats to many groups at once, each as if it had come alone.
    async fn hear(&self, from: &NodeName, message: Message) -> Result<Bytes, HandleError> {
        let malformed = |why: String| HandleError::Malformed(why);
        if (message.group.0, message.from.0, message.to.0) != (0, 0, 0) {
            return Err(malformed("heartbeats of many groups in the name of one".into()));
        }
        let ask: HeartbeatsAsk = codec::decode(&message.body).map_err(|error| malformed(error.to_string()))?;
        let patience = self.inner.settings.timing.heartbeat_patience();
        let reply = heartbeats::hear(ask.heartbeats, patience, |heartbeat| async move {
            match self.group(heartbeat.group) {
                Some(group) => door::hear(&group, from, heartbeat).await,
                None => HeartbeatReply::Refused,
            }
        });
        Ok(Bytes::from(codec::encode(&reply.await)))
    }

    /// Ends all groups, makes their states durable and flushes the log. Nothing works afterwards.
    pub async fn shutdown(&self) {
        self.inner.is_ending.store(true, Ordering::Release);
        let groups = std::mem::take(&mut *lock(&self.inner.groups));
        let stops: Vec<_> = groups.values().map(|supervised| supervised.stop()).collect();
        futures_util::future::join_all(stops).await;
        if let Err(error) = self.inner.opener.log.flush().await {
            tracing::warn!(%error, "the log was not flushed at the end");
        }
    }

    /// Whether the disk has more room than the reserve of log and states (128 MiB). Without, refuse whatever
    /// brings more data: what frees space, and reads, must go on. The log itself takes proposals to the last block, and a
    /// disk that is full then ends the process.
    pub async fn has_room(&self) -> bool {
        let (host, data_dir) = (self.inner.host.clone(), self.inner.settings.data_dir.clone());
        let free = self.inner.read_lanes[0].run(move || host.files().free_bytes(&data_dir)).await;
        matches!(free, Ok(Ok(free)) if RESERVE_BYTES <= free)
    }

    /// Where `log/` and `state/` are.
    pub fn data_dir(&self) -> &Path {
        &self.inner.settings.data_dir
    }

    fn group(&self, id: GroupId) -> Option<Arc<Group>> {
        lock(&self.inner.groups).get(&id)?.running()
    }

    fn own(&self, id: GroupId) -> Option<Arc<Replica>> {
        lock(&self.inner.groups).get(&id).map(|supervised| Arc::clone(&supervised.own))
    }
}

/// Sends the heartbeats of all groups that this node leads, at the same moment. Ends when nobody has the groups any more.
async fn beat(inner: Weak<Inner>) {
    loop {
        let Some(inner) = inner.upgrade() else { return };
        let pause = inner.settings.timing.heartbeat();
        let running: Vec<_> = lock(&inner.groups).values().filter_map(|supervised| supervised.running()).collect();
        running.iter().for_each(|group| group.beat());
        drop((running, inner));
        tokio::time::sleep(pause).await;
    }
}

fn propose_error(group: &Group, error: RaftError<TypeConfig, ClientWriteError<TypeConfig>>) -> ProposeError {
    match error {
        RaftError::APIError(ClientWriteError::ForwardToLeader(forward)) => {
            ProposeError::NotLeader { leader: leader_of(group, forward) }
        }
        RaftError::APIError(
            error @ (ClientWriteError::LogEntryDiscarded(_)
            | ClientWriteError::ChangeMembershipError(_)
            | ClientWriteError::PreconditionFailed(_)),
        ) => ProposeError::Unknown { why: error.to_string() },
        RaftError::Fatal(fatal) => ProposeError::Unknown { why: fatal.to_string() },
    }
}

fn read_error(group: &Group, error: RaftError<TypeConfig, LinearizableReadError<TypeConfig>>) -> ReadError {
    match error {
        RaftError::APIError(LinearizableReadError::ForwardToLeader(forward)) => {
            ReadError::NotLeader { leader: leader_of(group, forward) }
        }
        RaftError::APIError(LinearizableReadError::QuorumNotEnough(error)) => {
            ReadError::Unavailable { why: error.to_string() }
        }
        RaftError::Fatal(_) => ReadError::Stopped,
    }
}

/// The leader that openraft names. A leader without a majority names nobody, and that is passed on.
fn leader_of(group: &Group, forward: ForwardToLeader<TypeConfig>) -> Option<NodeName> {
    match (forward.leader_node, forward.leader_id) {
        (Some(node), _) => Some(node.name),
        (None, Some(leader)) => group.node_of(ReplicaId(leader)),
        (None, None) => None,
    }
}

#[cfg(test)]
mod tests;
