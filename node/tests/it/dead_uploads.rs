//! Uploads that die in the middle, and nodes with them: what was acknowledged stays whole, and of the rest nothing is left.
//!
//! ```text
//!   writers without end, under a ticket ─┬─ a node is killed, then the writers, then another node is back …
//!                                        └─ all nodes at once, writers going on with nobody ─▶ killed, nodes back
//!   their ticket is given up ─▶ leases end ─▶ rows go ─▶ copies go
//! ```
//!
//! A lease of a dead writer ends by itself after six hours; here whoever opened the ticket says so, which its home shard
//! believes at once. So the tenant is one that lives in one shard: an open part elsewhere waits for its own lease. Not here:
//! virtual time (`jepsen/sim`), disks that lose what was not synced (`node/chunks`).

use std::path::PathBuf;
use std::process::Child;

use strongroom::client::Client;
use strongroom::tickets::Ticket;
use strongroom_core::query::{Answer, Query};
use strongroom_core::shard::rows::Usage;
use strongroom_format::id::{GroupId, SnapshotId, TenantId};

use crate::cluster::{Cluster, PATIENCE, comes_true, until};
use crate::deleting::{forgetful, on_disk, tree};
use crate::inside::Inside;
use crate::several_writers::{endless, joined};
use crate::shared::{back_up, create_vault, restore};
use crate::trees;

const GROUPS: [GroupId; 3] = [GroupId(1), GroupId(2), GroupId(3)];
/// So much is on disks of an upload before something is killed.
const MIDDLE: u64 = 12 << 20;

fn blocking<T>(work: impl FnOnce() -> T) -> T {
    tokio::task::block_in_place(work)
}

/// Writers that are in the middle, and their ticket.
struct Uploads {
    ticket: Ticket,
    writers: Vec<Child>,
}

impl Uploads {
    async fn begin(cluster: &Cluster, opener: &Client, round: usize) -> Self {
        let (vault, label) = ("papers".parse().expect("a name"), format!("dead {round}").parse().expect("a label"));
        let ticket = opener.open_ticket(&vault, label, Vec::new()).await.expect("a ticket");
        let before = on_disk(cluster);
        let stream = |number: usize| format!("stream-{number}");
        let writers =
            (0..2).map(|number| endless(cluster.profile("globex-writer"), &ticket, &stream(number))).collect();
        for number in 0..2 {
            joined(opener, &ticket, &stream(number)).await;
        }
        let it = Self { ticket, writers };
        it.gets_on(cluster, before);
        it
    }

    fn gets_on(&self, cluster: &Cluster, before: u64) {
        blocking(|| until(|| before + MIDDLE < on_disk(cluster), || "the uploads are in the middle".into()));
    }

    /// SIGKILL to the writers.
    fn die(&mut self) {
        for writer in &mut self.writers {
            writer.kill().expect("a process of ours");
            writer.wait().expect("a process of ours");
        }
    }
}

/// Whether nothing is left to be collected in any shard.
async fn nothing_is_garbage(inside: &Inside) -> bool {
    for group in GROUPS {
        let query = Query::Garbage { grace_ms: 0, after: None, limit: 64 };
        if inside.ask(group, &query).await != Answer::Garbage(Vec::new()) {
            return false;
        }
    }
    true
}

async fn usage(inside: &Inside, tenant: TenantId) -> Vec<Usage> {
    let mut all = Vec::new();
    for group in GROUPS {
        // It lives in one of them.
        if let Answer::Usage(usage) = inside.ask(group, &Query::Usage { tenant }).await {
            all.push(usage);
        }
    }
    assert_eq!(all.len(), 1, "the second tenant lives in one shard");
    all
}

