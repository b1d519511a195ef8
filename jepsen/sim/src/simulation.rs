//! Simulation: a whole cluster in one thread, with disks, clocks and a network that are as bad as they are allowed to be.
//!
//! ```text
//!   campaign    many seeds, on threads                      who asks: `strongroom-jepsen sim`, tests
//!     └ shrink    a failing seed with fewer faults
//!     └ run       one seed: found ─▶ safety phase ─▶ healed ─▶ liveness phase ─▶ compare
//!         ├ cluster     all machines, window by window; faults
//!         │   └ node        one machine: disk, clocks, lives of its process
//!         │       └ life        the node's own code, put together as `strongroomd` does it
//!         ├ client      what clients do     └ caller   whom they ask, and what they do when they do not know
//!         ├ ledger      what replicas applied, compared at once      promises   what clients were told, held against later
//!         └ plan · wires · clocks · tenant · trace · panics
//! ```
//!
//! Promises: everything follows from the seed, down to the byte of the trace; what runs in a machine is what runs in a node
//! (consensus, openraft, rules, stores, workers), but for TLS, HTTP/2 and the doors of `node/api`.
//!
//! Not here: fragments and their disks (`chunks.rs`, crash images), real processes (`jepsen`).

mod caller;
pub mod campaign;
mod client;
mod clocks;
mod cluster;
pub mod ledger;
mod life;
mod node;
mod panics;
pub mod plan;
pub mod promises;
pub mod run;
pub mod shrink;
mod tenant;
pub mod trace;
mod wires;
