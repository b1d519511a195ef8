//! A node, put together: opens what lies on the disk, connects the packages, starts every task, ends them in order.
//!
//! ```text
//!   settings, genesis, identity ─▶ chunks, consensus ─▶ peers, service, workers ─▶ five listeners
//!   SIGTERM ─▶ listeners ─▶ workers ─▶ consensus (last checkpoint) ─▶ chunks
//! ```
//!
//! All tasks of the node start here and nowhere else. Two runtimes: one thread for Raft, heartbeats and small calls, the
//! other for bulk, so that hashing makes no heartbeat late. Not here: decisions.

use std::collections::BTreeMap;
use std::fs;
use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use strongroom_api::authority::Authorities;
use strongroom_api::callers::Callers;
use strongroom_api::enrol::{EnrolmentDoor, EnrolmentPlane, Room};
use strongroom_api::operators::OperatorsPlane;
use strongroom_api::ops::{self, Ops};
use strongroom_api::serve::{serve_enrolment, serve_operator, serve_peer, serve_tenant};
use strongroom_api::vaults::VaultsPlane;
use strongroom_chunks::coding;
use strongroom_chunks::store::{ChunkStore, Options};
use strongroom_consensus::fatal::Fatal;
use strongroom_consensus::groups::{Consensus, Settings};
use strongroom_consensus::timing;
use strongroom_core::cluster::ClusterMachine;
use strongroom_core::machine::Machine;
use strongroom_core::shard::ShardMachine;
use strongroom_format::id::{GroupId, NodeName};
use strongroom_format::keys::KeyFile as _;
use strongroom_format::role::Plane;
use strongroom_format::sign::SigningKey;
use strongroom_host::Host;
use strongroom_identity::acceptor::{Acceptor, HandshakeLimits};
use strongroom_identity::connect::Connector;
use strongroom_identity::doorstep::Doorstep;
use strongroom_identity::issuers::Issuers;
use strongroom_identity::reload::{self, Pair};
use strongroom_peers::peers::{Peers, Runtimes};
use strongroom_proto_identity::certificate::Purpose;
use strongroom_proto_identity::tls::{read_certificates, read_private};
use strongroom_service::admit::{Admit, Memory};
use strongroom_service::attest::Attestor;
use strongroom_service::carry::{Answering, OverPeers};
use strongroom_service::catalog::Catalog;
use strongroom_service::coders::Coders;
use strongroom_service::collect::Collector;
use strongroom_service::decide::Decider;
use strongroom_service::expire::Expirer;
use strongroom_service::follow::{self, Follow};
use strongroom_service::founding;
use strongroom_service::gate::Gate;
use strongroom_service::gather::Gather;
use strongroom_service::keeping::Keeper;
use strongroom_service::majority::Majority;
use strongroom_service::members::Members;
use strongroom_service::membership::Controller;
use strongroom_service::policies::Policies;
use strongroom_service::propose::Proposer;
use strongroom_service::rates::Rates;
use strongroom_service::readiness::Readiness;
use strongroom_service::reads::Reads;
use strongroom_service::rebuild::Rebuild;
use strongroom_service::receipts::Receipts;
use strongroom_service::replicas::Replicas;
use strongroom_service::report::{Incarnation, Reporter};
use strongroom_service::restore::Restores;
use strongroom_service::route::Route;
use strongroom_service::sign::Signer;
use strongroom_service::spread::Spread;
use strongroom_service::standing::Standings;
use strongroom_service::status::Statuses;
use strongroom_service::sweep::Sweeper;
use strongroom_service::tenants::Admitter;
use strongroom_service::tick::Ticker;
use strongroom_service::upload::Uploads;
use strongroom_service::usage::Usages;
use strongroom_service::voice::Voice;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::found::root_file;
use crate::origin::Origin;
use crate::processes::PID_FILE;
use crate::settings::{NodeSettings, Timing, endpoint};
use crate::{kill_switch, metrics};

/// Lanes that encode and rebuild: as many as there are cores on small machines.
const CODING_LANES: usize = 2;
/// Blobs under way in this node over all upload streams.
const UPLOAD_BYTES_MAX: usize = 192 << 20;
/// How often idle segments are cut to size and the index is made durable.
const TIDY_EVERY: Duration = Duration::from_secs(30);
/// A node that was asked to end takes no longer to close what it has open; its service manager has more patience.
const CLOSED_WITHIN: Duration = Duration::from_secs(60);

