//! Every open session, lease, restore session and token, and every pending audit batch, has exactly one row in the order
//! of time, at its end or before.

use std::collections::BTreeMap;

use strongroom_format::id::TenantId;

use crate::laws::state::{State, holds};
use crate::shard::ends::End;
use crate::shard::rows::{AuditHeadRow, EndRow, IssuedRow, LeaseRow, RestoreRow, SessionRow, TokenRow};

pub(crate) fn check(state: &State) -> Result<(), String> {
    let mut ends: BTreeMap<(TenantId, u8, u64), u64> = BTreeMap::new();
    for ((ends_ms, kind, tenant, number), _) in state.shared::<EndRow>()? {
        End::from_kind_and_number(kind, number).map_err(|halt| halt.why)?;
        let twice = ends.insert((tenant, kind, number), ends_ms);
        holds(twice.is_none(), || format!("number {number} of kind {kind} ends twice"))?;
    }
    let tokens: BTreeMap<_, TokenRow> =
        state.each::<TokenRow>()?.into_iter().map(|(tenant, (token,), row)| ((tenant, token), row)).collect();
    let has = |tenant, kind, number, ends_ms: u64| {
        let noted = ends.get(&(tenant, kind, number));
        holds(noted.is_some_and(|noted| *noted <= ends_ms), || {
            format!("number {number} of kind {kind} ends at {ends_ms}, noted {noted:?}")
        })
    };
    for (tenant, (session,), row) in state.each::<SessionRow>()?.into_iter().filter(|(.., row)| row.open) {
        has(tenant, 1, session.0, row.ends_ms)?;
    }
    for (tenant, (lease,), row) in state.each::<LeaseRow>()? {
        has(tenant, 2, lease.0, row.ends_ms)?;
    }
    for (tenant, (restore,), row) in state.each::<RestoreRow>()? {
        has(tenant, 3, restore.0, row.ends_ms)?;
    }
    for (tenant, (number,), row) in state.each::<IssuedRow>()? {
        let token: Option<&TokenRow> = tokens.get(&(tenant, row.token));
        holds(token.is_some_and(|token| token.number == number), || {
            format!("{} was issued at another place", row.token)
        })?;
        has(tenant, 5, number, token.map_or(0, |token| token.ends_ms))?;
    }
    for (tenant, (), row) in state.each::<AuditHeadRow>()? {
        if !row.pending.is_empty() {
            has(tenant, 4, 0, u64::MAX)?;
        }
    }
    Ok(())
}
