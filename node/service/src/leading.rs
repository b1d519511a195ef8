//! Which groups this node leads: where workers that propose have work.
//!
//! A node that believes that it leads and does not any more proposes in vain: harmless.

use std::collections::BTreeMap;
use std::time::Duration;

use strongroom_consensus::groups::Consensus;
use strongroom_format::id::GroupId;

/// The shards that this node leads, as far as it knows.
pub(crate) fn shards(consensus: &Consensus) -> Vec<GroupId> {
    groups(consensus).into_iter().filter(|group| *group != GroupId::CLUSTER).collect()
}

/// The groups that this node leads, as far as it knows.
pub(crate) fn groups(consensus: &Consensus) -> Vec<GroupId> {
    consensus.led()
}

/// The shards in which a worker found nothing to do. What it asks is answered from the group's rows alone, so the answer is
/// the same until something is applied: it is not asked again before.
#[derive(Default)]
pub(crate) struct Quiet(BTreeMap<GroupId, u64>);

impl Quiet {
    /// What is applied here, which must be asked before the rows are; `None`: nothing has changed since nothing was found.
    pub(crate) fn changed(&self, consensus: &Consensus, group: GroupId) -> Option<u64> {
        self.since(group, consensus.applied(group).map(|applied| *applied.borrow())?)
    }

    fn since(&self, group: GroupId, applied: u64) -> Option<u64> {
        (self.0.get(&group) != Some(&applied)).then_some(applied)
    }

    /// Nothing was found when, or after, this was applied.
    pub(crate) fn found_nothing(&mut self, group: GroupId, applied: u64) {
        self.0.insert(group, applied);
    }
}

/// The shards that this node leads and that are not quiet, one after the other, over and over, with a rest behind the last
/// one.
pub(crate) struct Rounds<'a> {
    consensus: &'a Consensus,
    every: Duration,
    left: std::vec::IntoIter<GroupId>,
    quiet: Quiet,
    turn: Option<(GroupId, u64)>,
}

/// Begins at once; between two rounds lies a rest.
pub(crate) fn rounds(consensus: &Consensus, every: Duration) -> Rounds<'_> {
    Rounds { consensus, every, left: shards(consensus).into_iter(), quiet: Quiet::default(), turn: None }
}

impl Rounds<'_> {
    /// Whose turn it is.
    pub(crate) async fn next(&mut self) -> GroupId {
        loop {
            for group in self.left.by_ref() {
                if let Some(applied) = self.quiet.changed(self.consensus, group) {
                    self.turn = Some((group, applied));
                    return group;
                }
            }
            tokio::time::sleep(self.every).await;
            self.left = shards(self.consensus).into_iter();
        }
    }

    /// Whoever's turn it is has nothing to do.
    pub(crate) fn found_nothing(&mut self) {
        if let Some((group, applied)) = self.turn.take() {
            self.quiet.found_nothing(group, applied);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_is_asked_again_only_when_something_was_applied_since_nothing_was_found() {
        let [here, there] = [GroupId(1), GroupId(2)];
        let mut quiet = Quiet::default();
        assert_eq!(quiet.since(here, 0), Some(0), "never asked");
        assert_eq!(quiet.since(here, 7), Some(7), "asked, and something was found");
        quiet.found_nothing(here, 7);
        assert_eq!(quiet.since(here, 7), None);
        assert_eq!(quiet.since(there, 7), Some(7), "another shard");
        assert_eq!(quiet.since(here, 8), Some(8));
        assert_eq!(quiet.since(here, 6), Some(6), "a state that was made again, and is behind");
    }
}
