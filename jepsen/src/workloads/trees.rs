//! Backing up a tree that changes, under a new label each time; restoring what was acknowledged; listing.

use serde_json::{Map, Value, json};

use crate::client::Answer;
use crate::grower::Grower;
use crate::random::Random;
use crate::words;
use crate::world::{Acknowledged, Actor, VAULT};

/// The longest rest between two operations.
const REST_MS: usize = 1200;

/// Goes on until the world ends.
pub fn run(mut actor: Actor<'_>, number: u32, seed: u64) -> anyhow::Result<()> {
    let name = format!("tree/{}/{number}", actor.tenant.tenant);
    let source = actor.scratch.join("source");
    let mut grower = Grower::new(&source, &actor.tenant.sealed, Random::named(seed, &name))?;
    let mut count = 0;
    while !actor.world.ends() {
        let choice = actor.random.below(20);
        let known = actor.world.acknowledged_of(&actor.tenant.tenant);
        match (choice, actor.random.one_of(&known)) {
            (15..=17, Some(one)) => {
                actor.restore(one, false)?;
            }
            (18, Some(one)) => show(&mut actor, &one.snapshot)?,
            (19, Some(_)) => _ = list(&mut actor, false)?,
            _ => {
                count += 1;
                grower.step()?;
                let label = format!("{}-{number}-{count}", actor.tenant.open);
                actor.back_up(grower.root(), &label)?;
            }
        }
        actor.rest(REST_MS);
    }
    Ok(())
}

/// Lists all snapshots: labels with the ids that have them, in the history; the same as a list.
pub fn list(actor: &mut Actor<'_>, is_final: bool) -> anyhow::Result<Vec<Acknowledged>> {
    let operation = actor.operation(words::LIST, VAULT, json!({ "final": is_final }));
    let vault = actor.world.vault(VAULT);
    let answer = actor.ask(&operation, "restorer", &["snapshots", "--vault", &vault], |lines| {
        let mut labels = Map::new();
        for snapshot in lines.iter().filter(|line| line["type"] == "snapshot") {
            let label = snapshot["name"].as_str().unwrap_or_default().to_owned();
            let ids = labels.entry(label).or_insert_with(|| json!([]));
            ids.as_array_mut().expect("it was made as a list").push(snapshot["id"].clone());
        }
        json!({ "labels": Value::Object(labels) })
    })?;
    let lines = if let Answer::Done(lines) = answer { lines } else { Vec::new() };
    Ok(lines.iter().filter_map(|line| Acknowledged::of(&actor.tenant.tenant, line)).collect())
}

/// Shows the names in a snapshot: they carry the sealed canary, and belong into the tenant's own transcript.
pub fn show(actor: &mut Actor<'_>, snapshot: &str) -> anyhow::Result<()> {
    let operation = actor.operation(words::LS, snapshot, Value::Null);
    actor.ask(
        &operation,
        "restorer",
        &["ls", snapshot],
        |lines| json!({ "entries": lines.len().saturating_sub(1) }),
    )?;
    Ok(())
}
