//! The operator plane: one of the people who run the cluster, connected to it. No operator has data or keys of tenants.
//!
//! ```text
//!   profile ──▶ Operator::connect ──describe──▶ the cluster's epoch ──▶ signed commands to the cluster group
//! ```
//!
//! Promises: a command is signed for the epoch of the cluster that the profile names; the same command again is never
//! executed twice, because its nonce names it. Not here: what operators may do (`tenants.rs`), what they see
//! (`status.rs`).

use std::fmt;
use std::future::Future;
use std::time::Duration;

use strongroom_format::codec;
use strongroom_format::command::{OperatorBody, OperatorCommand};
use strongroom_format::id::{ClusterEpoch, IdentityId, Nonce};
use strongroom_format::outcome::{Done, Outcome};
use strongroom_format::sign::{SigningKey, sign_operator_command};
use strongroom_proto::v1 as pb;
use strongroom_proto::v1::operators_client::OperatorsClient;
use strongroom_proto_identity::spiffe::SpiffeId;
use tonic::transport::Channel;
use tonic::{Response, Status};

use crate::connect::{Deadline, Effect, Nodes};
use crate::error::{Error, Result};
use crate::profile::Profile;
use crate::{connect, keyring, session};

/// An operator, connected to the operator listeners of a cluster.
pub struct Operator {
    identity: IdentityId,
    signing: SigningKey,
    cluster: ClusterEpoch,
    nodes: Nodes,
    patience: Duration,
}

impl Operator {
    /// Connects with the identity of an operator's profile. `patience` is how long each step waits for nodes that do
    /// not answer, elections included.
    ///
    /// # Errors
    /// `Refused` if the profile is none of an operator, its files are unusable, or whoever answers is not the cluster;
    /// `Unavailable` if nobody answers in time.
    pub async fn connect(profile: &Profile, patience: Duration) -> Result<Self> {
        let credentials = connect::credentials(profile)?;
        let SpiffeId::Operator { operator, .. } = &credentials.leaf().id else {
            return Err(Error::refused(
                "FAILED_PRECONDITION",
                "PROFILE",
                "the certificate is not that of an operator",
                "use an operator's profile",
            ));
        };
        let identity = IdentityId(operator.clone());
        let signing = keyring::signing(profile)?;
        let nodes = Nodes::of(profile, &credentials)?;
        let describe =
            |mut client: OperatorsClient<Channel>| async move { client.describe(pb::DescribeRequest {}).await };
        let reply = call(&nodes, Deadline::after(patience), Effect::None, describe).await?;
        if reply.cluster != profile.cluster.name.0.as_str() {
            return Err(Error::provenance("the cluster has another name than the profile says"));
        }
        let cluster = ClusterEpoch::from_slice(&reply.cluster_epoch)
            .map_err(|_| Error::broken("the node's answer has no usable cluster epoch"))?;
        Ok(Self { identity, signing, cluster, nodes, patience })
    }

    /// Who it is.
    pub fn identity(&self) -> &IdentityId {
        &self.identity
    }

    /// The epoch of the cluster that it is connected to.
    pub fn epoch(&self) -> ClusterEpoch {
        self.cluster
    }

    /// Has a command executed once. The nonce names it: the same command with the same nonce again gives the outcome
    /// that it had, for ever.
    pub(crate) async fn submit(&self, nonce: Nonce, body: OperatorBody) -> Result<Done> {
        let command = OperatorCommand { cluster: self.cluster, operator: self.identity.clone(), nonce, body };
        let command = codec::encode(&sign_operator_command(&command, &self.signing));
        let request = pb::OperatorSubmitRequest { command: command.into() };
        let reply = self
            .call(Effect::Changes, |mut client| {
                let request = request.clone();
                async move { client.submit(request).await }
            })
            .await?;
        session::outcome(codec::decode::<Outcome>(&reply.outcome)?)
    }

    /// A call at any of the nodes, until patience ends.
    pub(crate) async fn call<T, F>(&self, effect: Effect, ask: impl Fn(OperatorsClient<Channel>) -> F) -> Result<T>
    where
        F: Future<Output = std::result::Result<Response<T>, Status>>,
    {
        call(&self.nodes, Deadline::after(self.patience), effect, ask).await
    }
}

impl fmt::Debug for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Operator").field("identity", &self.identity).finish_non_exhaustive()
    }
}

async fn call<T, F>(
    nodes: &Nodes,
    deadline: Deadline,
    effect: Effect,
    ask: impl Fn(OperatorsClient<Channel>) -> F,
) -> Result<T>
where
    F: Future<Output = std::result::Result<Response<T>, Status>>,
{
    nodes
        .call(&[], deadline, effect, |endpoint| {
            let client = nodes.operators(&endpoint);
            let ask = &ask;
            async move {
                match client {
                    Ok(client) => ask(client).await,
                    Err(error) => Err(Status::unavailable(error.to_string())),
                }
            }
        })
        .await
}