/// Runs a future on a runtime of its own, for commands that are no node.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("the system gives a program two threads")
        .block_on(future)
}

/// Sends the log to stderr, for processes that serve.
pub fn log_to_stderr() {
    tracing_subscriber::fmt()
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_env("STRONGROOM_LOG")
                .unwrap_or_else(|_| "info,openraft=error,h2=warn".into()),
        )
        .with_writer(std::io::stderr)
        .with_ansi(false)
        // A word that cannot be written, say because the disk is full, ends no thread.
        .log_internal_errors(false)
        .init();
}

/// Runs a node until SIGINT or SIGTERM, or until something breaks that a node cannot go on with.
pub fn run(config: &Path) -> anyhow::Result<()> {
    log_to_stderr();
    let settings = NodeSettings::read(config)?;
    coding::check_cpu().map_err(anyhow::Error::msg)?;
    let builder = |threads: usize, name: &str| {
        tokio::runtime::Builder::new_multi_thread().worker_threads(threads).thread_name(name).enable_all().build()
    };
    let control = builder(1, "control").context("no thread for the control runtime")?;
    let bulk = builder(2, "bulk").context("no threads for the bulk runtime")?;
    let runtimes = Runtimes { control: control.handle().clone(), bulk: bulk.handle().clone() };
    let ended = control.block_on(serve(settings, runtimes));
    // A node that cannot go on waits for nobody: the process ends with what it has begun.
    let patience = if ended.is_ok() { Duration::from_secs(2) } else { Duration::ZERO };
    bulk.shutdown_timeout(patience);
    control.shutdown_timeout(patience);
    ended
}

