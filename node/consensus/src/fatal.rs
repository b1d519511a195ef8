//! What ends the process: a log or a state that cannot be trusted any more.
//!
//! The wiring gives the callback; in a node it says why and exits, in a test it remembers. It may be called from any
//! thread and more than once; only the first reason counts.

use std::fmt::{self, Debug};
use std::sync::Arc;

/// Ends the process.
#[derive(Clone)]
pub struct Fatal(Arc<dyn Fn(&str) + Send + Sync>);

impl Fatal {
    /// `end` is told why. Nothing here depends on whether it returns.
    pub fn new(end: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Self(Arc::new(end))
    }

    pub(crate) fn call(&self, why: &str) {
        // First: whoever takes the words may be as broken as the disk.
        (self.0)(why);
        tracing::error!(why, "this node cannot go on");
    }
}

impl Debug for Fatal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fatal")
    }
}
