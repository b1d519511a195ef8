//! Progress: what a long operation tells while it runs.
//!
//! Not here: bars and texts (`client/cli`).

use std::fmt;
use std::sync::Arc;

/// Something happened. Counts are increments.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// An entry was found by a backup.
    Found {
        /// Its bytes, if it is a file.
        bytes: u64,
    },
    /// Bytes were read from files.
    Read {
        /// How many.
        bytes: u64,
    },
    /// A file was not read, because nothing about it changed since it was.
    Unchanged {
        /// Its bytes.
        bytes: u64,
    },
    /// The local cache was changed, copied or made under another key: it is ignored, and all files are read. Whoever did
    /// that is a question for people.
    CacheIgnored {
        /// Which, and why, for people.
        why: String,
    },
    /// An entry was not backed up.
    Skipped {
        /// Its path in the snapshot, any bytes.
        path: Vec<u8>,
        /// Why, for people.
        why: String,
    },
    /// An entry changed or vanished while it was backed up: the snapshot holds what was read of it, or nothing.
    Changed {
        /// Its path in the snapshot, any bytes.
        path: Vec<u8>,
        /// How, for people.
        why: String,
    },
    /// A sealed chunk was handed to the network.
    Sent {
        /// Its bytes.
        bytes: u64,
    },
    /// Sealed chunks are durable and registered.
    Stored {
        /// Their bytes.
        bytes: u64,
    },
    /// A restore or verification knows what it is about.
    Planned {
        /// Files.
        files: u64,
        /// Their bytes.
        bytes: u64,
    },
    /// Verified bytes of files were restored.
    Restored {
        /// How many.
        bytes: u64,
    },
    /// A file cannot be restored: its bytes are damaged everywhere.
    Damaged {
        /// Its path in the snapshot, any bytes.
        path: Vec<u8>,
        /// Why, for people.
        why: String,
    },
}

/// Where events go. Called from several threads; must return at once.
#[derive(Clone, Default)]
pub struct Progress(Option<Arc<dyn Fn(Event) + Send + Sync>>);

impl Progress {
    /// To nobody.
    pub fn silent() -> Self {
        Self(None)
    }

    /// To a function.
    pub fn to(listener: impl Fn(Event) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(listener)))
    }

    /// Tells.
    pub(crate) fn tell(&self, event: Event) {
        if let Some(listener) = &self.0 {
            listener(event);
        }
    }
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Progress(listener)" } else { "Progress(silent)" })
    }
}
