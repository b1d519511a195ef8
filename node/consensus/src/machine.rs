//! One group's state machine as openraft sees it: the rules over the state, applied in batches on the group's lane.
//!
//! A `Halt` of the rules, a row that does not verify and a panic in any of them end the group: entries behind it must not
//! be applied.

use std::io;
use std::sync::Arc;

use futures_util::{Stream, TryStreamExt};
use openraft::storage::{EntryResponder, RaftStateMachine};
use openraft::{OptionalSend, RaftSnapshotBuilder};
use strongroom_core::machine::Machine;
use strongroom_core::tables::Halt;
use strongroom_format::id::GroupId;
use strongroom_host::lane::Lane;
use tokio::sync::{broadcast, watch};

use crate::checkpoint::Checkpointer;
use crate::health::{Death, Health, run_shared};
use crate::metrics;
use crate::plain::entry_bytes;
use crate::snapshot::{SnapshotFile, SnapshotPlace};
use crate::state::StateStore;
use crate::types::{Answer, Entry, LogId, Snapshot, SnapshotMeta, StoredMembership, TypeConfig, term_of};

/// One transaction takes so many entries …
const BATCH_ENTRIES_MAX: usize = 512;

/// … and stops behind the one that reaches so many bytes.
const BATCH_BYTES_MAX: usize = 1 << 20;

/// See the head of the file.
#[derive(Clone)]
pub(crate) struct GroupMachine {
    pub(crate) group: GroupId,
    pub(crate) rules: Arc<dyn Machine>,
    pub(crate) state: StateStore,
    /// The lane on which the state changes.
    pub(crate) lane: Lane,
    pub(crate) snapshots: SnapshotPlace,
    /// The lane on which snapshots are written and read.
    pub(crate) snapshot_lane: Lane,
    /// `None` only where there is no log: in openraft's own suite.
    pub(crate) checkpointer: Option<Checkpointer>,
    pub(crate) applied: watch::Sender<u64>,
    pub(crate) news: broadcast::Sender<(GroupId, u64)>,
    pub(crate) health: Health,
}

impl GroupMachine {
    /// Runs on a lane; what goes wrong there ends the group.
    async fn run<T: Send + 'static>(
        &self,
        lane: &Lane,
        work: impl FnOnce() -> Result<T, Halt> + Send + 'static,
    ) -> io::Result<T> {
        run_shared(lane, work).await.map_err(|halt| {
            self.health.report(Death::State(halt.why.clone()));
            io::Error::other(halt)
        })
    }

    async fn apply_batch(&self, entries: Vec<Entry>) -> io::Result<Vec<Vec<u8>>> {
        let count = entries.len() as u64;
        let last = entries.last().map(|entry| entry.log_id);
        let before = self.state.applied().last;
        let (rules, state) = (Arc::clone(&self.rules), self.state.clone());
        let answers = self.run(&self.lane, move || state.apply(&*rules, &entries)).await?;
        metrics::committed(self.group, count);
        if let Some(last) = last {
            let terms = term_of(&last).saturating_sub(before.as_ref().map_or(0, term_of));
            metrics::terms_passed(self.group, terms);
            self.tell_applied(last.index);
        }
        Ok(answers)
    }

    fn tell_applied(&self, index: u64) {
        self.applied.send_replace(index);
        // nobody may be listening
        let _ = self.news.send((self.group, index));
    }
}

impl RaftStateMachine<TypeConfig> for GroupMachine {
    type SnapshotData = SnapshotFile;
    type SnapshotBuilder = Self;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        let applied = self.state.applied();
        Ok((applied.last, applied.membership))
    }

    async fn apply<S>(&mut self, mut entries: S) -> io::Result<()>
    where
        S: Stream<Item = io::Result<EntryResponder<TypeConfig>>> + Unpin + OptionalSend,
    {
        loop {
            let (mut batch, mut responders, mut bytes) = (Vec::new(), Vec::new(), 0);
            while batch.len() < BATCH_ENTRIES_MAX && bytes < BATCH_BYTES_MAX {
                let Some((entry, responder)) = entries.try_next().await? else { break };
                bytes += entry_bytes(&entry);
                batch.push(entry);
                responders.push(responder);
            }
            if batch.is_empty() {
                return Ok(());
            }
            let answers = self.apply_batch(batch).await?;
            for (responder, answer) in responders.into_iter().zip(answers) {
                if let Some(responder) = responder {
                    responder.send(Answer(answer));
                }
            }
        }
    }

    /// Declines when the disk has no room for one, unless a replica needs it.
    async fn try_create_snapshot_builder(&mut self, force: bool) -> Option<Self> {
        let (place, state) = (self.snapshots.clone(), self.state.clone());
        // not on the lane of snapshots: applying waits for this, and another group's snapshot may take minutes there
        let has_room = self.lane.run(move || place.has_room_for(state.file_bytes())).await;
        match force || matches!(has_room, Ok(Ok(true))) {
            true => Some(self.clone()),
            false => {
                tracing::warn!(group = %self.group, "no room on the disk for a snapshot");
                None
            }
        }
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, snapshot: SnapshotFile) -> io::Result<()> {
        if snapshot.meta() != *meta {
            return Err(io::Error::other("a snapshot is not the one that was announced"));
        }
        // Entries that contradict the snapshot were truncated before this call. If a crash brought them back beside the
        // new state, neither would be right.
        if let Some(checkpointer) = &self.checkpointer {
            checkpointer.flush_log().await?;
        }
        let (state, place, meta) = (self.state.clone(), self.snapshots.clone(), meta.clone());
        let last = self
            .run(&self.lane, move || {
                let failed = |error: io::Error| Halt { why: format!("a snapshot cannot be installed: {error}") };
                // On restart the group's own snapshot comes here; it has its name already.
                let is_current =
                    place.current().map_err(failed)?.is_some_and(|current| current.meta() == snapshot.meta());
                let snapshot = if is_current { snapshot } else { place.adopt(&snapshot).map_err(failed)? };
                if snapshot.meta() != meta {
                    return Err(Halt { why: "a later snapshot than the one to be installed is here".into() });
                }
                state.replace(snapshot.applied().clone(), snapshot.rows().map_err(failed)?)?;
                Ok(snapshot.applied().last.map(|last| last.index))
            })
            .await?;
        metrics::snapshot_installed();
        if let Some(last) = last {
            self.tell_applied(last);
        }
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<Snapshot<SnapshotFile>>> {
        let place = self.snapshots.clone();
        // not on the lane of snapshots: applying waits for this, and another group's snapshot may take minutes there
        let current = self.lane.run(move || place.current()).await.map_err(io::Error::other)??;
        Ok(current.map(|snapshot| Snapshot { meta: snapshot.meta(), snapshot }))
    }
}

impl RaftSnapshotBuilder<TypeConfig> for GroupMachine {
    type SnapshotData = SnapshotFile;

    async fn build_snapshot(&mut self) -> io::Result<Snapshot<SnapshotFile>> {
        // The view comes first and the checkpoint then covers it, so that what openraft purges afterwards is never
        // needed again to rebuild the state.
        let state = self.state.clone();
        let view = self.run(&self.snapshot_lane, move || state.view()).await?;
        if let Some(checkpointer) = &self.checkpointer {
            checkpointer.checkpoint().await?;
        }
        let place = self.snapshots.clone();
        let snapshot = self
            .run(&self.snapshot_lane, move || {
                place.write(&view).map_err(|error| Halt { why: format!("a snapshot cannot be written: {error}") })
            })
            .await?;
        metrics::snapshot_built();
        Ok(Snapshot { meta: snapshot.meta(), snapshot })
    }
}
