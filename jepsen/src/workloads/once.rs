//! Making vaults, each name tried again while nobody knows: at most one vault has it in the end.

use serde_json::{Map, Value, json};

use crate::client::Answer;
use crate::words;
use crate::world::Actor;

/// The longest rest between two vaults.
const REST_MS: usize = 12_000;
/// So often one name is tried.
const ATTEMPTS: u32 = 5;

/// Goes on until the world ends.
pub fn run(mut actor: Actor<'_>) -> anyhow::Result<()> {
    for number in 1_u32.. {
        actor.rest(REST_MS);
        if actor.world.ends() {
            break;
        }
        if actor.random.below(3) == 0 {
            list(&mut actor, false)?;
        }
        let name = format!("{}-{number}", actor.tenant.open);
        for _ in 0..ATTEMPTS {
            let operation = actor.operation(words::VAULT, &name, Value::Null);
            let answer = actor.ask(&operation, "admin", &["vault", "create", &name], |_| Value::Null)?;
            if !matches!(answer, Answer::Unknown(_)) || actor.world.ends() {
                break;
            }
        }
    }
    Ok(())
}

/// Lists all vaults: names with how often they are there.
pub fn list(actor: &mut Actor<'_>, is_final: bool) -> anyhow::Result<()> {
    let operation = actor.operation(words::VAULTS, "all", json!({ "final": is_final }));
    actor.ask(&operation, "admin", &["vault", "list"], |lines| {
        let mut names: Map<String, Value> = Map::new();
        for vault in lines.iter().filter(|line| line["type"] == "vault") {
            let name = vault["name"].as_str().unwrap_or_default().to_owned();
            let count = names.get(&name).and_then(Value::as_u64).unwrap_or(0);
            names.insert(name, json!(count + 1));
        }
        json!({ "names": names })
    })?;
    Ok(())
}
