//! Electorates: who votes in a group and what they sign with, as other groups know it.
//!
//!     genesis ──FoundShard──▶ the cluster group's, as the cluster began
//!                              └ its majority's word ──TellElectorate──▶ the cluster group's of today · those of shards
//!
//! Versions only grow (`laws/electorates_only_grow.rs`): what an older electorate signed is refused and collected again.
//! A node keeps its signing key when it is rebuilt under another replica id, so signatures of a known electorate can be
//! had for as long as a majority of its nodes is in the cluster. Not here: what they sign (`claims.rs`), counting
//! signatures (`proved.rs`), who votes in the own group (`voters.rs`).

use std::collections::BTreeSet;

use borsh::{BorshDeserialize, BorshSerialize};
use strongroom_format::id::{ClusterEpoch, GroupId};
use strongroom_format::receipt::Voters;
use strongroom_format::sign;

use crate::row::{Space, rows};
use crate::tables::{Halt, Reads, Tables};

/// Who votes in a group, as the cluster group's rows have it.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Electorate {
    /// The cluster's life.
    pub epoch: ClusterEpoch,
    /// The group.
    pub group: GroupId,
    /// Grows with every change. Of a shard it is the highest replica id among the voters, since ids of a slot only grow;
    /// of the cluster group the number of its changes.
    pub version: u64,
    /// The voters and their keys.
    pub voters: Voters,
}

impl Electorate {
    /// Refuses one that the cluster group never names: nobody, or one key twice, whose one signature would count twice.
    pub(crate) fn check_voters(&self) -> Result<(), &'static str> {
        let keys: BTreeSet<_> = self.voters.keys.values().collect();
        if self.voters.keys.is_empty() || keys.len() != self.voters.keys.len() || Voters::MAX < keys.len() {
            return Err("an electorate has no voters, too many, or one key twice");
        }
        match keys.into_iter().all(|key| sign::usable(key).is_ok()) {
            true => Ok(()),
            false => Err("a voter's key is none"),
        }
    }
}

/// An electorate that a group goes by.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct ElectorateRow {
    pub(crate) electorate: Electorate,
}

rows! {
    named ELECTORATE_TABLES;
    ElectorateRow: "electorate row", 64 + Voters::BYTES_MAX, 6, (GroupId,);
}

/// The electorate of another group that this group goes by.
pub(crate) fn known(reads: &dyn Reads, group: GroupId) -> Result<Option<Electorate>, Halt> {
    Ok(Space::whole().get::<ElectorateRow>(reads, &(group,))?.map(|row| row.electorate))
}

/// Goes by this one from now on.
pub(crate) fn go_by(tables: &mut dyn Tables, electorate: Electorate) -> Result<(), Halt> {
    Space::whole().put(tables, &(electorate.group,), &ElectorateRow { electorate })
}
