//! The program as scripts see it: what it prints, where, and how it ends.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod arguments;
mod cache;
mod cluster;
mod damage;
mod examples;
mod full;
mod governance;
mod health;
mod interrupted;
mod keys;
mod locks;
mod machines;
mod many_keys;
mod nonsense;
mod ordinary;
mod page;
mod paper;
mod people;
mod program;
mod proofs;
mod quotas;
mod reading;
mod resumed;
mod sources;
mod story;
mod tickets;
mod trees;
mod units;
