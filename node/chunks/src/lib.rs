//! This disk: the copies that one node keeps, in files of their own for each tenant.
//!
//! ```text
//!   coding    blob ⇄ k + m fragments                      pure
//!   store     put · get · has · list                      async door; work runs on its lanes
//!    ├ segment    segments/<tenant id>/<n>.seg            the truth
//!    └ index      index.redb                              where each copy lies; made again from the segments
//!   survey    the segments of a stopped node, read only
//! ```
//!
//! Promises: a copy is acknowledged only after `fdatasync`; after a crash at any moment every acknowledged copy is there
//! and verifies; nothing is served that does not verify; no file holds bytes of two tenants; a full disk is refused
//! before damage; after one failed write or sync nothing more is taken.
//!
//! Not here: who may write under which lease and how much (`node/service`), where fragments belong
//! (`proto/format/code.rs`), the blob's own hash (whoever rebuilds compares it), which copies may go: only a `Release` frees
//! one, and only the rules make releases (`strongroom_core::shard::release`).

pub mod coding;
pub mod damage;
mod database;
mod index;
pub mod metrics;
mod segment;
pub mod store;
pub mod survey;
