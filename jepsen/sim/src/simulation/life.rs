//! One life of a node's process in a simulation: put together as `strongroomd` does it (`node/src/wiring.rs`), over a
//! simulated host and without listeners.
//!
//! What a node runs is what runs here: consensus, the chunk store, all of `node/service` that decides or proposes. What is
//! not: TLS, HTTP/2, the doors of `node/api`, *sweep* and *tidy* (no fragments are written here).
//! Not here: when it begins and ends (`node.rs`).

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use strongroom_chunks::store::{ChunkStore, Options};
use strongroom_consensus::depth::LogDepth;
use strongroom_consensus::fatal::Fatal;
use strongroom_consensus::groups::{Consensus, Settings};
use strongroom_consensus::timing::Timing;
use strongroom_core::cluster::ClusterMachine;
use strongroom_core::entry::EntryCommand;
use strongroom_core::genesis::Genesis;
use strongroom_core::machine::Machine as Rules;
use strongroom_core::query::Query;
use strongroom_core::shard::ShardMachine;
use strongroom_format::codec;
use strongroom_format::id::{GroupId, NodeName};
use strongroom_host::Host;
use strongroom_host::clock::SimClock;
use strongroom_host::sim_disk::SimDisk;
use strongroom_identity::issuers::{IssuerTable, Issuers};
use strongroom_peers::error::PeerError;
use strongroom_peers::medium::{Medium, Question, Reply};
use strongroom_peers::peers::{Peers, Runtimes};
use strongroom_service::admit::{Admit, Memory};
use strongroom_service::attest::Attestor;
use strongroom_service::carry::{Answering, OverPeers};
use strongroom_service::collect::Collector;
use strongroom_service::decide::Decider;
use strongroom_service::expire::Expirer;
use strongroom_service::follow::{self, Follow};
use strongroom_service::founding;
use strongroom_service::gate::Gate;
use strongroom_service::keeping::Keeper;
use strongroom_service::majority::Majority;
use strongroom_service::members::Members;
use strongroom_service::membership::Controller;
use strongroom_service::propose::Proposer;
use strongroom_service::reads::Reads;
use strongroom_service::rebuild::Rebuild;
use strongroom_service::replicas::Replicas;
use strongroom_service::report::{Incarnation, Reporter};
use strongroom_service::route::Route;
use strongroom_service::sign::Signer;
use strongroom_service::tenants::Admitter;
use strongroom_service::tick::Ticker;
use strongroom_service::topology::Topology;
use strongroom_service::voice::Voice;

use crate::lies::{Lie, Lying};
use crate::simulation::clocks::{Now, Seen};
use crate::simulation::ledger::Ledger;
use crate::simulation::tenant::node_key;
use crate::simulation::trace::{Trace, Weight};
use crate::simulation::wires::{Ask, Said, Station, Wires};

/// What a client's command or question may take in a node.
const CLIENT_WITHIN: Duration = Duration::from_secs(8);
/// Blobs that nothing names wait so long before they are collected.
const GRACE: Duration = Duration::from_secs(30);

/// What all machines share.
pub(crate) struct World {
    pub(crate) seed: u64,
    pub(crate) genesis: Genesis,
    pub(crate) names: Vec<NodeName>,
    pub(crate) timing: Timing,
    pub(crate) depth: LogDepth,
    pub(crate) wires: Wires,
    pub(crate) trace: Trace,
    pub(crate) ledger: Ledger,
    /// Whether clients begin nothing more.
    pub(crate) is_quiet: AtomicBool,
    /// What disks answer for without doing it.
    pub(crate) lie: Lie,
}

impl World {
    /// Whether clients begin nothing more.
    pub(crate) fn is_quiet(&self) -> bool {
        self.is_quiet.load(Ordering::Relaxed)
    }

    fn station(&self, node: &NodeName) -> Option<Station> {
        self.names.iter().position(|name| name == node)
    }
}

/// What a life begins with.
pub(crate) struct Setup {
    pub(crate) world: Arc<World>,
    pub(crate) station: Station,
    pub(crate) life: u64,
    pub(crate) seed: u64,
    pub(crate) disk: SimDisk,
    pub(crate) clock: Seen,
    pub(crate) now: Now,
    pub(crate) shared: Arc<Shared>,
}

