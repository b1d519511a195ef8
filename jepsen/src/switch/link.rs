//! A link: what becomes of each frame on the way from one machine to another. Pure: time comes in as a number.
//!
//! ```text
//!   offered ─▶ cut? ─▶ lost? ─▶ delay ± jitter ─▶ room? ─▶ (doubled?) ─▶ due at …
//! ```
//!
//! Every frame takes the same number of choices whatever the settings are, so one setting changes no other's choices.
//! Frames keep their order unless `reorder` lets one overtake. What is counted here is what proves a fault.
//!
//! Not here: frames themselves and who gets them (`fabric.rs`), devices (`tap.rs`).

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::random::Random;

/// So many bytes at most wait on one link; what comes then is dropped at the tail, as in any router.
const WAITING_BYTES_MAX: usize = 16 << 20;

/// How one direction between two machines behaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Link {
    /// How long a frame is on its way.
    pub delay: Duration,
    /// It may take so much less or more.
    pub jitter: Duration,
    /// Which share of frames is lost.
    pub loss: f64,
    /// Which share arrives twice.
    pub duplicate: f64,
    /// Which share overtakes what was sent before.
    pub reorder: f64,
    /// Nothing goes through.
    pub cut: bool,
}

/// What happened on a link since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counted {
    /// Frames that were sent into it.
    pub offered: u64,
    /// Frames that came out of it, doubles included.
    pub passed: u64,
    /// Their bytes.
    pub passed_bytes: u64,
    /// Frames that chance took.
    pub lost: u64,
    /// Frames that met the cut.
    pub cut: u64,
    /// Frames that came twice.
    pub doubled: u64,
    /// Frames that overtook others.
    pub overtook: u64,
    /// Frames that found the queue full.
    pub overflowed: u64,
    /// For how long frames that came out were held, together.
    pub held_us: u64,
}

/// A link with its state.
pub struct Wire {
    link: Link,
    random: Random,
    last_due: Duration,
    waiting_bytes: usize,
    counted: Counted,
}

/// What becomes of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It never arrives.
    Dropped,
    /// It arrives then, so many times.
    Arrives {
        /// When, on the clock of the one who asks.
        due: Duration,
        /// Once or twice.
        copies: u8,
    },
}

impl Wire {
    /// A link that does nothing to its frames; its choices follow from the seed and its two ends.
    pub fn new(seed: u64, from: &str, to: &str) -> Self {
        Self {
            link: Link::default(),
            random: Random::named(seed, &format!("link {from}>{to}")),
            last_due: Duration::ZERO,
            waiting_bytes: 0,
            counted: Counted::default(),
        }
    }

    /// How it behaves.
    pub fn link(&self) -> Link {
        self.link
    }

    /// What happened on it.
    pub fn counted(&self) -> Counted {
        self.counted
    }

    /// From now on it behaves so. What is on its way comes when it was due, unless the link is cut then.
    pub fn set(&mut self, link: Link) {
        self.link = link;
    }

    /// A frame of so many bytes is sent into it.
    pub fn offer(&mut self, now: Duration, bytes: usize) -> Fate {
        self.counted.offered += 1;
        let [lost, doubled, overtakes, swing] = [0; 4].map(|_: u8| self.chance());
        if self.link.cut {
            self.counted.cut += 1;
            return Fate::Dropped;
        }
        if lost < self.link.loss {
            self.counted.lost += 1;
            return Fate::Dropped;
        }
        if WAITING_BYTES_MAX < self.waiting_bytes + bytes {
            self.counted.overflowed += 1;
            return Fate::Dropped;
        }
        let on_its_way = (self.link.delay + self.link.jitter.mul_f64(2.0 * swing)).saturating_sub(self.link.jitter);
        let mut due = now + on_its_way;
        if overtakes < self.link.reorder && due < self.last_due {
            self.counted.overtook += 1;
        } else if overtakes < self.link.reorder && now < self.last_due {
            // The one before is still on its way: this one gets there just ahead of it.
            due = self.last_due.saturating_sub(Duration::from_micros(1)).max(now);
            self.counted.overtook += 1;
        } else {
            due = due.max(self.last_due);
            self.last_due = due;
        }
        let copies = if doubled < self.link.duplicate { 2 } else { 1 };
        self.counted.doubled += u64::from(copies - 1);
        self.waiting_bytes += bytes * usize::from(copies);
        Fate::Arrives { due, copies }
    }

