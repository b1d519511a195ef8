//! The switch between machines: frames in, frames out, with delay, jitter, loss, doubling, reordering and cuts for each
//! link, all chosen from a seed.
//!
//! ```text
//!   machine ─ TAP ─┐                      ┌─ TAP ─ machine
//!   machine ─ TAP ─┼─▶ loop ─▶ fabric ─▶ ─┼─ TAP ─ machine
//!                  │   links · queue · counters
//!                  └── settings and counters: whoever holds the switch
//! ```
//!
//! It stands in for `netem`, which the hosts that we assume do not have. One thread owns the devices; links are changed
//! and counted between two frames. What every fault did is counted, and a fault that did nothing proves nothing.
//!
//! Not here: machines, their namespaces and addresses (`network.rs`).

pub mod fabric;
pub mod link;
pub mod tap;

use std::io::{self, PipeWriter};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::switch::fabric::{Direction, Fabric, Plug, Port};
use crate::switch::link::Link;
use crate::switch::tap::Tap;

/// The longest frame that a device may hand over.
const FRAME_BYTES_MAX: usize = 65_536 + 14;
/// So many frames are taken from one machine before the next one has its turn.
const FRAMES_A_TURN: usize = 64;

/// A running switch; dropped, it stops and its devices are gone.
pub struct Switch {
    fabric: Arc<Mutex<Fabric>>,
    /// Closed, it ends the loop.
    stop: Option<PipeWriter>,
    running: Option<JoinHandle<io::Result<()>>>,
}

impl Switch {
    /// Starts it between these machines; links do nothing at first.
    ///
    /// # Errors
    /// No pipe or no thread.
    pub fn start(seed: u64, ends: Vec<(Plug, Tap)>) -> io::Result<Self> {
        let (plugs, taps): (Vec<Plug>, Vec<Tap>) = ends.into_iter().unzip();
        let fabric = Arc::new(Mutex::new(Fabric::new(seed, plugs)));
        let (stopped, stop) = io::pipe()?;
        let shared = Arc::clone(&fabric);
        let running = std::thread::Builder::new()
            .name("switch".into())
            .spawn(move || carry(&shared, &taps, &stopped).inspect_err(|why| eprintln!("the switch failed: {why}")))?;
        Ok(Self { fabric, stop: Some(stop), running: Some(running) })
    }

    /// Changes every link from one place to another, a place being a machine or a region; says how many those are.
    pub fn set(&self, from: &str, to: &str, change: impl Fn(Link) -> Link) -> usize {
        lock(&self.fabric).set(from, to, change)
    }

    /// Sets every link between two regions that differ.
    pub fn set_between_regions(&self, link: Link) {
        lock(&self.fabric).set_between_regions(link);
    }

    /// All links, with what happened on them.
    pub fn directions(&self) -> Vec<Direction> {
        lock(&self.fabric).directions()
    }

    /// Frames that were for nobody.
    pub fn strayed(&self) -> u64 {
        lock(&self.fabric).strayed()
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(running) = self.running.take() {
            // What it failed of was said when it happened.
            running.join().ok();
        }
    }
}

fn lock(fabric: &Mutex<Fabric>) -> MutexGuard<'_, Fabric> {
    fabric.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The loop: wait for a frame or for time, take what was sent, hand out what is due.
fn carry(fabric: &Mutex<Fabric>, taps: &[Tap], stopped: &io::PipeReader) -> io::Result<()> {
    let began = Instant::now();
    let mut buffer = vec![0; FRAME_BYTES_MAX];
    // An unplugged device would answer every poll with an error: it is asked no more.
    let mut plugged: Vec<Port> = Port::all(taps.len()).collect();
    loop {
        let next = lock(fabric).next_due();
        let mut waits = vec![PollFd::new(stopped, PollFlags::IN)];
        waits.extend(plugged.iter().map(|port| PollFd::new(&taps[port.place()], PollFlags::IN)));
        let patience = next.map(|due| timespec(due.saturating_sub(began.elapsed())));
        match poll(&mut waits, patience.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(cause) => return Err(cause.into()),
        }
        if !waits[0].revents().is_empty() {
            return Ok(());
        }
        let spoken: Vec<(Port, PollFlags)> =
            plugged.iter().copied().zip(waits[1..].iter().map(PollFd::revents)).collect();
        let mut fabric = lock(fabric);
        for (port, flags) in spoken.into_iter().filter(|(_, flags)| !flags.is_empty()) {
            let taken = take(&mut fabric, began, port, &taps[port.place()], &mut buffer);
            if !flags.contains(PollFlags::IN) || taken.is_err() {
                plugged.retain(|other| *other != port);
            }
        }
        while let Some((to, frame)) = fabric.arrival(began.elapsed()) {
            // A machine whose interface is down takes nothing, as with any cable.
            taps[to.place()].deliver(&frame).ok();
        }
    }
}

/// Takes what a machine has sent, up to its turn.
fn take(fabric: &mut Fabric, began: Instant, from: Port, tap: &Tap, buffer: &mut [u8]) -> io::Result<()> {
    for _ in 0..FRAMES_A_TURN {
        let Some(bytes) = tap.receive(buffer)? else { break };
        fabric.offer(began.elapsed(), from, &buffer[..bytes]);
    }
    Ok(())
}

fn timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(duration.subsec_nanos()),
    }
}
