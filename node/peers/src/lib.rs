//! Talking to the other nodes: connections that are kept, messages with deadlines, and who is well.
//!
//! ```text
//!   peers ──▶ pipe (Raft heartbeats) ──▶ connection 1 ┐
//!     │  └──▶ pipe (Raft bulk), calls ─▶ connection 2 ├─▶ serve, on the other node ─▶ trait Calls (service, consensus)
//!     │  └──▶ pipe (puts), fetches ────▶ connection 3 ┘
//!     └─▶ health: suspect until it answers a probe; how long its acknowledgements take
//! ```
//!
//! Promises: every call ends by its deadline; whoever asked learns whether the other node surely did not get the
//! question ([`error::PeerError::surely_not_sent`]); bulk never stands in front of a heartbeat; what waits for one node
//! is bounded in bytes and does not hold up what waits for another. What arrives says which node's certificate it came
//! with, and that node can only speak for itself.
//! In a simulation a [`medium::Medium`] takes the place of the connections.
//! Not here: what Raft messages mean (`node/consensus`), where fragments belong (`node/service`).

mod dial;
pub mod error;
pub mod fault;
pub mod health;
mod incidents;
pub mod incoming;
pub mod medium;
pub mod message;
pub mod metrics;
pub mod peers;
mod pipe;
pub mod serve;
mod wire;
