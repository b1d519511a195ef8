//! Damage on all disks at once: each node loses other fragments and rows of its states, two lose their log; of no item is
//! more lost than the design tolerates (RESILIENCE.md, I2).
//!
//! ```text
//!   fragments   of each blob m of k+m, on two nodes that change from blob to blob    served from the k others
//!   states      of each group on each node a row, another one on each                made again from the node's own log
//!   log         on two of six nodes, in the middle                                   refused: both say so and stay away;
//!                                                                                    they come back under new replica ids
//! ```
//!
//! The limits: a log is one item. A node that finds a hole in it does not know what it voted for, in any group, so it
//! counts as a lost voter in all: two of the five in each group here. While those two are away a blob may have fewer than k
//! good fragments at hand: then a restore leaves its file out and says so. Not here: one kind of damage on one node
//! (`losses.rs`, `foundation.rs`), redundancy that returns (the nodes' repair).

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use strongroom::client::Client;
use strongroom::profile::Profile;
use strongroom::restore::RestoreRequest;
use strongroom_core::query::{Answer, Query};
use strongroom_format::id::{GroupId, SnapshotId};

use crate::cluster::{Cluster, PATIENCE, comes_true, metrics, overwrite, until};
use crate::digests::{GROUPS, assert_digests_equal};
use crate::foundation::{map_of, replicas_of, rot};
use crate::inside::Inside;
use crate::losses::{back_up_strong, fragments_on};
use crate::shared::{back_up, create_vault, restore};
use crate::speaker::Speaker;
use crate::trees;

fn blocking<T>(work: impl FnOnce() -> T) -> T {
    tokio::task::block_in_place(work)
}

/// Damages m of the fragments of each blob, on nodes that change from blob to blob. Says how many on each.
fn damage_fragments(cluster: &Cluster, names: &[String], m: usize) -> Vec<usize> {
    let mut blobs: BTreeMap<String, Vec<(usize, PathBuf, u64)>> = BTreeMap::new();
    for (at, name) in names.iter().enumerate() {
        for one in fragments_on(cluster, name) {
            blobs.entry(one.blob.clone()).or_default().push((at, one.file.clone(), one.offset));
        }
    }
    let mut done = vec![0; names.len()];
    for (number, (blob, copies)) in blobs.into_iter().enumerate() {
        assert_eq!(copies.len(), names.len(), "of {blob} each node has a fragment");
        for step in 0..m {
            let (at, file, offset) = &copies[(number + step * names.len() / m) % copies.len()];
            // Not the same way everywhere: bits, and a piece that is gone.
            let bytes: &[u8] = if number % 2 == 0 { &[0xA5; 16] } else { &[0; 512] };
            overwrite(file, *offset, bytes);
            done[*at] += 1;
        }
    }
    done
}

/// Zeroes a block in the middle of a node's log: groups that were durable stand before it and behind it.
fn damage_log(data_dir: &Path) {
    let mut files: Vec<PathBuf> =
        fs::read_dir(data_dir.join("log")).expect("a log").map(|entry| entry.expect("an entry").path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "log"));
    files.sort();
    let file = files.first().expect("a log has a file");
    let bytes = fs::read(file).expect("a log can be read");
    let blocks: Vec<usize> = (0..bytes.len() / 4096).filter(|at| bytes[at * 4096..][..16] != [0; 16]).collect();
    assert!(16 < blocks.len(), "the log has many blocks: {}", blocks.len());
    overwrite(file, blocks[blocks.len() / 2] as u64 * 4096, &[0; 4096]);
}

