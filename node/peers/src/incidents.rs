//! Nodes that speak for what is not theirs: a node that nobody approved, another node's replica, a group without a member
//! of the asking node (N95–N97). Each is refused with a code and a reason, counted, and told to people at most once a
//! second, with how many there were: anybody with a node's certificate can make them.
//!
//! A node that was just added or replaced may be met here by one that has not heard of it yet; many, or one that goes on,
//! are what a person must look at. Not here: who is a member of what (above).

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use strongroom_format::id::NodeName;
use strongroom_proto::REASON;
use tokio::time::Instant;
use tonic::metadata::MetadataValue;
use tonic::{Code, Status};

use crate::metrics::{self, Incident};

/// At most one line in this time.
const TOLD_EVERY: Duration = Duration::from_secs(1);

/// The incidents of this node's peer plane.
#[derive(Debug, Default)]
pub(crate) struct Incidents(Mutex<Told>);

#[derive(Debug, Default)]
struct Told {
    last: Option<Instant>,
    untold: u64,
}

impl Incidents {
    /// Counts one.
    pub(crate) fn met(&self, node: &NodeName, what: Incident) {
        metrics::incident(what);
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        told.untold += 1;
        if told.last.is_none_or(|last| TOLD_EVERY <= now.saturating_duration_since(last)) {
            let Told { untold, .. } = std::mem::replace(&mut *told, Told { last: Some(now), untold: 0 });
            tracing::warn!(%node, what = what.label(), count = untold, "a node spoke for what is not its own");
        }
    }

    /// Counts one, and says what it is answered.
    pub(crate) fn refuse(&self, node: &NodeName, what: Incident) -> Status {
        self.met(node, what);
        status(what)
    }
}

/// What a node is answered.
fn status(incident: Incident) -> Status {
    let (code, reason, text) = match incident {
        Incident::NotApproved => (Code::FailedPrecondition, "NEEDS_APPROVAL", "the cluster has no such node"),
        Incident::NotAMember | Incident::ForeignReplica => {
            (Code::PermissionDenied, "NOT_A_MEMBER", "the asking node has no such member of the group")
        }
    };
    let mut status = Status::new(code, format!("{reason}: {text}"));
    status.metadata_mut().insert(REASON, MetadataValue::from_static(reason));
    status
}
