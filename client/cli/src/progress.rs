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
/// A rate is taken over so long, at least.
const PACE_EVERY: Duration = Duration::from_millis(500);
/// Between two steps of a moving line.
const MOVES_EVERY: Duration = Duration::from_millis(120);
/// No moving line's text is longer: what the spinner and the time beside it leave of 80 columns.
const TEXT_COLUMNS: usize = 70;

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
    pace: Mutex<Pace>,
}

/// How fast it goes: bytes a second, the last seconds counting most.
#[derive(Clone, Copy, Debug)]
struct Pace {
    since: Instant,
    bytes: u64,
    per_second: Option<f64>,
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

/// An alarm: what this machine remembers of files is not what this writer wrote there.
#[derive(Serialize)]
struct CacheIgnored<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    why: &'a str,
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
            pace: Mutex::new(Pace { since: Instant::now(), bytes: 0, per_second: None }),
        }))
    }

    /// Whether a person watches a moving line: worth a look ahead at how much there is to do.
    pub fn is_moving(&self) -> bool {
        matches!(self.0.how, How::Moving(_))
    }

    /// What the SDK tells its progress to.
    pub fn progress(&self) -> Progress {
        let shown = Arc::clone(&self.0);
        Progress::to(move |event| shown.hear(event))
    }

    /// Whoever finds out how much there is to do tells it here, as long as it goes on.
    pub fn planner(&self) -> impl FnOnce(u64, u64) + Send + 'static {
        let shown = Arc::clone(&self.0);
        move |files, bytes| shown.hear(Event::Planned { files, bytes })
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
            Event::Read { bytes } | Event::Unchanged { bytes } | Event::Restored { bytes } => {
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
            Event::CacheIgnored { why } => self.cache_ignored(&why),
            Event::Damaged { path, why } => self.left_out("damaged", path, why),
            // What is durable follows what was sent; new kinds of events are no news for people.
            _ => return,
        }
        let done = self.bytes_done.load(Ordering::Relaxed);
        self.pace.lock().unwrap_or_else(PoisonError::into_inner).note(Instant::now(), done);
        match &self.how {
            How::Silent => {}
            How::Moving(bar) if bar.is_finished() => {}
            How::Moving(bar) => bar.set_message(self.fitting(TEXT_COLUMNS)),
            How::Plain { last } => {
                let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
                if PLAIN_EVERY <= last.elapsed() {
                    *last = Instant::now();
                    error_line(&format!("{self}, {}", span(self.began.elapsed())));
                }
            }
        }
    }

    fn cache_ignored(&self, why: &str) {
        let _written = self.output.json(&CacheIgnored { kind: "cache_ignored", why });
        let text = format!("the local cache is ignored, and all files are read: {why}; find out who did that");
        match &self.how {
            How::Silent | How::Plain { .. } => error_line(&text),
            How::Moving(bar) => bar.suspend(|| error_line(&text)),
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

impl Shown {
    /// What there is to say, what matters most first: how much of how much, how long still, and then the rest.
    fn parts(&self) -> Vec<String> {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let (done_bytes, planned_bytes) = (read(&self.bytes_done), read(&self.bytes_planned));
        let (done, planned) = (size(done_bytes), size(planned_bytes));
        let pace = *self.pace.lock().unwrap_or_else(PoisonError::into_inner);
        let mut parts = vec![match self.doing {
            Doing::BackingUp if planned_bytes == 0 => format!("backing up: {done} read"),
            Doing::BackingUp => format!("backing up: {done} of {planned} read"),
            Doing::Restoring => format!("restoring: {done} of {planned}"),
            Doing::Verifying => format!("verifying: {done} of {planned}"),
        }];
        let left = pace.left(planned_bytes.saturating_sub(done_bytes));
        parts.extend(left.map(|left| format!("{} left", rough(left))));
        parts.extend(pace.rate().map(|rate| format!("{}/s", size(rate))));
        match self.doing {
            Doing::BackingUp => {
                parts.push(format!("{} sent", size(read(&self.bytes_sent))));
                parts.push(count(read(&self.entries), "entry", "entries"));
            }
            Doing::Restoring | Doing::Verifying => parts.push(count(read(&self.files), "file", "files")),
        }
        parts
    }

    /// As much of it as fits into so many columns, in whole parts.
    fn fitting(&self, columns: usize) -> String {
        let mut text = String::new();
        for part in self.parts() {
            let between = if text.is_empty() { "" } else { ", " };
            if !text.is_empty() && columns < text.len() + between.len() + part.len() {
                break;
            }
            text.push_str(between);
            text.push_str(&part);
        }
        text
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.parts().join(", "))
    }
}

impl Pace {
    /// Notes how much is done by now.
    fn note(&mut self, now: Instant, bytes: u64) {
        let past = now.saturating_duration_since(self.since);
        if past < PACE_EVERY {
            return;
        }
        let recent = bytes.saturating_sub(self.bytes) as f64 / past.as_secs_f64();
        let smooth = |before: f64| 0.8 * before + 0.2 * recent;
        *self = Self { since: now, bytes, per_second: Some(self.per_second.map_or(recent, smooth)) };
    }

    /// Bytes a second, once there is something to say.
    fn rate(self) -> Option<u64> {
        let rate = self.per_second? as u64;
        (rate != 0).then_some(rate)
    }

    /// How long so many bytes take at this pace.
    fn left(self, bytes: u64) -> Option<Duration> {
        let rate = self.rate()?;
        (bytes != 0).then(|| Duration::from_secs(bytes.div_ceil(rate)))
    }
}

/// A time that nobody knows better: whole seconds, minutes above two, hours above, days above four.
fn rough(left: Duration) -> String {
    let seconds = left.as_secs();
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds.div_ceil(60)),
        7200..345_600 => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
        _ => format!("{} days", seconds.div_ceil(86_400)),
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
        assert!(text.starts_with("backing up: 3.0 MiB read, ") && text.ends_with("1.5 KiB sent, 3 entries"), "{text}");
    }

    #[test]
    fn the_pace_follows_what_happened_last_and_says_what_is_left() {
        let began = Instant::now();
        let after = |ms| began + Duration::from_millis(ms);
        let mut pace = Pace { since: began, bytes: 0, per_second: None };
        pace.note(after(100), 5_000);
        assert_eq!((pace.rate(), pace.left(1000)), (None, None), "too early to say");
        pace.note(after(1000), 1000);
        assert_eq!((pace.rate(), pace.left(10_001)), (Some(1000), Some(Duration::from_secs(11))));
        pace.note(after(2000), 7000);
        assert_eq!(pace.rate(), Some(2000));
        assert_eq!(pace.left(0), None);
        for n in 0..100 {
            pace.note(after(3000 + 1000 * n), 7000);
        }
        assert_eq!(pace.left(1), None, "it stands: nobody knows");
        let texts = [1, 119, 121, 7260, 345_601].map(|s| rough(Duration::from_secs(s)));
        assert_eq!(texts, ["1 s", "119 s", "3 min", "2 h 1 min", "5 days"]);
    }

    #[test]
    fn a_line_says_how_much_of_how_much_how_fast_and_how_long() {
        let watch = Watch::new(Doing::Restoring, &Output::new(Format::People, Chatter::Quiet));
        watch.0.hear(Event::Planned { files: 2, bytes: 3 << 20 });
        watch.0.hear(Event::Restored { bytes: 1 << 20 });
        watch.0.pace.lock().unwrap().per_second = Some(1_048_576.0);
        assert_eq!(watch.0.to_string(), "restoring: 1.0 MiB of 3.0 MiB, 2 s left, 1.0 MiB/s, 2 files");
        let watch = Watch::new(Doing::BackingUp, &Output::new(Format::People, Chatter::Quiet));
        watch.0.hear(Event::Planned { files: 2, bytes: 3 << 20 });
        watch.0.hear(Event::Read { bytes: 1 << 20 });
        assert!(watch.0.to_string().contains("1.0 MiB of 3.0 MiB read"), "{}", watch.0);
    }

    #[test]
    fn a_moving_line_fits_into_80_columns_and_how_long_it_takes_is_never_cut_off() {
        for doing in [Doing::BackingUp, Doing::Restoring, Doing::Verifying] {
            // As long as texts get, and as they are every day.
            for (planned, done, rate) in [(u64::MAX, (1 << 60) - 1, 1.0), (900 << 30, 700 << 30, 123_456_789.0)] {
                let watch = Watch::new(doing, &Output::new(Format::People, Chatter::Quiet));
                watch.0.bytes_planned.store(planned, Ordering::Relaxed);
                watch.0.bytes_done.store(done, Ordering::Relaxed);
                watch.0.bytes_sent.store(u64::MAX, Ordering::Relaxed);
                watch.0.entries.store(1_234_567_890, Ordering::Relaxed);
                watch.0.files.store(1_234_567_890, Ordering::Relaxed);
                watch.0.pace.lock().unwrap().per_second = Some(rate);
                let text = watch.0.fitting(TEXT_COLUMNS);
                assert!(text.len() <= TEXT_COLUMNS && text.contains(" left"), "{} columns: {text}", text.len());
                assert!(watch.0.to_string().len() > TEXT_COLUMNS, "it would not have been cut off: {}", watch.0);
            }
        }
    }

    #[test]
    fn what_is_left_out_is_an_object_of_its_own() {
        let line = LeftOut { kind: "skipped", path: FileName(b"a".to_vec()), why: "a socket".into() };
        let json = serde_json::to_string(&line).unwrap();
        assert_eq!(json, r#"{"type":"skipped","path":"a","why":"a socket"}"#);
    }
}
