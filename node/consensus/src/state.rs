//! The state of one group: all its rows in one redb file, with how far the log is applied to them.
//!
//! ```text
//!   apply(entries) ─▶ one transaction, not synced: rows, applied index, membership
//!   checkpoint     ─▶ everything applied so far becomes durable          (called by `checkpoint.rs` only)
//!   replace(rows)  ─▶ `<group>.redb.new`, many small transactions ─▶ renamed over `<group>.redb`
//!   view           ─▶ the rows as they are now, for queries and snapshots
//! ```
//!
//! A replacement is made in a file of its own, so that neither memory nor the file grow with what it replaces, and a crash
//! leaves the old rows or the new ones. The order of its steps is the promise: the new file is durable; the old one is,
//! and changes no more; the copies of the old one's header are durably gone (they would be put into whatever bears the
//! name); then the new one takes the name. Views stay readable: they keep the file open that they look at.
//!
//! What was applied behind the last checkpoint is gone after a crash; the log applies it again. All calls block: make
//! them from lanes, and changing ones from one lane. A failure is a [`Halt`]: redb fails for ever after one, and so does
//! the replica.
//!
//! Not here: when to checkpoint, and that the log is durable first (`checkpoint.rs`).

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use borsh::{BorshDeserialize, BorshSerialize};
use openraft::EntryPayload;
use redb::{Builder, Database, Durability, ReadableDatabase, StorageBackend, WriteTransaction};
use strongroom_core::machine::Machine;
use strongroom_core::tables::{Halt, Reads, Row, Table, Tables};
use strongroom_format::codec::{self, Format};
use strongroom_format::id::GroupId;
use strongroom_host::Host;
use strongroom_host::files::{DiskFile, Files, Open};
use tokio::sync::watch;

use crate::database_file::{self, DatabaseFile, Seal};
use crate::metrics;
use crate::plain::{PlainLogId, PlainStoredMembership};
use crate::rows::{OWN_TABLE, ROWS, Rows, RowsMut, halt};
use crate::types::{Entry, LogId, StoredMembership};

/// redb's cache, per group; its default is a gibibyte.
const CACHE_BYTES: usize = 16 << 20;

/// While a state is made, a transaction stops behind the row that reaches so many bytes …
const FILL_BYTES_MAX: usize = 4 << 20;

/// … and so often one is durable: until then redb remembers every page that it has written.
const FILL_SYNC_EVERY: usize = 64;

const APPLIED_KEY: &[u8] = b"applied";

/// How far the log is applied, and the membership there.
#[derive(Clone, Debug, Default)]
pub(crate) struct Applied {
    pub(crate) last: Option<LogId>,
    pub(crate) membership: StoredMembership,
}

/// The row that says so.
#[derive(BorshSerialize, BorshDeserialize)]
struct AppliedRow {
    last: Option<PlainLogId>,
    membership: PlainStoredMembership,
}

impl Format for AppliedRow {
    const VERSION: u8 = 1;
    const BYTES_MAX: usize = 1 << 20;
    const NAME: &'static str = "applied row";
}

/// A group's rows. Clones are the same rows.
#[derive(Clone, Debug)]
pub(crate) struct StateStore {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    host: Host,
    path: PathBuf,
    /// The file that bears the name.
    file: Mutex<Arc<StateFile>>,
    applied: Mutex<Applied>,
    /// The index of the last entry that is durably applied.
    checkpointed: Mutex<Option<u64>>,
    /// See [`StateFile::open`].
    open: Arc<watch::Sender<()>>,
}

/// An open file with rows.
#[derive(Debug)]
struct StateFile {
    database: Database,
    file: Arc<dyn DiskFile>,
    seal: Seal,
    /// Falls behind the last database of a state: whoever watches it knows that all files are closed.
    #[expect(dead_code, reason = "it is there to be dropped")]
    open: Arc<watch::Sender<()>>,
}

impl Drop for Inner {
    /// Letting go of a state is no checkpoint: what the log may not have yet stays undone.
    fn drop(&mut self) {
        if *lock(&self.checkpointed) != lock(&self.applied).last.map(|last| last.index) {
            lock(&self.file).seal.close();
        }
    }
}

