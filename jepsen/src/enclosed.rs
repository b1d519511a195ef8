//! A mount namespace for the harness: what it mounts is seen by it and its children only, and is gone with the last of
//! them, killed or not.

use std::os::unix::process::CommandExt as _;
use std::process::Command;

use anyhow::Context as _;

/// Says to the harness that it is in one already.
const MARK: &str = "STRONGROOM_JEPSEN_ENCLOSED";

/// Begins this program again, with the same words, in a mount namespace of its own; nothing if it is in one.
///
/// # Errors
/// It cannot be started again.
pub fn enclose() -> anyhow::Result<()> {
    if std::env::var_os(MARK).is_some() {
        return Ok(());
    }
    let program = std::env::current_exe().context("this program has no path")?;
    let failed = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "--"])
        .arg(program)
        .args(std::env::args_os().skip(1))
        .env(MARK, "1")
        .exec();
    Err(failed).context("cannot run unshare")
}
