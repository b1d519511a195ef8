//! Locks, holds, policies: what may be asked, by whom, and what stays.

use strongroom_core::entry::{NodeCommand, Report};
use strongroom_core::locking::{Keeping, PartKeeping, PartKept};
use strongroom_core::query::{Answer, Query};
use strongroom_core::shard::WEAKEN_AFTER_MS;
use strongroom_format::command::Body;
use strongroom_format::id::{PolicyVersion, SnapshotId};
use strongroom_format::lock::{LockMode, LockTerms, Longer};
use strongroom_format::lock_order::LockOrder;
use strongroom_format::outcome::{Outcome, Refusal};
use strongroom_format::policy::{KeepRules, Policy};
use strongroom_format::policy_view::{Fate, LockView, PolicyView, PreviewPage};

use crate::backup::{Backup, back_up};
use crate::group::{BEGAN_MS, HOUR_MS, MINUTE_MS, claim, done, refused};
use crate::tenant::{ADMIN, AUDITOR, LEGAL, RESTORER, WRITER, policy};
use crate::world::World;

const DAY_MS: u64 = 24 * HOUR_MS;

fn ask(world: &mut World, who: &str, order: LockOrder) -> Outcome {
    let mut session = world.open_session("acme", who);
    world.submit("acme", who, &mut session, Body::Lock(order))
}

fn view(world: &World, snapshot: SnapshotId) -> LockView {
    let tenant = world.tenant("acme");
    match world.groups[&tenant.home].ask(&Query::Lock { tenant: tenant.id, snapshot, by: None }) {
        Answer::Lock(view) => view,
        other => panic!("{other:?}"),
    }
}

fn preview(world: &World, policy: &Policy, limit: u32) -> Vec<Fate> {
    let tenant = world.tenant("acme");
    let (mut fates, mut after) = (Vec::new(), None);
    loop {
        let query = Query::Preview { tenant: tenant.id, vault: tenant.vault, policy: policy.clone(), after, limit };
        match world.groups[&tenant.home].ask(&query) {
            Answer::Preview(PreviewPage { snapshots, next }) => {
                fates.extend(snapshots.into_iter().map(|previewed| previewed.fate));
                after = next;
            }
            other => panic!("{other:?}"),
        }
        if after.is_none() {
            return fates;
        }
    }
}

fn policy_view(world: &World) -> PolicyView {
    let tenant = world.tenant("acme");
    match world.groups[&tenant.home].ask(&Query::Policy { tenant: tenant.id, vault: tenant.vault, by: None }) {
        Answer::Policy(view) => view,
        other => panic!("{other:?}"),
    }
}

fn set_policy(world: &mut World, who: &str, policy: Policy) -> Outcome {
    let vault = world.tenant("acme").vault;
    ask(world, who, LockOrder::SetPolicy { vault, policy, reason: "test".into(), approvals: Vec::new() })
}

fn extend(snapshot: SnapshotId, mode: LockMode, longer: Longer) -> LockOrder {
    LockOrder::ExtendLock { snapshot, mode, longer, reason: "test".into() }
}

fn days(length: u64) -> Longer {
    Longer::Length { length_ms: length * DAY_MS }
}

fn weaken(snapshot: SnapshotId, length_ms: u64) -> LockOrder {
    LockOrder::WeakenLock { snapshot, length_ms, reason: "a mistake".into(), approvals: Vec::new() }
}

fn add_hold(snapshot: SnapshotId, name: &str) -> LockOrder {
    LockOrder::AddHold { snapshot, hold: name.parse().unwrap(), reason: "a case".into() }
}

fn remove_hold(snapshot: SnapshotId, name: &str) -> LockOrder {
    LockOrder::RemoveHold { snapshot, hold: name.parse().unwrap(), reason: "it ended".into(), approvals: Vec::new() }
}

const GOVERNANCE: LockMode = LockMode::Governance;
const COMPLIANCE: LockMode = LockMode::Compliance;

