//! Releases: which copies may leave a disk. Everything else stays.

use strongroom_core::shard::release::Release;
use strongroom_format::command::{Body, HandedOver};
use strongroom_format::ending::EndOrder;
use strongroom_format::fragment::CopyName;
use strongroom_format::id::{BlobId, GroupId, LeaseId, NodeName, Place, Slot, TenantId};

use crate::backup::{Backup, Piece};
use crate::group::{HOUR_MS, done};
use crate::tenant::{ADMIN, WRITER};
use crate::world::World;

fn node_of(world: &World, group: GroupId, slot: Slot) -> NodeName {
    let map = world.map();
    let shard = map.shards.iter().find(|shard| shard.group == group).unwrap();
    shard.slots.iter().find(|row| row.slot == slot).unwrap().node.clone()
}

/// Whether the copy in that slot may go.
fn may_go(world: &World, group: GroupId, slot: Slot, tenant: TenantId, copy: CopyName) -> bool {
    let node = node_of(world, group, slot);
    Release::of(&world.groups[&group].tables, &node, tenant, copy).unwrap().is_some()
}

struct Scene {
    world: World,
    backup: Backup,
    group: GroupId,
    tenant: TenantId,
    blob: BlobId,
    lease: LeaseId,
}

/// A registered blob of an upload that is not committed: fragment 1 handed over, fragment 2 nowhere.
fn scene() -> Scene {
    let mut world = World::unlocked(&["acme"]);
    let session = world.open_session("acme", WRITER);
    let mut backup = Backup::new(&world, "acme", WRITER, session, "one");
    done(backup.open(&mut world));
    for group in backup.groups.clone() {
        if group != backup.home(&world) {
            done(backup.join(&mut world, group));
        }
    }
    let (group, tenant) = (backup.home(&world), world.tenant("acme").id);
    let piece = Piece::new("a", 0);
    let (code, lease) = (world.code(group), backup.leases[&group]);
    let mut chunk = piece.registered(world.tenant("acme").dek(WRITER));
    let slots = code.slots();
    let own = code.slot_of(&piece.of.blob, 1);
    chunk.handed_over = vec![HandedOver { index: 1, slot: Slot((own.0 + 1) % slots) }];
    chunk.missing = vec![2];
    let body = Body::RegisterChunks {
        lease,
        vault: world.tenant("acme").vault,
        domain: backup.keys(&world).domain,
        chunks: vec![chunk],
    };
    done(backup.submit(&mut world, group, body));
    Scene { world, backup, group, tenant, blob: piece.of.blob, lease }
}

impl Scene {
    fn copy(&self, index: u8) -> CopyName {
        CopyName { blob: self.blob, index, group: self.group, lease: self.lease }
    }

    fn may_go(&self, slot: Slot, copy: CopyName) -> bool {
        may_go(&self.world, self.group, slot, self.tenant, copy)
    }

    fn own(&self, index: u8) -> Slot {
        self.world.code(self.group).slot_of(&self.blob, index)
    }

    fn commit(&mut self) {
        let world = &mut self.world;
        for group in self.backup.groups.clone() {
            if group != self.group {
                self.backup.fill(world, group, &[Piece::new("elsewhere", 0)]);
            }
        }
        let (node, bytes) = crate::backup::leaf(&self.backup.keys(world), &[Piece::new("a", 0)]);
        done(self.backup.put(world, self.group, &[bytes]));
        self.backup.contents.insert(self.group, node);
        self.backup.fill_manifest(world);
        for group in self.backup.groups.clone() {
            done(self.backup.seal(world, group));
        }
        done(self.backup.commit(world));
        world.decide();
    }
}

#[test]
fn n73_nothing_goes_while_its_lease_is_open_or_unknown() {
    let scene = scene();
    for index in 0..scene.world.code(scene.group).slots() {
        for slot in 0..scene.world.code(scene.group).slots() {
            assert!(!scene.may_go(Slot(slot), scene.copy(index)), "{index} in {slot}");
        }
    }
    // A lease of an entry that this replica has not applied may be open.
    let later = LeaseId(Place { index: 1 << 30, position: 0 }.number());
    assert!(!scene.may_go(scene.own(0), CopyName { lease: later, ..scene.copy(0) }));
}

#[test]
fn n73_what_a_row_names_stays_where_it_names_it_and_nowhere_else() {
    let mut scene = scene();
    scene.commit();
    let slots = scene.world.code(scene.group).slots();
    for index in 0..slots {
        for slot in (0..slots).map(Slot) {
            let named = match index {
                1 => Some(Slot((scene.own(1).0 + 1) % slots)),
                2 => None,
                index => Some(scene.own(index)),
            };
            assert_eq!(scene.may_go(slot, scene.copy(index)), named != Some(slot), "fragment {index} in {slot:?}");
        }
    }
    let own = scene.own(0);
    let earlier = CopyName { lease: LeaseId(Place { index: 1, position: 0 }.number()), ..scene.copy(0) };
    assert!(scene.may_go(own, earlier), "a copy of another lease, long over, that no row names");
    assert!(scene.may_go(own, CopyName { blob: BlobId::from_bytes([3; 32]), ..scene.copy(0) }));
    // Nobody here answers for other groups, tenants or nodes.
    let elsewhere = CopyName { group: GroupId(scene.group.0 % 3 + 1), ..earlier };
    assert!(!scene.may_go(own, elsewhere));
    let stranger = TenantId::from_bytes([5; 16]);
    assert!(!may_go(&scene.world, scene.group, own, stranger, earlier));
    let tables = &scene.world.groups[&scene.group].tables;
    assert!(Release::of(tables, &"nobody".parse().unwrap(), scene.tenant, earlier).unwrap().is_none());
}

#[test]
fn what_ended_and_was_collected_goes_and_so_do_copies_of_dead_uploads() {
    let mut scene = scene();
    scene.commit();
    let own = scene.own(0);
    let snapshot = scene.backup.snapshot;
    let mut admin = scene.world.open_session("acme", ADMIN);
    let order = EndOrder::DeleteSnapshot { snapshot, reason: "test".into() };
    done(scene.world.submit("acme", ADMIN, &mut admin, Body::End(order)));
    assert!(!scene.may_go(own, scene.copy(0)), "its row is still there");
    scene.world.pass(7 * HOUR_MS);
    scene.world.collect(24 * HOUR_MS);
    assert!(!scene.may_go(own, scene.copy(0)), "in its grace");
    scene.world.collect(0);
    assert!(scene.may_go(own, scene.copy(0)));

    let mut dead = self::scene();
    dead.world.pass(7 * HOUR_MS);
    assert!(!dead.may_go(dead.own(0), dead.copy(0)));
    dead.world.collect(0);
    assert!(dead.may_go(dead.own(0), dead.copy(0)));
}
