//! Rules for groups without a meaning: each entry writes rows that depend on all entries before it, so that any entry
//! lost, doubled or out of order shows.

use bytes::Bytes;
use strongroom_consensus::stores::EntryId;
use strongroom_core::machine::{DIGEST_TABLE, Machine};
use strongroom_core::tables::{Halt, MemoryTables, Reads, Row, Table, Tables};

/// See the head of the file.
#[derive(Debug)]
pub(crate) struct Chain;

impl Machine for Chain {
    fn apply(&self, tables: &mut dyn Tables, index: u64, entry: &[u8]) -> Result<Vec<u8>, Halt> {
        let before = tables.get(DIGEST_TABLE, b"")?.unwrap_or_default();
        let digest = *blake3::hash(&[&before[..], entry, &index.to_le_bytes()].concat()).as_bytes();
        tables.put(DIGEST_TABLE, b"", &digest)?;
        tables.put(Table(1), &digest[..1], &vec![digest[0]; usize::from(digest[1]) * 8])?;
        if digest[2] < 60 {
            tables.delete(Table(1), &digest[2..3])?;
        }
        Ok(Vec::new())
    }

    fn query(&self, tables: &dyn Reads, _: &[u8]) -> Result<Vec<u8>, Halt> {
        Ok(tables.get(DIGEST_TABLE, b"")?.unwrap_or_default())
    }
}

/// The rows that these entries make.
pub(crate) fn rows(entries: &[(EntryId, Bytes)]) -> Vec<Row> {
    let mut tables = MemoryTables::default();
    for (id, bytes) in entries.iter().filter(|(_, bytes)| !bytes.is_empty()) {
        Chain.apply(&mut tables, id.index, bytes).expect("rows in memory do not fail");
    }
    tables.rows().map(|(table, key, value)| ([&[table.0][..], key].concat(), value.to_vec())).collect()
}
