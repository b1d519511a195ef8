//! Wall clocks and boot-time clocks of running nodes, set while tenants work: the compliance clock is never ahead of true
//! time, which is this process's own clock (DESIGN.md §7.2, N68, N69, N71; I5 of RESILIENCE.md).
//!
//! ```text
//!   libfaketime ─preloaded─▶ a node: its wall clock and no other; `+1y` in a file sets it while it runs
//!   unshare -T ──before────▶ a node: both running clocks begin elsewhere
//! ```
//!
//! A wall clock that is off by more than a certificate lives stops the node from talking to anybody: then nothing moves,
//! and the clock must not have moved either when it is right again. These tests take minutes and need programs of
//! their own, so they are run by name (`--ignored clocks::`); without libfaketime or a kernel with time namespaces they
//! stop and say so. Not here: every order of every lie (`node/core`, `tests/it/adversary.rs`).

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use strongroom::status::{self, ClockState};
use strongroom_core::genesis::Genesis;
use strongroom_format::codec;
use strongroom_format::id::{GroupId, PolicyVersion};
use strongroom_format::lock::{LockMode, LockTerms};
use strongroom_format::policy::Policy;

use crate::cluster::{Cluster, PATIENCE, comes_true};
use crate::shared::{back_up, create_vault, restore};
use crate::trees;

/// What the shards' clocks show, by shard.
type Clocks = BTreeMap<GroupId, status::Clock>;

/// A cluster whose clocks are attacked.
struct Attacked {
    cluster: Cluster,
    /// Before it was founded.
    began: Instant,
    /// Where its clocks began, in milliseconds since 1970.
    began_ms: u64,
}

impl Attacked {
    fn start() -> Self {
        let began = Instant::now();
        let cluster = Cluster::start(3, &["acme"]);
        let bytes = fs::read(cluster.nodes[0].data_dir.join("genesis")).expect("a node has its genesis");
        let began_ms = codec::decode::<Genesis>(&bytes).expect("a genesis").clock_ms;
        Self { cluster, began, began_ms }
    }

    /// Starts every node again, each behind these words and in this environment of its own.
    fn restart(&mut self, before: &[&str], environment: impl Fn(&str) -> Vec<(String, String)>) {
        for name in self.cluster.names() {
            self.cluster.stop(&name);
            let own = environment(&name);
            let own: Vec<(&str, &str)> = own.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
            self.cluster.restart_in(&name, before, &own);
            self.cluster.await_ready(&name);
        }
    }

    /// What all shards' clocks show, if all answer; and the law.
    async fn look(&self) -> Option<Clocks> {
        let client = tokio::time::timeout(Duration::from_secs(20), self.cluster.client("acme-writer")).await.ok()?;
        let status = tokio::time::timeout(Duration::from_secs(20), status::of_tenant(&client)).await.ok()?.ok()?;
        let clocks: Clocks = status.shards.into_iter().filter_map(|shard| Some((shard.id, shard.clock?))).collect();
        let true_ms = self.began.elapsed().as_millis() as f64;
        for (shard, clock) in &clocks {
            let shown_ms = clock.unix_ms.saturating_sub(self.began_ms) as f64;
            assert!(
                shown_ms <= true_ms * 1.0002,
                "shard {shard}: {shown_ms} ms shown, {true_ms} ms in truth: {clock:?}"
            );
            let counted_ms = clock.elapsed.as_millis() as f64;
            assert!(counted_ms <= true_ms * 1.0002, "shard {shard}: {counted_ms} ms of {true_ms}: {clock:?}");
        }
        (clocks.len() == 3).then_some(clocks)
    }

    async fn looked(&self) -> Clocks {
        let mut seen = None;
        comes_true(PATIENCE, "all shards tell of their clocks", async || {
            seen = self.look().await;
            seen.is_some()
        })
        .await;
        seen.expect("it was seen")
    }

    /// Waits until something is so of every shard's clock, against what they showed before.
    async fn until_each(&self, what: &str, before: &Clocks, is_so: impl Fn(&status::Clock, &status::Clock) -> bool) {
        comes_true(PATIENCE, what, async || match self.look().await {
            Some(now) => now.iter().all(|(shard, clock)| is_so(&before[shard], clock)),
            None => false,
        })
        .await;
    }
}

fn counts(before: &status::Clock, now: &status::Clock) -> bool {
    before.elapsed + Duration::from_secs(5) < now.elapsed
}

fn runs(before: &status::Clock, now: &status::Clock) -> bool {
    counts(before, now) && before.unix_ms + 5_000 < now.unix_ms && now.state == ClockState::Running
}

