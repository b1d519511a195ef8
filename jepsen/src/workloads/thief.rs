//! Asking, with good credentials of one tenant, for snapshots of the other, whose ids were stolen; and for ids that
//! nobody has. Both must be refused, and in the same words.

use serde_json::Value;

use crate::words;
use crate::world::Actor;

/// The longest rest between two attempts.
const REST_MS: usize = 4000;

/// Goes on until the world ends.
pub fn run(mut actor: Actor<'_>) -> anyhow::Result<()> {
    while !actor.world.ends() {
        actor.rest(REST_MS);
        attempt(&mut actor)?;
    }
    Ok(())
}

/// One foreign and one absent id; nothing, as long as there is nothing to steal.
pub fn attempt(actor: &mut Actor<'_>) -> anyhow::Result<()> {
    let own = &actor.tenant.tenant;
    let foreign: Vec<String> =
        actor.world.acknowledged().into_iter().filter(|one| one.tenant != *own).map(|one| one.snapshot).collect();
    let Some(stolen) = actor.random.one_of(&foreign).cloned() else { return Ok(()) };
    let absent = actor.random.hex(32);
    for (f, id) in [(words::STEAL, stolen), (words::ABSENT, absent)] {
        let to = actor.scratch.join("stolen").to_string_lossy().into_owned();
        let command: &[&str] = match actor.random.below(3) {
            0 => &["ls", &id],
            1 => &["verify", &id],
            _ => &["restore", &id, "--to", &to],
        };
        let operation = actor.operation(f, &id, Value::Null);
        actor.ask(&operation, "restorer", command, |lines| lines.last().cloned().unwrap_or_default())?;
    }
    Ok(())
}
