//! A cluster of nodes in this process: each has a runtime, a disk and a name of its own, and can be killed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use strongroom_consensus::depth::LogDepth;
use strongroom_consensus::fatal::Fatal;
use strongroom_consensus::group::{GroupStatus, Member};
use strongroom_consensus::groups::{Consensus, ProposeError, Settings, StartError};
use strongroom_consensus::timing::Timing;
use strongroom_consensus::transport::{Class, Message, Transport, Unreachable};
use strongroom_core::machine::{DIGEST_TABLE, Machine};
use strongroom_core::tables::{Halt, Reads, Table, Tables};
use strongroom_format::id::{GroupId, NodeName, ReplicaId};
use strongroom_host::Host;
use strongroom_host::sim_disk::SimDisk;
use tokio::runtime::Runtime;
use tokio::sync::watch;

pub const GROUP: GroupId = GroupId(1);
pub const WITHIN: Duration = Duration::from_secs(60);

/// For what is so only while nobody elects without need. On a machine that has no time for a node, others elect, as they
/// should, and what was counted says nothing: then once more. What is wrong each time is wrong.
pub async fn undisturbed<F: Future<Output = Result<(), String>>>(mut attempt: impl FnMut() -> F) {
    const TRIES: usize = 8;
    let mut last = String::new();
    for _ in 0..TRIES {
        match attempt().await {
            Ok(()) => return,
            Err(why) => {
                println!("once more: {why}");
                last = why;
            }
        }
    }
    panic!("in each of {TRIES} tries: {last}");
}

/// Rules of a toy: an entry is a key and a value of equal halves, the answer is the index, the digest is a chain over
/// all entries in order, so that a lost, doubled or reordered entry shows. Two queries are fatal, and so is one entry.
pub struct Ledger;

const VALUES: Table = Table(1);

impl Machine for Ledger {
    fn apply(&self, tables: &mut dyn Tables, index: u64, entry: &[u8]) -> Result<Vec<u8>, Halt> {
        assert_ne!(entry, b"poison", "the rules met what they cannot apply");
        let (key, value) = entry.split_at(entry.len() / 2);
        tables.put(VALUES, key, value)?;
        let mut hasher = blake3::Hasher::new();
        hasher.update(&tables.get(DIGEST_TABLE, b"")?.unwrap_or_default());
        hasher.update(&index.to_le_bytes());
        hasher.update(entry);
        tables.put(DIGEST_TABLE, b"", hasher.finalize().as_bytes())?;
        Ok(index.to_le_bytes().to_vec())
    }

    fn query(&self, tables: &dyn Reads, query: &[u8]) -> Result<Vec<u8>, Halt> {
        match query {
            b"digest" => Ok(tables.get(DIGEST_TABLE, b"")?.unwrap_or_default()),
            b"count" => Ok(tables.range(VALUES, b"", &[0xff; 64], usize::MAX)?.len().to_le_bytes().to_vec()),
            b"panic" => panic!("the rules were asked to"),
            b"halt" => Err(Halt { why: "the rules were asked to".into() }),
            key => Ok(tables.get(VALUES, key)?.unwrap_or_default()),
        }
    }
}

/// An entry of the ledger.
pub fn entry(key: &str, value: &str) -> Vec<u8> {
    let width = key.len().max(value.len());
    format!("{key:<width$}{value:<width$}").into_bytes()
}

/// The kind of a message that has heartbeats of many groups.
pub const HEARTBEATS: u8 = 6;

/// Who is there, who cannot reach whom, how far they are from each other, and what went through.
#[derive(Default)]
pub struct Net {
    /// The profile of all nodes.
    pub timing: Timing,
    /// One way.
    pub delay: Duration,
    /// Of a thousand messages so many are lost, and of the answers as many.
    pub lost_per_mille: u64,
    nodes: Mutex<BTreeMap<NodeName, Consensus>>,
    cut: Mutex<BTreeSet<(NodeName, NodeName)>>,
    /// How many bytes the longest message had.
    pub longest: AtomicUsize,
    /// Pieces of snapshots.
    pub pieces: Pieces,
    dice: AtomicU64,
    /// How many messages were sent, by kind and urgency.
    sent: Mutex<BTreeMap<(u8, bool), u64>>,
    /// The last message that had heartbeats of several groups: from, to, what.
    heartbeats: Mutex<Option<(NodeName, NodeName, Message)>>,
    /// Whether such messages are answered with *not yet* for every heartbeat.
    pub all_not_yet: AtomicBool,
}

/// What is counted of pieces of snapshots, and done to them.
pub struct Pieces {
    /// By the last entry of the snapshot: bytes of it that were taken, and how many it has.
    pub sent: Mutex<BTreeMap<u64, (u64, u64)>>,
    /// The answer to the piece that reaches so many bytes is lost, once.
    pub lose_answer_at: Mutex<Option<u64>>,
    /// Pieces that would exceed so many bytes wait.
    pub let_through: watch::Sender<u64>,
}