/// What a life shows to the simulation.
#[derive(Default)]
pub(crate) struct Shared {
    /// Open when the node listens.
    pub(crate) door: OnceLock<Arc<Door>>,
    /// There when consensus is open.
    pub(crate) consensus: OnceLock<Consensus>,
    /// Which of its replicas take part.
    pub(crate) gate: OnceLock<Gate>,
    /// Why the process ends itself. Consensus has it too: with all of this it would keep itself, and its disk, in memory.
    pub(crate) fatal: Arc<Mutex<Option<String>>>,
}

/// What answers others.
pub(crate) struct Door {
    names: Vec<NodeName>,
    answering: Answering,
}

impl Door {
    /// Answers what came from a machine.
    pub(crate) async fn answer(&self, world: &World, now: Now, from: Station, ask: Ask) -> Said {
        let who = self.answering.me.0.to_string();
        world.trace.say(now.ms(), &who, Weight::Detail, format_args!("← {}", Told(&ask)));
        match ask {
            Ask::Peer(question) => match self.names.get(from) {
                Some(node) => Said::Peer(question.answer(node.clone(), &self.answering).await),
                None => Said::Refused,
            },
            Ask::Submit { group, commands } => {
                Said::Entered(self.answering.proposer.submit(group, commands, CLIENT_WITHIN).await)
            }
            Ask::Register { group, command } => {
                let commands = vec![EntryCommand::Vouched(command)];
                Said::Entered(self.answering.proposer.propose(group, commands, CLIENT_WITHIN).await)
            }
            Ask::Operate(command) => {
                let commands = vec![EntryCommand::Operator(command)];
                Said::Entered(self.answering.proposer.propose(GroupId::CLUSTER, commands, CLIENT_WITHIN).await)
            }
            Ask::Read { group, query } => {
                let Ok(query) = codec::decode::<Query>(&query) else { return Said::Read(None) };
                let answer = self.answering.reads.linearizable(group, &query, CLIENT_WITHIN).await;
                Said::Read(answer.ok().map(|answer| codec::encode(&answer).into()))
            }
        }
    }
}

/// A question in a few words.
struct Told<'a>(&'a Ask);

impl std::fmt::Display for Told<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Ask::Peer(Question::Raft { message, .. }) => {
                let hash = blake3::hash(&message.body).as_bytes()[0];
                let (kind, bytes) = (message.kind, message.body.len());
                write!(f, "raft {kind} of group {} from {}: {bytes} bytes, {hash:02x}", message.group, message.from)
            }
            Ask::Peer(Question::Propose { group, entry, .. }) => {
                write!(f, "propose in group {group}: {} bytes", entry.len())
            }
            Ask::Peer(Question::Query { group, .. }) => write!(f, "query of group {group}"),
            Ask::Peer(Question::SignCheckpoint { wanted, .. }) => write!(f, "sign a log of group {}", wanted.group),
            Ask::Peer(Question::SignClaims { wanted, .. }) => write!(f, "sign claims of group {}", wanted.group),
            Ask::Peer(Question::PutFragment(put)) => write!(f, "put a fragment of {}", put.blob),
            Ask::Peer(Question::GetFragments(wanted)) => write!(f, "get {} fragments", wanted.wanted.len()),
            Ask::Peer(Question::Known { group, replica }) => write!(f, "known of {replica} in group {group}"),
            Ask::Peer(Question::Report { group, .. }) => write!(f, "report in group {group}"),
            Ask::Peer(Question::Ping) => write!(f, "ping"),
            Ask::Submit { group, commands } => write!(f, "{} commands in group {group}", commands.len()),
            Ask::Register { group, .. } => write!(f, "chunks in group {group}"),
            Ask::Operate(_) => write!(f, "an operator's command"),
            Ask::Read { group, .. } => write!(f, "a question to group {group}"),
        }
    }
}

/// The simulated network as a node's peers see it.
struct Through {
    world: Arc<World>,
    station: Station,
    now: Now,
}

