//! What this node signs as a voter: a tenant's audit log with so many leaves, as its own replica has it.
//!
//! ```text
//!   asked for (size, log index) ─▶ applied here? (waits a moment) ─▶ root over this replica's own rows ─▶ signed
//! ```
//!
//! Promises: a root that this replica has not computed from its own applied state is never signed, whoever asks and
//! whatever it says; a voter that is not admitted, lost or fenced signs nothing, and where no state is the right one
//! nobody does. Not here: who collects signatures (`receipts.rs`).

use std::collections::BTreeSet;
use std::time::Duration;

use strongroom_core::entry::{MemberFacts, ShardFacts};
use strongroom_core::query::{Answer, GroupView, Query};
use strongroom_format::command::MemberSignature;
use strongroom_format::id::{GroupId, ReplicaId};
use strongroom_format::receipt::{Checkpoint, Voters};
use strongroom_peers::fault::WordFault;
use strongroom_peers::message::CheckpointWanted;

use crate::voice::{Voice, not_yet};

/// Signs for this node. Clones are the same.
#[derive(Clone)]
pub struct Signer(Voice);

impl Signer {
    /// Signs with this voice.
    pub fn new(voice: Voice) -> Self {
        Self(voice)
    }

    /// The signature, as soon as this replica has applied what is asked for.
    pub async fn sign(&self, wanted: CheckpointWanted, within: Duration) -> Result<MemberSignature, WordFault> {
        let CheckpointWanted { group, tenant, size, log_index } = wanted;
        let topology = self.0.topology.now();
        let facts = topology.tenants.get(&tenant).filter(|facts| facts.home == group).ok_or(WordFault::NotAMember)?;
        self.0.consensus.wait_applied(group, log_index, within).await.map_err(|_| not_yet("it is not applied here"))?;
        let shard = self.shard(group).await?;
        let me = voting(&shard).find(|member| member.node == self.0.me).ok_or(WordFault::NotAMember)?;
        let head = match self.0.reads.local(group, &Query::Head { tenant, size: Some(size) }).await {
            Ok(Answer::Head(head)) => head,
            Ok(_) | Err(_) => return Err(not_yet("the log has fewer leaves here")),
        };
        // Asked last: whatever was read above is not signed if it came into doubt meanwhile.
        let view = self.0.view(group).await?;
        if self.0.consensus.replica(group) != Some(me.replica) || !self.0.gate.is_admitted(group, me.replica) {
            return Err(not_yet("this replica does not take part"));
        }
        if in_doubt(&view).contains(&me.replica) {
            return Err(not_yet("this replica's state is in doubt"));
        }
        let checkpoint = Checkpoint {
            cluster: topology.epoch,
            group,
            tenant: facts.tag,
            size,
            root: head.root,
            log_index,
            voters: voters(&shard).digest(),
        };
        Ok(checkpoint.sign(me.replica, &self.0.key))
    }

    async fn shard(&self, group: GroupId) -> Result<ShardFacts, WordFault> {
        match self.0.reads.local(group, &Query::Shard).await {
            Ok(Answer::Shard(facts)) => Ok(facts),
            Ok(_) | Err(_) => Err(not_yet("the state cannot be read")),
        }
    }
}

/// The voters of whose states the digests say that they are not the right one; all, where none is.
pub(crate) fn in_doubt(view: &GroupView) -> BTreeSet<ReplicaId> {
    view.voters.iter().filter(|voter| voter.fenced || view.disputed).map(|voter| voter.replica).collect()
}

/// The members that vote, as the shard's rows have it: the first slots.
pub(crate) fn voting(shard: &ShardFacts) -> impl Iterator<Item = &MemberFacts> {
    shard.members.iter().filter(|member| member.slot.0 < shard.code.voters())
}

/// The same with the keys with which they sign.
pub(crate) fn voters(shard: &ShardFacts) -> Voters {
    Voters { keys: voting(shard).map(|member| (member.replica, member.signing_key)).collect() }
}