/// Restores a snapshot and never finds a wrong byte; whether it is whole. What cannot be had in this time is left out, and
/// named, or nothing is shown.
async fn comes_back_or_says_so(cluster: &Cluster, kept: &(SnapshotId, PathBuf), within: Duration) -> bool {
    let (snapshot, source) = kept;
    let to = cluster.scratch().join("restored");
    let request = RestoreRequest::new(*snapshot, to.clone());
    let profile = Profile::read(cluster.profile("acme-restorer")).expect("a profile");
    let restorer = Client::connect(profile, within).await.expect("the cluster answers");
    match restorer.restore(request).await {
        Ok(restored) if restored.is_whole() => {
            trees::assert_equal(source, &to);
            true
        }
        Ok(restored) => {
            let files = trees::files_below(&to);
            for file in &files {
                let of = source.join(file.strip_prefix(&to).expect("it lies below"));
                assert!(fs::read(file).expect("a file") == fs::read(&of).expect("a file"), "{} differs", of.display());
            }
            let all = trees::files_below(source).len();
            assert_eq!(files.len() + restored.damaged.len(), all, "what is not there is named: {:?}", restored.damaged);
            false
        }
        Err(fault) => {
            assert!(!to.exists(), "nothing is shown that is not whole: {fault}");
            false
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn disjoint_damage_on_all_six_disks_at_once_everything_comes_back_and_who_cannot_trust_its_log_abstains() {
    let mut cluster = blocking(|| Cluster::start(6, &["acme"]));
    create_vault(&cluster, "acme", "papers").await;
    let mut kept = Vec::new();
    for label in ["first", "second", "third"] {
        let (backup, source) = back_up_strong(&cluster, label, 2).await;
        assert_eq!((backup.code.k, backup.code.m), (4, 2));
        kept.push((backup.snapshot, source));
    }
    let names = cluster.names();
    let speaker = Speaker::founder(&cluster, "acme", "writer").await;
    let (home, inside) = (speaker.home, Inside::of(&cluster).await);
    let founding = match inside.ask(home, &Query::Tenant { tenant: speaker.tenant }).await {
        Answer::Tenant(view) => view.facts.founding,
        other => panic!("no tenant: {other:?}"),
    };
    let map = map_of(&inside).await;
    // In different regions: a whole one is away, and one of another.
    let without_log = [names[0].clone(), names[names.len() - 1].clone()];
    let before: Vec<_> = without_log.iter().map(|name| replicas_of(&map, name).0).collect();

    blocking(|| cluster.stop_together(&names));
    let fragments = damage_fragments(&cluster, &names, 2);
    assert!(fragments.iter().all(|count| 0 < *count), "each node lost fragments: {fragments:?}");
    for (at, name) in names.iter().enumerate() {
        let state = |group: GroupId| cluster.node(name).data_dir.join("state").join(format!("{group}.redb"));
        for group in (0..).take(GROUPS).map(GroupId) {
            // Another row on each: what says how far the log is applied, or one that every command of the tenant reads.
            let needle = if group == home && at % 2 == 0 { &founding[16..48] } else { &b"\xffapplied"[..] };
            assert!(0 < rot(&state(group), needle), "{name}: the row lies in the state of group {group}");
        }
    }
    without_log.iter().for_each(|name| damage_log(&cluster.node(name).data_dir));

    let began = Instant::now();
    let others: Vec<String> = names.iter().filter(|name| !without_log.contains(name)).cloned().collect();
    blocking(|| {
        names.iter().for_each(|name| cluster.restart(name));
        others.iter().for_each(|name| cluster.await_ready(name));
        for name in &without_log {
            until(|| !cluster.runs(name), || format!("{name} does not go on over a log with a hole"));
        }
    });
    eprintln!("four of six serve after {:?}", began.elapsed());
    let log = cluster.log();
    assert_eq!(log.lines().filter(|line| line.contains("damaged") && line.contains(".log")).count(), 2, "both say why");
    // With four voters of six, whose states were all made again, the cluster takes more, and shows no wrong byte.
    let writer = cluster.client("acme-writer").await;
    let source = cluster.scratch();
    trees::plant(&source, "two are away");
    let backup = back_up(&writer, &source, "papers", "two are away").await;
    kept.push((backup.snapshot, source));
    for one in [&kept[0], &kept[kept.len() - 1]] {
        comes_back_or_says_so(&cluster, one, Duration::from_secs(5)).await;
    }

    // As the runbook says: the log goes, and what stands on it; keys and fragments stay.
    for name in &without_log {
        let data_dir = cluster.node(name).data_dir.clone();
        for lost in ["log", "state"] {
            fs::remove_dir_all(data_dir.join(lost)).expect("a directory can be laid aside");
        }
        fs::remove_file(data_dir.join("replicas")).expect("a file can be laid aside");
        blocking(|| cluster.restart(name));
    }
    for name in &without_log {
        blocking(|| until(|| !metrics(cluster.node(name)).is_empty(), || format!("{name} answers")));
    }
    for (name, before) in without_log.iter().zip(&before) {
        blocking(|| cluster.await_ready(name));
        // Where it voted it has another id now; where it only learns it has nothing to forget, and keeps its own.
        comes_true(2 * PATIENCE, "whoever voted is another replica", async || {
            let (now, is_changing) = replicas_of(&map_of(&Inside::of(&cluster).await).await, name);
            !is_changing && before.iter().any(|(group, replica)| replica < &now[group])
        })
        .await;
    }
    eprintln!("all six serve after {:?}", began.elapsed());
    for (snapshot, source) in &kept {
        // Whom the others still take for down they do not ask.
        let began = Instant::now();
        while !comes_back_or_says_so(&cluster, &(*snapshot, source.clone()), PATIENCE).await {
            assert!(began.elapsed() < PATIENCE, "{snapshot} does not come back whole");
        }
        let to = cluster.scratch().join("restored");
        assert!(restore(&cluster.client("acme-restorer").await, *snapshot, &to).await.is_whole());
    }
    blocking(|| {
        assert_digests_equal(&mut cluster, &names);
        // Every row of every state is as it was written, on all six.
        cluster.stop_together(&names);
        let (_, lines) = cluster.fsck();
        let sums: Vec<_> = lines.iter().filter(|line| line["type"] == "fsck").collect();
        assert!(!sums.is_empty() && sums.iter().all(|sum| sum["broken"] == 0), "{lines:#?}");
    });
}
