//! `strongroomd demo`: the main job, shown. A cluster of six processes takes a backup, loses processes, a region, disks
//! and bytes, and gives everything back; another tenant is turned away.
//!
//! Each check prints one line. Nothing here knows how the cluster works inside: it uses the SDK, signals and files.

use std::fs;
use std::io::{Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use strongroom::backup::{Backup, BackupRequest, CacheDirectories};
use strongroom::client::Client;
use strongroom::error::Error;
use strongroom::keyring;
use strongroom::profile::Profile;
use strongroom::restore::{RestoreRequest, Restored};
use strongroom::vaults::{NewVault, NewWriter};
use strongroom_chunks::survey::survey;
use strongroom_format::id::{SnapshotId, VaultName};
use strongroom_format::label::Label;
use strongroom_host::Host;

use crate::dev::{Dev, DevPlan};
use crate::processes::all_ready;
use crate::scrape::{sum_of, sum_over};
use crate::trees::{self, Tree};
use crate::wiring::block_on;

/// How long a step may wait for elections and restarts.
const PATIENCE: Duration = Duration::from_secs(60);
/// A phrase that stands in a file of its own, to be searched for on the nodes' disks.
const CANARY: &str = "canary-of-acme-7f3b9a44c1d2e6-never-in-the-clear";

/// Runs the demo; exit code 0 if every check passed.
pub fn demo(path: Option<PathBuf>, keep: bool) -> ExitCode {
    let began = Instant::now();
    let mut checks = Checks::default();
    let run = block_on(async {
        let home = tempfile::Builder::new().prefix("strongroom-demo-").tempdir().context("no temporary directory")?;
        let done = run(home.path(), path.as_deref(), &mut checks).await;
        if keep {
            eprintln!("demo: kept in {}", home.keep().display());
        }
        done
    });
    if let Err(why) = run {
        checks.record("the demo reaches its end", Err(why));
    }
    let passed = checks.all - checks.failed;
    println!("demo: {passed} of {} checks passed in {:.1} s", checks.all, began.elapsed().as_secs_f64());
    if checks.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Counts checks and prints a line for each.
#[derive(Default)]
struct Checks {
    all: u32,
    failed: u32,
}

impl Checks {
    fn record(&mut self, name: &str, outcome: anyhow::Result<String>) {
        self.all += 1;
        match outcome {
            Ok(figure) => println!("ok {name} — {figure}"),
            Err(why) => {
                self.failed += 1;
                println!("FAIL {name} — {why:#}");
            }
        }
    }
}

/// What the checks share.
struct Stage<'a> {
    home: &'a Path,
    source: PathBuf,
    without_caches: bool,
    expected: Tree,
    dev: Dev,
    writer: Client,
    restorer: Client,
}

async fn run(home: &Path, path: Option<&Path>, checks: &mut Checks) -> anyhow::Result<()> {
    let without_caches = path.is_none();
    let source = std::path::absolute(path.unwrap_or(Path::new("."))).context("the path has no absolute form")?;
    ensure!(source.is_dir(), "{} is no directory", source.display());
    let expected = trees::read(&source, without_caches)?;
    let mebibytes = mib(expected.bytes);
    eprintln!("demo: {} files, {mebibytes:.1} MiB from {}", expected.files, source.display());

    let began = Instant::now();
    let plan = DevPlan {
        nodes: 6,
        regions: 3,
        shards: 3,
        tenants: vec!["acme".into(), "globex".into()],
        addresses: Vec::new(),
        before: Vec::new(),
    };
    let dev = Dev::start(&home.join("cluster"), &plan).await?;
    checks.record("six nodes in three regions serve", Ok(format!("{:.1} s", began.elapsed().as_secs_f64())));

    let admin = connect(&dev, "acme-admin").await?;
    let vault: VaultName = "papers".parse().context("our own names are names")?;
    let keys = admin.profile();
    let writers = keyring::writers(keys)?.into_iter().map(NewWriter::from).collect();
    let new = NewVault::new(vault, keyring::recipients(keys)?, writers);
    admin.create_vault(new, &keyring::root(keys, None)?).await.context("create the vault")?;
    let (writer, restorer) = (connect(&dev, "acme-writer").await?, connect(&dev, "acme-restorer").await?);
    let mut stage = Stage { home, source, without_caches, expected, dev, writer, restorer };

    let first = stage.back_up("first").await?;
    checks.record(
        "a backup is sealed, coded and committed",
        Ok(format!(
            "{} files, {:.1} MiB at {:.0} MiB/s, code {}, survives {} region and any {} nodes",
            first.files,
            mib(first.bytes_read),
            mib(first.bytes_read) / first.duration.as_secs_f64(),
            first.code,
            first.survives.regions,
            first.survives.nodes
        )),
    );
    let before = stage.bytes_served().await;
    let restored = stage.restores_equal(first.snapshot).await;
    checks.record("it is restored byte for byte", restored);
    checks.record("the restore read every shard that holds a run", stage.shards_served(&before).await);
    let again = stage.back_up("first").await?;
    checks.record(
        "an unchanged backup sends next to nothing",
        match again.bytes_sent * 20 <= first.bytes_sent.max(1 << 20) {
            true => Ok(format!("{:.2} MiB sent, {} chunks known", mib(again.bytes_sent), again.chunks_known)),
            false => Err(anyhow::anyhow!("{:.1} MiB were sent again", mib(again.bytes_sent))),
        },
    );
    checks.record("another tenant is turned away", stage.other_tenant_is_refused(first.snapshot).await);
    checks.record("a writer has no key to read back with", stage.writer_cannot_restore(first.snapshot).await);

    stage.kill_region("east").await?;
    checks.record("a region killed: it is restored byte for byte", stage.restores_equal(first.snapshot).await);
    let (file, canary) = stage.canary()?;
    let thin = stage.back_up_path(&file, "thin").await?;
    checks.record(
        "a region killed: backups go on, and say what they survive",
        match thin.handed_over.unwrap_or_default() {
            0 => {
                Err(anyhow::anyhow!("a region is down, and the receipt says that every fragment lies in its own slot"))
            }
            handed_over => Ok(format!(
                "{handed_over} fragments handed over, survives {} more region and {} more nodes",
                thin.survives.regions, thin.survives.nodes
            )),
        },
    );
    stage.start_dead().await?;

    let last = stage.back_up_path(&file, "last").await?;
    stage.kill_all().await?;
    stage.start_dead().await?;
    checks.record(
        "all nodes killed after the receipt and started again: both snapshots are there",
        stage.both_restore(first.snapshot, last.snapshot, &canary).await,
    );

    let overwritten = stage.overwrite_fragments(2).await?;
    checks.record(
        "fragments overwritten on two disks: restored byte for byte",
        stage.restores_despite(first.snapshot, overwritten).await,
    );
    stage.lose_disks(&["north-1", "east-1"]).await?;
    checks.record(
        "those two nodes gone with their disks: restored byte for byte",
        stage.restores_equal(first.snapshot).await,
    );
    checks.record("no disk that is left holds a name or a byte in the clear", stage.canary_is_nowhere(&canary));
    stage.dev.stop().await;
    Ok(())
}

async fn connect(dev: &Dev, profile: &str) -> anyhow::Result<Client> {
    let profile = Profile::read(&dev.profile(profile))?;
    Client::connect(profile, PATIENCE).await.with_context(|| "cannot connect")
}

impl Stage<'_> {
    async fn back_up(&self, name: &str) -> anyhow::Result<Backup> {
        self.back_up_path(&self.source, name).await
    }

    async fn back_up_path(&self, path: &Path, name: &str) -> anyhow::Result<Backup> {
        let vault: VaultName = "papers".parse().context("our own names are names")?;
        let label = Label::try_from(name).context("our own labels are labels")?;
        let mut request = BackupRequest::new(&[path.to_path_buf()], vault, label)?;
        if self.without_caches {
            request.bounds.cache_directories = CacheDirectories::LeftOut;
        }
        self.writer.back_up(request).await.with_context(|| format!("back up {}", path.display()))
    }

    async fn restore(&self, snapshot: SnapshotId) -> anyhow::Result<(PathBuf, Restored)> {
        let to = self.home.join("restored");
        if to.exists() {
            fs::remove_dir_all(&to).context("cannot clear the last restore")?;
        }
        let restored = self.restorer.restore(RestoreRequest::new(snapshot, to.clone())).await?;
        ensure!(restored.is_whole(), "{} files are damaged", restored.damaged.len());
        Ok((to, restored))
    }

    async fn restores_equal(&self, snapshot: SnapshotId) -> anyhow::Result<String> {
        let (to, restored) = self.restore(snapshot).await?;
        let differences = self.expected.differences(&trees::read(&to, false)?);
        ensure!(differences.is_empty(), "{}", differences.join("; "));
        Ok(format!(
            "{} files, {:.1} MiB at {:.0} MiB/s, {} blobs rebuilt",
            restored.files,
            mib(restored.bytes),
            mib(restored.bytes) / restored.duration.as_secs_f64(),
            restored.blobs_rebuilt
        ))
    }

    async fn restores_despite(&self, snapshot: SnapshotId, overwritten: u64) -> anyhow::Result<String> {
        let metric = "strongroom_chunks_fragments_damaged_total";
        let figure = self.restores_equal(snapshot).await?;
        let noticed = sum_over(self.dev.nodes.iter().map(|node| node.ops), metric).await;
        ensure!(noticed > 0.0, "nobody noticed that fragments were overwritten");
        Ok(format!("{overwritten} overwritten, {noticed} met; {figure}"))
    }

    async fn both_restore(&self, first: SnapshotId, last: SnapshotId, canary: &str) -> anyhow::Result<String> {
        let (to, _) = self.restore(last).await?;
        let text = fs::read_to_string(to.join("canary.txt")).context("the last snapshot's file")?;
        ensure!(text == canary, "the last snapshot's file differs");
        self.restores_equal(first).await
    }

    /// How many bytes of blobs each shard has given back, over all nodes.
    async fn bytes_served(&self) -> Vec<f64> {
        let mut served = Vec::new();
        for shard in 1..=3 {
            let metric = format!("strongroom_api_restore_bytes_total{{shard=\"{shard}\"}}");
            served.push(sum_over(self.dev.nodes.iter().map(|node| node.ops), &metric).await);
        }
        served
    }

    async fn shards_served(&self, before: &[f64]) -> anyhow::Result<String> {
        let now = self.bytes_served().await;
        let bytes: Vec<f64> = now.iter().zip(before).map(|(now, before)| now - before).collect();
        // A run is about 256 chunks of 1 MiB, and lies where its first chunk says: a small tree may have one.
        let needed = if self.expected.bytes < 2 << 30 { 1 } else { 2 };
        let shards = bytes.iter().filter(|bytes| **bytes > 0.0).count();
        ensure!(needed <= shards, "bytes by shard: {bytes:?}");
        let mebibytes: Vec<String> = bytes.iter().map(|bytes| format!("{:.1}", bytes / (1 << 20) as f64)).collect();
        Ok(format!("MiB from each shard: {}", mebibytes.join(" + ")))
    }

    async fn other_tenant_is_refused(&self, snapshot: SnapshotId) -> anyhow::Result<String> {
        let globex = connect(&self.dev, "globex-restorer").await?;
        let to = self.home.join("stolen");
        match globex.restore(RestoreRequest::new(snapshot, to.clone())).await {
            Err(Error::Refused { code, reason, .. }) => {
                ensure!(!to.exists(), "something was restored");
                Ok(format!("{code}/{reason}"))
            }
            Err(other) => bail!("not refused but: {other}"),
            Ok(_) => bail!("globex restored a snapshot of acme"),
        }
    }

    async fn writer_cannot_restore(&self, snapshot: SnapshotId) -> anyhow::Result<String> {
        let to = self.home.join("stolen");
        match self.writer.restore(RestoreRequest::new(snapshot, to.clone())).await {
            Err(Error::Refused { code, reason, .. }) => Ok(format!("{code}/{reason}")),
            Err(other) => bail!("not refused but: {other}"),
            Ok(_) => bail!("a writer restored"),
        }
    }

    /// A file of its own with the canary in its text, in a directory with the canary in its name.
    fn canary(&self) -> anyhow::Result<(PathBuf, String)> {
        let directory = self.home.join(format!("{CANARY}-name"));
        fs::create_dir_all(&directory)?;
        let text = format!("{CANARY}\n").repeat(64);
        fs::write(directory.join("canary.txt"), &text)?;
        Ok((directory, text))
    }

    fn canary_is_nowhere(&self, canary: &str) -> anyhow::Result<String> {
        let hash = blake3::hash(canary.as_bytes());
        let needles = [CANARY.as_bytes(), b"canary.txt", hash.as_bytes().as_slice()];
        let mut searched = 0;
        for node in &self.dev.file.nodes {
            searched += search(&node.data_dir, &needles)?;
        }
        ensure!(searched > 0, "there was nothing to search");
        Ok(format!("{:.1} MiB searched", mib(searched)))
    }

    async fn kill_region(&mut self, region: &str) -> anyhow::Result<()> {
        for (node, about) in self.dev.nodes.iter_mut().zip(&self.dev.file.nodes) {
            if about.region == region {
                node.kill().await?;
            }
        }
        Ok(())
    }

    async fn kill_all(&mut self) -> anyhow::Result<()> {
        for node in &mut self.dev.nodes {
            node.kill().await?;
        }
        Ok(())
    }

    async fn start_dead(&mut self) -> anyhow::Result<()> {
        for node in &mut self.dev.nodes {
            node.reap();
            if node.pid().is_none() {
                node.start()?;
            }
        }
        all_ready(&mut self.dev.nodes, PATIENCE).await
    }

    /// Stops some nodes, overwrites the payload of every fragment on their disks, starts them again.
    async fn overwrite_fragments(&mut self, nodes: usize) -> anyhow::Result<u64> {
        let mut overwritten = 0;
        for node in self.dev.nodes.iter_mut().take(nodes) {
            node.kill().await?;
            let mut fragments = Vec::new();
            survey(&**Host::real().files(), &node.data_dir, |fragment| fragments.push(fragment))?;
            for fragment in fragments {
                let mut file =
                    fs::OpenOptions::new().write(true).open(node.data_dir.join("segments").join(&fragment.file))?;
                file.seek(std::io::SeekFrom::Start(fragment.payload_offset))?;
                file.write_all(&vec![0xA5; (fragment.payload_bytes as usize).min(64)])?;
                overwritten += 1;
            }
        }
        self.start_dead().await?;
        ensure!(overwritten > 0, "there was no fragment to overwrite");
        Ok(overwritten)
    }

    async fn lose_disks(&mut self, names: &[&str]) -> anyhow::Result<()> {
        for node in self.dev.nodes.iter_mut().filter(|node| names.contains(&node.name.as_str())) {
            node.kill().await?;
            fs::remove_dir_all(&node.data_dir).with_context(|| format!("cannot delete {}", node.data_dir.display()))?;
        }
        // Whoever leads now has to be found: one answer of the metrics port is enough to know that the rest serves.
        let alive = self.dev.nodes.iter().find(|node| node.pid().is_some()).context("no node is left")?;
        sum_of(alive.ops, "strongroom_consensus_commits_total").await;
        Ok(())
    }
}

/// Searches every file below a directory; says how many bytes that were.
fn search(directory: &Path, needles: &[&[u8]]) -> anyhow::Result<u64> {
    let mut searched = 0;
    let Ok(entries) = fs::read_dir(directory) else { return Ok(0) };
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            searched += search(&path, needles)?;
            continue;
        }
        let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        searched += bytes.len() as u64;
        for needle in needles {
            let found = memchr::memmem::find(&bytes, needle);
            ensure!(found.is_none(), "{} holds {:?}", path.display(), String::from_utf8_lossy(needle));
        }
    }
    Ok(searched)
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / (1 << 20) as f64
}
