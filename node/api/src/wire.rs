//! Between Protobuf and our own types, on both planes. What is outside its range is refused here, once.
//!
//! Not here: what may be asked (`callers.rs`), what things mean (`proto/format`).

use bytes::Bytes;
use strongroom_core::entry::TenantFacts;
use strongroom_core::query::{ListedLeaf, SnapshotView, VaultView, Which};
use strongroom_core::shard::rows::IdentityRow;
use strongroom_format::codec;
use strongroom_format::command::{Command, OperatorBody, OperatorCommand, SignedCommand};
use strongroom_format::id::{BlobId, GroupId, IdentityId, LeaseId, NotAnId, SessionId, TenantId, VaultId};
use strongroom_format::label::Label;
use strongroom_format::merkle::MerkleHash;
use strongroom_format::outcome::Outcome;
use strongroom_format::receipt::Receipt;
use strongroom_proto::v1 as pb;
use strongroom_service::catalog::SnapshotsWanted;
use strongroom_service::gather::GatherStats;
use strongroom_service::receipts::{LeavesPage, Proved};
use strongroom_service::restore::{Fetched, Form, NoBlob, NodesWanted, Piece, RunWanted};
use strongroom_service::status::{ClockStatus, NodeStatus, ShardStatus, Status as ClusterStatus};
use strongroom_service::topology::{Shard, Topology};
use strongroom_service::upload::{Open, Reply, Submit, Submitted};
use tonic::{Code, Status};

use crate::answers::{self, Answer, invalid};
use crate::callers::{Claim, Operator};
use crate::metrics;

/// At most so many commands in one entry that a caller submits.
pub const COMMANDS_MAX: usize = 1024;
/// At most so many ids in one question.
pub const IDS_MAX: usize = 4096;
/// At most so many snapshots on one page.
pub const PAGE_MAX: u32 = 1000;
/// The BLAKE3 derive-key context of page tokens.
const PAGE_CONTEXT: &str = "strongroom 2026-11 page token 1";
/// A page token: a place, and what it is bound to.
const PAGE_BYTES: usize = 8 + 16;

/// An id of ours from bytes.
pub fn id<T>(what: &'static str, bytes: &[u8], read: impl Fn(&[u8]) -> Result<T, NotAnId>) -> Result<T, Status> {
    read(bytes).map_err(|_| invalid(format!("{what} has not the right length")))
}

/// The same where none means none.
pub fn optional_id<T>(
    what: &'static str,
    bytes: &[u8],
    read: impl Fn(&[u8]) -> Result<T, NotAnId>,
) -> Result<Option<T>, Status> {
    if bytes.is_empty() { Ok(None) } else { id(what, bytes, read).map(Some) }
}

/// Many ids.
pub fn ids<T>(
    what: &'static str,
    many: &[Bytes],
    most: usize,
    read: impl Fn(&[u8]) -> Result<T, NotAnId>,
) -> Result<Vec<T>, Status> {
    if most < many.len() {
        return Err(answers::status(Answer::new(Code::ResourceExhausted, "LIMIT", format!("more than {most} {what}"))));
    }
    many.iter().map(|bytes| id(what, bytes, &read)).collect()
}

/// Commands of a caller to a group. Each must be of the caller's own tenant and name, whatever else is in it: one
/// foreign one refuses them all (N20, N22, N23). Nothing was looked up before.
pub fn commands(claim: &Claim, group: GroupId, many: &[Bytes]) -> Result<Vec<SignedCommand>, Status> {
    if COMMANDS_MAX < many.len() {
        return Err(answers::status(Answer::new(Code::ResourceExhausted, "LIMIT", "too many commands")));
    }
    let mut commands = Vec::with_capacity(many.len());
    let mut misdirected = false;
    for bytes in many {
        let signed: SignedCommand = codec::decode(bytes).map_err(answers::status)?;
        let command: Command = codec::decode(&signed.command).map_err(answers::status)?;
        if command.tenant != claim.tenant {
            return Err(answers::foreign_tenant());
        }
        if command.principal != claim.identity {
            return Err(answers::foreign_principal());
        }
        misdirected |= command.group != group;
        commands.push(signed);
    }
    if misdirected {
        return Err(answers::status(answers::refusal(&strongroom_format::outcome::Refusal::WrongGroup)));
    }
    Ok(commands)
}