impl StateStore {
    /// Opens the state of a group in `directory`, an empty one if there is none.
    pub(crate) fn open(host: &Host, directory: &Path, group: GroupId) -> Result<Self, Halt> {
        let path = directory.join(format!("{group}.redb"));
        let open = Arc::new(watch::channel(()).0);
        make_if_there_is_none(&**host.files(), &path)?;
        let file = StateFile::open(&**host.files(), &path, &open)?;
        let applied = view(&file.database)?.applied;
        let checkpointed = applied.last.map(|last| last.index);
        let (applied, checkpointed) = (Mutex::new(applied), Mutex::new(checkpointed));
        let file = Mutex::new(Arc::new(file));
        Ok(Self { inner: Arc::new(Inner { host: host.clone(), path, file, applied, checkpointed, open }) })
    }

    /// Ends when nobody has the state open any more, views of it included.
    pub(crate) fn closed(&self) -> watch::Receiver<()> {
        self.inner.open.subscribe()
    }

    fn file(&self) -> Arc<StateFile> {
        Arc::clone(&lock(&self.inner.file))
    }

    /// How far the log is applied, and the membership there.
    pub(crate) fn applied(&self) -> Applied {
        lock(&self.inner.applied).clone()
    }

    /// The index of the last entry that is applied.
    pub(crate) fn applied_index(&self) -> Option<u64> {
        lock(&self.inner.applied).last.map(|last| last.index)
    }

    /// The index of the last entry that is applied durably.
    pub(crate) fn checkpointed(&self) -> Option<u64> {
        *lock(&self.inner.checkpointed)
    }

    /// Whether the file takes no change any more: a write or sync of it has failed, or its owner has closed it.
    pub(crate) fn is_sealed(&self) -> bool {
        self.file().seal.check().is_err()
    }

    /// How long the file is.
    pub(crate) fn file_bytes(&self) -> u64 {
        self.file().file.len().unwrap_or_default()
    }

    /// Applies entries in order, all or none, and gives the answers, one for each entry. Not durable.
    pub(crate) fn apply(&self, machine: &dyn Machine, entries: &[Entry]) -> Result<Vec<Vec<u8>>, Halt> {
        let (file, mut applied) = (self.file(), self.applied());
        let mut transaction = file.database.begin_write().map_err(halt)?;
        transaction.set_durability(Durability::None).map_err(|error| Halt { why: error.to_string() })?;
        let mut answers = Vec::with_capacity(entries.len());
        {
            let mut rows = open_rows(&transaction)?;
            for entry in entries {
                let answer = match &entry.payload {
                    EntryPayload::Blank => Vec::new(),
                    EntryPayload::Normal(proposal) => machine.apply(&mut rows, entry.log_id.index, &proposal.0)?,
                    EntryPayload::Membership(membership) => {
                        applied.membership = StoredMembership::new(Some(entry.log_id), membership.clone());
                        Vec::new()
                    }
                };
                applied.last = Some(entry.log_id);
                answers.push(answer);
            }
            write_applied(&mut rows, &applied)?;
            for (table, count) in rows.written() {
                metrics::rows_written(machine.table_name(table), count);
            }
        }
        transaction.commit().map_err(halt)?;
        *lock(&self.inner.applied) = applied;
        Ok(answers)
    }

    /// Makes everything applied so far durable. The log must be durable up to there: see `checkpoint.rs`.
    pub(crate) fn checkpoint(&self) -> Result<(), Halt> {
        let (file, applied) = (self.file(), self.applied_index());
        let mut transaction = file.database.begin_write().map_err(halt)?;
        // else the whole file is walked when it is opened after a crash
        transaction.set_quick_repair(true);
        transaction.commit().map_err(halt)?;
        *lock(&self.inner.checkpointed) = applied;
        Ok(())
    }

    /// Replaces all rows, durably and all at once. A row that does not come ends it, and nothing has changed; what fails
    /// later leaves a state that nobody can change any more, until it is opened again.
    pub(crate) fn replace(
        &self,
        applied: Applied,
        new_rows: impl Iterator<Item = Result<Row, Halt>>,
    ) -> Result<(), Halt> {
        let (files, path) = (&**self.inner.host.files(), &*self.inner.path);
        let failed = |error: io::Error| Halt { why: format!("{} cannot be replaced: {error}", path.display()) };
        let beside = beside(path);
        make(files, &beside, |database| fill(database, &applied, new_rows)).inspect_err(|_| {
            // what is left of it takes room and goes at the next try
            let _ = files.remove(&beside);
        })?;
        let old = self.file();
        old.seal.check().map_err(failed)?;
        old.seal.close();
        old.file.sync_data().map_err(failed)?;
        database_file::forget_head(files, path).map_err(failed)?;
        files.rename(&beside, path).map_err(failed)?;
        files.sync_dir(directory(path)).map_err(failed)?;
        let new = StateFile::open(files, path, &self.inner.open)?;
        *lock(&self.inner.file) = Arc::new(new);
        *lock(&self.inner.checkpointed) = applied.last.map(|last| last.index);
        *lock(&self.inner.applied) = applied;
        Ok(())
    }

