//! A cluster of real processes for tests: `strongroomd dev` in a directory of its own, its nodes killed and started
//! again, asked through the SDK, looked at from outside.
//!
//! ```text
//!   test process ──pipe──▶ sh (the watch) ──▶ strongroomd dev ──▶ nodes
//!        └── ends, however it ends: the pipe closes ──▶ TERM to dev, which ends all nodes ──▶ the directory goes
//! ```
//!
//! Promises: nothing outlives the test's process, also when that is killed. Not here: the cluster that tests share
//! (`shared.rs`), talking without the SDK (`speaker.rs`).

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;
use strongroom::client::Client;
use strongroom::profile::Profile;
use strongroom_core::genesis::Genesis;
use strongroom_format::codec;
use strongroom_format::id::ClusterEpoch;

use crate::secrets::{nothing_secret, secrets_in};

/// How long anything may take that must come to pass: elections and starts on a loaded machine are in it.
pub const PATIENCE: Duration = Duration::from_secs(180);
/// Between two looks at a condition.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Waits for the end of its input, then ends what it started and removes its directory.
const WATCH: &str = r#"
"$1" dev --data "$2/cluster" --nodes "$3" --regions "$4" --tenants "$5" >"$2/dev.out" 2>>"$2/dev.log" &
dev=$!
echo $dev >"$2/dev.pid"
cat >/dev/null
kill -TERM $dev
wait $dev
test -n "$STRONGROOM_TEST_KEEP" || rm -rf "$2"
"#;

/// What `dev.json` says.
#[derive(Deserialize)]
struct DevFile {
    version: u32,
    cluster: String,
    nodes: Vec<DevNode>,
    profiles: BTreeMap<String, PathBuf>,
}

/// A node in `dev.json`.
#[derive(Clone, Debug, Deserialize)]
pub struct DevNode {
    /// Its name.
    pub name: String,
    /// Its region.
    pub region: String,
    argv: Vec<String>,
    /// Its data directory.
    pub data_dir: PathBuf,
    /// Its listener for tenants.
    pub tenant: SocketAddr,
    /// Its listener for nodes.
    pub peer: SocketAddr,
    /// Its listener for operators.
    pub operator: SocketAddr,
    /// Its metrics.
    pub ops: SocketAddr,
    /// Its listener for whoever has a token.
    pub enrol: SocketAddr,
}

/// A running cluster. Dropping it ends it.
pub struct Cluster {
    home: PathBuf,
    /// The cluster's name.
    pub name: String,
    /// Its nodes.
    pub nodes: Vec<DevNode>,
    profiles: BTreeMap<String, PathBuf>,
    watch: Child,
    /// Nodes that were started again, by name.
    restarted: BTreeMap<String, Child>,
}

impl Cluster {
    /// Founds one with so many nodes in three regions, and these tenants; the first is spread over all three shards.
    pub fn start(nodes: usize, tenants: &[&str]) -> Self {
        let home = tempfile::Builder::new().prefix("strongroom-it-").tempdir().expect("a temporary directory").keep();
        let watch = Command::new("sh")
            .args(["-c", WATCH, "watch", env!("CARGO_BIN_EXE_strongroomd")])
            .arg(&home)
            .args([&nodes.to_string(), "3", &tenants.join(",")])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // An interrupt from a terminal ends us, and that ends the rest in order.
            .process_group(0)
            .spawn()
            .expect("sh runs");
        let mut cluster = Self {
            home,
            name: String::new(),
            nodes: Vec::new(),
            profiles: BTreeMap::new(),
            watch,
            restarted: BTreeMap::new(),
        };
        let dev_json = cluster.directory().join("dev.json");
        let began = Instant::now();
        while !dev_json.exists() {
            let ended = cluster.dev_pid().is_some_and(|pid| !is_alive(pid)) && !dev_json.exists();
            assert!(!ended && began.elapsed() < PATIENCE, "the cluster does not serve; its log:\n{}", cluster.log());
            pause();
        }
        let text = fs::read_to_string(&dev_json).expect("dev.json is readable");
        let file: DevFile = serde_json::from_str(&text).expect("dev.json is as CONTRACTS says");
        assert_eq!((file.version, file.nodes.len()), (1, nodes));
        (cluster.name, cluster.nodes, cluster.profiles) = (file.cluster, file.nodes, file.profiles);
        cluster
    }

    /// The directory that `dev` was given.
    pub fn directory(&self) -> PathBuf {
        self.home.join("cluster")
    }

    /// The cluster's epoch, as it was founded.
    pub fn epoch(&self) -> ClusterEpoch {
        let bytes = fs::read(self.nodes[0].data_dir.join("genesis")).expect("a node has its genesis");
        codec::decode::<Genesis>(&bytes).expect("a genesis").epoch
    }

