//! Answers of a shard. Every answer about a tenant goes through that tenant's scope, is bounded, and reads the same for
//! what is another's and for what is not there (N21, N24, N109).

use strongroom_format::command::BlobRef;
use strongroom_format::id::{ChunkId, DomainId, GroupId, IdentityId, SnapshotId, TenantId, TreeId, VaultId};
use strongroom_format::label::Label;

use crate::clock;
use crate::digest;
use crate::electorates;
use crate::query::{
    Answer, Decision, EndingPart, GroupView, KnownChunk, LeaseView, NamedBlob, Query, SnapshotRef, SnapshotView,
    SnapshotsPage, TenantView, VaultRef, VaultView, WaitingPart, Which,
};
use crate::row::Space;
use crate::rules;
use crate::shard::chunks::{self, BLOBS_MAX, In};
use crate::shard::ends;
use crate::shard::expiry;
use crate::shard::garbage;
use crate::shard::identities;
use crate::shard::lock_parts;
use crate::shard::lock_questions;
use crate::shard::locks;
use crate::shard::members;
use crate::shard::proofs;
use crate::shard::quotas;
use crate::shard::rows::{
    BlobRow, CardRow, ChunkRow, Committed, DomainRow, EndingRow, EnvelopeRow, FactsRow, IdentityRow, LabelRow,
    LeaseRow, ListedRow, NodeBytesRow, NodeRow, PartRow, ReportedRow, RestoreRow, SessionRow, ShardUsageRow,
    SnapshotRow, SnapshotState, TenantRow, TenantUsageRow, VaultNameRow, VaultRow, VaultUsageRow, WaitingRow, WrapRow,
};
use crate::shard::scope::TenantScope;
use crate::shard::tickets;
use crate::shard::tokens;
use crate::shard::vaults::{CARDS_MAX, VAULTS_MAX};
use crate::stop::impossible;
use crate::tables::{Halt, Reads};

/// A page has at most so many items.
const PAGE_MAX: u32 = 1000;
/// A page looks at most at so many rows: who filters gets shorter pages, not slower ones.
const SCAN_MAX: usize = 4096;
/// At most so many ids in one question about chunks or nodes.
const WHICH_MAX: usize = 4096;
/// At most so many nodes, wraps or blobs in one question.
const ITEMS_MAX: usize = 256;
/// At most so many chunk rows in one question.
const CHUNKS_MAX: usize = 1024;
/// At most so many rows of one blob in an answer.
const NAMED_MAX: usize = 16;