#[test]
fn a_lock_begins_at_the_second_tick_behind_its_commit_and_is_over_a_thousandth_after_its_length() {
    let mut world = World::single();
    // The voters' running clocks are known from here on.
    world.pass(MINUTE_MS);
    let snapshot = back_up(&mut world, "acme", WRITER, "one", &["a"]);
    assert!(!view(&world, snapshot).lock.unwrap().begun);
    assert!(world.groups[&world.tenant("acme").home].view().waits, "ticks should come");
    world.pass(MINUTE_MS);
    assert!(!view(&world, snapshot).lock.unwrap().begun, "the first may carry reports made before");
    world.pass(MINUTE_MS);
    let lock = view(&world, snapshot).lock.unwrap();
    assert!(lock.begun && !lock.over);
    assert!(!world.groups[&world.tenant("acme").home].view().waits);
    // 30 days and a thousandth, from 2 s behind the second tick.
    let length_ms = 30 * DAY_MS;
    world.pass(2_000 + length_ms + length_ms / 1000 - 1);
    assert!(!view(&world, snapshot).lock.unwrap().over);
    world.pass(1);
    assert!(view(&world, snapshot).lock.unwrap().over);
}

/// Lets `E` follow what truly passed since a commit, until its lock begins, which it does within two ticks, and on to its end:
/// not over before its whole length has passed since the commit.
fn keeps_its_full_lock(world: &mut World, snapshot: SnapshotId, early: Vec<Report>) {
    let home = world.tenant("acme").home;
    if !early.is_empty() {
        done(world.group(home).tick_with(early));
        assert!(!view(world, snapshot).lock.unwrap().begun, "what was reported before the commit begins nothing");
    }
    let mut since_ms = 0;
    let pass = |world: &mut World, elapsed_ms| {
        let group = world.group(home);
        group.wait(elapsed_ms);
        let reports = group.reports();
        done(group.tick_with(reports));
        elapsed_ms
    };
    for _ in 0..2 {
        since_ms += pass(world, 500);
    }
    let lock = view(world, snapshot).lock.unwrap();
    assert!(lock.begun && !lock.over);
    let length_ms = 30 * DAY_MS + 30 * DAY_MS / 1000;
    since_ms += pass(world, length_ms - since_ms);
    assert!(!view(world, snapshot).lock.unwrap().over, "{since_ms} ms after the commit");
    pass(world, 4_000);
    assert!(view(world, snapshot).lock.unwrap().over);
}

#[test]
fn a_commit_on_a_shard_that_was_idle_for_an_hour_keeps_its_full_lock() {
    let mut world = World::single();
    world.pass(MINUTE_MS);
    let home = world.tenant("acme").home;
    // Nothing waits, so no tick comes: the first one behind the commit tells of the hour before it.
    world.group(home).wait(HOUR_MS);
    let snapshot = back_up(&mut world, "acme", WRITER, "one", &["a"]);
    keeps_its_full_lock(&mut world, snapshot, Vec::new());
}

#[test]
fn a_commit_behind_which_the_tick_of_a_former_leader_lands_keeps_its_full_lock() {
    let mut world = World::single();
    world.pass(MINUTE_MS);
    let home = world.tenant("acme").home;
    // A leader collected these and was deposed before its tick was committed; what it proposed comes an hour later.
    let early = world.group(home).reports();
    world.group(home).wait(HOUR_MS);
    let snapshot = back_up(&mut world, "acme", WRITER, "one", &["a"]);
    keeps_its_full_lock(&mut world, snapshot, early);
}

#[test]
fn n57_n59_nobody_weakens_a_compliance_lock_and_only_an_admin_asks_for_a_governance_lock() {
    let mut world = World::single();
    let snapshot = back_up(&mut world, "acme", WRITER, "one", &["a"]);
    for who in [LEGAL, AUDITOR, RESTORER] {
        assert_eq!(refused(ask(&mut world, who, weaken(snapshot, DAY_MS))), Refusal::Role, "{who}");
    }
    let no_reason = LockOrder::WeakenLock { snapshot, length_ms: DAY_MS, reason: " ".into(), approvals: Vec::new() };
    assert!(matches!(refused(ask(&mut world, ADMIN, no_reason)), Refusal::Invalid { .. }));
    assert_eq!(refused(ask(&mut world, ADMIN, weaken(snapshot, 0))), Refusal::LockOutOfRange, "below the minimum");
    done(ask(&mut world, ADMIN, extend(snapshot, COMPLIANCE, days(30))));
    for who in [ADMIN, LEGAL, AUDITOR, RESTORER] {
        let refusal = refused(ask(&mut world, who, weaken(snapshot, DAY_MS)));
        let expected = matches!(refusal, Refusal::RetentionActive { until_unix_ms: Some(_) }) && who == ADMIN;
        assert!(expected || refusal == Refusal::Role, "{who}: {refusal:?}");
    }
}