/// libfaketime's library for threads, where Debian puts it.
fn faketime() -> Option<PathBuf> {
    let places = fs::read_dir("/usr/lib").ok()?.filter_map(Result::ok);
    places.map(|place| place.path().join("faketime/libfaketimeMT.so.1")).find(|library| library.exists())
}

/// The files that say how far off each node's wall clock is.
struct Offsets {
    directory: PathBuf,
}

impl Offsets {
    fn file(&self, node: &str) -> PathBuf {
        self.directory.join(node)
    }

    /// Replaced as a whole: a node must never read half of it.
    fn set(&self, node: &str, offset: &str) {
        let new = self.directory.join("new");
        fs::write(&new, offset).expect("a file");
        fs::rename(&new, self.file(node)).expect("a file");
    }

    fn environment(&self, library: &Path, node: &str) -> Vec<(String, String)> {
        let text = |path: &Path| path.to_str().expect("a path of text").to_owned();
        vec![
            ("LD_PRELOAD".into(), text(library)),
            ("FAKETIME_TIMESTAMP_FILE".into(), text(&self.file(node))),
            ("FAKETIME_NO_CACHE".into(), "1".into()),
            ("FAKETIME_DONT_FAKE_MONOTONIC".into(), "1".into()),
        ]
    }
}