#[async_trait]
impl Medium for Through {
    async fn ask(&self, to: &NodeName, question: Question) -> Result<Reply, PeerError> {
        let node = || to.clone();
        let station = self.world.station(to).ok_or_else(|| PeerError::NoSuchNode { node: node() })?;
        let answered = self.world.wires.ask(self.now.ms(), self.station, station, Ask::Peer(question));
        match answered.await {
            Ok(Said::Peer(reply)) => Ok(reply),
            Ok(Said::Refused) => Err(PeerError::Unreachable { node: node(), why: "nobody listens".into() }),
            Ok(Said::Broken) => Err(PeerError::Broken { node: node(), why: "the connection broke".into() }),
            // a client's answer, which nobody gives a node; or the network forgot: the deadline ends it
            Ok(Said::Entered(_) | Said::Read(_)) | Err(_) => std::future::pending().await,
        }
    }
}

/// Runs a node until its runtime is dropped, or until it cannot go on.
pub(crate) async fn live(setup: Setup) {
    let (world, shared) = (Arc::clone(&setup.world), Arc::clone(&setup.shared));
    let (who, now) = (world.names[setup.station].0.to_string(), setup.now);
    if let Err(why) = Box::pin(serve(setup)).await {
        world.trace.say(now.ms(), &who, Weight::Event, format_args!("does not start: {why}"));
        shared.fatal.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(why);
    }
}

