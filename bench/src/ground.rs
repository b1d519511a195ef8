//! Where a run happens: one directory of its own on a disk with room enough, which goes at the end however the run ends.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::{interrupt, space};

/// A directory for one run. Dropped, it is removed as well as can be; [`Ground::leave`] says what could not.
pub struct Ground(tempfile::TempDir);

impl Ground {
    /// A new directory below `dir`, or below Cargo's target directory, if so many bytes are free there. From now on
    /// SIGINT and SIGTERM end the run early instead of leaving everything behind.
    pub fn take(dir: Option<&Path>, bytes: u64) -> anyhow::Result<Self> {
        let dir = match dir {
            Some(dir) => std::path::absolute(dir).context("--dir has no absolute path")?,
            None => target_directory()?,
        };
        fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
        space::require(&dir, bytes)?;
        interrupt::catch()?;
        let own = tempfile::Builder::new().prefix("strongroom-bench-").tempdir_in(&dir);
        Ok(Self(own.context("no directory of its own")?))
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Removes it, once nobody uses it any more.
    pub fn leave(self) -> anyhow::Result<()> {
        self.0.close().context("cannot clean up")
    }
}

/// Cargo's target directory, where this program lies: on a disk, ignored by git, marked as a cache.
fn target_directory() -> anyhow::Result<PathBuf> {
    let program = std::env::current_exe().context("this program has no path")?;
    let target = program.ancestors().find(|dir| dir.join("CACHEDIR.TAG").exists());
    Ok(target.unwrap_or(Path::new(".")).to_path_buf())
}
