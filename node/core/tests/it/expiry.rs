//! Expiry by policy: what goes by itself, what stays, and that the dry run says just that.
//!
//! Every step here is compared with the dry run of its page ([`World::expire_some`]), and every entry is followed by all
//! laws, `laws/policies_end_what_nothing_keeps.rs` among them. Not here: keep rules on plain numbers
//! (`src/shard/keep/tests.rs`), streams of wholes (`tickets.rs`).

use std::collections::BTreeSet;

use proptest::prelude::*;
use strongroom_core::entry::NodeCommand;
use strongroom_core::laws::{self, State};
use strongroom_core::query::{Answer, Query};
use strongroom_core::shard::EXPIRE_MAX;
use strongroom_core::shard::rows::Usage;
use strongroom_format::codec;
use strongroom_format::command::{Body, OperatorBody};
use strongroom_format::ending::EndOrder;
use strongroom_format::id::{PolicyVersion, SessionId, SnapshotId, VaultId};
use strongroom_format::lock::{LockMode, Longer};
use strongroom_format::lock_order::LockOrder;
use strongroom_format::outcome::{Done, Outcome, Refusal};
use strongroom_format::policy::{KeepRules, Policy};
use strongroom_format::policy_view::{Fate, PreviewPlace, Previewed};
use strongroom_format::receipt::{AuditEvent, AuditRecord};

use crate::backup::Backup;
use crate::group::{HOUR_MS, MINUTE_MS, cases, done, refused};
use crate::tenant::{ADMIN, LEGAL, OTHER_WRITER, RESTORER, WRITER};
use crate::world::{Session, World};

const DAY_MS: u64 = 24 * HOUR_MS;
/// The longest that a restore session lasts.
const WEEK_MS: u64 = 7 * DAY_MS;

/// A world and the policy that is in force in acme's vault.
struct Play {
    world: World,
    policy: Policy,
    commits: usize,
}

impl Play {
    fn new(world: World) -> Self {
        let policy = world.tenant("acme").policy();
        Self { world, policy, commits: 0 }
    }

    fn vault(&self) -> VaultId {
        self.world.tenant("acme").vault
    }

    fn order(&mut self, who: &str, order: LockOrder) -> Outcome {
        let mut session = self.world.open_session("acme", who);
        self.world.submit("acme", who, &mut session, Body::Lock(order))
    }

    /// Puts keep rules in force, with snapshots expected every day.
    fn keep(&mut self, keep: KeepRules) {
        let policy = Policy {
            version: PolicyVersion(self.policy.version.0 + 1),
            keep,
            lock_min_ms: 0,
            lock_max_ms: 800 * DAY_MS,
            expected_every_ms: Some(DAY_MS),
            ..self.policy.clone()
        };
        let order = LockOrder::SetPolicy {
            vault: self.vault(),
            policy: policy.clone(),
            reason: "test".into(),
            approvals: Vec::new(),
        };
        done(self.order(ADMIN, order));
        self.policy = policy;
    }

    /// Commits a snapshot under a label; at home only, or with parts in all shards.
    fn commit(&mut self, writer: &str, label: &str, everywhere: bool) -> SnapshotId {
        self.commits += 1;
        let session = self.world.open_session("acme", writer);
        let mut backup = Backup::new(&self.world, "acme", writer, session, &format!("number {}", self.commits));
        backup.label = label.into();
        if !everywhere {
            backup.groups = vec![backup.home(&self.world)];
        }
        let own = format!("only {}", self.commits);
        backup.prepare(&mut self.world, &["a", &own]);
        let mut envelope = backup.envelope(&self.world);
        envelope.policy_version = self.policy.version;
        done(backup.commit_envelope(&mut self.world, &envelope));
        self.world.decide();
        backup.snapshot
    }

