//! Opens a replica's stores and starts its task: as they lie there, or with a state made again of snapshot and log.
//!
//! ```text
//!   state file ─ opens ─▶ openraft installs a newer snapshot of our own and applies the log behind it
//!        └ damaged ─▶ `<group>.redb.aside`, an empty one ─▶ the same: snapshot, then log
//!   log purged farther than state and snapshot reach ─▶ lost: this replica cannot be made again here
//!   a state or snapshot, and a log that has nothing of the group ─▶ left of a forgotten replica, or of a lost log: set aside
//! ```
//!
//! The last line follows from the law that a state is never durable ahead of its log (`checkpoint.rs`).
//! Not here: when this is tried, and how often (`supervise.rs`).

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use openraft::Raft;
use strongroom_core::tables::Halt;
use strongroom_format::id::GroupId;
use strongroom_host::Host;
use strongroom_host::lane::Lane;
use tokio::sync::{Semaphore, broadcast};

use crate::checkpoint::Checkpointer;
use crate::depth::LogDepth;
use crate::fatal::Fatal;
use crate::group::Replica;
use crate::health::{Health, run_shared};
use crate::heartbeats::Heartbeats;
use crate::keeping;
use crate::log::SharedLog;
use crate::log::store::GroupStore;
use crate::machine::GroupMachine;
use crate::network::Network;
use crate::running::{Group, PROPOSALS_MAX};
use crate::snapshot::SnapshotPlace;
use crate::state::{self, StateStore};
use crate::timing::Timing;
use crate::transfers::{Departures, Transfers};
use crate::transport::Transport;
use crate::types::Runtime;

/// With which state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum With {
    /// The one that lies there, or an empty one.
    ItsState,
    /// The one that lies there is set aside.
    NewState,
}

/// Why a replica does not run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum OpenError {
    /// The state does not open, or holds less than the log begins with.
    #[error("{0}")]
    State(Halt),
    /// openraft does not start: log and state do not fit together.
    #[error("{0}")]
    Raft(String),
}

/// What all replicas of this node share.
pub(crate) struct Opener {
    pub(crate) host: Host,
    /// Where states and snapshots are.
    pub(crate) directory: PathBuf,
    pub(crate) timing: Timing,
    pub(crate) depth: LogDepth,
    pub(crate) transfers: Arc<Transfers>,
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) heartbeats: Heartbeats,
    pub(crate) log: SharedLog,
    pub(crate) snapshot_lane: Lane,
    pub(crate) scrub_lane: Lane,
    pub(crate) news: broadcast::Sender<(GroupId, u64)>,
    pub(crate) fatal: Fatal,
}

impl Opener {
    /// Opens and starts; a state that is damaged is made again.
    pub(crate) async fn open(&self, own: &Arc<Replica>, with: With) -> Result<Arc<Group>, OpenError> {
        match self.open_with(own, with).await {
            Err(damaged) if with == With::ItsState => {
                tracing::error!(group = %own.group, %damaged, "a state does not open and is made again");
                self.open_with(own, With::NewState).await
            }
            opened => opened,
        }
    }

    async fn open_with(&self, own: &Arc<Replica>, with: With) -> Result<Arc<Group>, OpenError> {
        let id = own.group;
        let lane = self.host.lane(&format!("state-{id}"));
        let snapshots = SnapshotPlace::new(&self.host, &self.directory, id);
        let log = GroupStore::new(&self.log, id);
        let state = run_shared(&lane, self.stores(id, with, &snapshots, &log)).await.map_err(OpenError::State)?;
        let health = Health::new();
        let checkpointer = Checkpointer::new(&state, &lane, &self.log, &log, &health, &self.fatal);
        own.applied.send_replace(state.applied_index().unwrap_or_default());
        let machine = GroupMachine {
            group: id,
            rules: Arc::clone(&own.rules),
            state,
            lane,
            snapshots,
            snapshot_lane: self.snapshot_lane.clone(),
            checkpointer: Some(checkpointer.clone()),
            applied: own.applied.clone(),
            news: self.news.clone(),
            health: health.clone(),
        };
        let departures = Arc::new(Departures::default());
        let network = Network {
            transport: Arc::clone(&self.transport),
            heartbeats: self.heartbeats.clone(),
            heartbeat_within: self.timing.heartbeat_within(),
            own: Arc::clone(own),
            transfers: Arc::clone(&self.transfers),
            departures: Arc::clone(&departures),
            snapshot_lane: self.snapshot_lane.clone(),
        };
        let config = self.timing.config(id, self.depth).map_err(|error| OpenError::Raft(error.to_string()))?;
        let mut seed = [0; 8];
        self.host.entropy().fill(&mut seed);
        let raft = Raft::new(own.id.0, config, network, log.clone(), machine.clone());
        // every task that it starts has numbers of its own from this seed
        let raft = Runtime::scope(u64::from_le_bytes(seed), raft);
        let raft = raft.await.map_err(|error| OpenError::Raft(error.to_string()))?;
        let group = Arc::new(Group {
            id,
            replica: own.id,
            own: Arc::clone(own),
            raft,
            machine,
            log,
            checkpointer,
            snapshot_lane: self.snapshot_lane.clone(),
            health,
            depth: self.depth,
            proposals: Semaphore::new(PROPOSALS_MAX),
            arriving: Arc::default(),
            departures,
            transfers: Arc::clone(&self.transfers),
            keeper: Mutex::default(),
        });
        group.take_part();
        let keeper = keeping::keep(Arc::clone(&group), self.log.clone(), self.fatal.clone());
        *crate::group::lock(&group.keeper) = Some(tokio::spawn(keeper));
        Ok(group)
    }

    /// What opens the state, on its lane.
    fn stores(
        &self,
        id: GroupId,
        with: With,
        snapshots: &SnapshotPlace,
        log: &GroupStore,
    ) -> impl FnOnce() -> Result<StateStore, Halt> + Send + 'static {
        let (host, directory, snapshots, log) =
            (self.host.clone(), self.directory.clone(), snapshots.clone(), log.clone());
        move || {
            let failed = |error: io::Error| Halt { why: format!("the state's directory fails: {error}") };
            // A replica votes before it takes its first entry or snapshot, and a vote is durable at once.
            let is_left_over = log.look(|log| log.is_untouched());
            if with == With::NewState || is_left_over {
                state::set_aside(&host, &directory, id).map_err(failed)?;
            }
            if is_left_over {
                snapshots.set_aside().map_err(failed)?;
            }
            let state = StateStore::open(&host, &directory, id)?;
            snapshots.clean().map_err(failed)?;
            let purged = log.look(|log| log.purged().map(|purged| purged.index));
            if state.applied_index() < purged {
                let snapshot = snapshots.current().map_err(failed)?.and_then(|snapshot| snapshot.applied().last);
                if snapshot.map(|last| last.index) < purged {
                    return Err(Halt {
                        why: format!("the log begins behind entry {purged:?}, and no state reaches it"),
                    });
                }
            }
            Ok(state)
        }
    }
}
