//! Commands into a group's log: at the leader, wherever it is, and never twice by our own doing.
//!
//! ```text
//!   commands ─▶ entry ─▶ leader (here or forwarded) ─▶ outcomes
//!                          └ surely not proposed: the next one, until the deadline
//!                          └ perhaps proposed: unknown, and the caller asks
//! ```
//!
//! The entry's salt and wall clock are the leader's: a forwarded entry gets them anew there.
//! Not here: what commands mean (`node/core`), finding the leader (`route.rs`).

use std::time::Duration;

use bytes::Bytes;
use strongroom_consensus::groups::ProposeError;
use strongroom_consensus::wire::PROPOSAL_BYTES_MAX;
use strongroom_core::claims;
use strongroom_core::entry::{Entry, EntryCommand, NodeCommand, Outcomes, Reported};
use strongroom_format::codec::{self, FormatError};
use strongroom_format::command::SignedCommand;
use strongroom_format::id::{GroupId, Place};
use strongroom_format::outcome::{Outcome, Refusal};
use strongroom_host::Host;
use strongroom_peers::message::Proposed;
use tokio::time::Instant;

use crate::majority::{Known, Majority};
use crate::route::{Route, Step, Target};
use crate::vouch::vouch;

/// The pause before signatures are collected again: their group's voters changed meanwhile.
const AGAIN: Duration = Duration::from_millis(100);

/// An entry that was applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// Its log index.
    pub index: u64,
    /// One for each command, in order.
    pub outcomes: Vec<Outcome>,
}

/// Why there are no outcomes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProposeFault {
    /// Nobody led the group until the deadline. Surely nothing happened: try later.
    #[error("nobody leads the group")]
    NoLeader,
    /// Too much was under way. Surely nothing happened: try later.
    #[error("too many proposals are under way")]
    Busy,
    /// The leader's disk has no room but its reserve, which ticks and ends need. Surely nothing happened.
    #[error("the leader's disk is full")]
    DiskFull,
    /// Too many commands, or too many bytes. Send less at once.
    #[error("an entry of {bytes} bytes with {commands} commands is too long")]
    TooLong {
        /// How long the entry is.
        bytes: usize,
        /// How many commands it has.
        commands: usize,
    },
    /// It may or may not take effect: ask for the outcome.
    #[error("the outcome is unknown: {why}")]
    Unknown {
        /// What is known.
        why: String,
    },
}

/// Proposes. Clones are the same.
#[derive(Clone)]
pub struct Proposer {
    host: Host,
    route: Route,
    majority: Majority,
}

impl Proposer {
    /// Over a route; what is said about other groups is signed through the majority.
    pub fn new(host: Host, route: Route, majority: Majority) -> Self {
        Self { host, route, majority }
    }

    /// Proposes commands as one entry and waits for their outcomes.
    ///
    /// Dropping the future leaves the outcome unknown.
    pub async fn propose(
        &self,
        group: GroupId,
        commands: Vec<EntryCommand>,
        within: Duration,
    ) -> Result<Applied, ProposeFault> {
        let count = commands.len();
        let grows = brings_data(&commands);
        let entry = codec::encode(&self.entry(commands));
        if PROPOSAL_BYTES_MAX < entry.len() || usize::from(Place::COMMANDS_MAX) < count {
            return Err(ProposeFault::TooLong { bytes: entry.len(), commands: count });
        }
        let entry = Bytes::from(entry);
        let attempt = |target, left| self.attempt(group, target, entry.clone(), grows, left);
        let led = Box::pin(self.route.at_leader(group, within, attempt)).await;
        let (index, answer) = led.ok_or(ProposeFault::NoLeader)??;
        let Outcomes { outcomes } = codec::decode(&answer).map_err(|fault| unknown(fault.to_string()))?;
        if outcomes.len() != count {
            // A single refusal where the bytes were no entry to the rules.
            return match <[Outcome; 1]>::try_from(outcomes) {
                Ok([outcome @ Outcome::Refused(_)]) => Ok(Applied { index, outcomes: vec![outcome; count] }),
                Ok(_) | Err(_) => Err(unknown("the rules answered another number of commands".into())),
            };
        }
        Ok(Applied { index, outcomes })
    }

    /// Who has claims signed.
    pub fn majority(&self) -> &Majority {
        &self.majority
    }

    /// Proposes what a caller asks; what it says about other groups is signed by their voters first, where that is so.
    /// Where too few of them answer, surely nothing happened.
    ///
    /// Dropping the future leaves the outcome unknown.
    pub async fn submit(
        &self,
        group: GroupId,
        commands: Vec<SignedCommand>,
        within: Duration,
    ) -> Result<Applied, ProposeFault> {
        let reports: Vec<Option<Reported>> = commands.iter().map(claims::reported).collect();
        let applied = self.enter(group, commands, None, within).await?;
        for (reported, outcome) in reports.into_iter().zip(&applied.outcomes) {
            if let (Some(reported), Outcome::Done(_)) = (reported, outcome) {
                self.hide(reported, within).await;
            }
        }
        Ok(applied)
    }

    /// Tells the tenant's other shards of a reported blob. One that cannot be told goes on naming it to backups until it
    /// is reported again.
    async fn hide(&self, reported: Reported, within: Duration) {
        let Some(tenant) = self.route.topology.tenant(reported.tenant) else { return };
        for group in tenant.groups.iter().copied().filter(|group| *group != reported.home) {
            let Some(told) = self.majority.attested(group, reported.clone(), within).await else {
                tracing::warn!(%group, "too few voters signed that a blob was reported");
                continue;
            };
            let entry = vec![EntryCommand::Node(NodeCommand::HideBlob(told))];
            if let Err(fault) = self.propose(group, entry, within).await {
                tracing::warn!(%group, %fault, "a shard was not told of a reported blob");
            }
        }
    }

