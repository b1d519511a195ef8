//! Where runs begin and in which shard each lies: decided while chunks are put in order, before they are stored.
//!
//! ```text
//!   a chunk that was read ─▶ joins the present run; behind a border it begins one, in the shard that its id chooses
//!   a chunk that is kept  ─▶ must lie in the shard that has it: the present run's, one that it begins itself, or one
//!                            that begins with an anchor, another kept chunk whose id chooses that shard
//! ```
//!
//! An anchor is referenced once more and named by no file. Without it a changed file near a border would move all that
//! follows in its run to another shard, and all of that would be sent again.
//!
//! Promises: the shard of a run is the one that its first chunk's id chooses, whatever was kept. Not here: storing runs
//! (`stream.rs`, `small.rs`).

use std::collections::BTreeMap;

use strongroom_format::id::{ChunkId, GroupId, TenantId, VaultId};
use strongroom_format::placement::group_of_run;
use strongroom_format::tree::Cutter;

use super::which::Known;

/// Where a chunk stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// First of a run that lies in this shard.
    Begins(GroupId),
    /// Behind the chunk before it.
    Follows,
}

/// A chunk that a shard has, as it said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KeptChunk {
    pub id: ChunkId,
    pub plaintext_bytes: u32,
    pub group: GroupId,
    pub known: Known,
}

/// How a kept chunk comes into the sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    /// By itself.
    Alone(Place),
    /// Behind an anchor that begins a run in this shard.
    Behind(KeptChunk),
}

/// The order of runs, in the making.
pub(crate) struct Placer {
    spread: Spread,
    cutter: Cutter,
    /// The shard of the run that is open.
    present: Option<GroupId>,
    anchors: BTreeMap<GroupId, KeptChunk>,
}

/// What decides where a run lies.
enum Spread {
    /// One shard.
    At(GroupId),
    /// The id of its first chunk.
    Over { tenant: TenantId, vault: VaultId, set: Vec<GroupId> },
}

impl Placer {
    /// All runs in one shard.
    pub(crate) fn at(group: GroupId) -> Self {
        Self::new(Spread::At(group))
    }

    /// Runs over a tenant's set of shards, which is not empty.
    pub(crate) fn over(tenant: TenantId, vault: VaultId, set: Vec<GroupId>) -> Self {
        assert!(!set.is_empty(), "a topology has a shard set");
        Self::new(Spread::Over { tenant, vault, set })
    }

    fn new(spread: Spread) -> Self {
        Self { spread, cutter: Cutter::new(), present: None, anchors: BTreeMap::new() }
    }

    /// Places a chunk that was read, and says in which shard that is.
    pub(crate) fn read(&mut self, id: &ChunkId) -> (GroupId, Place) {
        let (group, place) = match self.present {
            Some(group) => (group, Place::Follows),
            None => {
                let group = self.group_of(id);
                (group, Place::Begins(group))
            }
        };
        self.step(id, group);
        (group, place)
    }

    /// Places a chunk where it lies already; `None` if no run can be begun there.
    pub(crate) fn kept(&mut self, chunk: &KeptChunk) -> Option<Kept> {
        let group = chunk.group;
        if self.present == Some(group) {
            self.step(&chunk.id, group);
            return Some(Kept::Alone(Place::Follows));
        }
        let (first, kept) = if self.group_of(&chunk.id) == group {
            self.anchors.insert(group, *chunk);
            (chunk.id, Kept::Alone(Place::Begins(group)))
        } else {
            let anchor = self.anchors.get(&group)?;
            (anchor.id, Kept::Behind(*anchor))
        };
        self.cutter = Cutter::new();
        self.step(&first, group);
        if first != chunk.id {
            self.step(&chunk.id, group);
        }
        Some(kept)
    }

    fn step(&mut self, id: &ChunkId, group: GroupId) {
        self.present = (!self.cutter.is_border_behind(id.as_bytes())).then_some(group);
    }

