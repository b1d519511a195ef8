//! A second opinion on registers: another's checker (`todc-utils`, the algorithm of Wing and Gong with Lowe's memory, which
//! shares no line with `linear.rs`) reads our EDN and must come to the same verdict: on every doctored history of registers,
//! and on thousands of small ones that chance makes.

use std::collections::{BTreeMap, HashMap};

use serde_json::{Value, json};
use todc_utils::linearizability::WGLChecker;
use todc_utils::linearizability::history::{Action, History};
use todc_utils::specifications::Specification;

use crate::exports::{edn, tests::reader};
use crate::history::{Event, Kind, Process, made_up};
use crate::judges::{doctored, i1_register};
use crate::random::Random;
use crate::verdict::Word;
use crate::words::{CAS, READ, WRITE};

/// What a call did, as its end says; a call's own entry says nothing that is looked at.
#[derive(Clone, Debug)]
enum Did {
    Read(Value),
    Write(Value),
    Cas(Value, Value),
}

/// A call: what it did, the version that was answered, whether anybody knows that it was done.
#[derive(Clone, Debug)]
struct Call {
    did: Did,
    version: Option<u64>,
    known: bool,
}

/// A register: its value, and its version as far as it is known.
struct Register;

impl Specification for Register {
    type State = (Value, Option<u64>);
    type Operation = Call;

    fn init() -> Self::State {
        (Value::Null, None)
    }

    fn apply(call: &Call, state: &Self::State) -> (bool, Self::State) {
        let counted = match call.did {
            Did::Read(_) => state.1,
            Did::Write(_) | Did::Cas(..) => state.1.map(|version| version + 1),
        };
        let fits = call.version.is_none() || counted.is_none() || call.version == counted;
        let version = call.version.or(counted);
        match &call.did {
            Did::Read(value) => (fits && *value == state.0, (state.0.clone(), version)),
            Did::Write(value) => (fits, (value.clone(), version)),
            Did::Cas(from, value) if *from == state.0 => (fits, (value.clone(), version)),
            // What nobody knows of was refused then, or never came.
            Did::Cas(..) => (!call.known, state.clone()),
        }
    }
}

/// Whether every register of an EDN history is linearizable.
fn is_linearizable(edn: &str) -> bool {
    let events: Vec<Value> = edn.lines().map(|line| reader(&mut { line })).collect();
    let mut registers: BTreeMap<String, Vec<&Value>> = BTreeMap::new();
    for event in events.iter().filter(|event| [":read", ":write", ":cas"].iter().any(|f| event[":f"] == *f)) {
        registers.entry(event[":value"][0].to_string()).or_default().push(event);
    }
    registers.values().all(|events| {
        let counts = events.iter().filter(|event| event[":type"] == ":ok").all(|event| !event[":version"].is_null());
        let mut open: HashMap<u64, usize> = HashMap::new();
        let mut calls: Vec<Option<Call>> = Vec::new();
        // Beginnings and ends, by call.
        let mut order: Vec<(usize, bool)> = Vec::new();
        for event in events {
            let process = event[":process"].as_u64().unwrap();
            if event[":type"] == ":invoke" {
                open.insert(process, calls.len());
                order.push((calls.len(), false));
                calls.push(call(event, None, false));
                continue;
            }
            let at = open.remove(&process).unwrap();
            match event[":type"].as_str().unwrap() {
                ":ok" => {
                    calls[at] = call(event, event[":version"].as_u64().filter(|_| counts), true);
                    order.push((at, true));
                }
                ":fail" => calls[at] = None,
                _ => {}
            }
        }
        // A read that nobody answered says nothing; what else nobody knows of may take effect until the very end.
        for (at, call) in calls.iter_mut().enumerate() {
            let is_open = !order.contains(&(at, true));
            match call {
                Some(Call { did: Did::Read(_), .. }) if is_open => *call = None,
                Some(_) if is_open => order.push((at, true)),
                Some(_) | None => {}
            }
        }
        let action = |(at, is_end): (usize, bool)| {
            let call = calls[at].clone()?;
            Some((at, if is_end { Action::Response(call) } else { Action::Call(call) }))
        };
        let actions: Vec<(usize, Action<Call>)> = order.into_iter().filter_map(action).collect();
        actions.is_empty() || WGLChecker::<Register>::is_linearizable(History::from_actions(actions))
    })
}

fn call(event: &Value, version: Option<u64>, known: bool) -> Option<Call> {
    let value = event[":value"][1].clone();
    let did = match event[":f"].as_str().unwrap() {
        ":read" => Did::Read(value),
        ":write" => Did::Write(value),
        _ => Did::Cas(value[0].clone(), value[1].clone()),
    };
    Some(Call { did, version, known })
}

#[test]
fn another_checker_says_the_same_of_every_doctored_history_of_registers() {
    let doctored = doctored::of("i1_register");
    let mut judged = [0, 0];
    for one in doctored.iter().filter(|one| one.says != Word::Unknown) {
        let passes = one.says == Word::Pass;
        assert_eq!(is_linearizable(&edn(&one.events)), passes, "{}", one.name);
        judged[usize::from(passes)] += 1;
    }
    assert!(judged.iter().all(|count| 5 <= *count), "{judged:?}");
}

/// Some clients on one register; what is read and who wins is chosen without a register.
fn chance(random: &mut Random) -> Vec<Event> {
    let clients = 2 + random.below(3);
    let mut open: Vec<Option<Event>> = vec![None; clients];
    let mut events = Vec::new();
    let mut retired = clients as u64;
    let mut numbers: Vec<u64> = (0..clients as u64).collect();
    while events.len() < 14 {
        let at = random.below(clients);
        let process = Process::Client(numbers[at]);
        match open[at].take() {
            None => {
                let value = || Value::Null;
                let mut one = || json!(random.below(3));
                let (f, argument) = match one().as_u64() {
                    Some(0) => (WRITE, json!({ "value": one() })),
                    Some(1) => (CAS, json!({ "from": one(), "value": one() })),
                    _ => (READ, Value::Null),
                };
                let event = Event { process, ..made_up::event(Kind::Invoke, f, "r", argument, value()) };
                open[at] = Some(event.clone());
                events.push(event);
            }
            Some(begun) => {
                let kind = [Kind::Ok, Kind::Ok, Kind::Ok, Kind::Ok, Kind::Info, Kind::Fail][random.below(6)];
                let is_read = begun.f == READ && kind == Kind::Ok;
                let value = if is_read { json!({ "value": random.below(3) }) } else { Value::Null };
                if kind == Kind::Info {
                    numbers[at] = retired;
                    retired += 1;
                }
                events.push(Event { kind, value, ..begun });
            }
        }
    }
    made_up::history(events)
}

#[test]
fn another_checker_says_the_same_of_what_chance_makes() {
    let mut judged = [0, 0];
    for seed in 0..20_000 {
        let events = chance(&mut Random::named(seed, "second opinion"));
        let verdict = i1_register::judge(&events);
        let passes = match verdict.word() {
            Word::Pass => true,
            Word::Fail => false,
            // Nothing was written, or nothing read.
            Word::Unknown => continue,
        };
        assert_eq!(is_linearizable(&edn(&events)), passes, "seed {seed}: {verdict:?}\n{}", edn(&events));
        judged[usize::from(passes)] += 1;
    }
    assert!(judged.iter().all(|count| 1000 <= *count), "{judged:?}");
}
