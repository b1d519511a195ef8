//! What is compared: a program that backs up and restores.

use std::path::Path;

use crate::child::Ended;
use crate::probe::Served;

/// A backup that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// What the contestant calls it.
    pub name: String,
    /// How many bytes it sent, if it says so.
    pub bytes_sent: Option<u64>,
}

/// A program that backs up and restores.
pub trait Contestant: Sync {
    /// Stands before a shape's name in the report; a rival's is its name and a colon, ours is empty.
    fn prefix(&self) -> &'static str;
    /// Whose costs count beside the client's own.
    fn served(&self) -> &Served;
    /// What must be there before the first backup under a label; not measured.
    fn prepare(&self, _label: &str, _log: &Path) -> anyhow::Result<()> {
        Ok(())
    }
    /// Entries that were committed so far by majorities, where there are any.
    fn commits(&self) -> anyhow::Result<Option<f64>> {
        Ok(None)
    }
    /// Backs up what is in a directory.
    fn back_up(&self, source: &Path, label: &str, log: &Path) -> anyhow::Result<(Ended, Kept)>;
    /// Restores it into a directory that does not exist yet.
    fn restore(&self, kept: &Kept, to: &Path, log: &Path) -> anyhow::Result<Ended>;
}
