//! Placement: in which of a tenant's shards a run lies.
//!
//! Rendezvous hashing: every shard of the set gets a score for the run, the highest takes it. So all who know the
//! set's version agree without a table, and a shard that joins the set takes its share evenly and moves nothing
//! between the others.
//!
//! Not here: which shards are in a set (`node/core`), the slot of a fragment (`code.rs`).

use crate::id::{ChunkId, GroupId, TenantId, VaultId};

/// The BLAKE3 derive-key context of scores.
const CONTEXT: &str = "strongroom 2026-11 placement of a run 1";

/// The shard of the run that begins with `first_chunk`; `None` only where `set` is empty. The order of `set` does not
/// matter.
///
/// Score: the first 8 bytes, little-endian, of `BLAKE3-derive-key("strongroom 2026-11 placement of a run 1",
/// tenant ‖ vault ‖ first chunk ‖ group as u32 little-endian)`. Of equal scores the lower group wins.
pub fn group_of_run(tenant: &TenantId, vault: &VaultId, first_chunk: &ChunkId, set: &[GroupId]) -> Option<GroupId> {
    let mut run = blake3::Hasher::new_derive_key(CONTEXT);
    run.update(tenant.as_bytes()).update(vault.as_bytes()).update(first_chunk.as_bytes());
    let score = |group: GroupId| {
        let hash = run.clone().update(&group.0.to_le_bytes()).finalize();
        u64::from_le_bytes(*hash.as_bytes().first_chunk::<8>().expect("a hash has 32 bytes"))
    };
    set.iter().copied().max_by_key(|group| (score(*group), std::cmp::Reverse(*group)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(n: u32, set: &[GroupId]) -> GroupId {
        let chunk = ChunkId::from_bytes(*blake3::hash(&n.to_le_bytes()).as_bytes());
        group_of_run(&TenantId::from_bytes([1; 16]), &VaultId::from_bytes([2; 16]), &chunk, set).unwrap()
    }

    #[test]
    fn the_order_of_the_set_does_not_matter_and_an_empty_one_has_no_answer() {
        for n in 0..100 {
            assert_eq!(
                place(n, &[GroupId(1), GroupId(2), GroupId(3)]),
                place(n, &[GroupId(3), GroupId(1), GroupId(2)])
            );
        }
        let (tenant, vault) = (TenantId::from_bytes([1; 16]), VaultId::from_bytes([2; 16]));
        assert_eq!(group_of_run(&tenant, &vault, &ChunkId::from_bytes([0; 32]), &[]), None);
    }

    #[test]
    fn shares_are_even_and_widening_takes_runs_only_into_the_new_shard() {
        let (three, four) = ([1, 2, 3].map(GroupId), [1, 2, 3, 4].map(GroupId));
        let mut share = [0; 5];
        for n in 0..4_000 {
            let (before, after) = (place(n, &three), place(n, &four));
            assert!(after == before || after == GroupId(4));
            share[after.0 as usize] += 1;
        }
        for group in 1..=4 {
            assert!((850..1_150).contains(&share[group]), "{share:?}");
        }
    }
}