    /// A frame that was offered at `sent` is due; whether it arrives.
    pub fn arrives(&mut self, sent: Duration, now: Duration, bytes: usize) -> bool {
        self.waiting_bytes -= bytes;
        if self.link.cut {
            self.counted.cut += 1;
            return false;
        }
        self.counted.passed += 1;
        self.counted.passed_bytes += bytes as u64;
        self.counted.held_us += u64::try_from(now.saturating_sub(sent).as_micros()).unwrap_or(u64::MAX);
        true
    }

    /// Even, from 0 up to 1.
    fn chance(&mut self) -> f64 {
        let mut bytes = [0; 4];
        self.random.fill(&mut bytes);
        f64::from(u32::from_le_bytes(bytes)) / (f64::from(u32::MAX) + 1.0)
    }
}

impl Counted {
    /// What happened since an earlier look.
    pub fn since(self, before: Self) -> Self {
        Self {
            offered: self.offered - before.offered,
            passed: self.passed - before.passed,
            passed_bytes: self.passed_bytes - before.passed_bytes,
            lost: self.lost - before.lost,
            cut: self.cut - before.cut,
            doubled: self.doubled - before.doubled,
            overtook: self.overtook - before.overtook,
            overflowed: self.overflowed - before.overflowed,
            held_us: self.held_us - before.held_us,
        }
    }

    /// Both together.
    pub fn and(self, other: Self) -> Self {
        Self {
            offered: self.offered + other.offered,
            passed: self.passed + other.passed,
            passed_bytes: self.passed_bytes + other.passed_bytes,
            lost: self.lost + other.lost,
            cut: self.cut + other.cut,
            doubled: self.doubled + other.doubled,
            overtook: self.overtook + other.overtook,
            overflowed: self.overflowed + other.overflowed,
            held_us: self.held_us + other.held_us,
        }
    }

    /// How long a frame was held on average, in milliseconds; nothing if none came out.
    pub fn held_ms(self) -> Option<f64> {
        (0 < self.passed).then(|| self.held_us as f64 / 1000.0 / self.passed as f64)
    }

