//! I4: locks only grow; holds dominate.
//!
//! - What is shown of a lock is no less than all that was acknowledged before, and than what was shown before. A shorter or
//!   weaker one is never accepted, nor is the weakening of a compliance lock.
//! - A hold that was put on and of whose release nobody asked is shown, and nothing ends the snapshot; one that was released,
//!   or that nobody put on, is not shown.
//!
//! A lock that is over, and one whose weakening was due, may be less. Locks may grow for other reasons than those of the
//! history (a vault's keep rules), so there is no upper bound.

use serde_json::Value;

use crate::calls::Call;
use crate::history::{Event, Kind};
use crate::judges::kept::{Lock, Story, later};
use crate::verdict::Verdict;
use crate::words::{EXTEND, HOLD, RELEASE, SHOW, WEAKEN};

/// The mode that nobody weakens.
const COMPLIANCE: u8 = 2;
/// Lengths are compared to the millisecond.
const NEAR_SECONDS: f64 = 0.001;

/// Judges the history.
pub fn judge(events: &[Event]) -> Verdict {
    let stories = Story::all(events);
    let mut evidence = Vec::new();
    let (mut shows, mut changes) = (0, 0);
    for story in &stories {
        locks(story, &mut evidence);
        holds(story, &mut evidence);
        shows += story.with(SHOW).filter(|show| show.done().is_some()).count();
        changes += story.calls.iter().filter(|call| matches!(call.invoke.f.as_str(), EXTEND | HOLD)).count();
    }
    if evidence.is_empty() && (shows == 0 || changes == 0) {
        return Verdict::Unknown(format!("{} locked snapshots, {changes} changes, {shows} shown", stories.len()));
    }
    Verdict::from_evidence(evidence, format!("{} locked snapshots, {changes} changes, {shows} shown", stories.len()))
}

fn is_less(lock: Lock, than: Lock) -> bool {
    lock.mode < than.mode || lock.seconds + NEAR_SECONDS < than.seconds
}

fn locks(story: &Story<'_>, evidence: &mut Vec<String>) {
    let snapshot = story.snapshot;
    let kept = Lock::of(&story.keep.invoke.argument);
    let may_be_over = |lock: Lock, at_ns: u64| later(story.began_at_least_ns(at_ns), lock.seconds) <= at_ns;
    // What was acknowledged or shown before a call began; where it was over, another one may have begun.
    let least = |call: &Call<'_>| {
        let changes = story.calls.iter().filter(|change| change.is_before(call)).filter_map(|change| {
            let end = change.done()?;
            let lock = match change.invoke.f.as_str() {
                EXTEND => Lock::of(&change.invoke.argument),
                SHOW => Lock::of(&end.value["lock"]),
                _ => return None,
            };
            Some((end.time_ns, lock))
        });
        let mut changes: Vec<(u64, Lock)> = changes.collect();
        changes.sort_by_key(|(at_ns, _)| *at_ns);
        changes.into_iter().fold(kept, |least, (at_ns, lock)| {
            if is_less(lock, least) && may_be_over(least, at_ns) { lock } else { least.join(lock) }
        })
    };
    let may_be_weaker = |call: &Call<'_>| {
        let end = call.end.unwrap_or(call.invoke).time_ns;
        story.with(WEAKEN).filter(|weaken| !weaken.is_refused()).any(|weaken| {
            let wait = weaken.invoke.argument["wait_seconds"].as_f64().unwrap_or(f64::MAX / 1e10);
            later(weaken.invoke.time_ns, wait) <= end
        })
    };
    for show in story.with(SHOW) {
        let Some(end) = show.done() else { continue };
        let (least, lock) = (least(show), Lock::of(&end.value["lock"]));
        if is_less(lock, least) && !may_be_over(least, end.time_ns) && !may_be_weaker(show) {
            evidence.push(format!("event {}: the lock of {snapshot} is {lock:?}, and was {least:?}", end.index));
        }
    }
    for extend in story.with(EXTEND).filter(|extend| extend.done().is_some()) {
        let least = least(extend);
        let mut wanted = Lock::of(&extend.invoke.argument);
        // What is not said stays; a date is another measure.
        if extend.invoke.argument["mode"].is_null() {
            wanted.mode = least.mode;
        }
        if extend.invoke.argument["seconds"].is_null() {
            wanted.seconds = least.seconds;
        }
        // Where it is over, a new one begins, as short as the vault lets it be.
        if is_less(wanted, least)
            && !may_be_over(least, extend.done().map_or(0, |end| end.time_ns))
            && !may_be_weaker(extend)
        {
            evidence.push(format!("{}: {wanted:?} was accepted for {snapshot} after {least:?}", extend.name()));
        }
    }
    for weaken in story.with(WEAKEN).filter(|weaken| weaken.done().is_some()) {
        if least(weaken).mode == COMPLIANCE {
            evidence.push(format!("{}: the compliance lock of {snapshot} may be weakened", weaken.name()));
        }
    }
}

fn holds(story: &Story<'_>, evidence: &mut Vec<String>) {
    let snapshot = story.snapshot;
    let named = |call: &Call<'_>, name: &str| call.invoke.asked("hold") == Some(name);
    // Whether a release may have taken that hold off before a moment of the history.
    let may_be_released = |hold: &Call<'_>, name: &str, until: u64| {
        story
            .with(RELEASE)
            .filter(|release| named(release, name) && !release.is_refused())
            .any(|release| release.began() < until && !release.is_before(hold))
    };
    for hold in story.with(HOLD).filter(|hold| hold.done().is_some()) {
        let name = hold.invoke.asked("hold").unwrap_or_default();
        for gone in
            story.gone().filter(|gone| hold.began() < gone.ended() && !may_be_released(hold, name, gone.ended()))
        {
            evidence.push(format!(
                "{}: {} shows {snapshot} gone under the hold {name} of {}",
                gone.name(),
                gone.invoke.f,
                hold.name()
            ));
        }
        for show in story.with(SHOW).filter(|show| hold.is_before(show) && show.done().is_some()) {
            if !shown(show).contains(&name) && !may_be_released(hold, name, show.ended()) {
                evidence.push(format!("{}: {snapshot} lacks the hold {name} of {}", show.name(), hold.name()));
            }
        }
    }
    for show in story.with(SHOW) {
        for name in shown(show) {
            // It may be there by a hold that no release is surely after.
            let explained = story
                .with(HOLD)
                .filter(|hold| named(hold, name) && !hold.is_refused() && hold.began() < show.ended())
                .any(|hold| {
                    let mut releases = story.with(RELEASE).filter(|r| named(r, name) && r.kind() == Kind::Ok);
                    !releases.any(|release| hold.is_before(release) && release.is_before(show))
                });
            if !explained {
                evidence.push(format!("{}: {snapshot} has the hold {name}, which is nobody's now", show.name()));
            }
        }
    }
}

/// Holds that an answer names.
fn shown<'a>(show: &Call<'a>) -> Vec<&'a str> {
    let holds = show.done().and_then(|end| end.value["lock"]["holds"].as_array());
    holds.into_iter().flatten().filter_map(Value::as_str).collect()
}
