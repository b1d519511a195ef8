//! One tenant never sees, names or counts another; the same answer for foreign and for absent.

use strongroom_core::query::{Answer, Query, SnapshotRef, VaultRef};
use strongroom_format::codec;
use strongroom_format::command::{BlobRef, Body, Command};
use strongroom_format::id::{GroupId, LeaseId, SessionId, SnapshotId, TenantId, VaultId};
use strongroom_format::outcome::{Outcome, Refusal};
use strongroom_format::sign;

use crate::backup::{Backup, Piece, back_up, id_of, leaf};
use crate::group::{done, identity, refused};
use crate::tenant::{OTHER_WRITER, RESTORER, WRITER};
use crate::world::World;

/// Both tenants in one shard.
fn neighbours() -> World {
    let mut world = World::founded(&crate::world::genesis(3, 3, 1));
    for tenant in ["acme", "globex"] {
        world.create_tenant(tenant, 1);
        world.settle(tenant);
    }
    world
}

const SHARD: GroupId = GroupId(1);

#[test]
fn n20_a_foreign_and_an_absent_tenant_read_alike_and_leave_no_trace() {
    let mut world = neighbours();
    let session = world.open_session("acme", WRITER);
    let acme = world.tenant("acme");
    let command = |tenant: TenantId, session: SessionId| Command {
        tenant,
        session: Some(session),
        sequence: 1,
        ..acme.command(SHARD, WRITER, Body::Ask { sequence: 2 })
    };
    let foreign = sign::unsigned_command(&command(world.tenant("globex").id, session.session));
    let absent = sign::unsigned_command(&command(TenantId::from_bytes([9; 16]), session.session));
    let never = sign::unsigned_command(&command(acme.id, SessionId(999_999)));
    // The tenant is not here; the session is not that tenant's; there is no such session.
    assert_eq!(refused(world.group(SHARD).client(absent)), Refusal::NotFound);
    assert_eq!(refused(world.group(SHARD).client(foreign)), Refusal::SessionEnded);
    assert_eq!(refused(world.group(SHARD).client(never)), Refusal::SessionEnded);
}

#[test]
fn n21_another_tenants_ids_are_as_if_absent() {
    let mut world = neighbours();
    let snapshot = back_up(&mut world, "globex", WRITER, "theirs", &["x", "y"]);
    let theirs = world.open_session("globex", WRITER);
    let mut backup = Backup::new(&world, "globex", WRITER, theirs, "open");
    done(backup.open(&mut world));
    let absent = SnapshotId::from_bytes([7; 16]);

    let mut writer = world.open_session("acme", WRITER);
    let mut restorer = world.open_session("acme", RESTORER);
    let mut pairs = Vec::new();
    for (foreign, none) in [(snapshot, absent), (backup.snapshot, absent)] {
        for id in [foreign, none] {
            let body = Body::AbortSnapshot { snapshot: id };
            pairs.push(world.submit("acme", WRITER, &mut writer, body));
            let body = Body::SealPart { snapshot: id, roots: Vec::new(), records: Vec::new() };
            pairs.push(world.submit("acme", WRITER, &mut writer, body));
            let body = Body::OpenRestore { snapshots: vec![id], purpose: String::new(), lifetime_ms: 1 };
            pairs.push(world.submit("acme", RESTORER, &mut restorer, body));
        }
    }
    assert!(pairs.iter().all(|outcome| *outcome == Outcome::Refused(Refusal::NotFound)), "{pairs:?}");
    for lease in [theirs.lease, LeaseId(1)] {
        let body = Body::TopUp { lease, bytes: 1 };
        assert_eq!(refused(world.submit("acme", WRITER, &mut writer, body)), Refusal::LeaseEnded);
    }

    let acme = world.tenant("acme").id;
    let globex = world.tenant("globex");
    let group = &world.groups[&SHARD];
    for query in [
        Query::Snapshot { tenant: acme, snapshot: SnapshotRef::Id(snapshot), vault: None, by: None },
        Query::Snapshot {
            tenant: acme,
            snapshot: SnapshotRef::Prefix(snapshot.to_string()[..8].into()),
            vault: None,
            by: None,
        },
        Query::Part { tenant: acme, snapshot },
        Query::Decision { tenant: acme, snapshot },
        Query::Lease { tenant: acme, lease: backup.leases[&SHARD] },
        Query::Session { tenant: acme, session: theirs.session },
        Query::Vault { tenant: acme, vault: VaultRef::Id(globex.vault), by: None },
        Query::Snapshots { tenant: acme, vault: globex.vault, by: None, label: None, after: 0, limit: 9 },
    ] {
        assert_eq!(group.ask(&query), Answer::NotFound, "{query:?}");
    }
}

