//! Names in certificates, and the verifiers that read them: what a node and a client must judge alike.
//!
//! ```text
//!   tls ──▶ verify ──▶ certificate ──▶ spiffe ──▶ strongroom_format::{name, role}
//!   configurations  a chain against anchors   one leaf   one URI
//! ```
//!
//! Promises: identity is exactly one SPIFFE URI; common names and DNS names are never read; TLS 1.3 only, without
//! resumption. Not here: which issuer may speak for which tenant, and the listeners (`node/identity`).

pub mod certificate;
pub mod spiffe;
pub mod tls;
pub mod verify;
