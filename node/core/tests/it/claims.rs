//! Claims of one group about itself, to another: believed with good signatures of a majority of its voters, and not
//! otherwise, whoever proposes them.

use std::collections::BTreeSet;

use strongroom_core::claims::{Claim, Statement};
use strongroom_core::electorates::Electorate;
use strongroom_core::entry::{Decided, EntryCommand, Filled, NodeCommand, Replaced, Reported, ShardFacts, Standing};
use strongroom_core::locking::{Keeping, PartKeeping, PartKept};
use strongroom_core::query::{Answer, Query};
use strongroom_core::shard::rows::PartState;
use strongroom_core::tables::MemoryTables;
use strongroom_format::command::{Attested, Body, MemberSignature, SignedCommand};
use strongroom_format::id::{ClusterEpoch, GroupId, ReplicaId, Slot, SnapshotId};
use strongroom_format::outcome::{Done, Outcome, Refusal};

use crate::backup::Backup;
use crate::group::{Group, claim, done, fixed, majority_of, one, refused, signing_key, some_of};
use crate::tenant::WRITER;
use crate::upload::opened;
use crate::world::{World, genesis, issue_node_body, redeem_node};

/// A way to get signatures wrong.
type Wrong<'a> = (&'static str, Box<dyn Fn(&Claim) -> Vec<MemberSignature> + 'a>);

/// Everything that is no word of the group's majority, for a claim of the group that `group` knows as `electorate`.
fn wrongs<'a>(world: &'a World, electorate: &'a Electorate, other: &'a Claim) -> Vec<Wrong<'a>> {
    let majority = electorate.voters.majority();
    let strangers = world.groups.values().filter_map(|group| group.electorate(GroupId::CLUSTER));
    let strangers = strangers.into_iter().find(|one| one.group != electorate.group);
    let shard = world.map().shards.into_iter().find(|shard| shard.group != electorate.group).unwrap().group;
    let strangers = strangers.unwrap_or_else(|| world.map().electorate(shard).unwrap());
    let foreign = Electorate { epoch: ClusterEpoch::from_bytes([9; 16]), ..electorate.clone() };
    let by_another = Electorate { group: GroupId(electorate.group.0 + 1), ..electorate.clone() };
    vec![
        ("unsigned", Box::new(|_| Vec::new())),
        ("too few", Box::new(move |claim| some_of(electorate, majority - 1, claim.clone()))),
        (
            "one voter twice",
            Box::new(move |claim| {
                let mut signatures = some_of(electorate, majority - 1, claim.clone());
                // Beside the first time, so that nothing is wrong but that it is there twice.
                let twice = signatures.first().cloned().expect("a majority is more than one");
                signatures.insert(0, twice);
                signatures
            }),
        ),
        ("not sorted", Box::new(move |claim| majority_of(electorate, claim.clone()).into_iter().rev().collect())),
        (
            "one that does not fit beside enough that do",
            Box::new(move |claim| {
                let mut signatures = some_of(electorate, majority + 1, claim.clone());
                signatures.last_mut().unwrap().signature.0[7] ^= 1;
                signatures
            }),
        ),
        (
            "a voter that nobody knows",
            Box::new(move |claim| {
                let mut signatures = some_of(electorate, majority, claim.clone());
                signatures.last_mut().unwrap().replica = ReplicaId(u64::MAX);
                signatures
            }),
        ),
        (
            "another voter's name under a signature",
            Box::new(move |claim| {
                let mut signatures = some_of(electorate, majority, claim.clone());
                let keys: Vec<ReplicaId> = electorate.voters.keys.keys().copied().collect();
                signatures.last_mut().unwrap().replica = keys[majority];
                signatures
            }),
        ),
        ("another life of the cluster", Box::new(move |claim| majority_of(&foreign, claim.clone()))),
        ("in another group's name", Box::new(move |claim| majority_of(&by_another, claim.clone()))),
        ("another group's voters", {
            let strangers = strangers.clone();
            Box::new(move |claim| {
                majority_of(&Electorate { group: electorate.group, ..strangers.clone() }, claim.clone())
            })
        }),
        ("another claim", Box::new(move |_| majority_of(electorate, other.clone()))),
        (
            "the nodes' keys over something that is no claim",
            Box::new(move |claim| {
                let Electorate { epoch, group: by, .. } = *electorate;
                let payload = strongroom_format::codec::encode(&Statement { epoch, by, claim: claim.clone() });
                let mut signatures = majority_of(electorate, claim.clone());
                signatures[0].signature = signing_key("node 0").sign("checkpoint", &payload);
                signatures
            }),
        ),
    ]
}

