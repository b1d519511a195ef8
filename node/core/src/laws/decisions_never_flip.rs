//! What was decided stays decided: a snapshot and its end, its envelope until then, its part, what a session remembers and
//! that it has ended, a vault's name and end. Nothing that was decided is not there any more.

use std::collections::BTreeMap;

use strongroom_format::id::TenantId;

use crate::laws::state::{State, holds};
use crate::shard::rows::{
    Committed, EnvelopeRow, NonceRow, OutcomeRow, PartRow, PartState, SessionRow, SnapshotRow, SnapshotState,
    TenantsRow, TicketRow, TicketState, VaultRow,
};

pub(crate) fn check(before: &State, after: &State) -> Result<(), String> {
    kept(before, after, |was: &SnapshotRow, is: &SnapshotRow| {
        was.opened == is.opened
            && was.stream == is.stream
            && match (&was.state, &is.state) {
                (SnapshotState::Open, _) => true,
                (SnapshotState::Ready(was), SnapshotState::Ready(is)) => was == is,
                (SnapshotState::Ready(was), SnapshotState::Committed(is)) => {
                    (was.digest, was.order, &was.parts, was.lying) == (is.envelope, is.order, &is.parts, is.lying)
                }
                (SnapshotState::Ready(_), is) => *is == SnapshotState::Aborted,
                (SnapshotState::Aborted, is) => *is == SnapshotState::Aborted,
                (SnapshotState::Committed(was), SnapshotState::Committed(is)) => {
                    // A mark of damage is all that comes later.
                    was.damaged <= is.damaged && *was == (Committed { damaged: was.damaged, ..is.clone() })
                }
                (SnapshotState::Committed(was), SnapshotState::Ended { committed: is, .. }) => was.order == is.order,
                (
                    SnapshotState::Committed(_),
                    SnapshotState::Open | SnapshotState::Ready(_) | SnapshotState::Aborted,
                ) => false,
                (was @ SnapshotState::Ended { .. }, is) => was == is,
            }
    })?;
    kept(before, after, |was: &PartRow, is: &PartRow| {
        was.opened == is.opened
            && match (&was.state, &is.state) {
                (PartState::Open, _) => true,
                (PartState::Sealed(was), PartState::Sealed(is) | PartState::Committed { sealed: is, .. }) => was == is,
                (PartState::Sealed(_), is) => *is == PartState::Dropped,
                (PartState::Committed { .. }, PartState::Dropped) => true,
                (was @ (PartState::Committed { .. } | PartState::Dropped), is) => was == is,
            }
    })?;
    kept(before, after, |was: &TicketRow, is: &TicketRow| {
        let same = |ticket: &TicketRow| (ticket.vault, ticket.label.clone(), ticket.opener.clone(), ticket.lease);
        same(was) == same(is)
            && was.expected == is.expected
            && (was.state == TicketState::Open || was.state == is.state)
    })?;
    let (envelopes, snapshots) = (rows_of::<EnvelopeRow>(after)?, rows_of::<SnapshotRow>(after)?);
    for (tenant, key, was) in before.each::<EnvelopeRow>()? {
        let ended =
            matches!(snapshots.get(&(tenant, key)), Some(row) if matches!(row.state, SnapshotState::Ended { .. }));
        let is = envelopes.get(&(tenant, key));
        holds(if ended { is.is_none() } else { is == Some(&was) }, || format!("{was:?} became {is:?}"))?;
    }
    kept(before, after, |was: &NonceRow, is: &NonceRow| was == is)?;
    kept(before, after, |was: &VaultRow, is: &VaultRow| {
        let ended = was.end.is_none() || was.end == is.end;
        was.name == is.name && was.statement_version <= is.statement_version && ended
    })?;
    kept(before, after, |was: &SessionRow, is: &SessionRow| {
        was.identity == is.identity && was.top <= is.top && is.open <= was.open
    })?;
    // Outcomes leave with their window; those that are there are the same.
    let remembered = rows_of::<OutcomeRow>(after)?;
    for (tenant, key, was) in before.each::<OutcomeRow>()? {
        let is = remembered.get(&(tenant, key));
        holds(is.is_none_or(|is| *is == was), || format!("number {} of {} became {is:?}", key.1, key.0))?;
    }
    Ok(())
}

fn rows_of<R: TenantsRow>(state: &State) -> Result<BTreeMap<(TenantId, R::Key), R>, String>
where
    R::Key: Ord,
{
    Ok(state.each::<R>()?.into_iter().map(|(tenant, key, row)| ((tenant, key), row)).collect())
}

fn kept<R: TenantsRow + std::fmt::Debug>(
    before: &State,
    after: &State,
    may_become: impl Fn(&R, &R) -> bool,
) -> Result<(), String>
where
    R::Key: Ord,
{
    let later = rows_of::<R>(after)?;
    for (tenant, key, was) in before.each::<R>()? {
        let is = later.get(&(tenant, key));
        holds(is.is_some_and(|is| may_become(&was, is)), || format!("{was:?} became {is:?}"))?;
    }
    Ok(())
}