#[test]
fn n58_a_lock_is_not_shortened_and_compliance_never_becomes_governance() {
    let mut world = World::single();
    let snapshot = back_up(&mut world, "acme", WRITER, "one", &["a"]);
    done(ask(&mut world, ADMIN, extend(snapshot, COMPLIANCE, days(40))));
    let is_kept = |outcome| matches!(refused(outcome), Refusal::LockCannotShrink { .. });
    assert!(is_kept(ask(&mut world, ADMIN, extend(snapshot, GOVERNANCE, days(40)))));
    assert!(is_kept(ask(&mut world, ADMIN, extend(snapshot, COMPLIANCE, days(39)))));
    let earlier = Longer::Until { date_unix_ms: BEGAN_MS + 39 * DAY_MS };
    assert!(is_kept(ask(&mut world, ADMIN, extend(snapshot, COMPLIANCE, earlier))));
    // The same again is no change.
    done(ask(&mut world, ADMIN, extend(snapshot, COMPLIANCE, days(40))));
    assert_eq!(view(&world, snapshot).lock.unwrap().terms, LockTerms { mode: COMPLIANCE, length_ms: 40 * DAY_MS });
}

#[test]
fn n58_a_date_counts_from_the_earlier_of_the_clock_and_the_doors_wall_clock() {
    let mut world = World::single();
    let snapshot = back_up(&mut world, "acme", WRITER, "one", &["a"]);
    let date = BEGAN_MS + 50 * DAY_MS;
    done(ask(&mut world, LEGAL, extend(snapshot, GOVERNANCE, Longer::Until { date_unix_ms: date })));
    let lock = view(&world, snapshot).lock.unwrap();
    assert_eq!(lock.until_unix_ms, date);
    assert!(50 * DAY_MS <= lock.terms.length_ms);
    // Never over before the date, whatever is left of the length.
    world.pass(MINUTE_MS);
    world.pass(MINUTE_MS);
    world.pass(50 * DAY_MS - 3 * MINUTE_MS);
    assert!(!view(&world, snapshot).lock.unwrap().over);
}

#[test]
fn n63_an_extension_that_makes_no_sense_is_refused_and_never_means_unlocked() {
    let mut world = World::single();
    let snapshot = back_up(&mut world, "acme", WRITER, "one", &["a"]);
    for longer in [days(61), Longer::Length { length_ms: u64::MAX }, Longer::Until { date_unix_ms: u64::MAX }] {
        let refusal = refused(ask(&mut world, ADMIN, extend(snapshot, GOVERNANCE, longer)));
        assert_eq!(refusal, Refusal::LockOutOfRange, "{longer:?}");
    }
    for longer in [Longer::Length { length_ms: 0 }, Longer::Until { date_unix_ms: 0 }] {
        let refusal = refused(ask(&mut world, ADMIN, extend(snapshot, GOVERNANCE, longer)));
        assert!(matches!(refusal, Refusal::LockCannotShrink { .. }), "{longer:?}");
    }
}

#[test]
fn n59_a_governance_lock_is_weakened_72_hours_after_it_was_asked_for_unless_somebody_cancels_it() {
    for canceller in [None, Some(LEGAL), Some("alma"), Some(ADMIN)] {
        let mut world = World::with_more_admins(&["alma"]);
        let snapshot = back_up(&mut world, "acme", WRITER, "one", &["a"]);
        world.pass(1000);
        world.pass(1000);
        done(ask(&mut world, ADMIN, weaken(snapshot, DAY_MS)));
        assert_eq!(refused(ask(&mut world, ADMIN, weaken(snapshot, DAY_MS))), Refusal::VersionConflict);
        world.pass(WEAKEN_AFTER_MS - 1);
        assert_eq!(view(&world, snapshot).lock.unwrap().terms.length_ms, 30 * DAY_MS);
        if let Some(who) = canceller {
            let cancel = LockOrder::CancelWeakening { snapshot, reason: "no".into() };
            for other in [AUDITOR, RESTORER] {
                assert_eq!(refused(ask(&mut world, other, cancel.clone())), Refusal::Role);
            }
            done(ask(&mut world, who, cancel.clone()));
            assert_eq!(refused(ask(&mut world, who, cancel)), Refusal::NotFound);
        }
        world.pass(1);
        let lock = view(&world, snapshot).lock.unwrap();
        let expected = if canceller.is_some() { 30 * DAY_MS } else { DAY_MS };
        assert_eq!(lock.terms.length_ms, expected, "{canceller:?}");
        assert_eq!(lock.over, canceller.is_none());
    }
}

