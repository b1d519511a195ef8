//! The cluster group: topology, tenants, operators.

use strongroom_core::entry::{EntryCommand, NodeCommand};
use strongroom_core::genesis::{Genesis, GenesisFault, replica_id};
use strongroom_core::query::{Answer, Query};
use strongroom_core::topology::TopologyFault;
use strongroom_format::code::Code;
use strongroom_format::codec;
use strongroom_format::command::{OperatorBody, OperatorCommand};
use strongroom_format::id::{GroupId, Nonce, ReplicaId, Slot};
use strongroom_format::outcome::{Done, Outcome, Refusal};
use strongroom_format::role::{Plane, Role};
use strongroom_format::sign::{self, SigningKey};

use crate::group::{Group, done, fixed, identity, one, refused};
use crate::world::{World, genesis};

#[test]
fn tables_of_design_3_are_founded_and_everything_else_is_refused() {
    for (nodes, regions, code, voters) in
        [(1, 1, (1, 0), 1), (3, 3, (2, 1), 3), (6, 3, (4, 2), 5), (9, 3, (6, 3), 7), (5, 1, (3, 2), 5)]
    {
        let genesis = genesis(nodes, regions, 2);
        genesis.check().unwrap_or_else(|fault| panic!("{nodes} {regions}: {fault}"));
        let code = Code { k: code.0, m: code.1 };
        assert!(genesis.shards.iter().all(|shard| genesis.code_of(shard) == Some(code)));
        assert_eq!(genesis.cluster_members().iter().filter(|member| member.votes).count(), voters);
    }
    assert!(matches!(
        Genesis { single_node: false, ..genesis(1, 1, 1) }.check(),
        Err(GenesisFault::Topology(TopologyFault::SingleNode { .. }))
    ));
    let two = genesis(4, 2, 1);
    assert!(
        matches!(
            two.check(),
            Err(GenesisFault::Topology(TopologyFault::NoCode { .. } | TopologyFault::RegionLoss { .. }))
        ),
        "{:?}",
        two.check()
    );
    assert_eq!(Genesis { accept_region_loss: true, ..two }.check(), Ok(()));
    let crowded = {
        let mut genesis = genesis(6, 3, 1);
        // Three fragments and three voters in one region.
        genesis.nodes[1].region = genesis.nodes[0].region.clone();
        genesis
    };
    assert!(crowded.check().is_err());
}

#[test]
fn slots_are_numbered_region_by_region_in_turn() {
    let mut genesis = genesis(6, 3, 1);
    genesis.shards[0].slots.swap(0, 3);
    assert_eq!(genesis.check(), Ok(()), "any node of the region");
    genesis.shards[0].slots.swap(0, 1);
    assert_eq!(genesis.check(), Err(TopologyFault::SlotOrder { group: GroupId(1) }.into()));
    genesis.shards[0].slots.truncate(5);
    assert!(genesis.check().is_err());
}

#[test]
fn a_genesis_that_names_something_twice_or_not_at_all_founds_nothing() {
    let changes: [&dyn Fn(&mut Genesis); 9] = [
        &|genesis| genesis.nodes[1].name = genesis.nodes[0].name.clone(),
        &|genesis| genesis.nodes[1].signing_key = genesis.nodes[0].signing_key,
        &|genesis| genesis.nodes[1].region = "elsewhere".parse().unwrap(),
        &|genesis| genesis.regions.push("empty".parse().unwrap()),
        &|genesis| genesis.shards[0].group = GroupId(0),
        &|genesis| genesis.shards[0].slots[0] = genesis.shards[0].slots[3].clone(),
        &|genesis| genesis.issuers[1].certificate = genesis.issuers[0].certificate.clone(),
        &|genesis| genesis.issuers[1].plane = Plane::Tenant,
        &|genesis| genesis.operators[0].roles.clear(),
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let mut genesis = genesis(6, 3, 2);
        change(&mut genesis);
        assert!(genesis.check().is_err(), "change {number}");
        let mut cluster = Group::new(GroupId::CLUSTER, genesis.founders());
        assert!(matches!(refused(cluster.node(NodeCommand::Found(genesis))), Refusal::Invalid { .. }));
        assert_eq!(cluster.ask(&Query::ClusterMap), Answer::NotFound);
    }
}

#[test]
fn replica_ids_come_from_the_allotting_entry_and_a_cluster_is_founded_once() {
    let mut world = World::founded(&genesis(6, 3, 3));
    let map = world.map();
    for shard in &map.shards {
        for slot in &shard.slots {
            assert_eq!(slot.replica, replica_id(2, slot.slot));
        }
    }
    assert_eq!(replica_id(2, Slot(5)), ReplicaId(2 * 256 + 5));
    let mut replicas: Vec<_> = map.nodes.iter().map(|node| node.replica.0).collect();
    replicas.sort_unstable();
    assert_eq!(replicas, [0, 1, 2, 3, 4, 5]);
    let again = world.cluster().node(NodeCommand::Found(genesis(3, 3, 1)));
    assert_eq!(refused(again), Refusal::Immutable);
    let spread: Vec<usize> = map
        .nodes
        .iter()
        .map(|node| map.shards.iter().flat_map(|shard| &shard.slots).filter(|slot| slot.node == node.name).count())
        .collect();
    assert_eq!(spread, [3; 6]);
}

