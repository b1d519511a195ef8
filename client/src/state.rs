//! What this machine has seen of its tenant, so that nobody can show it an older world: per vault the last statement,
//! the last checkpoint of the tenant's log with the voters who signed it, and which snapshots it has receipts for.
//!
//! ```text
//!   statement-<vault>   version, digest                     replaced by rename
//!   log                 signed checkpoint, in hex           replaced by rename
//!   voters-<digest>     every set of voters once believed   never changed
//!   receipts            snapshot, vault, identity, label    one line more for each
//!   last-verify         vault, snapshot, ms since 1970, of ten thousand, whole|damaged   one line a vault, replaced by rename
//! ```
//!
//! Promises: a version never goes down, one version never has two contents, a fact that cannot be written down (written,
//! synced, renamed) is not used, and what is damaged is not taken for absent. All writers hold one lock.
//! Not here: what follows from a checkpoint (`audit.rs`), the signatures over these things (`strongroom-format`).

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Mode, OFlags};
use strongroom_format::codec::{self, Format};
use strongroom_format::id::{Digest, IdentityId, SnapshotId, StatementVersion, VaultId};
use strongroom_format::label::Label;
use strongroom_format::receipt::{SignedCheckpoint, Voters};

use crate::error::{Error, Result};

/// The state directory of one tenant on this machine.
#[derive(Clone, Debug)]
pub struct State {
    directory: PathBuf,
}

/// What of a fact is compared: it only grows, and at one height it has one content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    height: u64,
    content: Digest,
}

impl State {
    /// Opens the directory, making it if it is absent.
    ///
    /// # Errors
    /// `Failed` if it cannot be made.
    pub fn open(directory: &Path) -> Result<Self> {
        std::fs::create_dir_all(directory).map_err(|cause| Error::file("make", directory, cause))?;
        Ok(Self { directory: directory.to_owned() })
    }

    /// Notes a statement that was verified; from now on an older one of this vault is refused.
    ///
    /// # Errors
    /// `Refused` with reason `ROLLBACK_DETECTED` if a newer one, or another one of the same version, was seen before.
    pub fn note_statement(&self, vault: VaultId, version: StatementVersion, content: Digest) -> Result<()> {
        self.note(
            &format!("statement-{vault}"),
            Seen { height: u64::from(version.0), content },
            "the vault's statement",
        )
    }

    /// The last checkpoint of the tenant's log that was believed.
    ///
    /// # Errors
    /// `Refused` with reason `STATE_DAMAGED` if it is not readable any more.
    pub fn log(&self) -> Result<Option<SignedCheckpoint>> {
        self.read_format("log")
    }

    /// Puts `new` in the place of `expected`, unless another process of this machine has put something else there: then
    /// that is returned. A smaller one replaces nothing: it says nothing new.
    ///
    /// # Errors
    /// `Failed` if it cannot be written down; it is not believed then.
    pub fn advance_log(
        &self,
        expected: Option<&SignedCheckpoint>,
        new: &SignedCheckpoint,
    ) -> Result<std::result::Result<(), Option<SignedCheckpoint>>> {
        let _lock = self.lock()?;
        let current = self.log()?;
        if current.as_ref() != expected {
            return Ok(Err(current));
        }
        let is_newer = |current: &SignedCheckpoint| {
            (current.checkpoint.size, current.checkpoint.log_index) < (new.checkpoint.size, new.checkpoint.log_index)
        };
        if current.as_ref().is_none_or(is_newer) {
            let voters = format!("voters-{}", new.checkpoint.voters);
            if self.read_format::<Voters>(&voters)?.is_none() {
                self.replace(&voters, &hex_line(&new.voters))?;
            }
            self.replace("log", &hex_line(new))?;
        }
        Ok(Ok(()))
    }

    /// A set of voters that was believed at some time.
    ///
    /// # Errors
    /// As [`State::log`].
    pub fn voters(&self, digest: &Digest) -> Result<Option<Voters>> {
        self.read_format(&format!("voters-{digest}"))
    }

    /// Notes that there is a verified receipt for a snapshot: from now on a listing without it is an older one.
    ///
    /// # Errors
    /// `Failed` if it cannot be written down.
    pub fn note_receipt(&self, noted: &Noted) -> Result<()> {
        let _lock = self.lock()?;
        if self.receipts()?.contains(noted) {
            return Ok(());
        }
        let path = self.directory.join("receipts");
        let write = || {
            let mut file = OpenOptions::new().create(true).read(true).append(true).open(&path)?;
            // A line that a crash cut short was acknowledged to nobody.
            let mut text = Vec::new();
            file.seek(SeekFrom::Start(0))?;
            file.read_to_end(&mut text)?;
            let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
            file.set_len(whole as u64)?;
            writeln!(file, "{}", noted.line())?;
            file.sync_all()?;
            File::open(&self.directory)?.sync_all()
        };
        write().map_err(|cause: std::io::Error| Error::file("write", &path, cause))
    }

