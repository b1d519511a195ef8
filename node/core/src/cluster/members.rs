//! Members of all groups, as the cluster group keeps them: which replica ids were allotted, and which replacement is under
//! way.
//!
//!     RebuildReplica, signed as the member that cannot go on ──▶ to = a new id, changing = from → to
//!       signed as the one that was to come ────────────────────▶ to = a later id, changing = from → to
//!                                                     MemberReplaced ──▶ to fills the slot, changing = none
//!
//! One at a time in each group, so that the loss of one more member during a replacement is the loss of two at most. Who
//! comes and is lost on the way is one loss with the member that it was to replace: its slot gets a later id, and nobody
//! else's turn comes sooner or later by that. An id is allotted once and for ever. Laws: `laws/changes_come_one_at_a_time.rs`,
//! `laws/replica_ids_are_never_given_again.rs`. That a shard's slot is filled is that shard's word, with its voters'
//! signatures; the cluster group's own is not, since it is nobody else's. Not here: who votes (`votes.rs`), moving Raft's membership
//! (`node/service`).

use strongroom_format::codec::{self, Format};
use strongroom_format::command::{Attested, MemberSignature};
use strongroom_format::id::{GroupId, NodeName, PublicKey, ReplicaId, Slot};
use strongroom_format::outcome::{Done, Refusal};
use strongroom_format::sign;

use crate::cluster::rows::{AllottedRow, Changing, FactsRow, NodeRow, ShardRow};
use crate::cluster::votes;
use crate::entry::{Filled, RebuildRequest};
use crate::genesis::{Genesis, replica_id};
use crate::proved;
use crate::row::Space;
use crate::stop::{Ruled, impossible, invalid};
use crate::tables::{Halt, Reads, Tables};
use crate::told;
use crate::voters;

/// Allots the id of an entry and a slot, once. A second one for the same slot in the same entry must wait for the next.
pub(crate) fn allot(tables: &mut dyn Tables, group: GroupId, index: u64, slot: Slot) -> Ruled<ReplicaId> {
    let replica = replica_id(index, slot);
    if Space::whole().has::<AllottedRow>(&*tables, &(group, replica))? {
        return Err(Refusal::VersionConflict.into());
    }
    Space::whole().put(tables, &(group, replica), &AllottedRow {})?;
    Ok(replica)
}

/// Allots another id to a member that cannot go on, or that cannot come. The same wish again is answered as before; one of
/// a member that has given way meanwhile is refused.
pub(crate) fn rebuild(
    tables: &mut dyn Tables,
    facts: &FactsRow,
    index: u64,
    asked: &Attested<RebuildRequest>,
) -> Ruled<Done> {
    let RebuildRequest { epoch, group, slot, from, .. } = asked.value;
    if epoch != facts.epoch {
        return Err(Refusal::WrongGroup.into());
    }
    asked.value.check().map_err(invalid)?;
    let place = Place::of(&*tables, facts, group, slot, from)?;
    if !is_signed_by(asked, &place.signing_key) {
        return Err(Refusal::Signature.into());
    }
    let leaves = match place.changing.filter(|change| (change.slot, change.from) == (place.slot, place.replica)) {
        Some(change) if change.from == from => return Ok(Done::ReplicaAllotted { replica: change.to }),
        // Who was to come cannot; who leaves is the same as before.
        Some(change) if change.to == from => change.from,
        Some(_) => return Err(Refusal::VersionConflict.into()),
        None if place.replica != from => return Err(Refusal::VersionConflict.into()),
        // Who is the only voter has nobody to be rebuilt from, and its state would be gone.
        None if place.changing.is_some() || place.voters <= 1 => return Err(Refusal::NeedsApproval.into()),
        None => from,
    };
    let to = allot(tables, group, index, place.slot)?;
    change(tables, facts, group, Some(Changing { slot: place.slot, from: leaves, to }))?;
    Ok(Done::ReplicaAllotted { replica: to })
}