    /// A snapshot a day for so many days, under one name.
    fn daily(&mut self, days: usize) -> Vec<SnapshotId> {
        (0..days)
            .map(|_| {
                let snapshot = self.commit(WRITER, "/srv", false);
                self.world.pass(DAY_MS);
                snapshot
            })
            .collect()
    }

    fn preview(&self) -> Vec<Previewed> {
        let tenant = self.world.tenant("acme");
        let query = Query::Preview {
            tenant: tenant.id,
            vault: tenant.vault,
            policy: self.policy.clone(),
            after: None,
            limit: 1000,
        };
        match self.world.groups[&tenant.home].ask(&query) {
            Answer::Preview(page) => page.snapshots,
            other => panic!("{other:?}"),
        }
    }

    fn fate(&self, snapshot: SnapshotId) -> Option<Fate> {
        self.preview().into_iter().find(|previewed| previewed.snapshot == snapshot).map(|previewed| previewed.fate)
    }

    fn going(&self) -> BTreeSet<SnapshotId> {
        let goes = |previewed: Previewed| (previewed.fate == Fate::Goes).then_some(previewed.snapshot);
        self.preview().into_iter().filter_map(goes).collect()
    }

    fn listed(&self) -> BTreeSet<SnapshotId> {
        self.preview().into_iter().map(|previewed| previewed.snapshot).collect()
    }

    /// A step as a node asks for it.
    fn ask(&mut self, vault: VaultId, after: Option<PreviewPlace>, limit: u32) -> Outcome {
        let (tenant, home) = (self.world.tenant("acme").id, self.world.tenant("acme").home);
        self.world.group(home).rogue(NodeCommand::Expire { tenant, vault, after, limit })
    }
}

fn last(number: u32) -> KeepRules {
    KeepRules { last: number, ..KeepRules::default() }
}

#[test]
fn what_no_rule_keeps_goes_by_itself_and_a_leaf_says_by_which_policy() {
    let mut play = Play::new(World::unlocked(&["acme"]));
    play.keep(last(1));
    let snapshots = play.daily(3);
    assert_eq!(play.world.expire("acme", EXPIRE_MAX), snapshots[..2]);
    let (tenant, home) = (play.world.tenant("acme").id, play.world.tenant("acme").home);
    for gone in &snapshots[..2] {
        let query = Query::End { tenant, snapshot: *gone, by: None };
        let Answer::End { end, leaf_index } = play.world.groups[&home].ask(&query) else { panic!("{gone}") };
        assert_eq!((end.by, end.reason.as_str()), (None, "policy 2: no lock, hold or keep rule kept it"));
        let query = Query::Leaf { tenant, leaf_index, size: None };
        let Answer::Leaf(leaf) = play.world.groups[&home].ask(&query) else { panic!() };
        let record: AuditRecord = codec::decode(&leaf.record).unwrap();
        let AuditEvent::Expired(expired) = record.event else { panic!("{:?}", record.event) };
        assert_eq!((expired.snapshot, expired.vault, expired.policy), (*gone, play.vault(), PolicyVersion(2)));
        assert!(expired.committed_clock_ms < expired.clock_ms);
    }
    // The newest stays for ever, and with it what it names.
    play.world.pass(300 * DAY_MS);
    assert_eq!(play.world.expire("acme", EXPIRE_MAX), []);
    assert_eq!(play.fate(snapshots[2]), Some(Fate::Newest));
    play.world.collect(0);
    let left = play.world.groups[&home].view().usage;
    assert_eq!(left.snapshots, 1);
    // "a", its own chunk, its manifest's and its records.
    assert_eq!(left.blobs, 4, "{left:?}");
    let order = EndOrder::DeleteSnapshot { snapshot: snapshots[2], reason: "test".into() };
    let mut admin = play.world.open_session("acme", ADMIN);
    done(play.world.submit("acme", ADMIN, &mut admin, Body::End(order)));
    play.world.collect(0);
    assert_eq!(play.world.groups[&home].view().usage, Usage::default());
}