    /// Proposes callers' commands as one entry, and at a place among them one for which this node stands. Signatures of
    /// voters that the group does not know, or not any more, are collected again: what was done is answered as before.
    pub(crate) async fn enter(
        &self,
        group: GroupId,
        commands: Vec<SignedCommand>,
        own: Option<(usize, SignedCommand)>,
        within: Duration,
    ) -> Result<Applied, ProposeFault> {
        let until = Instant::now() + within;
        let mut known = Known::Near;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let vouched = vouch(&self.majority, group, commands.clone(), known, left).await;
            let Some(mut entry) = vouched else {
                tracing::debug!(%group, "too few voters signed a command's claims");
                return Err(if known == Known::Near { ProposeFault::NoLeader } else { unattested() });
            };
            if let Some((at, own)) = &own {
                entry.insert((*at).min(entry.len()), EntryCommand::Vouched(own.clone()));
            }
            let applied = self.propose(group, entry, left).await?;
            if !applied.outcomes.contains(&Outcome::Refused(Refusal::Unattested)) {
                return Ok(applied);
            }
            if until <= Instant::now() + AGAIN {
                // A part of the entry may be done, and the rest may be done later with other signatures.
                return Err(unattested());
            }
            known = Known::Newest;
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// Proposes, at this node only, an entry that another node forwarded.
    pub(crate) async fn propose_forwarded(&self, group: GroupId, entry: &[u8], within: Duration) -> Proposed {
        let entry: Entry = match codec::decode(entry) {
            Ok(entry) => entry,
            Err(fault) => return Proposed::Refused { why: fault.to_string() },
        };
        if brings_data(&entry.commands) && !self.route.consensus.has_room().await {
            return Proposed::Refused { why: ProposeFault::DiskFull.to_string() };
        }
        let entry = codec::encode(&self.entry(entry.commands));
        match self.route.consensus.propose(group, entry, within).await {
            Ok(applied) => Proposed::Applied { index: applied.index, answer: applied.answer.into() },
            Err(ProposeError::NotLeader { leader }) => Proposed::NotLeader { leader },
            Err(ProposeError::Stopped) => Proposed::NotLeader { leader: None },
            Err(error @ (ProposeError::Busy | ProposeError::TooLong { .. })) => {
                Proposed::Refused { why: error.to_string() }
            }
            Err(ProposeError::Unknown { why }) => Proposed::Unknown { why },
        }
    }

    fn entry(&self, commands: Vec<EntryCommand>) -> Entry {
        let mut salt = [0; 16];
        self.host.entropy().fill(&mut salt);
        Entry { salt, wall_unix_ms: self.host.clock().wall_unix_ns() / 1_000_000, commands }
    }

    async fn attempt(
        &self,
        group: GroupId,
        target: Target,
        entry: Bytes,
        grows: bool,
        left: Duration,
    ) -> Step<Result<(u64, Bytes), ProposeFault>> {
        match target {
            Target::Here if grows && self.route.consensus.leads(group) && !self.route.consensus.has_room().await => {
                Step::Done(Err(ProposeFault::DiskFull))
            }
            Target::Here => match self.route.consensus.propose(group, entry.into(), left).await {
                Ok(applied) => Step::Done(Ok((applied.index, applied.answer.into()))),
                Err(ProposeError::NotLeader { leader }) => Step::Elsewhere(leader),
                Err(ProposeError::Stopped) => Step::Elsewhere(None),
                Err(ProposeError::Busy) => Step::Done(Err(ProposeFault::Busy)),
                Err(error @ ProposeError::TooLong { .. }) => Step::Done(Err(unknown(error.to_string()))),
                Err(ProposeError::Unknown { why }) => Step::Done(Err(unknown(why))),
            },
            Target::There(node) => match self.route.peers.propose(&node, group, entry, left).await {
                Ok(Proposed::Applied { index, answer }) => Step::Done(Ok((index, answer))),
                Ok(Proposed::NotLeader { leader }) => Step::Elsewhere(leader),
                Ok(Proposed::Refused { why }) => {
                    tracing::debug!(%node, %group, why, "a leader took no proposal");
                    Step::Done(Err(ProposeFault::Busy))
                }
                Ok(Proposed::Unknown { why }) => Step::Done(Err(unknown(why))),
                Err(error) if error.surely_not_sent() => Step::Elsewhere(None),
                Err(error) => Step::Done(Err(unknown(error.to_string()))),
            },
        }
    }
}

/// Whether an entry may make state and log grow: what callers ask. Nodes' own commands end things and tell time.
fn brings_data(commands: &[EntryCommand]) -> bool {
    commands.iter().any(|command| match command {
        EntryCommand::Client(_)
        | EntryCommand::Vouched(_)
        | EntryCommand::Attested { .. }
        | EntryCommand::Operator(_)
        | EntryCommand::Redeem(_) => true,
        EntryCommand::Node(_) => false,
    })
}

fn unattested() -> ProposeFault {
    unknown("the voters of another group have not signed what is said about it".into())
}

fn unknown(why: String) -> ProposeFault {
    ProposeFault::Unknown { why }
}

impl From<FormatError> for ProposeFault {
    fn from(fault: FormatError) -> Self {
        unknown(fault.to_string())
    }
}