#[test]
fn n59_who_extends_takes_a_wish_to_weaken_back() {
    let mut world = World::single();
    let snapshot = back_up(&mut world, "acme", WRITER, "one", &["a"]);
    done(ask(&mut world, ADMIN, weaken(snapshot, DAY_MS)));
    done(ask(&mut world, LEGAL, extend(snapshot, COMPLIANCE, days(30))));
    assert_eq!(view(&world, snapshot).weakening, None);
    world.pass(2 * WEAKEN_AFTER_MS);
    assert_eq!(view(&world, snapshot).lock.unwrap().terms, LockTerms { mode: COMPLIANCE, length_ms: 30 * DAY_MS });
}

#[test]
fn n60_holds_are_the_legal_roles_alone_and_each_goes_by_its_own_name() {
    let mut world = World::single();
    let snapshot = back_up(&mut world, "acme", WRITER, "one", &["a"]);
    for who in [ADMIN, AUDITOR, RESTORER] {
        assert_eq!(refused(ask(&mut world, who, add_hold(snapshot, "case-1"))), Refusal::Role, "{who}");
    }
    for name in ["case-2", "case-1", "case-2"] {
        done(ask(&mut world, LEGAL, add_hold(snapshot, name)));
    }
    for who in [ADMIN, AUDITOR, RESTORER] {
        assert_eq!(refused(ask(&mut world, who, remove_hold(snapshot, "case-1"))), Refusal::Role, "{who}");
    }
    let names = |world: &World| -> Vec<String> {
        view(world, snapshot).holds.iter().map(|hold| hold.name.to_string()).collect()
    };
    assert_eq!(names(&world), ["case-1", "case-2"]);
    done(ask(&mut world, LEGAL, remove_hold(snapshot, "case-1")));
    assert_eq!(refused(ask(&mut world, LEGAL, remove_hold(snapshot, "case-1"))), Refusal::NotFound);
    assert_eq!(names(&world), ["case-2"]);
    for number in 0..15 {
        done(ask(&mut world, LEGAL, add_hold(snapshot, &format!("more-{number}"))));
    }
    assert!(matches!(refused(ask(&mut world, LEGAL, add_hold(snapshot, "too-many"))), Refusal::Limit { .. }));
    assert_eq!(refused(ask(&mut world, LEGAL, add_hold(SnapshotId::from_bytes([7; 16]), "case-1"))), Refusal::NotFound);
    // A hold keeps what no lock and no rule keeps.
    for _ in 0..3 {
        world.pass(40 * DAY_MS);
    }
    let rules = Policy { keep: KeepRules { hourly: 1, ..KeepRules::default() }, ..policy() };
    assert_eq!(preview(&world, &rules, 0), [Fate::Held]);
}

#[test]
fn n63_n48_policies_follow_one_another_and_a_commit_cites_the_one_in_force() {
    let mut world = World::single();
    let next = Policy { version: PolicyVersion(2), least_regions: 0, ..policy() };
    for who in [LEGAL, AUDITOR, RESTORER] {
        assert_eq!(refused(set_policy(&mut world, who, next.clone())), Refusal::Role, "{who}");
    }
    for version in [0, 1, 3, u32::MAX] {
        let other = Policy { version: PolicyVersion(version), ..next.clone() };
        assert_eq!(refused(set_policy(&mut world, ADMIN, other)), Refusal::VersionConflict, "{version}");
    }
    let keep = |keep| Policy { keep, ..next.clone() };
    // A promise is a lock: none is longer than the vault's longest, and none overflows.
    for rules in [
        KeepRules { daily: 61, ..KeepRules::default() },
        KeepRules { yearly: u32::MAX, ..KeepRules::default() },
        KeepRules { hourly: u32::MAX, ..KeepRules::default() },
    ] {
        assert_eq!(refused(set_policy(&mut world, ADMIN, keep(rules))), Refusal::LockOutOfRange, "{rules:?}");
    }
    let last = keep(KeepRules { last: 3, ..KeepRules::default() });
    assert!(matches!(refused(set_policy(&mut world, ADMIN, last)), Refusal::Invalid { .. }), "counted by what?");
    let old = {
        let session = world.open_session("acme", WRITER);
        let mut backup = Backup::new(&world, "acme", WRITER, session, "under way");
        backup.prepare(&mut world, &["a"]);
        backup
    };
    let envelope = old.envelope(&world);
    done(set_policy(&mut world, ADMIN, next));
    let mut old = old;
    assert_eq!(refused(old.commit_envelope(&mut world, &envelope)), Refusal::PolicyMismatch);
}

