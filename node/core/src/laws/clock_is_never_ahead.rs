//! The compliance clock is never ahead of `E` counted from where it began, begins nowhere else later, and stands while it
//! is held.

use crate::clock::ClockRow;
use crate::laws::state::{State, holds};

pub(crate) fn check(state: &State) -> Result<(), String> {
    let Some((_, clock)) = state.shared::<ClockRow>()?.pop() else { return Ok(()) };
    let furthest_ms = clock.began_unix_ms.saturating_add(clock.elapsed_ms);
    let within = (clock.began_unix_ms..=furthest_ms).contains(&clock.clock_ms);
    holds(within, || format!("the clock is not between where it began and E: {clock:?}"))?;
    let held = clock.held_since_ms.is_none_or(|since_ms| since_ms <= clock.elapsed_ms);
    holds(held, || format!("the clock is held since a time that has not come: {clock:?}"))
}

pub(crate) fn check_step(before: &State, after: &State) -> Result<(), String> {
    let (earlier, later) = (before.shared::<ClockRow>()?.pop(), after.shared::<ClockRow>()?.pop());
    let (Some((_, earlier)), Some((_, later))) = (earlier, later) else { return Ok(()) };
    let same = earlier.began_unix_ms == later.began_unix_ms;
    holds(same, || format!("the clock began elsewhere than before: {earlier:?} became {later:?}"))?;
    let stood = later.held_since_ms.is_none() || later.clock_ms == earlier.clock_ms;
    holds(stood, || format!("the clock moved while it was held: {earlier:?} became {later:?}"))
}
