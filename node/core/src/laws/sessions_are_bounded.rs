//! An open session remembers outcomes within its window only, an ended one none; so does nobody else.

use std::collections::BTreeMap;

use crate::laws::state::{State, holds};
use crate::shard::WINDOW;
use crate::shard::rows::{NonceRow, OutcomeRow, SessionRow};

pub(crate) fn check(state: &State) -> Result<(), String> {
    let sessions: BTreeMap<_, SessionRow> =
        state.each::<SessionRow>()?.into_iter().map(|(tenant, (id,), row)| ((tenant, id), row)).collect();
    for (tenant, (session, sequence), _) in state.each::<OutcomeRow>()? {
        let row = sessions.get(&(tenant, session)).ok_or_else(|| format!("an outcome of no session {session}"))?;
        let within = row.open && 0 < sequence && sequence <= row.top && row.top < sequence.saturating_add(WINDOW);
        holds(within, || format!("session {session} remembers {sequence}, its top is {}", row.top))?;
    }
    for (tenant, (identity, nonce), row) in state.each::<NonceRow>()? {
        let of = sessions.get(&(tenant, row.session));
        holds(of.is_some_and(|session| session.identity == identity), || format!("{nonce:?} opened nothing"))?;
    }
    Ok(())
}
