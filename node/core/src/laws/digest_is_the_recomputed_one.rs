//! The digest that a state says it has is the one that its rows really have.

use crate::digest::recompute;
use crate::laws::state::{State, holds};
use crate::machine::DIGEST_TABLE;

pub(crate) fn check(state: &State) -> Result<(), String> {
    let recorded = state.rows().find(|(table, ..)| *table == DIGEST_TABLE).map(|(.., value)| value.to_vec());
    let recorded = recorded.unwrap_or_else(|| vec![0; 32]);
    let real = recompute(state.group(), state.rows());
    holds(recorded == real.as_bytes(), || format!("recorded {recorded:02x?}, real {real}"))
}
