//! A cluster in memory: the cluster group and its shards, tenants that live there, members that are lost.
//!
//! Not here: one group (`group.rs`), what a tenant signs (`tenant.rs`), what a writer does step by step (`backup.rs`).

use std::collections::{BTreeMap, BTreeSet};

use strongroom_core::cluster::rows::Changing;
use strongroom_core::entry::{
    Decided, Ended, EntryCommand, Filled, NodeCommand, PartEnded, RebuildRequest, Replaced, ShardFacts, TenantFacts,
};
use strongroom_core::genesis::{Genesis, GenesisIssuer, GenesisNode, GenesisOperator};
use strongroom_core::locking::{PartKeeping, PartKept};
use strongroom_core::query::{Answer, ClusterMap, Decision, EndingPart, Query};
use strongroom_format::code::Code;
use strongroom_format::command::{Body, Command, OperatorBody, OperatorCommand, SignedCommand};
use strongroom_format::enrolment::{NodeAddresses, Redemption, SignedRedemption, request_digest};
use strongroom_format::id::{GroupId, LeaseId, NodeName, Nonce, ReplicaId, SessionId, Slot, SnapshotId};
use strongroom_format::outcome::{Done, Outcome, Refusal};
use strongroom_format::policy_view::{Fate, PreviewPlace, Previewed};
use strongroom_format::role::{OperatorRole, Plane, Role};
use strongroom_format::sign::{self, SigningKey};

use crate::group::{BEGAN_MS, Group, HOUR_MS, claim, done, epoch, fixed, identity, node_key, one, signing_key};
use crate::tenant::{ADMIN, OFFICER, OPERATOR, OTHER_WRITER, Tenant, WALL_END, WRITER, token, token_key};

/// The genesis of `nodes` nodes in `regions` regions with `shards` shards.
pub fn genesis(nodes: usize, regions: usize, shards: u32) -> Genesis {
    let region = |number: usize| format!("r{number}").parse().unwrap();
    let node = |number: usize| GenesisNode {
        name: format!("n{number}").parse().unwrap(),
        region: region(number % regions),
        peer: format!("127.0.0.1:{}", 1000 + number),
        tenant: format!("127.0.0.1:{}", 2000 + number),
        operator: format!("127.0.0.1:{}", 3000 + number),
        signing_key: node_key(&format!("n{number}").parse().unwrap()).public_key(),
    };
    let mut genesis = Genesis {
        cluster: "test".parse().unwrap(),
        epoch: epoch(),
        regions: (0..regions).map(region).collect(),
        nodes: (0..nodes).map(node).collect(),
        shards: Vec::new(),
        operators: [(OPERATOR, OperatorRole::PlatformOperator), (OFFICER, OperatorRole::SecurityOfficer)]
            .map(|(name, role)| GenesisOperator {
                identity: identity(name),
                roles: vec![role],
                signing_key: signing_key(name).public_key(),
            })
            .to_vec(),
        issuers: vec![
            GenesisIssuer { plane: Plane::Peer, certificate: b"peer ca".to_vec() },
            GenesisIssuer { plane: Plane::Operator, certificate: b"operator ca".to_vec() },
        ],
        accept_region_loss: false,
        single_node: nodes == 1,
        clock_ms: BEGAN_MS,
    };
    genesis.place_shards(shards);
    genesis
}

/// An open session.
#[derive(Clone, Copy, Debug)]
pub struct Session {
    pub group: GroupId,
    pub session: SessionId,
    pub lease: LeaseId,
    pub next: u64,
}

/// The cluster.
pub struct World {
    pub groups: BTreeMap<GroupId, Group>,
    pub tenants: BTreeMap<String, Tenant>,
    nonces: u64,
}

