//! Raft's messages over the peers' connections, out; and what other nodes ask of this one, in.
//!
//! Not here: connections (`node/peers`), who may speak for which replica (`node/consensus`, `door.rs`).

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use strongroom_consensus::door::HandleError;
use strongroom_consensus::groups::Consensus;
use strongroom_consensus::transport::{Class, Message, Transport, Unreachable};
use strongroom_core::claims::Claims;
use strongroom_format::codec;
use strongroom_format::command::MemberSignature;
use strongroom_format::id::{Digest, GroupId, NodeName, ReplicaId, Signature};
use strongroom_peers::fault::{FetchFault, PutFault, RaftFault, WordFault};
use strongroom_peers::message::{
    About, CheckpointWanted, ClaimsWanted, FragmentFound, FragmentPut, FragmentsWanted, Known, Proposed, Queried,
    RaftClass, RaftMessage, SignedReport,
};
use strongroom_peers::peers::Peers;
use strongroom_peers::serve::Calls;

use crate::admit::Memory;
use crate::attest::Attestor;
use crate::members::Members;
use crate::propose::Proposer;
use crate::reads::Reads;
use crate::report::Reporter;
use crate::sign::Signer;
use crate::voice::not_yet;

/// Consensus' transport over the peers' connections.
#[derive(Clone)]
pub struct OverPeers(pub Peers);

impl fmt::Debug for OverPeers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OverPeers")
    }
}

#[async_trait]
impl Transport for OverPeers {
    async fn call(
        &self,
        to: &NodeName,
        message: Message,
        class: Class,
        within: Duration,
    ) -> Result<Bytes, Unreachable> {
        let class = match class {
            Class::Heartbeat => RaftClass::Heartbeat,
            Class::Bulk => RaftClass::Bulk,
        };
        let Message { group, from, to: meant, kind, body } = message;
        let message = RaftMessage { group, from, to: meant, kind, body };
        let answer = self.0.raft(to, class, message, within).await;
        answer.map_err(|error| Unreachable { node: to.clone(), why: error.to_string() })
    }
}

/// Answers other nodes.
pub struct Answering {
    /// This node.
    pub me: NodeName,
    /// Takes Raft's messages.
    pub consensus: Consensus,
    /// Proposes what was forwarded.
    pub proposer: Proposer,
    /// Reads what was forwarded.
    pub reads: Reads,
    /// Takes and gives fragments.
    pub members: Members,
    /// Knows how far others have been.
    pub memory: Memory,
    /// Reports to ticks.
    pub reporter: Reporter,
    /// Signs checkpoints.
    pub signer: Signer,
    /// Signs claims.
    pub attestor: Attestor,
}

#[async_trait]
impl Calls for Answering {
    fn raft(&self, from: NodeName, message: RaftMessage) -> BoxFuture<'static, Result<Bytes, RaftFault>> {
        let consensus = self.consensus.clone();
        let RaftMessage { group, from: sender, to, kind, body } = message;
        let message = Message { group, from: sender, to, kind, body };
        Box::pin(async move {
            consensus.handle(&from, message).await.map_err(|error| match &error {
                HandleError::NotAMember { .. } => RaftFault::Foreign { why: error.to_string() },
                HandleError::NoSuchGroup(_)
                | HandleError::NotForUs { .. }
                | HandleError::NotAdmitted(_)
                | HandleError::Fenced(_)
                | HandleError::Malformed(_)
                | HandleError::Busy(_)
                | HandleError::Stopped(_) => RaftFault::Unheard { why: error.to_string() },
            })
        })
    }

    async fn propose(&self, _: NodeName, group: GroupId, entry: Bytes, deadline: Duration) -> Proposed {
        self.proposer.propose_forwarded(group, &entry, deadline).await
    }

    async fn query(&self, _: NodeName, group: GroupId, query: Bytes, deadline: Duration) -> Queried {
        self.reads.read_forwarded(group, query, deadline).await
    }

    async fn sign_checkpoint(
        &self,
        _: NodeName,
        wanted: CheckpointWanted,
        deadline: Duration,
    ) -> Result<MemberSignature, WordFault> {
        self.signer.sign(wanted, deadline).await
    }

    async fn sign_claims(
        &self,
        _: NodeName,
        wanted: ClaimsWanted,
        deadline: Duration,
    ) -> Result<Vec<Option<Signature>>, WordFault> {
        let ClaimsWanted { group, log_index, claims } = wanted;
        let claims: Claims = codec::decode(&claims).map_err(|fault| not_yet(&format!("no claims: {fault}")))?;
        self.attestor.sign(group, log_index, claims.claims, deadline).await
    }

    fn put_fragment(&self, from: NodeName, put: FragmentPut) -> BoxFuture<'static, Result<(), PutFault>> {
        let members = self.members.clone();
        Box::pin(async move { members.put(from, put).await })
    }

    fn get_fragments(
        &self,
        from: NodeName,
        wanted: FragmentsWanted,
    ) -> BoxStream<'static, (u32, Result<FragmentFound, FetchFault>)> {
        self.members.get(from, wanted)
    }

    async fn known(&self, from: NodeName, group: GroupId, replica: ReplicaId) -> Result<Known, WordFault> {
        self.memory.known(&from, group, replica).await
    }

    async fn report(
        &self,
        from: NodeName,
        group: GroupId,
        previous: Digest,
        deadline: Duration,
    ) -> Result<SignedReport, WordFault> {
        let report = self.reporter.report_to(&from, group, previous, deadline).await?;
        Ok(SignedReport { facts: codec::encode(&report.value).into(), signature: report.signature })
    }

    fn about(&self) -> About {
        About { node: self.me.to_string(), version: env!("CARGO_PKG_VERSION").to_owned() }
    }
}