    /// The rows as they are now.
    pub(crate) fn view(&self) -> Result<View, Halt> {
        let file = self.file();
        Ok(View { file: Some(Arc::clone(&file)), ..view(&file.database)? })
    }
}

impl StateFile {
    fn open(files: &dyn Files, path: &Path, open: &Arc<watch::Sender<()>>) -> Result<Self, Halt> {
        let guarded = DatabaseFile::open(files, path)
            .map_err(|error| Halt { why: format!("{} cannot be opened: {error}", path.display()) })?;
        let (file, seal) = (guarded.file(), guarded.seal());
        let database = builder().create_with_backend(guarded).map_err(halt)?;
        Ok(Self { database, file, seal, open: Arc::clone(open) })
    }
}

/// Takes a closed state its name and keeps the file as `<group>.redb.aside`, for whoever wants to know what happened to
/// it. An earlier one goes.
pub(crate) fn set_aside(host: &Host, directory: &Path, group: GroupId) -> io::Result<()> {
    let files = &**host.files();
    let path = directory.join(format!("{group}.redb"));
    if !files.exists(&path)? {
        return Ok(());
    }
    database_file::forget_head(files, &path)?;
    files.rename(&path, &directory.join(format!("{group}.redb.aside")))?;
    files.sync_dir(directory)
}

/// Removes everything that a stopped group has in `directory`: state and snapshots.
pub(crate) fn remove_all(host: &Host, directory: &Path, group: GroupId) -> io::Result<()> {
    let files = &**host.files();
    if !files.exists(directory)? {
        return Ok(());
    }
    let mut its_own: Vec<String> = files.list(directory)?;
    its_own.retain(|name| name.strip_prefix(&group.to_string()).is_some_and(|rest| rest.starts_with('.')));
    for name in &its_own {
        files.remove(&directory.join(name))?;
    }
    files.sync_dir(directory)
}

/// Rows that do not change any more, and how far the log was applied to them.
pub(crate) struct View {
    pub(crate) rows: Rows,
    pub(crate) applied: Applied,
    /// Falls behind the rows: of a database that is closed nothing can be read. `None` where somebody else keeps it open.
    #[expect(dead_code, reason = "it is there to be dropped")]
    file: Option<Arc<StateFile>>,
}

/// Looks at the rows in a file that holds a state, while it is open: nothing can be read of a closed one.
pub(crate) fn look<T>(file: impl StorageBackend, read: impl FnOnce(&View) -> Result<T, Halt>) -> Result<T, Halt> {
    let database = builder().create_with_backend(file).map_err(halt)?;
    read(&view(&database)?)
}

fn view(database: &Database) -> Result<View, Halt> {
    let transaction = database.begin_read().map_err(halt)?;
    let rows = Rows::new(transaction.open_table(ROWS).map_err(halt)?);
    let applied = read_applied(&rows)?;
    Ok(View { rows, applied, file: None })
}

/// Makes an empty state beside its name and renames it, so that no crash leaves half of one; removes what is left of
/// another that was being made.
fn make_if_there_is_none(files: &dyn Files, path: &Path) -> Result<(), Halt> {
    let failed = |error: io::Error| Halt { why: format!("{} cannot be made: {error}", path.display()) };
    let beside = beside(path);
    if files.exists(path).map_err(failed)? {
        return remove_if_there(files, &beside).map_err(failed);
    }
    files.create_dir_all(directory(path)).map_err(failed)?;
    database_file::forget_head(files, path).map_err(failed)?;
    make(files, &beside, |database| fill(database, &Applied::default(), std::iter::empty()))?;
    files.rename(&beside, path).map_err(failed)?;
    files.sync_dir(directory(path)).map_err(failed)
}

