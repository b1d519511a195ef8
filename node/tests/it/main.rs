//! Tests of whole nodes: processes are started, attacked and asked through the SDK, and past it. One binary, so that it
//! links once; one cluster that most tests share (`shared.rs`).

mod awkward;
mod bearer;
mod canaries;
mod claims;
mod clocks;
mod cluster;
mod deleting;
mod digests;
mod ends;
mod enrolment;
mod false_member;
mod forge;
mod foundation;
mod identity_and_tls;
mod inside;
mod liar;
mod lies;
mod losses;
mod protocol;
mod raw;
mod receipts;
mod rogue;
mod secrets;
mod several_writers;
mod shared;
mod single;
mod speaker;
mod spoiled;
mod tenancy;
mod tenant;
mod tidy;
mod trees;
mod upload_and_restore;
mod whole;
