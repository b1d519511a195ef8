//! What this node says of itself as a voter: a signed report for the next tick (DESIGN.md §7.2).
//!
//! ```text
//!   leader asks with the tick before ─▶ has this replica applied it? (waits a moment) ─▶ facts ─▶ signed
//! ```
//!
//! Promises: everything in a report is from this replica's own applied state, log and clocks; a replica that is not
//! admitted yet (`admit.rs`) says nothing, because what it would say could make others forget how far it once was.
//! Not here: who asks when (`tick.rs`), what follows from it (`node/core`, `clock.rs`).

use std::time::Duration;

use strongroom_core::entry::{Report, ReportFacts};
use strongroom_core::query::GroupView;
use strongroom_format::id::{Digest, GroupId, NodeName, ReplicaId};
use strongroom_host::Host;
use strongroom_host::clock::Running;
use strongroom_peers::fault::WordFault;
use tokio::time::Instant;

use crate::voice::{Voice, not_yet};

/// One start of this process. Clones are the same.
#[derive(Clone, Debug)]
pub struct Incarnation {
    host: Host,
    id: [u8; 16],
    began: Running,
}

impl Incarnation {
    /// It begins now. One for each process.
    pub fn begin(host: &Host) -> Self {
        let mut id = [0; 16];
        host.entropy().fill(&mut id);
        Self { host: host.clone(), id, began: Running::begin(host.clock()) }
    }

    fn running_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed(self.host.clock()).as_millis()).unwrap_or(u64::MAX)
    }

    fn wall_unix_ms(&self) -> u64 {
        self.host.clock().wall_unix_ns() / 1_000_000
    }
}

/// Makes this node's reports. Clones are the same.
#[derive(Clone)]
pub struct Reporter {
    voice: Voice,
    incarnation: Incarnation,
}

impl Reporter {
    /// Signed with this voice.
    pub fn new(voice: Voice, incarnation: Incarnation) -> Self {
        Self { voice, incarnation }
    }

    /// The report for the tick behind `previous` that node `from` asks for, which votes in the group.
    pub async fn report_to(
        &self,
        from: &NodeName,
        group: GroupId,
        previous: Digest,
        within: Duration,
    ) -> Result<Report, WordFault> {
        let topology = self.voice.topology.now();
        let may_lead = topology.members_of(group).values().any(|member| member.voter && member.node == *from);
        if !may_lead {
            return Err(WordFault::NotAMember);
        }
        self.report(group, previous, within).await
    }

    /// The report for the tick behind `previous`, as soon as this replica has applied that one.
    pub async fn report(&self, group: GroupId, previous: Digest, within: Duration) -> Result<Report, WordFault> {
        let ends = Instant::now() + within;
        let mut applied = self.voice.consensus.applied(group).ok_or_else(|| not_yet("the group does not run here"))?;
        loop {
            applied.mark_unchanged();
            let view = self.voice.view(group).await?;
            if view.clock.last_tick == previous {
                return self.sign(&view);
            }
            match tokio::time::timeout_at(ends, applied.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return Err(not_yet("the group does not run here")),
                Err(_elapsed) => return Err(not_yet("the tick before is not applied")),
            }
        }
    }

    fn sign(&self, view: &GroupView) -> Result<Report, WordFault> {
        let replica = self.voice.consensus.replica(view.group).ok_or_else(|| not_yet("the group does not run here"))?;
        self.check(view, replica)?;
        let position =
            self.voice.consensus.position(view.group).ok_or_else(|| not_yet("the group does not run here"))?;
        let facts = ReportFacts {
            epoch: self.voice.topology.now().epoch,
            group: view.group,
            replica,
            previous: view.clock.last_tick,
            incarnation: self.incarnation.id,
            running_ms: self.incarnation.running_ms(),
            wall_unix_ms: self.incarnation.wall_unix_ms(),
            durable_index: position.last_index,
            vote_term: position.vote_term,
            digest: view.clock.digest,
        };
        Ok(facts.sign(&self.voice.key))
    }

    /// Whether this replica may speak: it is admitted, and it is the voter that the rows name.
    fn check(&self, view: &GroupView, replica: ReplicaId) -> Result<(), WordFault> {
        if !self.voice.gate.is_admitted(view.group, replica) {
            return Err(not_yet("the replica is not admitted"));
        }
        let is_voter = view.voters.iter().any(|voter| voter.replica == replica && voter.node == self.voice.me);
        if is_voter { Ok(()) } else { Err(not_yet("the replica does not vote")) }
    }
}
