//! Rows: which table, which key, which value. A row that does not read back stops the replica: its state is damaged.

use strongroom_format::codec::{self, Format};

use crate::key::{Key, after_all};
use crate::tables::{Halt, Reads, Table, Tables};

/// Most keys are no longer.
const KEY_BYTES: usize = 128;

/// What lies in one table.
pub(crate) trait Row: Format {
    /// The table.
    const TABLE: Table;
    /// What the row is found by, behind what the space puts in front.
    type Key: Key;
}

/// A part of all keys: those that begin with a prefix. Whoever has a space reads and writes inside of it and cannot
/// name a key outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Space {
    prefix: Vec<u8>,
}

impl Space {
    /// All keys: for tables that belong to no tenant.
    pub(crate) const fn whole() -> Self {
        Self { prefix: Vec::new() }
    }

    /// Keys that begin so.
    pub(crate) fn under(prefix: &[u8]) -> Self {
        Self { prefix: prefix.to_vec() }
    }

    /// The row at a key.
    pub(crate) fn get<R: Row>(&self, reads: &dyn Reads, key: &R::Key) -> Result<Option<R>, Halt> {
        match reads.get(R::TABLE, &self.key(key))? {
            Some(value) => decode(&value).map(Some),
            None => Ok(None),
        }
    }

    /// Whether there is a row at a key.
    pub(crate) fn has<R: Row>(&self, reads: &dyn Reads, key: &R::Key) -> Result<bool, Halt> {
        Ok(reads.get(R::TABLE, &self.key(key))?.is_some())
    }

    /// Writes a row.
    pub(crate) fn put<R: Row>(&self, tables: &mut dyn Tables, key: &R::Key, row: &R) -> Result<(), Halt> {
        let value = codec::encode(row);
        if R::BYTES_MAX < value.len() {
            // Bounds of the rules keep rows short. One that could not be read back must not be written.
            return Err(Halt { why: format!("a {} of {} bytes is to be written", R::NAME, value.len()) });
        }
        tables.put_owned(R::TABLE, self.key(key), value)
    }

    /// Removes a row.
    pub(crate) fn delete<R: Row>(&self, tables: &mut dyn Tables, key: &R::Key) -> Result<(), Halt> {
        tables.delete_owned(R::TABLE, self.key(key))
    }

    /// The first `limit` rows whose keys begin with `first`.
    pub(crate) fn range<R: Row>(
        &self,
        reads: &dyn Reads,
        first: &impl Key,
        limit: usize,
    ) -> Result<Vec<(R::Key, R)>, Halt> {
        let from = self.key(first);
        let to = after_all(&from);
        self.read_range(reads, &from, &to, limit)
    }

    /// The first `limit` rows whose keys begin with `first` and lie at `from` or behind.
    pub(crate) fn range_from<R: Row>(
        &self,
        reads: &dyn Reads,
        first: &impl Key,
        from: &impl Key,
        limit: usize,
    ) -> Result<Vec<(R::Key, R)>, Halt> {
        let start = self.key(first);
        let to = after_all(&start);
        // Clamped: a `from` outside of the prefix begins at its edge.
        let from = self.key(from).max(start);
        self.read_range(reads, &from, &to, limit)
    }

    fn read_range<R: Row>(
        &self,
        reads: &dyn Reads,
        from: &[u8],
        to: &[u8],
        limit: usize,
    ) -> Result<Vec<(R::Key, R)>, Halt> {
        let rows = reads.range(R::TABLE, from, to, limit)?;
        rows.into_iter()
            .map(|(key, value)| {
                let key = key.strip_prefix(self.prefix.as_slice()).and_then(R::Key::read);
                Ok((key.ok_or_else(|| Halt { why: format!("a key of a {} does not read", R::NAME) })?, decode(&value)?))
            })
            .collect()
    }

    fn key(&self, parts: &impl Key) -> Vec<u8> {
        let mut key = Vec::with_capacity(KEY_BYTES);
        key.extend_from_slice(&self.prefix);
        parts.write(&mut key);
        key
    }
}

fn decode<R: Row>(value: &[u8]) -> Result<R, Halt> {
    codec::decode(value).map_err(|fault| Halt { why: format!("a row does not read: {fault}") })
}

/// Says of types that they are rows: encoding version 1, largest size, table, key; and keeps the tables' names.
macro_rules! rows {
    (named $names:ident; $($row:ty: $name:literal, $bytes_max:expr, $table:expr, $key:ty;)+) => {
        /// Tables and what their rows are called.
        pub(crate) const $names: &[(u8, &str)] = &[$(($table, $name)),+];
        rows! { $($row: $name, $bytes_max, $table, $key;)+ }
    };
    ($($row:ty: $name:literal, $bytes_max:expr, $table:expr, $key:ty;)+) => {$(
        impl strongroom_format::codec::Format for $row {
            const VERSION: u8 = 1;
            const BYTES_MAX: usize = $bytes_max;
            const NAME: &'static str = $name;
        }

        impl crate::row::Row for $row {
            const TABLE: crate::tables::Table = crate::tables::Table($table);
            type Key = $key;
        }
    )+};
}

pub(crate) use rows;
