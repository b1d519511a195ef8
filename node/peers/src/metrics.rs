//! What this package counts.

use metrics::{Unit, counter, describe_counter};

const PUTS: &str = "strongroom_peers_fragments_put_total";
const CALLS_FAILED: &str = "strongroom_peers_calls_failed_total";
const INCIDENTS: &str = "strongroom_peers_incidents_total";

/// Says what the names mean. Called once, when the process starts.
pub fn describe() {
    describe_counter!(PUTS, Unit::Count, "Fragments that another node acknowledged as durable");
    describe_counter!(CALLS_FAILED, Unit::Count, "Calls to other nodes without an answer, by kind");
    describe_counter!(
        INCIDENTS,
        Unit::Count,
        "What nodes were refused because it was not theirs to say or ask, by what"
    );
}

/// What a call was about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Raft,
    Propose,
    Query,
    Put,
    Get,
    Ping,
    Known,
    Report,
    Sign,
}

impl Kind {
    fn label(self) -> &'static str {
        match self {
            Self::Raft => "raft",
            Self::Propose => "propose",
            Self::Query => "query",
            Self::Put => "put",
            Self::Get => "get",
            Self::Ping => "ping",
            Self::Known => "known",
            Self::Report => "report",
            Self::Sign => "sign",
        }
    }
}

/// What a node did that it may not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Incident {
    /// It has a good certificate, and no operator let it join.
    NotApproved,
    /// It asked for what only members of a group may have, or in the name of a replica that it does not hold.
    NotAMember,
    /// Its Raft message named a replica that it does not hold.
    ForeignReplica,
}

impl Incident {
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::NotApproved => "not_approved",
            Self::NotAMember => "not_a_member",
            Self::ForeignReplica => "foreign_replica",
        }
    }
}

pub(crate) fn fragment_put() {
    counter!(PUTS).increment(1);
}

pub(crate) fn call_failed(kind: Kind) {
    counter!(CALLS_FAILED, "kind" => kind.label()).increment(1);
}

pub(crate) fn incident(what: Incident) {
    counter!(INCIDENTS, "what" => what.label()).increment(1);
}