#[test]
fn n64_a_locked_vault_gets_stricter_and_nothing_else() {
    let mut world = World::single();
    let vault = world.tenant("acme").vault;
    let lock =
        |cooling_off_ms| LockOrder::LockVault { vault, cooling_off_ms, reason: "law".into(), approvals: Vec::new() };
    let withdraw = LockOrder::WithdrawVaultLock { vault, reason: "no".into() };
    for cooling_off_ms in [0, HOUR_MS - 1, 31 * DAY_MS, u64::MAX] {
        assert!(matches!(refused(ask(&mut world, ADMIN, lock(cooling_off_ms))), Refusal::Invalid { .. }));
    }
    assert_eq!(refused(ask(&mut world, LEGAL, lock(72 * HOUR_MS))), Refusal::Role);
    done(ask(&mut world, ADMIN, lock(72 * HOUR_MS)));
    assert_eq!(refused(ask(&mut world, ADMIN, lock(HOUR_MS))), Refusal::VaultLocked);
    world.pass(72 * HOUR_MS - 1);
    // Within its cooling-off it may be withdrawn, and the policy may still be looser.
    done(ask(&mut world, LEGAL, withdraw.clone()));
    assert_eq!(refused(ask(&mut world, ADMIN, withdraw.clone())), Refusal::NotFound);
    let version = |version, policy: Policy| Policy { version: PolicyVersion(version), ..policy };
    done(set_policy(&mut world, ADMIN, version(2, Policy { lock_min_ms: 0, ..policy() })));
    done(ask(&mut world, ADMIN, lock(72 * HOUR_MS)));
    world.pass(72 * HOUR_MS);
    assert!(policy_view(&world).lock.unwrap().in_force);
    for who in [ADMIN, LEGAL] {
        assert_eq!(refused(ask(&mut world, who, withdraw.clone())), Refusal::VaultLocked, "{who}");
    }
    let now = Policy { lock_min_ms: 0, ..policy() };
    let shorter = Some(LockTerms { mode: GOVERNANCE, length_ms: 29 * DAY_MS });
    for looser in [
        Policy { default_lock: None, ..now.clone() },
        Policy { default_lock: shorter, ..now.clone() },
        Policy { lock_max_ms: 59 * DAY_MS, ..now.clone() },
        Policy { keep: KeepRules { daily: 7, ..KeepRules::default() }, ..now.clone() },
    ] {
        assert_eq!(refused(set_policy(&mut world, ADMIN, version(3, looser))), Refusal::VaultLocked);
    }
    let stricter = Some(LockTerms { mode: COMPLIANCE, length_ms: 31 * DAY_MS });
    done(set_policy(&mut world, ADMIN, version(3, Policy { default_lock: stricter, lock_min_ms: DAY_MS, ..now })));
    // Not below the minimum of a locked vault either, by whatever way.
    let snapshot = {
        let session = world.open_session("acme", WRITER);
        let mut backup = Backup::new(&world, "acme", WRITER, session, "one");
        backup.prepare(&mut world, &["a"]);
        let mut envelope = backup.envelope(&world);
        envelope.policy_version = PolicyVersion(3);
        done(backup.commit_envelope(&mut world, &envelope));
        backup.snapshot
    };
    assert_eq!(view(&world, snapshot).lock.unwrap().terms.mode, COMPLIANCE);
}

