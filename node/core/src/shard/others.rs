//! Others: who votes in the other groups of this shard's tenants, and in the cluster group, on the cluster group's word.
//!
//! The same electorate again changes nothing; an older one is refused. Not here: what an electorate is
//! (`electorates.rs`).

use strongroom_format::id::GroupId;
use strongroom_format::outcome::{Done, Refusal};

use crate::electorates::{self, Electorate};
use crate::proved::Proved;
use crate::shard::at::At;
use crate::stop::{Ruled, invalid};
use crate::tables::Tables;

/// Goes by an electorate from now on.
pub(crate) fn learn(at: &At<'_>, tables: &mut dyn Tables, told: &Proved<Electorate>) -> Ruled<Done> {
    let told = told.value();
    if told.epoch != at.facts.epoch || told.group == at.group() {
        return Err(Refusal::WrongGroup.into());
    }
    told.check_voters().map_err(invalid)?;
    match electorates::known(&*tables, told.group)? {
        Some(known) if known == *told => return Ok(Done::Done),
        Some(known) if told.version <= known.version => return Err(Refusal::VersionConflict.into()),
        Some(_) => {}
        None if told.group == GroupId::CLUSTER => return Err(Refusal::NotFound.into()),
        None => {}
    }
    electorates::go_by(tables, told.clone())?;
    Ok(Done::Done)
}
