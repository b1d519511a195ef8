//! The voters of a group: what each said last, and who is fenced.
//!
//!     shard: the members of the first `min(k + m, 2m + 1)` slots ─┐
//!     cluster group: the nodes that vote ─────────────────────────┴─▶ Electorate ──reports──▶ VoterRow · FencedRow
//!
//! Both rows go when their replica id votes no more. Not here: what a report must fulfil (`reports.rs`), what it votes for
//! (`baselines.rs`), who becomes a voter (`shard/members.rs`, `cluster/votes.rs`).

use borsh::{BorshDeserialize, BorshSerialize};
use strongroom_format::id::{ClusterEpoch, Digest, GroupId, NodeName, PublicKey, ReplicaId};

use crate::baselines::Baseline;
use crate::entry::ReportFacts;
use crate::row::{Space, rows};
use crate::tables::{Halt, Reads, Tables};

/// What a voter said in its last report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct VoterRow {
    /// Random, new at each start of its process.
    pub incarnation: [u8; 16],
    /// Milliseconds since the incarnation began.
    pub running_ms: u64,
    /// Its wall clock, in milliseconds since 1970.
    pub wall_unix_ms: u64,
    /// How far its log was durable.
    pub durable_index: u64,
    /// The term of its durable vote.
    pub vote_term: u64,
    /// Its digest at the tick before.
    pub digest: Digest,
    /// The number of the tick in which it said so.
    pub tick: u64,
    /// What its running clock is counted from.
    pub baseline: Baseline,
}

impl VoterRow {
    /// Whether the voter's running clock ran on to this report, in the tick of this number: it said something in the tick
    /// before, did not start again meanwhile, and its clock did not go back. Else nobody knows what it counted.
    pub fn ran_on(&self, said: &ReportFacts, number: u64) -> bool {
        self.tick.checked_add(1) == Some(number)
            && self.incarnation == said.incarnation
            && self.running_ms <= said.running_ms
    }

    /// What it voted for when it said so, in milliseconds of `E`; at most 2 s ahead of it.
    pub fn vote_ms(&self) -> u64 {
        self.baseline.vote_ms(self.running_ms)
    }
}

/// A voter that holds another state than the majority: it neither leads, votes nor sweeps, and its reports count no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct FencedRow {
    /// The number of the tick that showed it.
    pub tick: u64,
}

rows! {
    named VOTER_TABLES;
    VoterRow: "voter row", 128, 4, (ReplicaId,);
    FencedRow: "fenced row", 16, 5, (ReplicaId,);
}

/// A member that votes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Voter {
    pub(crate) replica: ReplicaId,
    pub(crate) node: NodeName,
    pub(crate) signing_key: PublicKey,
}

/// A voter and how it stands.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct VoterView {
    /// Which.
    pub replica: ReplicaId,
    /// On which node.
    pub node: NodeName,
    /// What its reports and checkpoints are verified with.
    pub signing_key: PublicKey,
    /// What it reported last; `None`: nothing yet.
    pub last: Option<VoterRow>,
    /// Whether it reported another digest than the majority. It neither leads, votes nor sweeps any more.
    pub fenced: bool,
}

/// Those who vote in one group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Electorate {
    pub(crate) epoch: ClusterEpoch,
    pub(crate) group: GroupId,
    /// Sorted by replica id.
    voters: Vec<Voter>,
}

impl Electorate {
    /// Of these, in any order.
    pub(crate) fn new(epoch: ClusterEpoch, group: GroupId, mut voters: Vec<Voter>) -> Self {
        voters.sort_by_key(|voter| voter.replica);
        Self { epoch, group, voters }
    }

    /// All of them.
    pub(crate) fn voters(&self) -> &[Voter] {
        &self.voters
    }

    /// More than half.
    pub(crate) fn majority(&self) -> usize {
        self.voters.len() / 2 + 1
    }

    /// The voter of that id.
    pub(crate) fn voter(&self, replica: ReplicaId) -> Option<&Voter> {
        self.voters.iter().find(|voter| voter.replica == replica)
    }

    /// Each with how it stands.
    pub(crate) fn views(&self, reads: &dyn Reads) -> Result<Vec<VoterView>, Halt> {
        let view = |voter: &Voter| {
            Ok(VoterView {
                replica: voter.replica,
                node: voter.node.clone(),
                signing_key: voter.signing_key,
                last: Space::whole().get::<VoterRow>(reads, &(voter.replica,))?,
                fenced: is_fenced(reads, voter.replica)?,
            })
        };
        self.voters.iter().map(view).collect()
    }
}

/// Whether a voter is fenced.
pub(crate) fn is_fenced(reads: &dyn Reads, replica: ReplicaId) -> Result<bool, Halt> {
    Space::whole().has::<FencedRow>(reads, &(replica,))
}

/// Forgets what is known of a replica id that votes no more.
pub(crate) fn forget(tables: &mut dyn Tables, replica: ReplicaId) -> Result<(), Halt> {
    Space::whole().delete::<VoterRow>(tables, &(replica,))?;
    Space::whole().delete::<FencedRow>(tables, &(replica,))
}