impl World {
    /// Six nodes in three regions, three shards, the tenants `acme` over three shards and `globex` in one, each with the
    /// vault `home` and two writers.
    pub fn new() -> Self {
        let mut world = Self::founded(&genesis(6, 3, 3));
        for (tenant, width) in [("acme", 3), ("globex", 1)] {
            world.create_tenant(tenant, width);
            world.settle(tenant);
        }
        world
    }

    /// As [`World::new`], and the vaults of these lock nothing by themselves.
    pub fn unlocked(unlocked: &[&str]) -> Self {
        let mut world = Self::founded(&genesis(6, 3, 3));
        for (tenant, width) in [("acme", 3), ("globex", 1)] {
            world.admit(Tenant { unlocked: unlocked.contains(&tenant), ..Tenant::new(tenant) }, width);
            world.settle(tenant);
        }
        world
    }

    /// One node and one shard.
    pub fn single() -> Self {
        let mut world = Self::founded(&genesis(1, 1, 1));
        world.create_tenant("acme", 1);
        world.settle("acme");
        world
    }

    /// The same, and `acme` has more admins than one.
    pub fn with_more_admins(admins: &[&str]) -> Self {
        let mut world = Self::founded(&genesis(1, 1, 1));
        let more_admins = admins.iter().map(|name| (*name).to_owned()).collect();
        world.admit(Tenant { more_admins, ..Tenant::new("acme") }, 1);
        world.settle("acme");
        world
    }

    pub fn founded(genesis: &Genesis) -> Self {
        let mut world = Self { groups: BTreeMap::new(), tenants: BTreeMap::new(), nonces: 0 };
        let mut cluster = Group::new(GroupId::CLUSTER, genesis.founders());
        done(cluster.node(NodeCommand::Found(genesis.clone())));
        world.groups.insert(GroupId::CLUSTER, cluster);
        for facts in world.shard_facts() {
            let mut shard = Group::new(facts.group, genesis.founders());
            done(shard.node(NodeCommand::FoundShard(claim(facts))));
            world.groups.insert(shard.group, shard);
        }
        world
    }

    pub fn map(&self) -> ClusterMap {
        match self.groups[&GroupId::CLUSTER].ask(&Query::ClusterMap) {
            Answer::ClusterMap(map) => *map,
            other => panic!("{other:?}"),
        }
    }

    fn shard_facts(&self) -> Vec<ShardFacts> {
        let map = self.map();
        map.shards.iter().map(|shard| map.shard_facts(shard.group).unwrap()).collect()
    }

    pub fn code(&self, group: GroupId) -> Code {
        self.map().shards.iter().find(|shard| shard.group == group).unwrap().code
    }

    pub fn operator(&mut self, body: OperatorBody) -> Outcome {
        self.operator_as(OPERATOR, body)
    }

    pub fn operator_as(&mut self, who: &str, body: OperatorBody) -> Outcome {
        self.nonces += 1;
        let command = OperatorCommand {
            cluster: epoch(),
            operator: identity(who),
            nonce: Nonce::from_bytes(fixed(&format!("operator nonce {}", self.nonces))),
            body,
        };
        let signed = sign::sign_operator_command(&command, &signing_key(who));
        one(self.cluster().apply(vec![EntryCommand::Operator(signed)]))
    }

    /// Carries what the cluster group says of a tenant into its shards: what a worker does.
    pub fn carry(&mut self, tenant: &str) {
        self.tell(tenant).into_iter().for_each(|outcome| drop(done(outcome)));
    }

    /// The same, whatever the shards answer.
    pub fn tell(&mut self, tenant: &str) -> Vec<Outcome> {
        let facts = self.facts(tenant);
        let groups: BTreeSet<GroupId> = facts.groups.iter().copied().chain([facts.home]).collect();
        let admit = |group| self.group(group).node(NodeCommand::AdmitTenant(claim(facts.clone())));
        groups.into_iter().map(admit).collect()
    }

