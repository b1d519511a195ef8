//! The package's promises through its public door: golden bytes, damaged bytes, keys and signatures in wrong places.

#![expect(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

mod commands;
mod data;
mod decoders;
mod enrolment;
mod golden;
mod keyfiles;
mod proofs;
mod records;
mod sample;
mod sheets;
mod signed;
mod wraps;