#[test]
fn parts_in_other_shards_go_too() {
    let mut play = Play::new(World::unlocked(&["acme"]));
    play.keep(last(1));
    let first = play.commit(WRITER, "/srv", true);
    play.world.pass(DAY_MS);
    play.commit(WRITER, "/srv", true);
    assert_eq!(play.world.expire("acme", EXPIRE_MAX), [first]);
    assert_eq!(play.world.tell_ends(), play.world.tenant("acme").groups.len() - 1);
    assert_eq!(play.world.tell_ends(), 0);
}

#[test]
fn a_vault_without_keep_rules_loses_nothing() {
    let mut play = Play::new(World::unlocked(&["acme"]));
    let snapshots = play.daily(3);
    play.world.pass(300 * DAY_MS);
    assert_eq!(play.world.expire("acme", EXPIRE_MAX), [], "the worker does not even look at it");
    let vault = play.vault();
    assert_eq!(done(play.ask(vault, None, EXPIRE_MAX)), Done::Expired { looked_at: 3, ended: 0 }, "whoever asks");
    assert_eq!(play.listed(), snapshots.into_iter().collect());
}

#[test]
fn n57_n60_what_is_locked_held_behind_or_read_stays_whatever_the_policy_says() {
    let mut play = Play::new(World::unlocked(&["acme"]));
    play.keep(last(1));
    let names = ["governance", "compliance", "held", "behind", "read", "free"];
    let snapshots = names.map(|name| play.commit(WRITER, name, true));
    let reason = || String::from("test");
    let day = Longer::Length { length_ms: 40 * DAY_MS };
    for (snapshot, mode) in [(snapshots[0], LockMode::Governance), (snapshots[1], LockMode::Compliance)] {
        done(play.order(ADMIN, LockOrder::ExtendLock { snapshot, mode, longer: day, reason: reason() }));
    }
    let hold = || "case-1".parse().unwrap();
    done(play.order(LEGAL, LockOrder::AddHold { snapshot: snapshots[2], hold: hold(), reason: reason() }));
    play.world.carry_locks();
    for snapshot in [snapshots[2], snapshots[3]] {
        done(play.order(LEGAL, LockOrder::AddHold { snapshot, hold: "case-2".parse().unwrap(), reason: reason() }));
    }
    let remove = |snapshot, hold: &str| LockOrder::RemoveHold {
        snapshot,
        hold: hold.parse().unwrap(),
        reason: "it ended".into(),
        approvals: Vec::new(),
    };
    done(play.order(LEGAL, remove(snapshots[3], "case-2")));
    // Newer ones, so that each of them may go as far as rules are concerned.
    play.world.pass(3 * DAY_MS);
    for name in names {
        play.commit(OTHER_WRITER, name, false);
        play.commit(WRITER, name, false);
    }
    let mut restorer = play.world.open_session("acme", RESTORER);
    let body = Body::OpenRestore { snapshots: vec![snapshots[4]], purpose: "test".into(), lifetime_ms: 6 * DAY_MS };
    done(play.world.submit("acme", RESTORER, &mut restorer, body));
    assert!(matches!(play.fate(snapshots[0]), Some(Fate::Locked { until_unix_ms: Some(_) })));
    assert!(matches!(play.fate(snapshots[1]), Some(Fate::Locked { until_unix_ms: Some(_) })));
    let others = [2, 3, 4, 5].map(|place| play.fate(snapshots[place]).unwrap());
    assert_eq!(others, [Fate::Held, Fate::Behind, Fate::Pinned, Fate::Goes]);
    assert_eq!(play.world.expire("acme", 5), [snapshots[5]]);
    // One after the other is kept no more.
    play.world.carry_locks();
    assert_eq!(play.world.expire("acme", 5), [snapshots[3]]);
    play.world.pass(7 * DAY_MS);
    assert_eq!(play.world.expire("acme", 5), [snapshots[4]]);
    play.world.pass(35 * DAY_MS);
    let gone: BTreeSet<_> = play.world.expire("acme", 5).into_iter().collect();
    assert_eq!(gone, [snapshots[0], snapshots[1]].into_iter().collect());
    for name in ["case-1", "case-2"] {
        assert_eq!(play.world.expire("acme", 5), [], "it is held");
        done(play.order(LEGAL, remove(snapshots[2], name)));
    }
    play.world.carry_locks();
    assert_eq!(play.world.expire("acme", 5), [snapshots[2]]);
}