    /// Tells each of these groups who votes in the others: what a worker does.
    pub fn introduce(&mut self, groups: &BTreeSet<GroupId>) {
        let map = self.map();
        for group in groups {
            for other in groups.iter().filter(|other| *other != group) {
                let electorate = map.electorate(*other).unwrap();
                done(self.group(*group).node(NodeCommand::TellElectorate(claim(electorate))));
            }
        }
    }

    /// What the cluster group says of a tenant.
    pub fn facts(&self, tenant: &str) -> TenantFacts {
        let id = self.tenant(tenant).id;
        self.map().tenants.into_iter().find(|row| row.facts.tenant == id).unwrap().facts
    }

    pub fn cluster(&mut self) -> &mut Group {
        self.groups.get_mut(&GroupId::CLUSTER).unwrap()
    }

    pub fn group(&mut self, group: GroupId) -> &mut Group {
        self.groups.get_mut(&group).unwrap()
    }

    pub fn tenant(&self, tenant: &str) -> &Tenant {
        &self.tenants[tenant]
    }

    /// Admits a tenant to the cluster and to its shards.
    pub fn create_tenant(&mut self, name: &str, width: u16) {
        self.admit(Tenant::new(name), width);
    }

    /// The same for one whose vault locks nothing by itself.
    pub fn create_unlocked_tenant(&mut self, name: &str, width: u16) {
        self.admit(Tenant { unlocked: true, ..Tenant::new(name) }, width);
    }

    fn admit(&mut self, mut tenant: Tenant, width: u16) {
        let name = tenant.name.clone();
        let body = OperatorBody::CreateTenant {
            name: name.parse().unwrap(),
            founding: tenant.signed_founding(),
            issuers: vec![format!("ca of {name}").into_bytes()],
            home: None,
            width,
        };
        let Done::TenantCreated { home, groups, .. } = done(self.operator(body)) else { panic!() };
        (tenant.home, tenant.groups) = (home, groups);
        let row = self.map().tenants.into_iter().find(|row| row.facts.tenant == tenant.id).unwrap();
        let groups: BTreeSet<GroupId> = row.facts.groups.iter().copied().chain([home]).collect();
        self.introduce(&groups);
        for group in groups {
            done(self.group(group).node(NodeCommand::AdmitTenant(claim::<TenantFacts>(row.facts.clone()))));
        }
        self.tenants.insert(name, tenant);
    }

    /// Enrols two writers, creates the vault and puts their cards.
    pub fn settle(&mut self, tenant: &str) {
        let mut admin = self.open_session(tenant, ADMIN);
        for writer in [WRITER, OTHER_WRITER] {
            let body = Body::EnrolIdentity {
                identity: identity(writer),
                roles: vec![Role::Writer],
                signing_key: self.tenant(tenant).key(writer).public_key(),
                locks: None,
                approvals: Vec::new(),
            };
            done(self.submit(tenant, ADMIN, &mut admin, body));
        }
        let (statement, policy) = (self.tenant(tenant).signed_statement(1), self.tenant(tenant).policy());
        done(self.submit(tenant, ADMIN, &mut admin, Body::CreateVault { statement, policy }));
        for writer in [WRITER, OTHER_WRITER] {
            let card = self.tenant(tenant).card(writer, 1);
            let card = self.tenant(tenant).sign(&card);
            done(self.submit(tenant, ADMIN, &mut admin, Body::PutCard { card }));
        }
    }

    pub fn open_session_command(&mut self, tenant: &str, who: &str, budget_bytes: u64) -> SignedCommand {
        self.nonces += 1;
        let nonce = Nonce::from_bytes(fixed(&format!("nonce {}", self.nonces)));
        let tenant = self.tenant(tenant);
        let command = tenant.command(tenant.home, who, Body::OpenSession { nonce, budget_bytes });
        tenant.seal_command(who, &command)
    }

    pub fn open_session(&mut self, tenant: &str, who: &str) -> Session {
        self.try_open_session(tenant, who).expect("it is opened")
    }

