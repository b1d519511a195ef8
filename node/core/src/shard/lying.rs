//! How blobs lie: what they survive, and what of them is not where it belongs.
//!
//! A blob survives the loss of as many members as leave `k` fragments however they are chosen, and of as many regions.
//! Both are found by losing those that hold most, one after the other. Not here: spreading (`node/service`), repair.

use std::collections::BTreeMap;

use strongroom_format::code::Strength;
use strongroom_format::command::{HandedOver, RegisteredChunk};
use strongroom_format::id::{BlobId, Slot};

use crate::entry::ShardFacts;
use crate::shard::rows::{ChunkRow, Lying};

impl Lying {
    /// Of nothing.
    pub(crate) const NOTHING: Lying = Lying { strength: Strength::BOUNDLESS, handed_over: 0, missing: 0 };

    /// Of both; `None` where the sums do not fit.
    pub(crate) fn and(self, other: Lying) -> Option<Lying> {
        Some(Lying {
            strength: self.strength.and(other.strength),
            handed_over: self.handed_over.checked_add(other.handed_over)?,
            missing: self.missing.checked_add(other.missing)?,
        })
    }

    /// Of a registered blob.
    pub(crate) fn of_blob(facts: &ShardFacts, blob: &BlobId, row: &ChunkRow) -> Lying {
        Lying {
            strength: strength(facts, blob, &row.handed_over, &row.missing).unwrap_or(LOST),
            handed_over: row.handed_over.len() as u64,
            missing: row.missing.len() as u64,
        }
    }
}

/// Less than `k` fragments. Never registered so, but a row may become so.
const LOST: Strength = Strength { regions: 0, nodes: 0 };

/// Whether the fragments named in a registration can lie so: indexes and slots of the shard's code, sorted, each once,
/// none both handed over and missing, none handed over to its own slot.
pub(crate) fn fits(facts: &ShardFacts, chunk: &RegisteredChunk) -> bool {
    let slots = facts.code.slots();
    let handed_over = &chunk.handed_over;
    handed_over.is_sorted_by(|a, b| a.index < b.index)
        && chunk.missing.is_sorted_by(|a, b| a < b)
        && chunk.missing.iter().all(|index| *index < slots)
        && handed_over.iter().all(|one| {
            one.index < slots
                && one.slot.0 < slots
                && one.slot != facts.code.slot_of(&chunk.blob, one.index)
                && !chunk.missing.contains(&one.index)
        })
}

/// What a blob survives; `None`: fewer than `k` fragments are there.
pub(crate) fn strength(
    facts: &ShardFacts,
    blob: &BlobId,
    handed_over: &[HandedOver],
    missing: &[u8],
) -> Option<Strength> {
    let mut by_slot: BTreeMap<Slot, u8> = BTreeMap::new();
    for index in (0..facts.code.slots()).filter(|index| !missing.contains(index)) {
        let elsewhere = handed_over.iter().find(|one| one.index == index).map(|one| one.slot);
        *by_slot.entry(elsewhere.unwrap_or_else(|| facts.code.slot_of(blob, index))).or_insert(0) += 1;
    }
    let mut by_region: BTreeMap<_, u8> = BTreeMap::new();
    for (slot, fragments) in &by_slot {
        let region = facts.members.get(usize::from(slot.0)).map(|member| &member.region);
        *by_region.entry(region).or_insert(0) += fragments;
    }
    let nodes = losses_survived(by_slot.into_values(), facts.code.k)?;
    let regions = losses_survived(by_region.into_values(), facts.code.k)?;
    Some(Strength { regions, nodes })
}

/// How many holders can go, those that hold most first, until fewer than `k` fragments are left.
fn losses_survived(holders: impl Iterator<Item = u8>, k: u8) -> Option<u8> {
    let mut holders: Vec<u8> = holders.collect();
    holders.sort_unstable();
    let mut left: u8 = holders.iter().sum();
    if left < k {
        return None;
    }
    let mut losses = 0;
    while let Some(most) = holders.pop() {
        left -= most;
        if left < k {
            break;
        }
        losses += 1;
    }
    Some(losses)
}

#[cfg(test)]
mod tests {
    use super::*;
    use strongroom_format::code::Code;
    use strongroom_format::id::{ClusterEpoch, GroupId, PublicKey, ReplicaId};

    use crate::entry::MemberFacts;

    fn facts(k: u8, m: u8, regions: u8) -> ShardFacts {
        let member = |slot: u8| MemberFacts {
            slot: Slot(slot),
            region: format!("r{}", slot % regions).parse().unwrap(),
            node: format!("n{slot}").parse().unwrap(),
            replica: ReplicaId(u64::from(slot)),
            signing_key: PublicKey::from_bytes([slot; 32]),
        };
        ShardFacts {
            cluster: "test".parse().unwrap(),
            epoch: ClusterEpoch::from_bytes([1; 16]),
            group: GroupId(1),
            code: Code { k, m },
            members: (0..k + m).map(member).collect(),
            clock_ms: 0,
        }
    }

    fn strength_of(facts: &ShardFacts, handed_over: &[(u8, u8)], missing: &[u8]) -> Option<(u8, u8)> {
        let handed_over: Vec<_> =
            handed_over.iter().map(|(index, slot)| HandedOver { index: *index, slot: Slot(*slot) }).collect();
        let strength = strength(facts, &BlobId::from_bytes([0; 32]), &handed_over, missing)?;
        Some((strength.regions, strength.nodes))
    }

    #[test]
    fn a_blob_in_its_own_slots_survives_what_the_table_says() {
        assert_eq!(strength_of(&facts(4, 2, 3), &[], &[]), Some((1, 2)));
        assert_eq!(strength_of(&facts(6, 3, 3), &[], &[]), Some((1, 3)));
        assert_eq!(strength_of(&facts(2, 1, 3), &[], &[]), Some((1, 1)));
        assert_eq!(strength_of(&facts(3, 2, 1), &[], &[]), Some((0, 2)));
        assert_eq!(strength_of(&facts(1, 0, 1), &[], &[]), Some((0, 0)));
    }

    #[test]
    fn what_is_missing_or_handed_over_weakens() {
        let facts = facts(4, 2, 3);
        assert_eq!(strength_of(&facts, &[], &[0]), Some((0, 1)), "one region holds two of five");
        assert_eq!(strength_of(&facts, &[], &[0, 3]), Some((0, 0)));
        assert_eq!(strength_of(&facts, &[], &[0, 1, 2]), None, "fewer than k");
        // Slot 0 is down: slot 3, of the same region, takes its fragment too.
        assert_eq!(strength_of(&facts, &[(0, 3)], &[]), Some((1, 1)));
        // Slot 1 takes it instead: its region holds three.
        assert_eq!(strength_of(&facts, &[(0, 1)], &[]), Some((0, 1)));
    }
}
