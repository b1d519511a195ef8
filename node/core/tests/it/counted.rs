//! Tables that count what is read and written: for tests that say how much a rule costs.

use std::cell::RefCell;
use std::collections::BTreeMap;

use strongroom_core::tables::{Halt, MemoryTables, Reads, Row, Table, Tables};

/// Tables that count what is read and written, by table.
pub struct Counted<'a> {
    below: &'a mut MemoryTables,
    reads: RefCell<BTreeMap<u8, u64>>,
    writes: BTreeMap<u8, u64>,
}

impl<'a> Counted<'a> {
    /// Nothing yet.
    pub fn over(below: &'a mut MemoryTables) -> Self {
        Self { below, reads: Default::default(), writes: BTreeMap::new() }
    }
}

impl Reads for Counted<'_> {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, Halt> {
        *self.reads.borrow_mut().entry(table.0).or_default() += 1;
        self.below.get(table, key)
    }

    fn range(&self, table: Table, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Row>, Halt> {
        let rows = self.below.range(table, from, to, limit)?;
        *self.reads.borrow_mut().entry(table.0).or_default() += rows.len() as u64;
        Ok(rows)
    }
}

impl Tables for Counted<'_> {
    fn put(&mut self, table: Table, key: &[u8], value: &[u8]) -> Result<(), Halt> {
        *self.writes.entry(table.0).or_default() += 1;
        self.below.put(table, key, value)
    }

    fn delete(&mut self, table: Table, key: &[u8]) -> Result<(), Halt> {
        *self.writes.entry(table.0).or_default() += 1;
        self.below.delete(table, key)
    }
}

impl Counted<'_> {
    /// What was counted: reads, writes.
    pub fn cost(self) -> (BTreeMap<u8, u64>, BTreeMap<u8, u64>) {
        (self.reads.into_inner(), self.writes)
    }
}