    /// A session, unless a quota is in the way.
    pub fn try_open_session(&mut self, tenant: &str, who: &str) -> Option<Session> {
        let budget_bytes = if who.starts_with("web") { 8 << 20 } else { 0 };
        let signed = self.open_session_command(tenant, who, budget_bytes);
        let group = self.tenant(tenant).home;
        match self.group(group).client(signed) {
            Outcome::Refused(Refusal::Quota { .. }) => None,
            outcome => match done(outcome) {
                Done::SessionOpened { session, lease, .. } => Some(Session { group, session, lease, next: 1 }),
                other => panic!("{other:?}"),
            },
        }
    }

    /// The next command of a session.
    pub fn command(&self, tenant: &str, who: &str, session: &mut Session, body: Body) -> SignedCommand {
        let tenant = self.tenant(tenant);
        let command = Command {
            session: Some(session.session),
            sequence: session.next,
            ..tenant.command(session.group, who, body)
        };
        session.next += 1;
        tenant.seal_command(who, &command)
    }

    pub fn submit(&mut self, tenant: &str, who: &str, session: &mut Session, body: Body) -> Outcome {
        let signed = self.command(tenant, who, session, body);
        self.group(session.group).client(signed)
    }

    /// The slot and the id of the member that a node has in a group. In the cluster group all slots are zero.
    pub fn member(&self, group: GroupId, node: &str) -> (Slot, ReplicaId) {
        let (map, node) = (self.map(), node.parse::<NodeName>().unwrap());
        if group == GroupId::CLUSTER {
            return (Slot(0), map.nodes.iter().find(|row| row.name == node).unwrap().replica);
        }
        let shard = map.shards.iter().find(|shard| shard.group == group).unwrap();
        let slot = shard.slots.iter().find(|slot| slot.node == node).unwrap();
        (slot.slot, slot.replica)
    }

    /// The same as the shard itself has it.
    pub fn shard_member(&self, group: GroupId, node: &str) -> ReplicaId {
        let Answer::Shard(facts) = self.groups[&group].ask(&Query::Shard) else { panic!() };
        facts.members.iter().find(|member| member.node.to_string() == node).unwrap().replica
    }

    /// The replacement that is under way in a group.
    pub fn changing(&self, group: GroupId) -> Option<Changing> {
        let map = self.map();
        match group {
            GroupId::CLUSTER => map.changing,
            shard => map.shards.iter().find(|row| row.group == shard).unwrap().changing,
        }
    }

    /// The member `from` of a node asks for another id.
    pub fn rebuild(&mut self, group: GroupId, node: &str, from: ReplicaId) -> Outcome {
        let (slot, _) = self.member(group, node);
        let asked = rebuild_request(group, slot, from).sign(&node_key(&node.parse().unwrap()));
        self.cluster().node(NodeCommand::RebuildReplica(asked))
    }

    /// A shard takes over who fills a slot.
    pub fn replace(&mut self, group: GroupId, slot: Slot, from: ReplicaId, to: ReplicaId) -> Outcome {
        self.group(group).node(NodeCommand::ReplaceMember(claim(Replaced { group, slot, from, to })))
    }

    /// The cluster group hears that a member has come.
    pub fn has_come(&mut self, group: GroupId, slot: Slot, to: ReplicaId) -> Outcome {
        self.cluster().node(NodeCommand::MemberReplaced(claim(Filled { group, slot, to })))
    }