/// A cluster whose nodes run under libfaketime, all right still; nothing where that is not installed.
async fn under_faketime() -> Option<(Attacked, Offsets)> {
    let Some(library) = faketime() else {
        eprintln!("skipped: there is no libfaketime here (Debian: apt-get install faketime)");
        return None;
    };
    let mut attacked = Attacked::start();
    let offsets = Offsets { directory: attacked.cluster.scratch() };
    attacked.cluster.names().iter().for_each(|name| offsets.set(name, "+0"));
    attacked.restart(&[], |name| offsets.environment(&library, name));
    let before = attacked.looked().await;
    attacked.until_each("clocks run under libfaketime", &before, runs).await;
    Some((attacked, offsets))
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes and needs libfaketime; run by name"]
async fn n68_n69_n129_wall_clocks_that_are_set_while_nodes_run_hurry_nothing() {
    let Some((attacked, offsets)) = under_faketime().await else { return };
    let names = attacked.cluster.names();
    let set = |these: &[&str]| names.iter().zip(these).for_each(|(name, offset)| offsets.set(name, offset));
    let right = ["+0", "+0", "+0"];
    create_vault(&attacked.cluster, "acme", "papers").await;

    // Forward, on one, two and all nodes: within the life of a certificate everything goes on.
    for (these, what) in [
        (["+1d", "+0", "+0"], "one a day ahead"),
        (["+1d", "+1d", "+0"], "two a day ahead"),
        (["+1d", "+1d", "+1d"], "all a day ahead"),
        (["+365d", "+365d", "+0"], "two a year ahead"),
        (["+365d", "+365d", "+365d"], "all a year ahead"),
    ] {
        set(&these);
        let before = attacked.looked().await;
        attacked.until_each(what, &before, runs).await;
    }
    set(&right);

    // Back: the clock stands where a majority is back, what rights run on does not, and it never goes back.
    let before = attacked.looked().await;
    set(&["-30m", "+0", "+0"]);
    attacked.until_each("one half an hour back", &before, runs).await;
    set(&["-30m", "-30m", "-30m"]);
    let before = attacked.looked().await;
    let stands = |before: &status::Clock, now: &status::Clock| {
        assert!(before.unix_ms <= now.unix_ms && now.unix_ms < before.unix_ms + 60_000, "{before:?} became {now:?}");
        counts(before, now)
    };
    attacked.until_each("all half an hour back", &before, stands).await;
    set(&right);
    attacked.until_each("all right again", &before, runs).await;

    // Apart: it is held and says why; backups and restores go on; then it runs again.
    set(&["-20m", "+0", "+20m"]);
    let before = attacked.looked().await;
    let held = |before: &status::Clock, now: &status::Clock| {
        now.state == ClockState::Held && now.why.contains("agrees within 5 minutes") && counts(before, now)
    };
    attacked.until_each("wall clocks are apart", &before, held).await;
    assert!(1.0 <= attacked.cluster.metric("strongroom_clock_held", ""), "an alarm can see it");
    let (tree, to) = (attacked.cluster.scratch().join("tree"), attacked.cluster.scratch().join("restored"));
    trees::plant(&tree, "held");
    let writer = attacked.cluster.client("acme-writer").await;
    let backup = back_up(&writer, &tree, "papers", "held").await;
    let restorer = attacked.cluster.client("acme-restorer").await;
    restore(&restorer, backup.snapshot, &to).await;
    trees::assert_equal(&tree, &to);
    set(&right);
    attacked.until_each("wall clocks agree again", &before, runs).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes and needs libfaketime; run by name"]
async fn n68_n69_wall_clocks_that_are_set_beyond_all_certificates_or_strobed_hurry_nothing() {
    let Some((attacked, offsets)) = under_faketime().await else { return };
    let names = attacked.cluster.names();
    let set = |these: &[&str]| names.iter().zip(these).for_each(|(name, offset)| offsets.set(name, offset));
    let right = ["+0", "+0", "+0"];

    // Beyond the life of certificates nobody talks to anybody; afterwards nothing was gained by it.
    for far in ["+100y", "-1y", "-100y"] {
        set(&[far; 3]);
        tokio::time::sleep(Duration::from_secs(70)).await;
        set(&right);
        let before = attacked.looked().await;
        attacked.until_each(far, &before, runs).await;
    }

    // Strobed.
    let until = Instant::now() + Duration::from_secs(70);
    let mut turn = 0;
    while Instant::now() < until {
        let all = ["+1d", "-30m", "+0", "+365d", "-20m"];
        set(&[all[turn % 5], all[(turn / 2) % 5], all[(turn / 3) % 5]]);
        turn += 1;
        attacked.look().await;
    }
    set(&right);
    let before = attacked.looked().await;
    attacked.until_each("strobed", &before, runs).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes and needs a kernel with time namespaces; run by name"]
async fn n71_nodes_that_start_again_with_shifted_boot_time_vouch_for_nothing_before_it() {
    let shifted = ["/usr/bin/unshare", "--time", "--monotonic", "315360000", "--boottime", "315360000", "--"];
    let can =
        Command::new(shifted[0]).args(&shifted[1..]).arg("/bin/true").status().is_ok_and(|status| status.success());
    if !can {
        eprintln!("skipped: there are no time namespaces here, or no right to make one");
        return;
    }
    let mut attacked = Attacked::start();
    let before = attacked.looked().await;
    attacked.until_each("clocks run", &before, runs).await;
    for _ in 0..2 {
        // Ten years further, and back again.
        attacked.restart(&shifted, |_| Vec::new());
        let before = attacked.looked().await;
        attacked.until_each("clocks run in another time namespace", &before, runs).await;
        attacked.restart(&[], |_| Vec::new());
        let before = attacked.looked().await;
        attacked.until_each("clocks run", &before, runs).await;
    }
}

/// How late a healthy clock may be (`node/DECISIONS.md`, 40), and what passes before a lock begins: two ticks, of which one
/// comes a second while a lock waits, and two seconds behind `E`.
const LATE: Duration = Duration::from_secs(62 + 3 + 2);

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes; run by name"]
async fn n57_a_lock_of_20_s_is_over_between_20_s_and_the_bound_in_true_time() {
    const LENGTH: Duration = Duration::from_secs(20);
    let cluster = tokio::task::block_in_place(|| Cluster::start(3, &["acme"]));
    create_vault(&cluster, "acme", "papers").await;
    let (writer, admin) = (cluster.client("acme-writer").await, cluster.client("acme-admin").await);
    let papers = "papers".parse().expect("a name");
    let old = admin.policy(&papers).await.expect("a policy").policy;
    let lock = Some(LockTerms { mode: LockMode::Compliance, length_ms: 20_000 });
    let version = PolicyVersion(old.version.0 + 1);
    let policy = Policy { version, default_lock: lock, lock_min_ms: 1, lock_max_ms: 60_000, ..old };
    admin.set_policy(&papers, policy, "a test".into()).await.expect("an admin may");
    let source = cluster.scratch();
    trees::plant(&source, "20 s");
    let mut locked = Vec::new();
    for _ in 0..6 {
        let began = Instant::now();
        let snapshot = back_up(&writer, &source, "papers", "20 s").await.snapshot;
        locked.push((snapshot, began, Instant::now()));
        tokio::time::sleep(Duration::from_secs(9)).await;
    }
    let mut took = Vec::new();
    while !locked.is_empty() {
        let mut still = Vec::new();
        for (snapshot, began, committed) in locked {
            match admin.delete_snapshots(&[snapshot], "it is over", |_| Ok(())).await {
                Ok(()) => {
                    let now = Instant::now();
                    assert!(LENGTH <= now - began, "it was over after {:?} in true time", now - began);
                    assert!(now - committed <= LENGTH + LATE, "it was over after {:?} only", now - committed);
                    took.push(now - committed);
                }
                Err(refused) => {
                    assert_eq!(refused.reason(), Some("RETENTION_ACTIVE"), "{refused}");
                    assert!(committed.elapsed() <= LENGTH + LATE, "locked for {:?}", committed.elapsed());
                    still.push((snapshot, began, committed));
                }
            }
        }
        locked = still;
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    took.sort_unstable();
    println!("locks of 20 s were over after {took:?}");
}
