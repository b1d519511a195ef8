//! Releases for tests: made by the rules, as everywhere, of a shard that knows the tenants and names nothing for them.

use strongroom_core::claims::{Claim, Statement};
use strongroom_core::electorates::Electorate;
use strongroom_core::entry::{
    Entry, EntryCommand, Limited, MemberFacts, NodeCommand, ShardFacts, Standing, TenantFacts,
};
use strongroom_core::machine::Machine;
use strongroom_core::shard::ShardMachine;
use strongroom_core::shard::release::Release;
use strongroom_core::tables::MemoryTables;
use strongroom_format::codec;
use strongroom_format::command::{Attested, MemberSignature};
use strongroom_format::fragment::CopyName;
use strongroom_format::id::{
    ClusterEpoch, GroupId, IdentityId, Place, ReplicaId, SetVersion, Slot, StatementVersion, TenantId,
};
use strongroom_format::keys::RootKey;
use strongroom_format::receipt::Voters;
use strongroom_format::role::Role;
use strongroom_format::sign::SigningKey;
use strongroom_format::statement::{FoundingIdentity, FoundingRecord};

use crate::store::{ONE, hash, tag};

/// Every lease below this has ended.
pub const LEASES_END: u64 = 1 << 40;

/// A shard in which nothing is named.
pub struct Rules {
    tables: MemoryTables,
    /// The cluster group's one voter.
    founders: Electorate,
}

const VOTER: ReplicaId = ReplicaId(256);

impl Rules {
    /// Knows the tenants 0 to 3.
    pub fn new() -> Self {
        let key = SigningKey::from_secret(hash(b"signing")).unwrap();
        let voters = Voters { keys: [(VOTER, key.public_key())].into() };
        let epoch = ClusterEpoch::from_bytes([1; 16]);
        let founders = Electorate { epoch, group: GroupId::CLUSTER, version: 0, voters };
        let mut rules = Self { tables: MemoryTables::default(), founders };
        let member = MemberFacts {
            slot: Slot(0),
            region: "r0".parse().unwrap(),
            node: "n0".parse().unwrap(),
            replica: VOTER,
            signing_key: key.public_key(),
        };
        let facts = ShardFacts {
            cluster: "test".parse().unwrap(),
            epoch,
            group: GroupId(1),
            code: ONE,
            members: vec![member],
            clock_ms: 0,
        };
        rules.apply(1, NodeCommand::FoundShard(claim(&key, epoch, facts)));
        for number in 0..4 {
            let facts = tenant_facts(number, &key);
            rules.apply(2, NodeCommand::AdmitTenant(claim(&key, epoch, facts.clone())));
            rules.apply(LEASES_END >> 12, NodeCommand::AdmitTenant(claim(&key, epoch, facts)));
        }
        rules
    }

    fn apply(&mut self, index: u64, command: NodeCommand) {
        let entry = Entry { salt: [0; 16], wall_unix_ms: 0, commands: vec![EntryCommand::Node(command)] };
        let machine = ShardMachine::new(GroupId(1), self.founders.clone());
        let answer = machine.apply(&mut self.tables, index, &codec::encode(&entry)).unwrap();
        let outcomes: strongroom_core::entry::Outcomes = codec::decode(&answer).unwrap();
        assert!(format!("{outcomes:?}").contains("Done"), "{outcomes:?}");
    }

    /// The release of a copy whose lease has ended.
    pub fn release(&self, tenant: TenantId, copy: CopyName) -> Release {
        let me = "n0".parse().unwrap();
        assert!(Place::index_of(copy.lease.0) <= LEASES_END >> 12);
        Release::of(&self.tables, &me, tenant, copy).unwrap().expect("nothing names it")
    }
}

/// What the cluster group says, with its one voter's signature.
fn claim<T: Clone + Into<Claim>>(key: &SigningKey, epoch: ClusterEpoch, value: T) -> Attested<T> {
    let statement = Statement { epoch, by: GroupId::CLUSTER, claim: value.clone().into() };
    Attested { value, signatures: vec![MemberSignature { replica: VOTER, signature: statement.sign(key) }] }
}

fn tenant_facts(number: u8, key: &SigningKey) -> TenantFacts {
    let root = RootKey::from_secret(hash(b"root")).unwrap();
    let admin = |name: &str, roles: Vec<Role>| FoundingIdentity {
        identity: name.parse::<IdentityId>().unwrap(),
        roles,
        signing_key: key.public_key(),
    };
    let record = FoundingRecord {
        tenant: crate::store::tenant(number),
        name: format!("t{number}").parse().unwrap(),
        tag: tag(number),
        root: root.public_key(),
        version: StatementVersion(1),
        identities: vec![admin("ada", vec![Role::Admin])],
        approvers: Vec::new(),
    };
    TenantFacts {
        tenant: record.tenant,
        name: record.name.clone(),
        tag: record.tag,
        home: GroupId(1),
        set_version: SetVersion(1),
        groups: vec![GroupId(1)],
        founding: codec::encode(&record.sign(&root).unwrap()),
        standing: Standing::admitted("olga".parse().unwrap()),
        limited: Limited::admitted("olga".parse().unwrap()),
    }
}
