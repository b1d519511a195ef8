//! The doors of a node: gRPC for tenants and operators, and plain HTTP for whoever watches over it.
//!
//! ```text
//!   tenant listener ───▶ vaults ────┐  who (callers) · what (wire) · do (node/service) · answer (answers)
//!   operator listener ─▶ operators ─┘
//!   peer listener ─────▶ node/peers
//!   enrolment listener ▶ enrol: strangers with tokens        CA process ▶ authority
//!   ops port ──────────▶ ops: /healthz /readyz /metrics
//! ```
//!
//! Promises: every call is admitted by its row before anything in it is looked up; what a body says about its tenant is
//! compared, never believed; every refusal has a code and a reason that scripts can rely on; nothing else is served on a
//! plane. Not here: what is decided (`node/core`), how it is carried out (`node/service`).

pub mod answers;
pub mod authority;
pub mod callers;
mod driven;
pub mod enrol;
pub mod metrics;
pub mod operators;
pub mod ops;
mod revocations;
pub mod serve;
mod ticket_wire;
mod too_long;
mod usage;
pub mod vaults;
pub mod wire;
