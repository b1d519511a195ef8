//! I3: what is locked neither disappears nor changes before its lock is over in true time; and what is gone stays gone.
//!
//! True time is the harness's monotonic clock. A lock of length L is over L after its beginning, and it begins at the
//! commit or later: never before the backup was asked for, and never before somebody was shown that it had not begun. Until
//! then nothing may show the snapshot gone: no deletion that was answered as done before that moment, whoever asked and by
//! which way, no answer that there is no such snapshot. A longer lock counts from when it was asked for, since it found the
//! snapshot there. A wish for a shorter one changes nothing for the time that it has to wait.
//!
//! Not here: holds, and what locks look like (`i4_lattice.rs`).

use std::collections::BTreeMap;

use crate::history::Event;
use crate::judges::kept::{Lock, Story, later};
use crate::verdict::Verdict;
use crate::words::{CANCEL, DELETE, DESTROY, EXTEND, GET, KEEP, WEAKEN};

/// The time that a wish for a shorter lock has to wait, unless it says another one.
const WAIT_SECONDS: f64 = 72.0 * 3600.0;

/// Judges the history.
pub fn judge(events: &[Event]) -> Verdict {
    let stories = Story::all(events);
    let mut evidence = Vec::new();
    let (mut attempts, mut unseen) = (0, 0);
    for story in &stories {
        one(story, &mut evidence);
        let end = until(story).values().copied().max().unwrap_or(0);
        let destructive = story.calls.iter().filter(|call| matches!(call.invoke.f.as_str(), DELETE | DESTROY));
        attempts += destructive.filter(|call| call.invoke.time_ns < end).count();
        unseen += usize::from(story.with(GET).all(|get| get.done().is_none()));
    }
    if evidence.is_empty() {
        if stories.is_empty() || attempts == 0 {
            return Verdict::Unknown(format!("{} locked snapshots, {attempts} attempts to end one", stories.len()));
        }
        if 0 < unseen {
            return Verdict::Unknown(format!("{unseen} of {} locked snapshots were never given back", stories.len()));
        }
    }
    Verdict::from_evidence(evidence, format!("{} locked snapshots, {attempts} attempts to end one", stories.len()))
}

/// Until when it must be there, by who promised: each promise by the index of its beginning.
fn until(story: &Story<'_>) -> BTreeMap<u64, u64> {
    let began = story.began_at_least_ns(u64::MAX);
    let mut until = BTreeMap::new();
    let kept = Lock::of(&story.keep.invoke.argument);
    if 0 < kept.mode {
        until.insert(story.keep.began(), later(began, kept.seconds));
    }
    for extend in story.with(EXTEND).filter(|extend| extend.done().is_some()) {
        let argument = &extend.invoke.argument;
        let moment = match argument["until_unix_ms"].as_u64() {
            Some(date_ms) => {
                let left_ns = (date_ms.saturating_mul(1_000_000)).saturating_sub(extend.invoke.wall_ns);
                extend.invoke.time_ns.saturating_add(left_ns)
            }
            None => later(began, Lock::of(argument).seconds),
        };
        until.insert(extend.began(), moment);
    }
    // Where a wish for a shorter lock was due, nothing is promised for later.
    for weaken in story.with(WEAKEN).filter(|weaken| !weaken.is_refused()) {
        let is_cancelled = story.with(CANCEL).any(|cancel| cancel.done().is_some() && weaken.is_before(cancel));
        let wait = weaken.invoke.argument["wait_seconds"].as_f64().unwrap_or(WAIT_SECONDS);
        let due = later(weaken.invoke.time_ns, wait);
        for (_, moment) in until.range_mut(..weaken.began()).filter(|_| !is_cancelled) {
            *moment = due.min(*moment).max(later(began, Lock::of(&weaken.invoke.argument).seconds).min(*moment));
        }
    }
    until
}

fn one(story: &Story<'_>, evidence: &mut Vec<String>) {
    let snapshot = story.snapshot;
    let expected = story.keep.invoke.asked("digest");
    for get in story.with(GET).filter_map(|get| get.done()) {
        if get.answered("digest") != expected {
            evidence.push(format!("event {}: {snapshot} came back as other bytes", get.index));
        }
    }
    let until = until(story);
    for gone in story.gone() {
        let end = gone.end.expect("only what ended shows anything");
        // A promise that was made before, or found the snapshot there while this went on, or after it.
        let promises = until.iter().filter(|(began, _)| **began < end.index);
        if let Some((promise, moment)) = promises.max_by_key(|(_, moment)| **moment)
            && end.time_ns < *moment
        {
            let early = (*moment - end.time_ns) as f64 / 1e6;
            let f = &gone.invoke.f;
            evidence.push(format!(
                "event {}: {f} shows {snapshot} gone, {early:.3} ms before the lock of event {promise} is over",
                end.index
            ));
        }
        for there in story.there().filter(|there| gone.is_before(there)) {
            evidence.push(format!("{}: {snapshot} is there again after event {}", there.name(), end.index));
        }
    }
    if story.snapshot.is_empty() {
        evidence.push(format!("{}: {KEEP} without an id", story.keep.name()));
    }
}
