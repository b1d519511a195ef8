//! Who is at the door of a node: issuers, listeners, dialling, the built-in CA, and the table of what may be called.
//!
//! ```text
//!   acceptor ─▶ peer ─▶ issuers        admission        ca
//!   connect  ───────────▶ │            one row an RPC    issues certificates, outside of nodes
//!                         ▼
//!                  strongroom-proto-identity (chains, names)
//! ```
//!
//! Promises: whoever gets past [`acceptor`] proved the key of a certificate of that plane's issuer, which may speak for
//! the name in it; every call is admitted by one row of [`admission`] or not at all.
//! Not here: identity rows, roles in rows and closing (asked per request by `node/service` and again in `apply`).

pub mod acceptor;
pub mod admission;
pub mod ca;
pub mod connect;
pub mod doorstep;
pub mod issuers;
pub mod metrics;
pub mod peer;
pub mod reload;
mod time;
