//! What a voter voted for in its last report is at most 2 s ahead of `E`, so nothing more can be let go later.

use crate::baselines::IN_HAND_MAX_MS;
use crate::clock::ClockRow;
use crate::laws::state::{State, holds};
use crate::voters::VoterRow;

pub(crate) fn check(state: &State) -> Result<(), String> {
    let Some((_, clock)) = state.shared::<ClockRow>()?.pop() else { return Ok(()) };
    let most_ms = clock.elapsed_ms.saturating_add(IN_HAND_MAX_MS);
    for ((replica,), row) in state.shared::<VoterRow>()? {
        let in_hand = row.tick <= clock.ticks && row.vote_ms() <= most_ms;
        holds(in_hand, || format!("{replica:?} keeps time in hand: {row:?}, E is {}", clock.elapsed_ms))?;
    }
    Ok(())
}
