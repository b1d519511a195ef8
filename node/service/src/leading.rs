//! Which groups this node leads: where workers that propose have work.
//!
//! A node that believes that it leads and does not any more proposes in vain: harmless.

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