/// A caller's entry: not an empty one.
pub fn entry(commands: Vec<SignedCommand>) -> Result<Vec<SignedCommand>, Status> {
    if commands.is_empty() {
        return Err(invalid("no commands"));
    }
    Ok(commands)
}

/// An operator's command, in its own name, and what it says.
pub fn operator_command(operator: &Operator, bytes: &[u8]) -> Result<(SignedCommand, OperatorBody), Status> {
    let signed: SignedCommand = codec::decode(bytes).map_err(answers::status)?;
    let command: OperatorCommand = codec::decode(&signed.command).map_err(answers::status)?;
    if command.operator != operator.operator {
        return Err(answers::foreign_principal());
    }
    Ok((signed, command.body))
}

/// Outcomes, canonical. Refusals are counted.
pub fn outcomes(outcomes: &[Outcome]) -> Vec<Bytes> {
    outcomes.iter().map(outcome).collect()
}

/// One outcome, canonical.
pub fn outcome(outcome: &Outcome) -> Bytes {
    if let Outcome::Refused(refusal) = outcome {
        let Answer { code, reason, .. } = answers::refusal(refusal);
        metrics::refused(code, reason);
    }
    codec::encode(outcome).into()
}

/// Where a tenant lives.
pub fn topology(topology: &Topology, tenant: &TenantFacts, leader: impl Fn(GroupId) -> String) -> pb::TopologyReply {
    let mut groups = tenant.groups.clone();
    groups.push(tenant.home);
    groups.sort_unstable();
    groups.dedup();
    let known = groups.iter().filter_map(|group| topology.shards.get(group));
    pb::TopologyReply {
        cluster: topology.cluster.to_string(),
        cluster_epoch: Bytes::copy_from_slice(topology.epoch.as_bytes()),
        tenant: Bytes::copy_from_slice(tenant.tenant.as_bytes()),
        home: tenant.home.0,
        set_version: tenant.set_version.0,
        set: tenant.groups.iter().map(|group| group.0).collect(),
        shards: known.map(|one| shard(topology, one, leader(one.group))).collect(),
        founding: tenant.founding.clone().into(),
        door: None,
    }
}

fn shard(topology: &Topology, shard: &Shard, leader: String) -> pb::Shard {
    let member = |member: &strongroom_service::topology::Member| pb::Member {
        slot: u32::from(member.slot.0),
        node: member.node.to_string(),
        region: member.region.to_string(),
        endpoint: topology.nodes.get(&member.node).map(|place| place.tenant.clone()).unwrap_or_default(),
        replica: member.replica.0,
        signing_key: Bytes::copy_from_slice(member.signing_key.as_bytes()),
        votes: member.votes,
    };
    pb::Shard {
        group: shard.group.0,
        k: u32::from(shard.code.k),
        m: u32::from(shard.code.m),
        members: shard.members.iter().map(member).collect(),
        leader,
    }
}

/// The first message of an upload.
pub fn upload_open(request: Option<pb::UploadRequest>) -> Result<Open, Status> {
    let Some(pb::upload_request::What::Open(open)) = request.and_then(|request| request.what) else {
        return Err(invalid("an upload begins by opening"));
    };
    Ok(Open {
        group: GroupId(open.group),
        lease: LeaseId(open.lease),
        vault: id("vault", &open.vault, VaultId::from_slice)?,
        domain: id("domain", &open.domain, strongroom_format::id::DomainId::from_slice)?,
        session: SessionId(open.session),
    })
}

