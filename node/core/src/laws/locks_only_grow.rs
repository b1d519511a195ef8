//! What is locked stays locked: a lock never goes and never shrinks before it is over, save a governance lock at the end
//! of a wish that waited 72 hours (at home) or by the home shard's next word (elsewhere); its beginning is final and
//! never early; a hold goes only with a version of its row.

use strongroom_format::lock::LockMode;

use crate::laws::locked_snapshots_stay::is_kept_throughout;
use crate::laws::state::{State, holds};
use crate::shard::lock_rows::{Lock, LockRow};
use crate::shard::locks::{self, BEGIN_AFTER_MS};
use crate::shard::rows::PartRow;

pub(crate) fn check_step(before: &State, after: &State) -> Result<(), String> {
    let (earlier, later) = (before.clock()?, after.clock()?);
    for (tenant, (snapshot,), was) in before.each::<LockRow>()? {
        let is = after.one_of::<LockRow>(tenant, &(snapshot,))?;
        let Some(is) = is else {
            let kept = is_kept_throughout(Some(&was), &earlier, &later);
            holds(!kept, || format!("what keeps {snapshot} is gone"))?;
            continue;
        };
        holds(was.version <= is.version, || format!("what keeps {snapshot} went back to {}", is.version))?;
        let held = was.holds.iter().all(|hold| is.holds.contains(hold)) || was.version < is.version;
        holds(held, || format!("a hold of {snapshot} went unnoticed: {was:?} became {is:?}"))?;
        let Some(lock) = was.lock.filter(|lock| !locks::is_over(lock, later.clock_ms)) else {
            continue;
        };
        let at_home =
            after.one_of::<PartRow>(tenant, &(snapshot,))?.is_some_and(|part| part.opened.home == after.group());
        let may_weaken = lock.terms.mode == LockMode::Governance
            && was.version < is.version
            && (!at_home || was.weakening.as_ref().is_some_and(|wish| wish.due_ms <= later.elapsed_ms));
        let grew = is.lock.is_some_and(|is| has_grown(&lock, &is));
        let cut = is.lock.is_none_or(|is| is.begins_ms == lock.begins_ms || lock.begins_ms.is_none());
        holds(grew || (may_weaken && cut), || format!("the lock of {snapshot} shrank: {was:?} became {is:?}"))?;
        if let (None, Some(Lock { begins_ms: Some(begins_ms), .. })) = (lock.begins_ms, is.lock) {
            let early = earlier.began_unix_ms.saturating_add(earlier.elapsed_ms).saturating_add(BEGIN_AFTER_MS);
            holds(early <= begins_ms, || format!("the lock of {snapshot} began at {begins_ms}, before {early}"))?;
        }
    }
    Ok(())
}

fn has_grown(was: &Lock, is: &Lock) -> bool {
    was.terms.mode <= is.terms.mode
        && was.terms.length_ms <= is.terms.length_ms
        && was.until_unix_ms <= is.until_unix_ms
        && (was.begins_ms.is_none() || was.begins_ms == is.begins_ms)
}