#[test]
fn where_the_newest_of_a_name_is_damaged_nothing_of_that_name_goes() {
    let mut play = Play::new(World::unlocked(&["acme"]));
    play.keep(last(1));
    let snapshots = play.daily(3);
    let (vault, domain) = (play.vault(), play.world.tenant("acme").domain(WRITER).domain);
    let of = crate::backup::Piece::new("only 3", 0).of;
    let report = Body::ReportBlob { vault, domain, chunk: of.chunk, blob: of.blob, snapshot: snapshots[2] };
    let mut restorer = play.world.open_session("acme", RESTORER);
    done(play.world.submit("acme", RESTORER, &mut restorer, report));
    assert_eq!(play.fate(snapshots[1]), Some(Fate::NewestDamaged));
    assert_eq!(play.world.expire("acme", EXPIRE_MAX), []);
    // A good one comes.
    let good = play.commit(WRITER, "/srv", false);
    play.world.pass(DAY_MS);
    assert_eq!(play.world.expire("acme", EXPIRE_MAX), snapshots);
    assert_eq!(play.listed(), [good].into());
}

#[test]
fn n62_ten_times_as_many_snapshots_evict_none_that_counts() {
    let mut play = Play::new(World::unlocked(&["acme"]));
    play.keep(last(3));
    let snapshots = play.daily(5);
    assert_eq!(play.world.expire("acme", 2), snapshots[..2]);
    for _ in 0..40 {
        play.commit(WRITER, "/srv", false);
    }
    // A day more counts, however many came in it.
    assert_eq!(play.world.expire("acme", 7), [snapshots[2]]);
    assert!(play.listed().is_superset(&snapshots[3..].iter().copied().collect()));
}

#[test]
fn n118_after_31_days_of_a_stolen_writer_all_that_a_rule_had_kept_is_still_there() {
    let mut play = Play::new(World::unlocked(&["acme"]));
    play.keep(KeepRules { last: 7, monthly: 12, ..KeepRules::default() });
    let honest = play.daily(40);
    play.world.expire("acme", 16);
    let kept: BTreeSet<_> = play.listed();
    assert!(kept.len() < honest.len() && 8 <= kept.len(), "{}", kept.len());
    let firsts: Vec<_> =
        play.preview().into_iter().filter(|previewed| matches!(previewed.fate, Fate::Locked { .. })).collect();
    assert_eq!(firsts.len(), 2, "the first of November, the first of December");
    // What the rules promise of the last seven is seven intervals; a thief's snapshots, some a day, let no interval pass
    // faster than days do.
    for day in 0..31 {
        for _ in 0..3 {
            play.commit(WRITER, "/srv", false);
        }
        play.world.expire("acme", 16);
        let left = play.listed();
        for old in &firsts {
            assert!(left.contains(&old.snapshot), "day {day}: the first of a month");
        }
        // The honest ones of the last seven days that counted.
        let still = honest.len().saturating_sub(6_usize.saturating_sub(day));
        assert!(honest[still..].iter().all(|snapshot| left.contains(snapshot)), "day {day}");
        play.world.pass(DAY_MS);
    }
}

