//! What is linearizable and what is not, against the definition, and how fast that is told.

use std::time::Instant;

use super::*;
use crate::random::Random;

fn op(began: u64, ended: impl Into<Option<u64>>, action: Action) -> Op {
    Op { began, ended: ended.into(), action, version: None }
}

fn fits(ops: &[Op]) -> bool {
    matches!(search(ops), Found::Linearizable(_))
}

use Action::{Cas, Read, Write};

#[test]
fn reads_see_what_was_written_last_or_what_is_being_written() {
    assert!(fits(&[op(0, 1, Read(NOTHING)), op(2, 3, Write(1)), op(4, 5, Read(1))]));
    assert!(!fits(&[op(0, 1, Write(1)), op(2, 3, Read(NOTHING))]));
    let during = |value| fits(&[op(0, 1, Write(1)), op(2, 9, Write(2)), op(3, 4, Read(value)), op(5, 6, Read(value))]);
    assert!(during(1) && during(2) && !during(3));
    let flips = [op(0, 1, Write(1)), op(2, 9, Write(2)), op(3, 4, Read(2)), op(5, 6, Read(1))];
    assert_eq!(search(&flips), Found::Stuck(3, vec![(2, None)]));
}

#[test]
fn a_swap_needs_its_value_and_happens_once() {
    assert!(fits(&[op(0, 1, Write(1)), op(2, 3, Cas(1, 2)), op(4, 5, Read(2))]));
    assert!(!fits(&[op(0, 1, Write(1)), op(2, 3, Cas(2, 3))]));
    assert!(!fits(&[op(0, 1, Write(1)), op(2, 6, Cas(1, 2)), op(3, 7, Cas(1, 3))]), "both cannot win");
    assert!(fits(&[op(0, 1, Write(1)), op(2, 6, Cas(1, 2)), op(3, 7, Cas(2, 3)), op(8, 9, Read(3))]));
}

#[test]
fn what_nobody_knows_may_happen_late_or_never_but_not_twice() {
    let unknown = op(0, None, Write(1));
    assert!(fits(&[unknown, op(2, 3, Read(NOTHING)), op(4, 5, Read(1))]));
    assert!(fits(&[unknown, op(2, 3, Read(NOTHING)), op(4, 5, Read(NOTHING))]));
    let twice = [unknown, op(2, 3, Read(1)), op(4, 5, Write(2)), op(6, 7, Read(2)), op(8, 9, Read(1))];
    assert!(!fits(&twice));
    assert!(!fits(&[op(4, None, Write(1)), op(2, 3, Read(1))]), "it had not begun");
}

#[test]
fn versions_count_writes_also_those_that_nobody_saw() {
    let with = |version, op: Op| Op { version: Some(version), ..op };
    let gap = [with(5, op(0, 1, Write(1))), with(7, op(4, 5, Write(2)))];
    assert!(!fits(&gap));
    assert!(fits(&[gap[0], op(2, None, Write(9)), gap[1]]));
    assert!(!fits(&[gap[0], gap[1], op(6, None, Write(9))]), "it began too late");
    assert!(!fits(&[gap[0], op(2, None, Write(9)), gap[1], with(6, op(6, 7, Read(2)))]));
    let behind = [with(1, op(0, 1, Write(1))), with(2, op(2, 9, Write(2))), with(2, op(3, 4, Read(1)))];
    assert!(!fits(&behind), "version 2 has another value");
}

/// What one register's clients see that take effect at a moment between their beginning and their end.
fn made_up(random: &mut Random, count: u64, clients: u64, unknown: usize) -> Vec<Op> {
    let mut free = vec![0_u64; usize::try_from(clients).unwrap()];
    let mut moments = Vec::new();
    for number in 1..=count {
        let client = random.below(free.len());
        let began = free[client] + random.below(20) as u64;
        let effect = began + 1 + random.below(40) as u64;
        let ended = effect + 1 + random.below(40) as u64;
        free[client] = ended + 1;
        moments.push((effect, began, ended, number));
    }
    moments.sort_unstable();
    let mut value = NOTHING;
    let mut ops = Vec::new();
    for (_, began, ended, number) in moments {
        // Moments are made different: which client it was does not matter any more.
        let (began, ended) = (began * count * 2 + number * 2, ended * count * 2 + number * 2 + 1);
        let written = u32::try_from(number).unwrap();
        let is_unknown = 0 < unknown && random.below(unknown) == 0;
        let ended = (!is_unknown).then_some(ended);
        match random.below(4) {
            0 => {
                let happens = ended.is_some() || random.below(2) == 0;
                ops.push(op(began, ended, Write(written)));
                value = if happens { written } else { value };
            }
            1 => {
                ops.push(op(began, ended, Cas(value, written)));
                value = written;
            }
            _ if ended.is_some() => ops.push(op(began, ended, Read(value))),
            _ => {}
        }
    }
    ops
}

/// All orders, as the definition says.
fn by_definition(ops: &[Op], done: u32, value: u32) -> bool {
    let left = |at: &usize| done & (1 << at) == 0;
    if (0..ops.len()).filter(left).all(|at| ops[at].ended.is_none()) {
        return true;
    }
    let first_end = (0..ops.len()).filter(left).filter_map(|at| ops[at].ended).min().unwrap_or(u64::MAX);
    (0..ops.len()).filter(left).filter(|at| ops[*at].began < first_end).any(|at| {
        let after = match ops[at].action {
            Read(seen) => (seen == value).then_some(value),
            Write(new) => Some(new),
            Cas(from, new) => (from == value).then_some(new),
        };
        after.is_some_and(|after| by_definition(ops, done | 1 << at, after))
    })
}

#[test]
fn it_agrees_with_the_definition_on_small_histories_right_and_wrong() {
    let mut random = Random::named(6, "linear");
    let mut wrong = 0;
    for round in 0..4000 {
        let mut ops = made_up(&mut random, 9, 4, 5);
        if round % 4 != 0 && !ops.is_empty() {
            let at = random.below(ops.len());
            let other = u32::try_from(random.below(9)).unwrap();
            ops[at].action = match ops[at].action {
                Read(_) => Read(other),
                Write(_) => Write(other),
                Cas(_, new) => Cas(other, new),
            };
        }
        let right = by_definition(&ops, 0, NOTHING);
        assert_eq!(fits(&ops), right, "{ops:?}");
        assert_eq!(matches!(run(&ops, false, usize::MAX), Found::Linearizable(_)), right, "{ops:?}");
        wrong += usize::from(!right);
    }
    assert!((200..3800).contains(&wrong), "{wrong}");
}

#[test]
#[ignore = "takes long without optimisation; prints how long: cargo test --release … -- --ignored --nocapture"]
fn a_million_calls_take_less_than_two_minutes_on_one_core() {
    for (registers, calls, clients, unknown) in
        [(1000, 1000, 10, 50), (1, 1_000_000, 10, 0), (1, 1_000_000, 10, 1000), (10, 100_000, 30, 500)]
    {
        let mut random = Random::named(7, "million");
        let histories: Vec<_> = (0..registers).map(|_| made_up(&mut random, calls, clients, unknown)).collect();
        let count: usize = histories.iter().map(Vec::len).sum();
        let began = Instant::now();
        let found: Vec<Found> = histories.iter().map(|ops| search(ops)).collect();
        let seconds = began.elapsed().as_secs_f64();
        println!(
            "{count} calls, {registers} registers, {clients} clients each, one in {unknown} unknown: {seconds:.2} s"
        );
        assert!(found.iter().all(|found| matches!(found, Found::Linearizable(_))), "{found:?}");
        assert!(seconds < 120.0);
    }
}