#[test]
fn n62_n118_later_commits_take_back_nothing_that_a_rule_has_promised() {
    let mut world = World::single();
    let rules = Policy {
        version: PolicyVersion(2),
        default_lock: None,
        lock_min_ms: 0,
        lock_max_ms: 400 * DAY_MS,
        keep: KeepRules { last: 7, monthly: 12, ..KeepRules::default() },
        expected_every_ms: Some(DAY_MS),
        ..policy()
    };
    done(set_policy(&mut world, ADMIN, rules.clone()));
    let commit = |world: &mut World, name: &str| {
        let session = world.open_session("acme", WRITER);
        let mut backup = Backup::new(world, "acme", WRITER, session, name);
        backup.prepare(world, &["a"]);
        let mut envelope = backup.envelope(world);
        envelope.policy_version = PolicyVersion(2);
        done(backup.commit_envelope(world, &envelope));
        backup.snapshot
    };
    // Two a day: the second counts for nothing, and stays as long as what came before it.
    let mut commits = 0_usize;
    for day in 0..12 {
        for number in 0..2 {
            commit(&mut world, &format!("{day} {number}"));
            commits += 1;
        }
        let fates = preview(&world, &rules, 5);
        assert_eq!(fates.len(), commits);
        assert!(matches!(fates[0], Fate::Locked { until_unix_ms: Some(_) }), "the first of its month: {:?}", fates[0]);
        let counted = day + 1;
        for (place, fate) in fates.iter().enumerate().skip(1) {
            // In order: what is older than the seventh last day goes, all that came since stays.
            let goes = place / 2 + 7 < counted;
            assert_eq!(matches!(fate, Fate::Goes), goes, "{place} of day {day}: {fate:?}");
        }
        world.pass(DAY_MS);
    }
    // Ten more within the same day push nothing out.
    commit(&mut world, "a new day");
    let before = preview(&world, &rules, 0);
    for number in 0..10 {
        commit(&mut world, &format!("burst {number}"));
    }
    let after = preview(&world, &rules, 0);
    let goes = |fates: &[Fate]| -> Vec<bool> { fates.iter().map(|fate| *fate == Fate::Goes).collect() };
    assert_eq!(goes(&before), goes(&after)[..before.len()]);
    // What the policy promised stays when the policy is gone.
    let none = Policy { version: PolicyVersion(3), keep: KeepRules { hourly: 1, ..KeepRules::default() }, ..rules };
    done(set_policy(&mut world, ADMIN, none.clone()));
    assert!(matches!(preview(&world, &none, 0)[0], Fate::Locked { .. }));
}

#[test]
fn who_expects_a_snapshot_every_day_hears_when_none_came() {
    let mut world = World::single();
    let next = Policy { version: PolicyVersion(2), expected_every_ms: Some(DAY_MS), ..policy() };
    back_up(&mut world, "acme", WRITER, "one", &["a"]);
    done(set_policy(&mut world, ADMIN, next));
    assert_eq!(policy_view(&world).overdue, []);
    world.pass(DAY_MS);
    assert_eq!(policy_view(&world).overdue, []);
    world.pass(1);
    let overdue = policy_view(&world).overdue;
    assert_eq!(overdue.len(), 1);
    assert_eq!((overdue[0].writer.to_string().as_str(), overdue[0].newest_unix_ms), (WRITER, BEGAN_MS));
}

#[test]
fn a_preview_in_pages_of_any_size_says_the_same() {
    let mut world = World::single();
    for number in 0..5 {
        back_up(&mut world, "acme", WRITER, &format!("number {number}"), &["a"]);
        back_up(&mut world, "acme", crate::tenant::OTHER_WRITER, &format!("other {number}"), &["a"]);
        world.pass(7 * HOUR_MS);
    }
    for _ in 0..2 {
        world.pass(40 * DAY_MS);
    }
    let rules = Policy { keep: KeepRules { daily: 60, ..KeepRules::default() }, ..policy() };
    let whole = preview(&world, &rules, 0);
    assert_eq!(whole.len(), 10);
    assert!(whole.contains(&Fate::Newest) && whole.contains(&Fate::Goes), "{whole:?}");
    for limit in [1, 2, 3, 9, 10] {
        assert_eq!(preview(&world, &rules, limit), whole, "{limit} a page");
    }
}

