//! The rules of a shard: what tenants may do with what is theirs.
//!
//!     FoundShard ──▶ AdmitTenant ──▶ clients' commands · ticks · words of other groups
//!
//! One concept a file: `admission` (who, and where a command goes), `sessions`, `identities`, `tokens`, `vaults`, `leases`,
//! `chunks`, `nodes`, `parts`, `snapshots`, `tickets` (with `gathering`), `living`, `policies`, `locks`, `keep`, `deletion`, `expiry`,
//! `garbage`, `release`, `copies`, `quotas`, `usage`, `restores`, `audit`, `time`, `others` (whose word counts); `questions` and
//! `proofs` answer. Not here:
//! who lives where (`cluster.rs`).

mod admission;
mod at;
mod audit;
pub(crate) mod chunks;
pub mod copies;
mod deletion;
pub(crate) mod ends;
mod expiry;
mod garbage;
mod gathering;
mod identities;
pub(crate) mod keep;
mod leases;
mod living;
mod lock_orders;
mod lock_parts;
mod lock_questions;
pub mod lock_rows;
pub(crate) mod locks;
pub(crate) mod lying;
pub(crate) mod members;
mod nodes;
mod others;
mod parts;
mod policies;
mod proofs;
mod questions;
pub(crate) mod quotas;
pub mod release;
mod restores;
pub mod rows;
pub(crate) mod scope;
mod sessions;
mod shown;
mod snapshots;
mod tenants;
mod ticket_ends;
mod tickets;
mod time;
mod tokens;
mod usage;
mod vaults;

use strongroom_format::codec;
use strongroom_format::id::{GroupId, Place};
use strongroom_format::outcome::{Done, Outcome, Refusal};

use self::admission::{Previous, Standing};
use self::at::At;
use self::lock_rows::{LOCK_QUEUES, LOCK_TABLES};
use self::rows::FactsRow;
use crate::attempt::attempt;
use crate::clock;
use crate::clock::CLOCK_TABLES;
use crate::digest::Digested;
use crate::draft::Draft;
use crate::electorates::{self, ELECTORATE_TABLES, Electorate};
use crate::entry::{Entry, EntryCommand, NodeCommand, Outcomes, ShardFacts};
use crate::machine::{Machine, name_among};
use crate::proved::{self, Proved};
use crate::query::Answer;
use crate::reading;
use crate::row::Space;
use crate::rules;
use crate::rules::RULES_TABLES;
use crate::stop::{Ruled, invalid};
use crate::tables::{Halt, Reads, Table, Tables};
use crate::voters::VOTER_TABLES;

pub use self::chunks::UNREPORTED_MAX;
pub use self::expiry::EXPIRE_MAX;
pub use self::garbage::COLLECT_MAX;
pub use self::lock_orders::WEAKEN_AFTER_MS;
pub use self::lock_rows::HOLDS_MAX;
pub use self::locks::{BEGIN_PER_TICK, LOCK_MS_MAX};
pub use self::sessions::{SESSIONS_MAX, WINDOW};
pub use self::snapshots::UNDECIDED_MAX;
pub use self::tickets::TICKETS_MAX;
pub use self::time::ENDS_PER_TICK;

/// The rules of one shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardMachine {
    group: GroupId,
    founders: Electorate,
}

impl ShardMachine {
    /// Of this group. What it hears first it believes of these: the cluster group's voters as the genesis has them
    /// ([`crate::genesis::Genesis::founders`]), which is the same on every node.
    pub fn new(group: GroupId, founders: Electorate) -> Self {
        Self { group, founders }
    }
}

impl Machine for ShardMachine {
    fn apply(&self, tables: &mut dyn Tables, index: u64, entry: &[u8]) -> Result<Vec<u8>, Halt> {
        rules::in_force(&*tables)?;
        let entry = match reading::read_entry(entry) {
            Ok(entry) => entry,
            Err(outcomes) => return Ok(codec::encode(&outcomes)),
        };
        let mut digested = Digested::open(tables, self.group)?;
        let mut draft = Draft::over(&mut digested);
        let outcomes = apply_entry(self, &mut draft, index, &entry)?;
        draft.keep()?;
        digested.close()?;
        Ok(codec::encode(&Outcomes { outcomes }))
    }

    fn query(&self, tables: &dyn Reads, query: &[u8]) -> Result<Vec<u8>, Halt> {
        let answer = match codec::decode(query) {
            Ok(query) => questions::answer(self.group, tables, query)?,
            Err(fault) => Answer::Invalid { why: fault.to_string() },
        };
        Ok(codec::encode(&answer))
    }

    fn summed_as(&self) -> Option<GroupId> {
        Some(self.group)
    }

    fn table_name(&self, table: Table) -> &'static str {
        let own = [rows::SHARD_TABLES, rows::TENANTS_TABLES, LOCK_QUEUES, LOCK_TABLES];
        name_among(&[own.as_slice(), &[CLOCK_TABLES, RULES_TABLES, VOTER_TABLES, ELECTORATE_TABLES]].concat(), table)
    }
}

fn apply_entry(
    machine: &ShardMachine,
    tables: &mut dyn Tables,
    index: u64,
    entry: &Entry,
) -> Result<Vec<Outcome>, Halt> {
    let mut outcomes = Vec::with_capacity(entry.commands.len());
    let mut previous = None;
    for (position, command) in (0..).zip(&entry.commands) {
        let place = Place { index, position };
        outcomes.push(apply_command(machine, tables, place, entry, command, &mut previous)?);
    }
    if rules::in_force(&*tables)?.is_some() {
        rules::applied(tables, index)?;
    }
    Ok(outcomes)
}

