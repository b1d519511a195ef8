//! Uploads: chunks, nodes, parts, commits, and everything that may be wrong with them.

use strongroom_core::query::{Answer, Query, SnapshotRef};
use strongroom_core::shard::UNREPORTED_MAX;
use strongroom_format::code::Strength;
use strongroom_format::codec;
use strongroom_format::command::{BlobRef, Body, HandedOver, Sealed};
use strongroom_format::envelope::Envelope;
use strongroom_format::id::{
    ChunkId, ClusterEpoch, DekId, Digest, GroupId, KeyEpoch, PolicyVersion, SetVersion, Slot, SnapshotId,
    StatementVersion, TreeId,
};
use strongroom_format::lock::{LockMode, LockRange, LockTerms};
use strongroom_format::outcome::{Done, Outcome, Refusal};
use strongroom_format::policy::Policy;
use strongroom_format::role::Role;
use strongroom_format::sign::Signed;
use strongroom_format::tree::{Child, Node, Totals};

use crate::backup::{Backup, Piece, back_up, child, id_of, inner, leaf};
use crate::group::{HOUR_MS, claim, done, identity, refused};
use crate::tenant::{ADMIN, OTHER_WRITER, RESTORER, WRITER, policy};
use crate::world::World;

pub fn opened(world: &mut World, name: &str) -> Backup {
    let session = world.open_session("acme", WRITER);
    let mut backup = Backup::new(world, "acme", WRITER, session, name);
    done(backup.open(world));
    backup
}

fn prepared(world: &mut World, name: &str, contents: &[&str]) -> Backup {
    let session = world.open_session("acme", WRITER);
    let mut backup = Backup::new(world, "acme", WRITER, session, name);
    backup.prepare(world, contents);
    backup
}

