//! Locks of some seconds and of an hour, governance and compliance: made, shown, made longer and (in vain) shorter, held,
//! released; and everything that would end a snapshot, by every role. True time is the history's own.

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

use crate::client::Answer;
use crate::history::{Ending, Kind, Operation};
use crate::random::Random;
use crate::world::Actor;
use crate::{grower::Grower, tree, words};

/// Vaults with the lock that their policy gives.
pub const VAULTS: [(&str, &str, u64); 4] = [
    ("locks-short", "governance", 5),
    ("locks-strict", "compliance", 5),
    ("locks-hour", "governance", 3600),
    ("locks-sealed", "compliance", 3600),
];
/// The longest rest between two operations.
const REST_MS: usize = 700;
/// So many snapshots are worked on at a time; older ones are left to their fate.
const NEWEST: usize = 12;
/// A wish for a shorter lock waits so long: 72 hours.
const WEAKENING_WAITS_S: u64 = 72 * 3600;

/// A snapshot under a lock.
#[derive(Clone, Debug)]
struct Kept {
    snapshot: String,
    vault: usize,
}

/// Gives the vaults their policies; they are there, and nobody else works yet.
pub fn prepare(actor: &mut Actor<'_>) -> anyhow::Result<()> {
    for (vault, mode, seconds) in VAULTS {
        let (lock, vault) = (format!("{mode}:{seconds}s"), actor.world.vault(vault));
        let arguments =
            ["vault", "policy", "set", &vault, "--lock", &lock, "--min", "1s", "--max", "2h", "--reason", "jepsen"];
        let answer = actor.run("admin", &arguments)?;
        ensure!(matches!(answer, Answer::Done(_)), "cannot give {vault} its policy: {answer:?}");
    }
    Ok(())
}

/// Goes on until the world ends.
pub fn run(mut actor: Actor<'_>, seed: u64) -> anyhow::Result<()> {
    let name = format!("locks/{}", actor.tenant.tenant);
    let mut grower = Grower::new(&actor.scratch.join("source"), &actor.tenant.sealed, Random::named(seed, &name))?;
    let (mut all, mut count): (Vec<Kept>, u32) = (Vec::new(), 0);
    while !actor.world.ends() {
        actor.rest(REST_MS);
        let recent = all[all.len().saturating_sub(NEWEST)..].to_vec();
        match (actor.random.below(12), actor.random.one_of(&recent).cloned()) {
            (3.., Some(one)) => touch(&mut actor, &one, &all)?,
            _ => {
                count += 1;
                grower.plant()?;
                if let Some(kept) = keep(&mut actor, &grower, count)? {
                    // Once at least, before its lock may be over and somebody deletes it.
                    get(&mut actor, &kept.snapshot)?;
                    all.push(kept);
                }
            }
        }
    }
    Ok(())
}

/// Looks at everything that was ever kept, and is there or not.
pub fn look_back(actor: &mut Actor<'_>) -> anyhow::Result<()> {
    let tenant = Some(actor.tenant.tenant.as_str());
    let events = actor.world.recorder.events();
    let kept = events.iter().filter(|event| event.is(words::KEEP, Kind::Ok) && event.tenant.as_deref() == tenant);
    let kept: Vec<&str> = kept.filter_map(|event| event.answered("snapshot")).collect();
    for snapshot in kept {
        show(actor, snapshot, "admin")?;
        get(actor, snapshot)?;
    }
    Ok(())
}

fn keep(actor: &mut Actor<'_>, grower: &Grower, count: u32) -> anyhow::Result<Option<Kept>> {
    let at = actor.random.below(VAULTS.len());
    let (vault, mode, seconds) = VAULTS[at];
    let vault = actor.world.vault(vault);
    let label = format!("{}-kept-{count}", actor.tenant.open);
    let argument = json!({ "digest": tree::digest(grower.root())?, "mode": mode, "seconds": seconds });
    let operation = actor.operation(words::KEEP, &label, argument);
    let source = grower.root().to_str().context("the run's directory is not UTF-8")?;
    let answer = actor.ask(
        &operation,
        "writer",
        &["backup", source, "--vault", &vault, "--name", &label],
        |lines| json!({ "snapshot": lines.last().map_or(Value::Null, |done| done["snapshot"].clone()) }),
    )?;
    let Answer::Done(lines) = answer else { return Ok(None) };
    let snapshot = lines.last().and_then(|done| done["snapshot"].as_str()).unwrap_or_default().to_owned();
    Ok(Some(Kept { snapshot, vault: at }))
}

