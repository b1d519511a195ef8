//! One group in memory: its machine, its rows, its log, and the voters that report to it. Every entry is followed by all
//! laws.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use proptest::prelude::ProptestConfig;
use strongroom_core::claims::{Claim, Statement};
use strongroom_core::cluster::ClusterMachine;
use strongroom_core::electorates::Electorate;
use strongroom_core::entry::{Entry, EntryCommand, NodeCommand, Outcomes, Report, ReportFacts, Tick};
use strongroom_core::laws::{self, State};
use strongroom_core::machine::Machine;
use strongroom_core::query::{Answer, GroupView, Measured, Query};
use strongroom_core::shard::ShardMachine;
use strongroom_core::tables::MemoryTables;
use strongroom_core::voters::VoterView;
use strongroom_format::codec;
use strongroom_format::command::{Attested, MemberSignature, SignedCommand};
use strongroom_format::enrolment::SignedRedemption;
use strongroom_format::id::{ClusterEpoch, Digest, GroupId, IdentityId, NodeName, PublicKey, ReplicaId};
use strongroom_format::outcome::{Done, Outcome, Refusal};
use strongroom_format::sign::SigningKey;

use crate::counted::Counted;

/// How many cases a property gets: so many, or as many as `PROPTEST_CASES` says.
pub fn cases(few: u32) -> ProptestConfig {
    let said = ProptestConfig::default();
    if std::env::var_os("PROPTEST_CASES").is_some() { said } else { ProptestConfig { cases: few, ..said } }
}

