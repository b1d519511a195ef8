//! What a crash image can get wrong.

use std::fmt;

/// Which promise was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Broken {
    /// A store did not open although nothing failed any more.
    DoesNotOpen,
    /// Something acknowledged is not there, a vote has gone back, a checkpoint is gone.
    Lost,
    /// Something is there that nobody wrote, or in another order.
    Invented,
    /// Opening again shows something else.
    Unstable,
    /// A state is durable further than its log.
    StateAheadOfLog,
    /// A log was purged further than its state is durable.
    PurgedPastState,
    /// A log has entries that contradict the state.
    Contradiction,
    /// The rows are not what the log's entries make.
    WrongRows,
    /// Code of the stores panicked.
    Panic,
}

/// A broken promise, told in one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Which.
    pub broken: Broken,
    /// What was expected and what was found.
    pub story: String,
}

impl Finding {
    pub(crate) fn new(broken: Broken, story: impl Into<String>) -> Self {
        Self { broken, story: story.into() }
    }
}

impl From<String> for Finding {
    /// Why a store did not open.
    fn from(why: String) -> Self {
        Self::new(Broken::DoesNotOpen, why)
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?}: {}", self.broken, self.story)
    }
}
