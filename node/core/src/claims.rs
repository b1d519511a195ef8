//! Claims: what one group says of itself to another. The other believes it only with the signatures of a majority of the
//! group's voters, verified by each of its replicas in `apply` (`proved.rs`).
//!
//!     claim ──question──▶ a voter's own replica ──answer──▶ is_borne_out ──▶ Statement, signed
//!                                                             └ no ─▶ nobody signs: refused wherever it stands
//!
//! Without that, whoever proposes could join a snapshot that nobody opened and write into another writer's domain, commit
//! parts that nobody sealed, or decide for a home shard (N109, N34). All claims are about what, once so, stays so or is
//! followed by a higher version: a voter that lags signs nothing false. A new kind of claim is one variant here.
//! Not here: asking voters (`node/service`), whose signatures count (`electorates.rs`).

use borsh::{BorshDeserialize, BorshSerialize};
use strongroom_format::codec::{self, Format};
use strongroom_format::command::{BlobRef, Body, Command, MemberSignature, Opened, Sealed, SignedCommand};
use strongroom_format::id::{ClusterEpoch, GroupId, ReplicaId, Signature, TenantId};
use strongroom_format::sign::{self, SigningKey};

use crate::electorates::Electorate;
use crate::entry::{Decided, Ended, Filled, PartEnded, Replaced, Reported, ShardFacts, TenantFacts};
use crate::locking::{PartKeeping, PartKept};
use crate::query::{Answer, ClusterMap, Decision, Query};
use crate::shard::rows::PartState;

/// What a group says of itself.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Claim {
    /// A home shard opened a snapshot.
    Opened(Opened),
    /// A shard sealed its part of one.
    Sealed {
        /// Whose.
        tenant: TenantId,
        /// What it sealed.
        sealed: Sealed,
    },
    /// A home shard decided about one.
    Decided(Decided),
    /// A restorer reported a blob to a home shard.
    Reported(Reported),
    /// A shard's slot is filled by another member.
    Filled(Filled),
    /// The cluster group made a shard.
    Founded(ShardFacts),
    /// The cluster group has a tenant with these shards and this standing.
    Tenant(TenantFacts),
    /// The cluster group allotted an id to who is to fill a slot.
    Replaced(Replaced),
    /// The cluster group has these voters in a group.
    Electorate(Electorate),
    /// A home shard ended a snapshot.
    Ended(Ended),
    /// A shard dropped its part of one that has ended.
    PartEnded(PartEnded),
    /// What keeps a snapshot, as its home shard has it.
    Keeping(PartKeeping),
    /// A shard keeps its part so.
    Kept(PartKept),
}

/// What voters sign: a claim, whose it is, and in which life of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Statement {
    /// The cluster's life.
    pub epoch: ClusterEpoch,
    /// Whose voters sign.
    pub by: GroupId,
    /// What they say.
    pub claim: Claim,
}

impl Format for Statement {
    const VERSION: u8 = 1;
    const BYTES_MAX: usize = 256 << 10;
    const NAME: &'static str = "claim";
}

/// Claims of one group, as a voter is asked about them.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Claims {
    /// At most [`Claims::MAX`].
    pub claims: Vec<Claim>,
}

impl Claims {
    /// At most so many at once: the longest are tens of kilobytes.
    pub const MAX: usize = 32;
}

impl Format for Claims {
    const VERSION: u8 = 1;
    const BYTES_MAX: usize = 3 << 20;
    const NAME: &'static str = "claims";

    fn check(&self) -> Result<(), &'static str> {
        if self.claims.len() <= Self::MAX { Ok(()) } else { Err("too many claims") }
    }
}

impl Statement {
    /// Signs it. Whoever calls this has seen that it is so.
    pub fn sign(&self, key: &SigningKey) -> Signature {
        key.sign(Self::NAME, &codec::encode(self))
    }

    /// The signature as one of this electorate's voter, if it is.
    pub fn counted(
        &self,
        electorate: &Electorate,
        replica: ReplicaId,
        signature: Signature,
    ) -> Option<MemberSignature> {
        let key = electorate.voters.keys.get(&replica)?;
        let good = sign::verify(key, Self::NAME, &codec::encode(self), &signature).is_ok();
        good.then_some(MemberSignature { replica, signature })
    }
}

impl From<Opened> for Claim {
    fn from(opened: Opened) -> Self {
        Claim::Opened(opened)
    }
}

impl From<Decided> for Claim {
    fn from(decided: Decided) -> Self {
        Claim::Decided(decided)
    }
}

impl From<Reported> for Claim {
    fn from(reported: Reported) -> Self {
        Claim::Reported(reported)
    }
}

impl From<Filled> for Claim {
    fn from(filled: Filled) -> Self {
        Claim::Filled(filled)
    }
}

impl From<ShardFacts> for Claim {
    fn from(facts: ShardFacts) -> Self {
        Claim::Founded(facts)
    }
}

impl From<TenantFacts> for Claim {
    fn from(facts: TenantFacts) -> Self {
        Claim::Tenant(facts)
    }
}

impl From<Replaced> for Claim {
    fn from(replaced: Replaced) -> Self {
        Claim::Replaced(replaced)
    }
}

impl From<Ended> for Claim {
    fn from(ended: Ended) -> Self {
        Claim::Ended(ended)
    }
}

impl From<PartEnded> for Claim {
    fn from(ended: PartEnded) -> Self {
        Claim::PartEnded(ended)
    }
}

impl From<PartKeeping> for Claim {
    fn from(keeping: PartKeeping) -> Self {
        Claim::Keeping(keeping)
    }
}