impl Default for Pieces {
    fn default() -> Self {
        let let_through = watch::channel(u64::MAX).0;
        Self { sent: Mutex::default(), lose_answer_at: Mutex::default(), let_through }
    }
}

impl Pieces {
    const KIND: u8 = 5;

    /// Around the bytes of a piece: version, vote, last entry (term, index), place, length of all, length.
    const AROUND: usize = 1 + 17 + 16 + 8 + 8 + 4;

    /// All bytes that were taken.
    pub fn taken(&self) -> u64 {
        self.sent.lock().unwrap().values().map(|(bytes, _)| bytes).sum()
    }

    /// Waits until one may pass.
    async fn pass(&self, body: &[u8]) {
        let with_it = self.taken() + (body.len() - Self::AROUND) as u64;
        self.let_through.subscribe().wait_for(|bound| with_it <= *bound).await.unwrap();
    }

    /// Counts one that was taken and says whether its answer is lost.
    fn count(&self, body: &[u8]) -> bool {
        let number = |at: usize| u64::from_le_bytes(body[at..at + 8].try_into().unwrap());
        let (last, of) = (number(26), number(42));
        {
            let mut sent = self.sent.lock().unwrap();
            let (bytes, whole) = sent.entry(last).or_default();
            *bytes += (body.len() - Self::AROUND) as u64;
            *whole = of;
        }
        self.lose_answer_at.lock().unwrap().take_if(|at| *at <= self.taken()).is_some()
    }
}

impl Net {
    /// Nodes so far apart, of which every message is lost with this chance.
    pub fn of(timing: Timing, delay: Duration, lost_per_mille: u64) -> Self {
        Self { timing, delay, lost_per_mille, ..Self::default() }
    }

    /// How many messages of a kind were sent as urgent ones so far.
    pub fn sent(&self, kind: u8) -> u64 {
        self.sent.lock().unwrap().get(&(kind, true)).copied().unwrap_or_default()
    }

    /// The next message that has heartbeats of several groups: from, to, what.
    pub async fn next_heartbeats(&self) -> (NodeName, NodeName, Message) {
        self.heartbeats.lock().unwrap().take();
        loop {
            if let Some(found) = self.heartbeats.lock().unwrap().take() {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Cuts two nodes off from each other.
    pub fn cut(&self, one: &NodeName, other: &NodeName) {
        self.cut.lock().unwrap().extend([(one.clone(), other.clone()), (other.clone(), one.clone())]);
    }

    fn note(&self, from: &NodeName, to: &NodeName, message: &Message, class: Class) {
        *self.sent.lock().unwrap().entry((message.kind, class == Class::Heartbeat)).or_default() += 1;
        if message.kind == HEARTBEATS && message.body[1] != 1 {
            *self.heartbeats.lock().unwrap() = Some((from.clone(), to.clone(), message.clone()));
        }
    }

    fn is_lost(&self) -> bool {
        // any number that differs from the last one, mixed
        let mut mixed = self.dice.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % 1000 < self.lost_per_mille
    }

    /// Cuts a node off from all others, both ways.
    pub fn isolate(&self, node: &NodeName) {
        let others: Vec<NodeName> = self.nodes.lock().unwrap().keys().cloned().collect();
        let mut cut = self.cut.lock().unwrap();
        for other in others {
            cut.insert((node.clone(), other.clone()));
            cut.insert((other, node.clone()));
        }
    }

    pub fn heal(&self) {
        self.cut.lock().unwrap().clear();
    }
}

struct MemoryTransport {
    node: NodeName,
    net: Arc<Net>,
}

impl std::fmt::Debug for MemoryTransport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MemoryTransport")
    }
}

#[async_trait]
impl Transport for MemoryTransport {
    async fn call(
        &self,
        to: &NodeName,
        message: Message,
        class: Class,
        within: Duration,
    ) -> Result<Bytes, Unreachable> {
        let unreachable = |why: String| Unreachable { node: to.clone(), why };
        assert!(message.body.len() <= strongroom_consensus::wire::MESSAGE_BYTES_MAX);
        let net = &self.net;
        net.longest.fetch_max(message.body.len(), Ordering::Relaxed);
        net.note(&self.node, to, &message, class);
        if net.cut.lock().unwrap().contains(&(self.node.clone(), to.clone())) || net.is_lost() {
            tokio::time::sleep(within).await;
            return Err(unreachable("cut off".into()));
        }
        let there = net.nodes.lock().unwrap().get(to).cloned();
        let there = there.ok_or_else(|| unreachable("down".into()))?;
        let piece = (message.kind == Pieces::KIND).then(|| message.body.clone());
        if let Some(piece) = &piece {
            net.pieces.pass(piece).await;
        }
        let is_of_many = message.kind == HEARTBEATS;
        let travel = async || {
            if !net.delay.is_zero() {
                tokio::time::sleep(net.delay).await;
            }
        };
        let ask = async {
            travel().await;
            let answer = there.handle(&self.node, message).await;
            travel().await;
            if net.is_lost() {
                std::future::pending::<()>().await;
            }
            answer
        };
        match tokio::time::timeout(within, ask).await {
            Ok(Ok(_)) if piece.is_some_and(|piece| net.pieces.count(&piece)) => {
                Err(unreachable("the connection broke".into()))
            }
            Ok(Ok(answer)) if is_of_many && net.all_not_yet.load(Ordering::Relaxed) => Ok(all_not_yet(answer[1])),
            Ok(answer) => answer.map_err(|error| unreachable(error.to_string())),
            Err(_) => Err(unreachable("too late".into())),
        }
    }
}

/// The answer to so many heartbeats that says of each that its replica has not answered yet.
fn all_not_yet(count: u8) -> Bytes {
    [vec![1, count, 0, 0, 0], vec![1; count.into()]].concat().into()
}

/// A running node.
pub struct Node {
    pub name: NodeName,
    pub consensus: Consensus,
    pub fatal: Arc<Mutex<Vec<String>>>,
    runtime: Option<Runtime>,
}

impl Node {
    /// Starts a node over a disk, without groups.
    pub async fn start(name: &NodeName, host: Host, data_dir: PathBuf, net: &Arc<Net>) -> Self {
        Self::start_with(name, host, data_dir, net, (net.timing, LogDepth::default())).await
    }