    /// Asks the home shard about every part that waits, and tells the parts: what the decide worker does.
    pub fn decide(&mut self) -> usize {
        let groups: Vec<GroupId> = self.groups.keys().copied().filter(|group| *group != GroupId::CLUSTER).collect();
        let mut told = 0;
        for group in groups {
            let Answer::Waiting(parts) = self.groups[&group].ask(&Query::Waiting { after: None, limit: 100 }) else {
                panic!()
            };
            for part in parts {
                let (tenant, snapshot, home) = (part.tenant, part.snapshot, part.home);
                let kept = match self.groups[&home].ask(&Query::Decision { tenant, snapshot }) {
                    Answer::Decision(Decision::Committed { kept }) => Some(kept),
                    Answer::Decision(Decision::Aborted) => None,
                    Answer::Decision(Decision::Open) => continue,
                    other => panic!("{other:?}"),
                };
                let decided = Decided { home, tenant, snapshot, kept };
                match self.group(group).node(NodeCommand::DecidePart(claim(decided))) {
                    // It decides nothing now, and is told again.
                    Outcome::Refused(Refusal::DigestsDisagree) => {}
                    outcome => {
                        done(outcome);
                        told += 1;
                    }
                }
            }
        }
        told
    }

    /// Tells other shards of ended snapshots until all have heard, and the home shards that they have: what a worker does.
    pub fn tell_ends(&mut self) -> usize {
        let mut told = 0;
        for home in self.shards() {
            let Answer::Ending(parts) = self.groups[&home].ask(&Query::Ending { after: None, limit: 1000 }) else {
                panic!()
            };
            for EndingPart { tenant, snapshot, group } in parts {
                let ended = claim(Ended { home, tenant, snapshot });
                if let Outcome::Done(_) = self.group(group).node(NodeCommand::EndPart(ended)) {
                    let ended = NodeCommand::PartEnded(claim(PartEnded { tenant, snapshot, group }));
                    if let Outcome::Done(_) = self.group(home).node(ended) {
                        told += 1;
                    }
                }
            }
        }
        told
    }

    /// Tells shards what they are behind with, and the home shards that they are not any more: what the keeping worker
    /// does.
    pub fn carry_locks(&mut self) -> usize {
        let mut told = 0;
        for home in self.shards() {
            let Answer::Behind(behind) = self.groups[&home].ask(&Query::Behind { after: None, limit: 100 }) else {
                panic!()
            };
            for one in behind {
                let PartKeeping { group, tenant, snapshot, .. } = one;
                let version = one.keeping.version;
                match self.group(group).node(NodeCommand::KeepPart(claim(one))) {
                    // Not decided there yet, or it decides nothing now: it is told again.
                    Outcome::Refused(Refusal::NotFound | Refusal::DigestsDisagree) => continue,
                    outcome => drop(done(outcome)),
                }
                let said = PartKept { home, group, tenant, snapshot, version };
                match self.group(home).node(NodeCommand::PartKept(claim(said))) {
                    Outcome::Refused(Refusal::DigestsDisagree) => {}
                    outcome => drop(done(outcome)),
                }
                told += 1;
            }
        }
        told
    }

    /// One step of collecting for each tenant with garbage in a group. Returns whether there was any.
    pub fn collect_in(&mut self, group: GroupId, limit: u32, grace_ms: u64) -> bool {
        let query = Query::Garbage { grace_ms, after: None, limit: 100 };
        let Answer::Garbage(tenants) = self.groups[&group].ask(&query) else { panic!() };
        for tenant in &tenants {
            let collect = NodeCommand::CollectGarbage { tenant: *tenant, limit, grace_ms };
            self.group(group).node(collect);
        }
        !tenants.is_empty()
    }

    /// Collects everywhere until there is nothing more to collect.
    pub fn collect(&mut self, grace_ms: u64) {
        for group in self.shards() {
            while self.collect_in(group, 100, grace_ms) {}
        }
    }

