//! Rows of a group's state in redb: `Tables` and `Reads` of the rules over a write or a read transaction.
//!
//! ```text
//!   key    table (1 byte) ‖ key
//!   value  checksum (8 bytes) ‖ value
//! ```
//!
//! redb does not verify its pages when it reads them, so each row carries the first 8 bytes of the BLAKE3 hash over key
//! length, key and value; what does not match is a [`Halt`], never a value. Table 255 is this package's own.

use std::collections::BTreeMap;
use std::ops::Bound;

use redb::{ReadOnlyTable, ReadableTable, Table as RedbTable, TableDefinition};
use strongroom_core::tables::{Halt, Reads, Row, Table, Tables};

/// All rows of a group.
pub(crate) const ROWS: TableDefinition<'static, &'static [u8], &'static [u8]> = TableDefinition::new("rows");

/// What consensus itself keeps with the state.
pub(crate) const OWN_TABLE: Table = Table(255);

const CHECKSUM_BYTES: usize = 8;

/// Rows that are being changed.
pub(crate) struct RowsMut<'t> {
    table: RedbTable<'t, &'static [u8], &'static [u8]>,
    /// How many rows of each table of the rules were written.
    written: BTreeMap<u8, u64>,
}

impl<'t> RowsMut<'t> {
    pub(crate) fn new(table: RedbTable<'t, &'static [u8], &'static [u8]>) -> Self {
        Self { table, written: BTreeMap::new() }
    }

    /// How many rows of each table of the rules were written through this.
    pub(crate) fn written(&self) -> impl Iterator<Item = (Table, u64)> {
        self.written.iter().map(|(table, rows)| (Table(*table), *rows))
    }

    /// As `put`, also for our own table.
    pub(crate) fn put_any(&mut self, table: Table, key: &[u8], value: &[u8]) -> Result<(), Halt> {
        let key = full_key(table, key);
        let value = sealed(&key, value);
        self.table.insert(key.as_slice(), value.as_slice()).map_err(halt)?;
        Ok(())
    }
}

impl Reads for RowsMut<'_> {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, Halt> {
        get(&self.table, table, key)
    }

    fn range(&self, table: Table, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Row>, Halt> {
        range(&self.table, table, from, to, limit)
    }
}

impl Tables for RowsMut<'_> {
    fn put(&mut self, table: Table, key: &[u8], value: &[u8]) -> Result<(), Halt> {
        owned_by_the_rules(table)?;
        *self.written.entry(table.0).or_default() += 1;
        self.put_any(table, key, value)
    }

    fn delete(&mut self, table: Table, key: &[u8]) -> Result<(), Halt> {
        owned_by_the_rules(table)?;
        self.table.remove(full_key(table, key).as_slice()).map_err(halt)?;
        Ok(())
    }

    fn replace(&mut self, table: Table, key: &[u8], value: &[u8]) -> Result<Option<Vec<u8>>, Halt> {
        owned_by_the_rules(table)?;
        *self.written.entry(table.0).or_default() += 1;
        let key = full_key(table, key);
        let sealed = sealed(&key, value);
        let old = self.table.insert(key.as_slice(), sealed.as_slice()).map_err(halt)?;
        old.map(|old| opened(&key, old.value())).transpose()
    }

    fn take(&mut self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, Halt> {
        owned_by_the_rules(table)?;
        let key = full_key(table, key);
        let old = self.table.remove(key.as_slice()).map_err(halt)?;
        old.map(|old| opened(&key, old.value())).transpose()
    }
}

/// Rows as they were at one moment.
pub(crate) struct Rows(ReadOnlyTable<&'static [u8], &'static [u8]>);

impl Rows {
    pub(crate) fn new(table: ReadOnlyTable<&'static [u8], &'static [u8]>) -> Self {
        Self(table)
    }

    /// All rows of the rules, in order, verified: full key (with the table's byte) and value.
    pub(crate) fn all(&self) -> Result<impl Iterator<Item = Result<Row, Halt>>, Halt> {
        let end = [OWN_TABLE.0];
        let rows = self.0.range::<&[u8]>(..end.as_slice()).map_err(halt)?;
        Ok(rows.map(|row| {
            let (key, value) = row.map_err(halt)?;
            let value = opened(key.value(), value.value())?;
            Ok((key.value().to_vec(), value))
        }))
    }
}

impl Rows {
    /// The rows of the rules behind a full key, or from the first on, verified; at most so many.
    pub(crate) fn piece(&self, after: Option<&[u8]>, rows_max: usize) -> Result<Vec<Row>, Halt> {
        let end = [OWN_TABLE.0];
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let range = (from, Bound::Excluded(end.as_slice()));
        let rows = self.0.range::<&[u8]>(range).map_err(halt)?.take(rows_max);
        let verified = rows.map(|row| {
            let (key, value) = row.map_err(halt)?;
            Ok((key.value().to_vec(), opened(key.value(), value.value())?))
        });
        verified.collect()
    }
}

impl Reads for Rows {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, Halt> {
        get(&self.0, table, key)
    }

