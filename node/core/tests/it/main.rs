//! The rules through their public door: scripts, refusals by id, properties under arbitrary commands.

#![expect(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

mod adversary;
mod audit;
mod backup;
mod claims;
mod clock;
mod cluster;
mod counted;
mod deletion;
mod entries;
mod expiry;
mod figures;
mod garbage;
mod governance;
mod group;
mod identity;
mod keeping;
mod laws;
mod locks;
mod members;
mod proofs;
mod properties;
mod quotas;
mod releases;
mod scripts;
mod sessions;
mod tenancy;
mod tenant;
mod tickets;
mod ticks;
mod time;
mod tokens;
mod upload;
mod world;
