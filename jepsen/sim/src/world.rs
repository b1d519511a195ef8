//! One simulated machine of one image: its disk, what is done to it and when.
//!
//! ```text
//!   life ── failures, a full disk, power cut after n calls ──▶ crash or kill ──▶ recovery ── power cut again ──▶ … ──▶ seen
//! ```
//!
//! A sync that fails is followed by a loss of power. A process that is only started again after one would read back, from
//! the page cache, what the disk has lost: nobody was told that it is safe, but it would count as there until power goes.
//! (With direct I/O recovery reads from the disk.)
//!
//! Not here: what a store does in its life, what is judged.

use std::future::Future;
use std::sync::Arc;

use strongroom_host::Host;
use strongroom_host::clock::SimClock;
use strongroom_host::sim_disk::{Call, Fails, SimDisk};

use crate::dice::Dice;
use crate::finding::Finding;
use crate::lies::{Lie, Lying};

/// A recovery that was cut off so often is tried once more in peace.
const RECOVERIES_MAX: u32 = 6;

/// See the head of the file.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) disk: SimDisk,
    pub(crate) host: Host,
    pub(crate) dice: Dice,
    lie: Lie,
    seed: u64,
    /// Whether power must go before anybody may believe what reads show.
    is_sync_failing: bool,
    /// How many recoveries were cut off by a loss of power.
    pub(crate) second_crashes: u32,
    /// A hash of what each crash left.
    pub(crate) fingerprints: Option<blake3::Hasher>,
    story: Vec<String>,
}

impl World {
    pub(crate) fn new(seed: u64, lie: Lie) -> Self {
        let disk = SimDisk::new();
        let host = host(seed, &disk, lie);
        let dice = Dice::named(seed, 1);
        Self {
            disk,
            host,
            dice,
            lie,
            seed,
            is_sync_failing: false,
            second_crashes: 0,
            fingerprints: None,
            story: Vec::new(),
        }
    }

    /// Decides what goes wrong in the life that begins: power after at most `calls` changing calls, and now and then a
    /// failing call or a full disk.
    pub(crate) fn trouble(&mut self, calls: u64) {
        let calls = 1 + self.dice.below(calls);
        self.disk.cut_power_after(calls);
        self.story.push(format!("power for {calls} calls"));
        if self.dice.one_in(4) {
            let call = [Call::Read, Call::Write, Call::Sync, Call::SyncDir, Call::Preallocate, Call::SetLen]
                [self.dice.below(6) as usize];
            let fails = match self.dice.below(3) {
                0 => Fails::Once,
                1 => Fails::OnceAfter(self.dice.below(20) as u32),
                _ => Fails::Always,
            };
            let part = ["", "log", "state", "segments"][self.dice.below(4) as usize];
            self.disk.fail(call, part, fails);
            self.is_sync_failing = matches!(call, Call::Sync | Call::SyncDir);
            self.story.push(format!("{call:?} of \"{part}\" fails {fails:?}"));
        }
        if self.dice.one_in(8) {
            let room = self.dice.below(64) << 12;
            self.disk.set_capacity(self.disk.used_bytes() + room);
            self.story.push(format!("{room} bytes of room"));
        }
    }

    /// Ends a life whose tasks are gone: by a loss of power, or, where power was there to the end, perhaps only of the
    /// process.
    pub(crate) fn end_life(&mut self) {
        if self.disk.is_without_power() || self.is_sync_failing || !self.dice.one_in(5) {
            self.crash();
        } else {
            self.disk.keep_power();
            self.disk.heal();
            self.story.push("killed".into());
        }
        self.disk.set_capacity(u64::MAX / 4);
        self.is_sync_failing = false;
    }

    fn crash(&mut self) {
        let seed = self.dice.next();
        match self.lie {
            // an order is broken here, not the way in which a store uses its own file
            Lie::HeldBack(_, _) | Lie::Late(_) => self.disk.crash_losing_all(),
            _ => self.disk.crash(seed),
        }
        // what a lie has held back is gone too
        self.host = host(self.seed ^ seed, &self.disk, self.lie);
        self.story.push("power lost".into());
        if let Some(hasher) = &mut self.fingerprints {
            hasher.update(&self.disk.fingerprint());
        }
    }

    /// Opens with real recovery code and looks, while power is cut in most recoveries and a call fails in some.
    ///
    /// `look` opens everything, collects what it shows and lets go of it. It may fail only if the disk was told to.
    pub(crate) fn recover<T, E: Into<Finding>, F: Future<Output = Result<T, E>>>(
        &mut self,
        calls: u64,
        look: impl Fn(Host) -> F,
    ) -> Result<T, Finding> {
        for attempt in 0.. {
            let mut must_lose_power = false;
            let is_disturbed = attempt == 0 || (attempt < RECOVERIES_MAX && self.dice.one_in(3));
            if is_disturbed && !self.dice.one_in(6) {
                let calls = self.dice.below(calls);
                self.disk.cut_power_after(calls);
                self.story.push(format!("recovery with power for {calls} calls"));
            }
            if is_disturbed && self.dice.one_in(8) {
                let call = [Call::Read, Call::Sync][self.dice.below(2) as usize];
                let fails = Fails::OnceAfter(self.dice.below(6) as u32);
                self.disk.fail(call, "", fails);
                must_lose_power = call == Call::Sync;
                self.story.push(format!("a {call:?} of recovery fails {fails:?}"));
            }
            let failures = self.disk.failures();
            let looked = life(look(self.host.clone()));
            let has_failed = self.disk.failures() != failures;
            if self.disk.is_without_power() {
                self.second_crashes += 1;
                self.crash();
                continue;
            }
            self.disk.keep_power();
            self.disk.heal();
            match looked {
                Ok(_) | Err(_) if must_lose_power && has_failed => self.crash(),
                Ok(seen) => return Ok(seen),
                Err(_) if has_failed => {}
                Err(why) => return Err(why.into()),
            }
        }
        unreachable!("a recovery that nobody disturbs ends the loop")
    }

    /// Loses power once more, with nothing under way.
    pub(crate) fn lose_power(&mut self) {
        self.crash();
    }

    /// What happened to the machine, in one line.
    pub(crate) fn story(&self) -> String {
        self.story.join(", ")
    }
}

fn host(seed: u64, disk: &SimDisk, lie: Lie) -> Host {
    let host = Host::simulated(seed, disk.clone(), SimClock::new(1_700_000_000_000_000_000));
    match lie {
        Lie::None => host,
        lie => host.with_files(Arc::new(Lying::new(Arc::new(disk.clone()), lie))),
    }
}

/// Runs one life of a process: its tasks, lanes and open files end with it.
pub(crate) fn life<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime without I/O and timers asks the system for nothing");
    runtime.block_on(work)
}
