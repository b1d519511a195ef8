//! Which groups this node leads: where workers that propose have work.
//!
//! A node that believes that it leads and does not any more proposes in vain: harmless.

use std::time::Duration;

use strongroom_consensus::groups::Consensus;
use strongroom_format::id::GroupId;

/// The shards that this node leads, as far as it knows.
pub(crate) fn shards(consensus: &Consensus) -> Vec<GroupId> {
    groups(consensus).into_iter().filter(|group| *group != GroupId::CLUSTER).collect()
}

/// The groups that this node leads, as far as it knows.
pub(crate) fn groups(consensus: &Consensus) -> Vec<GroupId> {
    consensus.groups().into_iter().filter(|group| consensus.leads(*group)).collect()
}

/// The shards that this node leads, one after the other, over and over, with a rest behind the last one.
pub(crate) struct Rounds<'a> {
    consensus: &'a Consensus,
    every: Duration,
    left: std::vec::IntoIter<GroupId>,
}

/// Begins at once; between two rounds lies a rest.
pub(crate) fn rounds(consensus: &Consensus, every: Duration) -> Rounds<'_> {
    Rounds { consensus, every, left: shards(consensus).into_iter() }
}

impl Rounds<'_> {
    /// Whose turn it is.
    pub(crate) async fn next(&mut self) -> GroupId {
        loop {
            if let Some(group) = self.left.next() {
                return group;
            }
            tokio::time::sleep(self.every).await;
            self.left = shards(self.consensus).into_iter();
        }
    }
}
