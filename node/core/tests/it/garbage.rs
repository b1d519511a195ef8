//! Garbage: what nothing names goes in the end, what something names stays, in steps of any size.

use proptest::prelude::*;
use strongroom_core::entry::NodeCommand;
use strongroom_core::query::{Answer, Decision, Query};
use strongroom_core::shard::COLLECT_MAX;
use strongroom_core::shard::rows::Usage;
use strongroom_format::command::Body;
use strongroom_format::ending::EndOrder;
use strongroom_format::id::{GroupId, SnapshotId, TreeId};
use strongroom_format::outcome::{Done, Outcome, Refusal};
use strongroom_format::tree::Node;

use crate::backup::{Backup, Piece, back_up, id_of, inner, leaf};
use crate::group::{HOUR_MS, MINUTE_MS, cases, done, refused};
use crate::tenant::{ADMIN, OTHER_WRITER, WRITER};
use crate::world::World;

const DAY_MS: u64 = 24 * HOUR_MS;

fn delete(world: &mut World, snapshot: SnapshotId) -> Outcome {
    let mut session = world.open_session("acme", ADMIN);
    let order = EndOrder::DeleteSnapshot { snapshot, reason: "test".into() };
    world.submit("acme", ADMIN, &mut session, Body::End(order))
}

fn nothing_is_left(world: &World) {
    for group in world.shards() {
        assert_eq!(world.groups[&group].view().usage, Usage::default(), "{group}");
    }
}

fn blobs(world: &World) -> u64 {
    world.shards().iter().map(|group| world.groups[group].view().usage.blobs).sum()
}

