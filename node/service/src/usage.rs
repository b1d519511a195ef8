//! What quotas count, added up over the shards in which a tenant lives: each is asked at its own read index.
//!
//! Not here: counting (`node/core/src/shard/usage.rs`), deciding (`quotas.rs` there).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use strongroom_core::query::{Answer, Charge, Charges, Query};
use strongroom_format::id::{GroupId, IdentityId, VaultId, VaultName};

use crate::caller::Caller;
use crate::catalog::CatalogFault;
use crate::reads::{ReadFault, Reads};
use crate::topology::InForce;

/// Shards are asked for so long.
const WITHIN: Duration = Duration::from_secs(10);

/// Asks how much there is. Clones are the same.
#[derive(Clone)]
pub struct Usages {
    reads: Reads,
    topology: InForce,
}

impl Usages {
    /// Over questions.
    pub fn new(reads: Reads, topology: InForce) -> Self {
        Self { reads, topology }
    }

    /// What is counted of the caller's tenant; a writer gets its own. It is all or nothing: a sum without a shard would be
    /// wrong.
    pub async fn of(&self, caller: &Caller) -> Result<Charges, CatalogFault> {
        let facts = self.topology.tenant(caller.tenant).ok_or(CatalogFault::NotFound)?;
        let groups: BTreeSet<GroupId> = facts.groups.iter().copied().chain([facts.home]).collect();
        let query = Query::Charges { tenant: caller.tenant, by: caller.sees_only() };
        let asked = groups.iter().map(|group| self.reads.linearizable(*group, &query, WITHIN));
        let (mut home, mut others) = (Charges::default(), Vec::new());
        for (group, answer) in groups.iter().zip(futures_util::future::try_join_all(asked).await?) {
            match answer {
                Answer::Charges(charges) if *group == facts.home => home = charges,
                Answer::Charges(charges) => others.push(charges),
                // It has not heard of the tenant yet, and has nothing of it.
                Answer::NotFound if *group != facts.home => {}
                Answer::NotFound => return Err(CatalogFault::NotFound),
                _ => return Err(ReadFault::Unavailable.into()),
            }
        }
        Ok(added(home, others))
    }
}

/// What home counts, with what lies in other shards.
fn added(home: Charges, others: Vec<Charges>) -> Charges {
    let Charges { mut tenant, vaults, writers, upload_bytes_per_second } = home;
    let mut vaults: BTreeMap<VaultId, (Option<VaultName>, Charge)> =
        vaults.into_iter().map(|(vault, name, charge)| (vault, (name, charge))).collect();
    let mut writers: BTreeMap<IdentityId, Charge> = writers.into_iter().collect();
    for other in others {
        if let (Some(sum), Some(one)) = (&mut tenant, &other.tenant) {
            add(sum, one);
        }
        other.vaults.iter().for_each(|(vault, _, one)| add(&mut vaults.entry(*vault).or_default().1, one));
        other.writers.iter().for_each(|(writer, one)| add(writers.entry(writer.clone()).or_default(), one));
    }
    Charges {
        tenant,
        vaults: vaults.into_iter().map(|(vault, (name, charge))| (vault, name, charge)).collect(),
        writers: writers.into_iter().collect(),
        upload_bytes_per_second,
    }
}

/// Bytes lie everywhere; all else is home's alone.
fn add(sum: &mut Charge, one: &Charge) {
    sum.stored_bytes = sum.stored_bytes.saturating_add(one.stored_bytes);
    sum.reserved_bytes = sum.reserved_bytes.saturating_add(one.reserved_bytes);
}

#[cfg(test)]
mod tests {
    use strongroom_format::quota::{Quota, Quotas};

    use super::*;

    #[test]
    fn what_lies_in_other_shards_is_added_and_what_home_alone_counts_is_not() {
        let charge = |stored_bytes, snapshots, hard| Charge {
            quotas: Quotas { snapshots: Quota { soft: None, hard }, ..Quotas::default() },
            stored_bytes,
            reserved_bytes: 1,
            snapshots,
            sessions: snapshots,
            ..Charge::default()
        };
        let (vault, writer) = (VaultId::from_bytes([7; 16]), |name: &str| name.parse::<IdentityId>().expect("a name"));
        let home = Charges {
            tenant: Some(charge(10, 3, Some(9))),
            vaults: vec![(vault, Some("papers".parse().expect("a name")), charge(10, 3, None))],
            writers: vec![(writer("web-1"), charge(10, 3, None))],
            upload_bytes_per_second: Some(5),
        };
        let other = Charges {
            tenant: Some(charge(20, 0, None)),
            vaults: vec![(vault, None, charge(20, 0, None))],
            writers: vec![(writer("web-1"), charge(15, 0, None)), (writer("web-2"), charge(5, 0, None))],
            upload_bytes_per_second: None,
        };
        let sum = added(home, vec![other]);
        let tenant = sum.tenant.expect("an admin asks");
        assert_eq!((tenant.stored_bytes, tenant.reserved_bytes, tenant.snapshots), (30, 2, 3));
        assert_eq!(tenant.quotas.snapshots.hard, Some(9));
        let [(_, Some(name), papers)] = &sum.vaults[..] else { panic!("{:?}", sum.vaults) };
        assert_eq!((name.to_string(), papers.stored_bytes, papers.sessions), ("papers".to_owned(), 30, 3));
        let writers: Vec<_> = sum.writers.iter().map(|(id, charge)| (id.to_string(), charge.stored_bytes)).collect();
        assert_eq!(writers, [("web-1".to_owned(), 25), ("web-2".to_owned(), 5)]);
        assert_eq!(sum.upload_bytes_per_second, Some(5));
    }
}
