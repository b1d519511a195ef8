//! Progress on stderr: a moving line where a person watches, a plain line now and then elsewhere, nothing when quiet.
//!
//! What is left out of a backup or a restore, or changed while it was read, is named as it happens: for people on stderr, for scripts as objects
//! before the result. Not here: what is counted (`strongroom::progress`).

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use strongroom::progress::{Event, Progress};

use crate::output::{Chatter, Output, error_line, is_watched};
use crate::text::{FileName, count, size, span};

/// Between two plain lines.
const PLAIN_EVERY: Duration = Duration::from_secs(10);
/// Between two steps of a moving line.
const MOVES_EVERY: Duration = Duration::from_millis(120);

/// What is being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doing {
    /// A backup.
    BackingUp,
    /// A restore.
    Restoring,
    /// A verification.
    Verifying,
}

/// Shows how an operation goes, until it is dropped.
pub struct Watch(Arc<Shown>);

struct Shown {
    doing: Doing,
    output: Output,
    how: How,
    began: Instant,
    entries: AtomicU64,
    files: AtomicU64,
    bytes_planned: AtomicU64,
    bytes_done: AtomicU64,
    bytes_sent: AtomicU64,
}

enum How {
    Silent,
    Moving(ProgressBar),
    Plain { last: Mutex<Instant> },
}

/// An entry that is not in the result, or not as it is now.
#[derive(Serialize)]
struct LeftOut {
    #[serde(rename = "type")]
    kind: &'static str,
    path: FileName,
    why: String,
}

impl Watch {
    /// Begins to watch.
    pub fn new(doing: Doing, output: &Output) -> Self {
        let how = match output.chatter() {
            Chatter::Quiet => How::Silent,
            Chatter::Normal if is_watched() => How::Moving(moving()),
            Chatter::Normal => How::Plain { last: Mutex::new(Instant::now()) },
        };
        Self(Arc::new(Shown {
            doing,
            output: output.clone(),
            how,
            began: Instant::now(),
            entries: AtomicU64::new(0),
            files: AtomicU64::new(0),
            bytes_planned: AtomicU64::new(0),
            bytes_done: AtomicU64::new(0),
            bytes_sent: AtomicU64::new(0),
        }))
    }

    /// What the SDK tells its progress to.
    pub fn progress(&self) -> Progress {
        let shown = Arc::clone(&self.0);
        Progress::to(move |event| shown.hear(event))
    }

    /// Names an entry that is not in the result, as if it had been met now.
    pub fn skipped(&self, path: &[u8], why: &str) {
        self.0.left_out("skipped", path.to_vec(), why.to_owned());
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let How::Moving(bar) = &self.0.how {
            bar.finish_and_clear();
        }
    }
}

impl Shown {
    fn hear(&self, event: Event) {
        let add = |counter: &AtomicU64, more: u64| counter.fetch_add(more, Ordering::Relaxed);
        match event {
            Event::Found { .. } => {
                add(&self.entries, 1);
            }
            Event::Read { bytes } | Event::Restored { bytes } => {
                add(&self.bytes_done, bytes);
            }
            Event::Sent { bytes } => {
                add(&self.bytes_sent, bytes);
            }
            Event::Planned { files, bytes } => {
                self.files.store(files, Ordering::Relaxed);
                self.bytes_planned.store(bytes, Ordering::Relaxed);
            }
            Event::Skipped { path, why } => self.left_out("skipped", path, why),
            Event::Changed { path, why } => self.left_out("changed", path, why),
            Event::Damaged { path, why } => self.left_out("damaged", path, why),
            // What is durable follows what was sent; new kinds of events are no news for people.
            _ => return,
        }
        match &self.how {
            How::Silent => {}
            How::Moving(bar) => bar.set_message(self.to_string()),
            How::Plain { last } => {
                let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
                if PLAIN_EVERY <= last.elapsed() {
                    *last = Instant::now();
                    error_line(&format!("{self}, {}", span(self.began.elapsed())));
                }
            }
        }
    }

    fn left_out(&self, kind: &'static str, path: Vec<u8>, why: String) {
        let left_out = LeftOut { kind, path: FileName(path), why };
        // A closed stdout is noticed when the result is written.
        let _written = self.output.json(&left_out);
        let text = format!("{kind}: {}: {}", left_out.path, left_out.why);
        match &self.how {
            How::Silent => {}
            How::Moving(bar) => bar.suspend(|| error_line(&text)),
            How::Plain { .. } => error_line(&text),
        }
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let (done, planned) = (size(read(&self.bytes_done)), size(read(&self.bytes_planned)));
        match self.doing {
            Doing::BackingUp => write!(
                f,
                "backing up: {}, {done} read, {} sent",
                count(read(&self.entries), "entry", "entries"),
                size(read(&self.bytes_sent)),
            ),
            Doing::Restoring => {
                write!(f, "restoring: {done} of {planned} in {}", count(read(&self.files), "file", "files"))
            }
            Doing::Verifying => {
                write!(f, "verifying: {done} of {planned} in {}", count(read(&self.files), "file", "files"))
            }
        }
    }
}

fn moving() -> ProgressBar {
    let bar = ProgressBar::new_spinner();
    bar.set_style(ProgressStyle::with_template("{spinner} {wide_msg} {elapsed}").expect("the template is ours"));
    bar.enable_steady_tick(MOVES_EVERY);
    bar
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::Format;

    #[test]
    fn events_add_up() {
        let watch = Watch::new(Doing::BackingUp, &Output::new(Format::People, Chatter::Quiet));
        let shown = &watch.0;
        for _ in 0..3 {
            shown.hear(Event::Found { bytes: 10 });
            shown.hear(Event::Read { bytes: 1 << 20 });
            shown.hear(Event::Sent { bytes: 512 });
        }
        let text = shown.to_string();
        assert!(text.starts_with("backing up: 3 entries, 3.0 MiB read, 1.5 KiB sent"), "{text}");
    }

    #[test]
    fn what_is_left_out_is_an_object_of_its_own() {
        let line = LeftOut { kind: "skipped", path: FileName(b"a".to_vec()), why: "a socket".into() };
        let json = serde_json::to_string(&line).unwrap();
        assert_eq!(json, r#"{"type":"skipped","path":"a","why":"a socket"}"#);
    }
}
