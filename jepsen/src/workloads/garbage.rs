//! Garbage: two clients of a tenant back up the same bytes, delete them and back them up again, so that what one has just
//! let go is what the other needs; in the end all that may go is deleted, and disks are weighed.
//!
//! ```text
//!   before ─▶ back up ∥ restore ∥ delete, under attack ─▶ full ─▶ everything restored ─▶ deleted ─▶ a while ─▶ end
//! ```
//!
//! Not here: how much may lie on a disk (`judges/i10_garbage.rs`), how soon nodes forget (`cluster/own.rs`).

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde_json::json;

use crate::client::Answer;
use crate::cluster::Cluster;
use crate::grower::Grower;
use crate::history::{Ending, Operation};
use crate::judges::i10_garbage::{live_bytes, most_bytes, unknown};
use crate::random::Random;
use crate::words;
use crate::workloads::quota::{stock, usage};
use crate::world::{Acknowledged, Actor, Manners, World};

/// The vault.
pub const VAULT: &str = "garbage";
/// The longest rest between two operations.
const REST_MS: usize = 700;
/// How much a tree changes from one backup to the next.
const STEPS: usize = 3;
/// Garbage has so long until it is gone: what killed clients had under way is given up when their leases end.
const GONE_WITHIN: Duration = Duration::from_secs(180);

/// What may lie there is looked at until it has not become less for so long: then it shows what really stays.
const STILL_FOR: Duration = Duration::from_secs(15);

/// So often it is told how far that is.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// Goes on until the world ends. Both clients of a tenant have the same trees, each at its own pace.
pub fn run(mut actor: Actor<'_>, number: u32, seed: u64) -> anyhow::Result<()> {
    let name = format!("garbage/{}", actor.tenant.tenant);
    let mut grower = Grower::new(&actor.scratch.join("source"), &actor.tenant.sealed, Random::named(seed, &name))?;
    let vault = actor.world.vault(VAULT);
    let mut own: Vec<Acknowledged> = Vec::new();
    let mut count = 0;
    while !actor.world.ends() {
        match (actor.random.below(8), own.len()) {
            (0..=1, 1..) => {
                let one = own[actor.random.below(own.len())].clone();
                actor.restore(&one, false)?;
            }
            (2..=4, 1..) => {
                let gone = own.swap_remove(actor.random.below(own.len()));
                actor.delete(&gone.snapshot)?;
            }
            _ => {
                count += 1;
                for _ in 0..STEPS {
                    grower.step()?;
                }
                grower.plant()?;
                let label = format!("{}-garbage-{number}-{count}", actor.tenant.open);
                let made = actor.charge(grower.root(), &vault, &label, None)?;
                let tenant = actor.tenant.tenant.clone();
                own.extend(made.map(|snapshot| Acknowledged { tenant, label, snapshot }));
            }
        }
        actor.rest(REST_MS);
    }
    Ok(())
}

/// Writes down what fragments take on each node's disk, and says it, node by node.
pub fn weigh(world: &World, cluster: &Cluster, phase: &str) -> anyhow::Result<Vec<u64>> {
    let mut all = Vec::new();
    for (at, node) in cluster.nodes.iter().enumerate() {
        let operation = Operation::of_harness(words::SPACE, &node.name, json!({ "phase": phase }));
        world.recorder.begin(&operation);
        let bytes = cluster.fragment_bytes(at)?;
        all.push(bytes);
        world.recorder.end(&operation, Ending::ok(json!({ "bytes": bytes })));
    }
    Ok(all)
}

/// Deletes whatever is there in this run's vaults and may go, waits until its bytes are gone or it is too late, and writes
/// down what is left.
pub fn empty(
    world: &World,
    cluster: &Cluster,
    vaults: &[String],
    dir: &Path,
    seed: u64,
    before: &[u64],
) -> anyhow::Result<()> {
    eprintln!("deleting everything that may go");
    let mut actors = Vec::new();
    for tenant in &world.tenants {
        let name = format!("empty-{}", tenant.tenant);
        actors.push(world.actor(tenant, &name, dir, seed, Manners::Patient)?);
    }
    let emptied = std::thread::scope(|scope| {
        let empty = |actor| scope.spawn(move || delete_all(actor, vaults));
        let threads: Vec<_> = actors.iter_mut().map(empty).collect();
        let ended = threads.into_iter().map(|thread| thread.join().expect("a client does not panic"));
        ended.collect::<anyhow::Result<Vec<()>>>()
    });
    emptied?;
    let unknown = unknown(&world.recorder.events());
    let (began, mut told, mut changed) = (Instant::now(), Instant::now(), Instant::now());
    let mut held = Vec::new();
    loop {
        let mut sum = Some(0);
        for actor in &mut actors {
            sum = sum.zip(live(actor)?).map(|(sum, more)| sum + more);
        }
        let all =
            (0..cluster.nodes.len()).map(|at| cluster.fragment_bytes(at)).collect::<anyhow::Result<Vec<u64>>>()?;
        let has_no_more = |live| all.iter().zip(before).all(|(&holds, &had)| holds <= most_bytes(had, live, unknown));
        let (bytes, is_gone) = (all.iter().sum::<u64>(), sum.is_some_and(has_no_more));
        if held != all {
            (held, changed) = (all, Instant::now());
        }
        if (is_gone && STILL_FOR < changed.elapsed()) || GONE_WITHIN < began.elapsed() {
            eprintln!("{bytes} bytes are left on disks {} s later", began.elapsed().as_secs());
            break;
        }
        if TELL_EVERY < told.elapsed() {
            told = Instant::now();
            let live = sum.map_or("unknown".to_owned(), |live| live.to_string());
            eprintln!("{bytes} bytes on disks {} s later, {live} live", began.elapsed().as_secs());
        }
        std::thread::sleep(Duration::from_secs(1));
    }
    for actor in &mut actors {
        usage(actor, true)?;
        stock(actor)?;
    }
    weigh(world, cluster, "end")?;
    Ok(())
}

fn delete_all(actor: &mut Actor<'_>, vaults: &[String]) -> anyhow::Result<()> {
    for vault in vaults {
        for gone in actor.shown(&actor.world.vault(vault))? {
            actor.delete(&gone.snapshot)?;
        }
    }
    Ok(())
}

/// What of a tenant is live, as its usage says; nothing if nobody answers.
fn live(actor: &mut Actor<'_>) -> anyhow::Result<Option<u64>> {
    let Answer::Done(lines) = actor.run("admin", &["usage"])? else { return Ok(None) };
    Ok(Some(live_bytes(lines.iter().find(|line| line["of"] == "tenant").context("usage says what the tenant uses")?)))
}