    fn range(&self, table: Table, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Row>, Halt> {
        range(&self.0, table, from, to, limit)
    }
}

fn owned_by_the_rules(table: Table) -> Result<(), Halt> {
    match table {
        OWN_TABLE => Err(Halt { why: "the rules wrote into the table of consensus".into() }),
        _ => Ok(()),
    }
}

type Readable<'a> = &'a dyn ReadableTableObject;

/// The two calls that we need of both kinds of redb's tables.
trait ReadableTableObject {
    fn value(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Halt>;
    fn rows(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Row>, Halt>;
}

impl<T: ReadableTable<&'static [u8], &'static [u8]>> ReadableTableObject for T {
    fn value(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Halt> {
        match self.get(key).map_err(halt)? {
            Some(value) => opened(key, value.value()).map(Some),
            None => Ok(None),
        }
    }

    fn rows(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Row>, Halt> {
        let mut rows = Vec::new();
        for row in self.range::<&[u8]>(from..to).map_err(halt)?.take(limit) {
            let (key, value) = row.map_err(halt)?;
            let value = opened(key.value(), value.value())?;
            rows.push((key.value()[1..].to_vec(), value));
        }
        Ok(rows)
    }
}

fn get(rows: Readable<'_>, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, Halt> {
    rows.value(&full_key(table, key))
}

fn range(rows: Readable<'_>, table: Table, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Row>, Halt> {
    if to <= from {
        return Ok(Vec::new());
    }
    rows.rows(&full_key(table, from), &full_key(table, to), limit)
}

fn full_key(table: Table, key: &[u8]) -> Vec<u8> {
    let mut full = Vec::with_capacity(1 + key.len());
    full.push(table.0);
    full.extend_from_slice(key);
    full
}

fn checksum(key: &[u8], value: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&(key.len() as u64).to_le_bytes());
    hasher.update(key);
    hasher.update(value);
    let mut checksum = [0; CHECKSUM_BYTES];
    checksum.copy_from_slice(&hasher.finalize().as_bytes()[..CHECKSUM_BYTES]);
    checksum
}

fn sealed(key: &[u8], value: &[u8]) -> Vec<u8> {
    let mut sealed = Vec::with_capacity(CHECKSUM_BYTES + value.len());
    sealed.extend_from_slice(&checksum(key, value));
    sealed.extend_from_slice(value);
    sealed
}

fn opened(key: &[u8], sealed: &[u8]) -> Result<Vec<u8>, Halt> {
    match sealed.split_first_chunk::<CHECKSUM_BYTES>() {
        Some((found, value)) if *found == checksum(key, value) => Ok(value.to_vec()),
        _ => Err(Halt { why: format!("a row of table {} is damaged", key.first().copied().unwrap_or_default()) }),
    }
}

/// Whatever redb says stops the replica.
pub(crate) fn halt(error: impl Into<redb::Error>) -> Halt {
    Halt { why: format!("the state cannot be read or written: {}", error.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_opens_under_its_own_key_only() {
        let row = sealed(b"\x01key", b"value");
        assert_eq!(opened(b"\x01key", &row).unwrap(), b"value");
        assert!(opened(b"\x01kez", &row).is_err());
        assert!(opened(b"\x01ke", &row).is_err());
        for at in 0..row.len() {
            let mut flipped = row.clone();
            flipped[at] ^= 1;
            assert!(opened(b"\x01key", &flipped).is_err());
        }
        assert!(opened(b"\x01key", &row[..7]).is_err());
    }
    #[test]
    fn what_is_replaced_or_taken_is_told_and_a_damaged_row_is_not() {
        let database = redb::Builder::new().create_with_backend(redb::backends::InMemoryBackend::new()).unwrap();
        let transaction = database.begin_write().unwrap();
        let mut rows = RowsMut::new(transaction.open_table(ROWS).unwrap());
        let table = Table(1);
        assert_eq!(rows.replace(table, b"key", b"one").unwrap(), None);
        assert_eq!(rows.replace(table, b"key", b"two").unwrap(), Some(b"one".to_vec()));
        assert_eq!(rows.get(table, b"key").unwrap(), Some(b"two".to_vec()));
        assert_eq!(rows.take(table, b"other").unwrap(), None);
        assert_eq!(rows.take(table, b"key").unwrap(), Some(b"two".to_vec()));
        assert_eq!(rows.get(table, b"key").unwrap(), None);
        assert_eq!(rows.written().collect::<Vec<_>>(), [(table, 2)], "rows that go are not counted as written");
        type Change = fn(&mut RowsMut<'_>) -> Result<Option<Vec<u8>>, Halt>;
        let changes: [Change; 2] = [|rows| rows.take(Table(1), b"key"), |rows| rows.replace(Table(1), b"key", b"new")];
        for change in changes {
            rows.table.insert(b"\x01key".as_slice(), b"no checksum of this".as_slice()).unwrap();
            assert!(change(&mut rows).is_err());
        }
        assert!(rows.take(OWN_TABLE, b"key").is_err() && rows.replace(OWN_TABLE, b"key", b"new").is_err());
    }
}