    /// What shows that these settings took effect, or which of them did not. Only frames that were offered while the
    /// settings stood may have been counted.
    pub fn proves(self, link: Link) -> Result<String, String> {
        if self.offered == 0 {
            return Err("no frame was sent, so nothing was done to any".to_owned());
        }
        let mut proofs = Vec::new();
        let mut prove = |what: &str, wanted: bool, happened: bool, figure: String| match (wanted, happened) {
            (true, false) => Err(format!("{what} had no effect on {} frames ({figure})", self.offered)),
            (true, true) => {
                proofs.push(figure);
                Ok(())
            }
            (false, _) => Ok(()),
        };
        prove("the cut", link.cut, 0 < self.cut && self.passed == 0, format!("{} frames met the cut", self.cut))?;
        if link.cut {
            return Ok(proofs.concat());
        }
        prove("the loss", 0.0 < link.loss, 0 < self.lost, format!("{} of {} frames lost", self.lost, self.offered))?;
        // Jitter takes as much as it gives; a queue in order gives more.
        let least_ms = link.delay.saturating_sub(link.jitter).as_secs_f64() * 1000.0;
        let held = self.held_ms().unwrap_or(0.0);
        prove("the delay", !link.delay.is_zero(), least_ms <= held, format!("held for {held:.2} ms on average"))?;
        prove("doubling", 0.0 < link.duplicate, 0 < self.doubled, format!("{} frames doubled", self.doubled))?;
        prove("reordering", 0.0 < link.reorder, 0 < self.overtook, format!("{} frames overtook", self.overtook))?;
        Ok(proofs.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn wire(link: Link) -> Wire {
        let mut wire = Wire::new(7, "a", "b");
        wire.set(link);
        wire
    }

    fn fates(link: Link, frames: u32) -> Vec<Fate> {
        let mut wire = wire(link);
        (0..frames).map(|at| wire.offer(MS * at, 100)).collect()
    }

    #[test]
    fn a_link_without_settings_lets_everything_through_at_once() {
        let due_at_once = |(at, fate): (usize, &Fate)| *fate == Fate::Arrives { due: MS * at as u32, copies: 1 };
        assert!(fates(Link::default(), 100).iter().enumerate().all(due_at_once));
    }

    #[test]
    fn the_same_seed_drops_the_same_frames_and_other_settings_drop_no_others() {
        let dropped = |link| -> Vec<usize> {
            let fates = fates(link, 2000);
            (0..fates.len()).filter(|at| fates[*at] == Fate::Dropped).collect()
        };
        let lossy = Link { loss: 0.01, ..Link::default() };
        let first = dropped(lossy);
        assert!((5..50).contains(&first.len()), "{}", first.len());
        assert_eq!(first, dropped(lossy));
        assert_eq!(first, dropped(Link { delay: 40 * MS, jitter: 5 * MS, duplicate: 0.5, reorder: 0.5, ..lossy }));
        let mut other = Wire::new(8, "a", "b");
        other.set(lossy);
        let others: Vec<usize> = (0..2000).filter(|_| other.offer(MS, 100) == Fate::Dropped).collect();
        assert_ne!(first, others);
    }

    #[test]
    fn frames_keep_their_order_under_jitter_and_lose_it_only_where_reordering_is_asked_for() {
        let dues = |link| -> Vec<Duration> {
            let due = |fate| match fate {
                Fate::Arrives { due, .. } => due,
                Fate::Dropped => panic!("nothing is lost here"),
            };
            fates(link, 500).into_iter().map(due).collect()
        };
        let jittery = Link { delay: 40 * MS, jitter: 10 * MS, ..Link::default() };
        assert!(dues(jittery).is_sorted());
        assert!(dues(jittery).iter().enumerate().all(|(at, due)| MS * at as u32 + 30 * MS <= *due));
        assert!(!dues(Link { reorder: 0.2, ..jittery }).is_sorted());
        assert!(!dues(Link { delay: 40 * MS, reorder: 0.2, ..Link::default() }).is_sorted(), "also without jitter");
    }

    #[test]
    fn a_cut_takes_what_is_sent_and_what_is_on_its_way() {
        let mut wire = wire(Link { delay: 40 * MS, ..Link::default() });
        assert!(matches!(wire.offer(MS, 100), Fate::Arrives { .. }));
        wire.set(Link { cut: true, ..wire.link() });
        assert!(!wire.arrives(MS, 41 * MS, 100));
        assert_eq!(wire.offer(42 * MS, 100), Fate::Dropped);
        assert_eq!((wire.counted().offered, wire.counted().cut, wire.counted().passed), (2, 2, 0));
        wire.set(Link::default());
        assert!(matches!(wire.offer(43 * MS, 100), Fate::Arrives { .. }));
    }

    #[test]
    fn a_full_queue_drops_at_its_tail_and_takes_again_when_it_has_room() {
        let mut wire = wire(Link { delay: Duration::from_secs(9), ..Link::default() });
        let taken = (0..).take_while(|_| wire.offer(MS, 1 << 20) != Fate::Dropped).count();
        assert_eq!((taken, wire.counted().overflowed), (16, 1));
        assert!(wire.arrives(MS, Duration::from_secs(9), 1 << 20));
        assert!(matches!(wire.offer(MS, 1 << 20), Fate::Arrives { .. }));
    }

    #[test]
    fn a_fault_without_effect_is_not_taken_as_proved() {
        let cut = Link { cut: true, ..Link::default() };
        let wan = Link { delay: 40 * MS, loss: 0.01, ..Link::default() };
        let some = Counted { offered: 100, passed: 100, held_us: 100 * 40_100, ..Counted::default() };
        assert!(Counted::default().proves(wan).is_err(), "nothing was sent");
        assert!(some.proves(wan).unwrap_err().contains("loss"));
        assert!(some.proves(cut).unwrap_err().contains("cut"));
        assert!(Counted { passed: 1, cut: 99, ..some }.proves(cut).is_err(), "one came through");
        assert!(Counted { held_us: 0, lost: 2, ..some }.proves(wan).unwrap_err().contains("delay"));
        let proof = Counted { lost: 2, passed: 98, held_us: 98 * 40_100, ..some }.proves(wan).unwrap();
        assert_eq!(proof, "2 of 100 frames lost, held for 40.10 ms on average");
        assert!(Counted { passed: 0, cut: 100, ..some }.proves(cut).is_ok());
        assert_eq!(some.since(some), Counted::default());
        assert_eq!(some.and(some).offered, 200);
    }
}
