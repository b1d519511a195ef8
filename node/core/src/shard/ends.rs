//! Ends: what ends on `E`, in the order of time. One row for each thing that has an end.
//!
//! A thing that is used again moves its own end and leaves its row here where it was: when that time comes, the row goes
//! to the new end. So being used costs nothing here, and every open thing has exactly one row, at its end or before.
//! Not here: what happens at an end (`shard/time.rs`).

use strongroom_format::id::{LeaseId, SessionId, TenantId};

use crate::row::Space;
use crate::shard::rows::EndRow;
use crate::tables::{Halt, Reads, Tables};

/// What ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// A client session.
    Session(SessionId),
    /// A lease.
    Lease(LeaseId),
    /// A restore session.
    Restore(SessionId),
    /// The waiting of pending audit records.
    AuditBatch,
    /// A token, by the place of its issue.
    Token(u64),
    /// The waiting of a wish to weaken a lock, by the place of its order.
    Weakening(u64),
}

impl End {
    fn kind_and_number(self) -> (u8, u64) {
        match self {
            End::Session(session) => (1, session.0),
            End::Lease(lease) => (2, lease.0),
            End::Restore(restore) => (3, restore.0),
            End::AuditBatch => (4, 0),
            End::Token(number) => (5, number),
            End::Weakening(number) => (16, number),
        }
    }

    pub(crate) fn from_kind_and_number(kind: u8, number: u64) -> Result<Self, Halt> {
        match kind {
            1 => Ok(End::Session(SessionId(number))),
            2 => Ok(End::Lease(LeaseId(number))),
            3 => Ok(End::Restore(SessionId(number))),
            4 => Ok(End::AuditBatch),
            5 => Ok(End::Token(number)),
            16 => Ok(End::Weakening(number)),
            _ => Err(Halt { why: format!("an end of an unknown kind {kind}") }),
        }
    }
}

/// Something that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Due {
    pub(crate) ends_ms: u64,
    pub(crate) tenant: TenantId,
    pub(crate) end: End,
}

/// Notes that something ends then.
pub(crate) fn schedule(tables: &mut dyn Tables, ends_ms: u64, tenant: TenantId, end: End) -> Result<(), Halt> {
    let (kind, number) = end.kind_and_number();
    Space::whole().put(tables, &(ends_ms, kind, tenant, number), &EndRow {})
}

/// Forgets that it was noted.
pub(crate) fn unschedule(tables: &mut dyn Tables, due: &Due) -> Result<(), Halt> {
    let (kind, number) = due.end.kind_and_number();
    Space::whole().delete::<EndRow>(tables, &(due.ends_ms, kind, due.tenant, number))
}

/// The first things whose time has come, at most `limit`.
pub(crate) fn due(reads: &dyn Reads, now_ms: u64, limit: usize) -> Result<Vec<Due>, Halt> {
    let rows = Space::whole().range::<EndRow>(reads, &(), limit)?;
    rows.into_iter()
        .take_while(|((ends_ms, ..), _)| *ends_ms <= now_ms)
        .map(|((ends_ms, kind, tenant, number), _)| {
            Ok(Due { ends_ms, tenant, end: End::from_kind_and_number(kind, number)? })
        })
        .collect()
}

/// When the next thing is due.
pub(crate) fn next_ms(reads: &dyn Reads) -> Result<Option<u64>, Halt> {
    let first = Space::whole().range::<EndRow>(reads, &(), 1)?;
    Ok(first.first().map(|((ends_ms, ..), _)| *ends_ms))
}
