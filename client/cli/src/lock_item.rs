//! What keeps a snapshot, as a result: in `snapshots`, and by itself in `lock show` and after each order.

use serde::Serialize;
use strongroom::error::Error;
use strongroom_format::id::SnapshotId;
use strongroom_format::lock::LockMode;
use strongroom_format::policy_view::{LockView, WeakeningShown};

use crate::output::Item;
use crate::text::{length, time_of_ms};

/// What keeps a snapshot. A lock that is over keeps nothing and is not shown.
#[derive(Debug, PartialEq, Serialize)]
pub struct Lock {
    /// `governance`, `compliance`, or `null` where only holds keep it.
    mode: Option<&'static str>,
    seconds: Option<f64>,
    /// The plain date.
    until: Option<String>,
    /// Until it has begun, it is locked whatever the date.
    begun: bool,
    holds: Vec<String>,
    /// Shards that do not have the last order yet.
    pending: Vec<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    weakening: Option<Weakening>,
    #[serde(skip)]
    milliseconds: u64,
}

/// A wish that a lock be shorter.
#[derive(Debug, PartialEq, Serialize)]
struct Weakening {
    by: String,
    seconds: f64,
    due: Option<String>,
}

/// What keeps one snapshot, by itself.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename = "lock")]
pub struct Shown {
    snapshot: String,
    lock: Option<Lock>,
}

#[expect(clippy::cast_precision_loss, reason = "contracts want seconds as floats")]
fn seconds(milliseconds: u64) -> f64 {
    milliseconds as f64 / 1000.0
}

/// The word for a mode.
pub fn mode(mode: LockMode) -> &'static str {
    match mode {
        LockMode::Governance => "governance",
        LockMode::Compliance => "compliance",
    }
}

impl Lock {
    /// `None`: nothing keeps it.
    pub fn of(view: LockView) -> Option<Self> {
        let LockView { lock, holds, weakening, behind } = view;
        let lock = lock.filter(|lock| !lock.over);
        if lock.is_none() && holds.is_empty() && behind.is_empty() {
            return None;
        }
        Some(Self {
            mode: lock.as_ref().map(|lock| mode(lock.terms.mode)),
            seconds: lock.as_ref().map(|lock| seconds(lock.terms.length_ms)),
            until: lock.as_ref().and_then(|lock| time_of_ms(lock.until_unix_ms)),
            begun: lock.as_ref().is_some_and(|lock| lock.begun),
            holds: holds.into_iter().map(|hold| hold.name.to_string()).collect(),
            pending: behind.into_iter().map(|group| group.0).collect(),
            weakening: weakening.map(|WeakeningShown { by, length_ms, due_unix_ms }| Weakening {
                by: by.to_string(),
                seconds: seconds(length_ms),
                due: time_of_ms(due_unix_ms),
            }),
            milliseconds: lock.map_or(0, |lock| lock.terms.length_ms),
        })
    }
}

/// A refusal because something is not there, with what.
pub fn none_of(what: &str, which: &str, error: Error) -> Error {
    match error {
        Error::Refused { code: code @ "NOT_FOUND", reason, .. } if reason == "NOT_FOUND" => Error::Refused {
            code,
            reason,
            message: format!("the snapshot has no {what} {which}, or there is no such snapshot"),
            next: "`strongroom lock show` shows what keeps it".into(),
        },
        error => error,
    }
}

impl Shown {
    /// Of a snapshot.
    pub fn new(snapshot: SnapshotId, view: LockView) -> Self {
        Self { snapshot: snapshot.to_string(), lock: Lock::of(view) }
    }

    /// Whether every shard has the last order.
    pub fn is_everywhere(&self) -> bool {
        self.lock.as_ref().is_none_or(|lock| lock.pending.is_empty())
    }
}

impl std::fmt::Display for Lock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut parts = Vec::new();
        if let Some(mode) = self.mode {
            let until = self.until.as_deref().unwrap_or("unknown");
            parts.push(format!("LOCKED until {until} ({mode}, {})", length(self.milliseconds)));
        }
        if !self.holds.is_empty() {
            parts.push(format!("ON HOLD: {}", self.holds.join(", ")));
        }
        if let Some(Weakening { by, due, .. }) = &self.weakening {
            parts.push(format!("{by} wants it weaker, at {}", due.as_deref().unwrap_or("unknown")));
        }
        if !self.pending.is_empty() {
            parts.push(format!("PENDING in {} shards", self.pending.len()));
        }
        f.write_str(&parts.join("  "))
    }
}

impl Item for Shown {
    fn text(&self) -> String {
        match &self.lock {
            Some(lock) => format!("{}  {lock}", self.snapshot),
            None => format!("{}  not locked, no hold", self.snapshot),
        }
    }
}

#[cfg(test)]
mod tests {
    use strongroom_format::id::GroupId;
    use strongroom_format::lock::{Hold, LockTerms};
    use strongroom_format::policy_view::LockShown;

    use super::*;

    fn view(over: bool) -> LockView {
        let terms = LockTerms { mode: LockMode::Compliance, length_ms: 2_592_000_000 };
        let lock = LockShown { terms, until_unix_ms: 2_592_000_000, begun: true, over };
        LockView { lock: Some(lock), holds: Vec::new(), weakening: None, behind: Vec::new() }
    }

    #[test]
    fn a_lock_says_its_mode_length_date_and_holds() {
        let json = serde_json::to_string(&Lock::of(view(false))).unwrap();
        assert_eq!(
            json,
            r#"{"mode":"compliance","seconds":2592000.0,"until":"1970-01-31T00:00:00Z","begun":true,"holds":[],"pending":[]}"#
        );
        assert_eq!(Lock::of(view(true)), None, "over");
        let hold = Hold { name: "case-7".parse().unwrap(), since_unix_ms: 0 };
        let held = LockView { holds: vec![hold], behind: vec![GroupId(2)], ..view(true) };
        let lock = Lock::of(held).unwrap();
        assert_eq!(lock.to_string(), "ON HOLD: case-7  PENDING in 1 shards");
        let shown = Shown::new(SnapshotId::from_bytes([0; 16]), view(false));
        assert!(shown.text().ends_with("LOCKED until 1970-01-31T00:00:00Z (compliance, 30 d)"), "{}", shown.text());
    }
}