#[test]
fn a_step_drops_no_more_than_it_may_and_the_order_of_steps_changes_nothing() {
    let names: Vec<String> = (0..60).map(|number| format!("piece {number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    for limit in [1, 7, COLLECT_MAX] {
        let mut world = World::unlocked(&["acme"]);
        let snapshot = back_up(&mut world, "acme", WRITER, "one", &names);
        world.pass(7 * HOUR_MS);
        done(delete(&mut world, snapshot));
        world.tell_ends();
        let group = world.tenant("acme").home;
        let tenant = world.tenant("acme").id;
        let mut steps = 0;
        loop {
            let step = NodeCommand::CollectGarbage { tenant, limit, grace_ms: 0 };
            let Done::Collected { references, more, .. } = done(world.group(group).node(step)) else { panic!() };
            assert!(references <= limit + 1024 + 16, "{references} of {limit}");
            steps += 1;
            if !more {
                break;
            }
        }
        assert!(limit == COLLECT_MAX || 1 < steps, "limit {limit} took {steps}");
        assert_eq!(world.groups[&group].view().usage, Usage::default(), "limit {limit}");
    }
    let mut world = World::unlocked(&["acme"]);
    let (group, tenant) = (world.tenant("acme").home, world.tenant("acme").id);
    for limit in [0, COLLECT_MAX + 1, u32::MAX] {
        let step = NodeCommand::CollectGarbage { tenant, limit, grace_ms: 0 };
        assert!(matches!(refused(world.group(group).node(step)), Refusal::Invalid { .. }), "{limit}");
    }
}

#[test]
fn a_blob_that_nothing_names_waits_its_grace_and_may_come_back_in_it() {
    let mut world = World::unlocked(&["acme"]);
    let first = back_up(&mut world, "acme", WRITER, "one", &["a", "b", "c"]);
    world.pass(7 * HOUR_MS);
    done(delete(&mut world, first));
    world.tell_ends();
    world.collect(DAY_MS);
    let waiting = blobs(&world);
    assert!(3 <= waiting, "{waiting} wait");
    // Within the grace the same chunks are known and named again.
    let second = back_up(&mut world, "acme", WRITER, "two", &["a", "b", "c"]);
    world.pass(2 * DAY_MS);
    world.collect(DAY_MS);
    assert!(blobs(&world) < waiting + 8, "what only the first had is gone");
    done(delete(&mut world, second));
    world.tell_ends();
    world.collect(DAY_MS);
    assert!(3 <= blobs(&world));
    world.pass(2 * DAY_MS);
    world.collect(DAY_MS);
    nothing_is_left(&world);
}

#[test]
fn what_an_upload_leaves_goes_after_its_lease_and_not_before() {
    let mut world = World::unlocked(&["acme"]);
    let session = world.open_session("acme", WRITER);
    let mut dead = Backup::new(&world, "acme", WRITER, session, "dead");
    done(dead.open(&mut world));
    let home = dead.home(&world);
    dead.fill(&mut world, home, &[Piece::new("a", 0), Piece::new("b", 0)]);
    done(dead.register(&mut world, home, &[Piece::new("c", 0)]));
    world.collect(0);
    world.pass(5 * HOUR_MS);
    world.collect(0);
    assert_eq!(world.groups[&home].view().usage.blobs, 3, "its lease is open");
    assert_eq!(world.groups[&home].view().usage.nodes, 1);
    world.pass(7 * HOUR_MS);
    world.collect(0);
    nothing_is_left(&world);
}

#[test]
fn n34_what_went_meanwhile_is_listed_as_missing_and_sent_again() {
    let mut world = World::unlocked(&["acme"]);
    let first = back_up(&mut world, "acme", WRITER, "one", &["a"]);
    world.pass(7 * HOUR_MS);
    let session = world.open_session("acme", WRITER);
    let mut late = Backup::new(&world, "acme", WRITER, session, "late");
    done(late.open(&mut world));
    let home = late.home(&world);
    // It heard that the chunk is known, and then the only snapshot with it ends.
    done(delete(&mut world, first));
    world.tell_ends();
    world.collect(0);
    let piece = Piece::new("a", 0);
    let (_, bytes) = leaf(&late.keys(&world), &[piece]);
    match refused(late.put(&mut world, home, &[bytes])) {
        Refusal::ManifestMismatch { missing_chunks, .. } => assert_eq!(missing_chunks, [piece.of]),
        other => panic!("{other:?}"),
    }
    late.fill(&mut world, home, &[piece]);
}

#[test]
fn a_known_node_stays_while_whoever_put_it_again_is_about_to_name_it() {
    let mut world = World::unlocked(&["acme"]);
    let names = ["a", "b", "c"];
    let first = back_up(&mut world, "acme", WRITER, "one", &names);
    world.pass(7 * HOUR_MS);
    // The same leaf again at home. The only snapshot with it ends before it is sealed.
    let put_again = |world: &mut World, name: &str| {
        let session = world.open_session("acme", WRITER);
        let mut backup = Backup::new(world, "acme", WRITER, session, name);
        let home = backup.home(world);
        backup.groups = vec![home];
        done(backup.open(world));
        let pieces: Vec<Piece> =
            names.iter().skip(place_of(world, home)).step_by(3).map(|name| Piece::new(name, 0)).collect();
        assert!(!pieces.is_empty());
        backup.fill(world, home, &pieces);
        backup
    };
    let mut again = put_again(&mut world, "again");
    done(delete(&mut world, first));
    world.tell_ends();
    world.collect(0);
    again.fill_manifest(&mut world);
    let home = again.home(&world);
    done(again.seal(&mut world, home));
    done(again.commit(&mut world));
    // Given up instead, it goes with the lease.
    let _dead = put_again(&mut world, "dead");
    world.pass(7 * HOUR_MS);
    done(delete(&mut world, again.snapshot));
    world.tell_ends();
    world.decide();
    world.collect(0);
    nothing_is_left(&world);
}

#[test]
fn a_known_chunk_stays_while_the_session_that_brought_it_is_open() {
    let mut world = World::unlocked(&["acme"]);
    let session = world.open_session("acme", WRITER);
    let pieces = [Piece::new("a", 0)];
    let mut first = Backup::new(&world, "acme", WRITER, session, "one");
    let home = first.home(&world);
    first.groups = vec![home];
    done(first.open(&mut world));
    // Brought under the session itself: it may name the chunk again in its next snapshot.
    let of_the_snapshot = first.leases.insert(home, first.sessions[&home].lease).expect("it was opened");
    done(first.register(&mut world, home, &pieces));
    first.leases.insert(home, of_the_snapshot);
    first.fill(&mut world, home, &pieces);
    first.fill_manifest(&mut world);
    done(first.seal(&mut world, home));
    done(first.commit(&mut world));
    done(delete(&mut world, first.snapshot));
    world.tell_ends();
    world.collect(0);
    assert_eq!(blobs(&world), 1, "its lease is open");
    let session = first.sessions[&home];
    let mut second = Backup::new(&world, "acme", WRITER, session, "two");
    second.groups = vec![home];
    done(second.open(&mut world));
    let (_, bytes) = leaf(&second.keys(&world), &pieces);
    done(second.put(&mut world, home, &[bytes]));
    world.pass(7 * HOUR_MS);
    world.decide();
    world.collect(0);
    nothing_is_left(&world);
}

/// Which of the tenant's shards this is: contents are spread in turn.
fn place_of(world: &World, group: GroupId) -> usize {
    let tenant = world.tenant("acme");
    let mut groups: Vec<GroupId> = tenant.groups.iter().copied().chain([tenant.home]).collect();
    groups.sort_unstable();
    groups.dedup();
    groups.iter().position(|one| *one == group).unwrap()
}

/// One thing that somebody does.
#[derive(Clone, Debug)]
enum Step {
    /// A backup goes on: opened, joined, filled, sealed, committed, in this order.
    Go {
        who: usize,
    },
    /// It gives up.
    Abort {
        who: usize,
    },
    /// It begins anew with other contents.
    Fresh {
        who: usize,
        pieces: u8,
    },
    Delete {
        which: usize,
    },
    Tell,
    Decide,
    Collect {
        group: u32,
        limit: u32,
        grace: bool,
    },
    Pass {
        minutes: u64,
    },
}

const NAMES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        30 => (0..3_usize).prop_map(|who| Step::Go { who }),
        1 => (0..3_usize).prop_map(|who| Step::Abort { who }),
        6 => (0..3_usize, 1..64_u8).prop_map(|(who, pieces)| Step::Fresh { who, pieces }),
        6 => (0..8_usize).prop_map(|which| Step::Delete { which }),
        3 => Just(Step::Tell),
        3 => Just(Step::Decide),
        12 => (1..=3_u32, 1..40_u32, any::<bool>()).prop_map(|(group, limit, grace)| Step::Collect { group, limit, grace }),
        2 => prop_oneof![1..30_u64, Just(8 * 60)].prop_map(|minutes| Step::Pass { minutes }),
    ];
    proptest::collection::vec(step, 1..160)
}