    /// A directory for the test's own files, new with each call.
    pub fn scratch(&self) -> PathBuf {
        tempfile::Builder::new().prefix("scratch-").tempdir_in(&self.home).expect("a directory of one's own").keep()
    }

    /// What dev and all nodes have logged.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.home.join("dev.log")).unwrap_or_default()).into_owned()
    }

    /// The path of a profile.
    pub fn profile(&self, name: &str) -> &Path {
        self.profiles.get(name).unwrap_or_else(|| panic!("dev makes a profile {name}"))
    }

    /// The SDK with a profile: one of dev's, or of a tenant that was admitted since (`tenant.rs`).
    pub async fn client(&self, profile: &str) -> Client {
        let file = self.directory().join("profiles").join(format!("{profile}.toml"));
        let profile = Profile::read(&file).expect("profiles are profiles");
        Client::connect(profile, PATIENCE).await.expect("the cluster answers")
    }

    /// A node by name.
    pub fn node(&self, name: &str) -> &DevNode {
        self.nodes.iter().find(|node| node.name == name).unwrap_or_else(|| panic!("there is a node {name}"))
    }

    /// The names of all nodes.
    pub fn names(&self) -> Vec<String> {
        self.nodes.iter().map(|node| node.name.clone()).collect()
    }

    /// SIGKILL to a node, and waits until it is gone.
    pub fn kill(&mut self, name: &str) {
        self.end(name, Signal::KILL);
    }

    /// SIGTERM to a node, and waits until it has ended.
    pub fn stop(&mut self, name: &str) {
        self.end(name, Signal::TERM);
    }

    /// SIGTERM to nodes at once, so that none lives on to write more, and waits until all have ended.
    pub fn stop_together(&mut self, names: &[String]) {
        let signalled: Vec<(&String, Pid)> = names.iter().map(|name| (name, self.signal(name, Signal::TERM))).collect();
        signalled.into_iter().for_each(|(name, pid)| self.await_end(name, pid));
    }

    fn end(&mut self, name: &str, signal: Signal) {
        let pid = self.signal(name, signal);
        self.await_end(name, pid);
    }

    fn signal(&self, name: &str, signal: Signal) -> Pid {
        let pid = self.pid(name).unwrap_or_else(|| panic!("node {name} runs"));
        kill_process(pid, signal).expect("a running process takes a signal");
        pid
    }

    fn await_end(&mut self, name: &str, pid: Pid) {
        match self.restarted.remove(name) {
            Some(mut child) => drop(child.wait().expect("our child can be waited for")),
            None => until(|| !is_alive(pid), || format!("node {name} ends")),
        }
    }

    /// Starts a dead node from its argv, as anybody may.
    pub fn restart(&mut self, name: &str) {
        self.restart_in(name, &[], &[]);
    }

    /// The same behind another program, which runs what follows it, and with an environment.
    pub fn restart_in(&mut self, name: &str, before: &[&str], environment: &[(&str, &str)]) {
        assert!(self.pid(name).is_none(), "node {name} is dead");
        let log = OpenOptions::new().append(true).open(self.home.join("dev.log")).expect("the log is there");
        let mut argv = before.iter().copied().chain(self.node(name).argv.iter().map(String::as_str));
        let child = Command::new(argv.next().expect("an argv is not empty"))
            .args(argv)
            .env_clear()
            .envs(environment.iter().copied())
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("a node's argv starts it");
        self.restarted.insert(name.to_owned(), child);
    }

    /// Waits until a node says that all its groups serve.
    pub fn await_ready(&mut self, name: &str) {
        let ops = self.node(name).ops;
        let began = Instant::now();
        while !ready_at(ops) {
            let ended = self.restarted.get_mut(name).and_then(|child| child.try_wait().expect("our child"));
            assert!(ended.is_none(), "node {name} ended with {ended:?}");
            assert!(began.elapsed() < PATIENCE, "node {name} is not ready after {PATIENCE:?}");
            pause();
        }
    }

    /// The process that runs a node now.
    fn pid(&self, name: &str) -> Option<Pid> {
        let text = fs::read_to_string(self.node(name).data_dir.join("node.pid")).ok()?;
        Pid::from_raw(text.trim().parse().ok()?).filter(|pid| is_alive(*pid))
    }

    /// Whether a process runs a node now.
    pub fn runs(&self, name: &str) -> bool {
        self.pid(name).is_some()
    }

    fn dev_pid(&self) -> Option<Pid> {
        let text = fs::read_to_string(self.home.join("dev.pid")).ok()?;
        Pid::from_raw(text.trim().parse().ok()?)
    }

    /// The sum of a metric over the nodes that answer, over all label sets that contain `label` (for instance
    /// `shard="1"`; empty: all).
    pub fn metric(&self, name: &str, label: &str) -> f64 {
        self.nodes.iter().map(|node| metric_at(node, name, label)).sum()
    }

    /// What `inspect` shows of a stopped node, one object a line.
    pub fn inspect(&self, name: &str) -> Vec<serde_json::Value> {
        let output = Command::new(env!("CARGO_BIN_EXE_strongroomd"))
            .arg("inspect")
            .arg(&self.node(name).data_dir)
            .arg("--json")
            .output()
            .expect("strongroomd runs");
        let (text, fault) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "inspect fails: {fault}");
        text.lines().map(|line| serde_json::from_str(line).expect("JSON Lines")).collect()
    }

    /// What `fsck` says of all nodes, which are stopped: its exit code, and one object a line.
    pub fn fsck(&self) -> (Option<i32>, Vec<serde_json::Value>) {
        let output = Command::new(env!("CARGO_BIN_EXE_strongroomd"))
            .arg("fsck")
            .args(self.nodes.iter().map(|node| &node.data_dir))
            .arg("--json")
            .output()
            .expect("strongroomd runs");
        let (text, fault) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(matches!(output.status.code(), Some(0 | 6)), "fsck fails: {fault}");
        let lines = text.lines().map(|line| serde_json::from_str(line).expect("JSON Lines")).collect();
        (output.status.code(), lines)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the cluster's log:\n{}", tail(&self.log(), 60));
        }
        // What it has said up to its end is searched when it has ended (N94); its directory is gone by then.
        let secrets = secrets_in(&self.directory());
        let log = File::open(self.home.join("dev.log"));
        drop(self.watch.stdin.take());
        // It ends whatever it started; if it cannot be waited for, it is gone already.
        self.watch.wait().ok();
        for child in self.restarted.values_mut() {
            child.wait().ok();
        }
        let mut said = Vec::new();
        let is_read = log.and_then(|mut log| log.read_to_end(&mut said)).is_ok();
        if !std::thread::panicking() && is_read {
            nothing_secret(&secrets, &said);
        }
    }
}