/// Answers one question.
pub(crate) fn answer(group: GroupId, reads: &dyn Reads, query: Query) -> Result<Answer, Halt> {
    match query {
        Query::ClusterMap => Ok(invalid("only the cluster group knows all of the cluster")),
        Query::Group => view(group, reads).map(Answer::Group),
        Query::Shard => {
            let row = Space::whole().get::<FactsRow>(reads, &())?;
            Ok(row.map_or(Answer::NotFound, |row| Answer::Shard(row.facts)))
        }
        Query::Waiting { after, limit } => waiting(reads, after, limit),
        Query::Decision { tenant, snapshot } => scoped(reads, tenant, |scope| {
            let row = scope.get::<SnapshotRow>(reads, &(snapshot,))?;
            row.map(|row| decision(scope, reads, snapshot, &row.state).map(Answer::Decision)).transpose()
        }),
        Query::Kept { tenant, snapshot } => scoped(reads, tenant, |scope| {
            Ok(locks::row(scope, reads, snapshot)?.map(|row| Answer::Kept { version: row.version }))
        }),
        Query::Tenant { tenant } => {
            let row = Space::whole().get::<TenantRow>(reads, &(tenant,))?;
            Ok(row.map_or(Answer::NotFound, |row| {
                Answer::Tenant(TenantView { active: row.is_active(), facts: row.facts })
            }))
        }
        Query::Identity { tenant, identity } => {
            scoped(reads, tenant, |scope| Ok(scope.get::<IdentityRow>(reads, &(identity,))?.map(Answer::Identity)))
        }
        Query::Session { tenant, session } => {
            scoped(reads, tenant, |scope| Ok(scope.get::<SessionRow>(reads, &(session,))?.map(Answer::Session)))
        }
        Query::Lease { tenant, lease } => scoped(reads, tenant, |scope| {
            let (Some(row), Some(facts)) =
                (scope.get::<LeaseRow>(reads, &(lease,))?, Space::whole().get::<FactsRow>(reads, &())?)
            else {
                return Ok(None);
            };
            let now_ms = clock::now(reads)?.elapsed_ms;
            // Out of time is ended, although no tick has removed the row yet.
            let open = now_ms < row.ends_ms;
            Ok(open.then_some(Answer::Lease(LeaseView { lease: row, epoch: facts.facts.epoch, now_ms })))
        }),
        Query::Which { tenant, by, vault, domain, chunks, nodes } => {
            if WHICH_MAX < chunks.len() || WHICH_MAX < nodes.len() {
                return Ok(invalid("at most 4096 chunks and 4096 nodes are asked about at once"));
            }
            scoped(reads, tenant, |scope| which(scope, reads, &by, In { vault, domain }, &chunks, &nodes))
        }
        Query::Vaults { tenant } => scoped(reads, tenant, |scope| {
            let mut vaults = Vec::new();
            for (_, row) in scope.range::<VaultNameRow>(reads, &(), VAULTS_MAX)? {
                vaults.extend(vault_view(scope, reads, row.vault)?);
            }
            Ok(Some(Answer::Vaults(vaults)))
        }),
        Query::Vault { tenant, vault, by } => {
            scoped(reads, tenant, |scope| vault_with_cards(scope, reads, vault, by.as_ref()))
        }
        Query::Snapshots { tenant, vault, by, label, after, limit } => scoped(reads, tenant, |scope| {
            let filter = Filter { vault: Some(vault), by: by.as_ref(), label: label.as_ref() };
            page(scope, reads, vault, &filter, after, limit)
        }),
        Query::Snapshot { tenant, snapshot, vault, by } => scoped(reads, tenant, |scope| {
            let filter = Filter { vault, by: by.as_ref(), label: None };
            by_id(scope, reads, &snapshot, &filter)
        }),
        Query::Part { tenant, snapshot } => {
            scoped(reads, tenant, |scope| Ok(scope.get::<PartRow>(reads, &(snapshot,))?.map(Answer::Part)))
        }
        Query::Wraps { tenant, vault, domain, deks } => {
            if ITEMS_MAX < deks.len() {
                return Ok(invalid("at most 256 wraps are asked for at once"));
            }
            scoped(reads, tenant, |scope| {
                let wrap = |dek| Ok(scope.get::<WrapRow>(reads, &(vault, domain, dek))?.and_then(|row| row.wrap));
                Ok(Some(Answer::Wraps(deks.into_iter().map(wrap).collect::<Result<_, Halt>>()?)))
            })
        }
        Query::Nodes { tenant, by, vault, domain, nodes } => {
            if ITEMS_MAX < nodes.len() {
                return Ok(invalid("at most 256 nodes are asked for at once"));
            }
            scoped(reads, tenant, |scope| nodes_of(scope, reads, by.as_ref(), In { vault, domain }, nodes))
        }
        Query::Chunks { tenant, vault, domain, blobs } => {
            if CHUNKS_MAX < blobs.len() {
                return Ok(invalid("at most 1024 blobs are asked about at once"));
            }
            scoped(reads, tenant, |scope| {
                let row = |of: BlobRef| In { vault, domain }.get(scope, reads, &of);
                Ok(Some(Answer::Chunks(blobs.into_iter().map(row).collect::<Result<_, Halt>>()?)))
            })
        }
        Query::Blobs { tenant, blobs } => {
            if ITEMS_MAX < blobs.len() {
                return Ok(invalid("at most 256 blobs are asked about at once"));
            }
            scoped(reads, tenant, |scope| {
                let named = blobs.into_iter().map(|blob| named(scope, reads, blob));
                Ok(Some(Answer::Blobs(named.collect::<Result<_, Halt>>()?)))
            })
        }
        Query::Restore { tenant, restore } => scoped(reads, tenant, |scope| {
            let row = scope.get::<RestoreRow>(reads, &(restore,))?;
            let now_ms = clock::now(reads)?.elapsed_ms;
            Ok(row.filter(|row| now_ms < row.ends_ms).map(Answer::Restore))
        }),
        Query::Leaf { tenant, leaf_index, size } => {
            scoped(reads, tenant, |scope| proofs::leaf(scope, reads, leaf_index, size))
        }
        Query::Consistency { tenant, old, new } => {
            scoped(reads, tenant, |scope| proofs::consistency(scope, reads, old, new))
        }
        Query::Head { tenant, size } => {
            scoped(reads, tenant, |scope| Ok(proofs::head(scope, reads, size)?.map(Answer::Head)))
        }
        Query::Leaves { tenant, from, limit } => {
            scoped(reads, tenant, |scope| proofs::leaves(scope, reads, from, limit).map(Some))
        }
        Query::Identities { tenant, after, limit } => {
            scoped(reads, tenant, |scope| identities::list(scope, reads, after.as_ref(), limit.min(PAGE_MAX)).map(Some))
        }
        Query::Token { tenant, token } => match tenant {
            Some(tenant) => scoped(reads, tenant, |scope| tokens::view(scope, reads, token)),
            None => Ok(Answer::NotFound),
        },
        Query::Ticket { tenant, ticket, by } => scoped(reads, tenant, |scope| tickets::view(scope, reads, ticket, &by)),
        Query::Electorate { of } => Ok(electorates::known(reads, of)?.map_or(Answer::NotFound, Answer::Electorate)),
        Query::Reported { tenant, vault, domain, of } => scoped(reads, tenant, |scope| {
            Ok(Some(Answer::Reported(scope.has::<ReportedRow>(reads, &(vault, domain, of.chunk, of.blob))?)))
        }),
        Query::Usage { tenant } => scoped(reads, tenant, |scope| {
            Ok(Some(Answer::Usage(scope.get::<TenantUsageRow>(reads, &())?.unwrap_or_default().usage)))
        }),
        Query::Ending { after, limit } => ending(reads, after, limit),
        Query::Garbage { grace_ms, after, limit } => {
            let now_ms = clock::now(reads)?.elapsed_ms;
            let limit = limit.min(PAGE_MAX) as usize;
            Ok(Answer::Garbage(garbage::tenants(reads, now_ms, grace_ms, after, limit)?))
        }
        Query::End { tenant, snapshot, by } => scoped(reads, tenant, |scope| {
            let row = scope.get::<SnapshotRow>(reads, &(snapshot,))?;
            let row = row.filter(|row| by.as_ref().is_none_or(|writer| *writer == row.opened.writer));
            Ok(row.and_then(|row| match row.state {
                SnapshotState::Ended { end, leaf_index, .. } => Some(Answer::End { end, leaf_index }),
                SnapshotState::Open
                | SnapshotState::Ready(_)
                | SnapshotState::Committed(_)
                | SnapshotState::Aborted => None,
            }))
        }),
        Query::Lock { tenant, snapshot, by } => {
            scoped(reads, tenant, |scope| lock_questions::lock_of(scope, reads, snapshot, by.as_ref()))
        }
        Query::Behind { after, limit } => {
            let limit = limit.min(PAGE_MAX) as usize;
            Ok(Answer::Behind(lock_parts::behind(group, reads, after.as_ref(), limit)?))
        }
        Query::Policy { tenant, vault, by } => {
            scoped(reads, tenant, |scope| lock_questions::policy_of(scope, reads, vault, by.as_ref()))
        }
        Query::Preview { tenant, vault, policy, after, limit } => {
            scoped(reads, tenant, |scope| lock_questions::preview(scope, reads, vault, &policy, after.as_ref(), limit))
        }
        Query::Expiring { tenant, after } => match TenantScope::of(reads, tenant)? {
            Some((scope, row)) if row.facts.home == group => expiry::vaults(&scope, &row, reads, after),
            Some(_) | None => Ok(Answer::NotFound),
        },
        Query::Charges { tenant, by } => match TenantScope::of(reads, tenant)? {
            Some((scope, row)) => {
                let is_home = row.facts.home == group;
                Ok(Answer::Charges(quotas::charges(&scope, reads, &row.facts, is_home, by.as_ref())?))
            }
            None => Ok(Answer::NotFound),
        },
    }
}

