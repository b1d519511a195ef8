//! What is wrong in a profile, and what would be right.
//!
//! Not here: the error that callers get (`error.rs`).

use std::fmt::Display;

/// What is wrong, and what to do.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub what: String,
    pub next: String,
}

impl Fault {
    pub fn new(what: impl Display, next: impl Into<String>) -> Self {
        Self { what: what.to_string(), next: next.into() }
    }
}
