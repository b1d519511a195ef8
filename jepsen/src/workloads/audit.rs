//! The tenant's audit log, from its beginning: before all, now and then, and after all.

use serde_json::{Value, json};

use crate::words;
use crate::world::Actor;

/// The longest rest between two listings.
const REST_MS: usize = 20_000;

/// Goes on until the world ends.
pub fn run(mut actor: Actor<'_>) -> anyhow::Result<()> {
    loop {
        actor.rest(REST_MS);
        if actor.world.ends() {
            return Ok(());
        }
        list(&mut actor, "middle")?;
    }
}

/// Lists it.
pub fn list(actor: &mut Actor<'_>, phase: &str) -> anyhow::Result<()> {
    let operation = actor.operation(words::AUDIT, "all", json!({ "phase": phase }));
    actor.ask(&operation, "auditor", &["audit", "list"], |lines| {
        let leaves: Vec<&Value> = lines.iter().filter(|line| line["type"] == "leaf").collect();
        json!({ "leaves": leaves })
    })?;
    Ok(())
}