/// A backup and how far it is.
struct Writer {
    backup: Backup,
    pieces: Vec<&'static str>,
    at: usize,
}

struct Play {
    world: World,
    writers: Vec<Writer>,
    serial: usize,
    committed: Vec<(SnapshotId, Vec<(GroupId, TreeId)>)>,
}

impl Play {
    fn new() -> Self {
        let mut play =
            Self { world: World::unlocked(&["acme"]), writers: Vec::new(), serial: 0, committed: Vec::new() };
        for who in 0..3 {
            let writer = play.begin(who, 63);
            play.writers.push(writer);
        }
        play
    }

    fn begin(&mut self, who: usize, pieces: u8) -> Writer {
        self.serial += 1;
        // Two of one writer, that meet; one of another.
        let name = [WRITER, WRITER, OTHER_WRITER][who];
        let session = self.world.open_session("acme", name);
        let backup = Backup::new(&self.world, "acme", name, session, &format!("snapshot {}", self.serial));
        let chosen = NAMES.iter().enumerate().filter(|(bit, _)| pieces & (1 << bit) != 0);
        Writer { backup, pieces: chosen.map(|(_, name)| *name).collect(), at: 0 }
    }

    fn go(&mut self, who: usize) {
        let world = &mut self.world;
        let Writer { backup, pieces, at } = &mut self.writers[who];
        let home = backup.home(world);
        let groups = backup.groups.clone();
        // 0: open · then for each shard: join, register, leaf, inner · manifest · seals · commit
        let shards = groups.len();
        let outcome = match *at {
            0 => backup.open(world),
            step if step <= 4 * shards => {
                let group = groups[(step - 1) / 4];
                match (step - 1) % 4 {
                    0 if group == home => Outcome::Done(Done::Done),
                    0 => backup.join(world, group),
                    _ if !backup.sessions.contains_key(&group) => return,
                    1 => {
                        let pieces: Vec<Piece> = pieces.iter().map(|name| Piece::new(name, 0)).collect();
                        backup.register(world, group, &pieces)
                    }
                    2 => {
                        let pieces: Vec<Piece> = pieces.iter().map(|name| Piece::new(name, 0)).collect();
                        let (node, bytes) = leaf(&backup.keys(world), &pieces);
                        backup.contents.insert(group, node);
                        backup.put(world, group, &[bytes])
                    }
                    _ => {
                        let Some(below) = backup.contents.get(&group).cloned() else { return };
                        if matches!(below, Node::Inner(_)) {
                            return;
                        }
                        let (node, bytes) = inner(&backup.keys(world), &[&below, &below]);
                        let outcome = backup.put(world, group, &[bytes]);
                        if matches!(outcome, Outcome::Done(_)) {
                            backup.contents.insert(group, node);
                        }
                        outcome
                    }
                }
            }
            step if step == 4 * shards + 1 => {
                let piece = Piece::new(&format!("manifest of {}", backup.snapshot), 0);
                let registered = backup.register(world, home, &[piece]);
                let (node, bytes) = leaf(&backup.keys(world), &[piece]);
                backup.manifest = Some(node);
                let put = backup.put(world, home, &[bytes]);
                if matches!(registered, Outcome::Done(_)) { put } else { registered }
            }
            step if step <= 5 * shards + 1 => {
                let group = groups[step - 4 * shards - 2];
                let (snapshot, roots) = (backup.snapshot, backup.roots(world, group));
                let outcome = backup.submit(world, group, Body::SealPart { snapshot, roots, records: Vec::new() });
                if let Outcome::Done(Done::Sealed(sealed)) = &outcome {
                    backup.sealed.insert(group, sealed.clone());
                }
                outcome
            }
            step if step == 5 * shards + 2 => backup.commit(world),
            _ => return,
        };
        match outcome {
            Outcome::Done(Done::Committed { .. }) => {
                let roots = backup.contents.iter().map(|(group, node)| (*group, id_of(node))).collect();
                self.committed.push((backup.snapshot, roots));
                *at += 1;
            }
            Outcome::Done(_) => *at += 1,
            // Something went meanwhile: what that shard has is sent again. Or a lease has ended: it stays where it is.
            Outcome::Refused(Refusal::ManifestMismatch { .. }) => {
                let of_shard = if *at <= 4 * shards { (*at - 1) / 4 } else { at.saturating_sub(4 * shards + 2) };
                *at = 2 + 4 * of_shard.min(shards - 1);
            }
            Outcome::Refused(_) | Outcome::Forgotten => {}
        }
    }

