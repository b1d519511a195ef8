//! A stopped node's copies against the rows of its groups.
//!
//! ```text
//!   named by a row, there and whole     good          not there, or buried by a tombstone           missing ─┐ damage
//!                    there, not whole   damaged ───────────────────────────────────────────────────────────┘
//!   named by none,   released           an orphan: sweep will take it
//!                    not released       held: its lease is open, or the rows here do not know it yet
//! ```
//!
//! Not here: who says it to whom (`fsck.rs`).

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::Context as _;
use strongroom_chunks::survey;
use strongroom_consensus::offline;
use strongroom_core::shard::copies;
use strongroom_core::shard::release::Release;
use strongroom_core::tables::{Halt, Reads};
use strongroom_format::fragment::CopyName;
use strongroom_format::id::{GroupId, NodeName, TenantId};
use strongroom_host::Host;

/// What is wrong with a copy that rows name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Its record is there and its payload is another one.
    Damaged,
    /// There is no record of it.
    Missing,
}

impl Fault {
    /// For people and scripts.
    pub fn label(self) -> &'static str {
        match self {
            Self::Damaged => "damaged",
            Self::Missing => "missing",
        }
    }
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Compared {
    /// Copies that rows name for this node.
    pub named: u64,
    /// Those of them that are not as they should be.
    pub faults: Vec<(TenantId, CopyName, Fault)>,
    /// Copies that no row names and that may go.
    pub orphans: u64,
    /// What their records take.
    pub orphan_bytes: u64,
    /// Copies that no row names and that may not go yet.
    pub held: u64,
}

/// Compares all copies below the data directory of a node.
pub fn compare(host: &Host, data_dir: &Path, me: &NodeName) -> anyhow::Result<Compared> {
    let there = survey::read_through(&**host.files(), data_dir).context("the segments cannot be read")?;
    let mut by_group: BTreeMap<GroupId, BTreeMap<(TenantId, CopyName), survey::Lying>> = BTreeMap::new();
    for (name, lying) in there {
        by_group.entry(name.1.group).or_default().insert(name, lying);
    }
    let mut compared = Compared::default();
    for group in offline::groups(host, data_dir).context("the groups' states do not open")? {
        if group.id != GroupId::CLUSTER {
            let there = by_group.remove(&group.id).unwrap_or_default();
            offline::look(host, data_dir, group.id, |rows| of_group(rows, me, there, &mut compared))
                .with_context(|| format!("the rows of group {} cannot be read", group.id))?;
        }
    }
    // Of groups that have no state here: nobody can say.
    compared.held += by_group.values().map(|copies| copies.len() as u64).sum::<u64>();
    Ok(compared)
}

fn of_group(
    rows: &dyn Reads,
    me: &NodeName,
    mut there: BTreeMap<(TenantId, CopyName), survey::Lying>,
    compared: &mut Compared,
) -> Result<(), Halt> {
    let Compared { named, faults, .. } = compared;
    // Several rows may name one copy: it is looked at once.
    let mut seen = BTreeSet::new();
    copies::named(rows, me, &mut |tenant, copy| {
        if !seen.insert((tenant, copy)) {
            return;
        }
        *named += 1;
        match there.remove(&(tenant, copy)) {
            Some(lying) if lying.is_whole => {}
            Some(_) => faults.push((tenant, copy, Fault::Damaged)),
            None => faults.push((tenant, copy, Fault::Missing)),
        }
    })?;
    for ((tenant, copy), lying) in there {
        match Release::of(rows, me, tenant, copy)? {
            Some(_) => {
                compared.orphans += 1;
                compared.orphan_bytes += lying.record_bytes;
            }
            None => compared.held += 1,
        }
    }
    Ok(())
}
