//! Watches over one replica: what died is closed, opened again from its store, and given up when that does not help.
//!
//! ```text
//!   running ─ death ─▶ closed ─▶ opened again ─▶ running          event Restarted
//!      │                  ├ cannot be ─────────▶ broken           event Broken: the floors above ask for a new replica
//!      │                  └ third within 10 min ▶ broken
//!      └ stop ─▶ checkpoint, closed ─▶ over
//! ```
//!
//! One task owns all of this, so that nothing is opened while it is being closed. A death costs the group alone: others on
//! this node go on. Not here: what counts as a death (`health.rs`), how a store is opened (`opening.rs`).

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{broadcast, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::group::{GroupEvent, Replica, What, lock};
use crate::health::Death;
use crate::metrics;
use crate::opening::{Opener, With};
use crate::running::Group;
use crate::scrub;

/// So many deaths …
const DEATHS_MAX: usize = 3;

/// … within so long are too many.
const DEATHS_WITHIN: Duration = Duration::from_secs(600);

/// Whoever still uses a dead group's state is done by then.
const CLOSED_WITHIN: Duration = Duration::from_secs(60);

/// A replica and whoever watches over it.
pub(crate) struct Supervised {
    pub(crate) own: Arc<Replica>,
    /// `None` between two lives, and when it is broken.
    running: Mutex<Option<Arc<Group>>>,
    stop: watch::Sender<bool>,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Supervised {
    /// Takes a group that runs, and watches over it.
    pub(crate) fn begin(
        own: Arc<Replica>,
        group: Arc<Group>,
        opener: Arc<Opener>,
        events: broadcast::Sender<GroupEvent>,
    ) -> Arc<Self> {
        let supervised = Arc::new(Self {
            own,
            running: Mutex::new(Some(group)),
            stop: watch::channel(false).0,
            task: Mutex::default(),
        });
        let task = tokio::spawn(watch_over(Arc::clone(&supervised), opener, events));
        *lock(&supervised.task) = Some(task);
        supervised
    }

    /// The group, if it runs.
    pub(crate) fn running(&self) -> Option<Arc<Group>> {
        lock(&self.running).clone()
    }

    /// Ends it in order, and waits until its files are closed.
    pub(crate) async fn stop(&self) {
        self.stop.send_replace(true);
        let task = lock(&self.task).take();
        if let Some(task) = task
            && let Err(error) = task.await
        {
            tracing::error!(group = %self.own.group, %error, "whoever watched over a group has died");
        }
    }
}

async fn watch_over(supervised: Arc<Supervised>, opener: Arc<Opener>, events: broadcast::Sender<GroupEvent>) {
    let id = supervised.own.group;
    let mut stop = supervised.stop.subscribe();
    let mut deaths = VecDeque::new();
    loop {
        let Some(group) = supervised.running() else { return };
        let death = tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => None,
            death = group.health.died() => Some(death),
            () = scrub::now_and_then(&group, &opener.scrub_lane) => None,
        };
        // from here on nobody finds it
        lock(&supervised.running).take();
        let is_closed = close(group, death.is_none()).await;
        let Some(death) = death else { return };
        metrics::group_died(&death);
        tracing::error!(group = %id, %death, "a group has died");
        let now = Instant::now();
        deaths.push_back(now);
        deaths.retain(|died| now.duration_since(*died) <= DEATHS_WITHIN);
        let with = match death {
            Death::Task(_) => With::ItsState,
            Death::State(_) => With::NewState,
        };
        let opened = match is_closed {
            _ if DEATHS_MAX <= deaths.len() => Err(format!("it died {DEATHS_MAX} times in a short time: {death}")),
            false => Err(format!("its state stays in use: {death}")),
            true => {
                opener.open(&supervised.own, with).await.map_err(|error| format!("{error}; it died because {death}"))
            }
        };
        let what = match opened {
            Ok(group) => {
                *lock(&supervised.running) = Some(group);
                // what it may do can have changed while it was opened
                supervised.running().inspect(|group| group.take_part());
                What::Restarted
            }
            Err(why) => {
                tracing::error!(group = %id, why, "a group is broken");
                What::Broken { why }
            }
        };
        metrics::group_event(&what);
        // nobody may be listening
        let _ = events.send(GroupEvent { group: id, what });
    }
}

/// Ends task and keeper and waits until nobody has the state open. `false`: somebody has.
async fn close(group: Arc<Group>, is_well: bool) -> bool {
    group.proposals.close();
    let keeper = lock(&group.keeper).take();
    if let Some(keeper) = keeper {
        keeper.abort();
        // it was aborted, or has ended by itself
        let _ = keeper.await;
    }
    if let Err(error) = group.raft.shutdown().await {
        tracing::warn!(group = %group.id, %error, "a group did not end in order");
    }
    if is_well && let Err(error) = group.checkpointer.checkpoint().await {
        tracing::warn!(group = %group.id, %error, "the last checkpoint failed");
    }
    let mut closed = group.machine.state.closed();
    drop(group);
    let all_let_go = async { while closed.changed().await.is_ok() {} };
    tokio::time::timeout(CLOSED_WITHIN, all_let_go).await.is_ok()
}