/// The hash that a blob's sender declares; without one there is nothing to compare with (N33).
pub fn declared(bytes: &[u8]) -> Result<BlobId, Status> {
    BlobId::from_slice(bytes).map_err(|_| {
        answers::status(Answer::new(
            Code::InvalidArgument,
            "HASH_MISMATCH",
            "the declared hash is missing or malformed",
        ))
    })
}

/// A submit on an upload.
pub fn submit(claim: &Claim, group: GroupId, submit: &pb::UploadSubmit) -> Result<Submit, Status> {
    let commands = commands(claim, group, &submit.commands)?;
    Ok(Submit { commands, register_at: submit.register_at as usize, register_sequence: submit.register_sequence })
}

/// What goes back on an upload.
pub fn upload_reply(reply: Reply) -> pb::UploadReply {
    use pb::upload_reply::What;
    let what = match reply {
        Reply::Durable { blobs, bytes } => What::Durable(pb::UploadDurable { blobs, bytes }),
        Reply::Outcomes(submitted) => {
            let Submitted { register, outcomes: others, fragments_handed_over, fragments_missing, slots_missed } =
                *submitted;
            What::Outcomes(pb::UploadOutcomes {
                register_outcome: register.as_ref().map(outcome).unwrap_or_default(),
                outcomes: outcomes(&others),
                fragments_handed_over,
                fragments_missing,
                slots_missed: slots_missed.into_iter().map(|slot| u32::from(slot.0)).collect(),
            })
        }
    };
    pb::UploadReply { what: Some(what) }
}

/// What a shard knows.
pub fn which(which: Which) -> pb::WhichReply {
    let chunk = |known: strongroom_core::query::KnownChunk| pb::KnownChunk {
        chunk: Bytes::copy_from_slice(known.chunk.as_bytes()),
        blob: Bytes::copy_from_slice(known.blob.as_bytes()),
        stored_bytes: known.stored_bytes,
        dek: Bytes::copy_from_slice(known.dek.as_bytes()),
    };
    pb::WhichReply {
        chunks: which.chunks.into_iter().map(chunk).collect(),
        nodes: which.nodes.into_iter().map(|node| Bytes::copy_from_slice(node.as_bytes())).collect(),
    }
}

/// A vault.
pub fn vault(view: VaultView) -> pb::Vault {
    pb::Vault {
        id: Bytes::copy_from_slice(view.vault.as_bytes()),
        name: view.name.to_string(),
        statement: view.statement.into(),
        policy: borsh::to_vec(&view.policy).expect("writing to memory cannot fail").into(),
    }
}

/// Which snapshots are wanted.
pub fn snapshots_wanted(tenant: TenantId, request: &pb::ListSnapshotsRequest) -> Result<SnapshotsWanted, Status> {
    let vault = id("vault", &request.vault, VaultId::from_slice)?;
    let label = match request.label.as_str() {
        "" => None,
        label => Some(label.parse::<Label>().map_err(|fault| invalid(fault.to_string()))?),
    };
    let after = if request.page.is_empty() { 0 } else { page_place(tenant, vault, &request.page)? };
    Ok(SnapshotsWanted { vault, label, after, limit: limit(request.limit) })
}

/// How many are wanted on a page.
pub fn limit(limit: u32) -> u32 {
    if limit == 0 { PAGE_MAX } else { limit.min(PAGE_MAX) }
}

/// An identity's name, where none means none.
pub fn optional_name(name: &str) -> Result<Option<IdentityId>, Status> {
    match name {
        "" => Ok(None),
        name => Ok(Some(name.parse().map_err(|_| invalid("this is not the id of an identity"))?)),
    }
}

fn hashes(proof: &[MerkleHash]) -> Vec<Bytes> {
    proof.iter().map(|hash| Bytes::copy_from_slice(&hash.0)).collect()
}

