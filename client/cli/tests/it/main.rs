//! The program as scripts see it: what it prints, where, and how it ends.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod arguments;
mod cluster;
mod governance;
mod keys;
mod machines;
mod ordinary;
mod people;
mod program;
mod proofs;
mod story;