/// Who signs a claim, rightly or wrongly.
type Signers<'a> = dyn Fn(&Claim) -> Vec<MemberSignature> + 'a;

/// Whatever is wrong with signatures, the claim is refused and the state is as it was.
fn refuse_all(
    world: &mut World,
    group: GroupId,
    by: GroupId,
    other: &Claim,
    said: &dyn Fn(&Signers<'_>) -> EntryCommand,
) {
    let electorate = world.groups[&group].electorate(by).expect("the shard was told");
    assert!(2 < electorate.voters.keys.len(), "a majority is not all");
    let entries: Vec<(&str, EntryCommand)> = {
        let wrongs = wrongs(world, &electorate, other);
        wrongs.iter().map(|(name, sign)| (*name, said(&**sign))).collect()
    };
    for (name, command) in entries {
        let before = rows(&world.groups[&group].tables);
        let outcome = one(world.group(group).apply(vec![command]));
        assert_eq!(outcome, Outcome::Refused(Refusal::Unattested), "{name}");
        assert_eq!(rows(&world.groups[&group].tables), before, "{name} leaves no trace");
        assert_eq!(world.groups[&group].replayed(), world.groups[&group].tables, "every replica refuses {name}");
    }
}

/// All rows but the applied index and the digest over it.
fn rows(tables: &MemoryTables) -> Vec<(u8, Vec<u8>, Vec<u8>)> {
    let rows = tables.rows().filter(|(table, ..)| ![0, 3].contains(&table.0));
    rows.map(|(table, key, value)| (table.0, key.to_vec(), value.to_vec())).collect()
}

fn node_said<'a, T: Clone + Into<Claim>>(
    value: &'a T,
    command: impl Fn(Attested<T>) -> NodeCommand + 'a,
) -> impl Fn(&Signers<'_>) -> EntryCommand + 'a {
    move |sign| {
        let signatures = sign(&value.clone().into());
        EntryCommand::Node(command(Attested { value: value.clone(), signatures }))
    }
}

fn caller_said(signed: &SignedCommand) -> impl Fn(&Signers<'_>) -> EntryCommand + '_ {
    move |sign| EntryCommand::Attested {
        command: signed.clone(),
        signatures: Claim::of(signed).iter().map(sign).collect(),
    }
}

/// A snapshot over three shards, opened; the home shard and another one.
fn begun(world: &mut World) -> (Backup, GroupId, GroupId) {
    let backup = opened(world, "one");
    let home = backup.home(world);
    let other = *backup.groups.iter().find(|group| **group != home).unwrap();
    (backup, home, other)
}

/// The same, sealed everywhere.
fn sealed(world: &mut World) -> (Backup, GroupId, GroupId) {
    let (mut backup, home, other) = begun(world);
    for group in backup.groups.clone() {
        if group != home {
            done(backup.join(world, group));
        }
    }
    backup.fill_manifest(world);
    for group in backup.groups.clone() {
        done(backup.seal(world, group));
    }
    (backup, home, other)
}

#[test]
fn n109_a_snapshot_is_joined_on_its_home_shards_majority_and_on_nothing_less() {
    let mut world = World::new();
    let (mut backup, home, other) = begun(&mut world);
    let signed = backup.join_command(&world, other);
    let mut elsewhere = backup.opened.clone().unwrap();
    elsewhere.snapshot = SnapshotId::from_bytes(fixed("another snapshot"));
    refuse_all(&mut world, other, home, &elsewhere.into(), &caller_said(&signed));
    for command in [EntryCommand::Client(signed.clone()), EntryCommand::Vouched(signed)] {
        // A node's word alone counts no more.
        let there = world.group(other);
        assert_eq!(refused(one(there.apply(vec![command]))), Refusal::NotFound);
    }
    // Nor do the best signatures where nobody reads them.
    let opened = backup.opened.clone().unwrap();
    let signatures = world.groups[&other].signatures(opened.clone().into());
    let inside = Body::JoinSnapshot { opened: Attested { value: opened, signatures: signatures.clone() } };
    let tenant = world.tenant("acme");
    let inside = tenant.seal_command(WRITER, &tenant.command(other, WRITER, inside));
    for command in [
        EntryCommand::Client(inside.clone()),
        EntryCommand::Vouched(inside.clone()),
        EntryCommand::Attested { command: inside, signatures: vec![signatures] },
    ] {
        let refusal = refused(one(world.group(other).apply(vec![command])));
        assert!(matches!(refusal, Refusal::Invalid { .. }), "{refusal:?}");
    }
    assert!(matches!(done(backup.join(&mut world, other)), Done::Joined { .. }));
}

#[test]
fn n34_parts_are_committed_on_their_shards_majority_and_a_wrong_word_leaves_the_number_free() {
    let mut world = World::new();
    let (backup, home, other) = sealed(&mut world);
    let envelope = backup.signed_envelope(&world, &backup.envelope(&world));
    let sealed = backup.others(&world);
    let tenant = world.tenant("acme").id;
    let session = backup.sessions[&home];
    let body = Body::CommitSnapshot { envelope, sealed: sealed.clone() };
    let signed = world.command("acme", WRITER, &mut { session }, body);
    let honest = Claim::of(&signed);
    assert_eq!(honest.len(), 2);
    let mut altered = sealed[0].value.clone();
    altered.stored_bytes += 1;
    let altered = Claim::Sealed { tenant, sealed: altered };
    let said = |sign: &Signers<'_>| {
        let signatures = honest.iter().map(|claim| if claim.by() == other { sign(claim) } else { Vec::new() });
        EntryCommand::Attested { command: signed.clone(), signatures: signatures.collect() }
    };
    refuse_all(&mut world, home, other, &altered, &said);
    // One shard's word for two, the words in another order, and one word more.
    let words: Vec<_> = honest.iter().map(|claim| world.groups[&home].signatures(claim.clone())).collect();
    let reversed = words.iter().rev().cloned().collect();
    let more = [words.clone(), words.clone()].concat();
    for signatures in [vec![words[0].clone()], vec![words[0].clone(); 2], reversed, more] {
        let command = EntryCommand::Attested { command: signed.clone(), signatures };
        assert_eq!(refused(one(world.group(home).apply(vec![command]))), Refusal::Unattested);
    }
    // Words inside of the command itself are nobody's.
    let mut inside = sealed.clone();
    inside[0].signatures = words[0].clone();
    let body =
        Body::CommitSnapshot { envelope: backup.signed_envelope(&world, &backup.envelope(&world)), sealed: inside };
    let with_words = world.command("acme", WRITER, &mut { session }, body);
    let command = EntryCommand::Attested { command: with_words, signatures: words };
    let refusal = refused(one(world.group(home).apply(vec![command])));
    assert!(matches!(refusal, Refusal::Invalid { .. }), "{refusal:?}");
    assert!(matches!(done(world.group(home).client(signed)), Done::Committed { .. }), "its number is still free");
}

#[test]
fn n34_a_part_is_decided_by_its_home_shards_majority_alone() {
    let mut world = World::new();
    let (mut backup, home, other) = sealed(&mut world);
    let tenant = world.tenant("acme").id;
    let keeping = Keeping { version: 0, terms: None, until_unix_ms: 0, left_ms: 0, holds: Vec::new() };
    for kept in [None, Some(keeping)] {
        let decided = Decided { home, tenant, snapshot: backup.snapshot, kept };
        let elsewhere = Decided { snapshot: SnapshotId::from_bytes(fixed("another")), ..decided.clone() };
        let said = node_said(&decided, NodeCommand::DecidePart);
        refuse_all(&mut world, other, home, &elsewhere.into(), &said);
    }
    // A shard's own voters do not speak for its home.
    let own = world.map().electorate(other).unwrap();
    let decided = Decided { home, tenant, snapshot: backup.snapshot, kept: None };
    let signatures = majority_of(&own, decided.clone().into());
    let said = NodeCommand::DecidePart(Attested { value: decided, signatures });
    assert_eq!(refused(world.group(other).rogue(said)), Refusal::Unattested);
    done(backup.commit(&mut world));
    assert_eq!(world.decide(), 2);
    let Answer::Part(part) = world.groups[&other].ask(&Query::Part { tenant, snapshot: backup.snapshot }) else {
        panic!()
    };
    assert!(matches!(part.state, PartState::Committed { .. }));
}

#[test]
fn what_keeps_a_part_changes_on_its_home_shards_majority_alone() {
    let mut world = World::new();
    let (mut backup, home, other) = sealed(&mut world);
    let (tenant, snapshot) = (world.tenant("acme").id, backup.snapshot);
    done(backup.commit(&mut world));
    assert_eq!(world.decide(), 2);
    let keeping = Keeping { version: 9, terms: None, until_unix_ms: 0, left_ms: 0, holds: Vec::new() };
    let told = PartKeeping { home, group: other, tenant, snapshot, keeping };
    let elsewhere = PartKeeping { snapshot: SnapshotId::from_bytes(fixed("another")), ..told.clone() };
    refuse_all(&mut world, other, home, &elsewhere.into(), &node_said(&told, NodeCommand::KeepPart));
    // Nor does home believe that a part is kept but on the majority of its shard.
    let kept = PartKept { home, group: other, tenant, snapshot, version: 0 };
    let elsewhere = PartKept { version: 1, ..kept.clone() };
    refuse_all(&mut world, home, other, &elsewhere.into(), &node_said(&kept, NodeCommand::PartKept));
}

#[test]
fn n111_a_blob_is_hidden_on_its_home_shards_majority_alone() {
    let mut world = World::new();
    let (backup, home, other) = begun(&mut world);
    let reported = Reported {
        home,
        tenant: world.tenant("acme").id,
        vault: world.tenant("acme").vault,
        domain: backup.keys(&world).domain,
        of: crate::backup::Piece::new("a", 0).of,
    };
    assert!(
        !Claim::from(reported.clone())
            .is_borne_out(&world.groups[&home].ask(&Claim::from(reported.clone()).question()))
    );
    let elsewhere = Reported { of: crate::backup::Piece::new("b", 1).of, ..reported.clone() };
    refuse_all(&mut world, other, home, &elsewhere.into(), &node_said(&reported, NodeCommand::HideBlob));
}

#[test]
fn n34_what_the_cluster_group_says_bears_signatures_of_its_majority() {
    let mut world = World::new();
    let shard = GroupId(1);
    let facts = world.facts("acme");
    let mut later = facts.clone();
    later.standing = Standing { version: 1, ..later.standing };
    refuse_all(&mut world, shard, GroupId::CLUSTER, &facts.into(), &node_said(&later, NodeCommand::AdmitTenant));

    let (slot, from) = world.member(shard, "n1");
    let Done::ReplicaAllotted { replica: to } = done(world.rebuild(shard, "n1", from)) else { panic!() };
    let replaced = Replaced { group: shard, slot, from, to };
    let other = Replaced { to: ReplicaId(to.0 + 256), ..replaced.clone() };
    refuse_all(&mut world, shard, GroupId::CLUSTER, &other.into(), &node_said(&replaced, NodeCommand::ReplaceMember));

    let map = world.map();
    let newer = Electorate { version: u64::MAX, ..map.electorate(GroupId(2)).unwrap() };
    let other = map.electorate(GroupId(2)).unwrap();
    refuse_all(&mut world, shard, GroupId::CLUSTER, &other.into(), &node_said(&newer, NodeCommand::TellElectorate));

    let filled = Filled { group: shard, slot, to };
    let other = Filled { slot: Slot(5), ..filled };
    refuse_all(&mut world, GroupId::CLUSTER, shard, &other.into(), &node_said(&filled, NodeCommand::MemberReplaced));
    assert!(world.changing(shard).is_some(), "nobody but the shard says that it has come");
    done(world.replace(shard, slot, from, to));
    done(world.has_come(shard, slot, to));
}

#[test]
fn a_shard_is_founded_by_the_founders_that_its_nodes_genesis_names_and_by_nobody_else() {
    let genesis = genesis(6, 3, 1);
    let mut world = World::founded(&genesis);
    let facts: ShardFacts = world.map().shard_facts(GroupId(1)).unwrap();
    let signed = |electorate: &Electorate, facts: &ShardFacts| {
        let signatures = majority_of(electorate, facts.clone().into());
        NodeCommand::FoundShard(Attested { value: facts.clone(), signatures })
    };
    let founders = genesis.founders();
    let mut shard = Group::new(GroupId(1), founders.clone());
    assert_eq!(refused(shard.rogue(NodeCommand::FoundShard(claim(facts.clone())))), Refusal::Unattested);
    let few = some_of(&founders, founders.voters.majority() - 1, facts.clone().into());
    let few = NodeCommand::FoundShard(Attested { value: facts.clone(), signatures: few });
    assert_eq!(refused(shard.rogue(few)), Refusal::Unattested);
    let strangers = Electorate { group: GroupId::CLUSTER, ..world.map().electorate(GroupId(1)).unwrap() };
    assert_eq!(refused(shard.rogue(signed(&strangers, &facts))), Refusal::Unattested);
    let mut other_life = facts.clone();
    other_life.epoch = ClusterEpoch::from_bytes([7; 16]);
    assert_eq!(refused(shard.rogue(signed(&founders, &other_life))), Refusal::WrongGroup);
    done(shard.rogue(signed(&founders, &facts)));
    assert_eq!(shard.electorate(GroupId::CLUSTER), Some(founders.clone()));
    assert_eq!(world.group(GroupId(1)).electorate(GroupId::CLUSTER), Some(founders));
}

/// The voters change: what the older ones sign counts as long as nobody told of the newer ones, and never again after.
#[test]
fn electorates_follow_the_cluster_group_and_older_ones_sign_nothing_any_more() {
    let mut world = World::founded(&genesis(3, 3, 1));
    world.create_tenant("acme", 1);
    let shard = GroupId(1);
    let founders = world.map().electorate(GroupId::CLUSTER).unwrap();
    assert_eq!((founders.version, founders.voters.keys.len()), (0, 3));
    for number in 0..2_u16 {
        let (token, key) = (format!("token {number}"), signing_key(&format!("node key {number}")));
        done(world.operator(issue_node_body(&token, &format!("m{number}"), &format!("r{number}"))));
        done(world.cluster().redeem(redeem_node(&token, &key, 9000 + 10 * number)));
    }
    let newer = world.map().electorate(GroupId::CLUSTER).unwrap();
    assert!(founders.version < newer.version && newer.voters.keys.len() == 5, "{newer:?}");
    // The founders themselves say who votes now: a chain of majorities from the genesis on.
    let told = NodeCommand::TellElectorate(Attested {
        value: newer.clone(),
        signatures: majority_of(&newer, newer.clone().into()),
    });
    let by_who_came =
        Attested { value: newer.clone(), signatures: some_of(&newer, 5, newer.clone().into()).split_off(2) };
    let by_who_came = NodeCommand::TellElectorate(by_who_came);
    assert_eq!(
        refused(world.group(shard).rogue(by_who_came)),
        Refusal::Unattested,
        "a majority, but not of the founders"
    );
    let by_founders = NodeCommand::TellElectorate(Attested {
        value: newer.clone(),
        signatures: majority_of(&founders, newer.clone().into()),
    });
    done(world.group(shard).rogue(by_founders.clone()));
    assert_eq!(world.groups[&shard].electorate(GroupId::CLUSTER), Some(newer.clone()));
    let facts = world.facts("acme");
    let say = |electorate: &Electorate| {
        let signatures = majority_of(electorate, facts.clone().into());
        NodeCommand::AdmitTenant(Attested { value: facts.clone(), signatures })
    };
    assert_eq!(refused(world.group(shard).rogue(say(&founders))), Refusal::Unattested, "two of five");
    done(world.group(shard).rogue(say(&newer)));
    assert_eq!(refused(world.group(shard).rogue(by_founders)), Refusal::Unattested);
    done(world.group(shard).rogue(told));
    let back = NodeCommand::TellElectorate(Attested {
        value: founders.clone(),
        signatures: majority_of(&newer, founders.clone().into()),
    });
    assert_eq!(refused(world.group(shard).rogue(back)), Refusal::VersionConflict, "versions only grow");
}

#[test]
fn a_voter_that_was_rebuilt_signs_with_the_key_of_its_node() {
    let mut world = World::new();
    let (mut backup, home, other) = begun(&mut world);
    let before = world.groups[&other].electorate(home).unwrap();
    let node = world.map().shards.iter().find(|shard| shard.group == home).unwrap().slots[0].node.to_string();
    let (slot, from) = world.member(home, &node);
    let Done::ReplicaAllotted { replica: to } = done(world.rebuild(home, &node, from)) else { panic!() };
    done(world.replace(home, slot, from, to));
    done(world.has_come(home, slot, to));
    let after = world.map().electorate(home).unwrap();
    assert!(before.version < after.version && before.voters != after.voters);
    assert_eq!(
        before.voters.keys.values().collect::<BTreeSet<_>>(),
        after.voters.keys.values().collect::<BTreeSet<_>>(),
        "a node keeps its key"
    );
    let signed = backup.join_command(&world, other);
    // The other shard was not told yet: the newer name of that voter means nothing to it.
    let newer = Claim::of(&signed).into_iter().map(|claim| some_of(&after, after.voters.keys.len(), claim)).collect();
    let command = EntryCommand::Attested { command: signed, signatures: newer };
    assert_eq!(refused(one(world.group(other).apply(vec![command]))), Refusal::Unattested);
    done(world.group(other).node(NodeCommand::TellElectorate(claim(after))));
    let older = NodeCommand::TellElectorate(claim(before));
    assert_eq!(refused(world.group(other).node(older)), Refusal::VersionConflict);
    done(backup.join(&mut world, other));
}
