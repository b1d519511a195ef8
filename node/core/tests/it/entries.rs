//! Entries: any bytes may come, the same entries give the same rows, and nothing happens before the first one.

use proptest::prelude::*;
use strongroom_core::entry::{Entry, EntryCommand, NodeCommand};
use strongroom_core::laws::State;
use strongroom_core::machine::Machine;
use strongroom_core::query::{Answer, Query};
use strongroom_core::rules;
use strongroom_core::shard::ShardMachine;
use strongroom_core::tables::{MemoryTables, Table, Tables};
use strongroom_format::codec;
use strongroom_format::command::SignedCommand;
use strongroom_format::id::{GroupId, RulesVersion};
use strongroom_format::outcome::{Outcome, Refusal};

use crate::backup::back_up;
use crate::group::{Group, cases, refused};
use crate::tenant::WRITER;
use crate::world::{World, genesis};

#[test]
fn n67_the_same_log_gives_the_same_digest_and_the_same_rows() {
    let mut world = World::new();
    back_up(&mut world, "acme", WRITER, "one", &["a", "b", "c", "d"]);
    world.pass(60_000);
    back_up(&mut world, "globex", WRITER, "two", &["a", "b"]);
    for group in world.groups.values() {
        assert_eq!(group.replayed(), group.tables, "{}", group.group);
    }
}

#[test]
fn a_group_knows_nobody_before_its_first_entry() {
    let mut shard = Group::new(GroupId(1), genesis(1, 1, 1).founders());
    let nothing = SignedCommand { command: vec![1, 2, 3], signature: None };
    assert_eq!(refused(shard.client(nothing)), Refusal::NotFound);
    assert_eq!(shard.ask(&Query::Shard), Answer::NotFound);
    assert_eq!(shard.view().rules, None);
    assert_eq!(shard.tables.rows().filter(|(table, ..)| table.0 != 0).count(), 0);
    let mut cluster = Group::new(GroupId::CLUSTER, genesis(1, 1, 1).founders());
    assert_eq!(refused(cluster.tick(1)), Refusal::NotFound);
    let facts = NodeCommand::Found(genesis(3, 3, 1));
    assert_eq!(refused(shard.node(facts)), Refusal::NotFound);
}

#[test]
fn a_replica_stops_before_rules_that_it_does_not_know() {
    let mut world = World::single();
    let shard = world.group(GroupId(1));
    let mut tables = shard.tables.clone();
    let newer = [&[1_u8][..], &RulesVersion(rules::KNOWN.0 + 1).0.to_le_bytes()].concat();
    tables.put(Table(1), &[], &newer).unwrap();
    let halt = ShardMachine::new(GroupId(1), genesis(1, 1, 1).founders()).apply(&mut tables, 99, &[]).unwrap_err();
    assert!(halt.why.contains(&format!("rules version {}", rules::KNOWN.0 + 1)), "{halt}");
}

#[test]
fn a_damaged_row_stops_the_replica_and_is_no_outcome() {
    let mut world = World::single();
    let open = world.open_session_command("acme", WRITER, 0);
    let entry = Entry { salt: [0; 16], wall_unix_ms: 0, commands: vec![EntryCommand::Client(open)] };
    let shard = world.group(GroupId(1));
    let rows: Vec<(Table, Vec<u8>)> =
        shard.tables.rows().filter(|(table, ..)| table.0 == 20).map(|(table, key, _)| (table, key.to_vec())).collect();
    let mut tables = shard.tables.clone();
    for (table, key) in rows {
        tables.put(table, &key, &[1, 2, 3]).unwrap();
    }
    let before = tables.clone();
    assert!(
        ShardMachine::new(GroupId(1), genesis(1, 1, 1).founders())
            .apply(&mut tables, 99, &codec::encode(&entry))
            .is_err()
    );
    assert_eq!(tables, before, "nothing of the entry is written");
}

#[test]
fn questions_that_do_not_read_are_answered() {
    let world = World::single();
    for (group, of) in [(GroupId(1), Query::ClusterMap), (GroupId::CLUSTER, Query::Shard)] {
        for query in [vec![], vec![1], vec![9; 100], codec::encode(&of)] {
            assert!(matches!(world.groups[&group].ask_bytes(&query), Answer::Invalid { .. }));
        }
    }
}

#[test]
fn an_entry_with_too_many_commands_does_nothing() {
    let mut world = World::single();
    let nothing = SignedCommand { command: Vec::new(), signature: None };
    let entry = Entry { salt: [0; 16], wall_unix_ms: 0, commands: vec![EntryCommand::Client(nothing); 4097] };
    let outcomes = world.group(GroupId(1)).apply_bytes(codec::encode(&entry));
    assert!(matches!(outcomes[..], [Outcome::Refused(Refusal::Limit { .. })]));
}

/// A world with something of everything in it, as bytes to change.
fn lived_in() -> World {
    let mut world = World::single();
    back_up(&mut world, "acme", WRITER, "one", &["a", "b"]);
    world
}

proptest! {
    #![proptest_config(cases(200))]

    #[test]
    fn n81_arbitrary_bytes_are_answered_and_change_nothing(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut shard = Group::new(GroupId(1), genesis(1, 1, 1).founders());
        let before = shard.tables.clone();
        let versioned = [&[1][..], &bytes].concat();
        for bytes in [bytes, versioned] {
            let outcomes = shard.apply_bytes(bytes);
            prop_assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Refused(_))));
        }
        let rows = |tables: &MemoryTables| tables.rows().filter(|(table, ..)| table.0 != 0).count();
        prop_assert_eq!(rows(&shard.tables), rows(&before));
    }
}

#[test]
fn n81_entries_with_changed_bytes_never_panic_and_keep_the_laws() {
    let world = lived_in();
    let shard = &world.groups[&GroupId(1)];
    let machine = ShardMachine::new(GroupId(1), genesis(1, 1, 1).founders());
    let mut changes = 0_u32;
    for (number, (_, bytes)) in shard.log.iter().enumerate() {
        for change in 0..24_usize {
            let mut bytes = bytes.clone();
            let at = (change * 7919 + number * 104_729) % bytes.len();
            match change % 3 {
                0 => bytes[at] ^= 1 << (change % 8),
                1 => bytes.truncate(at),
                _ => bytes.insert(at, 0xff),
            }
            let mut tables = shard.tables.clone();
            machine.apply(&mut tables, 1_000_000, &bytes).unwrap();
            if change < 3 {
                strongroom_core::laws::check(&State::of(GroupId(1), &tables)).unwrap();
            }
            changes += 1;
        }
    }
    assert!(200 < changes);
}