/// `N` bytes that look random and are the same for ever: BLAKE3 of the name.
pub fn fixed<const N: usize>(name: &str) -> [u8; N] {
    let mut bytes = [0; N];
    blake3::Hasher::new().update(name.as_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

pub fn identity(name: &str) -> IdentityId {
    name.parse().unwrap()
}

pub fn epoch() -> ClusterEpoch {
    ClusterEpoch::from_bytes(fixed("epoch"))
}

/// Where the cluster's clock begins.
pub const BEGAN_MS: u64 = 1_700_000_000_000;
pub const MINUTE_MS: u64 = 60_000;
pub const HOUR_MS: u64 = 3_600_000;

/// One group: its machine, its rows, its log.
pub struct Group {
    pub group: GroupId,
    founders: Electorate,
    machine: Box<dyn Machine>,
    pub tables: MemoryTables,
    pub log: Vec<(u64, Vec<u8>)>,
    index: u64,
    /// What every voter's running clock shows: true time.
    running_ms: u64,
    /// No laws are run and no log is kept: for figures of what is large.
    pub lawless: bool,
}

impl Group {
    pub fn new(group: GroupId, founders: Electorate) -> Self {
        let machine: Box<dyn Machine> = match group {
            GroupId::CLUSTER => Box::new(ClusterMachine::new()),
            shard => Box::new(ShardMachine::new(shard, founders.clone())),
        };
        Self {
            group,
            founders,
            machine,
            tables: MemoryTables::default(),
            log: Vec::new(),
            index: 1,
            running_ms: 0,
            lawless: false,
        }
    }

    /// Applies an entry's bytes and checks all laws.
    pub fn apply_bytes(&mut self, bytes: Vec<u8>) -> Vec<Outcome> {
        self.index += 1;
        if self.lawless {
            let answer = self.machine.apply(&mut self.tables, self.index, &bytes).unwrap();
            return codec::decode::<Outcomes>(&answer).unwrap().outcomes;
        }
        let before = State::of(self.group, &self.tables);
        let answer = self.machine.apply(&mut self.tables, self.index, &bytes).unwrap();
        self.log.push((self.index, bytes));
        let after = State::of(self.group, &self.tables);
        laws::check(&after).unwrap();
        laws::check_step(&before, &after).unwrap();
        codec::decode::<Outcomes>(&answer).unwrap().outcomes
    }

    pub fn apply(&mut self, commands: Vec<EntryCommand>) -> Vec<Outcome> {
        let bytes = self.entry(commands);
        self.apply_bytes(bytes)
    }

    fn entry(&self, commands: Vec<EntryCommand>) -> Vec<u8> {
        let entry = Entry {
            salt: fixed(&format!("salt {} {}", self.group, self.index)),
            wall_unix_ms: BEGAN_MS + self.index,
            commands,
        };
        codec::encode(&entry)
    }

    /// The same of a group without laws, and how many rows were read and written, by table.
    pub fn apply_counted(
        &mut self,
        commands: Vec<EntryCommand>,
    ) -> (Vec<Outcome>, BTreeMap<u8, u64>, BTreeMap<u8, u64>) {
        assert!(self.lawless);
        let bytes = self.entry(commands);
        self.index += 1;
        let mut counted = Counted::over(&mut self.tables);
        let answer = self.machine.apply(&mut counted, self.index, &bytes).unwrap();
        let (reads, writes) = counted.cost();
        (codec::decode::<Outcomes>(&answer).unwrap().outcomes, reads, writes)
    }

    /// The next entries are so much further on in the log.
    pub fn place_after(&mut self, entries: u64) {
        self.index += entries;
    }

    /// What a node says; what it says of other groups is signed by a majority of their voters.
    pub fn node(&mut self, command: NodeCommand) -> Outcome {
        let command = self.attested(command);
        self.rogue(command)
    }

    /// What a node says, as it stands.
    pub fn rogue(&mut self, command: NodeCommand) -> Outcome {
        one(self.apply(vec![EntryCommand::Node(command)]))
    }

    /// A command that an honest node brings.
    pub fn client(&mut self, signed: SignedCommand) -> Outcome {
        let command = self.brought(signed);
        one(self.apply(vec![command]))
    }

    /// A command as an honest node brings it.
    pub fn brought(&self, signed: SignedCommand) -> EntryCommand {
        let claims = Claim::of(&signed);
        match claims.is_empty() {
            true => EntryCommand::Vouched(signed),
            false => {
                let signatures = claims.into_iter().map(|claim| self.signatures(claim)).collect();
                EntryCommand::Attested { command: signed, signatures }
            }
        }
    }

    /// Who votes in another group, as this one goes by it.
    pub fn electorate(&self, of: GroupId) -> Option<Electorate> {
        match self.ask(&Query::Electorate { of }) {
            Answer::Electorate(electorate) => Some(electorate),
            Answer::NotFound => (of == GroupId::CLUSTER).then(|| self.founders.clone()),
            other => panic!("{other:?}"),
        }
    }

    /// A majority of the voters that this group knows signs a claim; nobody, where it knows none.
    pub fn signatures(&self, claim: Claim) -> Vec<MemberSignature> {
        self.electorate(claim.by()).map_or_else(Vec::new, |electorate| majority_of(&electorate, claim))
    }

    /// The command with signatures where it has none.
    pub fn attested(&self, mut command: NodeCommand) -> NodeCommand {
        match &mut command {
            NodeCommand::FoundShard(said) => {
                let claim: Claim = said.value.clone().into();
                said.signatures = majority_of(&self.founders, claim);
            }
            NodeCommand::AdmitTenant(said) => self.sign_claim(said),
            NodeCommand::DecidePart(said) => self.sign_claim(said),
            NodeCommand::HideBlob(said) => self.sign_claim(said),
            NodeCommand::ReplaceMember(said) => self.sign_claim(said),
            NodeCommand::MemberReplaced(said) => self.sign_claim(said),
            NodeCommand::TellElectorate(said) => self.sign_claim(said),
            NodeCommand::EndPart(said) => self.sign_claim(said),
            NodeCommand::PartEnded(said) => self.sign_claim(said),
            NodeCommand::KeepPart(said) => self.sign_claim(said),
            NodeCommand::PartKept(said) => self.sign_claim(said),
            NodeCommand::Found(_)
            | NodeCommand::Tick(_)
            | NodeCommand::RebuildReplica(_)
            | NodeCommand::CollectGarbage { .. }
            | NodeCommand::Expire { .. } => {}
        }
        command
    }

    fn sign_claim<T: Clone + Into<Claim>>(&self, said: &mut Attested<T>) {
        if said.signatures.is_empty() {
            said.signatures = self.signatures(said.value.clone().into());
        }
    }

    /// What the bearer of a token asks.
    pub fn redeem(&mut self, signed: SignedRedemption) -> Outcome {
        one(self.apply(vec![EntryCommand::Redeem(signed)]))
    }

    /// A command that nobody but its caller stands for.
    pub fn alone(&mut self, signed: SignedCommand) -> Outcome {
        one(self.apply(vec![EntryCommand::Client(signed)]))
    }

    pub fn ask(&self, query: &Query) -> Answer {
        let answer = self.machine.query(&self.tables, &codec::encode(query)).unwrap();
        codec::decode(&answer).unwrap()
    }

    pub fn ask_bytes(&self, query: &[u8]) -> Answer {
        codec::decode(&self.machine.query(&self.tables, query).unwrap()).unwrap()
    }

    pub fn view(&self) -> GroupView {
        match self.ask(&Query::Group) {
            Answer::Group(view) => view,
            other => panic!("{other:?}"),
        }
    }

    /// A tick after so much time, for which all voters vouch. Where one of them began anew, or was silent in the tick
    /// before, another one comes first: it does not know yet how much time passed.
    pub fn tick(&mut self, elapsed_ms: u64) -> Outcome {
        let view = self.view();
        let ran_on = |voter: &VoterView| voter.last.is_some_and(|last| last.tick == view.clock.ticks);
        if !view.voters.iter().all(ran_on) {
            self.tick_with(self.reports());
            // What passed within the millisecond of a first report is not counted.
            self.wait(1);
        }
        self.wait(elapsed_ms);
        self.tick_with(self.reports())
    }

    pub fn tick_with(&mut self, reports: Vec<Report>) -> Outcome {
        let previous = self.view().clock.last_tick;
        self.node(NodeCommand::Tick(Tick { previous, reports }))
    }

    /// Lets time pass, which nobody has reported yet.
    pub fn wait(&mut self, elapsed_ms: u64) {
        self.running_ms += elapsed_ms;
    }

    /// A tick after so much time without the reports of some voters, whose states others do not share: who has the state `a` says what all
    /// others with that state say. Voters by their nodes.
    pub fn tick_of(&mut self, elapsed_ms: u64, silent: &[&str], states: &[(&str, &str)]) -> Outcome {
        self.wait(elapsed_ms);
        let view = self.view();
        let node_of = |of: ReplicaId| view.voters.iter().find(|voter| voter.replica == of).unwrap().node.to_string();
        let mut reports = Vec::new();
        for mut facts in self.facts() {
            let node = node_of(facts.replica);
            if let Some((_, state)) = states.iter().find(|(of, _)| *of == node) {
                facts.digest = Digest::from_bytes(fixed(&format!("state {state}")));
            }
            if !silent.contains(&node.as_str()) {
                reports.push(self.sign(facts));
            }
        }
        self.tick_with(reports)
    }

    /// The nodes of the voters that are fenced.
    pub fn fenced(&self) -> Vec<String> {
        let fenced = self.view().voters.into_iter().filter(|voter| voter.fenced);
        fenced.map(|voter| voter.node.to_string()).collect()
    }

    /// What each voter honestly says now, not signed yet.
    pub fn facts(&self) -> Vec<ReportFacts> {
        let view = self.view();
        let said = |voter: &VoterView| {
            let measured = Measured {
                incarnation: fixed(&format!("incarnation of {}", voter.node)),
                running_ms: self.running_ms,
                wall_unix_ms: BEGAN_MS + self.running_ms,
                durable_index: self.index,
                vote_term: 7,
            };
            view.report(epoch(), voter.replica, &measured)
        };
        view.voters.iter().map(said).collect()
    }

    /// The honest reports of all voters.
    pub fn reports(&self) -> Vec<Report> {
        self.facts().into_iter().map(|facts| self.sign(facts)).collect()
    }

    /// Signs what a voter says, with its own key.
    pub fn sign(&self, facts: ReportFacts) -> Report {
        let voter = self.view().voters.into_iter().find(|voter| voter.replica == facts.replica).unwrap();
        let joined = (0..8).map(|number| signing_key(&format!("node key {number}")));
        let key = [node_key(&voter.node)].into_iter().chain(joined).find(|key| key.public_key() == voter.signing_key);
        facts.sign(&key.expect("a node of the genesis, or one that joined with a key of these"))
    }

    /// The same log on empty tables.
    pub fn replayed(&self) -> MemoryTables {
        let mut tables = MemoryTables::default();
        for (index, bytes) in &self.log {
            self.machine.apply(&mut tables, *index, bytes).unwrap();
        }
        tables
    }
}

pub fn one(mut outcomes: Vec<Outcome>) -> Outcome {
    assert_eq!(outcomes.len(), 1, "{outcomes:?}");
    outcomes.remove(0)
}

pub fn done(outcome: Outcome) -> Done {
    match outcome {
        Outcome::Done(done) => done,
        other => panic!("not done: {other:?}"),
    }
}

pub fn refused(outcome: Outcome) -> Refusal {
    match outcome {
        Outcome::Refused(refusal) => refusal,
        other => panic!("not refused: {other:?}"),
    }
}

/// The signing key of a node of the genesis: that of `n3` is called `node 3`.
pub fn node_key(name: &NodeName) -> SigningKey {
    signing_key(&format!("node {}", name.to_string().trim_start_matches('n')))
}

/// The keys of all nodes that tests have: of the genesis, and of those that join.
static NODE_KEYS: LazyLock<BTreeMap<PublicKey, SigningKey>> = LazyLock::new(|| {
    let names = (0..32).map(|number| format!("node {number}")).chain((0..8).map(|number| format!("node key {number}")));
    names.map(|name| signing_key(&name)).map(|key| (key.public_key(), key)).collect()
});

/// What the first voters of an electorate sign, a bare majority.
pub fn majority_of(electorate: &Electorate, claim: Claim) -> Vec<MemberSignature> {
    some_of(electorate, electorate.voters.majority(), claim)
}

/// What its first `count` voters sign.
pub fn some_of(electorate: &Electorate, count: usize, claim: Claim) -> Vec<MemberSignature> {
    let Electorate { epoch, group: by, .. } = *electorate;
    let statement = Statement { epoch, by, claim };
    let sign = |(replica, key): (&ReplicaId, &PublicKey)| MemberSignature {
        replica: *replica,
        signature: statement.sign(&NODE_KEYS[key]),
    };
    electorate.voters.keys.iter().take(count).map(sign).collect()
}

pub fn signing_key(name: &str) -> SigningKey {
    SigningKey::from_secret(fixed(&format!("signing {name}"))).unwrap()
}

/// A claim that nobody signed yet: [`Group::node`] has a majority sign it.
pub fn claim<T>(value: T) -> Attested<T> {
    Attested { value, signatures: Vec::new() }
}

/// The digest that a group says it has.
pub fn digest(group: &Group) -> Digest {
    group.view().digest
}