fn invalid(why: &str) -> Answer {
    Answer::Invalid { why: why.into() }
}

/// An answer about a tenant that is here and may act; about any other there is nothing.
fn scoped(
    reads: &dyn Reads,
    tenant: TenantId,
    answer: impl FnOnce(&TenantScope) -> Result<Option<Answer>, Halt>,
) -> Result<Answer, Halt> {
    match TenantScope::of(reads, tenant)? {
        Some((scope, _)) => Ok(answer(&scope)?.unwrap_or(Answer::NotFound)),
        None => Ok(Answer::NotFound),
    }
}

fn view(group: GroupId, reads: &dyn Reads) -> Result<GroupView, Halt> {
    let facts: Option<FactsRow> = Space::whole().get(reads, &())?;
    let voters = facts.map(|row| members::electorate(&row.facts).views(reads)).transpose()?;
    let clock = clock::now(reads)?;
    Ok(GroupView {
        group,
        rules: rules::in_force(reads)?,
        disputed: clock.is_disputed(),
        next_end_ms: ends::next_ms(reads)?,
        next_clock_end_ms: None,
        waits: clock::waits(&clock) || locks::some_wait(reads)?,
        clock,
        digest: digest::recorded(reads)?,
        applied: rules::last_applied(reads)?,
        usage: Space::whole().get::<ShardUsageRow>(reads, &())?.unwrap_or_default().usage,
        voters: voters.unwrap_or_default(),
    })
}