async fn serve(setup: Setup) -> Result<(), String> {
    let Setup { world, station, life, seed, disk, clock, now, shared } = setup;
    let me = world.names[station].clone();
    let who: Arc<str> = me.0.to_string().into();
    let said = |error: &dyn std::error::Error| {
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(inner) = cause {
            text.push_str(&format!(": {inner}"));
            cause = inner.source();
        }
        text
    };
    let host = Host::simulated(seed, disk.clone(), SimClock::new(0)).with_clock(Arc::new(clock));
    let host = match world.lie {
        Lie::None => host,
        lie => host.with_files(Arc::new(Lying::new(Arc::new(disk), lie))),
    };
    let data_dir = Path::new("/data");
    let fatal = {
        let (fatal, trace, who) = (Arc::clone(&shared.fatal), world.trace.clone(), Arc::clone(&who));
        Fatal::new(move |why| {
            let mut fatal = fatal.lock().unwrap_or_else(PoisonError::into_inner);
            if fatal.is_none() {
                trace.say(now.ms(), &who, Weight::Event, format_args!("cannot go on: {why}"));
            }
            fatal.get_or_insert_with(|| why.to_owned());
        })
    };
    let medium = Arc::new(Through { world: Arc::clone(&world), station, now });
    let (peers, peers_runner) = Peers::through(medium, Runtimes::current());
    let options = Options { reserve_bytes: 0, ..Options::default() };
    let store = ChunkStore::open(&host, data_dir, options).await.map_err(|error| said(&error))?;
    let settings =
        Settings { data_dir: data_dir.to_owned(), node: me.clone(), timing: world.timing, depth: world.depth };
    let transport = Arc::new(OverPeers(peers.clone()));
    let consensus = Consensus::open(host.clone(), settings, transport, fatal).await.map_err(|error| said(&error))?;
    let _ = shared.consensus.set(consensus.clone());

    let genesis = world.genesis.clone();
    let at_first = Topology::at_first(&genesis);
    let (gate, founders) = (Gate::default(), genesis.founders());
    let _ = shared.gate.set(gate.clone());
    let rules = {
        let (founders, ledger, who) = (founders.clone(), world.ledger.clone(), Arc::clone(&who));
        move |group| -> Arc<dyn Rules> {
            let rules: Arc<dyn Rules> = match group {
                GroupId::CLUSTER => Arc::new(ClusterMachine::new()),
                group => Arc::new(ShardMachine::new(group, founders.clone())),
            };
            ledger.watch(rules, group, Arc::clone(&who), now)
        }
    };
    let replicas = Replicas::open(&host, data_dir, consensus.clone(), gate.clone(), Arc::new(rules));
    let mut replicas = replicas.await.map_err(|error| said(&error))?;
    let (publisher, topology) = follow::publish(at_first.clone());
    let route = Route::new(me.clone(), consensus.clone(), peers.clone(), topology.clone());
    let reads = Reads::new(route.clone());
    let members = Members::new(me.clone(), consensus.clone(), reads.clone(), store, topology.clone());
    let signing = Arc::new(node_key(&me));
    let voice = Voice {
        me: me.clone(),
        key: Arc::clone(&signing),
        consensus: consensus.clone(),
        reads: reads.clone(),
        gate: gate.clone(),
        topology: topology.clone(),
    };
    let attestor = Attestor::new(voice.clone());
    let proposer = Proposer::new(host.clone(), route.clone(), Majority::new(route, attestor.clone()));
    let reporter = Reporter::new(voice.clone(), Incarnation::begin(&host));
    let answering = Answering {
        me: me.clone(),
        consensus: consensus.clone(),
        proposer: proposer.clone(),
        reads: reads.clone(),
        members: members.clone(),
        memory: Memory::new(consensus.clone(), reads.clone(), topology.clone()),
        reporter: reporter.clone(),
        signer: Signer::new(voice),
        attestor,
    };
    let issuers = IssuerTable {
        cluster: genesis.cluster.0.clone(),
        issuers: Vec::new(),
        tenants: BTreeMap::new(),
        nodes: genesis.nodes.iter().map(|node| node.name.0.clone()).collect(),
        gone_nodes: Default::default(),
    };
    let (issuers, _) = Issuers::new(issuers);

    tokio::spawn(peers_runner.run());
    peers.set_nodes(follow::others(&at_first, &me)).await;
    let first = at_first.replica(GroupId::CLUSTER, &me);
    if let Some(replica) = replicas.held(GroupId::CLUSTER).or(first) {
        replicas.run(GroupId::CLUSTER, replica).await.map_err(|error| said(&error))?;
    }
    tokio::spawn(founding::found(consensus.clone(), reads.clone(), proposer.clone(), genesis));
    let admit = Admit {
        me: me.clone(),
        consensus: consensus.clone(),
        peers: peers.clone(),
        topology: topology.clone(),
        gate: gate.clone(),
    };
    tokio::spawn(admit.run());
    let rebuild = Rebuild {
        me: me.clone(),
        key: signing,
        consensus: consensus.clone(),
        reads: reads.clone(),
        proposer: proposer.clone(),
        topology: topology.clone(),
        gate: gate.clone(),
    };
    tokio::spawn(rebuild.run());
    let controller = Controller {
        consensus: consensus.clone(),
        reads: reads.clone(),
        proposer: proposer.clone(),
        topology: topology.clone(),
    };
    tokio::spawn(controller.run());
    let follow = Follow {
        me: me.clone(),
        consensus: consensus.clone(),
        replicas,
        gate,
        reads: reads.clone(),
        peers: peers.clone(),
        issuers,
        publisher,
    };
    tokio::spawn(follow.run());
    let admitter =
        Admitter { founders, consensus: consensus.clone(), reads: reads.clone(), proposer: proposer.clone(), topology };
    tokio::spawn(admitter.run());
    let decider = Decider { consensus: consensus.clone(), reads: reads.clone(), proposer: proposer.clone() };
    tokio::spawn(decider.run());
    let keeper = Keeper { consensus: consensus.clone(), reads: reads.clone(), proposer: proposer.clone() };
    tokio::spawn(keeper.run());
    let ticker = Ticker {
        me,
        host,
        consensus: consensus.clone(),
        peers,
        reporter,
        reads: reads.clone(),
        proposer: proposer.clone(),
    };
    tokio::spawn(ticker.run());
    let expirer = Expirer { consensus: consensus.clone(), reads: reads.clone(), proposer: proposer.clone() };
    tokio::spawn(expirer.run());
    tokio::spawn(Collector { consensus, reads, proposer, members, grace: GRACE }.run());

    let _ = shared.door.set(Arc::new(Door { names: world.names.clone(), answering }));
    world.trace.say(now.ms(), &who, Weight::Event, format_args!("listens, life {life}"));
    Ok(())
}
