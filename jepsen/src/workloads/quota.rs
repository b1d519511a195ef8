//! A vault that is nearly full: several clients back up at its limit, some of them killed, while an administrator moves the
//! limit and looks at what is charged.

use serde_json::{Value, json};

use crate::grower::Grower;
use crate::random::Random;
use crate::words;
use crate::world::Actor;

/// The vault.
pub const VAULT: &str = "quota";
/// The longest rest between two operations.
const REST_MS: usize = 900;
/// The first limit, and what each further one adds at most.
const SNAPSHOTS: usize = 3;
/// One in so many turns of the first client moves the limit or looks.
const TURNS: usize = 5;

/// Goes on until the world ends; the first client also moves the limit, and deletes.
pub fn run(mut actor: Actor<'_>, number: usize, seed: u64) -> anyhow::Result<()> {
    let name = format!("quota/{}/{number}", actor.tenant.tenant);
    let mut grower = Grower::new(&actor.scratch.join("source"), &actor.tenant.sealed, Random::named(seed, &name))?;
    let mut own: Vec<String> = Vec::new();
    let mut limit = SNAPSHOTS;
    let vault = actor.world.vault(VAULT);
    for count in 1_u32.. {
        actor.rest(REST_MS);
        if actor.world.ends() {
            break;
        }
        if number == 0 && actor.random.below(TURNS) == 0 {
            limit += actor.random.below(3);
            set(&mut actor, limit)?;
            usage(&mut actor, false)?;
            continue;
        }
        if 1 < own.len() && actor.random.below(TURNS) == 0 {
            let gone = own.swap_remove(actor.random.below(own.len()));
            actor.delete(&gone)?;
            continue;
        }
        grower.plant()?;
        let label = format!("{}-charged-{number}-{count}", actor.tenant.open);
        own.extend(actor.charge(grower.root(), &vault, &label, None)?);
    }
    Ok(())
}

fn set(actor: &mut Actor<'_>, snapshots: usize) -> anyhow::Result<()> {
    let vault = actor.world.vault(VAULT);
    let operation = actor.operation(words::LIMIT, &format!("vault:{vault}"), json!({ "snapshots": snapshots }));
    let limit = snapshots.to_string();
    actor.ask(&operation, "admin", &["vault", "quota", "set", &vault, "--snapshots", &limit], |_| Value::Null)?;
    Ok(())
}

/// What is charged; true if nothing was under way any more.
pub fn usage(actor: &mut Actor<'_>, is_final: bool) -> anyhow::Result<bool> {
    let operation = actor.operation(words::USAGE, "all", json!({ "final": is_final }));
    let mut at_rest = false;
    actor.ask(&operation, "admin", &["usage"], |lines| {
        let usage: Vec<&Value> = lines.iter().filter(|line| line["type"] == "usage").collect();
        let measures = ["logical_bytes", "stored_bytes", "snapshots", "sessions"];
        at_rest = usage.iter().all(|line| measures.iter().all(|measure| line[*measure]["under_way"] == 0));
        json!({ "usage": usage })
    })?;
    Ok(at_rest)
}

/// All snapshots of the tenant, as a restorer sees them; not with their bytes: those were read, what is charged is what is
/// stored.
pub fn stock(actor: &mut Actor<'_>) -> anyhow::Result<()> {
    let operation = actor.operation(words::STOCK, "all", Value::Null);
    actor.ask(&operation, "restorer", &["snapshots"], |lines| {
        let snapshots = lines.iter().filter(|line| line["type"] == "snapshot");
        let snapshots: Vec<Value> = snapshots.map(|line| json!({ "id": line["id"], "vault": line["vault"] })).collect();
        json!({ "snapshots": snapshots })
    })?;
    Ok(())
}
