//! Claims: what a client's command says about another group. From the rules' version that builds it on, such a claim
//! carries the signatures of a majority of that group's voters and `apply` verifies them. Until then a node's word counts
//! (DESIGN.md §13), and this is how a node comes to give it: before it proposes a command, it asks the other group.
//!
//!     command ──of──▶ claims ──each: question──▶ the other group ──answer──▶ is_borne_out ──▶ EntryCommand::Vouched
//!                                                                               └ no ─────▶ EntryCommand::Client: refused
//!
//! Without that, any caller could join a snapshot that nobody opened and write into another writer's domain, or commit
//! parts that nobody sealed (N109, N34). Not here: asking (`node/service`).

use strongroom_format::codec;
use strongroom_format::command::{BlobRef, Body, Command, Opened, Sealed, SignedCommand};
use strongroom_format::id::{GroupId, TenantId};

use crate::entry::Reported;
use crate::query::{Answer, Query};
use crate::shard::rows::PartState;

/// What a command says about another group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    tenant: TenantId,
    said: Said,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Said {
    Opened(Opened),
    Sealed(Sealed),
}

/// The blob that a command reports to its home shard: once that was done, the tenant's other shards are told, each by
/// [`crate::entry::NodeCommand::HideBlob`], because the blob may lie there. Telling one twice, or one that does not have
/// it, changes nothing.
pub fn reported(signed: &SignedCommand) -> Option<Reported> {
    let Command { tenant, group, body, .. } = codec::decode(&signed.command).ok()?;
    match body {
        Body::ReportBlob { vault, domain, chunk, blob, .. } => {
            Some(Reported { home: group, tenant, vault, domain, of: BlobRef { chunk, blob } })
        }
        _ => None,
    }
}

impl Claim {
    /// The claims of a command. Bytes that are no command claim nothing; `apply` refuses them.
    pub fn of(signed: &SignedCommand) -> Vec<Claim> {
        let Ok(Command { tenant, body, .. }) = codec::decode(&signed.command) else {
            return Vec::new();
        };
        match body {
            Body::JoinSnapshot { opened } => vec![Claim { tenant, said: Said::Opened(opened.value) }],
            Body::CommitSnapshot { sealed, .. } => {
                sealed.into_iter().map(|claim| Claim { tenant, said: Said::Sealed(claim.value) }).collect()
            }
            _ => Vec::new(),
        }
    }

    /// The group that knows, and what to ask it, at its read index.
    pub fn question(&self) -> (GroupId, Query) {
        let (group, snapshot) = match &self.said {
            Said::Opened(opened) => (opened.home, opened.snapshot),
            Said::Sealed(sealed) => (sealed.group, sealed.snapshot),
        };
        (group, Query::Part { tenant: self.tenant, snapshot })
    }

    /// Whether the answer says the same. If not, the command would be refused: it is about something that is not so.
    pub fn is_borne_out(&self, answer: &Answer) -> bool {
        let Answer::Part(part) = answer else {
            return false;
        };
        match (&self.said, &part.state) {
            (Said::Opened(opened), PartState::Open | PartState::Sealed(_)) => {
                *opened == part.opened && opened.tenant == self.tenant
            }
            (Said::Sealed(sealed), PartState::Sealed(real) | PartState::Committed { sealed: real, .. }) => {
                sealed == real
            }
            (Said::Opened(_), PartState::Committed { .. } | PartState::Dropped)
            | (Said::Sealed(_), PartState::Open | PartState::Dropped) => false,
        }
    }
}
