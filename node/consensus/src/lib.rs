//! Consensus: many Raft groups on one node over one shared log, behind a small door.
//!
//! ```text
//!   groups     Consensus: propose, read, follow, handle      (the door for floors above)
//!   transport  what carries messages between nodes           (implemented above)
//!   offline    a stopped node's states, looked at
//!   stores     log, state and snapshots without Raft around them (for tests of disks)
//!     │
//!   supervise ── opening one replica: what died is closed and opened again, or given up
//!     │
//!   running ── keeping   one group as it runs; its checkpoints, snapshots, learners
//!     ├── door           messages in: only from the member that they name
//!     │     └── arriving a snapshot, piece by piece      transfers   how many travel at once, how fast, what waits for them
//!     ├── network        messages out: every one with a deadline
//!     │     └── heartbeats   of all groups to one node in one message
//!     ├── machine        the rules, applied in batches
//!     │     └── state    one redb per group  ── checkpoint ──┐ only after the log is durable
//!     └── log            one log per node: group commit  ◀───┘
//! ```
//!
//! Promises: what was answered as applied survives crashes of any minority; a proposal's outcome is *done*, *refused*
//! or *unknown*, and nothing else; a state is never durable ahead of its log; a failure of the log or of a checkpoint ends
//! the process, any other of a group ends that group, which is opened again from its store (`health.rs`). openraft and redb
//! are named nowhere above this package, and no layout of theirs is on disk (but redb's own file) or wire.
//!
//! Not here: what entries mean (`strongroom-core`), connections (`strongroom-peers`), who may propose.

mod arriving;
mod checkpoint;
mod database_file;
pub mod depth;
pub mod door;
pub mod fatal;
pub mod group;
pub mod groups;
mod health;
mod heartbeats;
mod journal;
mod keeping;
mod log;
mod machine;
pub mod membership;
pub mod metrics;
mod network;
pub mod offline;
mod opening;
mod plain;
mod rows;
mod running;
mod scrub;
mod snapshot;
mod state;
pub mod stores;
mod supervise;
pub mod timing;
mod transfers;
pub mod transport;
mod types;
pub mod wire;

#[cfg(test)]
mod suite;
