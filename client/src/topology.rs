//! Where a tenant lives: its shards and their members, the set over which runs are spread, and who the tenant is
//! according to its own founding record.
//!
//! Promises: a topology that exists names the pinned cluster and tenant, and its founding record is signed by the
//! pinned root key. Where shards and members are is the cluster's word; what it could do with a false one is refuse.
//! Not here: connections (`connect.rs`).

use std::collections::BTreeMap;

use strongroom_format::code::Code;
use strongroom_format::id::{ClusterEpoch, GroupId, SetVersion, TenantId};
use strongroom_format::statement::FoundingRecord;
use strongroom_proto::v1 as pb;

use crate::error::{Error, Result};
use crate::profile::Profile;

/// A tenant's place in the cluster.
#[derive(Clone, Debug)]
pub(crate) struct Topology {
    pub cluster: ClusterEpoch,
    pub tenant: TenantId,
    pub founding: FoundingRecord,
    /// Canonical bytes of the signed founding record.
    pub founding_bytes: Vec<u8>,
    pub home: GroupId,
    pub set_version: SetVersion,
    pub set: Vec<GroupId>,
    /// Where whoever has a token enrols, as the answering node says.
    pub door: Option<pb::EnrolmentDoor>,
    shards: BTreeMap<GroupId, Shard>,
}

/// One shard.
#[derive(Clone, Debug)]
pub(crate) struct Shard {
    pub code: Code,
    pub members: Vec<Member>,
    /// Name of the node that leads it, empty if unknown.
    leader: String,
}

/// One member of a shard.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub node: String,
    pub region: String,
    pub endpoint: String,
}

impl Topology {
    /// Reads and checks the answer of a node.
    pub(crate) fn read(reply: pb::TopologyReply, profile: &Profile) -> Result<Self> {
        let pinned = profile.tenant()?;
        if reply.cluster != profile.cluster.name.0.as_str() {
            return Err(Error::provenance("the cluster has another name than the profile says"));
        }
        let founding = FoundingRecord::open(&reply.founding)
            .map_err(|fault| Error::provenance(format_args!("the tenant's founding record: {fault}")))?;
        let tenant = TenantId::from_slice(&reply.tenant).map_err(|_| malformed("tenant"))?;
        let ours = founding.root == pinned.root
            && founding.name == pinned.name
            && founding.tenant == tenant
            && pinned.id.is_none_or(|id| id == tenant);
        if !ours {
            return Err(Error::provenance("the tenant's founding record is not that of the profile's tenant"));
        }
        let shards: BTreeMap<GroupId, Shard> = reply.shards.into_iter().map(shard).collect();
        let set: Vec<GroupId> = reply.set.into_iter().map(GroupId).collect();
        let home = GroupId(reply.home);
        if set.is_empty() || !set.iter().chain([&home]).all(|group| shards.contains_key(group)) {
            return Err(malformed("shard set"));
        }
        Ok(Self {
            cluster: ClusterEpoch::from_slice(&reply.cluster_epoch).map_err(|_| malformed("cluster epoch"))?,
            tenant,
            founding,
            founding_bytes: reply.founding.into(),
            home,
            set_version: SetVersion(reply.set_version),
            set,
            door: reply.door,
            shards,
        })
    }

    /// A shard of the set, or the home shard.
    pub(crate) fn shard(&self, group: GroupId) -> Result<&Shard> {
        self.shards.get(&group).ok_or_else(|| {
            Error::data_loss("PLACEMENT_MISMATCH", format_args!("shard {group} is not among the tenant's shards"))
        })
    }

    /// Refuses a policy under which nothing could be committed: that so many regions more may be lost is more than the
    /// tenant's shards survive with every member up.
    pub(crate) fn check_least_regions(&self, least: u8) -> Result<()> {
        let groups = self.part_groups();
        let survives = groups.iter().filter_map(|group| self.shards.get(group)).map(Shard::survives_regions).min();
        let survives = survives.unwrap_or_default();
        if least <= survives {
            return Ok(());
        }
        Err(Error::refused(
            "FAILED_PRECONDITION",
            "TOO_THIN",
            format_args!("{least} regions could never be lost: this tenant's shards survive the loss of {survives}"),
            &format!("ask for {survives} or fewer, or have the operator put the tenant on shards in more regions"),
        ))
    }

    /// The groups that take a part of a snapshot: the set and the home shard, sorted.
    pub(crate) fn part_groups(&self) -> Vec<GroupId> {
        let mut groups = self.set.clone();
        groups.push(self.home);
        groups.sort_unstable();
        groups.dedup();
        groups
    }

    /// Endpoints of a group's members, its leader first.
    pub(crate) fn endpoints(&self, group: GroupId) -> Vec<String> {
        self.shards.get(&group).map_or_else(Vec::new, |shard| {
            let mut members: Vec<&Member> = shard.members.iter().collect();
            members.sort_by_key(|member| member.node != shard.leader);
            members.into_iter().map(|member| member.endpoint.clone()).collect()
        })
    }
}

impl Shard {
    /// How many whole regions may be lost, whichever they are, while every member is up.
    fn survives_regions(&self) -> u8 {
        let mut members = BTreeMap::new();
        for member in &self.members {
            *members.entry(&member.region).or_insert(0_usize) += 1;
        }
        let mut largest: Vec<usize> = members.into_values().collect();
        largest.sort_unstable_by(|one, other| other.cmp(one));
        let lost = largest.iter().scan(0, |lost, members| {
            *lost += members;
            Some(*lost)
        });
        let survived = lost.take_while(|lost| *lost <= usize::from(self.code.m)).count();
        u8::try_from(survived).unwrap_or(u8::MAX)
    }
}

fn shard(shard: pb::Shard) -> (GroupId, Shard) {
    let member = |member: pb::Member| Member { node: member.node, region: member.region, endpoint: member.endpoint };
    let members = shard.members.into_iter().map(member).collect();
    let part = |of: u32| u8::try_from(of).unwrap_or_default();
    let code = Code { k: part(shard.k), m: part(shard.m) };
    (GroupId(shard.group), Shard { code, members, leader: shard.leader })
}

fn malformed(what: &str) -> Error {
    Error::broken(format_args!("the node's answer has no usable {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_survives_as_many_regions_as_its_parity_has_members_of() {
        let of = |k, m, regions: &[&str]| {
            let member = |region: &&str| Member { node: "n".into(), region: (*region).into(), endpoint: "e".into() };
            let members = regions.iter().map(member).collect();
            Shard { code: Code { k, m }, members, leader: String::new() }.survives_regions()
        };
        assert_eq!(of(1, 0, &["a"]), 0);
        assert_eq!(of(3, 2, &["a"; 5]), 0, "one region is all there is");
        assert_eq!(of(2, 1, &["a", "b", "c"]), 1);
        assert_eq!(of(4, 2, &["a", "b", "c", "a", "b", "c"]), 1);
        assert_eq!(of(6, 3, &["a", "b", "c", "a", "b", "c", "a", "b", "c"]), 1);
        assert_eq!(of(4, 2, &["a", "a", "a", "b", "c", "d"]), 0, "the largest region counts");
        assert_eq!(of(4, 2, &["a", "b", "c", "d", "e", "f"]), 2);
    }
}
