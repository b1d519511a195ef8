//! The same facts on real files and on the simulated disk, and what only the simulated one can show: crashes.

#![expect(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

mod crashes;
mod files;
mod log;