#[test]
fn n24_no_answer_holds_anything_of_another_tenant() {
    let mut world = neighbours();
    for (tenant, names) in [("acme", ["a", "b"]), ("globex", ["x", "y"])] {
        back_up(&mut world, tenant, WRITER, tenant, &names);
    }
    let (acme, globex) = (world.tenant("acme"), world.tenant("globex"));
    let of_globex = [globex.id.as_bytes().to_vec(), globex.vault.as_bytes().to_vec(), b"globex".to_vec()];
    let group = &world.groups[&SHARD];
    // Ranges that begin before, in and behind the tenant, open-ended ones, and prefixes that fit another's ids.
    let mut queries =
        vec![Query::Vaults { tenant: acme.id }, Query::Usage { tenant: acme.id }, Query::Tenant { tenant: acme.id }];
    for after in [0, 1, u64::MAX - 1, u64::MAX] {
        for limit in [0, 1, u32::MAX] {
            queries.push(Query::Snapshots { tenant: acme.id, vault: acme.vault, by: None, label: None, after, limit });
        }
    }
    for prefix in ["00000000", "ffffffff", "fffffffffffffffffffffffffffffff"] {
        let snapshot = SnapshotRef::Prefix(prefix.into());
        queries.push(Query::Snapshot { tenant: acme.id, snapshot, vault: None, by: None });
    }
    for query in queries {
        let answer = codec::encode(&group.ask(&query));
        for canary in &of_globex {
            let found = answer.windows(canary.len()).any(|window| window == canary.as_slice());
            assert!(!found, "{query:?}");
        }
    }
}

#[test]
fn n35_an_envelope_of_another_tenant_vault_or_policy_is_refused() {
    let mut world = neighbours();
    let session = world.open_session("acme", WRITER);
    let mut backup = Backup::new(&world, "acme", WRITER, session, "one");
    backup.prepare(&mut world, &["a"]);
    let good = backup.envelope(&world);
    let mut tenant = good.clone();
    tenant.tenant = world.tenant("globex").id;
    assert_eq!(refused(backup.commit_envelope(&mut world, &tenant)), Refusal::ForeignTenant);
    let mut vault = good.clone();
    vault.vault = world.tenant("globex").vault;
    assert_eq!(refused(backup.commit_envelope(&mut world, &vault)), Refusal::ForeignTenant);
    let mut absent = good.clone();
    absent.vault = VaultId::from_bytes([3; 16]);
    assert_eq!(refused(backup.commit_envelope(&mut world, &absent)), Refusal::ForeignTenant);
    done(backup.commit_envelope(&mut world, &good));
}

