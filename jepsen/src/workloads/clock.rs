//! The compliance clock of every shard, read every few seconds, in calm times too.

use serde_json::{Value, json};

use crate::words;
use crate::world::Actor;

/// The longest rest between two looks.
const REST_MS: usize = 2500;

/// Goes on until the world ends.
pub fn run(mut actor: Actor<'_>) -> anyhow::Result<()> {
    while !actor.world.ends() {
        look(&mut actor)?;
        actor.rest(REST_MS);
    }
    Ok(())
}

/// One look.
pub fn look(actor: &mut Actor<'_>) -> anyhow::Result<()> {
    let operation = actor.operation(words::CLOCK, &actor.tenant.tenant, Value::Null);
    actor.ask(
        &operation,
        "admin",
        &["clock"],
        |lines| json!({ "shards": lines.last().map_or(Value::Null, |clock| clock["shards"].clone()) }),
    )?;
    Ok(())
}
