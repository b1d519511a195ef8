//! Calls: an invocation and what became of it. What never ended, or ended in `info`, is open to the end of time.
//!
//! Order is that of the history: a call is *before* another if it ended before the other began; else they are concurrent.

use std::collections::HashMap;

use crate::history::{Event, Kind, Process};

/// A call.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// Its beginning.
    pub invoke: &'a Event,
    /// Its end, also an `info`.
    pub end: Option<&'a Event>,
}

impl<'a> Call<'a> {
    /// What is known of it.
    pub fn kind(&self) -> Kind {
        self.end.map_or(Kind::Info, |end| end.kind)
    }

    /// The answer, if it was done.
    pub fn done(&self) -> Option<&'a Event> {
        self.end.filter(|end| end.kind == Kind::Ok)
    }

    /// Whether it was surely not done.
    pub fn is_refused(&self) -> bool {
        self.kind() == Kind::Fail
    }

    /// Index of its beginning.
    pub fn began(&self) -> u64 {
        self.invoke.index
    }

    /// Index of its end; the greatest where nobody knows of one.
    pub fn ended(&self) -> u64 {
        self.end.filter(|end| end.kind != Kind::Info).map_or(u64::MAX, |end| end.index)
    }

    /// Whether it ended before the other one began.
    pub fn is_before(&self, other: &Call<'_>) -> bool {
        self.ended() < other.began()
    }

    /// The tenant, or nothing.
    pub fn tenant(&self) -> &'a str {
        self.invoke.tenant.as_deref().unwrap_or_default()
    }

    /// The key, or nothing.
    pub fn key(&self) -> &'a str {
        self.invoke.key.as_deref().unwrap_or_default()
    }

    /// As evidence names it: by the event that ended it, else by its beginning.
    pub fn name(&self) -> String {
        format!("event {}", self.end.unwrap_or(self.invoke).index)
    }
}

/// All calls with these words, in the order in which they began. An ending without a beginning began where it ended.
pub fn calls<'a>(events: &'a [Event], words: &[&str]) -> Vec<Call<'a>> {
    let mut calls: Vec<Call<'a>> = Vec::new();
    let mut open: HashMap<(&'a Process, &'a str, Option<&'a str>), usize> = HashMap::new();
    for event in events.iter().filter(|event| words.contains(&event.f.as_str())) {
        let who = (&event.process, event.f.as_str(), event.key.as_deref());
        match event.kind {
            Kind::Invoke => {
                open.insert(who, calls.len());
                calls.push(Call { invoke: event, end: None });
            }
            Kind::Ok | Kind::Fail | Kind::Info => match open.remove(&who) {
                Some(at) => calls[at].end = Some(event),
                None => calls.push(Call { invoke: event, end: Some(event) }),
            },
        }
    }
    calls
}

/// Whether any of these words occurs.
pub fn occur(events: &[Event], words: &[&str]) -> bool {
    events.iter().any(|event| words.contains(&event.f.as_str()))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::history::made_up::{event, history};

    #[test]
    fn an_ending_belongs_to_the_last_beginning_of_its_process() {
        let of = |process, kind, key: &str| Event {
            process: Process::Client(process),
            ..event(kind, "read", key, Value::Null, Value::Null)
        };
        let events = history([
            of(1, Kind::Invoke, "a"),
            of(2, Kind::Invoke, "a"),
            of(1, Kind::Info, "a"),
            of(2, Kind::Ok, "a"),
            of(3, Kind::Invoke, "a"),
            of(4, Kind::Fail, "b"),
        ]);
        let calls = calls(&events, &["read"]);
        let seen: Vec<_> = calls.iter().map(|call| (call.began(), call.ended(), call.kind())).collect();
        assert_eq!(seen, [(0, u64::MAX, Kind::Info), (1, 3, Kind::Ok), (4, u64::MAX, Kind::Info), (5, 5, Kind::Fail)]);
        assert!(calls[1].is_before(&calls[2]) && !calls[0].is_before(&calls[2]));
    }
}