    /// As `start`, with another patience and a log that is cut otherwise.
    pub async fn start_with(
        name: &NodeName,
        host: Host,
        data_dir: PathBuf,
        net: &Arc<Net>,
        (timing, depth): (Timing, LogDepth),
    ) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let fatal: Arc<Mutex<Vec<String>>> = Arc::default();
        let reasons = Arc::clone(&fatal);
        let transport = Arc::new(MemoryTransport { node: name.clone(), net: Arc::clone(net) });
        let settings = Settings { data_dir, node: name.clone(), timing, depth };
        let fatal_call = Fatal::new(move |why| reasons.lock().unwrap().push(why.to_owned()));
        let open = runtime.spawn(Consensus::open(host, settings, transport, fatal_call));
        let consensus = open.await.unwrap().unwrap();
        net.nodes.lock().unwrap().insert(name.clone(), consensus.clone());
        Self { name: name.clone(), consensus, fatal, runtime: Some(runtime) }
    }

    /// Starts a replica on the node.
    pub async fn run(&self, group: GroupId, replica: ReplicaId) {
        self.try_run(group, replica).await.unwrap();
    }

    /// Starts a replica on the node, if it can be.
    pub async fn try_run(&self, group: GroupId, replica: ReplicaId) -> Result<(), StartError> {
        let consensus = self.consensus.clone();
        let start = async move { consensus.start_group(group, replica, Arc::new(Ledger)).await };
        self.runtime.as_ref().unwrap().spawn(start).await.unwrap()
    }

    pub fn status(&self, group: GroupId) -> GroupStatus {
        self.consensus.status(group).unwrap()
    }

    /// The digest of the state as it is.
    pub async fn digest(&self, group: GroupId) -> Vec<u8> {
        self.consensus.read_local(group, b"digest".to_vec()).await.unwrap()
    }