fn mismatch(outcome: Outcome) -> (Vec<BlobRef>, Vec<TreeId>, Vec<GroupId>) {
    match refused(outcome) {
        Refusal::ManifestMismatch { missing_chunks, missing_nodes, groups, .. } => {
            (missing_chunks, missing_nodes, groups)
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_snapshot_over_three_shards_is_all_there_after_its_commit() {
    let mut world = World::new();
    let mut backup = prepared(&mut world, "one", &["a", "b", "c", "d", "e"]);
    let Done::Committed { envelope, leaf_index, strength } = done(backup.commit(&mut world)) else { panic!() };
    assert_eq!(strength, Strength { regions: 1, nodes: 2 });
    assert_eq!(envelope, backup.envelope(&world).digest());
    assert_eq!(world.decide(), 2);
    let tenant = world.tenant("acme");
    let query = Query::Snapshot {
        tenant: tenant.id,
        snapshot: SnapshotRef::Prefix(backup.snapshot.to_string()[..9].into()),
        vault: Some(tenant.vault),
        by: Some(identity(WRITER)),
    };
    let Answer::Snapshots(page) = world.groups[&tenant.home].ask(&query) else { panic!() };
    let [view] = &page.snapshots[..] else { panic!("{page:?}") };
    assert_eq!((view.snapshot, view.committed.leaf_index), (backup.snapshot, leaf_index));
    assert_eq!(view.committed.parts.len(), 3);
    assert_eq!(view.envelope, backup.signed_envelope(&world, &backup.envelope(&world)));
    assert_eq!(view.card, {
        let card = tenant.card(WRITER, 1);
        tenant.sign(&card)
    });
    let wraps = Query::Wraps {
        tenant: tenant.id,
        vault: tenant.vault,
        domain: view.domain,
        deks: vec![tenant.dek(WRITER), DekId::from_bytes([1; 16])],
    };
    assert_eq!(world.groups[&tenant.home].ask(&wraps), Answer::Wraps(vec![Some(tenant.wrap(WRITER)), None]));
}

#[test]
fn n34_a_commit_with_a_missing_differing_or_repeated_part_is_refused_and_says_which() {
    let mut world = World::new();
    let mut backup = prepared(&mut world, "one", &["a", "b", "c", "d"]);
    let home = backup.home(&world);
    let others = backup.others(&world);
    let envelope = backup.signed_envelope(&world, &backup.envelope(&world));
    let mut commit = |world: &mut World, sealed: Vec<_>| {
        backup.submit(world, home, Body::CommitSnapshot { envelope: envelope.clone(), sealed })
    };
    let (second, third) = (others[0].value.group, others[1].value.group);
    assert_eq!(mismatch(commit(&mut world, Vec::new())).2, [second, third]);
    assert_eq!(mismatch(commit(&mut world, vec![others[1].clone()])).2, [second]);
    let twice = vec![others[0].clone(), others[0].clone(), others[1].clone()];
    mismatch(commit(&mut world, twice));
    let wrong = |change: &dyn Fn(&mut Sealed)| {
        let mut sealed = others.clone();
        change(&mut sealed[1].value);
        sealed
    };
    for sealed in [
        wrong(&|sealed| sealed.roots.clear()),
        wrong(&|sealed| sealed.roots.push(TreeId::from_bytes([1; 32]))),
        wrong(&|sealed| sealed.stored_bytes += 1),
        wrong(&|sealed| sealed.chunk_refs += 1),
        wrong(&|sealed| sealed.snapshot = SnapshotId::from_bytes([1; 16])),
    ] {
        assert_eq!(mismatch(commit(&mut world, sealed)).2, [third]);
    }
    let mut manifest = backup.envelope(&world);
    manifest.manifest.stored_bytes += 1;
    assert_eq!(mismatch(backup.commit_envelope(&mut world, &manifest)).2, [home]);
    let mut root = backup.envelope(&world);
    root.manifest.root = TreeId::from_bytes([2; 32]);
    assert_eq!(mismatch(backup.commit_envelope(&mut world, &root)).2, [home]);
    let mut part = backup.envelope(&world);
    part.parts[2].chunk_refs += 1;
    mismatch(backup.commit_envelope(&mut world, &part));
    let mut label = backup.envelope(&world);
    label.label = "/other".parse().unwrap();
    mismatch(backup.commit_envelope(&mut world, &label));
    let mut deks = backup.envelope(&world);
    deks.deks.clear();
    mismatch(backup.commit_envelope(&mut world, &deks));
    done(backup.commit(&mut world));
}

#[test]
fn n34_what_is_missing_below_a_leaf_a_node_or_a_part_is_listed() {
    let mut world = World::new();
    let mut backup = opened(&mut world, "one");
    let home = backup.home(&world);
    let keys = backup.keys(&world);
    let (a, b) = (Piece::new("a", 0), Piece::new("b", 0));
    done(backup.register(&mut world, home, &[a]));
    let (over_both, bytes) = leaf(&keys, &[a, b, b]);
    assert_eq!(mismatch(backup.put(&mut world, home, std::slice::from_ref(&bytes))).0, [b.of]);
    let (top, top_bytes) = inner(&keys, &[&over_both]);
    assert_eq!(mismatch(backup.put(&mut world, home, std::slice::from_ref(&top_bytes))).1, [id_of(&over_both)]);
    let seal = |roots, records| Body::SealPart { snapshot: backup.snapshot, roots, records };
    let bodies = [seal(vec![id_of(&top)], Vec::new()), seal(Vec::new(), vec![b.of])];
    let [nodes, chunks] = bodies.map(|body| mismatch(backup.submit(&mut world, home, body)));
    assert_eq!((nodes.1, chunks.0), (vec![id_of(&top)], vec![b.of]));
    // The same blob with another length is another claim.
    let longer = Piece { stored_bytes: a.stored_bytes + 1, ..a };
    let (_, wrong) = leaf(&keys, &[longer]);
    assert_eq!(mismatch(backup.put(&mut world, home, &[wrong])).0, [a.of]);
    done(backup.register(&mut world, home, &[b]));
    // Children before parents, in one batch.
    assert_eq!(done(backup.put(&mut world, home, &[bytes, top_bytes])), Done::NodesPut { known: 0 });
}

#[test]
fn n34_a_commit_before_the_home_part_is_sealed_is_refused() {
    let mut world = World::single();
    let mut backup = opened(&mut world, "one");
    backup.fill_manifest(&mut world);
    let home = backup.home(&world);
    assert_eq!(mismatch(backup.commit(&mut world)).2, [home]);
}

#[test]
fn n36_unknown_versions_and_unversioned_bytes_are_refused_never_guessed() {
    let mut world = World::single();
    let mut backup = prepared(&mut world, "one", &["a"]);
    let home = backup.home(&world);
    let good = backup.signed_envelope(&world, &backup.envelope(&world));
    let with_version = |version: u8| [&[version], &good[1..]].concat();
    for version in [0, 2, 255] {
        let body = Body::CommitSnapshot { envelope: with_version(version), sealed: Vec::new() };
        let refusal = refused(backup.submit(&mut world, home, body));
        assert!(matches!(refusal, Refusal::UnsupportedFormat { .. }), "{refusal:?}");
    }
    for bytes in [Vec::new(), good[1..].to_vec(), [good.clone(), vec![0]].concat()] {
        let body = Body::CommitSnapshot { envelope: bytes, sealed: Vec::new() };
        assert!(matches!(
            refused(backup.submit(&mut world, home, body)),
            Refusal::Invalid { .. } | Refusal::UnsupportedFormat { .. }
        ));
    }
    let mut session = world.open_session("acme", ADMIN);
    let mut statement = world.tenant("acme").statement(2);
    statement.suite = 9;
    let statement = world.tenant("acme").sign(&statement);
    let refusal = refused(world.submit("acme", ADMIN, &mut session, Body::UpdateStatement { statement }));
    assert!(matches!(refusal, Refusal::UnsupportedFormat { .. }), "{refusal:?}");
}

#[test]
fn n37_what_exists_is_not_overwritten_and_a_second_blob_lies_beside_the_first() {
    let mut world = World::single();
    let snapshot = back_up(&mut world, "acme", WRITER, "one", &["a", "b"]);
    let home = GroupId(1);
    let usage = world.group(home).view().usage;
    let session = world.open_session("acme", WRITER);
    let mut again = Backup::new(&world, "acme", WRITER, session, "one");
    assert_eq!(again.snapshot, snapshot);
    assert_eq!(refused(again.open(&mut world)), Refusal::Immutable);

    let mut backup = opened(&mut world, "two");
    let (a, b) = (Piece::new("a", 0), Piece::new("b", 0));
    assert_eq!(done(backup.register(&mut world, home, &[a, b])), Done::Registered { known: 2 });
    let mut claims_more = a.registered(world.tenant("acme").dek(WRITER));
    claims_more.stored_bytes = 7;
    claims_more.missing = vec![0];
    claims_more.missing.clear();
    let (vault, domain) = (world.tenant("acme").vault, backup.keys(&world).domain);
    let body = Body::RegisterChunks { lease: backup.leases[&home], vault, domain, chunks: vec![claims_more] };
    assert_eq!(done(backup.submit(&mut world, home, body)), Done::Registered { known: 1 });
    let query = Query::Chunks { tenant: world.tenant("acme").id, vault, domain, blobs: vec![a.of] };
    let Answer::Chunks(rows) = world.groups[&home].ask(&query) else { panic!() };
    assert_eq!(rows[0].as_ref().unwrap().stored_bytes, a.stored_bytes, "known changes nothing");
    assert_eq!(world.group(home).view().usage.blobs, usage.blobs);

    let beside = Piece::new("a", 1);
    assert_eq!(done(backup.register(&mut world, home, &[beside])), Done::Registered { known: 0 });
    let which = Query::Which {
        tenant: world.tenant("acme").id,
        by: identity(WRITER),
        vault,
        domain,
        chunks: vec![a.of.chunk],
        nodes: Vec::new(),
    };
    let Answer::Which(which) = world.groups[&home].ask(&which) else { panic!() };
    assert_eq!(which.chunks[0].blob, beside.of.blob, "the newest");
    let query = Query::Chunks { tenant: world.tenant("acme").id, vault, domain, blobs: vec![a.of, beside.of] };
    let Answer::Chunks(rows) = world.groups[&home].ask(&query) else { panic!() };
    assert!(rows.iter().all(Option::is_some));

    let (_, bytes) = leaf(&backup.keys(&world), &[a, b]);
    assert_eq!(done(backup.put(&mut world, home, &[bytes])), Done::NodesPut { known: 1 });
}

#[test]
fn n37_a_chunk_has_at_most_four_blobs_that_nobody_reported() {
    let mut world = World::single();
    let mut backup = opened(&mut world, "one");
    let home = backup.home(&world);
    let copies: Vec<Piece> = (0..8).map(|copy| Piece::new("a", copy)).collect();
    backup.fill(&mut world, home, &copies[..2]);
    done(backup.register(&mut world, home, &copies[2..UNREPORTED_MAX]));
    let blobs = |world: &World| {
        let query =
            Query::Blobs { tenant: world.tenant("acme").id, blobs: copies.iter().map(|piece| piece.of.blob).collect() };
        match world.groups[&home].ask(&query) {
            Answer::Blobs(rows) => rows.iter().map(|rows| rows.len()).collect::<Vec<_>>(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(blobs(&world), [1, 1, 1, 1, 0, 0, 0, 0]);
    // The oldest that nothing names makes room.
    done(backup.register(&mut world, home, &copies[4..5]));
    assert_eq!(blobs(&world), [1, 1, 0, 1, 1, 0, 0, 0]);
    let keys = backup.keys(&world);
    let (_, bytes) = leaf(&keys, &[copies[3], copies[4]]);
    done(backup.put(&mut world, home, &[bytes]));
    let chunk = copies[0].of.chunk;
    assert_eq!(refused(backup.register(&mut world, home, &copies[5..6])), Refusal::TooManyBlobs { chunk });
    assert_eq!(blobs(&world), [1, 1, 0, 1, 1, 0, 0, 0]);
}

#[test]
fn n44_a_card_or_a_wrap_that_does_not_fit_is_no_provenance() {
    let mut world = World::single();
    let home = GroupId(1);
    let session = world.open_session("acme", WRITER);
    let mut backup = Backup::new(&world, "acme", WRITER, session, "one");
    let mut epoch = backup.open_body(&world);
    epoch.key_epoch = KeyEpoch(2);
    let refusal = refused(backup.submit(&mut world, home, Body::OpenSnapshot(epoch)));
    assert!(matches!(refusal, Refusal::ProvenanceInvalid { .. }));
    let mut wrap = backup.open_body(&world);
    wrap.wraps = vec![world.tenant("acme").wrap(OTHER_WRITER)];
    let refusal = refused(backup.submit(&mut world, home, Body::OpenSnapshot(wrap)));
    assert!(matches!(refusal, Refusal::ProvenanceInvalid { .. }));

    done(backup.open(&mut world));
    // A chunk under a key whose wrap is not here could never be opened.
    let mut chunk = Piece::new("a", 0).registered(DekId::from_bytes([5; 16]));
    let (vault, domain) = (world.tenant("acme").vault, backup.keys(&world).domain);
    let lease = backup.leases[&home];
    let body = Body::RegisterChunks { lease, vault, domain, chunks: vec![chunk.clone()] };
    let refusal = refused(backup.submit(&mut world, home, body));
    assert!(matches!(refusal, Refusal::ProvenanceInvalid { .. }));
    // An open blob is no content.
    chunk.dek = DekId::from_bytes([0; 16]);
    let body = Body::RegisterChunks { lease, vault, domain, chunks: vec![chunk] };
    done(backup.submit(&mut world, home, body));
    let (_, bytes) = leaf(&backup.keys(&world), &[Piece::new("a", 0)]);
    assert_eq!(mismatch(backup.put(&mut world, home, &[bytes])).0, [Piece::new("a", 0).of]);

    backup.fill_manifest(&mut world);
    done(backup.seal(&mut world, home));
    let mut envelope = backup.envelope(&world);
    envelope.card = Digest::from_bytes([1; 32]);
    let refusal = refused(backup.commit_envelope(&mut world, &envelope));
    assert!(matches!(refusal, Refusal::ProvenanceInvalid { .. }));
    done(backup.commit(&mut world));
}

#[test]
fn n44_after_a_new_epoch_the_old_key_opens_no_snapshot() {
    let mut world = World::single();
    let mut admin = world.open_session("acme", ADMIN);
    let card = {
        let card = world.tenant("acme").card(WRITER, 2);
        world.tenant("acme").sign(&card)
    };
    done(world.submit("acme", ADMIN, &mut admin, Body::PutCard { card: card.clone() }));
    done(world.submit("acme", ADMIN, &mut admin, Body::PutCard { card }));
    let session = world.open_session("acme", WRITER);
    let mut backup = Backup::new(&world, "acme", WRITER, session, "one");
    assert!(matches!(refused(backup.open(&mut world)), Refusal::ProvenanceInvalid { .. }));
    let card = {
        let card = world.tenant("acme").card(WRITER, 1);
        world.tenant("acme").sign(&card)
    };
    done(world.submit("acme", ADMIN, &mut admin, Body::PutCard { card }));
    let signed_by_another = {
        let card = world.tenant("acme").card(WRITER, 3);
        let key = world.tenant("acme").key(ADMIN);
        codec::encode(&strongroom_format::sign::Signed::new(&card, &key).unwrap())
    };
    let refusal = refused(world.submit("acme", ADMIN, &mut admin, Body::PutCard { card: signed_by_another }));
    assert!(matches!(refusal, Refusal::ProvenanceInvalid { .. }));
}

#[test]
fn n45_a_parent_is_an_earlier_snapshot_of_the_same_writer_or_the_commit_is_an_orphan() {
    let mut world = World::single();
    let mine = back_up(&mut world, "acme", WRITER, "mine", &["a"]);
    let others = back_up(&mut world, "acme", OTHER_WRITER, "others", &["a"]);
    let mut backup = prepared(&mut world, "two", &["b"]);
    for parent in [others, SnapshotId::from_bytes([9; 16]), backup.snapshot] {
        backup.parent = Some(parent);
        assert_eq!(refused(backup.commit(&mut world)), Refusal::Orphaned { parent });
    }
    backup.parent = Some(mine);
    done(backup.commit(&mut world));
}

#[test]
fn n47_of_two_commits_for_one_id_one_wins() {
    let mut world = World::single();
    let home = GroupId(1);
    let mut one = prepared(&mut world, "same", &["a"]);
    let session = world.open_session("acme", WRITER);
    let mut other = Backup { sessions: [(home, session)].into(), ..one.clone() };
    done(one.commit(&mut world));
    assert_eq!(refused(other.commit(&mut world)), Refusal::Immutable);
    let session = world.open_session("acme", OTHER_WRITER);
    let mut stranger = Backup::new(&world, "acme", OTHER_WRITER, session, "same");
    assert_eq!(refused(stranger.open(&mut world)), Refusal::Immutable, "taken, whoever took it");
}

#[test]
fn n47_a_stale_version_of_statement_or_shard_set_is_refused_and_named() {
    let mut world = World::single();
    let mut admin = world.open_session("acme", ADMIN);
    let statement = world.tenant("acme").signed_statement(3);
    let skips = world.submit("acme", ADMIN, &mut admin, Body::UpdateStatement { statement });
    assert_eq!(refused(skips), Refusal::StatementVersion { stored: StatementVersion(1) });
    let mut backup = prepared(&mut world, "one", &["a"]);
    let statement = world.tenant("acme").signed_statement(2);
    done(world.submit("acme", ADMIN, &mut admin, Body::UpdateStatement { statement }));
    let stale = backup.commit(&mut world);
    assert_eq!(refused(stale), Refusal::StatementVersion { stored: StatementVersion(2) });
    let mut open = backup.open_body(&world);
    open.set_version = SetVersion(2);
    let home = backup.home(&world);
    let outcome = backup.submit(&mut world, home, Body::OpenSnapshot(open));
    assert_eq!(refused(outcome), Refusal::SetVersion { current: SetVersion(1) });
}

#[test]
fn n35_n48_an_envelope_of_others_or_that_its_writer_has_not_signed_is_refused() {
    let mut world = World::single();
    world.create_tenant("globex", 1);
    let mut backup = prepared(&mut world, "one", &["a"]);
    let (honest, home) = (backup.envelope(&world), backup.home(&world));
    let other_tenant = Envelope { tenant: world.tenant("globex").id, ..honest.clone() };
    let other_vault = Envelope { vault: world.tenant("globex").vault, ..honest.clone() };
    let other_writer = Envelope { writer: identity(OTHER_WRITER), ..honest.clone() };
    let other_cluster = Envelope { cluster: ClusterEpoch::from_bytes([9; ClusterEpoch::BYTES]), ..honest.clone() };
    for (envelope, refusal) in [
        (other_tenant, Refusal::ForeignTenant),
        (other_vault, Refusal::ForeignTenant),
        (other_writer, Refusal::Role),
        (other_cluster, Refusal::WrongGroup),
    ] {
        assert_eq!(refused(backup.commit_envelope(&mut world, &envelope)), refusal);
    }
    for signer in [OTHER_WRITER, ADMIN] {
        let key = world.tenant("acme").key(signer);
        let envelope = codec::encode(&Signed::new(&honest, &key).unwrap());
        let commit = Body::CommitSnapshot { envelope, sealed: backup.others(&world) };
        assert_eq!(refused(backup.submit(&mut world, home, commit)), Refusal::Signature, "signed by {signer}");
    }
    done(backup.commit(&mut world));
}

#[test]
fn n48_an_envelope_that_cites_another_policy_is_refused() {
    let mut world = World::single();
    let mut backup = prepared(&mut world, "one", &["a"]);
    let mut envelope = backup.envelope(&world);
    for version in [0, 2, u32::MAX] {
        envelope.policy_version = PolicyVersion(version);
        assert_eq!(refused(backup.commit_envelope(&mut world, &envelope)), Refusal::PolicyMismatch);
    }
}

#[test]
fn n61_client_times_are_labels_and_leave_the_lock_as_it_is() {
    let mut world = World::single();
    let mut locks = Vec::new();
    for (number, time) in [i64::MIN, 0, i64::MAX].into_iter().enumerate() {
        let mut backup = prepared(&mut world, &format!("at {number}"), &["a"]);
        let mut envelope = backup.envelope(&world);
        envelope.client_time_unix_ms = time;
        done(backup.commit_envelope(&mut world, &envelope));
        let tenant = world.tenant("acme");
        let snapshot = SnapshotRef::Id(backup.snapshot);
        let query = Query::Snapshot { tenant: tenant.id, snapshot, vault: None, by: None };
        let Answer::Snapshots(page) = world.groups[&tenant.home].ask(&query) else { panic!() };
        locks.push(page.snapshots[0].kept.lock.clone().unwrap());
    }
    let terms = LockTerms { mode: LockMode::Governance, length_ms: 30 * 24 * HOUR_MS };
    for lock in &locks {
        assert_eq!((lock.terms, lock.begun, lock.over), (terms, false, false));
        assert_eq!(*lock, locks[0]);
    }
}

#[test]
fn n63_n117_a_lock_outside_of_vault_and_writer_range_is_refused_and_never_means_unlocked() {
    let mut world = World::single();
    let mut admin = world.open_session("acme", ADMIN);
    let body = Body::EnrolIdentity {
        identity: identity("web-3"),
        roles: vec![Role::Writer],
        signing_key: world.tenant("acme").key("web-3").public_key(),
        locks: Some(LockRange { min_ms: 40 * 24 * HOUR_MS, max_ms: 50 * 24 * HOUR_MS }),
        approvals: Vec::new(),
    };
    done(world.submit("acme", ADMIN, &mut admin, body));
    let card = {
        let card = world.tenant("acme").card("web-3", 1);
        world.tenant("acme").sign(&card)
    };
    done(world.submit("acme", ADMIN, &mut admin, Body::PutCard { card }));
    for (writer, name) in [(WRITER, "plain"), ("web-3", "ranged")] {
        let session = world.open_session("acme", writer);
        let mut backup = Backup::new(&world, "acme", writer, session, name);
        backup.prepare(&mut world, &["a"]);
        for days in [0, 1, 39, 51, 61, u64::MAX / (24 * HOUR_MS)] {
            let terms = LockTerms { mode: LockMode::Compliance, length_ms: days * 24 * HOUR_MS };
            backup.requested_lock = Some(terms);
            assert_eq!(refused(backup.commit(&mut world)), Refusal::LockOutOfRange, "{writer} {days}");
        }
        let terms = LockTerms { mode: LockMode::Compliance, length_ms: 45 * 24 * HOUR_MS };
        backup.requested_lock = Some(terms);
        if writer == WRITER {
            assert_eq!(refused(backup.commit(&mut world)), Refusal::LockOutOfRange);
            backup.requested_lock = None;
        }
        done(backup.commit(&mut world));
    }
    for bad in [
        Policy { lock_min_ms: 2, lock_max_ms: 1, ..policy() },
        Policy { lock_max_ms: u64::MAX, ..policy() },
        Policy { default_lock: Some(LockTerms { mode: LockMode::Governance, length_ms: 0 }), ..policy() },
    ] {
        let mut statement = world.tenant("acme").statement(1);
        statement.vault = strongroom_format::id::VaultId::from_bytes([7; 16]);
        statement.name = "second".parse().unwrap();
        let statement = world.tenant("acme").sign(&statement);
        let outcome = world.submit("acme", ADMIN, &mut admin, Body::CreateVault { statement, policy: bad });
        assert_eq!(refused(outcome), Refusal::LockOutOfRange);
    }
}

#[test]
fn n106_a_vaults_id_and_name_are_not_given_again() {
    let mut world = World::single();
    let mut admin = world.open_session("acme", ADMIN);
    let same = world.tenant("acme").signed_statement(1);
    let body = Body::CreateVault { statement: same, policy: policy() };
    assert_eq!(refused(world.submit("acme", ADMIN, &mut admin, body)), Refusal::Immutable);
    let mut named = world.tenant("acme").statement(1);
    named.vault = strongroom_format::id::VaultId::from_bytes([7; 16]);
    let statement = world.tenant("acme").sign(&named);
    let body = Body::CreateVault { statement, policy: policy() };
    assert_eq!(refused(world.submit("acme", ADMIN, &mut admin, body)), Refusal::NameRetired);
}

#[test]
fn n110_a_reported_blob_is_answered_no_more_and_the_chunk_is_sent_again() {
    let mut world = World::new();
    let snapshot = back_up(&mut world, "acme", WRITER, "one", &["a", "b", "c"]);
    let home = world.tenant("acme").home;
    let (vault, tenant) = (world.tenant("acme").vault, world.tenant("acme").id);
    let domain = world.tenant("acme").domain(WRITER).domain;
    let a = Piece::new("a", 0);
    let which = |world: &World| {
        let query =
            Query::Which { tenant, by: identity(WRITER), vault, domain, chunks: vec![a.of.chunk], nodes: Vec::new() };
        match world.groups[&home].ask(&query) {
            Answer::Which(which) => which.chunks.first().map(|known| known.blob),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(which(&world), Some(a.of.blob));
    let usage = world.group(home).view().usage;
    let report = Body::ReportBlob { vault, domain, chunk: a.of.chunk, blob: a.of.blob, snapshot };
    let mut restorer = world.open_session("acme", RESTORER);
    let signed = world.command("acme", RESTORER, &mut restorer, report);
    let told = strongroom_core::claims::reported(&signed).unwrap();
    assert_eq!((told.home, told.tenant, told.of), (home, tenant, a.of));
    done(world.group(home).client(signed));
    assert_eq!(which(&world), None);
    assert_eq!(world.group(home).view().usage, usage, "nothing leaves");
    let query = Query::Snapshot { tenant, snapshot: SnapshotRef::Id(snapshot), vault: None, by: None };
    let Answer::Snapshots(page) = world.groups[&home].ask(&query) else { panic!() };
    assert!(page.snapshots[0].committed.damaged);

    let mut backup = opened(&mut world, "two");
    let (_, bytes) = leaf(&backup.keys(&world), &[a, a]);
    assert_eq!(mismatch(backup.put(&mut world, home, &[bytes])).0, [a.of], "a new leaf cannot mean it");
    let sound = Piece::new("a", 1);
    done(backup.register(&mut world, home, &[sound]));
    assert_eq!(which(&world), Some(sound.of.blob));
}

#[test]
fn n110_another_shard_hides_a_blob_on_the_home_shards_word() {
    use strongroom_core::entry::{NodeCommand, Reported};
    let mut world = World::new();
    back_up(&mut world, "acme", WRITER, "one", &["a", "b", "c"]);
    let tenant = world.tenant("acme");
    let (home, id, vault) = (tenant.home, tenant.id, tenant.vault);
    let domain = tenant.domain(WRITER).domain;
    let other = *tenant.groups.iter().find(|group| **group != home).unwrap();
    let reported = ["a", "b", "c"].map(|name| Reported { home, tenant: id, vault, domain, of: Piece::new(name, 0).of });
    let chunks: Vec<ChunkId> = reported.iter().map(|one| one.of.chunk).collect();
    let query = Query::Which { tenant: id, by: identity(WRITER), vault, domain, chunks, nodes: Vec::new() };
    let known = |world: &World| match world.groups[&other].ask(&query) {
        Answer::Which(which) => which.chunks.len(),
        unexpected => panic!("{unexpected:?}"),
    };
    assert_eq!(known(&world), 1);
    for one in reported.clone() {
        done(world.group(other).node(NodeCommand::HideBlob(claim(one))));
    }
    assert_eq!(known(&world), 0);
    let third = *world.tenant("acme").groups.iter().find(|group| ![home, other].contains(group)).unwrap();
    let by_another = Reported { home: third, ..reported[0].clone() };
    assert_eq!(refused(world.group(other).node(NodeCommand::HideBlob(claim(by_another)))), Refusal::WrongGroup);
    let by_itself = Reported { home: other, ..reported[0].clone() };
    assert_eq!(refused(world.group(other).node(NodeCommand::HideBlob(claim(by_itself)))), Refusal::Unattested);
}

#[test]
fn n111_only_a_restorer_reports_and_nothing_leaves() {
    let mut world = World::single();
    let snapshot = back_up(&mut world, "acme", WRITER, "one", &["a"]);
    let tenant = world.tenant("acme");
    let (vault, domain) = (tenant.vault, tenant.domain(WRITER).domain);
    let of = Piece::new("a", 0).of;
    let report = Body::ReportBlob { vault, domain, chunk: of.chunk, blob: of.blob, snapshot };
    for who in [WRITER, ADMIN] {
        let mut session = world.open_session("acme", who);
        assert_eq!(refused(world.submit("acme", who, &mut session, report.clone())), Refusal::Role, "{who}");
    }
    let mut restorer = world.open_session("acme", RESTORER);
    let elsewhere = Body::ReportBlob {
        vault,
        domain: world.tenant("acme").domain(OTHER_WRITER).domain,
        chunk: of.chunk,
        blob: of.blob,
        snapshot,
    };
    assert_eq!(refused(world.submit("acme", RESTORER, &mut restorer, elsewhere)), Refusal::NotFound);
}

#[test]
fn n113_nodes_that_lie_or_go_beyond_limits_are_refused() {
    let mut world = World::single();
    let mut backup = opened(&mut world, "one");
    let home = backup.home(&world);
    let keys = backup.keys(&world);
    let a = Piece::new("a", 0);
    done(backup.register(&mut world, home, &[a]));
    let (node, bytes) = leaf(&keys, &[a]);
    done(backup.put(&mut world, home, &[bytes]));
    let over = |totals: Totals| {
        let node = Node::inner(&keys.length_key, vec![Child { id: id_of(&node), totals }], &[900]).unwrap();
        codec::encode(&node)
    };
    let truth = child(&node).totals;
    for lie in [
        Totals { stored_bytes: truth.stored_bytes - 1, ..truth },
        Totals { stored_bytes: u64::MAX, ..truth },
        Totals { chunk_refs: 2, ..truth },
        Totals { leaves: 2, ..truth },
        Totals { height: 1, ..truth },
    ] {
        let refusal = refused(backup.put(&mut world, home, &[over(lie)]));
        assert!(matches!(refusal, Refusal::Invalid { .. }), "{lie:?}: {refusal:?}");
    }
    // Too high, bytes that are none, too many at once, the same child as often as a node takes.
    let garbage: [Vec<u8>; 3] = [vec![], vec![1], vec![1; 200 << 10]];
    for bytes in garbage {
        let refusal = refused(backup.put(&mut world, home, &[bytes]));
        assert!(matches!(refusal, Refusal::Invalid { .. }), "{refusal:?}");
    }
    let refusal = refused(backup.put(&mut world, home, &vec![over(truth); 65]));
    assert!(matches!(refusal, Refusal::Invalid { .. }), "{refusal:?}");
    let many = vec![child(&node); 1024];
    let wide = Node::inner(&keys.length_key, many, &[900; 1024]).unwrap();
    done(backup.put(&mut world, home, &[codec::encode(&wide)]));
    let mut below = wide;
    for _ in 2..=8 {
        let (above, bytes) = inner(&keys, &[&below]);
        done(backup.put(&mut world, home, &[bytes]));
        below = above;
    }
    assert!(Node::inner(&keys.length_key, vec![child(&below)], &[900]).is_err(), "nothing is higher than 8");
}

#[test]
fn budgets_are_kept_and_topped_up() {
    let mut world = World::single();
    let session = world.open_session("acme", WRITER);
    let mut backup = Backup::new(&world, "acme", WRITER, session, "one");
    let mut open = backup.open_body(&world);
    open.budget_bytes = 1500;
    let home = backup.home(&world);
    let outcome = backup.submit(&mut world, home, Body::OpenSnapshot(open));
    let Done::SnapshotOpened { lease, .. } = done(outcome) else { panic!() };
    backup.leases.insert(home, lease);
    let (a, b) = (Piece::new("a", 0), Piece::new("b", 0));
    done(backup.register(&mut world, home, &[a]));
    let left_bytes = 1500 - u64::from(a.stored_bytes);
    let refusal = refused(backup.register(&mut world, home, &[b]));
    assert_eq!(refusal, Refusal::BudgetExceeded { left_bytes });
    let more = done(backup.submit(&mut world, home, Body::TopUp { lease, bytes: 2000 }));
    assert_eq!(more, Done::ToppedUp { budget_bytes: 3500 });
    done(backup.register(&mut world, home, &[b]));
    for bytes in [u64::MAX, 1 << 50] {
        let refusal = refused(backup.submit(&mut world, home, Body::TopUp { lease, bytes }));
        assert!(matches!(refusal, Refusal::Invalid { .. }));
    }
}

#[test]
fn what_is_handed_over_or_missing_is_recorded_and_weakens_the_snapshot() {
    let mut world = World::new();
    let mut backup = opened(&mut world, "one");
    let home = backup.home(&world);
    for group in backup.groups.clone() {
        if group != home {
            done(backup.join(&mut world, group));
        }
    }
    let dek = world.tenant("acme").dek(WRITER);
    let (vault, domain) = (world.tenant("acme").vault, backup.keys(&world).domain);
    let code = world.code(home);
    let piece = Piece::new("a", 0);
    let lease = backup.leases[&home];
    let with = |handed_over: Vec<HandedOver>, missing: Vec<u8>| {
        let chunk = strongroom_format::command::RegisteredChunk { handed_over, missing, ..piece.registered(dek) };
        Body::RegisterChunks { lease, vault, domain, chunks: vec![chunk] }
    };
    let own = code.slot_of(&piece.of.blob, 0);
    let next = Slot((own.0 + 3) % 6);
    for bad in [
        with(vec![HandedOver { index: 0, slot: own }], vec![]),
        with(vec![HandedOver { index: 0, slot: next }], vec![0]),
        with(vec![HandedOver { index: 6, slot: next }], vec![]),
        with(vec![HandedOver { index: 0, slot: Slot(6) }], vec![]),
        with(vec![], vec![6]),
        with(vec![], vec![1, 1]),
        with(vec![], vec![1, 0]),
    ] {
        let refusal = refused(backup.submit(&mut world, home, bad));
        assert!(matches!(refusal, Refusal::Invalid { .. }), "{refusal:?}");
    }
    assert_eq!(refused(backup.submit(&mut world, home, with(vec![], vec![0, 1, 2]))), Refusal::TooThin);
    done(backup.submit(&mut world, home, with(vec![HandedOver { index: 0, slot: next }], vec![1])));
    let (node, bytes) = leaf(&backup.keys(&world), &[piece]);
    done(backup.put(&mut world, home, &[bytes]));
    backup.contents.insert(home, node);
    backup.fill_manifest(&mut world);
    for group in backup.groups.clone() {
        done(backup.seal(&mut world, group));
    }
    let sealed = backup.sealed[&home].clone();
    assert_eq!((sealed.handed_over, sealed.missing), (1, 1));
    let Done::Committed { strength, .. } = done(backup.commit(&mut world)) else { panic!() };
    assert_eq!((sealed.strength, strength.nodes), (strength, 0));
    let usage = world.group(home).view().usage;
    assert_eq!((usage.thin, usage.handed_over), (1, 1));
}

#[test]
fn a_vault_may_demand_a_least_strength() {
    let mut world = World::single();
    let mut admin = world.open_session("acme", ADMIN);
    let mut statement = world.tenant("acme").statement(1);
    statement.vault = strongroom_format::id::VaultId::from_bytes([7; 16]);
    statement.name = "strong".parse().unwrap();
    let signed = world.tenant("acme").sign(&statement);
    let demanding = Policy { least_regions: 1, ..policy() };
    done(world.submit("acme", ADMIN, &mut admin, Body::CreateVault { statement: signed, policy: demanding }));
    // The same tenant, with that vault as its own.
    let tenant = world.tenants.get_mut("acme").unwrap();
    tenant.vault = statement.vault;
    let card = {
        let card = world.tenant("acme").card(WRITER, 1);
        world.tenant("acme").sign(&card)
    };
    done(world.submit("acme", ADMIN, &mut admin, Body::PutCard { card }));
    let mut backup = prepared(&mut world, "one", &["a"]);
    assert_eq!(refused(backup.commit(&mut world)), Refusal::TooThin, "one node survives nothing");
}

#[test]
fn a_shard_opens_a_part_only_for_what_the_home_shard_can_have_opened() {
    let mut world = World::new();
    let mut backup = opened(&mut world, "one");
    let home = backup.home(&world);
    let group = *backup.groups.iter().find(|group| **group != home).unwrap();
    let opened = backup.opened.clone().unwrap();
    let tenant = world.tenant("acme");
    let join = |opened| {
        tenant.seal_command(WRITER, &tenant.command(group, WRITER, Body::JoinSnapshot { opened: claim(opened) }))
    };
    let mut others = Vec::new();
    let mut change = |change: &dyn Fn(&mut strongroom_format::command::Opened)| {
        let mut changed = opened.clone();
        change(&mut changed);
        others.push(join(changed));
    };
    change(&|opened| opened.home = group);
    change(&|opened| opened.groups.retain(|one| *one != group));
    change(&|opened| opened.set_version = SetVersion(9));
    change(&|opened| opened.groups.push(GroupId(77)));
    change(&|opened| opened.budget_bytes = u64::MAX);
    change(&|opened| opened.writer = identity(OTHER_WRITER));
    change(&|opened| opened.tenant = world.tenant("globex").id);
    change(&|opened| opened.signing_key = world.tenant("globex").key(WRITER).public_key());
    for signed in others {
        refused(world.group(group).client(signed));
    }
    let first = done(backup.join(&mut world, group));
    assert_eq!(done(backup.join(&mut world, group)), first, "joined once");
    // Nothing is decided here but by the home shard.
    let body = Body::AbortSnapshot { snapshot: backup.snapshot };
    assert_eq!(refused(backup.submit(&mut world, group, body)), Refusal::WrongGroup);
    // Two snapshots never share a part.
    let mut altered = opened.clone();
    altered.budget_bytes += 1;
    let tenant = world.tenant("acme");
    let again =
        tenant.seal_command(WRITER, &tenant.command(group, WRITER, Body::JoinSnapshot { opened: claim(altered) }));
    assert_eq!(refused(world.group(group).client(again)), Refusal::Immutable);
}

#[test]
fn n34_n109_what_a_caller_says_of_other_groups_or_of_disks_is_hearsay() {
    use strongroom_core::claims::Claim;
    let mut world = World::new();
    let mut backup = opened(&mut world, "one");
    let home = backup.home(&world);
    let group = *backup.groups.iter().find(|group| **group != home).unwrap();
    let ask = |world: &World, claim: &Claim| claim.is_borne_out(&world.groups[&claim.by()].ask(&claim.question()));

    // A part of a snapshot that nobody opened, in another writer's domain.
    let mut forged = backup.opened.clone().unwrap();
    forged.snapshot = SnapshotId::from_bytes([6; 16]);
    forged.domain = world.tenant("acme").domain(OTHER_WRITER).domain;
    let tenant = world.tenant("acme");
    let body = Body::JoinSnapshot { opened: claim(forged) };
    let forged = tenant.seal_command(WRITER, &tenant.command(group, WRITER, body));
    assert!(Claim::of(&forged).iter().all(|claim| !ask(&world, claim)));
    assert_eq!(refused(world.group(group).alone(forged)), Refusal::NotFound);
    let honest = backup.join_command(&world, group);
    assert!(Claim::of(&honest).iter().all(|claim| ask(&world, claim)));
    assert_eq!(refused(world.group(group).alone(honest)), Refusal::NotFound, "true, but nobody asked");
    for group in backup.groups.clone() {
        if group != home {
            done(backup.join(&mut world, group));
        }
    }

    // Chunks whose fragments are on no disk.
    let register = Body::RegisterChunks {
        lease: backup.leases[&home],
        vault: world.tenant("acme").vault,
        domain: backup.keys(&world).domain,
        chunks: vec![Piece::new("a", 0).registered(world.tenant("acme").dek(WRITER))],
    };
    let mut session = backup.sessions[&home];
    let signed = world.command("acme", WRITER, &mut session, register);
    assert_eq!(refused(world.group(home).alone(signed)), Refusal::NotFromClients);
    backup.sessions.insert(home, session);

    // Parts that nobody sealed.
    backup.fill_manifest(&mut world);
    for group in backup.groups.clone() {
        done(backup.seal(&mut world, group));
    }
    let envelope = backup.signed_envelope(&world, &backup.envelope(&world));
    let mut sealed = backup.others(&world);
    sealed[0].value.stored_bytes += 1;
    let mut session = backup.sessions[&home];
    let signed = world.command("acme", WRITER, &mut session, Body::CommitSnapshot { envelope, sealed });
    backup.sessions.insert(home, session);
    let borne_out: Vec<bool> = Claim::of(&signed).iter().map(|claim| ask(&world, claim)).collect();
    assert_eq!(borne_out, [false, true]);
    let others: Vec<GroupId> = backup.groups.iter().copied().filter(|group| *group != home).collect();
    assert_eq!(mismatch(world.group(home).alone(signed)).2, others);
    done(backup.commit(&mut world));
}