fn waiting(reads: &dyn Reads, after: Option<(TenantId, SnapshotId)>, limit: u32) -> Result<Answer, Halt> {
    let limit = limit.min(PAGE_MAX) as usize;
    let rows = match &after {
        None => Space::whole().range::<WaitingRow>(reads, &(), limit)?,
        Some(after) => Space::whole().range_from::<WaitingRow>(reads, &(), after, limit + 1)?,
    };
    let behind = rows.into_iter().filter(|(key, _)| after != Some(*key)).take(limit);
    Ok(Answer::Waiting(
        behind.map(|((tenant, snapshot), row)| WaitingPart { tenant, snapshot, home: row.home }).collect(),
    ))
}

fn ending(reads: &dyn Reads, after: Option<EndingPart>, limit: u32) -> Result<Answer, Halt> {
    let limit = limit.min(PAGE_MAX) as usize;
    let after = after.map(|part| (part.tenant, part.snapshot, part.group));
    let rows = match &after {
        None => Space::whole().range::<EndingRow>(reads, &(), limit)?,
        Some(after) => Space::whole().range_from::<EndingRow>(reads, &(), after, limit + 1)?,
    };
    let behind = rows.into_iter().map(|(key, _)| key).filter(|key| after != Some(*key)).take(limit);
    Ok(Answer::Ending(behind.map(|(tenant, snapshot, group)| EndingPart { tenant, snapshot, group }).collect()))
}

fn decision(
    scope: &TenantScope,
    reads: &dyn Reads,
    snapshot: SnapshotId,
    state: &SnapshotState,
) -> Result<Decision, Halt> {
    match state {
        SnapshotState::Open | SnapshotState::Ready(_) => Ok(Decision::Open),
        SnapshotState::Committed(_) => {
            let row = locks::row(scope, reads, snapshot)?;
            let row = row.ok_or_else(|| impossible("a committed snapshot has no lock row"))?;
            Ok(Decision::Committed { kept: lock_parts::keeping(&row) })
        }
        // One that has ended was committed: a part that waits hears that first, and then of the end.
        SnapshotState::Ended { committed, lock, .. } => {
            Ok(Decision::Committed { kept: lock_parts::kept_once(committed, *lock) })
        }
        SnapshotState::Aborted => Ok(Decision::Aborted),
    }
}

fn which(
    scope: &TenantScope,
    reads: &dyn Reads,
    by: &IdentityId,
    place: In,
    chunks: &[ChunkId],
    nodes: &[TreeId],
) -> Result<Option<Answer>, Halt> {
    let mut which = Which { chunks: Vec::new(), nodes: Vec::new() };
    if !scope.has::<DomainRow>(reads, &(place.vault, place.domain, by.clone()))? {
        // Another's domain is as if empty.
        return Ok(Some(Answer::Which(which)));
    }
    for chunk in chunks {
        if let Some((blob, row)) = chunks::newest(scope, reads, place, *chunk)? {
            let ChunkRow { stored_bytes, dek, .. } = row;
            which.chunks.push(KnownChunk { chunk: *chunk, blob, stored_bytes, dek });
        }
    }
    for node in nodes {
        if scope.has::<NodeRow>(reads, &(place.vault, place.domain, *node))? {
            which.nodes.push(*node);
        }
    }
    Ok(Some(Answer::Which(which)))
}

