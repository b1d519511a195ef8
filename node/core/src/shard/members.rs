//! Members: who fills the shard's slots. A member that cannot go on is replaced under a new replica id; its slot, node,
//! region and signing key stay, and so does every copy: rows name slots and leases, never replica ids.
//!
//!     cluster group: RebuildReplica ──▶ joint membership ──▶ ReplaceMember(from, to) here ──▶ cluster group: MemberReplaced
//!
//! Law: `laws/members_fill_every_slot.rs`. Not here: who allots ids (`cluster/members.rs`), Raft's own membership
//! (`node/consensus`).

use std::collections::BTreeSet;

use strongroom_format::outcome::{Done, Refusal};

use crate::entry::{MemberFacts, Replaced, ShardFacts};
use crate::genesis::replica_slot;
use crate::proved::Proved;
use crate::row::Space;
use crate::shard::at::At;
use crate::shard::rows::FactsRow;
use crate::stop::{Ruled, invalid};
use crate::tables::Tables;
use crate::voters::{self, Electorate, Voter};

/// Those who vote: the members of the first slots.
pub(crate) fn electorate(facts: &ShardFacts) -> Electorate {
    let voter = |member: &MemberFacts| Voter {
        replica: member.replica,
        node: member.node.clone(),
        signing_key: member.signing_key,
    };
    let voters = facts.members.iter().take(usize::from(facts.code.voters())).map(voter).collect();
    Electorate::new(facts.epoch, facts.group, voters)
}

/// Refuses members that the cluster group never allots.
pub(crate) fn check(facts: &ShardFacts) -> Ruled<()> {
    let nodes: BTreeSet<_> = facts.members.iter().map(|member| &member.node).collect();
    if nodes.len() != facts.members.len() {
        return Err(invalid("two members are on one node"));
    }
    if !facts.members.iter().all(|member| replica_slot(member.replica) == member.slot) {
        return Err(invalid("a member has the id of another slot"));
    }
    Ok(())
}

/// Lets another member fill a slot, if the one that is to leave fills it. Said again, it is done.
pub(crate) fn replace(at: &At<'_>, tables: &mut dyn Tables, replaced: &Proved<Replaced>) -> Ruled<Done> {
    let Replaced { group, slot, from, to } = *replaced.value();
    if group != at.group() {
        return Err(Refusal::WrongGroup.into());
    }
    let mut facts = at.facts.clone();
    let member = facts.members.get_mut(usize::from(slot.0)).ok_or(Refusal::NotFound)?;
    if member.replica == to {
        return Ok(Done::Done);
    }
    if member.replica != from {
        return Err(Refusal::VersionConflict.into());
    }
    // Ids of a slot only grow, so none comes back.
    if to <= from || replica_slot(to) != slot {
        return Err(invalid("the cluster group never allots this id after that one"));
    }
    member.replica = to;
    voters::forget(tables, from)?;
    Space::whole().put(tables, &(), &FactsRow { facts })?;
    Ok(Done::Done)
}
