//! A quota of bytes that three clients fill side by side: each has one snapshot at a time, of 95 to 105 % of a third of the
//! limit, deletes it and makes another. So the vault is always about full, and who comes last is refused or not by a few
//! kilobytes.

use anyhow::Context as _;
use serde_json::{Value, json};

use crate::client::Answer;
use crate::random::Random;
use crate::words;
use crate::workloads::quota::usage;
use crate::world::Actor;

/// The vault.
pub const VAULT: &str = "bytes";
/// So many clients share a limit.
pub const CLIENTS: usize = 3;
/// The limit, of logical bytes.
const LIMIT_BYTES: usize = 3 << 20;
/// The longest rest between two operations.
const REST_MS: usize = 600;

/// Sets the limit, before anything is attacked.
pub fn prepare(actor: &mut Actor<'_>) -> anyhow::Result<()> {
    let vault = actor.world.vault(VAULT);
    let operation = actor.operation(words::LIMIT, &format!("vault:{vault}"), json!({ "logical_bytes": LIMIT_BYTES }));
    let limit = LIMIT_BYTES.to_string();
    let answer =
        actor.ask(&operation, "admin", &["vault", "quota", "set", &vault, "--logical", &limit], |_| Value::Null)?;
    anyhow::ensure!(matches!(answer, Answer::Done(_)), "the quota of {vault} is not set: {answer:?}");
    Ok(())
}

/// Goes on until the world ends; the first client also looks at what is charged.
pub fn run(mut actor: Actor<'_>, number: usize, seed: u64) -> anyhow::Result<()> {
    let mut random = Random::named(seed, &format!("bytes/{}/{number}", actor.tenant.tenant));
    let source = actor.scratch.join("source");
    std::fs::create_dir_all(&source).context("no scratch directory")?;
    let vault = actor.world.vault(VAULT);
    for count in 1_u32.. {
        actor.rest(REST_MS);
        if actor.world.ends() {
            break;
        }
        if number == 0 && random.below(3) == 0 {
            usage(&mut actor, false)?;
        }
        // What nobody heard the end of takes room too.
        let prefix = format!("{}-bytes-{number}-", actor.tenant.open);
        let own = actor.shown(&vault)?.into_iter().filter(|one| one.label.starts_with(&prefix));
        for gone in own {
            actor.delete(&gone.snapshot)?;
        }
        // Bytes that nobody can compress, never the same: so much is charged at least.
        let bytes = LIMIT_BYTES / CLIENTS / 100 * (95 + random.below(11));
        let mut content = vec![0; bytes];
        random.fill(&mut content);
        std::fs::write(source.join("content"), content).context("cannot write a source")?;
        actor.charge(&source, &vault, &format!("{prefix}{count}"), Some(bytes))?;
    }
    Ok(())
}
