//! The rules of the cluster group: nodes, regions, shards and their slots, tenants and where they live, issuing CAs,
//! operators.
//!
//!     Found(genesis) ──▶ operators' signed commands · tokens redeemed · members rebuilt · ticks
//!
//! One concept a file: `found` (the beginning), `operators` (who asks, answered once), `tenants`, `issuers`, `tokens` and
//! `nodes` (who joins), `votes` (who votes in this group), `shards`, `members` (who is replaced); `questions` answers.
//! Not here: what tenants do (`shard.rs`), membership of Raft groups (`node/consensus`).

mod at;
pub(crate) mod found;
pub mod issuers;
mod members;
mod nodes;
mod operators;
mod questions;
pub mod rows;
mod shards;
mod tenants;
mod tokens;
pub(crate) mod votes;

use strongroom_format::codec;
use strongroom_format::id::{GroupId, Place};
use strongroom_format::outcome::{Done, Outcome, Refusal};

use self::at::At;
use self::rows::FactsRow;
use crate::attempt::attempt;
use crate::clock;
use crate::clock::CLOCK_TABLES;
use crate::digest::Digested;
use crate::draft::Draft;
use crate::entry::{Entry, EntryCommand, NodeCommand, Outcomes};
use crate::machine::{Machine, name_among};
use crate::query::Answer;
use crate::reading;
use crate::row::Space;
use crate::rules;
use crate::rules::RULES_TABLES;
use crate::stop::Ruled;
use crate::tables::{Halt, Reads, Table, Tables};
use crate::voters::VOTER_TABLES;

/// The rules of the cluster group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClusterMachine {}

impl ClusterMachine {
    /// Of group 0.
    pub fn new() -> Self {
        Self {}
    }
}

impl Machine for ClusterMachine {
    fn apply(&self, tables: &mut dyn Tables, index: u64, entry: &[u8]) -> Result<Vec<u8>, Halt> {
        rules::in_force(&*tables)?;
        let entry = match reading::read_entry(entry) {
            Ok(entry) => entry,
            Err(outcomes) => return Ok(codec::encode(&outcomes)),
        };
        let mut digested = Digested::open(tables, GroupId::CLUSTER)?;
        let mut draft = Draft::over(&mut digested);
        let outcomes = apply_entry(&mut draft, index, &entry)?;
        draft.keep()?;
        digested.close()?;
        Ok(codec::encode(&Outcomes { outcomes }))
    }

    fn query(&self, tables: &dyn Reads, query: &[u8]) -> Result<Vec<u8>, Halt> {
        let answer = match codec::decode(query) {
            Ok(query) => questions::answer(tables, &query)?,
            Err(fault) => Answer::Invalid { why: fault.to_string() },
        };
        Ok(codec::encode(&answer))
    }

    fn summed_as(&self) -> Option<GroupId> {
        Some(GroupId::CLUSTER)
    }

    fn table_name(&self, table: Table) -> &'static str {
        name_among(&[rows::CLUSTER_TABLES, CLOCK_TABLES, RULES_TABLES, VOTER_TABLES], table)
    }
}

fn apply_entry(tables: &mut dyn Tables, index: u64, entry: &Entry) -> Result<Vec<Outcome>, Halt> {
    let mut outcomes = Vec::with_capacity(entry.commands.len());
    for (position, command) in (0..).zip(&entry.commands) {
        outcomes.push(apply_command(tables, Place { index, position }, entry, command)?);
    }
    if rules::in_force(&*tables)?.is_some() {
        rules::applied(tables, index)?;
    }
    Ok(outcomes)
}

fn apply_command(
    tables: &mut dyn Tables,
    place: Place,
    entry: &Entry,
    command: &EntryCommand,
) -> Result<Outcome, Halt> {
    if let EntryCommand::Node(NodeCommand::Found(genesis)) = command {
        return attempt(tables, |draft| found::found(draft, place.index, genesis));
    }
    let Some(facts) = Space::whole().get::<FactsRow>(&*tables, &())? else {
        // Before its first entry the cluster knows nobody.
        return Ok(Outcome::Refused(Refusal::NotFound));
    };
    let clock = clock::now(&*tables)?;
    let at = At {
        index: place.index,
        now_ms: clock.elapsed_ms,
        clock_ms: clock.clock_ms,
        disputed: clock.is_disputed(),
        wall_unix_ms: entry.wall_unix_ms,
    };
    match command {
        EntryCommand::Client(_) | EntryCommand::Vouched(_) | EntryCommand::Attested { .. } => {
            Ok(Outcome::Refused(Refusal::WrongGroup))
        }
        EntryCommand::Redeem(signed) => tokens::redeem(&at, tables, facts.epoch, signed),
        EntryCommand::Operator(signed) => operators::apply(&at, tables, &facts, signed),
        EntryCommand::Node(command) => attempt(tables, |draft| apply_node(&at, draft, &facts, command)),
    }
}

fn apply_node(at: &At, tables: &mut dyn Tables, facts: &FactsRow, command: &NodeCommand) -> Ruled<Done> {
    match command {
        NodeCommand::Tick(tick) => {
            let electorate = votes::electorate(&*tables, facts)?;
            let clock = clock::advance(tables, &electorate, at.index, at.wall_unix_ms, tick)?;
            if !clock.is_disputed() {
                // To end something is to decide.
                tokens::end_what_is_due(tables, clock.elapsed_ms)?;
            }
            Ok(Done::Done)
        }
        NodeCommand::Found(_) => Err(Refusal::Immutable.into()),
        NodeCommand::RebuildReplica(asked) => members::rebuild(tables, facts, at.index, asked),
        NodeCommand::MemberReplaced(filled) => members::replaced(tables, facts, filled),
        NodeCommand::FoundShard(_)
        | NodeCommand::ReplaceMember(_)
        | NodeCommand::AdmitTenant(_)
        | NodeCommand::DecidePart(_)
        | NodeCommand::HideBlob(_)
        | NodeCommand::EndPart(_)
        | NodeCommand::PartEnded(_)
        | NodeCommand::CollectGarbage { .. }
        | NodeCommand::Expire { .. }
        | NodeCommand::TellElectorate(_)
        | NodeCommand::KeepPart(_)
        | NodeCommand::PartKept(_) => Err(Refusal::WrongGroup.into()),
    }
}