/// Notes that the new member fills the slot. Said again, it is done.
pub(crate) fn replaced(tables: &mut dyn Tables, facts: &FactsRow, filled: &Attested<Filled>) -> Ruled<Done> {
    let Filled { group, slot, to } = filled.value;
    let slot = if group == GroupId::CLUSTER { Slot(0) } else { slot };
    if group != GroupId::CLUSTER {
        let nodes: Vec<((NodeName,), NodeRow)> = Space::whole().range(&*tables, &(), Genesis::NODES_MAX)?;
        let key_of = |name: &NodeName| nodes.iter().find(|((node,), _)| node == name).map(|(_, row)| row.signing_key);
        let electorate = told::electorate_of(facts.epoch, &shard_row(&*tables, group)?, key_of);
        proved::by(&electorate.ok_or_else(|| impossible("a slot is on no node"))?, filled)?;
    }
    let changing = match group {
        GroupId::CLUSTER => facts.changing,
        shard => shard_row(&*tables, shard)?.changing,
    };
    let Some(done) = changing.filter(|change| (change.slot, change.to) == (slot, to)) else {
        let fills = match group {
            GroupId::CLUSTER => node_of(&*tables, to)?.is_some(),
            shard => shard_row(&*tables, shard)?.slots.iter().any(|one| (one.slot, one.replica) == (slot, to)),
        };
        return if fills { Ok(Done::Done) } else { Err(Refusal::VersionConflict.into()) };
    };
    if group == GroupId::CLUSTER {
        let node = node_of(&*tables, done.from)?;
        let node = NodeRow { replica: to, ..node.ok_or_else(|| impossible("who is replaced is on no node"))? };
        let facts = if node.votes { votes::of_another(facts) } else { facts.clone() };
        Space::whole().put(tables, &(node.name.clone(),), &node)?;
        voters::forget(tables, done.from)?;
        change(tables, &facts, group, None)?;
    } else {
        let mut row = shard_row(&*tables, group)?;
        let filled = row.slots.iter_mut().find(|one| one.slot == slot);
        filled.ok_or_else(|| impossible("who is replaced fills no slot"))?.replica = to;
        Space::whole().put(tables, &(group,), &row)?;
        change(tables, facts, group, None)?;
    }
    Ok(Done::Done)
}

/// A member as its group's row knows it.
struct Place {
    /// Zero in the cluster group.
    slot: Slot,
    /// Who fills it.
    replica: ReplicaId,
    signing_key: PublicKey,
    changing: Option<Changing>,
    /// How many vote in the group.
    voters: usize,
}

impl Place {
    fn of(reads: &dyn Reads, facts: &FactsRow, group: GroupId, slot: Slot, from: ReplicaId) -> Ruled<Self> {
        if group == GroupId::CLUSTER {
            // Whoever comes stands for the node that it comes to.
            let fills = facts.changing.filter(|change| change.to == from).map_or(from, |change| change.from);
            let node = node_of(reads, fills)?.ok_or(Refusal::VersionConflict)?;
            return Ok(Self {
                slot: Slot(0),
                replica: node.replica,
                signing_key: node.signing_key,
                changing: facts.changing,
                voters: votes::electorate(reads, facts)?.voters().len(),
            });
        }
        let row = shard_row(reads, group)?;
        let filled = row.slots.iter().find(|one| one.slot == slot).ok_or(Refusal::NotFound)?;
        let node: Option<NodeRow> = Space::whole().get(reads, &(filled.node.clone(),))?;
        let node = node.ok_or_else(|| impossible("a slot is on no node"))?;
        Ok(Self {
            slot,
            replica: filled.replica,
            signing_key: node.signing_key,
            changing: row.changing,
            voters: usize::from(row.code.voters()),
        })
    }
}

/// Signed once, as the member that asks.
fn is_signed_by(asked: &Attested<RebuildRequest>, key: &PublicKey) -> bool {
    match asked.signatures.as_slice() {
        [MemberSignature { replica, signature }] => {
            let payload = codec::encode(&asked.value);
            *replica == asked.value.from && sign::verify(key, RebuildRequest::NAME, &payload, signature).is_ok()
        }
        _ => false,
    }
}

fn change(tables: &mut dyn Tables, facts: &FactsRow, group: GroupId, changing: Option<Changing>) -> Ruled<()> {
    if group == GroupId::CLUSTER {
        Space::whole().put(tables, &(), &FactsRow { changing, ..facts.clone() })?;
    } else {
        let row = ShardRow { changing, ..shard_row(&*tables, group)? };
        Space::whole().put(tables, &(group,), &row)?;
    }
    Ok(())
}

fn shard_row(reads: &dyn Reads, group: GroupId) -> Ruled<ShardRow> {
    let row: Option<ShardRow> = Space::whole().get(reads, &(group,))?;
    Ok(row.ok_or(Refusal::NotFound)?)
}

fn node_of(reads: &dyn Reads, replica: ReplicaId) -> Result<Option<NodeRow>, Halt> {
    let nodes: Vec<((NodeName,), NodeRow)> = Space::whole().range(reads, &(), Genesis::NODES_MAX)?;
    Ok(nodes.into_iter().map(|(_, row)| row).find(|row| row.replica == replica))
}
