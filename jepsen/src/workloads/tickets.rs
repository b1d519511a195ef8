//! Tickets: several writers make one snapshot. A whole of some streams is appended to as many lists at once, one element to
//! each: all of them are shown in one moment, or none ever is. Every stream is written by a process of its own, side by
//! side with the others; some are killed, then the whole is given up.

use anyhow::Context as _;
use serde_json::{Map, Value, json};

use crate::client::{Answer, Patience};
use crate::random::Random;
use crate::words;
use crate::world::Actor;

/// The vault.
pub const VAULT: &str = "tickets";
/// So many lists a tenant has; a whole appends to two of them or more.
const LISTS: usize = 4;
/// The tag of a stream that names its element.
const TAG: &str = "element";
/// What stands before the element in the name of a whole.
const WHOLE: &str = "whole-";
/// The longest rest between two operations.
const REST_MS: usize = 700;

/// Goes on until the world ends.
pub fn run(mut actor: Actor<'_>, number: usize, seed: u64) -> anyhow::Result<()> {
    let mut random = Random::named(seed, &format!("tickets/{}/{number}", actor.tenant.tenant));
    for count in 1_u32.. {
        actor.rest(REST_MS);
        if actor.world.ends() {
            break;
        }
        if random.below(3) == 0 {
            read(&mut actor)?;
            continue;
        }
        let first = random.below(LISTS);
        let lists: Vec<usize> = (0..2 + random.below(LISTS - 1)).map(|step| (first + step) % LISTS).collect();
        whole(&mut actor, &lists, &format!("{number}-{count}"))?;
    }
    Ok(())
}

/// Opens a ticket, has a process write each stream, and commits, or gives up what is not complete: that is in no history,
/// and must never be in a listing.
fn whole(actor: &mut Actor<'_>, lists: &[usize], element: &str) -> anyhow::Result<()> {
    let vault = actor.world.vault(VAULT);
    let label = format!("{WHOLE}{element}");
    let opened = actor.run("writer", &["ticket", "open", "--vault", &vault, "--name", &label])?;
    let Answer::Done(lines) = opened else { return Ok(()) };
    let ticket =
        lines.last().and_then(|line| line["ticket"].as_str()).context("an opened ticket has a name")?.to_owned();
    let patience: Vec<Patience> = lists.iter().map(|_| actor.patience("writer")).collect();
    let joined = std::thread::scope(|scope| {
        let join = |(list, patience): (&usize, Patience)| {
            let (list, ticket, actor) = (*list, &ticket, &*actor);
            scope.spawn(move || join(actor, ticket, list, element, patience))
        };
        let writers: Vec<_> = lists.iter().zip(patience).map(join).collect();
        let ends = writers.into_iter().map(|writer| writer.join().expect("a writer does not panic"));
        ends.collect::<anyhow::Result<Vec<bool>>>()
    })?;
    // Also what was said to be ready is given up now and then.
    if joined.contains(&false) || actor.random.below(6) == 0 {
        actor.run("writer", &["ticket", "abort", &ticket])?;
        return Ok(());
    }
    let elements: Map<String, Value> = lists.iter().map(|list| (name(*list), json!(element))).collect();
    let operation = actor.operation(words::APPEND, &ticket, json!({ "elements": elements }));
    actor.ask(
        &operation,
        "writer",
        &["ticket", "commit", &ticket],
        |lines| json!({ "snapshot": lines.last().map_or(Value::Null, |done| done["snapshot"].clone()) }),
    )?;
    Ok(())
}

/// One writer: whether its stream is ready.
fn join(actor: &Actor<'_>, ticket: &str, list: usize, element: &str, patience: Patience) -> anyhow::Result<bool> {
    let (list, scratch) = (name(list), actor.scratch.join(name(list)));
    let source = scratch.join("source");
    std::fs::create_dir_all(&source).context("no scratch directory")?;
    std::fs::write(source.join("element"), element).context("cannot write a source")?;
    let (path, tag) = (source.to_str().context("the run's directory is not UTF-8")?, format!("{TAG}={element}"));
    let arguments = ["backup", path, "--join", ticket, "--stream", &list, "--name", &list, "--tag", &tag];
    let answer = actor.world.client.run(&actor.tenant.tenant, "writer", patience, &scratch, &arguments)?;
    Ok(matches!(answer, Answer::Done(_)))
}

fn name(list: usize) -> String {
    format!("stream-{list}")
}

/// All lists in one listing. Streams are listed in the order in which they were ready, wholes in the order of their commits:
/// so a list has its elements in the order of their wholes, and behind them what is shown without its whole.
pub fn read(actor: &mut Actor<'_>) -> anyhow::Result<()> {
    let operation = actor.operation(words::LISTS, VAULT, Value::Null);
    let vault = actor.world.vault(VAULT);
    actor.ask(&operation, "restorer", &["snapshots", "--vault", &vault], |lines| {
        let snapshots: Vec<&Value> = lines.iter().filter(|line| line["type"] == "snapshot").collect();
        let name_of = |snapshot: &Value| snapshot["name"].as_str().unwrap_or_default().to_owned();
        let wholes: Vec<String> =
            snapshots.iter().filter_map(|one| name_of(one).strip_prefix(WHOLE).map(str::to_owned)).collect();
        let mut lists: Map<String, Value> = (0..LISTS).map(|list| (name(list), json!([]))).collect();
        let mut streams: Vec<&Value> = snapshots.into_iter().filter(|one| one["stream"].is_string()).collect();
        streams.sort_by_key(|stream| {
            let element = stream["tags"][TAG].as_str().unwrap_or_default();
            wholes.iter().position(|whole| whole == element).unwrap_or(usize::MAX)
        });
        for stream in streams {
            let list = lists.entry(name_of(stream)).or_insert_with(|| json!([]));
            list.as_array_mut().expect("it was made as a list").push(stream["tags"][TAG].clone());
        }
        json!({ "lists": lists })
    })?;
    Ok(())
}