fn apply_command(
    machine: &ShardMachine,
    tables: &mut dyn Tables,
    place: Place,
    entry: &Entry,
    command: &EntryCommand,
    previous: &mut Option<Previous>,
) -> Result<Outcome, Halt> {
    if let EntryCommand::Node(NodeCommand::FoundShard(facts)) = command {
        *previous = None;
        return attempt(tables, |draft| found(machine, draft, &proved::by(&machine.founders, facts)?));
    }
    let Some(FactsRow { facts }) = Space::whole().get(&*tables, &())? else {
        // Before its first entry a shard knows nobody.
        return Ok(Outcome::Refused(Refusal::NotFound));
    };
    let clock = clock::now(&*tables)?;
    let at = At {
        facts: &facts,
        place,
        now_ms: clock.elapsed_ms,
        clock_ms: clock.clock_ms,
        ticks: clock.ticks,
        disputed: clock.is_disputed(),
        wall_unix_ms: entry.wall_unix_ms,
        salt: &entry.salt,
    };
    match command {
        EntryCommand::Client(signed) => admission::apply(&at, tables, signed, Standing::Alone, previous),
        EntryCommand::Vouched(signed) => admission::apply(&at, tables, signed, Standing::Vouched, previous),
        EntryCommand::Attested { command, signatures } => {
            admission::apply(&at, tables, command, Standing::Attested(signatures), previous)
        }
        EntryCommand::Redeem(signed) => {
            *previous = None;
            tokens::redeem(&at, tables, signed)
        }
        EntryCommand::Operator(_) => Ok(Outcome::Refused(Refusal::WrongGroup)),
        EntryCommand::Node(command) => {
            *previous = None;
            attempt(tables, |draft| apply_node(&at, draft, command))
        }
    }
}

fn apply_node(at: &At<'_>, tables: &mut dyn Tables, command: &NodeCommand) -> Ruled<Done> {
    match command {
        NodeCommand::Found(_) | NodeCommand::RebuildReplica(_) | NodeCommand::MemberReplaced(_) => {
            Err(Refusal::WrongGroup.into())
        }
        NodeCommand::ReplaceMember(replaced) => {
            let replaced = proved::known(&*tables, at.facts.epoch, replaced)?;
            members::replace(at, tables, &replaced)
        }
        NodeCommand::FoundShard(_) => Err(Refusal::Immutable.into()),
        NodeCommand::AdmitTenant(facts) => {
            let facts = proved::known(&*tables, at.facts.epoch, facts)?;
            tenants::admit(at, tables, &facts)
        }
        NodeCommand::Tick(tick) => {
            let clock = clock::advance(tables, &members::electorate(at.facts), at.place.index, at.wall_unix_ms, tick)?;
            if clock.is_disputed() {
                // To end something is to decide.
                return Ok(Done::Done);
            }
            let later =
                At { now_ms: clock.elapsed_ms, clock_ms: clock.clock_ms, ticks: clock.ticks, disputed: false, ..*at };
            Ok(time::end_what_is_due(&later, tables)?)
        }
        NodeCommand::DecidePart(decided) => {
            let decided = proved::known(&*tables, at.facts.epoch, decided)?;
            parts::decide(at, tables, &decided)
        }
        NodeCommand::HideBlob(reported) => {
            let reported = proved::known(&*tables, at.facts.epoch, reported)?;
            chunks::hide(at, tables, &reported)
        }
        NodeCommand::TellElectorate(electorate) => {
            let electorate = proved::known(&*tables, at.facts.epoch, electorate)?;
            others::learn(at, tables, &electorate)
        }
        NodeCommand::EndPart(ended) => {
            let ended = proved::known(&*tables, at.facts.epoch, ended)?;
            deletion::end_part(at, tables, &ended)
        }
        NodeCommand::PartEnded(ended) => {
            let ended = proved::known(&*tables, at.facts.epoch, ended)?;
            Ok(deletion::part_ended(tables, &ended)?)
        }
        NodeCommand::CollectGarbage { tenant, limit, grace_ms } => {
            garbage::collect(at, tables, *tenant, *limit, *grace_ms)
        }
        NodeCommand::Expire { tenant, vault, after, limit } => {
            expiry::expire(at, tables, *tenant, *vault, after.as_ref(), *limit)
        }
        NodeCommand::KeepPart(told) => {
            let told = proved::known(&*tables, at.facts.epoch, told)?;
            lock_parts::take_over(at, tables, &told)
        }
        NodeCommand::PartKept(said) => {
            let said = proved::known(&*tables, at.facts.epoch, said)?;
            lock_parts::has_taken_over(at, tables, &said)
        }
    }
}

/// The shard's first entry.
fn found(machine: &ShardMachine, tables: &mut dyn Tables, facts: &Proved<ShardFacts>) -> Ruled<Done> {
    let (group, facts) = (machine.group, facts.value());
    if let Some(FactsRow { facts: known }) = Space::whole().get(&*tables, &())? {
        // Several members may propose it; the first one wins.
        return if known == *facts { Ok(Done::Done) } else { Err(Refusal::Immutable.into()) };
    }
    if facts.group != group || group == GroupId::CLUSTER || facts.epoch != machine.founders.epoch {
        return Err(Refusal::WrongGroup.into());
    }
    if !(1..=64).contains(&facts.code.k) || 64 < facts.code.m {
        return Err(invalid("there is no such code"));
    }
    let one_a_slot = (0..facts.code.slots()).eq(facts.members.iter().map(|member| member.slot.0));
    if !one_a_slot {
        return Err(invalid("there is not one member a slot, by slot"));
    }
    members::check(facts)?;
    rules::establish(tables)?;
    clock::found(tables, facts.clock_ms)?;
    Space::whole().put(tables, &(), &FactsRow { facts: facts.clone() })?;
    electorates::go_by(tables, machine.founders.clone())?;
    Ok(Done::Done)
}
