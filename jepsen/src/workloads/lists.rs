//! Lists: the snapshots of a label in the order of their commits. Appending is backing up; what is appended stands in a tag.

use anyhow::Context as _;
use serde_json::{Map, Value, json};

use crate::random::Random;
use crate::words;
use crate::world::Actor;

/// The vault that holds them.
pub const VAULT: &str = "lists";
/// How many lists a tenant has.
const LISTS: usize = 3;
/// The tag of a snapshot that names its element.
const TAG: &str = "element";
/// The longest rest between two operations.
const REST_MS: usize = 700;

/// Goes on until the world ends.
pub fn run(mut actor: Actor<'_>, number: usize, seed: u64) -> anyhow::Result<()> {
    let mut random = Random::named(seed, &format!("lists/{}/{number}", actor.tenant.tenant));
    let source = actor.scratch.join("source");
    std::fs::create_dir_all(&source).context("no scratch directory")?;
    for count in 1_u32.. {
        actor.rest(REST_MS);
        if actor.world.ends() {
            break;
        }
        if random.below(3) == 0 {
            read(&mut actor)?;
            continue;
        }
        let list = format!("list-{}", random.below(LISTS));
        let element = format!("{number}-{count}");
        std::fs::write(source.join("element"), &element).context("cannot write a source")?;
        let operation = actor.operation(words::APPEND, &list, json!({ "elements": { list.as_str(): element } }));
        let tag = format!("{TAG}={element}");
        let path = source.to_str().context("the run's directory is not UTF-8")?;
        let vault = actor.world.vault(VAULT);
        let arguments = ["backup", path, "--vault", &vault, "--name", &list, "--tag", &tag];
        actor.ask(
            &operation,
            "writer",
            &arguments,
            |lines| json!({ "snapshot": lines.last().map_or(Value::Null, |done| done["snapshot"].clone()) }),
        )?;
    }
    Ok(())
}

/// All lists in one listing.
pub fn read(actor: &mut Actor<'_>) -> anyhow::Result<()> {
    let operation = actor.operation(words::LISTS, VAULT, Value::Null);
    let vault = actor.world.vault(VAULT);
    actor.ask(&operation, "restorer", &["snapshots", "--vault", &vault], |lines| {
        let mut lists: Map<String, Value> = (0..LISTS).map(|list| (format!("list-{list}"), json!([]))).collect();
        for snapshot in lines.iter().filter(|line| line["type"] == "snapshot") {
            let name = snapshot["name"].as_str().unwrap_or_default().to_owned();
            let list = lists.entry(name).or_insert_with(|| json!([]));
            list.as_array_mut().expect("it was made as a list").push(snapshot["tags"][TAG].clone());
        }
        json!({ "lists": lists })
    })?;
    Ok(())
}