#[test]
fn a_step_says_where_to_look_and_nothing_else_and_nonsense_is_refused() {
    let mut play = Play::new(World::unlocked(&["acme", "globex"]));
    play.keep(last(1));
    let snapshots = play.daily(3);
    let vault = play.vault();
    for limit in [0, EXPIRE_MAX + 1, u32::MAX] {
        assert!(matches!(refused(play.ask(vault, None, limit)), Refusal::Invalid { .. }), "{limit}");
    }
    assert_eq!(refused(play.ask(VaultId::from_bytes([9; 16]), None, 1)), Refusal::NotFound);
    let (tenant, home) = (play.world.tenant("acme").id, play.world.tenant("acme").home);
    let globex = play.world.tenant("globex").id;
    let foreign = NodeCommand::Expire { tenant: globex, vault, after: None, limit: 9 };
    let globexs = play.world.tenant("globex").home;
    assert_eq!(refused(play.world.group(globexs).rogue(foreign)), Refusal::NotFound);
    for group in play.world.shards().into_iter().filter(|group| *group != home) {
        let step = NodeCommand::Expire { tenant, vault, after: None, limit: 9 };
        let refusal = refused(play.world.group(group).rogue(step));
        assert!(matches!(refusal, Refusal::WrongGroup | Refusal::NotFound), "{refusal:?}");
    }
    let step = NodeCommand::Expire { tenant, vault, after: None, limit: 9 };
    assert_eq!(refused(play.world.cluster().rogue(step)), Refusal::WrongGroup);
    // A place beyond all, of somebody that is not there, in front of all: what is found there is looked at, no more.
    let place = |writer: &str, label: &str, order| {
        Some(PreviewPlace { writer: writer.parse().unwrap(), label: label.parse().unwrap(), order })
    };
    for (after, ended) in [
        (place(WRITER, "/srv", u64::MAX), 0),
        (place("zoe-of-the-last", "z", 0), 0),
        (place("aa", "a", 7), 1),
        (place(WRITER, "/srv", 0), 1),
    ] {
        let Done::Expired { ended: found, .. } = done(play.ask(vault, after.clone(), 1)) else { panic!() };
        assert_eq!(found, ended, "{after:?}");
    }
    assert_eq!(play.listed(), [snapshots[2]].into());
}

#[test]
fn n31_nothing_ends_by_policy_in_a_tenant_that_may_do_nothing() {
    let mut play = Play::new(World::unlocked(&["acme"]));
    play.keep(last(1));
    let snapshots = play.daily(2);
    let (tenant, vault) = (play.world.tenant("acme").id, play.vault());
    let reason = String::from("test");
    done(play.world.operator(OperatorBody::SuspendTenant { tenant, reason: reason.clone() }));
    play.world.carry("acme");
    assert_eq!(play.world.expire("acme", 9), []);
    assert_eq!(refused(play.ask(vault, None, 9)), Refusal::TenantSuspended);
    done(play.world.operator(OperatorBody::ResumeTenant { tenant, reason }));
    play.world.carry("acme");
    assert_eq!(play.world.expire("acme", 9), snapshots[..1]);
}

#[test]
fn nothing_ends_while_states_are_in_dispute() {
    let mut play = Play::new(World::unlocked(&["acme"]));
    play.keep(last(1));
    play.daily(2);
    let (home, vault) = (play.world.tenant("acme").home, play.vault());
    let half = [("n0", "other"), ("n1", "other"), ("n2", "third"), ("n3", "third")];
    for _ in 0..3 {
        play.world.group(home).tick_of(MINUTE_MS, &[], &half);
    }
    assert!(play.world.groups[&home].view().disputed);
    assert_eq!(refused(play.ask(vault, None, 9)), Refusal::DigestsDisagree);
    assert_eq!(play.listed().len(), 2);
}