/// One of the things that can be done to a snapshot.
fn touch(actor: &mut Actor<'_>, one: &Kept, all: &[Kept]) -> anyhow::Result<()> {
    let id = one.snapshot.as_str();
    let (vault, mode, seconds) = VAULTS[one.vault];
    match actor.random.below(14) {
        0 | 1 => show(actor, id, "admin"),
        2 => show(actor, id, "restorer"),
        3 => get(actor, id),
        4 | 5 => {
            let wanted = if actor.random.below(3) == 0 { 1 } else { seconds + actor.random.below(20) as u64 };
            let strict = actor.random.below(4) == 0;
            let mode = if strict || mode == "compliance" { "compliance" } else { mode };
            let operation = actor.operation(words::EXTEND, id, json!({ "mode": mode, "seconds": wanted }));
            let length = format!("{wanted}s");
            let mut words = vec!["lock", "extend", id, "--length", &length, "--reason", "jepsen"];
            words.extend((mode == "compliance").then_some("--compliance"));
            let role = ["admin", "legal"][actor.random.below(2)];
            ordered(actor, &operation, role, &words)
        }
        6 => {
            let argument = json!({ "seconds": 1, "wait_seconds": WEAKENING_WAITS_S });
            let operation = actor.operation(words::WEAKEN, id, argument);
            ordered(actor, &operation, "admin", &["lock", "weaken", id, "--length", "1s", "--reason", "jepsen"])
        }
        7 => {
            let operation = actor.operation(words::CANCEL, id, Value::Null);
            ordered(actor, &operation, "legal", &["lock", "cancel", id, "--reason", "jepsen"])
        }
        8 | 9 => {
            let hold = format!("case-{}", actor.random.below(2));
            let (f, verb) = [(words::HOLD, "add"), (words::RELEASE, "remove")][actor.random.below(2)];
            let operation = actor.operation(f, id, json!({ "hold": hold }));
            // Not only by those who may.
            let role = ["legal", "legal", "legal", "admin"][actor.random.below(4)];
            ordered(actor, &operation, role, &["hold", verb, id, &hold, "--reason", "jepsen"])
        }
        10 => {
            let snapshots: Vec<&str> =
                all.iter().filter(|other| other.vault == one.vault).map(|other| other.snapshot.as_str()).collect();
            let operation = actor.operation(words::DESTROY, "vault-delete", json!({ "snapshots": snapshots }));
            let vault = actor.world.vault(vault);
            ordered(actor, &operation, "admin", &["vault", "delete", &vault, "--reason", "jepsen"])
        }
        _ => {
            let operation = actor.operation(words::DELETE, id, Value::Null);
            let role = ["admin", "admin", "admin", "writer", "restorer", "legal"][actor.random.below(6)];
            ordered(actor, &operation, role, &["delete", id, "--reason", "jepsen"])
        }
    }
}

/// An order; what its deadline cut short stands all the same, and is unknown.
fn ordered(actor: &mut Actor<'_>, operation: &Operation, role: &str, words: &[&str]) -> anyhow::Result<()> {
    actor.ask(operation, role, words, |lines| match lines.last() {
        Some(last) if last.get("lock").is_some() => json!({ "lock": last["lock"] }),
        _ => Value::Null,
    })?;
    Ok(())
}

fn show(actor: &mut Actor<'_>, snapshot: &str, role: &str) -> anyhow::Result<()> {
    let operation = actor.operation(words::SHOW, snapshot, Value::Null);
    actor.world.recorder.begin(&operation);
    let ending = match actor.run(role, &["lock", "show", snapshot])? {
        Answer::Done(lines) => {
            Ending::ok(json!({ "lock": lines.last().map_or(Value::Null, |last| last["lock"].clone()) }))
        }
        other => gone_or_unknown(other),
    };
    actor.end(&operation, ending);
    Ok(())
}

fn get(actor: &mut Actor<'_>, snapshot: &str) -> anyhow::Result<()> {
    let operation = actor.operation(words::GET, snapshot, Value::Null);
    actor.world.recorder.begin(&operation);
    let ending = match actor.restored(snapshot)? {
        Ok(digest) => Ending::ok(json!({ "digest": digest })),
        Err(Answer::Damage(what)) => Ending::ok(json!({ "digest": format!("damage: {what}") })),
        Err(other) => gone_or_unknown(other),
    };
    actor.end(&operation, ending);
    Ok(())
}

/// That there is no such snapshot is an answer; whatever else was said is none.
fn gone_or_unknown(answer: Answer) -> Ending {
    match answer {
        Answer::Refused(why) if why.starts_with("NOT_FOUND") => Ending::fail(why),
        Answer::Refused(why) | Answer::Unknown(why) | Answer::Damage(why) => Ending::info(why),
        Answer::Done(_) => Ending::info("it was done and said nothing"),
    }
}