impl From<PartKept> for Claim {
    fn from(kept: PartKept) -> Self {
        Claim::Kept(kept)
    }
}

impl From<Electorate> for Claim {
    fn from(electorate: Electorate) -> Self {
        Claim::Electorate(electorate)
    }
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
    /// The claims that a caller's command makes of other groups, in their order. Bytes that are no command claim nothing;
    /// `apply` refuses them.
    pub fn of(signed: &SignedCommand) -> Vec<Claim> {
        let Ok(Command { tenant, body, .. }) = codec::decode(&signed.command) else {
            return Vec::new();
        };
        match body {
            Body::JoinSnapshot { opened } => vec![Claim::Opened(opened.value)],
            Body::CommitSnapshot { sealed, .. } => {
                sealed.into_iter().map(|claim| Claim::Sealed { tenant, sealed: claim.value }).collect()
            }
            _ => Vec::new(),
        }
    }

    /// The group whose voters know.
    pub fn by(&self) -> GroupId {
        match self {
            Claim::Opened(opened) => opened.home,
            Claim::Sealed { sealed, .. } => sealed.group,
            Claim::Decided(decided) => decided.home,
            Claim::Reported(reported) => reported.home,
            Claim::Filled(filled) => filled.group,
            Claim::Ended(ended) => ended.home,
            Claim::PartEnded(ended) => ended.group,
            Claim::Keeping(keeping) => keeping.home,
            Claim::Kept(kept) => kept.group,
            Claim::Founded(_) | Claim::Tenant(_) | Claim::Replaced(_) | Claim::Electorate(_) => GroupId::CLUSTER,
        }
    }

    /// What to ask that group's applied state.
    pub fn question(&self) -> Query {
        match self {
            Claim::Opened(Opened { tenant, snapshot, .. })
            | Claim::Sealed { tenant, sealed: Sealed { snapshot, .. } } => {
                Query::Part { tenant: *tenant, snapshot: *snapshot }
            }
            Claim::Decided(Decided { tenant, snapshot, .. }) | Claim::Keeping(PartKeeping { tenant, snapshot, .. }) => {
                Query::Decision { tenant: *tenant, snapshot: *snapshot }
            }
            Claim::Kept(PartKept { tenant, snapshot, .. }) => Query::Kept { tenant: *tenant, snapshot: *snapshot },
            Claim::Reported(Reported { tenant, vault, domain, of, .. }) => {
                Query::Reported { tenant: *tenant, vault: *vault, domain: *domain, of: *of }
            }
            Claim::Filled(_) => Query::Shard,
            Claim::Ended(Ended { tenant, snapshot, .. }) => {
                Query::End { tenant: *tenant, snapshot: *snapshot, by: None }
            }
            Claim::PartEnded(PartEnded { tenant, snapshot, .. }) => {
                Query::Part { tenant: *tenant, snapshot: *snapshot }
            }
            Claim::Founded(_) | Claim::Tenant(_) | Claim::Replaced(_) | Claim::Electorate(_) => Query::ClusterMap,
        }
    }

    /// Whether the answer says the same.
    pub fn is_borne_out(&self, answer: &Answer) -> bool {
        match (self, answer) {
            (Claim::Opened(opened), Answer::Part(part)) => match part.state {
                PartState::Open | PartState::Sealed(_) => *opened == part.opened,
                PartState::Committed { .. } | PartState::Dropped => false,
            },
            (Claim::Sealed { sealed, .. }, Answer::Part(part)) => match &part.state {
                PartState::Sealed(real) | PartState::Committed { sealed: real, .. } => sealed == real,
                PartState::Open | PartState::Dropped => false,
            },
            (Claim::Decided(decided), Answer::Decision(decision)) => match decision {
                Decision::Open => false,
                Decision::Committed { kept } => decided.kept.as_ref() == Some(kept),
                Decision::Aborted => decided.kept.is_none(),
            },
            (Claim::Keeping(told), Answer::Decision(Decision::Committed { kept })) => told.keeping == *kept,
            (Claim::Kept(said), Answer::Kept { version }) => said.version <= *version,
            (Claim::Reported(_), Answer::Reported(is_so)) => *is_so,
            (Claim::Ended(_), Answer::End { .. }) => true,
            (Claim::PartEnded(_), Answer::Part(part)) => part.state == PartState::Dropped,
            (Claim::Filled(filled), Answer::Shard(facts)) => {
                facts.members.iter().any(|member| (member.slot, member.replica) == (filled.slot, filled.to))
            }
            (claim, Answer::ClusterMap(map)) => claim.is_on(map),
            _ => false,
        }
    }

    fn is_on(&self, map: &ClusterMap) -> bool {
        match self {
            Claim::Founded(facts) => map.shard_facts(facts.group).is_some_and(|real| real == *facts),
            Claim::Tenant(facts) => map.tenants.iter().any(|row| row.facts == *facts),
            Claim::Replaced(replaced) => {
                let shard = map.shards.iter().find(|shard| shard.group == replaced.group);
                let change = shard.and_then(|shard| shard.changing);
                change.is_some_and(|change| (change.slot, change.to) == (replaced.slot, replaced.to))
            }
            Claim::Electorate(electorate) => map.electorate(electorate.group).is_some_and(|real| real == *electorate),
            Claim::Opened(_)
            | Claim::Sealed { .. }
            | Claim::Decided(_)
            | Claim::Reported(_)
            | Claim::Filled(_)
            | Claim::Ended(_)
            | Claim::PartEnded(_)
            | Claim::Keeping(_)
            | Claim::Kept(_) => false,
        }
    }
}
