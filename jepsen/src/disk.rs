//! A node's disk: an ext4 file system in a file, mounted over the node's data directory, so that it can lose its power,
//! be full, and lose nothing that was synced.
//!
//! ```text
//!   cut      unsynced file written ─▶ file system stops at once ─▶ (node killed) ─▶ unmounted ─▶ mounted: that file is gone
//!   filled   ballast takes what is free ─▶ a write is refused ─▶ ballast removed
//! ```
//!
//! What is mounted is seen in the harness's own mount namespace only (`enclosed.rs`) and ends with it.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use rustix::fs::{FallocateFlags, fallocate};

/// How large a disk is; its file is sparse.
const BYTES: u64 = 8 << 30;
/// Written and not synced before the power goes.
const UNSYNCED: &str = "jepsen-unsynced";
/// Written and synced before the power goes.
const SYNCED: &str = "jepsen-synced";
/// Takes what is free.
const BALLAST: &str = "jepsen-ballast";
/// How long a killed process may keep its disk busy.
const BUSY_PATIENCE: Duration = Duration::from_secs(10);

/// A mounted disk.
#[derive(Debug)]
pub struct Disk {
    image: PathBuf,
    mount: PathBuf,
}

impl Disk {
    /// Makes a disk and moves a data directory onto it; nobody may use that meanwhile.
    pub fn move_in(image: &Path, data_dir: &Path) -> anyhow::Result<Self> {
        let file = File::create_new(image).with_context(|| format!("cannot create {}", image.display()))?;
        file.set_len(BYTES).context("cannot make a sparse file")?;
        let quick = ["-q", "-F", "-m", "0", "-E", "nodiscard,lazy_itable_init=1,lazy_journal_init=1"];
        run(Command::new("mkfs.ext4").args(quick).arg(image))?;
        let before = data_dir.with_extension("before");
        fs::rename(data_dir, &before).context("cannot move a data directory")?;
        fs::create_dir(data_dir).context("cannot make a mount point")?;
        let disk = Self { image: image.into(), mount: data_dir.into() };
        disk.mount()?;
        fs::remove_dir(data_dir.join("lost+found")).context("a new ext4 has it")?;
        run(Command::new("cp").args(["-a", "--sparse=always", "-T"]).arg(&before).arg(data_dir))?;
        fs::remove_dir_all(&before).context("cannot remove what was moved")?;
        rustix::fs::syncfs(File::open(data_dir)?).context("cannot sync a new disk")?;
        Ok(disk)
    }

    /// The power goes, for the disk: what was not synced is lost. The process on it is the caller's to kill.
    pub fn cut(&self) -> anyhow::Result<()> {
        let write = |name: &str| -> anyhow::Result<File> {
            let mut file = File::create(self.mount.join(name)).context("cannot write to a disk")?;
            file.write_all(name.as_bytes()).context("cannot write to a disk")?;
            Ok(file)
        };
        fs::remove_file(self.mount.join(UNSYNCED)).or_else(absent_is_fine)?;
        write(SYNCED)?.sync_all().context("cannot sync a disk")?;
        write(UNSYNCED)?;
        run(Command::new("xfs_io").args(["-x", "-c", "shutdown"]).arg(&self.mount))?;
        let after = fs::write(self.mount.join(UNSYNCED), b"x");
        ensure!(after.is_err(), "{} takes writes after its power went", self.mount.display());
        Ok(())
    }

    /// The power comes back. Says what shows that something was lost.
    pub fn power_on(&self) -> anyhow::Result<String> {
        self.unmount()?;
        self.mount()?;
        let bytes = |name: &str| fs::read(self.mount.join(name)).unwrap_or_default().len();
        ensure!(bytes(SYNCED) == SYNCED.len(), "a synced file is gone: this host's disks lie");
        ensure!(bytes(UNSYNCED) == 0, "what was not synced is still there: the power never went");
        Ok("a file that was not synced is gone, a synced one is there".to_owned())
    }

    /// Fills it up. Says what shows that it is full.
    pub fn fill(&self) -> anyhow::Result<String> {
        let ballast = OpenOptions::new().create(true).append(true).open(self.mount.join(BALLAST));
        let mut ballast = ballast.context("cannot make ballast")?;
        let mut taken = 0;
        loop {
            let free = self.free()?;
            // Whole megabytes first; then a write shows when there is nothing left.
            let step = (free / 2) & !0xf_ffff;
            if step == 0 {
                break;
            }
            match fallocate(&ballast, FallocateFlags::empty(), taken, step) {
                Ok(()) => taken += step,
                Err(rustix::io::Errno::NOSPC) => break,
                Err(cause) => return Err(cause).context("cannot fill a disk"),
            }
        }
        let piece = vec![0x5a; 1 << 16];
        loop {
            match ballast.write_all(&piece).and_then(|()| ballast.sync_all()) {
                Ok(()) => taken += piece.len() as u64,
                Err(full) if full.kind() == ErrorKind::StorageFull => break,
                Err(cause) => return Err(cause).context("cannot fill a disk"),
            }
        }
        Ok(format!("{} MiB of ballast, and the next write finds no space", taken >> 20))
    }

    /// Gives the space back.
    pub fn empty(&self) -> anyhow::Result<()> {
        fs::remove_file(self.mount.join(BALLAST)).or_else(absent_is_fine).context("cannot remove ballast")
    }

    /// Whether it is as full as [`Disk::fill`] left it, up to what a node itself gave back.
    pub fn is_full(&self) -> bool {
        self.mount.join(BALLAST).exists() && self.free().is_ok_and(|free| free < 64 << 20)
    }

    fn free(&self) -> anyhow::Result<u64> {
        let disk = rustix::fs::statvfs(&self.mount).context("cannot ask a disk for its space")?;
        Ok(disk.f_bavail * disk.f_frsize)
    }

    fn mount(&self) -> anyhow::Result<()> {
        run(Command::new("mount").args(["-t", "ext4", "-o", "loop,noatime"]).arg(&self.image).arg(&self.mount))
    }

    fn unmount(&self) -> anyhow::Result<()> {
        let began = Instant::now();
        loop {
            match run(Command::new("umount").arg(&self.mount)) {
                Ok(()) => return Ok(()),
                // A process that was killed lets go of its files a moment later.
                Err(why) if BUSY_PATIENCE < began.elapsed() => return Err(why),
                Err(_) => std::thread::sleep(Duration::from_millis(50)),
            }
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // What is still busy goes with the mount namespace.
        run(Command::new("umount").arg("--lazy").arg(&self.mount)).ok();
    }
}

fn absent_is_fine(why: std::io::Error) -> std::io::Result<()> {
    if why.kind() == ErrorKind::NotFound { Ok(()) } else { Err(why) }
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot start {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?} ended with {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