    fn act(&mut self, step: &Step) {
        match *step {
            Step::Go { who } => self.go(who),
            Step::Abort { who } => {
                let backup = &mut self.writers[who].backup;
                let (home, snapshot) = (backup.home(&self.world), backup.snapshot);
                backup.submit(&mut self.world, home, Body::AbortSnapshot { snapshot });
            }
            Step::Fresh { who, pieces } => {
                let fresh = self.begin(who, pieces);
                self.writers[who] = fresh;
            }
            Step::Delete { which } => {
                if which < self.committed.len() {
                    let (snapshot, _) = self.committed.remove(which);
                    done(delete(&mut self.world, snapshot));
                }
            }
            Step::Tell => drop(self.world.tell_ends()),
            Step::Decide => drop(self.world.decide()),
            Step::Collect { group, limit, grace } => {
                self.world.collect_in(GroupId(group), limit, if grace { HOUR_MS } else { 0 });
            }
            Step::Pass { minutes } => self.world.pass(minutes * MINUTE_MS),
        }
        self.all_committed_can_be_read();
    }

    /// Whatever was committed and did not end is there from its roots down to its blobs, in every shard.
    fn all_committed_can_be_read(&self) {
        let tenant = self.world.tenant("acme");
        for (snapshot, roots) in &self.committed {
            let decision =
                self.world.groups[&tenant.home].ask(&Query::Decision { tenant: tenant.id, snapshot: *snapshot });
            assert!(matches!(decision, Answer::Decision(Decision::Committed { .. })), "{decision:?}");
            for (group, root) in roots {
                self.reach(*group, *snapshot, *root);
            }
        }
    }

