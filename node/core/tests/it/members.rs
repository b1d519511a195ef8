//! Members that cannot go on: who gets another replica id, when, and who may ask for it.

use strongroom_core::cluster::rows::Changing;
use strongroom_core::entry::{NodeCommand, RebuildRequest};
use strongroom_core::query::{Answer, Query};
use strongroom_format::id::{ClusterEpoch, GroupId, ReplicaId, Slot};
use strongroom_format::outcome::{Done, Outcome, Refusal};

use crate::group::{done, node_key, refused};
use crate::world::{World, genesis, rebuild_request};

const SHARD: GroupId = GroupId(1);

fn world() -> World {
    World::founded(&genesis(6, 3, 3))
}

fn allotted(outcome: Outcome) -> ReplicaId {
    match done(outcome) {
        Done::ReplicaAllotted { replica } => replica,
        other => panic!("{other:?}"),
    }
}

/// Who fills a slot, as the shard itself has it.
fn fills(world: &World, slot: Slot) -> ReplicaId {
    match world.groups[&SHARD].ask(&Query::Shard) {
        Answer::Shard(facts) => facts.members[usize::from(slot.0)].replica,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_member_that_cannot_go_on_is_replaced_under_a_later_id_and_the_next_one_waits_for_it() {
    let mut world = world();
    let (slot, from) = world.member(SHARD, "n1");
    let (_, other) = world.member(SHARD, "n2");
    let to = allotted(world.rebuild(SHARD, "n1", from));
    assert!(from < to);
    assert_eq!(allotted(world.rebuild(SHARD, "n1", from)), to, "the same wish has the same answer");
    assert_eq!(refused(world.rebuild(SHARD, "n2", other)), Refusal::NeedsApproval);
    let elsewhere = world.member(GroupId(2), "n2").1;
    allotted(world.rebuild(GroupId(2), "n2", elsewhere));
    done(world.replace(SHARD, slot, from, to));
    assert_eq!((fills(&world, slot), world.member(SHARD, "n1")), (to, (slot, from)), "the shard knows it first");
    done(world.has_come(SHARD, slot, to));
    done(world.has_come(SHARD, slot, to));
    assert_eq!((world.member(SHARD, "n1"), world.changing(SHARD)), ((slot, to), None));
    assert_eq!(refused(world.rebuild(SHARD, "n1", from)), Refusal::VersionConflict);
    allotted(world.rebuild(SHARD, "n2", other));
}

#[test]
fn who_comes_and_is_lost_on_the_way_gives_way_to_a_later_id() {
    for group in [SHARD, GroupId::CLUSTER] {
        let mut world = world();
        let (slot, from) = world.member(group, "n1");
        let comes = allotted(world.rebuild(group, "n1", from));
        if group == SHARD {
            // The shard may have been told already, or be told late.
            done(world.replace(group, slot, from, comes));
        }
        let later = allotted(world.rebuild(group, "n1", comes));
        assert!(comes < later);
        assert_eq!(world.changing(group), Some(Changing { slot, from, to: later }));
        // It is one replacement: the member that leaves gets the same answer, the one that was lost none any more.
        assert_eq!(allotted(world.rebuild(group, "n1", from)), later);
        assert_eq!(refused(world.rebuild(group, "n1", comes)), Refusal::VersionConflict);
        assert_eq!(refused(world.has_come(group, slot, comes)), Refusal::VersionConflict, "it never came");
        let other = world.member(group, "n2").1;
        assert_eq!(refused(world.rebuild(group, "n2", other)), Refusal::NeedsApproval, "still one at a time");
        if group == SHARD {
            done(world.replace(group, slot, comes, later));
            assert_eq!(refused(world.replace(group, slot, from, comes)), Refusal::VersionConflict);
        }
        done(world.has_come(group, slot, later));
        assert_eq!((world.member(group, "n1"), world.changing(group)), ((slot, later), None));
        allotted(world.rebuild(group, "n1", later));
    }
}

#[test]
fn nobody_asks_for_a_later_id_but_the_member_that_was_to_come() {
    let mut world = world();
    let (slot, from) = world.member(SHARD, "n1");
    let (other_slot, other) = world.member(SHARD, "n2");
    let comes = allotted(world.rebuild(SHARD, "n1", from));
    let mut ask = |request: RebuildRequest, node: &str| {
        let asked = request.sign(&node_key(&node.parse().unwrap()));
        refused(world.cluster().node(NodeCommand::RebuildReplica(asked)))
    };
    let wish = || rebuild_request(SHARD, slot, comes);
    assert_eq!(ask(wish(), "n2"), Refusal::Signature, "another node's key");
    let other_life = RebuildRequest { epoch: ClusterEpoch::from_bytes([1; 16]), ..wish() };
    assert_eq!(ask(other_life, "n1"), Refusal::WrongGroup);
    // For another slot, of another group, of ids that were never allotted or belong to others.
    assert_eq!(ask(RebuildRequest { slot: other_slot, ..wish() }, "n2"), Refusal::VersionConflict);
    assert_eq!(ask(RebuildRequest { slot: Slot(9), ..wish() }, "n1"), Refusal::NotFound);
    assert_eq!(ask(RebuildRequest { group: GroupId(2), ..wish() }, "n2"), Refusal::VersionConflict);
    let cluster = RebuildRequest { group: GroupId::CLUSTER, slot: Slot(0), ..wish() };
    assert_eq!(ask(cluster, "n1"), Refusal::VersionConflict);
    for stranger in [ReplicaId(comes.0 + 256), ReplicaId(from.0 - 256), other] {
        assert_eq!(ask(RebuildRequest { from: stranger, ..wish() }, "n1"), Refusal::VersionConflict, "{stranger}");
    }
    let why = "w".repeat(RebuildRequest::WHY_BYTES_MAX + 1);
    assert!(matches!(ask(RebuildRequest { why, ..wish() }, "n1"), Refusal::Invalid { .. }));
    let mut unsigned = wish().sign(&node_key(&"n1".parse().unwrap()));
    unsigned.signatures.clear();
    assert_eq!(refused(world.cluster().node(NodeCommand::RebuildReplica(unsigned))), Refusal::Signature);
    assert_eq!(world.changing(SHARD), Some(Changing { slot, from, to: comes }));
}

#[test]
fn the_only_voter_is_not_rebuilt() {
    let mut world = World::single();
    for group in [SHARD, GroupId::CLUSTER] {
        let (_, from) = world.member(group, "n0");
        assert_eq!(refused(world.rebuild(group, "n0", from)), Refusal::NeedsApproval);
    }
}

#[test]
fn a_shard_takes_a_member_of_its_own_slot_and_a_later_id_only() {
    let mut world = world();
    let (slot, from) = world.member(SHARD, "n1");
    let to = allotted(world.rebuild(SHARD, "n1", from));
    assert_eq!(refused(world.replace(SHARD, slot, to, ReplicaId(to.0 + 256))), Refusal::VersionConflict);
    assert_eq!(refused(world.replace(SHARD, Slot(9), from, to)), Refusal::NotFound);
    for wrong in [ReplicaId(from.0 - 256), ReplicaId(to.0 + 1)] {
        assert!(matches!(refused(world.replace(SHARD, slot, from, wrong)), Refusal::Invalid { .. }));
    }
    let other = world.group(GroupId(2)).node(NodeCommand::ReplaceMember(crate::group::claim(
        strongroom_core::entry::Replaced { group: SHARD, slot, from, to },
    )));
    assert_eq!(refused(other), Refusal::WrongGroup);
    done(world.replace(SHARD, slot, from, to));
    done(world.replace(SHARD, slot, from, to));
    assert_eq!(fills(&world, slot), to);
}