    /// What a policy does to the next `limit` snapshots of a tenant's vault, where the dry run says that it does anything:
    /// what the worker does with a page. What goes must be what the dry run said. Returns that, and where the next page begins.
    pub fn expire_some(
        &mut self,
        tenant: &str,
        after: Option<PreviewPlace>,
        limit: u32,
    ) -> (Vec<SnapshotId>, Option<PreviewPlace>) {
        let Tenant { id, vault, home, .. } = *self.tenant(tenant);
        let Answer::Expiring(expiring) = self.groups[&home].ask(&Query::Expiring { tenant: id, after: None }) else {
            panic!()
        };
        let Some((_, policy)) = expiring.vaults.into_iter().find(|(found, _)| *found == vault) else {
            return (Vec::new(), None);
        };
        let query = Query::Preview { tenant: id, vault, policy, after: after.clone(), limit };
        let Answer::Preview(page) = self.groups[&home].ask(&query) else { panic!() };
        let goes = |previewed: &Previewed| (previewed.fate == Fate::Goes).then_some(previewed.snapshot);
        let said: Vec<SnapshotId> = page.snapshots.iter().filter_map(goes).collect();
        let stood = |world: &Self, previewed: &Previewed| {
            let query = Query::Lock { tenant: id, snapshot: previewed.snapshot, by: None };
            matches!(world.groups[&home].ask(&query), Answer::Lock(_))
        };
        assert!(page.snapshots.iter().all(|previewed| stood(self, previewed)));
        if !said.is_empty() {
            let step = NodeCommand::Expire { tenant: id, vault, after, limit };
            let looked_at = u32::try_from(page.snapshots.len()).unwrap();
            match self.group(home).node(step) {
                Outcome::Refused(Refusal::DigestsDisagree) => return (Vec::new(), page.next),
                outcome => {
                    let ended = u32::try_from(said.len()).unwrap();
                    assert_eq!(done(outcome), Done::Expired { looked_at, ended });
                }
            }
        }
        for previewed in &page.snapshots {
            assert_eq!(stood(self, previewed), previewed.fate != Fate::Goes, "{previewed:?}");
        }
        (said, page.next)
    }

    /// A pass over all of a vault, so many snapshots at a time. Returns what ended.
    pub fn expire(&mut self, tenant: &str, limit: u32) -> Vec<SnapshotId> {
        let (mut ended, mut next) = self.expire_some(tenant, None, limit);
        while next.is_some() {
            let (more, behind) = self.expire_some(tenant, next, limit);
            ended.extend(more);
            next = behind;
        }
        ended
    }

    pub fn shards(&self) -> Vec<GroupId> {
        self.groups.keys().copied().filter(|group| *group != GroupId::CLUSTER).collect()
    }

    /// Lets the same time pass everywhere.
    pub fn pass(&mut self, elapsed_ms: u64) {
        for group in self.groups.values_mut() {
            done(group.tick(elapsed_ms));
        }
    }
}

/// What the member `from` asks, not signed.
pub fn rebuild_request(group: GroupId, slot: Slot, from: ReplicaId) -> RebuildRequest {
    RebuildRequest { epoch: epoch(), group, slot, from, why: "test".into() }
}

/// What the bearer of a node's token asks; `port` tells nodes apart.
pub fn redeem_node(name: &str, key: &SigningKey, port: u16) -> SignedRedemption {
    let token = token_key(name);
    let at = |port: u16| format!("127.0.0.1:{port}");
    let redemption = Redemption {
        cluster: epoch(),
        group: GroupId::CLUSTER,
        tenant: None,
        token: token.public_key(),
        signing_key: key.public_key(),
        request: request_digest(b"request"),
        node: Some(NodeAddresses { peer: at(port), tenant: at(port + 1), operator: at(port + 2) }),
    };
    SignedRedemption::new(&redemption, &token, key).unwrap()
}

/// A node's token of an hour.
pub fn issue_node_body(name: &str, node: &str, region: &str) -> OperatorBody {
    OperatorBody::IssueNodeToken {
        token: token(name),
        node: node.parse().unwrap(),
        region: region.parse().unwrap(),
        lifetime_ms: HOUR_MS,
        wall_end_unix_ms: WALL_END,
    }
}