fn create(world: &World, name: &str) -> OperatorBody {
    OperatorBody::CreateTenant {
        name: name.parse().unwrap(),
        founding: world.tenant("acme").signed_founding(),
        issuers: vec![b"ca".to_vec()],
        home: None,
        width: 1,
    }
}

#[test]
fn n106_a_tenants_name_and_id_are_never_given_again() {
    let mut world = World::new();
    let body = create(&world, "acme");
    assert_eq!(refused(world.operator(body)), Refusal::NameRetired);
    let mut founding = world.tenant("acme").founding();
    founding.name = "other".parse().unwrap();
    let founding = codec::encode(&founding.sign(&world.tenant("acme").root).unwrap());
    let same_id = OperatorBody::CreateTenant {
        name: "other".parse().unwrap(),
        founding,
        issuers: vec![b"ca".to_vec()],
        home: None,
        width: 1,
    };
    assert_eq!(refused(world.operator(same_id)), Refusal::NameRetired);
    let mut founding = world.tenant("globex").founding();
    founding.name = "acme".parse().unwrap();
    founding.tenant = strongroom_format::id::TenantId::from_bytes([8; 16]);
    let founding = codec::encode(&founding.sign(&world.tenant("globex").root).unwrap());
    let same_name = OperatorBody::CreateTenant {
        name: "acme".parse().unwrap(),
        founding,
        issuers: vec![b"ca".to_vec()],
        home: None,
        width: 1,
    };
    assert_eq!(refused(world.operator(same_name)), Refusal::NameRetired);
}

#[test]
fn n102_a_ca_serves_one_plane_and_the_tenants_that_accepted_it() {
    let mut world = World::new();
    let mut founding = world.tenant("acme").founding();
    founding.tenant = strongroom_format::id::TenantId::from_bytes([8; 16]);
    founding.name = "initech".parse().unwrap();
    let founding = codec::encode(&founding.sign(&world.tenant("acme").root).unwrap());
    let with = |issuers: Vec<Vec<u8>>| OperatorBody::CreateTenant {
        name: "initech".parse().unwrap(),
        founding: founding.clone(),
        issuers,
        home: Some(GroupId(2)),
        width: 2,
    };
    for bad in [vec![], vec![b"peer ca".to_vec()], vec![b"operator ca".to_vec()], vec![vec![]]] {
        assert!(matches!(refused(world.operator(with(bad))), Refusal::Invalid { .. }));
    }
    let created = done(world.operator(with(vec![b"ca of acme".to_vec(), b"own ca".to_vec()])));
    let Done::TenantCreated { home, groups, tenant, .. } = created else { panic!() };
    assert_eq!((home, groups.len()), (GroupId(2), 2));
    let issuers = world.map().issuers;
    let shared = issuers.iter().find(|issuer| issuer.certificate == b"ca of acme").unwrap();
    assert_eq!(shared.tenants.len(), 2);
    let own = issuers.iter().find(|issuer| issuer.certificate == b"own ca").unwrap();
    assert_eq!(own.tenants, [tenant]);
}

#[test]
fn n107_n108_an_operators_command_is_signed_and_answered_once() {
    let mut world = World::founded(&genesis(3, 3, 1));
    world.create_tenant("acme", 1);
    let key = |name: &str| SigningKey::from_secret(fixed(&format!("signing {name}"))).unwrap();
    let command = OperatorCommand {
        cluster: crate::group::epoch(),
        operator: identity("olga"),
        nonce: Nonce::from_bytes([1; 16]),
        body: create(&world, "acme"),
    };
    let mut apply = |command: &OperatorCommand, signer: &str| {
        let signed = sign::sign_operator_command(command, &key(signer));
        one(world.cluster().apply(vec![EntryCommand::Operator(signed)]))
    };
    assert_eq!(refused(apply(&command, "oscar")), Refusal::Signature);
    let stranger = OperatorCommand { operator: identity("oscar"), ..command.clone() };
    assert_eq!(refused(apply(&stranger, "oscar")), Refusal::Identity);
    let first = apply(&command, "olga");
    assert_eq!(first, Outcome::Refused(Refusal::NameRetired));
    assert_eq!(apply(&command, "olga"), first);
    let mut other = command.clone();
    let OperatorBody::CreateTenant { width, .. } = &mut other.body else { panic!() };
    *width = 9;
    assert_eq!(refused(apply(&other, "olga")), Refusal::VersionConflict, "another command under the same nonce");
    let other_life = OperatorCommand { cluster: strongroom_format::id::ClusterEpoch::from_bytes([1; 16]), ..command };
    assert_eq!(refused(apply(&other_life, "olga")), Refusal::WrongGroup);
}

#[test]
fn n104_a_founding_record_with_roles_that_do_not_go_together_founds_no_tenant() {
    let mut world = World::founded(&genesis(3, 3, 1));
    world.create_tenant("acme", 1);
    let mut founding = world.tenant("acme").founding();
    founding.tenant = strongroom_format::id::TenantId::from_bytes([8; 16]);
    founding.name = "initech".parse().unwrap();
    founding.identities[0].roles = vec![Role::Writer, Role::Restorer];
    let founding = codec::encode(&founding.sign(&world.tenant("acme").root).unwrap());
    let body = OperatorBody::CreateTenant {
        name: "initech".parse().unwrap(),
        founding,
        issuers: vec![b"ca".to_vec()],
        home: None,
        width: 1,
    };
    assert_eq!(refused(world.operator(body)), Refusal::ForbiddenRoles);
}
