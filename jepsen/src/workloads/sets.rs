//! Sets: the labels in a vault, each used once. Adding is backing up; what was added is in every later listing, once.

use anyhow::Context as _;
use serde_json::{Value, json};

use crate::words;
use crate::world::Actor;

/// The vault that is the set.
pub const VAULT: &str = "set";
/// The longest rest between two operations.
const REST_MS: usize = 900;

/// Goes on until the world ends; two clients of a tenant have numbers of their own.
pub fn run(mut actor: Actor<'_>, number: usize) -> anyhow::Result<()> {
    let source = actor.scratch.join("source");
    std::fs::create_dir_all(&source).context("no scratch directory")?;
    for count in 1_u32.. {
        actor.rest(REST_MS);
        if actor.world.ends() {
            break;
        }
        if actor.random.below(3) == 0 {
            read(&mut actor, false)?;
            continue;
        }
        let element = format!("{number}-{count}");
        std::fs::write(source.join("element"), &element).context("cannot write a source")?;
        let operation = actor.operation(words::ADD, VAULT, json!({ "element": element }));
        let (path, vault) = (source.to_str().context("the run's directory is not UTF-8")?, actor.world.vault(VAULT));
        let arguments = ["backup", path, "--vault", &vault, "--name", &element];
        actor.ask(
            &operation,
            "writer",
            &arguments,
            |lines| json!({ "snapshot": lines.last().map_or(Value::Null, |done| done["snapshot"].clone()) }),
        )?;
    }
    Ok(())
}

/// What is in it.
pub fn read(actor: &mut Actor<'_>, is_final: bool) -> anyhow::Result<()> {
    let operation = actor.operation(words::ELEMENTS, VAULT, json!({ "final": is_final }));
    let vault = actor.world.vault(VAULT);
    actor.ask(&operation, "restorer", &["snapshots", "--vault", &vault], |lines| {
        let snapshots = lines.iter().filter(|line| line["type"] == "snapshot");
        let elements: Vec<&Value> = snapshots.map(|snapshot| &snapshot["name"]).collect();
        json!({ "elements": elements })
    })?;
    Ok(())
}