fn vault_view(scope: &TenantScope, reads: &dyn Reads, vault: VaultId) -> Result<Option<VaultView>, Halt> {
    let usage = scope.get::<VaultUsageRow>(reads, &(vault,))?.unwrap_or_default().usage;
    let living = scope.get::<VaultRow>(reads, &(vault,))?.filter(|row| row.end.is_none());
    Ok(living.map(|row| VaultView {
        vault,
        name: row.name,
        statement: row.statement,
        statement_version: row.statement_version,
        policy: row.policy,
        usage,
    }))
}

fn vault_with_cards(
    scope: &TenantScope,
    reads: &dyn Reads,
    vault: VaultRef,
    by: Option<&IdentityId>,
) -> Result<Option<Answer>, Halt> {
    let vault = match vault {
        VaultRef::Id(vault) => Some(vault),
        VaultRef::Name(name) => scope.get::<VaultNameRow>(reads, &(name,))?.map(|row| row.vault),
    };
    let Some(vault) = vault else {
        return Ok(None);
    };
    let Some(view) = vault_view(scope, reads, vault)? else {
        return Ok(None);
    };
    let cards = match by {
        Some(writer) => scope.range::<CardRow>(reads, &(vault, writer.clone()), CARDS_MAX)?,
        None => scope.range::<CardRow>(reads, &(vault,), SCAN_MAX)?,
    };
    let cards = cards.into_iter().map(|(_, row)| row.card).collect();
    Ok(Some(Answer::Vault { vault: view, cards }))
}

/// Which snapshots are meant.
struct Filter<'a> {
    vault: Option<VaultId>,
    by: Option<&'a IdentityId>,
    label: Option<&'a Label>,
}

impl Filter<'_> {
    fn takes(&self, row: &SnapshotRow) -> bool {
        self.vault.is_none_or(|vault| vault == row.opened.vault)
            && self.by.is_none_or(|writer| *writer == row.opened.writer)
            && self.label.is_none_or(|label| *label == row.label)
    }
}

fn page(
    scope: &TenantScope,
    reads: &dyn Reads,
    vault: VaultId,
    filter: &Filter<'_>,
    after: u64,
    limit: u32,
) -> Result<Option<Answer>, Halt> {
    if !scope.has::<VaultRow>(reads, &(vault,))? {
        return Ok(None);
    }
    let limit = if limit == 0 { PAGE_MAX } else { limit.min(PAGE_MAX) } as usize;
    let behind = after.saturating_add(1);
    // One writer's snapshots of one name have an index of their own; all others are filtered.
    let listed: Vec<(u64, SnapshotId)> = match (filter.by, filter.label) {
        (Some(writer), Some(label)) => {
            let from = (vault, writer.clone(), label.clone(), behind);
            scope
                .range_from::<LabelRow>(reads, &(vault, writer.clone(), label.clone()), &from, SCAN_MAX)?
                .into_iter()
                .map(|((.., order), row)| (order, row.snapshot))
                .collect()
        }
        _ => scope
            .range_from::<ListedRow>(reads, &(vault,), &(vault, behind), SCAN_MAX)?
            .into_iter()
            .map(|((_, order), row)| (order, row.snapshot))
            .collect(),
    };
    let mut next = (listed.len() == SCAN_MAX).then(|| listed.last().map(|(order, _)| *order)).flatten();
    let mut snapshots = Vec::new();
    for (order, snapshot) in listed {
        let row = scope.get::<SnapshotRow>(reads, &(snapshot,))?;
        let row = row.ok_or_else(|| impossible("a listed snapshot is not there"))?;
        if !filter.takes(&row) {
            continue;
        }
        if snapshots.len() == limit {
            next = Some(order - 1);
            break;
        }
        snapshots.extend(snapshot_view(scope, reads, snapshot, row)?);
    }
    Ok(Some(Answer::Snapshots(SnapshotsPage { snapshots, next })))
}

