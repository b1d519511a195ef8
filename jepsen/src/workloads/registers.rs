//! Registers: each is the policy of a vault, which has a version; its value is how often a snapshot is expected. Setting
//! the next version is a compare-and-set by the rules themselves: whoever comes second is refused.
//!
//! Over the SDK, in this process: a program a command would be too slow for races.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::{Value, json};
use strongroom::client::Client;
use strongroom::error::Error;
use strongroom::profile::Profile;
use strongroom_format::id::{PolicyVersion, VaultName};
use strongroom_format::policy::Policy;

use crate::history::Ending;
use crate::words;
use crate::world::Actor;

/// How many registers a tenant has.
pub const REGISTERS: usize = 4;
/// The least interval that may be expected, in milliseconds: a value of 0.
const LEAST_MS: u64 = 60_000;
/// The longest rest between two operations.
const REST_MS: usize = 250;
/// How long an operation waits for nodes.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often a write begins anew after somebody else's came first.
const ATTEMPTS: u32 = 5;
/// Values of one client lie apart from those of others.
const CLIENT_VALUES: u64 = 1_000_000;

/// The vault whose policy is this register.
pub fn vault(register: usize) -> String {
    format!("register-{register}")
}

/// What an attempt came to.
enum Outcome {
    Done(Ending),
    /// Surely not done.
    Not(String),
    /// Nobody knows.
    Perhaps(String),
}

/// Goes on until the world ends.
pub fn run(mut actor: Actor<'_>, number: u64, profile: &Path) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("no runtime")?;
    let profile = Profile::read(profile).context("a profile of dev")?;
    let mut client: Option<Client> = None;
    let (mut last, mut count) = ([0; REGISTERS], 0);
    while !actor.world.ends() {
        actor.rest(REST_MS);
        let Some(client) = connected(&runtime, &mut client, &profile) else { continue };
        let register = actor.random.below(REGISTERS);
        let name: VaultName = actor.world.vault(&vault(register)).parse().context("our own names are names")?;
        count += 1;
        let new = number * CLIENT_VALUES + count;
        let (f, argument) = match actor.random.below(5) {
            0 | 1 => (words::READ, Value::Null),
            2 => (words::WRITE, json!({ "value": new })),
            _ => (words::CAS, json!({ "from": last[register], "value": new })),
        };
        let operation = actor.operation(f, &vault(register), argument);
        actor.world.recorder.begin(&operation);
        let from = last[register];
        let outcome = runtime.block_on(async {
            match f {
                words::READ => read(client, &name).await,
                words::WRITE => write(client, &name, new).await,
                _ => cas(client, &name, from, new).await,
            }
        });
        let ending = match outcome {
            Outcome::Done(ending) => ending,
            Outcome::Not(why) => Ending::fail(why),
            Outcome::Perhaps(why) => Ending::info(why),
        };
        // What is expected next time: what was seen or set last.
        last[register] = match ending.value["value"].as_u64() {
            Some(seen) => seen,
            None if ending.error.is_none() && f != words::READ => new,
            None => last[register],
        };
        actor.end(&operation, ending);
    }
    Ok(())
}

/// A connection, if there is one to be had now.
fn connected<'a>(
    runtime: &tokio::runtime::Runtime,
    client: &'a mut Option<Client>,
    profile: &Profile,
) -> Option<&'a Client> {
    if client.is_none() {
        // Nobody answers for now; nothing was asked for yet.
        *client = runtime.block_on(Client::connect(profile.clone(), PATIENCE)).ok();
    }
    client.as_ref()
}

/// Value and version; the first version is what a vault is made with: no value.
fn of(policy: &Policy) -> (Option<u64>, u64) {
    (policy.expected_every_ms.map(|every| every - LEAST_MS), u64::from(policy.version.0))
}

async fn read(client: &Client, vault: &VaultName) -> Outcome {
    match client.policy(vault).await {
        Ok(view) => {
            let (value, version) = of(&view.policy);
            Outcome::Done(Ending::ok(json!({ "value": value })).of_version(version))
        }
        Err(why) => Outcome::Not(why.to_string()),
    }
}

async fn write(client: &Client, vault: &VaultName, value: u64) -> Outcome {
    for _ in 0..ATTEMPTS {
        let policy = match client.policy(vault).await {
            Ok(view) => view.policy,
            Err(why) => return Outcome::Not(why.to_string()),
        };
        match set(client, vault, policy, value).await {
            Err(Error::Refused { reason, .. }) if reason == "VERSION_CONFLICT" => {}
            outcome => return ended(outcome),
        }
    }
    Outcome::Not("others came first".to_owned())
}

async fn cas(client: &Client, vault: &VaultName, from: u64, value: u64) -> Outcome {
    match client.policy(vault).await {
        Ok(view) if of(&view.policy).0 == Some(from) => ended(set(client, vault, view.policy, value).await),
        Ok(view) => Outcome::Not(format!("it is {:?}", of(&view.policy).0)),
        Err(why) => Outcome::Not(why.to_string()),
    }
}

/// The next version of a policy that was seen.
async fn set(client: &Client, vault: &VaultName, seen: Policy, value: u64) -> Result<u64, Error> {
    let version = seen.version.0 + 1;
    let policy = Policy { version: PolicyVersion(version), expected_every_ms: Some(LEAST_MS + value), ..seen };
    client.set_policy(vault, policy, "jepsen".to_owned()).await.map(|()| u64::from(version))
}

fn ended(outcome: Result<u64, Error>) -> Outcome {
    match outcome {
        Ok(version) => Outcome::Done(Ending::ok(Value::Null).of_version(version)),
        Err(why @ Error::Refused { .. }) => Outcome::Not(why.to_string()),
        Err(why) => Outcome::Perhaps(why.to_string()),
    }
}
