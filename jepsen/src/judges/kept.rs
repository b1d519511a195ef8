//! What happened to each snapshot that was made under a lock: its calls, sorted for the judges of locks.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::calls::{Call, calls};
use crate::history::{Event, Kind};
use crate::words::{CANCEL, DELETE, DESTROY, EXTEND, GET, HOLD, KEEP, RELEASE, SHOW, WEAKEN};

/// What asks for judges of locks.
pub const MAKES: [&str; 1] = [KEEP];
/// All words about locks.
const WORDS: [&str; 10] = [KEEP, GET, SHOW, EXTEND, WEAKEN, CANCEL, HOLD, RELEASE, DELETE, DESTROY];

/// So many nanoseconds.
const SECOND: f64 = 1e9;

/// A lock's strength: its mode and its length.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Lock {
    /// 0: none, 1: governance, 2: compliance.
    pub mode: u8,
    /// In seconds.
    pub seconds: f64,
}

/// A snapshot and what was done with it, in the order of the beginnings.
pub struct Story<'a> {
    /// Its id.
    pub snapshot: &'a str,
    /// How it was made.
    pub keep: Call<'a>,
    /// All calls on it.
    pub calls: Vec<Call<'a>>,
}

impl Lock {
    /// As an argument or an answer has it; what is not said is nothing.
    pub fn of(value: &Value) -> Self {
        let mode = match value["mode"].as_str() {
            Some("governance") => 1,
            Some("compliance") => 2,
            _ => 0,
        };
        Self { mode, seconds: value["seconds"].as_f64().unwrap_or(0.0) }
    }

    /// The least that is as strong as both.
    pub fn join(self, other: Self) -> Self {
        Self { mode: self.mode.max(other.mode), seconds: self.seconds.max(other.seconds) }
    }
}

impl<'a> Story<'a> {
    /// Of all snapshots whose making was acknowledged.
    pub fn all(events: &'a [Event]) -> Vec<Self> {
        let all = calls(events, &WORDS);
        let keeps = all.iter().filter(|call| call.invoke.f == KEEP);
        let mut stories: BTreeMap<&str, Self> = keeps
            .filter_map(|keep| {
                let snapshot = keep.done()?.answered("snapshot")?;
                Some((snapshot, Self { snapshot, keep: *keep, calls: Vec::new() }))
            })
            .collect();
        for call in all.iter().filter(|call| call.invoke.f != KEEP) {
            let several = call.invoke.argument["snapshots"].as_array().into_iter().flatten().filter_map(Value::as_str);
            let one = (call.invoke.f != DESTROY).then_some(call.key());
            for snapshot in several.chain(one) {
                if let Some(story) = stories.get_mut(snapshot) {
                    story.calls.push(*call);
                }
            }
        }
        stories.into_values().collect()
    }

    /// Calls with this word.
    pub fn with(&self, f: &'static str) -> impl Iterator<Item = &Call<'a>> {
        self.calls.iter().filter(move |call| call.invoke.f == f)
    }

    /// What shows that it is gone: it was ended, or it was asked for and was not there.
    pub fn gone(&self) -> impl Iterator<Item = &Call<'a>> {
        self.calls.iter().filter(|call| match call.invoke.f.as_str() {
            DELETE | DESTROY => call.kind() == Kind::Ok,
            GET | SHOW => call.is_refused(),
            _ => false,
        })
    }

    /// What shows that it is there.
    pub fn there(&self) -> impl Iterator<Item = &Call<'a>> {
        self.calls.iter().filter(|call| match call.invoke.f.as_str() {
            GET | SHOW | EXTEND | HOLD => call.kind() == Kind::Ok,
            _ => false,
        })
    }

    /// Its lock cannot have begun before this moment of true time: it was not yet made, or an answer said that it had not;
    /// as far as is known at a moment. Where there is no lock any more, none has yet to begin.
    pub fn began_at_least_ns(&self, known_at_ns: u64) -> u64 {
        let says_so = |lock: &Value| lock["mode"].is_string() && lock["begun"] == Value::Bool(false);
        let not_begun = self
            .with(SHOW)
            .filter(|show| show.invoke.time_ns <= known_at_ns)
            .filter(|show| show.done().is_some_and(|end| says_so(&end.value["lock"])));
        not_begun.map(|show| show.invoke.time_ns).fold(self.keep.invoke.time_ns, u64::max)
    }
}

/// Seconds after a moment.
pub fn later(ns: u64, seconds: f64) -> u64 {
    ns.saturating_add((seconds.max(0.0) * SECOND).round() as u64)
}
