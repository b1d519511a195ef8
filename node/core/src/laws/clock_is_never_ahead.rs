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
    // Between two states with several ticks in between it may have moved before it was held.
    let is_held_throughout = later.held_since_ms.is_some_and(|since_ms| earlier.held_since_ms == Some(since_ms))
        || later.held_since_ms.is_some() && later.ticks <= earlier.ticks.saturating_add(1);
    let stood = !is_held_throughout || later.clock_ms == earlier.clock_ms;
    holds(stood, || format!("the clock moved while it was held: {earlier:?} became {later:?}"))
}

#[cfg(test)]
mod tests {
    use strongroom_format::codec;
    use strongroom_format::id::GroupId;

    use super::*;
    use crate::row::Row as _;

    fn state(ticks: u64, clock_ms: u64, held_since_ms: Option<u64>) -> State {
        let clock = ClockRow { ticks, clock_ms, held_since_ms, elapsed_ms: 900, ..ClockRow::founded(0) };
        let value = codec::encode(&clock);
        State::read(GroupId(1), [(ClockRow::TABLE, [].as_slice(), value.as_slice())].into_iter())
    }

    #[test]
    fn a_clock_stands_while_it_is_held_and_may_have_moved_before() {
        let holds = |before: State, after: State| check_step(&before, &after).is_ok();
        assert!(holds(state(1, 100, None), state(9, 300, Some(800))), "it was held after several ticks");
        assert!(!holds(state(1, 100, None), state(2, 300, Some(800))), "the tick that held it moved it");
        assert!(!holds(state(1, 100, Some(50)), state(9, 300, Some(50))));
        assert!(holds(state(1, 100, Some(50)), state(9, 100, Some(50))));
        assert!(holds(state(1, 100, Some(50)), state(9, 300, None)));
    }
}