/// Stops all nodes, lets `fsck` compare everything, and starts them again.
fn recounted(cluster: &mut Cluster) -> serde_json::Value {
    let names = cluster.names();
    cluster.stop_together(&names);
    let (code, lines) = cluster.fsck();
    let faults: Vec<_> = lines.iter().filter(|line| line["ok"] == false || line["type"] == "copy").collect();
    assert_eq!((code, &faults[..]), (Some(0), &[][..]));
    names.iter().for_each(|name| cluster.restart(name));
    names.iter().for_each(|name| cluster.await_ready(name));
    lines.into_iter().next_back().expect("a last line")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_uploads_left_that_died_with_nodes_leaves_every_disk_and_what_was_acknowledged_is_whole() {
    let mut cluster = forgetful().await;
    create_vault(&cluster, "globex", "papers").await;
    let opener = cluster.client("globex-writer").await;
    let tenant = opener.tenant();
    let mut kept: Vec<(SnapshotId, PathBuf)> = Vec::new();
    let keep = async |cluster: &Cluster, name: &str| -> (SnapshotId, PathBuf) {
        let source = tree(cluster, name, 3);
        (back_up(&opener, &source, "papers", name).await.snapshot, source)
    };
    kept.push(keep(&cluster, "before").await);
    let names = cluster.names();
    let mut given_up = Vec::new();
    for (round, name) in names.iter().enumerate() {
        let mut uploads = Uploads::begin(&cluster, &opener, round).await;
        match round {
            // The uploads go on without the node and die while it is away; somebody else's is acknowledged meanwhile.
            0 => {
                let before = on_disk(&cluster);
                blocking(|| cluster.kill(name));
                uploads.gets_on(&cluster, before);
                kept.push(keep(&cluster, "without one node").await);
                uploads.die();
            }
            // What the writers had on the way comes late, to a node that dies with it.
            1 => {
                uploads.die();
                blocking(|| cluster.kill(name));
                kept.push(keep(&cluster, "after the writers died").await);
            }
            // All nodes at once, with an upload of somebody who waits for them.
            _ => {
                blocking(|| names.iter().for_each(|name| cluster.kill(name)));
                uploads.die();
                blocking(|| names.iter().filter(|other| *other != name).for_each(|other| cluster.restart(other)));
            }
        }
        blocking(|| {
            cluster.restart(name);
            names.iter().for_each(|name| cluster.await_ready(name));
        });
        given_up.push(uploads.ticket);
    }
    kept.push(keep(&cluster, "after all").await);
    let full = on_disk(&cluster);
    for ticket in &given_up {
        opener.abort_ticket(ticket).await.expect("its opener may");
    }
    let inside = Inside::of(&cluster).await;
    comes_true(PATIENCE, "nothing is garbage any more", async || nothing_is_garbage(&inside).await).await;
    // Each of three rounds left at least so much; what is set aside for more comes and goes.
    comes_true(PATIENCE, "the disks have given back what the dead uploads left", async || {
        on_disk(&cluster) + MIDDLE < full
    })
    .await;
    for (snapshot, source) in &kept {
        let to = cluster.scratch().join("restored");
        let restored = restore(&cluster.client("globex-restorer").await, *snapshot, &to).await;
        assert!(restored.is_whole(), "{:?}", restored.damaged);
        trees::assert_equal(source, &to);
    }
    let last = blocking(|| recounted(&mut cluster));
    assert!(last["copies"].as_u64().is_some_and(|named| 0 < named), "{last}");

    // Emptied, nothing is left: neither rows nor bytes, of nobody's upload.
    let admin = cluster.client("globex-admin").await;
    let all: Vec<SnapshotId> = kept.iter().map(|(snapshot, _)| *snapshot).collect();
    admin.delete_snapshots(&all, "the test is over", |_| Ok(())).await.expect("nothing keeps them");
    admin.delete_vault(&"papers".parse().expect("a name"), "over").await.expect("it is empty");
    let inside = Inside::of(&cluster).await;
    comes_true(PATIENCE, "no row is left", async || {
        let all = usage(&inside, tenant).await;
        all.iter().all(|usage| usage.blobs == 0 && usage.nodes == 0 && usage.stored_bytes == 0)
    })
    .await;
    comes_true(PATIENCE, "no segment is left on any disk", async || on_disk(&cluster) == 0).await;
    let last = blocking(|| recounted(&mut cluster));
    assert_eq!(last["copies"], 0, "{last}");
}