/// A receipt.
pub fn receipt(proved: &Proved<Receipt>) -> pb::GetReceiptReply {
    pb::GetReceiptReply {
        receipt: codec::encode(&proved.value).into(),
        consistency: hashes(&proved.consistency),
        voters: codec::encode(&proved.checkpoint.voters).into(),
    }
}

/// A checkpoint.
pub fn checkpoint(proved: &Proved<()>) -> pb::GetCheckpointReply {
    pb::GetCheckpointReply {
        checkpoint: codec::encode(&proved.checkpoint).into(),
        consistency: hashes(&proved.consistency),
    }
}

/// Some leaves.
pub fn leaves(page: LeavesPage) -> pb::ListAuditReply {
    let leaf = |leaf: ListedLeaf| pb::AuditLeaf {
        index: leaf.leaf_index,
        salt: Bytes::copy_from_slice(&leaf.salt.0),
        record: leaf.record.into(),
    };
    pb::ListAuditReply { consistency: hashes(&page.consistency), leaves: page.leaves.into_iter().map(leaf).collect() }
}

/// An identity.
pub fn identity((id, row): (IdentityId, IdentityRow)) -> pb::Identity {
    pb::Identity {
        id: id.to_string(),
        roles: row.roles.iter().map(|role| role.as_str().to_owned()).collect(),
        signing_key: Bytes::copy_from_slice(row.signing_key.as_bytes()),
        open: row.open,
        enrolled_by: row.enrolled_by.map(|by| by.to_string()).unwrap_or_default(),
    }
}

/// A page token: a place that is good for this tenant and vault only (N26). It is no secret: whoever makes one up for
/// itself reads its own pages from another place.
pub fn page(tenant: TenantId, vault: VaultId, place: u64) -> Bytes {
    let mut token = place.to_le_bytes().to_vec();
    token.extend_from_slice(&page_binding(tenant, vault, place));
    token.into()
}

fn page_place(tenant: TenantId, vault: VaultId, token: &[u8]) -> Result<u64, Status> {
    let bad = || answers::status(Answer::new(Code::InvalidArgument, "PAGE", "this page token is not one of this list"));
    let token: &[u8; PAGE_BYTES] = token.try_into().map_err(|_| bad())?;
    let (place, binding) = token.split_at(8);
    let place = u64::from_le_bytes(place.try_into().expect("eight bytes"));
    if page_binding(tenant, vault, place) == binding { Ok(place) } else { Err(bad()) }
}

fn page_binding(tenant: TenantId, vault: VaultId, place: u64) -> [u8; 16] {
    let mut hasher = blake3::Hasher::new_derive_key(PAGE_CONTEXT);
    hasher.update(tenant.as_bytes()).update(vault.as_bytes()).update(&place.to_le_bytes());
    *hasher.finalize().as_bytes().first_chunk().expect("a hash has 32 bytes")
}

/// A value of ours that is shown and never signed or stored, as plain borsh.
pub fn plain(value: &impl borsh::BorshSerialize) -> Bytes {
    borsh::to_vec(value).expect("writing to memory cannot fail").into()
}

/// The same from a caller.
pub fn read_plain<T: borsh::BorshDeserialize>(what: &'static str, bytes: &[u8]) -> Result<T, Status> {
    borsh::from_slice(bytes).map_err(|_| invalid(format!("{what} does not read")))
}

/// A snapshot.
pub fn snapshot(view: &SnapshotView) -> pb::Snapshot {
    let strength = view.strength();
    pb::Snapshot {
        id: Bytes::copy_from_slice(view.snapshot.as_bytes()),
        envelope: view.envelope.clone().into(),
        committed_unix_ms: view.committed.committed_unix_ms,
        leaf_index: view.committed.leaf_index,
        lock: plain(&view.kept),
        damaged: view.committed.damaged,
        strength: Some(pb::Strength { regions: u32::from(strength.regions), nodes: u32::from(strength.nodes) }),
    }
}

