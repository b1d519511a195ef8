//! Facts about the chunk store, on real files and on the simulated disk, and what only the latter can show: crashes.

#![expect(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

mod crashes;
mod freeing;
mod releases;
mod store;
