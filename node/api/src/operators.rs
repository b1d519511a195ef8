//! The operator plane: who, what, do, answer. Operators have no data and no keys.

use std::time::Duration;

use bytes::Bytes;
use strongroom_core::entry::EntryCommand;
use strongroom_core::query::{Answer, Query};
use strongroom_format::command::OperatorBody;
use strongroom_format::id::{Digest, GroupId};
use strongroom_format::statement::issuer_digest;
use strongroom_proto::v1 as pb;
use strongroom_proto::v1::operators_server::Operators;
use strongroom_service::propose::{ProposeFault, Proposer};
use strongroom_service::reads::Reads;
use strongroom_service::status::Statuses;
use strongroom_service::topology::InForce;
use tonic::{Request, Response, Status};

use crate::callers::Callers;
use crate::enrol::{self, EnrolmentDoor};
use crate::{answers, revocations, wire};

/// An entry may take so long, elections included; then its outcome is unknown.
const SUBMIT_WITHIN: Duration = Duration::from_secs(12);

/// Questions may take so long.
const ASK_WITHIN: Duration = Duration::from_secs(8);

/// What the operator plane stands on.
#[derive(Clone)]
pub struct OperatorsPlane {
    /// Who calls.
    pub callers: Callers,
    /// Where everything is.
    pub topology: InForce,
    /// Questions to the cluster group.
    pub reads: Reads,
    /// Into the cluster group's log.
    pub proposer: Proposer,
    /// How things are.
    pub statuses: Statuses,
    /// Where strangers go, if this node lets them in.
    pub door: Option<EnrolmentDoor>,
}

#[tonic::async_trait]
impl Operators for OperatorsPlane {
    async fn submit(
        &self,
        request: Request<pb::OperatorSubmitRequest>,
    ) -> Result<Response<pb::OperatorSubmitReply>, Status> {
        let operator = self.callers.operator(&request, "/strongroom.v1.Operators/Submit")?;
        let (command, body) = wire::operator_command(&operator, &request.get_ref().command)?;
        if let OperatorBody::PutRevocations { issuer, number, revocations } = &body {
            self.is_its_list(*issuer, *number, revocations).await?;
        }
        let entry = vec![EntryCommand::Operator(command)];
        let applied = self.proposer.propose(GroupId::CLUSTER, entry, SUBMIT_WITHIN).await.map_err(answers::status)?;
        let outcome = applied.outcomes.first().ok_or_else(no_outcome)?;
        Ok(Response::new(pb::OperatorSubmitReply { outcome: wire::outcome(outcome) }))
    }

    async fn describe(&self, request: Request<pb::DescribeRequest>) -> Result<Response<pb::DescribeReply>, Status> {
        self.callers.operator(&request, "/strongroom.v1.Operators/Describe")?;
        let topology = self.topology.now();
        let cluster_epoch = Bytes::copy_from_slice(topology.epoch.as_bytes());
        Ok(Response::new(pb::DescribeReply {
            cluster: topology.cluster.to_string(),
            cluster_epoch,
            door: enrol::door(self.door.as_ref()),
        }))
    }

    async fn status(&self, request: Request<pb::StatusRequest>) -> Result<Response<pb::StatusReply>, Status> {
        self.callers.operator(&request, "/strongroom.v1.Operators/Status")?;
        let status = self.statuses.of_cluster().await;
        Ok(Response::new(wire::status(self.topology.now().cluster.to_string(), status)))
    }
}

impl OperatorsPlane {
    /// Refuses a list that is not this CA's. A CA that is not there is the rules' to refuse.
    async fn is_its_list(&self, issuer: Digest, number: u64, list: &[u8]) -> Result<(), Status> {
        let map = self.reads.linearizable(GroupId::CLUSTER, &Query::ClusterMap, ASK_WITHIN).await;
        let Answer::ClusterMap(map) = map.map_err(answers::status)? else { return Err(no_outcome()) };
        match map.issuers.iter().find(|row| issuer_digest(&row.certificate) == issuer) {
            Some(row) => revocations::check(&row.certificate, number, list).map_err(answers::status),
            None => Ok(()),
        }
    }
}

fn no_outcome() -> Status {
    answers::status(ProposeFault::Unknown { why: "the rules answered nothing".into() })
}
