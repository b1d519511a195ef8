//! Members that gave a wrong fragment: remembered for a while, so that they are asked last (N98).
//!
//! A member that finds damage on its own disk says so and is not meant. One that gives bytes which are not the fragment's
//! may lie, or have a store that does; what it gives costs time only, since the blob's own hash judges. Not here: telling
//! good fragments from wrong ones (`solve.rs`), proving what a member took in (DESIGN.md §10).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use strongroom_format::id::{GroupId, NodeName};
use tokio::time::Instant;

use crate::metrics;

/// For so long.
const REMEMBERED: Duration = Duration::from_secs(600);

/// Who gave wrong fragments, and when last. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wrong(Arc<Mutex<BTreeMap<NodeName, Instant>>>);

impl Wrong {
    /// A member gave a wrong fragment.
    pub(crate) fn mark(&self, node: &NodeName, group: GroupId, now: Instant) {
        metrics::fragment_wrong();
        if !self.is_marked(node, now) {
            tracing::error!(%node, shard = %group, "a member gives wrong fragments; it is asked last from now on");
        }
        self.marks().insert(node.clone(), now);
    }

    /// Whether a member gave a wrong fragment lately.
    pub(crate) fn is_marked(&self, node: &NodeName, now: Instant) -> bool {
        self.marks().get(node).is_some_and(|marked| now.saturating_duration_since(*marked) < REMEMBERED)
    }

    fn marks(&self) -> MutexGuard<'_, BTreeMap<NodeName, Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn n98_a_member_that_gave_a_wrong_fragment_is_marked_for_a_while_and_no_other_is() {
        let (wrong, name) = (Wrong::default(), |name: &str| name.parse::<NodeName>().expect("a name"));
        let (liar, honest, begin) = (name("north-1"), name("south-1"), Instant::now());
        wrong.mark(&liar, GroupId(1), begin);
        assert_eq!((wrong.is_marked(&liar, begin), wrong.is_marked(&honest, begin)), (true, false));
        wrong.mark(&liar, GroupId(2), begin + REMEMBERED / 2);
        assert!(wrong.is_marked(&liar, begin + REMEMBERED), "it did so again meanwhile");
        assert!(!wrong.is_marked(&liar, begin + 2 * REMEMBERED));
    }
}
