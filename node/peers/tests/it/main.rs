//! Two nodes over mTLS on loopback.

#![expect(clippy::unwrap_used, reason = "a test that meets what it did not expect has failed")]

mod dialogue;
mod world;
