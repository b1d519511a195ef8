//! Consensus as floors above use it: groups on several nodes in one process, over an in-memory transport and disks that
//! lose what was not synced.

#![expect(clippy::unwrap_used, reason = "a test that meets what it did not expect has failed")]

mod changes;
mod chaos;
mod cluster;
mod deaths;
mod distances;
mod durability;
mod followers;
mod heartbeats;
mod leaders;
mod orders;
mod rate;
mod replicas;
mod single;
mod snapshots;