async fn serve(settings: NodeSettings, runtimes: Runtimes) -> anyhow::Result<()> {
    let host = Host::real();
    let data_dir = settings.data_dir.clone();
    let _only = OnlyProcess::claim(&data_dir)?;
    let origin = Origin::read(&data_dir)?;
    let me: NodeName = settings.node.parse().context("node")?;
    let (region, signing_key) = origin.place(&me).with_context(|| format!("the cluster has no node {me}"))?;
    ensure!(origin.cluster().to_string() == settings.cluster, "the genesis is of cluster {}", origin.cluster());
    ensure!(region.to_string() == settings.region, "the cluster has {me} in region {region}");
    let genesis = origin.genesis.clone();
    let recorder = metrics::install()?;

    let identity = data_dir.join("identity");
    let pair = |plane: Plane, purposes: &'static [Purpose]| {
        let file = |end: &str| identity.join(format!("{plane}.{end}"));
        Pair::open(plane.as_str(), file("pem"), file("key"), purposes)
            .with_context(|| format!("certificate of the {plane} plane"))
    };
    let peer_pair = pair(Plane::Peer, &[Purpose::Server, Purpose::Client])?;
    let tenant_pair = pair(Plane::Tenant, &[Purpose::Server])?;
    let operator_pair = pair(Plane::Operator, &[Purpose::Server])?;
    let mut roots = BTreeMap::new();
    if settings.listen.enrol.is_some() {
        for plane in Plane::ALL {
            let file = identity.join(root_file(plane));
            let certificates = read_certificates(&file).with_context(|| {
                format!("who enrols here needs the CA's certificate in {}; or remove listen.enrol", file.display())
            })?;
            roots.extend(certificates.into_iter().next().map(|root| (plane, root)));
        }
    }
    let signing_text = read_private(&identity.join("signing.key")).context("this node's signing key")?;
    let signing = SigningKey::from_text(std::str::from_utf8(&signing_text).context("the signing key is no text")?)
        .context("this node's signing key")?;
    ensure!(signing.public_key() == signing_key, "the signing key is not the one that the cluster has for {me}");

    let (issuers, skipped) = Issuers::new(origin.issuers());
    ensure!(skipped.is_empty(), "what the node began with has an issuer that vouches for nobody: {skipped:?}");
    let (fatal_sender, mut fatal_reasons) = mpsc::channel::<String>(4);
    let fatal = Fatal::new(move |why| {
        // One reason is enough; the channel is full only after several.
        fatal_sender.try_send(why.to_owned()).ok();
    });

    let connector = Connector::new(&host, peer_pair.presented(), &issuers);
    let authorities = Authorities::new(&connector, settings.ca.by_plane());
    let (peers, peers_runner) = Peers::new(connector, runtimes.clone());
    let options = Options { reserve_bytes: settings.storage.reserve_bytes, ..Options::default() };
    let store = ChunkStore::open(&host, &data_dir, options).await.context("the chunk store does not open")?;
    let timing = match settings.timing {
        Timing::Lan => timing::Timing::Lan,
        Timing::Wan => timing::Timing::Wan,
    };
    let consensus = Consensus::open(
        host.clone(),
        Settings { data_dir: data_dir.clone(), node: me.clone(), timing, depth: settings.log.depth()? },
        Arc::new(OverPeers(peers.clone())),
        fatal,
    )
    .await
    .context("consensus does not open")?;

    let gate = Gate::default();
    let founders = genesis.founders();
    let rules = {
        let founders = founders.clone();
        move |group| -> Arc<dyn Machine> {
            match group {
                GroupId::CLUSTER => Arc::new(ClusterMachine::new()),
                group => Arc::new(ShardMachine::new(group, founders.clone())),
            }
        }
    };
    let mut replicas = Replicas::open(&host, &data_dir, consensus.clone(), gate.clone(), Arc::new(rules)).await?;
    let (publisher, topology) = follow::publish(origin.topology());
    let route = Route::new(me.clone(), consensus.clone(), peers.clone(), topology.clone());
    let reads = Reads::new(route.clone());
    let coders = Coders::new(&host, CODING_LANES);
    let members = Members::new(me.clone(), consensus.clone(), reads.clone(), store.clone(), topology.clone());
    let spread = Spread::new(me.clone(), peers.clone(), members.clone(), coders.clone());
    let gather = Gather::new(me.clone(), peers.clone(), members.clone(), coders.clone());
    let signing = Arc::new(signing);
    let voice = Voice {
        me: me.clone(),
        key: Arc::clone(&signing),
        consensus: consensus.clone(),
        reads: reads.clone(),
        gate: gate.clone(),
        topology: topology.clone(),
    };
    let attestor = Attestor::new(voice.clone());
    let majority = Majority::new(route.clone(), attestor.clone());
    let proposer = Proposer::new(host.clone(), route.clone(), majority);
    let memory = Memory::new(consensus.clone(), reads.clone(), topology.clone());
    let incarnation = Incarnation::begin(&host);
    let reporter = Reporter::new(voice.clone(), incarnation);
    let signer = Signer::new(voice);
    let answering = Answering {
        me: me.clone(),
        consensus: consensus.clone(),
        proposer: proposer.clone(),
        reads: reads.clone(),
        members: members.clone(),
        memory,
        reporter: reporter.clone(),
        signer: signer.clone(),
        attestor,
    };
    let standings = Standings::new(reads.clone(), topology.clone());
    let callers = Callers::new(standings.clone());
    let statuses =
        Statuses::new(me.clone(), host.clone(), peers.clone(), route.clone(), reads.clone(), topology.clone());
    let door = settings.listen.enrol.and_then(|enrol| {
        let authority = roots.get(&Plane::Tenant)?.clone();
        Some(EnrolmentDoor { endpoint: endpoint(&settings.address, enrol.port()), authority })
    });
    let enrolment = EnrolmentPlane {
        host: host.clone(),
        topology: topology.clone(),
        issuers: issuers.clone(),
        standings,
        reads: reads.clone(),
        proposer: proposer.clone(),
        authorities,
        roots,
        genesis: Arc::new(genesis.clone()),
        room: Room::default(),
    };
    let vaults = VaultsPlane {
        callers: callers.clone(),
        topology: topology.clone(),
        route,
        proposer: proposer.clone(),
        uploads: Uploads::new(topology.clone(), reads.clone(), proposer.clone(), spread, coders, UPLOAD_BYTES_MAX),
        restores: Restores::new(topology.clone(), reads.clone(), gather),
        catalog: Catalog::new(reads.clone(), topology.clone()),
        receipts: Receipts::new(me.clone(), signer, peers.clone(), reads.clone(), topology.clone()),
        statuses: statuses.clone(),
        usages: Usages::new(reads.clone(), topology.clone()),
        rates: Rates::default(),
        door: door.clone(),
    };
    let operators = OperatorsPlane {
        callers,
        topology: topology.clone(),
        reads: reads.clone(),
        proposer: proposer.clone(),
        statuses,
        door,
    };

    let mut tasks = JoinSet::new();
    let control = &runtimes.control;
    tasks.spawn_on(peers_runner.run(), control);
    // Peers must be known before the first election.
    peers.set_nodes(follow::others(&origin.topology(), &me)).await;
    // The replica that lies here; on a disk that has none, the one that the node began with. A node that nobody told
    // learns its own from whoever leads (worker *follow*).
    let at_first = origin.topology().replica(GroupId::CLUSTER, &me);
    if let Some(replica) = replicas.held(GroupId::CLUSTER).or(at_first) {
        replicas.run(GroupId::CLUSTER, replica).await?;
    }
    tasks.spawn_on(founding::found(consensus.clone(), reads.clone(), proposer.clone(), genesis.clone()), control);
    let admit = Admit {
        me: me.clone(),
        consensus: consensus.clone(),
        peers: peers.clone(),
        topology: topology.clone(),
        gate: gate.clone(),
    };
    tasks.spawn_on(admit.run(), control);
    let rebuild = Rebuild {
        me: me.clone(),
        key: Arc::clone(&signing),
        consensus: consensus.clone(),
        reads: reads.clone(),
        proposer: proposer.clone(),
        topology: topology.clone(),
        gate: gate.clone(),
    };
    tasks.spawn_on(rebuild.run(), control);
    let controller = Controller {
        consensus: consensus.clone(),
        reads: reads.clone(),
        proposer: proposer.clone(),
        topology: topology.clone(),
    };
    tasks.spawn_on(controller.run(), control);
    let follow = Follow {
        me: me.clone(),
        consensus: consensus.clone(),
        replicas,
        gate: gate.clone(),
        reads: reads.clone(),
        peers: peers.clone(),
        issuers: issuers.clone(),
        publisher,
    };
    tasks.spawn_on(follow.run(), control);
    let admitter = Admitter {
        founders,
        consensus: consensus.clone(),
        reads: reads.clone(),
        proposer: proposer.clone(),
        topology: topology.clone(),
    };
    tasks.spawn_on(admitter.run(), control);
    let decider = Decider { consensus: consensus.clone(), reads: reads.clone(), proposer: proposer.clone() };
    tasks.spawn_on(decider.run(), control);
    let keeper = Keeper { consensus: consensus.clone(), reads: reads.clone(), proposer: proposer.clone() };
    tasks.spawn_on(keeper.run(), control);
    let ticker = Ticker {
        me: me.clone(),
        host: host.clone(),
        consensus: consensus.clone(),
        peers: peers.clone(),
        reporter,
        reads: reads.clone(),
        proposer: proposer.clone(),
    };
    tasks.spawn_on(ticker.run(), control);
    let expirer = Expirer { consensus: consensus.clone(), reads: reads.clone(), proposer: proposer.clone() };
    tasks.spawn_on(expirer.run(), control);
    let policies = Policies {
        consensus: consensus.clone(),
        reads: reads.clone(),
        proposer: proposer.clone(),
        topology: topology.clone(),
        every: Duration::from_secs(settings.storage.expire_seconds),
    };
    tasks.spawn_on(policies.run(), control);
    let collector = Collector {
        consensus: consensus.clone(),
        reads: reads.clone(),
        proposer: proposer.clone(),
        members: members.clone(),
        grace: Duration::from_secs(settings.storage.grace_seconds),
    };
    tasks.spawn_on(collector.run(), control);
    let sweeper = Sweeper {
        me: me.clone(),
        store: store.clone(),
        consensus: consensus.clone(),
        reads: reads.clone(),
        gate: gate.clone(),
        topology: topology.clone(),
        every: Duration::from_secs(settings.storage.sweep_seconds),
    };
    tasks.spawn_on(sweeper.run(), control);
    tasks.spawn_on(tidy(store.clone()), control);
    if settings.test.is_some_and(|test| test.kill_groups) {
        tasks.spawn_on(kill_switch::watch(data_dir.clone(), consensus.clone()), control);
    }

    let listen = &settings.listen;
    let acceptor =
        |plane: Plane, pair: &Pair| Acceptor::new(&host, plane, pair.presented(), &issuers, HandshakeLimits::default());
    let doorstep = Doorstep::new(&host, tenant_pair.presented(), HandshakeLimits::default());
    let bind = async |at| host.connections().listen(at).await.with_context(|| format!("cannot listen on {at}"));
    let (stop, stopped) = watch::channel(false);
    let until_stopped = || {
        let mut stopped = stopped.clone();
        // The sender lives longer than every listener.
        async move { stopped.wait_for(|stopped| *stopped).await.map(|_| ()).unwrap_or_default() }
    };
    let mut listeners = JoinSet::new();
    let incoming = acceptor(Plane::Peer, &peer_pair).serve(bind(listen.peer).await?);
    let (calls, fragments) = serve_peer(incoming, Arc::new(answering), until_stopped);
    listeners.spawn_on(async { calls.await.context("peer listener") }, control);
    listeners.spawn_on(async { fragments.await.context("peer listener, fragments") }, &runtimes.bulk);
    // The tenants' issuers come with the cluster map: before it is known, good certificates would be turned away.
    let tenants = acceptor(Plane::Tenant, &tenant_pair);
    let (mut map_known, at, tenant_host) = (topology.clone(), listen.tenant, host.clone());
    let stopped_tenants = until_stopped();
    let served = async move {
        while map_known.now().shards.is_empty() {
            if !map_known.changed().await {
                return Ok(());
            }
        }
        let listener = tenant_host.connections().listen(at).await.with_context(|| format!("cannot listen on {at}"))?;
        tracing::info!(tenant = %at, "serving tenants");
        serve_tenant(tenants.serve(listener), vaults, stopped_tenants).await.context("tenant listener")
    };
    listeners.spawn_on(served, &runtimes.bulk);
    let incoming = acceptor(Plane::Operator, &operator_pair).serve(bind(listen.operator).await?);
    let served = serve_operator(incoming, operators, until_stopped());
    listeners.spawn_on(async { served.await.context("operator listener") }, control);
    if let Some(at) = listen.enrol {
        let served = serve_enrolment(doorstep.serve(bind(at).await?), enrolment, until_stopped());
        listeners.spawn_on(async { served.await.context("enrolment listener") }, control);
    }
    tasks.spawn_on(reload::watch(host.clone(), vec![peer_pair, tenant_pair, operator_pair]), control);
    let ops = Ops { readiness: Readiness::new(me.clone(), consensus.clone(), gate, topology), metrics: recorder };
    let served = ops::serve(bind(listen.ops).await?, ops, until_stopped());
    listeners.spawn_on(async { served.await.context("ops listener") }, control);
    tracing::info!(node = %me, peer = %listen.peer, "serving nodes");

    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    // What cannot go on is not closed in order: over a log that has failed that may never come to an end, and meanwhile its
    // groups, which are as good as ever on the disk, would be taken for broken and replaced.
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
        Some(why) = fatal_reasons.recv() => bail!("{why}"),
        why = store.failed() => return Err(anyhow::Error::new(why).context("the chunk store failed")),
        Some(ended) = listeners.join_next() => bail!("a listener ended: {ended:?}"),
    }
    stop.send_replace(true);
    let patience =
        tokio::time::timeout(Duration::from_secs(3), async { while listeners.join_next().await.is_some() {} });
    if patience.await.is_err() {
        tracing::info!("connections were still open after 3 s");
    }
    let closed = tokio::time::timeout(CLOSED_WITHIN, async {
        tasks.shutdown().await;
        consensus.shutdown().await;
        if let Err(error) = store.close().await {
            tracing::warn!(%error, "the chunk store did not close in order; it is reread at the next start");
        }
    });
    if closed.await.is_err() {
        tracing::warn!(
            "not everything was closed in order within {CLOSED_WITHIN:?}; it is recovered at the next start"
        );
    }
    Ok(())
}

/// Worker *tidy*: cuts idle segments to size and makes the index durable from time to time.
async fn tidy(store: ChunkStore) {
    loop {
        tokio::time::sleep(TIDY_EVERY).await;
        if let Err(error) = store.tidy().await {
            tracing::warn!(%error, "the chunk store was not tidied");
        }
    }
}

/// Only one process at a time may run on a data directory. Holds a lock on the pid file for as long as it lives.
struct OnlyProcess(fs::File);

impl OnlyProcess {
    fn claim(data_dir: &Path) -> anyhow::Result<Self> {
        use std::io::Write as _;
        let path = data_dir.join(PID_FILE);
        let mut file = fs::OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .with_context(|| format!("cannot write {}", path.display()))?;
        rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive)
            .map_err(|_| anyhow::anyhow!("another process runs on {}", data_dir.display()))?;
        file.set_len(0)?;
        writeln!(file, "{}", std::process::id())?;
        Ok(Self(file))
    }
}

impl Drop for OnlyProcess {
    fn drop(&mut self) {
        // What is left in the file names a process that is gone.
        self.0.set_len(0).ok();
    }
}
