//! Looking into the rules' state of a running cluster: the questions that nodes ask each other, asked with a node's
//! certificate that the peer authority's key makes for us.
//!
//! Not here: what tenants may ask.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use strongroom_core::entry::{Entry, EntryCommand, Outcomes};
use strongroom_core::query::{Answer, LogHead, Query};
use strongroom_core::shard::rows::Usage;
use strongroom_format::codec;
use strongroom_format::id::{GroupId, TenantId};
use strongroom_format::outcome::Outcome;
use strongroom_proto::v1 as pb;
use strongroom_proto::v1::peers_client::PeersClient;
use strongroom_proto::v1::propose_reply::How as Proposed;
use strongroom_proto::v1::query_reply::How;
use strongroom_proto::v1::sign_claims_reply::How as Signed;
use tokio::time::Instant;
use tonic::transport::Channel;

use crate::bearer::{Authority, Bearer, Door};
use crate::cluster::{Cluster, PATIENCE};
use crate::speaker::channel;

/// The peer plane of all nodes.
pub struct Inside {
    nodes: BTreeMap<String, PeersClient<Channel>>,
}

/// What a tenant has in a shard, and its log there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// What lies there.
    pub usage: Usage,
    /// How many leaves its log has.
    pub leaves: u64,
}

impl Inside {
    /// Calls all nodes as if we were the first of them.
    pub async fn of(cluster: &Cluster) -> Self {
        let us = &cluster.nodes[0];
        let uri = format!("spiffe://{}/node/{}/{}", cluster.name, us.region, us.name);
        let bearer: Bearer = Authority::of_plane(cluster, "peer").issue(&uri);
        let mut nodes = BTreeMap::new();
        for node in &cluster.nodes {
            let channel = channel(cluster, node, Door::Peer, &bearer).await;
            nodes.insert(node.name.clone(), PeersClient::new(channel).max_decoding_message_size(64 << 20));
        }
        Self { nodes }
    }

    /// The answer of whoever leads the group.
    pub async fn ask(&self, group: GroupId, query: &Query) -> Answer {
        let deadline = Instant::now() + PATIENCE;
        let request = pb::QueryRequest { group: group.0, query: codec::encode(query).into(), deadline_ms: 2_000 };
        loop {
            for client in self.nodes.values() {
                let reply = client.clone().query(request.clone()).await;
                if let Ok(Some(How::Answer(answer))) = reply.map(|reply| reply.into_inner().how) {
                    return codec::decode(&answer).expect("an answer");
                }
            }
            assert!(Instant::now() < deadline, "nobody leads group {group}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// What became of commands that a node proposes past its own software.
    pub async fn propose(&self, group: GroupId, commands: Vec<EntryCommand>) -> Vec<Outcome> {
        let deadline = Instant::now() + PATIENCE;
        let entry = codec::encode(&Entry { salt: [0; 16], wall_unix_ms: 0, commands });
        let request = pb::ProposeRequest { group: group.0, entry: entry.into(), deadline_ms: 5_000 };
        loop {
            for client in self.nodes.values() {
                let reply = client.clone().propose(request.clone()).await;
                if let Ok(Some(Proposed::Applied(applied))) = reply.map(|reply| reply.into_inner().how) {
                    return codec::decode::<Outcomes>(&applied.answer).expect("outcomes").outcomes;
                }
            }
            assert!(Instant::now() < deadline, "nobody leads group {group}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// What each node signs of claims, given as their canonical bytes.
    pub async fn sign_claims(&self, group: GroupId, claims: Bytes) -> Vec<Signed> {
        let request = pb::SignClaimsRequest { group: group.0, log_index: 0, claims, deadline_ms: 2_000 };
        let mut all = Vec::new();
        for client in self.nodes.values() {
            let reply = client.clone().sign_claims(request.clone()).await;
            // A node that is no member refuses.
            all.extend(reply.ok().and_then(|reply| reply.into_inner().how));
        }
        all
    }

    /// What a tenant has in a shard.
    pub async fn held(&self, group: GroupId, tenant: TenantId) -> Held {
        let usage = match self.ask(group, &Query::Usage { tenant }).await {
            Answer::Usage(usage) => usage,
            other => panic!("no usage: {other:?}"),
        };
        let LogHead { size: leaves, .. } =
            match self.ask(group, &Query::Consistency { tenant, old: 0, new: None }).await {
                Answer::Consistency { head, .. } => head,
                other => panic!("no log: {other:?}"),
            };
        Held { usage, leaves }
    }
}