/// All metrics of a node, as text; empty if it does not answer.
pub fn metrics(node: &DevNode) -> String {
    get(node.ops, "/metrics")
}

/// Whether a node says that all its groups serve.
pub fn ready_at(ops: SocketAddr) -> bool {
    get(ops, "/readyz").starts_with("HTTP/1.1 200")
}

/// A GET in the clear: status line, headers and body; empty if nobody answers.
pub fn get(at: SocketAddr, path: &str) -> String {
    http_get(at, path).unwrap_or_default()
}

/// The value of a metric at one node, summed over label sets that contain `label`.
pub fn metric_at(node: &DevNode, name: &str, label: &str) -> f64 {
    value_of(&metrics(node), name, label)
}

/// The same in an answer with metrics.
pub fn value_of(answer: &str, name: &str, label: &str) -> f64 {
    let value = |line: &str| -> Option<f64> {
        let rest = line.strip_prefix(name)?;
        let labels_and_value = rest.starts_with(['{', ' ']).then(|| rest.rsplit_once(' '))??;
        labels_and_value.0.contains(label).then(|| labels_and_value.1.parse().ok())?
    };
    answer.lines().filter_map(value).sum()
}

/// Looks at a condition until it holds.
pub fn until(mut holds: impl FnMut() -> bool, what: impl Fn() -> String) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "after {PATIENCE:?} it still does not hold that {}", what());
        pause();
    }
}

/// The same for conditions that are asked of nodes, with a deadline of its own; says how long it took.
pub async fn comes_true(within: Duration, what: &str, mut holds: impl AsyncFnMut() -> bool) -> Duration {
    let began = Instant::now();
    while !holds().await {
        assert!(began.elapsed() < within, "after {within:?} it still does not hold that {what}");
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    began.elapsed()
}

fn pause() {
    std::thread::sleep(LOOK_AGAIN);
}

/// Whether any thread of a process may still hold its files and their locks. Of one that was killed the first thread may
/// be a zombie while others still end.
fn is_alive(pid: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap_or_default();
    // Behind the name: the state, and as the eighteenth of the rest the number of threads.
    let rest: Vec<&str> = stat.rsplit_once(')').map_or(Vec::new(), |(_, rest)| rest.split_whitespace().collect());
    match rest[..] {
        [] => false,
        [state, ..] => !matches!(state, "Z" | "X") || rest.get(17).is_some_and(|threads| *threads != "1"),
    }
}

/// A GET in the clear: status line, headers and body; `None` if nobody answers.
fn http_get(at: SocketAddr, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect_timeout(&at, PATIENCE).ok()?;
    // What is not answered counts as nothing at all: a node that is only slow must not read as one that counted nothing.
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    Some(String::from_utf8_lossy(&answer).into_owned())
}

fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

/// Overwrites bytes in the middle of a file, as a disk might.
pub fn overwrite(file: &Path, offset: u64, bytes: &[u8]) {
    use std::os::unix::fs::FileExt as _;
    let file = File::options().write(true).open(file).expect("the file is there");
    file.write_all_at(bytes, offset).expect("the file can be written");
}