/// The law bites: with another policy in force, what went would have been kept.
#[test]
fn the_law_finds_what_a_policy_should_not_have_ended() {
    let mut play = Play::new(World::unlocked(&["acme"]));
    let home = play.world.tenant("acme").home;
    play.keep(last(1));
    play.daily(2);
    play.keep(last(2));
    let kept = State::of(home, &play.world.groups[&home].tables);
    play.keep(last(1));
    let free = State::of(home, &play.world.groups[&home].tables);
    assert_eq!(play.world.expire("acme", 9).len(), 1);
    let after = State::of(home, &play.world.groups[&home].tables);
    laws::check_step(&free, &after).unwrap();
    let broken = laws::check_step(&kept, &after).unwrap_err();
    assert_eq!(broken.law, "policies_end_what_nothing_keeps", "{broken}");
    assert!(broken.what.contains("among the last"), "{broken}");
}

#[derive(Clone, Debug)]
enum Step {
    Commit { writer: usize, label: u8, everywhere: bool },
    Keep { rules: [u32; 6] },
    Extend { which: usize, days: u64 },
    Hold { which: usize },
    Release { which: usize },
    Carry,
    Restore { which: usize },
    EndRestore,
    Delete { which: usize },
    Pass { hours: u64 },
    Expire { limit: u32 },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let few = || prop_oneof![3 => Just(0_u32), 2 => 1..4_u32];
    let which = || any::<usize>();
    let step = prop_oneof![
        8 => (0..2_usize, 0..2_u8, any::<bool>())
            .prop_map(|(writer, label, everywhere)| Step::Commit { writer, label, everywhere }),
        3 => (few(), few(), few(), few(), 0..2_u32, 0..2_u32)
            .prop_map(|(last, hourly, daily, weekly, monthly, yearly)| Step::Keep {
                rules: [last, hourly, daily, weekly, monthly.saturating_sub(1), yearly.saturating_sub(1)],
            }),
        2 => (which(), 1..9_u64).prop_map(|(which, days)| Step::Extend { which, days }),
        2 => which().prop_map(|which| Step::Hold { which }),
        2 => which().prop_map(|which| Step::Release { which }),
        2 => Just(Step::Carry),
        1 => which().prop_map(|which| Step::Restore { which }),
        1 => Just(Step::EndRestore),
        1 => which().prop_map(|which| Step::Delete { which }),
        6 => prop_oneof![0..30_u64, 24..24 * 9_u64].prop_map(|hours| Step::Pass { hours }),
        4 => (1..6_u32).prop_map(|limit| Step::Expire { limit }),
    ];
    proptest::collection::vec(step, 1..40)
}

/// What is known to keep a snapshot, besides rules.
#[derive(Default)]
struct Model {
    held: BTreeSet<SnapshotId>,
    pinned: Option<(SnapshotId, SessionId)>,
    /// How long that one has been read.
    read_ms: u64,
    all: Vec<SnapshotId>,
}

