//! The rules: what every replica decides, the same way, for ever. Pure: no clock, disk, network, randomness, task or
//! lock; time, ids and random bytes arrive inside the entry.
//!
//!     entry bytes ──▶ Machine::apply(&mut dyn Tables) ──▶ outcome bytes
//!     query bytes ──▶ Machine::query(&dyn Reads) ──▶ answer bytes
//!
//! Two machines: [`cluster::ClusterMachine`] for group 0, [`shard::ShardMachine`] for every shard. A client's bytes never
//! reach an assertion: what is wrong with them is an outcome. Only a state that contradicts itself stops a replica.
//!
//! Not here: where rows live (`node/consensus`), who may connect (`node/identity`), bytes of chunks (`node/chunks`).

mod attempt;
pub mod baselines;
pub mod claims;
pub mod clock;
pub mod cluster;
pub mod digest;
mod draft;
pub mod electorates;
pub mod entry;
mod founding;
pub mod genesis;
mod key;
pub mod laws;
pub mod locking;
pub mod machine;
mod proved;
pub mod query;
mod reading;
mod redemptions;
mod reports;
mod roles;
mod row;
pub mod rules;
pub mod shard;
mod stop;
pub mod tables;
mod text;
mod told;
pub mod topology;
pub mod voters;
pub mod walls;