    pub async fn wait(&self, group: GroupId, index: u64) {
        self.consensus.wait_applied(group, index, WITHIN).await.unwrap();
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Nodes with simulated disks, one replica of each group on each.
pub struct Cluster {
    pub net: Arc<Net>,
    pub groups: Vec<GroupId>,
    pub members: BTreeMap<ReplicaId, Member>,
    pub disks: BTreeMap<NodeName, SimDisk>,
    pub nodes: BTreeMap<NodeName, Node>,
    depth: LogDepth,
    seed: u64,
}

pub fn name(number: usize) -> NodeName {
    format!("n{number}").parse().unwrap()
}

impl Cluster {
    /// Starts and founds: the first `voters` nodes vote, the others learn.
    pub async fn start(voters: usize, learners: usize, groups: &[GroupId]) -> Self {
        Self::start_with(voters, learners, groups, (Timing::Lan, LogDepth::default())).await
    }

    /// As `start`, with another patience and logs that are cut otherwise.
    pub async fn start_with(voters: usize, learners: usize, groups: &[GroupId], ways: (Timing, LogDepth)) -> Self {
        let (timing, depth) = ways;
        Self::start_all(Net { timing, ..Net::default() }, voters, learners, groups, depth).await
    }

    /// As `start`, over another network.
    pub async fn start_over(net: Net, voters: usize, learners: usize, groups: &[GroupId]) -> Self {
        Self::start_all(net, voters, learners, groups, LogDepth::default()).await
    }

    async fn start_all(net: Net, voters: usize, learners: usize, groups: &[GroupId], depth: LogDepth) -> Self {
        let members = (1..=voters + learners)
            .map(|number| (ReplicaId(number as u64 * 256), Member { node: name(number), voter: number <= voters }))
            .collect();
        let disks = (1..=voters + learners).map(|number| (name(number), SimDisk::new())).collect();
        let mut cluster = Self {
            net: Arc::new(net),
            groups: groups.to_vec(),
            members,
            disks,
            nodes: BTreeMap::new(),
            depth,
            seed: 0,
        };
        for number in 1..=voters + learners {
            cluster.restart(&name(number)).await;
        }
        cluster
    }

    /// Starts a node again over its disk.
    pub async fn restart(&mut self, node: &NodeName) {
        let started = self.start_unadmitted(node).await;
        for &group in &self.groups {
            started.consensus.admit(group);
            started.consensus.initialize(group, self.members.clone()).await.unwrap();
        }
        self.nodes.insert(node.clone(), started);
    }

    /// Starts a node over its disk, with its replicas, which take no part yet.
    pub async fn start_unadmitted(&self, node: &NodeName) -> Node {
        let started = self.start_node(node).await;
        let (&replica, _) = self.members.iter().find(|(_, member)| member.node == *node).unwrap();
        for &group in &self.groups {
            started.run(group, replica).await;
        }
        started
    }

    /// Starts a node over its disk, without groups.
    pub async fn start_node(&self, node: &NodeName) -> Node {
        let host = Host::real().with_files(Arc::new(self.disks[node].clone()));
        Node::start_with(node, host, "/data".into(), &self.net, (self.net.timing, self.depth)).await
    }

    /// Cuts a node's power: what it had not synced is lost or torn.
    pub fn kill(&mut self, node: &NodeName) {
        self.net.nodes.lock().unwrap().remove(node);
        let killed = self.nodes.remove(node).unwrap();
        assert_eq!(*killed.fatal.lock().unwrap(), Vec::<String>::new(), "{node} ended before it was killed");
        self.seed += 1;
        self.disks[node].crash(self.seed);
        drop(killed);
    }

    /// The node that leads a group, once all that can talk agree.
    pub async fn leader(&self, group: GroupId) -> NodeName {
        for _ in 0..600 {
            let leads: Vec<&Node> = self.nodes.values().filter(|node| node.consensus.leads(group)).collect();
            if let [leader] = leads.as_slice() {
                return leader.name.clone();
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let seen: Vec<GroupStatus> = self.nodes.values().map(|node| node.status(group)).collect();
        panic!("no leader: {seen:#?}");
    }

    /// Proposes at whoever leads until it is done, and gives the index.
    pub async fn propose(&self, group: GroupId, bytes: Vec<u8>) -> u64 {
        for _ in 0..100 {
            let leader = self.leader(group).await;
            match self.nodes[&leader].consensus.propose(group, bytes.clone(), WITHIN).await {
                Ok(applied) => {
                    assert_eq!(applied.answer, applied.index.to_le_bytes());
                    return applied.index;
                }
                Err(ProposeError::NotLeader { .. } | ProposeError::Unknown { .. }) => {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                Err(error) => panic!("{error}"),
            }
        }
        panic!("no proposal went through");
    }

    /// Proposes many at once at the leader, each until it is done, and gives the last index.
    pub async fn propose_all(&self, group: GroupId, entries: impl Iterator<Item = Vec<u8>>) -> u64 {
        let leader = self.nodes[&self.leader(group).await].consensus.clone();
        let tasks: Vec<_> = entries
            .map(|bytes| {
                let (leader, proposed) = (leader.clone(), bytes.clone());
                (bytes, tokio::spawn(async move { leader.propose(group, proposed, WITHIN).await }))
            })
            .collect();
        let mut last = 0;
        for (bytes, task) in tasks {
            last = last.max(match task.await.unwrap() {
                Ok(applied) => applied.index,
                Err(_) => self.propose(group, bytes).await,
            });
        }
        last
    }

    /// Waits until all running nodes have applied an index, and checks that they agree.
    pub async fn agree(&self, group: GroupId, index: u64) {
        let mut digests = BTreeSet::new();
        for node in self.nodes.values() {
            node.wait(group, index).await;
            digests.insert(node.digest(group).await);
        }
        assert_eq!(digests.len(), 1, "replicas disagree");
        self.check_health();
    }

    pub fn check_health(&self) {
        for node in self.nodes.values() {
            assert_eq!(*node.fatal.lock().unwrap(), Vec::<String>::new(), "{} cannot go on", node.name);
        }
    }
}
