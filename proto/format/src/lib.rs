//! Every byte that both sides of Strongroom must agree on: ids, commands and outcomes, sealed blobs, index-tree nodes,
//! manifests, envelopes, statements, keys, fragments, proofs. Pure: no clock, disk, network or task.
//!
//! One canonical encoding ([`codec`]): a version byte, then borsh with `de_strict_order`, read from a whole slice.
//! The byte pictures are in `proto/FORMATS.md`. An offline reader or a standalone verifier needs nothing else.
//!
//! Not here: what is allowed (`node/core`), how bytes travel (`proto/strongroom.proto`).

pub mod aead;
pub mod any_key;
pub mod approval;
pub mod chunk;
pub mod code;
pub mod codec;
pub mod command;
pub mod ending;
pub mod enrolment;
pub mod envelope;
pub mod fragment;
pub mod gathered;
pub mod id;
pub mod keys;
pub mod label;
pub mod lock;
pub mod lock_order;
pub mod manifest;
pub mod merkle;
pub mod name;
pub mod outcome;
pub mod placement;
pub mod policy;
pub mod policy_view;
pub mod quota;
pub mod receipt;
pub mod records;
pub mod role;
pub mod seal;
pub mod secret;
pub mod sheet;
pub mod sign;
mod siv;
pub mod statement;
pub mod summary;
pub mod tombstone;
pub mod tree;
pub mod wrap;
pub mod xwing;