#[test]
fn n109_chunks_and_nodes_of_another_domain_are_as_if_absent() {
    let mut world = neighbours();
    back_up(&mut world, "acme", WRITER, "one", &["a", "b"]);
    let acme = world.tenant("acme");
    let (vault, tenant) = (acme.vault, acme.id);
    let theirs = acme.domain(WRITER);
    let piece = Piece::new("a", 0);
    let (node, bytes) = leaf(&theirs, &[piece, Piece::new("b", 0)]);

    let which = |by: &str, domain| Query::Which {
        tenant,
        by: identity(by),
        vault,
        domain,
        chunks: vec![piece.of.chunk],
        nodes: vec![id_of(&node)],
    };
    let group = &world.groups[&SHARD];
    let Answer::Which(own) = group.ask(&which(WRITER, theirs.domain)) else { panic!() };
    assert_eq!((own.chunks.len(), own.nodes.len()), (1, 1));
    for (by, domain) in [(OTHER_WRITER, theirs.domain), (OTHER_WRITER, acme.domain(OTHER_WRITER).domain)] {
        let Answer::Which(none) = group.ask(&which(by, domain)) else { panic!() };
        assert_eq!((none.chunks.len(), none.nodes.len()), (0, 0), "{by}");
    }
    let nodes = Query::Nodes {
        tenant,
        by: Some(identity(OTHER_WRITER)),
        vault,
        domain: theirs.domain,
        nodes: vec![id_of(&node)],
    };
    assert_eq!(group.ask(&nodes), Answer::Nodes(vec![None]));

    let session = world.open_session("acme", OTHER_WRITER);
    let mut other = Backup::new(&world, "acme", OTHER_WRITER, session, "two");
    done(other.open(&mut world));
    let dek = world.tenant("acme").dek(OTHER_WRITER);
    for lease in [session.lease, other.leases[&SHARD]] {
        let register = Body::RegisterChunks {
            lease,
            vault,
            domain: theirs.domain,
            chunks: vec![Piece::new("new", 0).registered(dek)],
        };
        assert_eq!(refused(other.submit(&mut world, SHARD, register)), Refusal::NotFound);
        let put = Body::PutNodes { lease, vault, domain: theirs.domain, nodes: vec![bytes.clone()] };
        assert_eq!(refused(other.submit(&mut world, SHARD, put)), Refusal::NotFound);
    }
    // Nor does it write under the other's leases, whatever domain it names.
    let session = world.open_session("acme", WRITER);
    let mut first = Backup::new(&world, "acme", WRITER, session, "three");
    done(first.open(&mut world));
    for (lease, domain) in [
        (session.lease, world.tenant("acme").domain(OTHER_WRITER).domain),
        (session.lease, theirs.domain),
        (first.leases[&SHARD], theirs.domain),
    ] {
        let chunks = vec![Piece::new("new", 0).registered(dek)];
        let register = Body::RegisterChunks { lease, vault, domain, chunks };
        assert_eq!(refused(other.submit(&mut world, SHARD, register)), Refusal::LeaseEnded);
        let put = Body::PutNodes { lease, vault, domain, nodes: vec![bytes.clone()] };
        assert_eq!(refused(other.submit(&mut world, SHARD, put)), Refusal::LeaseEnded);
    }
    // Its own leaf that refers to the other's chunk: the chunk is missing.
    let (_, bytes) = leaf(&world.tenant("acme").domain(OTHER_WRITER), &[piece]);
    let Refusal::ManifestMismatch { missing_chunks, .. } = refused(other.put(&mut world, SHARD, &[bytes])) else {
        panic!()
    };
    assert_eq!(missing_chunks, [BlobRef { ..piece.of }]);
}

#[test]
fn n116_a_writer_commits_under_its_own_name_only_and_sees_its_own_snapshots() {
    let mut world = neighbours();
    let first = back_up(&mut world, "acme", WRITER, "one", &["a"]);
    let second = back_up(&mut world, "acme", OTHER_WRITER, "two", &["a"]);
    let session = world.open_session("acme", WRITER);
    let mut backup = Backup::new(&world, "acme", WRITER, session, "three");
    backup.prepare(&mut world, &["c"]);
    let mut envelope = backup.envelope(&world);
    envelope.writer = identity(OTHER_WRITER);
    assert_eq!(refused(backup.commit_envelope(&mut world, &envelope)), Refusal::Role);
    // Signed by the other writer, brought by this one.
    let theirs = strongroom_format::sign::Signed::new(&envelope, &world.tenant("acme").key(OTHER_WRITER)).unwrap();
    let body = Body::CommitSnapshot { envelope: codec::encode(&theirs), sealed: Vec::new() };
    assert_eq!(refused(backup.submit(&mut world, SHARD, body)), Refusal::Signature);
    // The other writer commits this writer's snapshot.
    let session = world.open_session("acme", OTHER_WRITER);
    let mut thief = Backup { sessions: [(SHARD, session)].into(), writer: OTHER_WRITER.into(), ..backup.clone() };
    let mut envelope = thief.envelope(&world);
    envelope.writer = identity(OTHER_WRITER);
    assert_eq!(refused(thief.commit_envelope(&mut world, &envelope)), Refusal::NotFound);

    let acme = world.tenant("acme");
    let list = |by: Option<&str>| {
        let query = Query::Snapshots {
            tenant: acme.id,
            vault: acme.vault,
            by: by.map(identity),
            label: Some("/srv".parse().unwrap()),
            after: 0,
            limit: 10,
        };
        match world.groups[&SHARD].ask(&query) {
            Answer::Snapshots(page) => page.snapshots.into_iter().map(|one| one.snapshot).collect::<Vec<_>>(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(list(None), [first, second], "the caller sees that the name is two writers'");
    assert_eq!(list(Some(WRITER)), [first]);
    assert_eq!(list(Some(OTHER_WRITER)), [second]);
}
