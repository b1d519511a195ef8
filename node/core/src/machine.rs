//! A replicated state machine as consensus sees it: opaque bytes in, opaque bytes out.

use strongroom_format::id::GroupId;

use crate::tables::{Halt, Reads, Table, Tables};

/// Deterministic rules over tables. The same entries in the same order give the same rows and answers everywhere.
pub trait Machine: Send + Sync {
    /// Applies one committed entry. `index` is its log index. Cannot fail but by a [`Halt`], which stops the replica;
    /// refusing is part of the answer. Keeps the digest of all rows up to date (table [`DIGEST_TABLE`], key empty).
    fn apply(&self, tables: &mut dyn Tables, index: u64, entry: &[u8]) -> Result<Vec<u8>, Halt>;

    /// Answers a question about the applied state. A malformed question is answered with a refusal, not a `Halt`.
    fn query(&self, tables: &dyn Reads, query: &[u8]) -> Result<Vec<u8>, Halt>;

    /// The group under whose key the digest is the sum over all rows (`digest.rs`), so that it can be recomputed from them.
    /// `None`: these rules keep another one, or none.
    fn summed_as(&self) -> Option<GroupId> {
        None
    }

    /// What the rows of a table are called, for metrics; `other` for a table that these rules do not have.
    fn table_name(&self, table: Table) -> &'static str {
        if table == DIGEST_TABLE { "digest" } else { "other" }
    }
}

/// Holds one row, with an empty key: the 32 bytes of the digest over all other rows, little-endian.
pub const DIGEST_TABLE: Table = Table(0);

/// The name of a table among several lists of them.
pub(crate) fn name_among(lists: &[&[(u8, &'static str)]], table: Table) -> &'static str {
    let named = lists.iter().copied().flatten().find(|(number, _)| *number == table.0);
    match named {
        Some((_, name)) => name.strip_suffix(" row").unwrap_or(name),
        None if table == DIGEST_TABLE => "digest",
        None => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::ClusterMachine;
    use crate::electorates::Electorate;
    use crate::shard::ShardMachine;

    fn nobody() -> Electorate {
        let epoch = strongroom_format::id::ClusterEpoch::from_bytes([1; 16]);
        Electorate { epoch, group: GroupId::CLUSTER, version: 0, voters: Default::default() }
    }

    #[test]
    fn tables_are_called_what_their_rows_are() {
        let shard = ShardMachine::new(GroupId(1), nobody());
        assert_eq!(["chunk", "clock", "digest", "other"], [40, 2, 0, 250].map(|table| shard.table_name(Table(table))));
        assert_eq!("shard", ClusterMachine::new().table_name(Table(12)));
    }
}
