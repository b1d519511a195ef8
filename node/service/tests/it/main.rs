//! One node with one shard of code 1+0: a real log, a real disk, real rules.

#![expect(clippy::unwrap_used, reason = "a test that meets what it did not expect has failed")]

mod members;
mod signing;
mod standing;
mod world;
