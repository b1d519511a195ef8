//! Drafts: writes that are kept together or not at all. A command writes into a draft; refused, it leaves nothing.
//!
//!     tables ◀── draft of the entry ◀── draft of a command
//!
//! A draft also collapses what is written twice, so that only the last value reaches the tables and the digest.

use std::collections::BTreeMap;

use crate::tables::{Halt, Reads, Row, Table, Tables};

/// Writes over tables below, not yet made there.
pub(crate) struct Draft<'a> {
    below: &'a mut dyn Tables,
    writes: BTreeMap<u8, BTreeMap<Vec<u8>, Option<Vec<u8>>>>,
}

impl<'a> Draft<'a> {
    /// Nothing written yet.
    pub(crate) fn over(below: &'a mut dyn Tables) -> Self {
        Self { below, writes: BTreeMap::new() }
    }

    /// Makes all writes below. Dropping a draft instead forgets them.
    pub(crate) fn keep(self) -> Result<(), Halt> {
        for (table, rows) in self.writes {
            for (key, value) in rows {
                match value {
                    Some(value) => self.below.put_owned(Table(table), key, value)?,
                    None => self.below.delete_owned(Table(table), key)?,
                }
            }
        }
        Ok(())
    }
}

impl Reads for Draft<'_> {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, Halt> {
        match self.writes.get(&table.0).and_then(|rows| rows.get(key)) {
            Some(value) => Ok(value.clone()),
            None => self.below.get(table, key),
        }
    }

    fn range(&self, table: Table, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Row>, Halt> {
        if to <= from {
            return Ok(Vec::new());
        }
        let Some(rows) = self.writes.get(&table.0) else {
            return self.below.range(table, from, to, limit);
        };
        let written: Vec<_> = rows.range(from.to_vec()..to.to_vec()).collect();
        // Each row that the draft removed may hide one below.
        let removed = written.iter().filter(|(_, value)| value.is_none()).count();
        let below = self.below.range(table, from, to, limit.saturating_add(removed))?;
        let mut merged: BTreeMap<Vec<u8>, Vec<u8>> = below.into_iter().collect();
        for (key, value) in written {
            match value {
                Some(value) => merged.insert(key.clone(), value.clone()),
                None => merged.remove(key),
            };
        }
        Ok(merged.into_iter().take(limit).collect())
    }
}

impl Tables for Draft<'_> {
    fn put(&mut self, table: Table, key: &[u8], value: &[u8]) -> Result<(), Halt> {
        self.put_owned(table, key.to_vec(), value.to_vec())
    }

    fn delete(&mut self, table: Table, key: &[u8]) -> Result<(), Halt> {
        self.delete_owned(table, key.to_vec())
    }

    fn put_owned(&mut self, table: Table, key: Vec<u8>, value: Vec<u8>) -> Result<(), Halt> {
        self.writes.entry(table.0).or_default().insert(key, Some(value));
        Ok(())
    }

    fn delete_owned(&mut self, table: Table, key: Vec<u8>) -> Result<(), Halt> {
        self.writes.entry(table.0).or_default().insert(key, None);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::MemoryTables;

    const T: Table = Table(9);

    #[test]
    fn a_draft_reads_what_it_wrote_and_leaves_nothing_unless_kept() {
        let mut tables = MemoryTables::default();
        for key in [1, 2, 3, 4] {
            tables.put(T, &[key], &[0]).unwrap();
        }
        let before = tables.clone();
        let mut draft = Draft::over(&mut tables);
        draft.delete(T, &[1]).unwrap();
        draft.delete(T, &[2]).unwrap();
        draft.put(T, &[5], &[5]).unwrap();
        draft.put(T, &[4], &[4]).unwrap();
        let keys = |rows: Vec<Row>| rows.into_iter().map(|(key, _)| key[0]).collect::<Vec<_>>();
        assert_eq!(keys(draft.range(T, &[0], &[9], 2).unwrap()), [3, 4]);
        assert_eq!(keys(draft.range(T, &[0], &[9], 9).unwrap()), [3, 4, 5]);
        assert_eq!(draft.get(T, &[1]).unwrap(), None);
        assert_eq!(draft.get(T, &[4]).unwrap(), Some(vec![4]));
        drop(draft);
        assert_eq!(tables, before);
        let mut draft = Draft::over(&mut tables);
        draft.delete(T, &[1]).unwrap();
        draft.keep().unwrap();
        assert_eq!(tables.get(T, &[1]).unwrap(), None);
    }

    #[test]
    fn a_limited_range_never_leaves_out_a_row_between() {
        let mut tables = MemoryTables::default();
        for key in [1, 3, 5, 7] {
            tables.put(T, &[key], &[0]).unwrap();
        }
        let mut draft = Draft::over(&mut tables);
        draft.put(T, &[6], &[0]).unwrap();
        draft.delete(T, &[3]).unwrap();
        for limit in 0..6 {
            let found: Vec<_> = draft.range(T, &[0], &[9], limit).unwrap().into_iter().map(|(key, _)| key[0]).collect();
            assert_eq!(found, [1, 5, 6, 7].into_iter().take(limit).collect::<Vec<_>>(), "limit {limit}");
        }
    }
}
