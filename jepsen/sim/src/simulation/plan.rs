//! What goes wrong in a simulation, and when: a list of faults that follows from a seed and that a person can read.
//!
//! ```text
//!     at  31.480 s  kill n2 for 4.0 s
//!     at  52.010 s  cut n1 → n3 for 11.2 s
//! ```
//!
//! A plan knows what is still recoverable: at most one machine loses its disk, and while it is being rebuilt no other one
//! does; no more than a minority of running clocks runs faster than a clock may. Everything else may come at once.
//! Not here: how a fault is carried out (`cluster.rs`).

use std::fmt;

use crate::dice::Dice;
use crate::simulation::wires::Station;

/// Something that goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "a variant says what its fields are")]
pub enum Fault {
    /// The process is killed; it is started again after so long.
    Kill { node: Station, down_ms: u64 },
    /// Power is cut after so many more changing calls to the disk.
    PowerCut { node: Station, after_calls: u64, down_ms: u64 },
    /// Power is cut everywhere at once.
    PowerCutOfAll { down_ms: u64 },
    /// Power is cut and the disk is replaced by an empty one.
    Wipe { node: Station, down_ms: u64 },
    /// The process stands still.
    Pause { node: Station, for_ms: u64 },
    /// Nothing goes from one machine to another, in one direction.
    Cut { from: Station, to: Station, for_ms: u64 },
    /// Nothing goes between a machine and any other node; clients still reach it.
    Isolate { node: Station, for_ms: u64 },
    /// No client reaches a node.
    HideFromClients { node: Station, for_ms: u64 },
    /// What goes between two machines takes up to so long.
    Slow { one: Station, other: Station, delay_ms: u64, for_ms: u64 },
    /// Everywhere some parcels are lost, some client questions come twice, and all overtake each other.
    Storm { lost: u64, doubled: u64, for_ms: u64 },
    /// Somebody sets a wall clock.
    WallJump { node: Station, by_ms: i64 },
    /// Running clocks jump ahead and run at another rate, in billionths too fast.
    RunningClock { node: Station, jump_ms: u64, ppb: i64 },
    /// A sync of the disk fails.
    SyncFails { node: Station, down_ms: u64 },
}

/// A fault at its time, in milliseconds since the attacks began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timed {
    /// When.
    pub at_ms: u64,
    /// What.
    pub fault: Fault,
}

impl fmt::Display for Timed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at {:>8} s  {}", Seconds(self.at_ms), self.fault)
    }
}

/// Milliseconds in seconds.
pub(crate) struct Seconds(pub(crate) u64);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}.{:03}", self.0 / 1000, self.0 % 1000))
    }
}

/// The name of a machine.
struct Name(Station);

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "n{}", self.0 + 1)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Kill { node, down_ms } => write!(f, "kill {} for {} s", Name(node), Seconds(down_ms)),
            Self::PowerCut { node, after_calls, down_ms } => {
                write!(f, "cut the power of {} after {after_calls} writes, for {} s", Name(node), Seconds(down_ms))
            }
            Self::PowerCutOfAll { down_ms } => write!(f, "cut the power of all for {} s", Seconds(down_ms)),
            Self::Wipe { node, down_ms } => write!(f, "wipe {}, off for {} s", Name(node), Seconds(down_ms)),
            Self::Pause { node, for_ms } => write!(f, "pause {} for {} s", Name(node), Seconds(for_ms)),
            Self::Cut { from, to, for_ms } => {
                write!(f, "cut {} → {} for {} s", Name(from), Name(to), Seconds(for_ms))
            }
            Self::Isolate { node, for_ms } => write!(f, "isolate {} for {} s", Name(node), Seconds(for_ms)),
            Self::HideFromClients { node, for_ms } => {
                write!(f, "hide {} from clients for {} s", Name(node), Seconds(for_ms))
            }
            Self::Slow { one, other, delay_ms, for_ms } => {
                let (one, other) = (Name(one), Name(other));
                write!(f, "slow {one} ⇄ {other} to {delay_ms} ms for {} s", Seconds(for_ms))
            }
            Self::Storm { lost, doubled, for_ms } => {
                write!(f, "lose {lost}‰, double {doubled}‰ and reorder for {} s", Seconds(for_ms))
            }
            Self::WallJump { node, by_ms } => write!(f, "set the wall clock of {} by {by_ms} ms", Name(node)),
            Self::RunningClock { node, jump_ms, ppb } => {
                write!(f, "let the running clocks of {} jump by {jump_ms} ms and run {ppb} ppb too fast", Name(node))
            }
            Self::SyncFails { node, down_ms } => {
                write!(f, "let a sync of {} fail; it is started again after {} s", Name(node), Seconds(down_ms))
            }
        }
    }
}

/// The faults of a seed, for so many nodes and so long.
pub(crate) fn plan(seed: u64, nodes: usize, length_ms: u64) -> Vec<Timed> {
    let mut dice = Dice::named(seed, 21);
    // a run has a few kinds of faults, so that each meets others and also its own
    let kinds: Vec<u64> = (0..2 + dice.below(4)).map(|_| dice.below(13)).collect();
    let count = 3 + dice.below(length_ms / 6000);
    let liar = dice.below(nodes as u64) as Station;
    let mut is_wiped = false;
    let mut faults: Vec<Timed> = Vec::new();
    for _ in 0..count {
        let at_ms = dice.below(length_ms);
        let kind = kinds[dice.below(kinds.len() as u64) as usize];
        let node = dice.below(nodes as u64) as Station;
        let other = (node + 1 + dice.below(nodes as u64 - 1) as usize) % nodes;
        let short = 500 + dice.below(8_000);
        let long = 1_000 + dice.below(25_000);
        let fault = match kind {
            0 => Fault::Kill { node, down_ms: short },
            1 | 2 => Fault::PowerCut { node, after_calls: 1 + dice.below(60), down_ms: short },
            3 => Fault::PowerCutOfAll { down_ms: short },
            4 if !is_wiped && nodes > 1 => {
                is_wiped = true;
                Fault::Wipe { node, down_ms: short }
            }
            4 | 5 => Fault::Pause { node, for_ms: long },
            6 => Fault::Cut { from: node, to: other, for_ms: long },
            7 => Fault::Isolate { node, for_ms: long },
            8 => Fault::HideFromClients { node, for_ms: long },
            9 => Fault::Slow { one: node, other, delay_ms: 50 + dice.below(3_000), for_ms: long },
            10 => Fault::Storm { lost: dice.below(200), doubled: dice.below(300), for_ms: long },
            11 => {
                let most = [1_000, 60_000, 86_400_000, 3_155_760_000_000][dice.below(4) as usize];
                let by_ms = i64::try_from(dice.below(most)).unwrap_or(i64::MAX);
                Fault::WallJump { node, by_ms: if dice.one_in(2) { by_ms } else { -by_ms } }
            }
            12 if dice.one_in(2) => {
                let ppb = [-900_000_000, -100_000, 500_000_000, 9_000_000_000][dice.below(4) as usize];
                Fault::RunningClock { node: liar, jump_ms: dice.below(10_000_000), ppb }
            }
            _ => Fault::SyncFails { node, down_ms: short },
        };
        faults.push(Timed { at_ms, fault });
    }
    faults.sort_by_key(|timed| timed.at_ms);
    faults
}
