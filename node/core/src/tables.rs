//! The one small ordered key-value trait that the rules are written against, so that the same rules run on redb in a
//! node and on a `BTreeMap` in a test.

use std::collections::BTreeMap;

/// Why a replica stops: its own state cannot be read or contradicts itself. Never an outcome.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this replica stops: {why}")]
pub struct Halt {
    /// What was found, for people.
    pub why: String,
}

/// Which table a row is in: one byte in front of its key. The list of tables is with the machine that owns them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Table(pub u8);

/// A row: key and value.
pub type Row = (Vec<u8>, Vec<u8>);

/// Reading rows.
pub trait Reads {
    /// The value at a key.
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, Halt>;

    /// Rows with `from <= key < to` in key order, at most `limit`.
    fn range(&self, table: Table, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Row>, Halt>;
}

/// Reading and writing rows. What is written is read back at once.
pub trait Tables: Reads {
    /// Writes a row.
    fn put(&mut self, table: Table, key: &[u8], value: &[u8]) -> Result<(), Halt>;

    /// Removes a row; nothing happens if there is none.
    fn delete(&mut self, table: Table, key: &[u8]) -> Result<(), Halt>;

    /// As [`Tables::put`], and says what was there: one way down where two would be taken. What is there already need
    /// not be written.
    fn replace(&mut self, table: Table, key: &[u8], value: &[u8]) -> Result<Option<Vec<u8>>, Halt> {
        let old = self.get(table, key)?;
        if old.as_deref() != Some(value) {
            self.put(table, key, value)?;
        }
        Ok(old)
    }

    /// As [`Tables::delete`], and says what was there.
    fn take(&mut self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, Halt> {
        let old = self.get(table, key)?;
        if old.is_some() {
            self.delete(table, key)?;
        }
        Ok(old)
    }

    /// As [`Tables::put`], of bytes that the caller needs no more.
    fn put_owned(&mut self, table: Table, key: Vec<u8>, value: Vec<u8>) -> Result<(), Halt> {
        self.put(table, &key, &value)
    }

    /// As [`Tables::delete`], of a key that the caller needs no more.
    fn delete_owned(&mut self, table: Table, key: Vec<u8>) -> Result<(), Halt> {
        self.delete(table, &key)
    }
}

/// Tables in memory: for tests, simulation and offline checks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemoryTables {
    rows: BTreeMap<(u8, Vec<u8>), Vec<u8>>,
}

impl MemoryTables {
    /// All rows in order.
    pub fn rows(&self) -> impl Iterator<Item = (Table, &[u8], &[u8])> {
        self.rows.iter().map(|((table, key), value)| (Table(*table), key.as_slice(), value.as_slice()))
    }
}

impl Reads for MemoryTables {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, Halt> {
        Ok(self.rows.get(&(table.0, key.to_vec())).cloned())
    }

    fn range(&self, table: Table, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Row>, Halt> {
        if to <= from {
            return Ok(Vec::new());
        }
        let bounds = (table.0, from.to_vec())..(table.0, to.to_vec());
        Ok(self.rows.range(bounds).take(limit).map(|((_, key), value)| (key.clone(), value.clone())).collect())
    }
}

impl Tables for MemoryTables {
    fn put(&mut self, table: Table, key: &[u8], value: &[u8]) -> Result<(), Halt> {
        self.rows.insert((table.0, key.to_vec()), value.to_vec());
        Ok(())
    }

    fn delete(&mut self, table: Table, key: &[u8]) -> Result<(), Halt> {
        self.rows.remove(&(table.0, key.to_vec()));
        Ok(())
    }

    fn replace(&mut self, table: Table, key: &[u8], value: &[u8]) -> Result<Option<Vec<u8>>, Halt> {
        Ok(self.rows.insert((table.0, key.to_vec()), value.to_vec()))
    }

    fn take(&mut self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, Halt> {
        Ok(self.rows.remove(&(table.0, key.to_vec())))
    }
}