    fn group_of(&self, first: &ChunkId) -> GroupId {
        match &self.spread {
            Spread::At(group) => *group,
            Spread::Over { tenant, vault, set } => {
                group_of_run(tenant, vault, first, set).expect("the set is not empty")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use strongroom_format::id::{BlobId, DekId};

    use super::*;

    const TENANT: TenantId = TenantId::from_bytes([1; 16]);
    const VAULT: VaultId = VaultId::from_bytes([2; 16]);
    const SET: [GroupId; 3] = [GroupId(1), GroupId(2), GroupId(3)];

    fn id(n: u32) -> ChunkId {
        ChunkId::from_bytes(*blake3::hash(&n.to_le_bytes()).as_bytes())
    }

    fn placer() -> Placer {
        Placer::over(TENANT, VAULT, SET.to_vec())
    }

    /// The runs of a sequence: shard and chunks of each.
    #[derive(Default)]
    struct Runs(Vec<(GroupId, Vec<ChunkId>)>);

    impl Runs {
        fn add(&mut self, place: Place, id: ChunkId) {
            match place {
                Place::Begins(group) => self.0.push((group, vec![id])),
                Place::Follows => self.0.last_mut().unwrap().1.push(id),
            }
        }

        fn all_read(ids: impl IntoIterator<Item = ChunkId>) -> Self {
            let (mut placer, mut runs) = (placer(), Self::default());
            for id in ids {
                runs.add(placer.read(&id).1, id);
            }
            runs
        }
    }

    fn kept(id: ChunkId, group: GroupId) -> KeptChunk {
        let known = Known { blob: BlobId::from_bytes([0; 32]), stored_bytes: 1, dek: DekId::from_bytes([0; 16]) };
        KeptChunk { id, plaintext_bytes: 1, group, known }
    }

    #[test]
    fn what_is_kept_as_it_was_gives_the_same_runs() {
        let before = Runs::all_read((0..3000).map(id));
        let (mut placer, mut after) = (placer(), Runs::default());
        for (group, run) in &before.0 {
            for id in run {
                match placer.kept(&kept(*id, *group)).unwrap() {
                    Kept::Alone(place) => after.add(place, *id),
                    Kept::Behind(_) => panic!("no anchor is needed"),
                }
            }
        }
        assert!(8 < before.0.len());
        assert_eq!(before.0, after.0);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn what_is_kept_stays_in_its_shard_whatever_comes_and_goes_around_it(
            gone in proptest::collection::btree_set(1_u32..1500, 0..200),
            new in proptest::collection::btree_map(1_u32..1500, 1_u32..4, 0..100),
        ) {
            let before = Runs::all_read((0..1500).map(id));
            let (mut placer, mut after) = (placer(), Runs::default());
            let (mut at, mut lost) = (0, 0);
            for (group, run) in &before.0 {
                for id_before in run {
                    for more in 0..new.get(&at).copied().unwrap_or(0) {
                        let id = id(1_000_000 + 10 * at + more);
                        after.add(placer.read(&id).1, id);
                    }
                    if !gone.contains(&at) {
                        match placer.kept(&kept(*id_before, *group)) {
                            Some(Kept::Alone(place)) => after.add(place, *id_before),
                            Some(Kept::Behind(anchor)) => {
                                after.add(Place::Begins(*group), anchor.id);
                                after.add(Place::Follows, *id_before);
                            }
                            None => lost += 1,
                        }
                    }
                    at += 1;
                }
            }
            let lies_in = |id: &ChunkId| before.0.iter().find(|(_, run)| run.contains(id)).map(|(group, _)| *group);
            for (group, run) in &after.0 {
                prop_assert_eq!(group_of_run(&TENANT, &VAULT, &run[0], &SET), Some(*group));
                prop_assert!(run.len() <= 1024);
                prop_assert!(run.iter().filter_map(lies_in).all(|lies_in| lies_in == *group));
            }
            // Only what comes before the first anchor of its shard has none.
            prop_assert!(gone.contains(&0) || lost < 900, "{} lost", lost);
        }
    }
}