    /// Forgets the receipts of a snapshot that has ended: a listing without it is right.
    ///
    /// # Errors
    /// As [`State::note_receipt`] and [`State::receipts`].
    pub fn forget_receipts(&self, snapshot: SnapshotId) -> Result<()> {
        let _lock = self.lock()?;
        let mut receipts = self.receipts()?;
        let before = receipts.len();
        receipts.retain(|noted| noted.snapshot != snapshot);
        if receipts.len() == before {
            return Ok(());
        }
        let text: String = receipts.iter().map(|noted| format!("{}\n", noted.line())).collect();
        self.replace("receipts", &text)
    }

    /// All snapshots that there are receipts for.
    ///
    /// # Errors
    /// `Refused` with reason `STATE_DAMAGED` if a line does not read.
    pub fn receipts(&self) -> Result<BTreeSet<Noted>> {
        let path = self.directory.join("receipts");
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
            Err(cause) => return Err(Error::file("read", &path, cause)),
        };
        let whole = text.rfind('\n').map_or("", |at| &text[..at]);
        let noted = whole.lines().map(|line| Noted::read(line).ok_or_else(|| damaged(&path)));
        noted.collect()
    }

    /// Notes that a snapshot was verified; of each vault the last one counts.
    ///
    /// # Errors
    /// `Failed` if it cannot be written down.
    pub fn note_verification(&self, done: &Verification) -> Result<()> {
        let _lock = self.lock()?;
        let mut all = self.verifications()?;
        all.retain(|before| before.vault != done.vault);
        all.push(done.clone());
        all.sort_by_key(|verification| verification.vault);
        self.replace("last-verify", &all.iter().map(Verification::line).collect::<String>())
    }

    /// When snapshots were verified last, of each vault.
    ///
    /// # Errors
    /// As [`verifications_in`].
    pub fn verifications(&self) -> Result<Vec<Verification>> {
        verifications_in(&self.directory)
    }

    fn note(&self, name: &str, now: Seen, what: &str) -> Result<()> {
        let _lock = self.lock()?;
        match self.read(name)? {
            Some(before) if now.height < before.height => Err(Error::refused(
                "FAILED_PRECONDITION",
                OLDER,
                format_args!("{what} is older ({}) than what this machine has seen ({})", now.height, before.height),
                NEXT,
            )),
            Some(before) if now.height == before.height && now.content != before.content => Err(Error::refused(
                "FAILED_PRECONDITION",
                FORKED,
                format_args!("{what} has another content at {} than what this machine has seen", now.height),
                NEXT,
            )),
            Some(before) if before == now => Ok(()),
            Some(_) | None => self.write(name, now),
        }
    }

    fn lock(&self) -> Result<OwnedFd> {
        let path = self.directory.join("lock");
        let file = rustix::fs::open(&path, OFlags::CREATE | OFlags::RDWR | OFlags::CLOEXEC, Mode::RUSR | Mode::WUSR)
            .map_err(|cause| Error::file("open", &path, cause))?;
        rustix::fs::flock(&file, FlockOperation::LockExclusive).map_err(|cause| Error::file("lock", &path, cause))?;
        Ok(file)
    }

    fn read(&self, name: &str) -> Result<Option<Seen>> {
        let path = self.directory.join(name);
        let mut text = String::new();
        match File::open(&path) {
            Ok(file) => file.take(1024).read_to_string(&mut text).map_err(|cause| Error::file("read", &path, cause))?,
            Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(cause) => return Err(Error::file("read", &path, cause)),
        };
        let seen = text
            .trim_end()
            .split_once(' ')
            .and_then(|(height, content)| Some(Seen { height: height.parse().ok()?, content: content.parse().ok()? }));
        // Damaged is not absent: forgetting would let an older world in.
        seen.map(Some).ok_or_else(|| damaged(&path))
    }

    fn read_format<T: Format>(&self, name: &str) -> Result<Option<T>> {
        let path = self.directory.join(name);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(cause) => return Err(Error::file("read", &path, cause)),
        };
        let value = hex::decode(text.trim_end()).ok().and_then(|bytes| codec::decode(&bytes).ok());
        value.map(Some).ok_or_else(|| damaged(&path))
    }

    fn write(&self, name: &str, seen: Seen) -> Result<()> {
        self.replace(name, &format!("{} {}\n", seen.height, seen.content))
    }

    fn replace(&self, name: &str, text: &str) -> Result<()> {
        let path = self.directory.join(name);
        let temporary = self.directory.join(format!("{name}.new"));
        let write = || {
            let mut file = File::create(&temporary)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            std::fs::rename(&temporary, &path)?;
            File::open(&self.directory)?.sync_all()
        };
        write().map_err(|cause: std::io::Error| Error::file("write", &path, cause))
    }
}

