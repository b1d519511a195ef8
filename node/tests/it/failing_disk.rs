//! A node whose disk takes nothing any more.
//!
//! Not here: disks that are full or fail a sync under a run (`jepsen`), stores over failing files (`node/consensus`).

use std::fs;

use rustix::process::{Pid, Resource, Rlimit, prlimit};

use crate::cluster::{Cluster, until};
use crate::losses::back_up_strong;
use crate::shared::{create_vault, restore};
use crate::trees;

/// A shell that runs a node which is not ended by the signal for a write beyond a limit, and which writes what it says to a
/// pipe: what it writes to files is what fails.
const LIMITED: &str = "trap '' XFSZ; \"$0\" \"$@\" 2>&1 | cat >&2";
/// The same, where it cannot even say why it ends.
const LIMITED_AND_MUTE: &str = "trap '' XFSZ; exec \"$0\" \"$@\"";

/// Nothing that failed is tried again, and nothing is closed in order over a log that cannot be trusted: a node that stayed
/// to do so would ask for new replicas of all its groups, which are as good as ever when it starts again.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_log_takes_nothing_any_more_ends_at_once_and_comes_back_as_the_replicas_that_it_was() {
    let mut cluster = tokio::task::block_in_place(|| Cluster::start(6, &["acme"]));
    create_vault(&cluster, "acme", "papers").await;
    let name = cluster.names()[0].clone();
    for shell in [LIMITED, LIMITED_AND_MUTE] {
        tokio::task::block_in_place(|| {
            cluster.stop(&name);
            cluster.restart_in(&name, &["/bin/sh", "-c", shell], &[]);
            cluster.await_ready(&name);
        });
        let pid = fs::read_to_string(cluster.node(&name).data_dir.join("node.pid")).expect("it runs");
        let pid = Pid::from_raw(pid.trim().parse().expect("a process id")).expect("a process id");
        let nothing = Rlimit { current: Some(0), maximum: None };
        prlimit(Some(pid), Resource::Fsize, nothing).expect("whoever started a process may limit it");
        // Its log is written to by itself soon: time passes.
        tokio::task::block_in_place(|| until(|| !cluster.runs(&name), || format!("{name} ends by itself")));
        tokio::task::block_in_place(|| {
            cluster.restart(&name);
            cluster.await_ready(&name);
        });
    }
    assert!(cluster.log().contains("strongroomd: "), "the first says why it ends");
    let (backup, source) = back_up_strong(&cluster, "afterwards", 1).await;
    let to = cluster.scratch().join("restored");
    let restored = restore(&cluster.client("acme-restorer").await, backup.snapshot, &to).await;
    assert!(restored.is_whole(), "{:?}", restored.damaged);
    trees::assert_equal(&source, &to);
    assert!(!cluster.log().contains("a new replica id was allotted"), "its replicas were as good as ever");
}