/// One snapshot with what belongs to it.
pub fn snapshot_reply(view: SnapshotView) -> pb::GetSnapshotReply {
    let part = |part: &strongroom_core::shard::rows::PartRoots| pb::Part {
        group: part.group.0,
        roots: part.roots.iter().map(|root| Bytes::copy_from_slice(root.as_bytes())).collect(),
    };
    pb::GetSnapshotReply {
        snapshot: Some(snapshot(&view)),
        vault: Bytes::copy_from_slice(view.vault.as_bytes()),
        parts: view.committed.parts.iter().map(part).collect(),
        cards: vec![view.card.into()],
    }
}

/// Which tree nodes are wanted.
pub fn nodes_wanted(request: &pb::GetNodesRequest) -> Result<NodesWanted, Status> {
    Ok(NodesWanted {
        group: GroupId(request.group),
        restore: (request.restore != 0).then_some(SessionId(request.restore)),
        vault: id("vault", &request.vault, VaultId::from_slice)?,
        domain: id("domain", &request.domain, strongroom_format::id::DomainId::from_slice)?,
        nodes: ids(
            "nodes",
            &request.nodes,
            strongroom_service::restore::NODES_MAX,
            strongroom_format::id::TreeId::from_slice,
        )?,
    })
}

/// Which run is wanted.
pub fn run_wanted(request: pb::FetchRunRequest) -> Result<RunWanted, Status> {
    Ok(RunWanted {
        group: GroupId(request.group),
        restore: SessionId(request.restore),
        vault: id("vault", &request.vault, VaultId::from_slice)?,
        domain: id("domain", &request.domain, strongroom_format::id::DomainId::from_slice)?,
        leaf: id("leaf", &request.leaf, strongroom_format::id::TreeId::from_slice)?,
        positions: request.positions,
        form: if request.fragments { Form::OwnFragments } else { Form::Blobs },
    })
}

/// A blob of a run, or a fragment of it.
pub fn fetched(fetched: Fetched) -> pb::FetchRunReply {
    use pb::fetch_run_reply::What;
    let Fetched { position, piece } = fetched;
    let what = match piece {
        Ok(Piece::Blob(blob)) => What::Blob(pb::FetchedBlob { position, blob }),
        Ok(Piece::Fragment { index, payload }) => {
            What::Fragment(pb::FetchedFragment { position, index: index.into(), payload })
        }
        Err(NoBlob { why, away }) => What::Lost(pb::LostBlob { position, why: why.to_owned(), away }),
    };
    pb::FetchRunReply { what: Some(what) }
}

/// The last message of a run.
pub fn fetch_stats(stats: GatherStats) -> pb::FetchRunReply {
    let GatherStats { fragments_bad, blobs_rebuilt } = stats;
    pb::FetchRunReply { what: Some(pb::fetch_run_reply::What::Stats(pb::FetchStats { fragments_bad, blobs_rebuilt })) }
}

/// How the cluster is.
pub fn status(cluster: String, status: ClusterStatus) -> pb::StatusReply {
    let node = |node: NodeStatus| pb::NodeStatus {
        name: node.node.to_string(),
        region: node.region.to_string(),
        up: node.up,
        version: node.version,
    };
    let shard = |shard: ShardStatus| pb::ShardStatus {
        id: shard.group.0,
        code: shard.code.to_string(),
        leader: shard.leader.map(|leader| leader.to_string()).unwrap_or_default(),
        members: shard.members.iter().map(ToString::to_string).collect(),
        applied: shard.applied.unwrap_or_default(),
        fenced: shard.fenced.iter().map(ToString::to_string).collect(),
        changing: shard.changing.map(|node| node.to_string()).unwrap_or_default(),
        clock: shard.clock.map(clock),
    };
    let usage = status.usage;
    // A fragment that another slot took is not where it should be: the blob survives less until it is brought home.
    let thin = usage.thin.saturating_add(usage.handed_over).min(usage.blobs);
    pb::StatusReply {
        cluster,
        nodes: status.nodes.into_iter().map(node).collect(),
        shards: status.shards.into_iter().map(shard).collect(),
        blobs: Some(pb::BlobStatus { total: usage.blobs, full: usage.blobs - thin, thin, lost: 0 }),
        clock: status.clock.map(clock),
        wall_unix_ms: status.wall_unix_ms,
    }
}

