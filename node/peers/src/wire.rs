//! Between Protobuf and our own types, on both ends. Nothing else in this package sees generated messages but the calls
//! that carry them.

use std::error::Error;

use bytes::Bytes;
use strongroom_format::command::MemberSignature;
use strongroom_format::id::{BlobId, Digest, GroupId, LeaseId, NodeName, ReplicaId, Signature, TenantId};
use strongroom_proto::v1;
use tonic::Status;

use crate::fault::FetchFault;
use crate::message::{
    CheckpointWanted, ClaimsWanted, FragmentFound, FragmentPut, FragmentsWanted, Known, KnownPosition, Proposed,
    Queried, RaftMessage, SignedReport,
};

/// A field is missing or outside its range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// Whether a failed call surely never left: the connection could not be made.
pub(crate) fn surely_not_sent(status: &Status) -> bool {
    let mut cause: Option<&(dyn Error + 'static)> = status.source();
    while let Some(error) = cause {
        if error.is::<tonic::ConnectError>() {
            return true;
        }
        cause = error.source();
    }
    false
}

/// What failed, with its innermost cause: the outer ones say "transport error".
pub(crate) fn describe(status: &Status) -> String {
    let mut innermost = None;
    let mut cause: Option<&(dyn Error + 'static)> = status.source();
    while let Some(error) = cause {
        innermost = Some(error);
        cause = error.source();
    }
    match innermost {
        Some(error) => error.to_string(),
        None => format!("{:?}: {}", status.code(), status.message()),
    }
}

pub(crate) fn raft_frame(message: RaftMessage) -> v1::RaftFrame {
    let RaftMessage { group, from, to, kind, body } = message;
    let kind = u32::from(kind);
    v1::RaftFrame { request: 0, group: group.0, from: from.0, to: to.0, kind, body, refused: String::new() }
}

pub(crate) fn raft_message(frame: v1::RaftFrame) -> Result<RaftMessage, Malformed> {
    Ok(RaftMessage {
        group: GroupId(frame.group),
        from: ReplicaId(frame.from),
        to: ReplicaId(frame.to),
        kind: u8::try_from(frame.kind).map_err(|_| Malformed)?,
        body: frame.body,
    })
}

pub(crate) fn not_leader(leader: Option<NodeName>) -> v1::NotLeader {
    v1::NotLeader { leader: leader.map(|node| node.to_string()).unwrap_or_default() }
}

pub(crate) fn digest(digest: Digest) -> Bytes {
    Bytes::copy_from_slice(digest.as_bytes())
}

pub(crate) fn known_reply(known: Result<Known, String>) -> v1::KnownReply {
    use v1::known_reply::How;
    let position = |KnownPosition { vote_term, last_index }| v1::Position { vote_term, last_index };
    match known {
        Ok(Known { of_it, own, leads_since_founding }) => {
            v1::KnownReply { how: Some(How::Position(position(of_it))), own: Some(position(own)), leads_since_founding }
        }
        Err(why) => v1::KnownReply { how: Some(How::NotYet(why)), ..v1::KnownReply::default() },
    }
}

pub(crate) fn known(reply: v1::KnownReply) -> Result<Known, String> {
    use v1::known_reply::How;
    let position = |v1::Position { vote_term, last_index }| KnownPosition { vote_term, last_index };
    match reply.how {
        Some(How::Position(of_it)) => Ok(Known {
            of_it: position(of_it),
            own: position(reply.own.unwrap_or_default()),
            leads_since_founding: reply.leads_since_founding,
        }),
        Some(How::NotYet(why)) => Err(why),
        None => Err("an answer of an unknown kind".into()),
    }
}

pub(crate) fn report_reply(report: Result<SignedReport, String>) -> v1::ReportReply {
    use v1::report_reply::How;
    let how = match report {
        Ok(SignedReport { facts, signature }) => {
            How::Report(v1::SignedReport { facts, signature: Bytes::copy_from_slice(&signature.0) })
        }
        Err(why) => How::NotYet(why),
    };
    v1::ReportReply { how: Some(how) }
}

pub(crate) fn report(reply: v1::ReportReply) -> Result<SignedReport, String> {
    use v1::report_reply::How;
    match reply.how {
        Some(How::Report(v1::SignedReport { facts, signature })) => match <[u8; 64]>::try_from(&signature[..]) {
            Ok(signature) => Ok(SignedReport { facts, signature: Signature(signature) }),
            Err(_) => Err("a report without a signature".into()),
        },
        Some(How::NotYet(why)) => Err(why),
        None => Err("an answer of an unknown kind".into()),
    }
}

pub(crate) fn sign_checkpoint(wanted: CheckpointWanted, deadline_ms: u64) -> v1::SignCheckpointRequest {
    let CheckpointWanted { group, tenant, size, log_index } = wanted;
    let tenant = Bytes::copy_from_slice(tenant.as_bytes());
    v1::SignCheckpointRequest { group: group.0, tenant, size, log_index, deadline_ms }
}

pub(crate) fn checkpoint_wanted(request: &v1::SignCheckpointRequest) -> Result<CheckpointWanted, Malformed> {
    Ok(CheckpointWanted {
        group: GroupId(request.group),
        tenant: TenantId::from_slice(&request.tenant).map_err(|_| Malformed)?,
        size: request.size,
        log_index: request.log_index,
    })
}

pub(crate) fn sign_claims(wanted: ClaimsWanted, deadline_ms: u64) -> v1::SignClaimsRequest {
    let ClaimsWanted { group, log_index, claims } = wanted;
    v1::SignClaimsRequest { group: group.0, log_index, claims, deadline_ms }
}

pub(crate) fn claims_wanted(request: v1::SignClaimsRequest) -> ClaimsWanted {
    let v1::SignClaimsRequest { group, log_index, claims, .. } = request;
    ClaimsWanted { group: GroupId(group), log_index, claims }
}

pub(crate) fn sign_claims_reply(signed: Result<Vec<Option<Signature>>, String>) -> v1::SignClaimsReply {
    use v1::sign_claims_reply::How;
    let bytes = |signature: Option<Signature>| signature.map_or_else(Bytes::new, |it| Bytes::copy_from_slice(&it.0));
    let how = match signed {
        Ok(signatures) => {
            How::Signatures(v1::ClaimSignatures { signatures: signatures.into_iter().map(bytes).collect() })
        }
        Err(why) => How::NotYet(why),
    };
    v1::SignClaimsReply { how: Some(how) }
}

pub(crate) fn claim_signatures(reply: v1::SignClaimsReply) -> Result<Vec<Option<Signature>>, String> {
    use v1::sign_claims_reply::How;
    let signature = |bytes: Bytes| match (bytes.is_empty(), <[u8; 64]>::try_from(&bytes[..])) {
        (true, _) => Ok(None),
        (false, Ok(signature)) => Ok(Some(Signature(signature))),
        (false, Err(_)) => Err("a signature of another length".to_owned()),
    };
    match reply.how {
        Some(How::Signatures(v1::ClaimSignatures { signatures })) => signatures.into_iter().map(signature).collect(),
        Some(How::NotYet(why)) => Err(why),
        None => Err("an answer of an unknown kind".into()),
    }
}

pub(crate) fn sign_checkpoint_reply(signed: Result<MemberSignature, String>) -> v1::SignCheckpointReply {
    use v1::sign_checkpoint_reply::How;
    let how = match signed {
        Ok(MemberSignature { replica, signature }) => How::Signature(v1::CheckpointSignature {
            replica: replica.0,
            signature: Bytes::copy_from_slice(&signature.0),
        }),
        Err(why) => How::NotYet(why),
    };
    v1::SignCheckpointReply { how: Some(how) }
}

pub(crate) fn checkpoint_signature(reply: v1::SignCheckpointReply) -> Result<MemberSignature, String> {
    use v1::sign_checkpoint_reply::How;
    match reply.how {
        Some(How::Signature(v1::CheckpointSignature { replica, signature })) => {
            match <[u8; 64]>::try_from(&signature[..]) {
                Ok(signature) => Ok(MemberSignature { replica: ReplicaId(replica), signature: Signature(signature) }),
                Err(_) => Err("a signature of another length".into()),
            }
        }
        Some(How::NotYet(why)) => Err(why),
        None => Err("an answer of an unknown kind".into()),
    }
}

/// A name that is none counts as unknown: it is a hint.
fn leader(not_leader: &v1::NotLeader) -> Option<NodeName> {
    not_leader.leader.parse().ok()
}

pub(crate) fn propose_reply(proposed: Proposed) -> v1::ProposeReply {
    use v1::propose_reply::How;
    let how = match proposed {
        Proposed::Applied { index, answer } => How::Applied(v1::Applied { index, answer }),
        Proposed::NotLeader { leader } => How::NotLeader(not_leader(leader)),
        Proposed::Refused { why } => How::Refused(why),
        Proposed::Unknown { why } => How::Unknown(why),
    };
    v1::ProposeReply { how: Some(how) }
}

pub(crate) fn proposed(reply: v1::ProposeReply) -> Proposed {
    use v1::propose_reply::How;
    match reply.how {
        Some(How::Applied(v1::Applied { index, answer })) => Proposed::Applied { index, answer },
        Some(How::NotLeader(not_leader)) => Proposed::NotLeader { leader: leader(&not_leader) },
        Some(How::Refused(why)) => Proposed::Refused { why },
        Some(How::Unknown(why)) => Proposed::Unknown { why },
        None => Proposed::Unknown { why: "an answer of an unknown kind".into() },
    }
}

pub(crate) fn query_reply(queried: Queried) -> v1::QueryReply {
    use v1::query_reply::How;
    let how = match queried {
        Queried::Answer(answer) => How::Answer(answer),
        Queried::NotLeader { leader } => How::NotLeader(not_leader(leader)),
        Queried::Failed { why } => How::Failed(why),
    };
    v1::QueryReply { how: Some(how) }
}

pub(crate) fn queried(reply: v1::QueryReply) -> Queried {
    use v1::query_reply::How;
    match reply.how {
        Some(How::Answer(answer)) => Queried::Answer(answer),
        Some(How::NotLeader(not_leader)) => Queried::NotLeader { leader: leader(&not_leader) },
        Some(How::Failed(why)) => Queried::Failed { why },
        None => Queried::Failed { why: "an answer of an unknown kind".into() },
    }
}

pub(crate) fn put_fragment(put: FragmentPut) -> v1::PutFragment {
    v1::PutFragment {
        request: 0,
        group: put.group.0,
        tenant: Bytes::copy_from_slice(put.tenant.as_bytes()),
        lease: put.lease.0,
        blob: Bytes::copy_from_slice(put.blob.as_bytes()),
        index: u32::from(put.index),
        blob_bytes: put.blob_bytes,
        payload_hash: Bytes::copy_from_slice(put.payload_hash.as_bytes()),
        payload: put.payload,
    }
}

pub(crate) fn fragment_put(put: v1::PutFragment) -> Result<FragmentPut, Malformed> {
    Ok(FragmentPut {
        group: GroupId(put.group),
        tenant: TenantId::from_slice(&put.tenant).map_err(|_| Malformed)?,
        lease: LeaseId(put.lease),
        blob: BlobId::from_slice(&put.blob).map_err(|_| Malformed)?,
        index: u8::try_from(put.index).map_err(|_| Malformed)?,
        blob_bytes: put.blob_bytes,
        payload_hash: Digest::from_slice(&put.payload_hash).map_err(|_| Malformed)?,
        payload: put.payload,
    })
}

pub(crate) fn get_fragments(wanted: &FragmentsWanted) -> v1::GetFragmentsRequest {
    let fragment = |(blob, index): &(BlobId, u8)| v1::WantedFragment {
        blob: Bytes::copy_from_slice(blob.as_bytes()),
        index: u32::from(*index),
    };
    v1::GetFragmentsRequest {
        group: wanted.group.0,
        tenant: Bytes::copy_from_slice(wanted.tenant.as_bytes()),
        wanted: wanted.wanted.iter().map(fragment).collect(),
    }
}

pub(crate) fn fragments_wanted(request: &v1::GetFragmentsRequest) -> Result<FragmentsWanted, Malformed> {
    if FragmentsWanted::AT_ONCE_MAX < request.wanted.len() {
        return Err(Malformed);
    }
    let wanted = |fragment: &v1::WantedFragment| {
        let blob = BlobId::from_slice(&fragment.blob).map_err(|_| Malformed)?;
        let index = u8::try_from(fragment.index).map_err(|_| Malformed)?;
        Ok((blob, index))
    };
    Ok(FragmentsWanted {
        group: GroupId(request.group),
        tenant: TenantId::from_slice(&request.tenant).map_err(|_| Malformed)?,
        wanted: request.wanted.iter().map(wanted).collect::<Result<_, _>>()?,
    })
}

pub(crate) fn fragment(at: u32, found: Result<FragmentFound, FetchFault>) -> v1::Fragment {
    match found {
        Ok(found) => v1::Fragment {
            at,
            code: 0,
            blob_bytes: found.blob_bytes,
            payload_hash: Bytes::copy_from_slice(found.payload_hash.as_bytes()),
            payload: found.payload,
        },
        Err(fault) => {
            v1::Fragment { at, code: fault.code(), blob_bytes: 0, payload_hash: Bytes::new(), payload: Bytes::new() }
        }
    }
}

/// The place in what was wanted, and what was found there.
pub(crate) fn fragment_found(fragment: v1::Fragment) -> (u32, Result<FragmentFound, FetchFault>) {
    if fragment.code != 0 {
        return (fragment.at, Err(FetchFault::from_code(fragment.code)));
    }
    let Ok(payload_hash) = Digest::from_slice(&fragment.payload_hash) else {
        return (fragment.at, Err(FetchFault::Damaged));
    };
    (fragment.at, Ok(FragmentFound { blob_bytes: fragment.blob_bytes, payload_hash, payload: fragment.payload }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put() -> FragmentPut {
        FragmentPut {
            group: GroupId(3),
            tenant: TenantId::from_bytes([1; 16]),
            lease: LeaseId(7 << 12),
            blob: BlobId::from_bytes([2; 32]),
            index: 5,
            blob_bytes: 99,
            payload_hash: Digest::from_bytes([3; 32]),
            payload: Bytes::from_static(b"fragment"),
        }
    }

    #[test]
    fn a_fragment_survives_the_way_through_protobuf() {
        assert_eq!(fragment_put(put_fragment(put())), Ok(put()));
    }

    #[test]
    fn a_fragment_with_a_field_of_the_wrong_length_is_malformed() {
        let wrong: [fn(&mut v1::PutFragment); 5] = [
            |put| put.tenant = Bytes::new(),
            |put| put.blob = Bytes::from_static(&[0; 31]),
            |put| put.blob = Bytes::from_static(&[0; 33]),
            |put| put.payload_hash = Bytes::from_static(&[0; 1]),
            |put| put.index = 256,
        ];
        for change in wrong {
            let mut message = put_fragment(put());
            change(&mut message);
            assert_eq!(fragment_put(message), Err(Malformed));
        }
    }

    #[test]
    fn a_request_for_too_many_fragments_is_malformed() {
        let wanted = |count| FragmentsWanted {
            group: GroupId(1),
            tenant: TenantId::from_bytes([1; 16]),
            wanted: vec![(BlobId::from_bytes([9; 32]), 1); count],
        };
        let most = wanted(FragmentsWanted::AT_ONCE_MAX);
        assert_eq!(fragments_wanted(&get_fragments(&most)), Ok(most));
        let too_many = wanted(FragmentsWanted::AT_ONCE_MAX + 1);
        assert_eq!(fragments_wanted(&get_fragments(&too_many)), Err(Malformed));
    }

    #[test]
    fn answers_survive_the_way_through_protobuf_and_unknown_ones_are_unknown() {
        let leader = Some("n1".parse().unwrap());
        for outcome in [
            Proposed::Applied { index: 9, answer: Bytes::from_static(b"yes") },
            Proposed::NotLeader { leader: leader.clone() },
            Proposed::NotLeader { leader: None },
            Proposed::Refused { why: "full".into() },
            Proposed::Unknown { why: "late".into() },
        ] {
            assert_eq!(proposed(propose_reply(outcome.clone())), outcome);
        }
        for answer in [
            Queried::Answer(Bytes::from_static(b"row")),
            Queried::NotLeader { leader },
            Queried::Failed { why: "x".into() },
        ] {
            assert_eq!(queried(query_reply(answer.clone())), answer);
        }
        assert!(matches!(proposed(v1::ProposeReply { how: None }), Proposed::Unknown { .. }));
        assert!(matches!(queried(v1::QueryReply { how: None }), Queried::Failed { .. }));
    }

    #[test]
    fn a_signature_survives_the_way_and_what_is_none_is_asked_again() {
        let good = MemberSignature { replica: ReplicaId(7), signature: Signature([9; 64]) };
        for signed in [Ok(good), Err("behind".to_owned())] {
            assert_eq!(checkpoint_signature(sign_checkpoint_reply(signed.clone())), signed);
        }
        assert!(checkpoint_signature(v1::SignCheckpointReply { how: None }).is_err());
        for signed in [Ok(vec![Some(Signature([3; 64])), None]), Ok(vec![]), Err("behind".to_owned())] {
            assert_eq!(claim_signatures(sign_claims_reply(signed.clone())), signed);
        }
        assert!(claim_signatures(v1::SignClaimsReply { how: None }).is_err());
        let short = v1::ClaimSignatures { signatures: vec![Bytes::from_static(b"x")] };
        let short = v1::SignClaimsReply { how: Some(v1::sign_claims_reply::How::Signatures(short)) };
        assert!(claim_signatures(short).is_err());
        let claims = ClaimsWanted { group: GroupId(1), log_index: 4, claims: Bytes::from_static(b"claims") };
        assert_eq!(claims_wanted(sign_claims(claims.clone(), 5)), claims);
        let wanted =
            CheckpointWanted { group: GroupId(1), tenant: TenantId::from_bytes([2; 16]), size: 3, log_index: 4 };
        assert_eq!(checkpoint_wanted(&sign_checkpoint(wanted, 5)), Ok(wanted));
        let short = v1::SignCheckpointRequest { tenant: Bytes::from_static(b"x"), ..sign_checkpoint(wanted, 5) };
        assert_eq!(checkpoint_wanted(&short), Err(Malformed));
    }

    #[test]
    fn words_about_voters_survive_the_way_and_what_is_none_is_asked_again() {
        let known_of = Known {
            of_it: KnownPosition { vote_term: 3, last_index: 9 },
            own: KnownPosition { vote_term: 4, last_index: 8 },
            leads_since_founding: true,
        };
        for word in [Ok(known_of), Ok(Known::default()), Err("not here".to_owned())] {
            assert_eq!(known(known_reply(word.clone())), word);
        }
        assert!(known(v1::KnownReply::default()).is_err());
        let signed = SignedReport { facts: Bytes::from_static(b"facts"), signature: Signature([7; 64]) };
        for word in [Ok(signed.clone()), Err("behind".to_owned())] {
            assert_eq!(report(report_reply(word.clone())), word);
        }
        assert!(report(v1::ReportReply { how: None }).is_err());
        let short = v1::SignedReport { facts: Bytes::new(), signature: Bytes::from_static(&[7; 63]) };
        assert!(report(v1::ReportReply { how: Some(v1::report_reply::How::Report(short)) }).is_err());
    }

    #[test]
    fn a_found_fragment_without_a_hash_counts_as_damaged() {
        let found = FragmentFound {
            blob_bytes: 8,
            payload_hash: Digest::from_bytes([4; 32]),
            payload: Bytes::from_static(b"x"),
        };
        assert_eq!(fragment_found(fragment(2, Ok(found.clone()))), (2, Ok(found.clone())));
        assert_eq!(fragment_found(fragment(2, Err(FetchFault::Absent))), (2, Err(FetchFault::Absent)));
        let mut message = fragment(2, Ok(found));
        message.payload_hash = Bytes::new();
        assert_eq!(fragment_found(message), (2, Err(FetchFault::Damaged)));
    }
}
