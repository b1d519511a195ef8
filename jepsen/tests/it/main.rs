//! The harness as somebody at a shell meets it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod mutants;
mod network;
mod three_machines;