    fn reach(&self, group: GroupId, snapshot: SnapshotId, root: TreeId) {
        let tenant = self.world.tenant("acme");
        let domains = [WRITER, OTHER_WRITER].map(|writer| tenant.domain(writer).domain);
        let found = domains.iter().any(|domain| {
            let query =
                Query::Nodes { tenant: tenant.id, by: None, vault: tenant.vault, domain: *domain, nodes: vec![root] };
            let Answer::Nodes(nodes) = self.world.groups[&group].ask(&query) else { panic!() };
            let Some(Some(bytes)) = nodes.first() else { return false };
            match strongroom_format::codec::decode::<Node>(bytes).unwrap() {
                Node::Inner(inner) => inner.children().iter().for_each(|child| self.reach(group, snapshot, child.id)),
                Node::Leaf(leaf) => {
                    let blobs = leaf
                        .entries()
                        .iter()
                        .map(|entry| strongroom_format::command::BlobRef { chunk: entry.chunk, blob: entry.blob })
                        .collect();
                    let query = Query::Chunks { tenant: tenant.id, vault: tenant.vault, domain: *domain, blobs };
                    let Answer::Chunks(rows) = self.world.groups[&group].ask(&query) else { panic!() };
                    assert!(rows.iter().all(Option::is_some), "a blob of {snapshot} is gone");
                }
            }
            true
        });
        assert!(found, "node {root} of {snapshot} is gone");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 300, ..cases(64) })]

    /// N65, I10.
    #[test]
    fn n65_uploads_hits_deletes_and_collecting_race_and_nothing_reachable_is_lost(steps in steps()) {
        let mut play = Play::new();
        for step in &steps {
            play.act(step);
        }
        // In the end everything ends, and garbage returns to nothing.
        play.world.pass(8 * HOUR_MS);
        play.world.decide();
        for (snapshot, _) in std::mem::take(&mut play.committed) {
            done(delete(&mut play.world, snapshot));
        }
        play.world.decide();
        play.world.tell_ends();
        play.world.pass(8 * HOUR_MS);
        play.world.collect(0);
        nothing_is_left(&play.world);
        for group in play.world.groups.values() {
            prop_assert!(group.replayed() == group.tables, "group {} replays otherwise", group.group);
        }
    }
}

/// The play reaches what it is about.
#[test]
fn plays_commit_delete_and_collect() {
    let mut play = Play::new();
    for _ in 0..20 {
        play.act(&Step::Go { who: 0 });
        play.act(&Step::Go { who: 2 });
    }
    assert_eq!(play.committed.len(), 2);
    play.act(&Step::Decide);
    play.act(&Step::Delete { which: 0 });
    play.act(&Step::Tell);
    play.act(&Step::Pass { minutes: 8 * 60 });
    let before = blobs(&play.world);
    for _ in 0..30 {
        (1..=3).for_each(|group| play.act(&Step::Collect { group, limit: 20, grace: false }));
    }
    assert!(blobs(&play.world) < before);
}