fn clock(clock: ClockStatus) -> pb::ClockStatus {
    pb::ClockStatus {
        elapsed_ms: clock.elapsed_ms,
        wall_lag_s: clock.wall_lag_s,
        state: if clock.held { "held" } else { "running" }.into(),
        bound_ms: clock.bound_ms,
        why: clock.why,
        clock_ms: clock.clock_ms,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: TenantId = TenantId::from_bytes([1; 16]);
    const B: TenantId = TenantId::from_bytes([2; 16]);
    const VAULT: VaultId = VaultId::from_bytes([3; 16]);

    fn request(token: Bytes) -> pb::ListSnapshotsRequest {
        pb::ListSnapshotsRequest {
            vault: Bytes::copy_from_slice(VAULT.as_bytes()),
            label: String::new(),
            page: token,
            limit: 0,
        }
    }

    #[test]
    fn a_page_token_goes_on_where_it_was_made() {
        let wanted = snapshots_wanted(A, &request(page(A, VAULT, 77))).unwrap();
        assert_eq!((wanted.after, wanted.limit), (77, PAGE_MAX));
        assert_eq!(snapshots_wanted(A, &request(Bytes::new())).unwrap().after, 0);
    }

    #[test]
    fn n26_a_page_token_of_another_tenant_or_vault_and_a_tampered_one_are_refused() {
        let refused = |tenant, token| snapshots_wanted(tenant, &request(token)).unwrap_err();
        assert_eq!(refused(B, page(A, VAULT, 77)).code(), Code::InvalidArgument);
        assert_eq!(refused(A, page(A, VaultId::from_bytes([4; 16]), 77)).code(), Code::InvalidArgument);
        for bit in 0..PAGE_BYTES * 8 {
            let mut token = page(A, VAULT, 77).to_vec();
            token[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(refused(A, token.into()).code(), Code::InvalidArgument, "bit {bit}");
        }
        assert_eq!(refused(A, page(A, VAULT, 77).slice(1..)).code(), Code::InvalidArgument);
    }

    #[test]
    fn n16_ids_of_the_wrong_length_and_labels_with_control_characters_are_invalid() {
        assert_eq!(id("vault", &[0; 15], VaultId::from_slice).unwrap_err().code(), Code::InvalidArgument);
        assert_eq!(id("vault", &[0; 17], VaultId::from_slice).unwrap_err().code(), Code::InvalidArgument);
        for label in ["a\0b", "a\nb", &"x".repeat(1025)] {
            let mut request = request(Bytes::new());
            request.label = label.to_owned();
            assert_eq!(snapshots_wanted(A, &request).unwrap_err().code(), Code::InvalidArgument);
        }
    }

    #[test]
    fn n33_a_missing_hash_is_refused() {
        assert_eq!(declared(&[]).unwrap_err().code(), Code::InvalidArgument);
        assert_eq!(declared(&[7; 32]).unwrap(), BlobId::from_bytes([7; 32]));
    }

    #[test]
    fn more_ids_than_are_allowed_are_refused_before_they_are_read() {
        let many = vec![Bytes::from_static(&[0; 16]); 3];
        assert_eq!(ids("nodes", &many, 2, VaultId::from_slice).unwrap_err().code(), Code::ResourceExhausted);
        assert_eq!(ids("nodes", &many, 3, VaultId::from_slice).unwrap().len(), 3);
    }
}