fn play(steps: &[Step]) -> (usize, Play) {
    let mut play = Play::new(World::unlocked(&["acme"]));
    let mut model = Model::default();
    let mut restorer: Option<Session> = None;
    let mut ended = 0;
    for step in steps {
        let one = |which: usize| (!model.all.is_empty()).then(|| model.all[which % model.all.len()]);
        let reason = String::from("test");
        match *step {
            Step::Commit { writer, label, everywhere } => {
                let snapshot =
                    play.commit([WRITER, OTHER_WRITER][writer], ["one", "two"][usize::from(label)], everywhere);
                model.all.push(snapshot);
            }
            Step::Keep { rules: [last, hourly, daily, weekly, monthly, yearly] } => {
                play.keep(KeepRules { last, hourly, daily, weekly, monthly, yearly });
            }
            Step::Extend { which, days } => {
                let Some(snapshot) = one(which) else { continue };
                let (mode, longer) = (LockMode::Governance, Longer::Length { length_ms: days * DAY_MS });
                play.order(ADMIN, LockOrder::ExtendLock { snapshot, mode, longer, reason });
            }
            Step::Hold { which } => {
                let Some(snapshot) = one(which) else { continue };
                let order = LockOrder::AddHold { snapshot, hold: "case".parse().unwrap(), reason };
                if matches!(play.order(LEGAL, order), Outcome::Done(_)) {
                    model.held.insert(snapshot);
                }
            }
            Step::Release { which } => {
                let Some(snapshot) = one(which) else { continue };
                let hold = "case".parse().unwrap();
                let order = LockOrder::RemoveHold { snapshot, hold, reason, approvals: Vec::new() };
                if matches!(play.order(LEGAL, order), Outcome::Done(_)) {
                    model.held.remove(&snapshot);
                }
            }
            Step::Carry => drop(play.world.carry_locks()),
            Step::Restore { which } => {
                let Some(snapshot) = one(which).filter(|_| model.pinned.is_none()) else { continue };
                let mut session = play.world.open_session("acme", RESTORER);
                let body = Body::OpenRestore { snapshots: vec![snapshot], purpose: reason, lifetime_ms: WEEK_MS };
                if let Outcome::Done(Done::RestoreOpened { restore, .. }) =
                    play.world.submit("acme", RESTORER, &mut session, body)
                {
                    (model.pinned, restorer) = (Some((snapshot, restore)), Some(session));
                    model.read_ms = 0;
                }
            }
            Step::EndRestore => {
                let (Some((_, restore)), Some(mut session)) = (model.pinned.take(), restorer.take()) else { continue };
                // The session may have ended by itself.
                play.world.submit("acme", RESTORER, &mut session, Body::EndRestore { restore });
            }
            Step::Delete { which } => {
                let Some(snapshot) = one(which) else { continue };
                let mut admin = play.world.open_session("acme", ADMIN);
                let order = EndOrder::DeleteSnapshot { snapshot, reason };
                play.world.submit("acme", ADMIN, &mut admin, Body::End(order));
            }
            Step::Pass { hours } => {
                play.world.pass(hours * HOUR_MS);
                // A session may have ended: it lasts a week at most.
                model.read_ms += hours * HOUR_MS;
                if WEEK_MS <= model.read_ms {
                    model.pinned = None;
                }
            }
            Step::Expire { limit } => {
                let (said, stood) = (play.going(), play.listed());
                let gone: BTreeSet<_> = play.world.expire("acme", limit).into_iter().collect();
                assert_eq!(gone, said, "the dry run of the whole vault said what a pass by pages of {limit} ends");
                assert_eq!(play.listed(), stood.difference(&gone).copied().collect());
                assert!(gone.is_disjoint(&model.held), "held");
                assert!(model.pinned.is_none_or(|(pinned, _)| !gone.contains(&pinned)), "read");
                ended += gone.len();
                assert_eq!(play.world.expire("acme", 256), [], "and nothing is left to do");
            }
        }
    }
    (ended, play)
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 200, ..cases(48) })]

    /// Random policies, commits, locks, holds, restores, deletions and times: the dry run says what goes, nothing kept goes
    /// (the laws run after every entry), and the same log gives the same rows.
    #[test]
    fn the_dry_run_says_just_what_goes_and_nothing_kept_goes(steps in steps()) {
        let (_, play) = play(&steps);
        for group in play.world.groups.values() {
            prop_assert!(group.replayed() == group.tables, "group {} replays otherwise", group.group);
        }
    }
}

/// The play reaches what it is about: without this, the property could hold of nothing.
#[test]
fn plays_expire() {
    let commit = |label| Step::Commit { writer: 0, label, everywhere: false };
    let steps = [
        Step::Keep { rules: [1, 0, 0, 0, 0, 0] },
        commit(0),
        Step::Pass { hours: 25 },
        commit(0),
        Step::Hold { which: 1 },
        Step::Pass { hours: 25 },
        commit(0),
        Step::Expire { limit: 1 },
        Step::Release { which: 1 },
        Step::Expire { limit: 2 },
        Step::Carry,
        Step::Expire { limit: 3 },
    ];
    let (ended, play) = play(&steps);
    assert_eq!((ended, play.listed().len()), (2, 1));
}