/// A snapshot for which there is a receipt.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Noted {
    /// Which.
    pub snapshot: SnapshotId,
    /// In which vault.
    pub vault: VaultId,
    /// Who fetched the receipt, and so must see the snapshot.
    pub by: IdentityId,
    /// Its name within its writer.
    pub label: Label,
}

impl Noted {
    fn line(&self) -> String {
        format!("{} {} {} {}", self.snapshot, self.vault, self.by, hex::encode(self.label.as_str()))
    }

    fn read(line: &str) -> Option<Self> {
        let mut words = line.split(' ');
        let noted = Self {
            snapshot: words.next()?.parse().ok()?,
            vault: words.next()?.parse().ok()?,
            by: words.next()?.parse().ok()?,
            label: String::from_utf8(hex::decode(words.next()?).ok()?).ok()?.parse().ok()?,
        };
        words.next().is_none().then_some(noted)
    }
}

/// That a snapshot was verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verification {
    /// Of which vault.
    pub vault: VaultId,
    /// Which.
    pub snapshot: SnapshotId,
    /// When it was done, by this machine's clock.
    pub unix_ms: u64,
    /// How many of ten thousand of its chunks were read.
    pub per_myriad: u16,
    /// Whether all that was read is whole.
    pub is_whole: bool,
}

impl Verification {
    fn line(&self) -> String {
        let verdict = if self.is_whole { "whole" } else { "damaged" };
        format!("{} {} {} {} {verdict}\n", self.vault, self.snapshot, self.unix_ms, self.per_myriad)
    }

    fn read(line: &str) -> Option<Self> {
        let words: Vec<&str> = line.split(' ').collect();
        let [vault, snapshot, unix_ms, per_myriad, verdict] = words[..] else { return None };
        Some(Self {
            vault: vault.parse().ok()?,
            snapshot: snapshot.parse().ok()?,
            unix_ms: unix_ms.parse().ok()?,
            per_myriad: per_myriad.parse().ok()?,
            is_whole: match verdict {
                "whole" => true,
                "damaged" => false,
                _ => return None,
            },
        })
    }
}

/// What a state directory says about when snapshots were verified last, of each vault; it is only read. A line that does
/// not read was written by no version of ours that matters here: it says nothing, so that whoever asks verifies again.
///
/// # Errors
/// `Failed` if the file cannot be read.
pub fn verifications_in(directory: &Path) -> Result<Vec<Verification>> {
    let path = directory.join("last-verify");
    match std::fs::read(&path) {
        Ok(text) => Ok(String::from_utf8_lossy(&text).lines().filter_map(Verification::read).collect()),
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(cause) => Err(Error::file("read", &path, cause)),
    }
}

fn hex_line(value: &impl Format) -> String {
    hex::encode(codec::encode(value)) + "\n"
}

fn damaged(path: &Path) -> Error {
    Error::refused(
        "FAILED_PRECONDITION",
        "STATE_DAMAGED",
        format_args!("{} is damaged", path.display()),
        "compare with what the vault's custodian or another machine of the tenant knows, then remove the file",
    )
}

const OLDER: &str = "ROLLBACK_DETECTED";
const FORKED: &str = "FORK_DETECTED";
const NEXT: &str = "nothing was sealed or shown; ask the vault's custodian which version is in force and tell whoever \
                    runs the cluster";

#[cfg(test)]
mod tests {
    use super::*;

    const VAULT: VaultId = VaultId::from_bytes([7; 16]);
    const A: Digest = Digest::from_bytes([1; 32]);
    const B: Digest = Digest::from_bytes([2; 32]);

    #[test]
    fn n119_a_lower_version_than_seen_is_refused() {
        let home = tempfile::tempdir().unwrap();
        let state = State::open(&home.path().join("state")).unwrap();
        state.note_statement(VAULT, StatementVersion(2), A).unwrap();
        state.note_statement(VAULT, StatementVersion(2), A).unwrap();
        let refused = state.note_statement(VAULT, StatementVersion(1), B).unwrap_err();
        assert_eq!(refused.reason(), Some("ROLLBACK_DETECTED"));
        let forked = state.note_statement(VAULT, StatementVersion(2), B).unwrap_err();
        assert_eq!(forked.reason(), Some("FORK_DETECTED"));
        state.note_statement(VAULT, StatementVersion(3), B).unwrap();
        // What was seen outlives the process.
        let again = State::open(&home.path().join("state")).unwrap();
        assert!(again.note_statement(VAULT, StatementVersion(2), A).is_err());
    }

