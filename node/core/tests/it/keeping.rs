//! I4 against a model: whatever is asked by whom in whatever order, locks only grow and holds dominate.
//!
//! The model is a lattice: mode and date of a lock, and a set of holds. What the rules show must never lie below it, save
//! at the end of a wish to weaken a governance lock. The laws run after every entry, in every shard.

use std::collections::BTreeSet;

use proptest::prelude::*;
use strongroom_core::query::{Answer, Query};
use strongroom_core::shard::WEAKEN_AFTER_MS;
use strongroom_format::command::Body;
use strongroom_format::id::SnapshotId;
use strongroom_format::lock::{LockMode, Longer};
use strongroom_format::lock_order::LockOrder;
use strongroom_format::outcome::Outcome;
use strongroom_format::policy_view::LockView;

use crate::backup::back_up;
use crate::group::{BEGAN_MS, HOUR_MS, cases};
use crate::tenant::{ADMIN, AUDITOR, LEGAL, RESTORER, WRITER};
use crate::world::World;

const WHO: [&str; 5] = [ADMIN, LEGAL, AUDITOR, RESTORER, WRITER];
const DAY_MS: u64 = 24 * HOUR_MS;

#[derive(Clone, Debug)]
enum Step {
    Extend { who: usize, compliance: bool, days: u64, date: bool },
    Weaken { who: usize, days: u64 },
    Cancel { who: usize },
    Hold { who: usize, name: u8 },
    Release { who: usize, name: u8 },
    Carry,
    Pass { hours: u64 },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let who = || 0..WHO.len();
    let step = prop_oneof![
        4 => (who(), any::<bool>(), 0..70_u64, any::<bool>())
            .prop_map(|(who, compliance, days, date)| Step::Extend { who, compliance: compliance && days % 3 == 0, days, date }),
        3 => (who(), 0..30_u64).prop_map(|(who, days)| Step::Weaken { who, days }),
        1 => who().prop_map(|who| Step::Cancel { who }),
        2 => (who(), 0..3_u8).prop_map(|(who, name)| Step::Hold { who, name }),
        2 => (who(), 0..3_u8).prop_map(|(who, name)| Step::Release { who, name }),
        2 => Just(Step::Carry),
        3 => (0..100_u64).prop_map(|hours| Step::Pass { hours }),
    ];
    proptest::collection::vec(step, 1..40)
}

fn ask(world: &mut World, who: usize, order: LockOrder) -> bool {
    let mut session = world.open_session("acme", WHO[who]);
    matches!(world.submit("acme", WHO[who], &mut session, Body::Lock(order)), Outcome::Done(_))
}

fn view(world: &World, snapshot: SnapshotId) -> LockView {
    let tenant = world.tenant("acme");
    match world.groups[&tenant.home].ask(&Query::Lock { tenant: tenant.id, snapshot, by: None }) {
        Answer::Lock(view) => view,
        other => panic!("{other:?}"),
    }
}

proptest! {
    #![proptest_config(cases(24))]

    #[test]
    fn i4_locks_only_grow_and_holds_dominate(steps in steps()) {
        let mut world = World::new();
        let snapshot = back_up(&mut world, "acme", WRITER, "one", &["a", "b", "c"]);
        let (mut holds, mut wished) = (BTreeSet::<String>::new(), None);
        let mut now_ms = BEGAN_MS;
        for step in steps {
            let before = view(&world, snapshot);
            let reason = String::from("test");
            match step {
                Step::Extend { who, compliance, days, date } => {
                    let mode = if compliance { LockMode::Compliance } else { LockMode::Governance };
                    let length_ms = days * DAY_MS;
                    let longer = if date {
                        Longer::Until { date_unix_ms: now_ms + length_ms }
                    } else {
                        Longer::Length { length_ms }
                    };
                    let done = ask(&mut world, who, LockOrder::ExtendLock { snapshot, mode, longer, reason });
                    prop_assert!(!done || who < 2, "{} extended", WHO[who]);
                    if done && view(&world, snapshot) != before {
                        wished = None;
                    }
                }
                Step::Weaken { who, days } => {
                    let order = LockOrder::WeakenLock { snapshot, length_ms: days * DAY_MS, reason, approvals: Vec::new() };
                    if ask(&mut world, who, order) {
                        prop_assert_eq!(who, 0, "only an admin asks");
                        prop_assert_eq!(before.lock.clone().unwrap().terms.mode, LockMode::Governance);
                        wished = Some(now_ms + WEAKEN_AFTER_MS);
                    }
                }
                Step::Cancel { who } => {
                    if ask(&mut world, who, LockOrder::CancelWeakening { snapshot, reason }) {
                        prop_assert!(who < 2 && wished.take().is_some());
                    }
                }
                Step::Hold { who, name } => {
                    let hold = format!("case-{name}");
                    let order = LockOrder::AddHold { snapshot, hold: hold.parse().unwrap(), reason };
                    let done = ask(&mut world, who, order);
                    prop_assert_eq!(done, who == 1);
                    if done {
                        holds.insert(hold);
                    }
                }
                Step::Release { who, name } => {
                    let hold = format!("case-{name}");
                    let order =
                        LockOrder::RemoveHold { snapshot, hold: hold.parse().unwrap(), reason, approvals: Vec::new() };
                    let done = ask(&mut world, who, order);
                    prop_assert_eq!(done, who == 1 && holds.contains(&hold));
                    if done {
                        holds.remove(&hold);
                    }
                }
                Step::Carry => drop(world.carry_locks()),
                Step::Pass { hours } => {
                    world.pass(hours * HOUR_MS);
                    now_ms += hours * HOUR_MS;
                }
            }
            let after = view(&world, snapshot);
            let shown: BTreeSet<String> = after.holds.iter().map(|hold| hold.name.to_string()).collect();
            prop_assert_eq!(&shown, &holds);
            let due = wished.is_some_and(|due| due <= now_ms);
            if let Some(was) = before.lock.filter(|was| !was.over) {
                let grew = after.lock.as_ref().is_some_and(|is| {
                    was.terms.mode <= is.terms.mode
                        && was.terms.length_ms <= is.terms.length_ms
                        && was.until_unix_ms <= is.until_unix_ms
                });
                prop_assert!(grew || due, "{was:?} became {:?}", after.lock);
            }
            if due {
                wished = None;
            }
        }
        // Once all have been told, every shard is under what home is under, or more.
        for _ in 0..3 {
            world.carry_locks();
        }
        prop_assert_eq!(view(&world, snapshot).behind, []);
    }
}