#[test]
fn other_shards_take_over_what_keeps_a_snapshot_and_home_knows_who_is_behind() {
    let mut world = World::new();
    let snapshot = back_up(&mut world, "acme", WRITER, "one", &["a", "b", "c"]);
    let home = world.tenant("acme").home;
    let others: Vec<_> = world.tenant("acme").groups.iter().copied().filter(|group| *group != home).collect();
    assert_eq!(view(&world, snapshot).behind, []);
    done(ask(&mut world, LEGAL, extend(snapshot, COMPLIANCE, days(60))));
    done(ask(&mut world, LEGAL, add_hold(snapshot, "case-1")));
    assert_eq!(view(&world, snapshot).behind, others);
    assert_eq!(world.carry_locks(), others.len());
    assert_eq!(view(&world, snapshot).behind, []);
    assert_eq!(world.carry_locks(), 0);
    // Nobody but the home shard says so, and nothing older is taken.
    let keeping = Keeping { version: 9, terms: None, until_unix_ms: 0, left_ms: 0, holds: Vec::new() };
    let tenant = world.tenant("acme").id;
    let told = |home, group, keeping: &Keeping| {
        NodeCommand::KeepPart(claim(PartKeeping { home, group, tenant, snapshot, keeping: keeping.clone() }))
    };
    let part = others[0];
    for (from, to, group) in [(others[1], part, part), (home, others[1], part), (home, home, home)] {
        let refusal = refused(world.group(group).node(told(from, to, &keeping)));
        assert!(matches!(refusal, Refusal::WrongGroup | Refusal::Unattested), "{refusal:?}");
    }
    let said = PartKept { home, group: part, tenant, snapshot, version: 77 };
    assert!(matches!(refused(world.group(home).node(NodeCommand::PartKept(claim(said)))), Refusal::Invalid { .. }));
    // Whatever a node says, what is under compliance there stays; the law would find it.
    done(world.group(part).node(told(home, part, &keeping)));
}

#[test]
fn i4_a_part_never_takes_an_older_word_about_what_keeps_it() {
    let mut world = World::new();
    let snapshot = back_up(&mut world, "acme", WRITER, "one", &["a", "b", "c"]);
    let home = world.tenant("acme").home;
    let part = world.tenant("acme").groups.iter().copied().find(|group| *group != home).expect("there are three");
    let is_held = |world: &World, hold: &str| {
        let has = |value: &[u8]| value.windows(hold.len()).any(|window| window == hold.as_bytes());
        world.groups[&part].tables.rows().any(|(_, _, value)| has(value))
    };
    done(ask(&mut world, LEGAL, add_hold(snapshot, "case-1")));
    let Answer::Behind(older) = world.groups[&home].ask(&Query::Behind { after: None, limit: 100 }) else { panic!() };
    let older = older.into_iter().find(|told| told.group == part).expect("it is behind");
    world.carry_locks();
    assert!(is_held(&world, "case-1") && !is_held(&world, "case-2"));
    done(ask(&mut world, LEGAL, add_hold(snapshot, "case-2")));
    world.carry_locks();
    assert!(is_held(&world, "case-2"));
    // What was said before is said again: it was true once, and is signed.
    done(world.group(part).node(NodeCommand::KeepPart(claim(older))));
    assert!(is_held(&world, "case-1") && is_held(&world, "case-2"));
}

/// A tick for which all voters vouch, with wall clocks that were set back to the very beginning.
fn tick_with_walls_set_back(world: &mut World, elapsed_ms: u64) {
    let home = world.tenant("acme").home;
    let group = world.group(home);
    group.wait(elapsed_ms);
    let mut facts = group.facts();
    facts.iter_mut().for_each(|facts| facts.wall_unix_ms = BEGAN_MS);
    let reports = facts.into_iter().map(|facts| group.sign(facts)).collect();
    done(group.tick_with(reports));
}

#[test]
fn n69_a_lock_that_is_made_while_the_clock_stands_begins_behind_the_time_that_passed() {
    let mut world = World::single();
    world.pass(MINUTE_MS);
    tick_with_walls_set_back(&mut world, 10 * DAY_MS);
    let snapshot = back_up(&mut world, "acme", WRITER, "one", &["a"]);
    for _ in 0..2 {
        tick_with_walls_set_back(&mut world, MINUTE_MS);
    }
    assert!(view(&world, snapshot).lock.unwrap().begun);
    // They are right again, and the clock leaps over ten days, none of which was the lock's. It is 30 days long.
    world.pass(25 * DAY_MS);
    assert!(!view(&world, snapshot).lock.unwrap().over);
    world.pass(6 * DAY_MS);
    assert!(view(&world, snapshot).lock.unwrap().over);
}
