//! Time, ticks and the applied index never go back, and a group's rules version never falls.

use crate::clock::ClockRow;
use crate::laws::state::{State, holds};
use crate::rules::{AppliedRow, RulesRow};

pub(crate) fn check(before: &State, after: &State) -> Result<(), String> {
    let time = |state: &State| -> Result<_, String> {
        let clock = state.shared::<ClockRow>()?.pop().map(|(_, row)| (row.elapsed_ms, row.ticks, row.clock_ms));
        let applied = state.shared::<AppliedRow>()?.pop().map(|(_, row)| row.index);
        let rules = state.shared::<RulesRow>()?.pop().map(|(_, row)| row.version);
        Ok((clock, applied, rules))
    };
    let (earlier, later) = (time(before)?, time(after)?);
    let forward = earlier.0 <= later.0 && earlier.1 <= later.1 && earlier.2 <= later.2;
    holds(forward, || format!("{earlier:?} became {later:?}"))
}
