//! The way to whoever leads a group: here, or at another node, following hints, waiting elections out.
//!
//! ```text
//!   who led last? ─▶ try ─ done ─▶ remembered
//!                     └ leads not, surely nothing happened ─▶ its hint, else the next voter ─ … ─▶ pause ─▶ again
//! ```
//!
//! Promises: an attempt whose effect is not surely nothing ends the search; the search ends at its deadline.
//! Not here: what is attempted (`propose.rs`, `reads.rs`).

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use strongroom_consensus::groups::Consensus;
use strongroom_format::id::{GroupId, NodeName};
use strongroom_peers::peers::Peers;
use tokio::time::Instant;

use crate::topology::InForce;

/// The pause when nobody leads.
const PAUSE: Duration = Duration::from_millis(50);

/// Where to try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Here,
    There(NodeName),
}

/// What an attempt gave.
pub(crate) enum Step<T> {
    /// The end, whatever it is.
    Done(T),
    /// It does not lead, and surely nothing happened; perhaps it knows who does.
    Elsewhere(Option<NodeName>),
}

/// Finds leaders. Clones share what they learned.
#[derive(Clone)]
pub struct Route {
    pub(crate) me: NodeName,
    pub(crate) consensus: Consensus,
    pub(crate) peers: Peers,
    pub(crate) topology: InForce,
    led_last: Arc<Mutex<BTreeMap<GroupId, NodeName>>>,
}

impl Route {
    /// From node `me`.
    pub fn new(me: NodeName, consensus: Consensus, peers: Peers, topology: InForce) -> Self {
        Self { me, consensus, peers, topology, led_last: Arc::default() }
    }

    /// Who leads a group, as far as is known here.
    pub fn leader(&self, group: GroupId) -> Option<NodeName> {
        let here = self.consensus.leader(group).map(|(_, node)| node);
        here.or_else(|| self.led_last().get(&group).cloned())
    }

    /// Tries whoever leads until an attempt is done. `None`: nobody was found who leads, and surely nothing happened.
    pub(crate) async fn at_leader<T, F>(
        &self,
        group: GroupId,
        within: Duration,
        attempt: impl Fn(Target, Duration) -> F,
    ) -> Option<T>
    where
        F: Future<Output = Step<T>>,
    {
        let ends = Instant::now() + within;
        let mut tried = BTreeSet::new();
        let mut hint = None;
        loop {
            let left = ends.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            let Some(node) = self.next(group, hint.take(), &tried) else {
                tried.clear();
                tokio::time::sleep(PAUSE.min(left)).await;
                continue;
            };
            tried.insert(node.clone());
            let target = if node == self.me { Target::Here } else { Target::There(node.clone()) };
            // Boxed: the futures of everything above would grow with each floor.
            match Box::pin(attempt(target, left)).await {
                Step::Done(done) => {
                    self.led_last().insert(group, node);
                    return Some(done);
                }
                Step::Elsewhere(named) => {
                    self.led_last().remove(&group);
                    hint = named;
                }
            }
        }
    }

    /// The hint, who leads as far as is known, then the voters, those that are well first.
    fn next(&self, group: GroupId, hint: Option<NodeName>, tried: &BTreeSet<NodeName>) -> Option<NodeName> {
        let untried = |node: &NodeName| !tried.contains(node);
        if let Some(node) = hint.or_else(|| self.leader(group)).filter(untried) {
            return Some(node);
        }
        let voters = self.topology.now().voters_of(group);
        let is_far = |node: &NodeName| *node != self.me && self.peers.is_suspect(node);
        voters.into_iter().filter(untried).min_by_key(is_far)
    }

    fn led_last(&self) -> std::sync::MutexGuard<'_, BTreeMap<GroupId, NodeName>> {
        self.led_last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