    #[test]
    fn damaged_state_is_not_taken_for_absent() {
        let home = tempfile::tempdir().unwrap();
        let state = State::open(home.path()).unwrap();
        std::fs::write(home.path().join(format!("statement-{VAULT}")), "x").unwrap();
        let refused = state.note_statement(VAULT, StatementVersion(9), A).unwrap_err();
        assert_eq!(refused.reason(), Some("STATE_DAMAGED"));
    }

    #[test]
    fn the_last_verification_of_each_vault_is_remembered() {
        let home = tempfile::tempdir().unwrap();
        let state = State::open(home.path()).unwrap();
        assert_eq!(state.verifications().unwrap(), []);
        let done = |vault: u8, unix_ms, is_whole| Verification {
            vault: VaultId::from_bytes([vault; 16]),
            snapshot: SnapshotId::from_bytes([9; 16]),
            unix_ms,
            per_myriad: 500,
            is_whole,
        };
        state.note_verification(&done(2, 7, true)).unwrap();
        state.note_verification(&done(1, 8, false)).unwrap();
        state.note_verification(&done(2, 9, true)).unwrap();
        assert_eq!(state.verifications().unwrap(), [done(1, 8, false), done(2, 9, true)]);
        std::fs::write(home.path().join("last-verify"), b"\xff nonsense\n").unwrap();
        assert_eq!(state.verifications().unwrap(), []);
        state.note_verification(&done(1, 8, true)).unwrap();
        assert_eq!(state.verifications().unwrap(), [done(1, 8, true)]);
    }

    fn checkpoint(size: u64) -> SignedCheckpoint {
        let voters = Voters::default();
        let checkpoint = strongroom_format::receipt::Checkpoint {
            cluster: strongroom_format::id::ClusterEpoch::from_bytes([1; 16]),
            group: strongroom_format::id::GroupId(1),
            tenant: strongroom_format::id::TenantTag::from_bytes([2; 16]),
            size,
            root: strongroom_format::merkle::MerkleHash([3; 32]),
            log_index: size,
            voters: voters.digest(),
        };
        SignedCheckpoint { checkpoint, voters, signatures: Vec::new() }
    }

    #[test]
    fn the_log_is_replaced_only_by_whoever_knows_what_is_there() {
        let home = tempfile::tempdir().unwrap();
        let state = State::open(home.path()).unwrap();
        assert_eq!(state.log().unwrap(), None);
        assert_eq!(state.advance_log(None, &checkpoint(5)).unwrap(), Ok(()));
        // Somebody else, who saw nothing there, is told.
        assert_eq!(state.advance_log(None, &checkpoint(9)).unwrap(), Err(Some(checkpoint(5))));
        assert_eq!(state.advance_log(Some(&checkpoint(5)), &checkpoint(9)).unwrap(), Ok(()));
        assert_eq!(state.advance_log(Some(&checkpoint(9)), &checkpoint(7)).unwrap(), Ok(()));
        assert_eq!(State::open(home.path()).unwrap().log().unwrap(), Some(checkpoint(9)), "never an older one");
        assert_eq!(state.voters(&Voters::default().digest()).unwrap(), Some(Voters::default()));
        std::fs::write(home.path().join("log"), "0g").unwrap();
        assert_eq!(state.log().unwrap_err().reason(), Some("STATE_DAMAGED"));
    }

    #[test]
    fn receipts_are_remembered_and_a_line_that_a_crash_cut_short_is_not_one() {
        let home = tempfile::tempdir().unwrap();
        let state = State::open(home.path()).unwrap();
        let noted = |n: u8, label: &str| Noted {
            snapshot: SnapshotId::from_bytes([n; 16]),
            vault: VAULT,
            by: "web".parse().unwrap(),
            label: label.parse().unwrap(),
        };
        state.note_receipt(&noted(1, "nightly of the day")).unwrap();
        state.note_receipt(&noted(1, "nightly of the day")).unwrap();
        let file = home.path().join("receipts");
        let before = std::fs::read_to_string(&file).unwrap();
        assert_eq!(before.lines().count(), 1);
        std::fs::write(&file, format!("{before}0101")).unwrap();
        assert_eq!(state.receipts().unwrap(), [noted(1, "nightly of the day")].into());
        state.note_receipt(&noted(2, "x")).unwrap();
        assert_eq!(state.receipts().unwrap(), [noted(1, "nightly of the day"), noted(2, "x")].into());
        state.forget_receipts(noted(1, "x").snapshot).unwrap();
        assert_eq!(state.receipts().unwrap(), [noted(2, "x")].into());
        state.forget_receipts(noted(1, "x").snapshot).unwrap();
        state.note_receipt(&noted(3, "y")).unwrap();
        assert_eq!(state.receipts().unwrap(), [noted(2, "x"), noted(3, "y")].into());
        std::fs::write(&file, format!("{before}x\n")).unwrap();
        assert_eq!(state.receipts().unwrap_err().reason(), Some("STATE_DAMAGED"));
    }
}
