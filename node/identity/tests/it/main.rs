//! The doors of a node, knocked at with certificates of every kind.

#![expect(clippy::unwrap_used, reason = "a test that cannot set itself up has failed")]

mod authority;
mod callers;
mod dialling;
mod listener;
mod open_connections;
mod reloading;
mod world;
