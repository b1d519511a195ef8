//! The node's own code on simulated machines: whole clusters (`simulation.rs`), and crash images of single stores, crashed
//! at seeded moments and opened by their own recovery:
//!
//! ```text
//!   campaign    many images, on threads                       who asks: `strongroom-jepsen crash-images`, tests
//!     └ image   one seed: life ─▶ crash ─▶ recovery (may crash too) ─▶ look ─▶ judge
//!         ├ append    records in numbered append-only files
//!         ├ log       the shared log, several groups at once
//!         ├ state     checkpoints, snapshots and purges of groups over that log
//!         ├ snapshot  installs of a Raft snapshot over a log with entries that contradict it
//!         └ chunks    segments and the chunk index
//!   world       the disk, what is done to it and when         history   what a group's log may say afterwards
//!   lies        hosts that break an order of syncs, to prove that a test would see it
//! ```
//!
//! Promises: everything follows from the seed, so a failing image comes again; an image judges only what a store promised
//! in words: nothing acknowledged is lost, nothing is invented, order holds, it opens.
//!
//! Not here: real processes, disks and networks (`jepsen`).

mod append;
pub mod campaign;
mod chunks;
mod dice;
pub mod finding;
mod group;
mod history;
pub mod image;
pub mod lies;
mod log;
mod machine;
pub mod simulation;
mod snapshot;
mod state;
mod world;