/// Makes a database, durably but for its name, and closes it.
fn make(files: &dyn Files, path: &Path, fill: impl FnOnce(&Database) -> Result<(), Halt>) -> Result<(), Halt> {
    let failed = |error: io::Error| Halt { why: format!("{} cannot be made: {error}", path.display()) };
    remove_if_there(files, path).map_err(failed)?;
    let file = files.open(path, Open::New).map_err(failed)?;
    let unguarded = DatabaseFile::unguarded(Arc::clone(&file));
    let seal = unguarded.seal();
    let database = builder().create_with_backend(unguarded).map_err(halt)?;
    fill(&database)?;
    drop(database);
    // redb's last commit was in the drop, which tells nobody how it went
    seal.check().map_err(failed)?;
    file.sync_data().map_err(failed)
}

/// Writes rows, and last of all how far the log is applied to them, in transactions of a few megabytes.
fn fill(database: &Database, applied: &Applied, rows: impl Iterator<Item = Result<Row, Halt>>) -> Result<(), Halt> {
    for (number, portion) in (1_usize..).zip(portions(rows, FILL_BYTES_MAX)) {
        let mut transaction = database.begin_write().map_err(halt)?;
        if !number.is_multiple_of(FILL_SYNC_EVERY) {
            transaction.set_durability(Durability::None).map_err(|error| Halt { why: error.to_string() })?;
        }
        let mut rows = open_rows(&transaction)?;
        for (key, value) in portion? {
            let Some((&table, key)) = key.split_first() else {
                return Err(Halt { why: "a row without a table".into() });
            };
            rows.put(Table(table), key, &value)?;
        }
        drop(rows);
        transaction.commit().map_err(halt)?;
    }
    let transaction = database.begin_write().map_err(halt)?;
    write_applied(&mut open_rows(&transaction)?, applied)?;
    transaction.commit().map_err(halt)
}

/// Rows in portions that stop behind the row that reaches so many bytes.
fn portions(
    mut rows: impl Iterator<Item = Result<Row, Halt>>,
    bytes_max: usize,
) -> impl Iterator<Item = Result<Vec<Row>, Halt>> {
    std::iter::from_fn(move || {
        let (mut portion, mut bytes) = (Vec::new(), 0);
        while bytes < bytes_max {
            match rows.next() {
                Some(Ok((key, value))) => {
                    bytes += key.len() + value.len();
                    portion.push((key, value));
                }
                Some(Err(halt)) => return Some(Err(halt)),
                None => break,
            }
        }
        (!portion.is_empty()).then_some(Ok(portion))
    })
}

/// Where a state is made before it takes its name.
fn beside(path: &Path) -> PathBuf {
    PathBuf::from(format!("{}.new", path.display()))
}

fn directory(path: &Path) -> &Path {
    path.parent().unwrap_or(path)
}

fn remove_if_there(files: &dyn Files, path: &Path) -> io::Result<()> {
    if files.exists(path)? { files.remove(path) } else { Ok(()) }
}

fn builder() -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE_BYTES);
    builder
}

fn open_rows(transaction: &WriteTransaction) -> Result<RowsMut<'_>, Halt> {
    transaction.open_table(ROWS).map(RowsMut::new).map_err(halt)
}

fn read_applied(rows: &Rows) -> Result<Applied, Halt> {
    let damaged = |why: String| Halt { why: format!("the state does not say how far it is applied: {why}") };
    // An empty state has the row too: without it rows are there to which the log would be applied once more.
    let bytes = rows.get(OWN_TABLE, APPLIED_KEY)?.ok_or_else(|| damaged("the row is gone".into()))?;
    let row: AppliedRow = codec::decode(&bytes).map_err(|error| damaged(error.to_string()))?;
    let membership = StoredMembership::try_from(row.membership).map_err(|error| damaged(error.to_string()))?;
    Ok(Applied { last: row.last.map(LogId::from), membership })
}

fn write_applied(rows: &mut RowsMut<'_>, applied: &Applied) -> Result<(), Halt> {
    let row =
        AppliedRow { last: applied.last.as_ref().map(PlainLogId::from), membership: (&applied.membership).into() };
    rows.put_any(OWN_TABLE, APPLIED_KEY, &codec::encode(&row))
}

/// What these locks guard is replaced in one step, so a panic elsewhere cannot leave it half changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
