//! What is compared: a program that backs up and restores.

use std::path::Path;

use crate::child::Ended;
use crate::probe::Served;

/// What a contestant calls a backup that it has made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept(pub String);

/// A program that backs up and restores.
pub trait Contestant: Sync {
    /// Stands before a shape's name in the report.
    fn prefix(&self) -> &'static str;
    /// Whose costs count beside the client's own.
    fn served(&self) -> &Served;
    /// Backs up what is in a directory.
    fn back_up(&self, source: &Path, label: &str, log: &Path) -> anyhow::Result<(Ended, Kept)>;
    /// Restores it into a directory that does not exist yet.
    fn restore(&self, kept: &Kept, to: &Path, log: &Path) -> anyhow::Result<Ended>;
}