fn by_id(
    scope: &TenantScope,
    reads: &dyn Reads,
    snapshot: &SnapshotRef,
    filter: &Filter<'_>,
) -> Result<Option<Answer>, Halt> {
    let candidates: Vec<SnapshotId> = match snapshot {
        SnapshotRef::Id(snapshot) => vec![*snapshot],
        SnapshotRef::Prefix(digits) => {
            let Some(first) = least_with_prefix(digits) else {
                return Ok(Some(invalid("a prefix of an id is 8 to 32 lower-case hex digits")));
            };
            // Ids are random: more than a few with eight digits in common are nobody's accident.
            scope
                .range_from::<SnapshotRow>(reads, &(), &(first,), ITEMS_MAX)?
                .into_iter()
                .map(|((snapshot,), _)| snapshot)
                .take_while(|snapshot| snapshot.to_string().starts_with(digits.as_str()))
                .collect()
        }
    };
    let mut snapshots = Vec::new();
    for snapshot in candidates {
        let row = scope.get::<SnapshotRow>(reads, &(snapshot,))?;
        if let Some(row) = row.filter(|row| filter.takes(row)) {
            snapshots.extend(snapshot_view(scope, reads, snapshot, row)?);
        }
        if snapshots.len() == 2 {
            break;
        }
    }
    if snapshots.is_empty() {
        return Ok(None);
    }
    Ok(Some(Answer::Snapshots(SnapshotsPage { snapshots, next: None })))
}

/// The least id that begins with these hex digits.
fn least_with_prefix(digits: &str) -> Option<SnapshotId> {
    let right_length = (SnapshotRef::PREFIX_MIN..=2 * SnapshotId::BYTES).contains(&digits.len());
    if !right_length || !digits.is_ascii() {
        return None;
    }
    format!("{digits:0<32}").parse().ok()
}

/// A committed snapshot; `None` for one that is not.
fn snapshot_view(
    scope: &TenantScope,
    reads: &dyn Reads,
    snapshot: SnapshotId,
    row: SnapshotRow,
) -> Result<Option<SnapshotView>, Halt> {
    let SnapshotRow { opened, label, key_epoch, stream: _, state } = row;
    let committed: Committed = match state {
        SnapshotState::Committed(committed) => committed,
        SnapshotState::Open | SnapshotState::Ready(_) | SnapshotState::Aborted | SnapshotState::Ended { .. } => {
            return Ok(None);
        }
    };
    let envelope = scope.get::<EnvelopeRow>(reads, &(snapshot,))?;
    let envelope = envelope.ok_or_else(|| impossible("a committed snapshot has no envelope"))?.envelope;
    let card = scope.get::<CardRow>(reads, &(opened.vault, opened.writer.clone(), key_epoch))?;
    let card = card.ok_or_else(|| impossible("a committed snapshot's card is not there"))?.card;
    let (vault, writer, domain) = (opened.vault, opened.writer, opened.domain);
    let kept = lock_questions::lock_view(scope, reads, snapshot)?;
    Ok(Some(SnapshotView { snapshot, vault, writer, domain, key_epoch, label, envelope, card, committed, kept }))
}

fn nodes_of(
    scope: &TenantScope,
    reads: &dyn Reads,
    by: Option<&IdentityId>,
    place: In,
    nodes: Vec<TreeId>,
) -> Result<Option<Answer>, Halt> {
    let own = match by {
        Some(writer) => scope.has::<DomainRow>(reads, &(place.vault, place.domain, writer.clone()))?,
        None => true,
    };
    let bytes = |node| {
        let row = if own { scope.get::<NodeBytesRow>(reads, &(place.vault, place.domain, node))? } else { None };
        Ok(row.map(|row| row.bytes))
    };
    Ok(Some(Answer::Nodes(nodes.into_iter().map(bytes).collect::<Result<_, Halt>>()?)))
}

fn named(scope: &TenantScope, reads: &dyn Reads, blob: strongroom_format::id::BlobId) -> Result<Vec<NamedBlob>, Halt> {
    const { assert!(NAMED_MAX <= BLOBS_MAX, "an answer is bounded") };
    let keys = scope.range::<BlobRow>(reads, &(blob,), NAMED_MAX)?;
    keys.into_iter()
        .map(|((_, vault, domain, chunk), _): ((_, VaultId, DomainId, ChunkId), _)| {
            let row = In { vault, domain }.get(scope, reads, &BlobRef { chunk, blob })?;
            let row = row.ok_or_else(|| impossible("a blob's chunk row is not there"))?;
            Ok(NamedBlob { vault, domain, chunk, row })
        })
        .collect()
}
