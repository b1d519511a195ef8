//! Policies follow one another by one version; once a vault is locked it stays locked, and its policy only gets stricter.

use crate::clock::ClockRow;
use crate::laws::state::{State, holds};
use crate::shard::rows::VaultRow;

pub(crate) fn check_step(before: &State, after: &State) -> Result<(), String> {
    let now_ms = before.shared::<ClockRow>()?.pop().map_or(0, |(_, clock)| clock.elapsed_ms);
    for (tenant, (vault,), was) in before.each::<VaultRow>()? {
        let Some(is) = after.one_of::<VaultRow>(tenant, &(vault,))? else {
            continue; // another law keeps vaults
        };
        let follows = was.policy == is.policy || was.policy.version < is.policy.version;
        let stricter = !was.is_locked(now_ms) || (is.lock == was.lock && is.policy.is_as_strict_as(&was.policy));
        holds(follows && stricter, || format!("{vault}: {:?} became {:?}", was.policy, is.policy))?;
    }
    Ok(())
}
