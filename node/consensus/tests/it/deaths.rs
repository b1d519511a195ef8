//! What ends a group ends no other, and what is on its disk brings it back.

use std::sync::Arc;
use std::time::Duration;

use strongroom_consensus::group::{GroupEvent, Member, What};
use strongroom_consensus::groups::{ProposeError, ReadError};
use strongroom_core::digest::recompute;
use strongroom_core::machine::{DIGEST_TABLE, Machine};
use strongroom_core::tables::{Halt, Reads, Table, Tables};
use strongroom_format::id::{GroupId, ReplicaId};
use strongroom_host::Host;
use strongroom_host::files::{Files, Open};
use tokio::sync::broadcast::Receiver;

use crate::cluster::{Cluster, GROUP, WITHIN, entry, name};

const OTHER: GroupId = GroupId(2);

async fn event(events: &mut Receiver<GroupEvent>) -> GroupEvent {
    tokio::time::timeout(WITHIN, events.recv()).await.unwrap().unwrap()
}

fn restarted(group: GroupId) -> GroupEvent {
    GroupEvent { group, what: What::Restarted }
}

#[tokio::test]
async fn a_group_whose_rules_halt_or_panic_is_made_again_and_the_others_go_on() {
    let cluster = Cluster::start(1, 0, &[GROUP, OTHER]).await;
    let mut last = 0;
    for number in 0..40 {
        last = cluster.propose(GROUP, entry(&format!("key{number}"), "value")).await;
    }
    let kept = cluster.propose(OTHER, entry("key", "val")).await;
    let node = &cluster.nodes[&name(1)];
    let digest = node.digest(GROUP).await;
    // half of what it knows comes from its own snapshot, the rest from the log
    node.consensus.snapshot_and_purge(GROUP, last / 2).await.unwrap();
    let mut events = node.consensus.events();
    for fatal in ["panic", "halt"] {
        let died = node.consensus.read_local(GROUP, fatal.into()).await;
        assert_eq!(died, Err(ReadError::Stopped));
        assert_eq!(event(&mut events).await, restarted(GROUP));
        assert_eq!(node.consensus.applied(OTHER).map(|applied| *applied.borrow()), Some(kept));
        node.wait(GROUP, last).await;
        assert_eq!(node.digest(GROUP).await, digest, "after {fatal}");
        let aside = cluster.disks[&name(1)].exists(std::path::Path::new("/data/state/1.redb.aside"));
        assert!(aside.unwrap(), "what it died of can be looked at");
    }
    let index = cluster.propose(GROUP, entry("goes", "on")).await;
    assert!(last < index);
    cluster.propose(OTHER, entry("key", "two")).await;
    cluster.check_health();

    // the third time is one too many
    let digest = node.digest(OTHER).await;
    assert!(node.consensus.read_local(GROUP, b"halt".to_vec()).await.is_err());
    let GroupEvent { group, what: What::Broken { why } } = event(&mut events).await else { panic!("not broken") };
    assert_eq!(group, GROUP);
    assert!(why.contains("3 times") && why.contains("asked to"), "{why}");
    assert_eq!(node.consensus.propose(GROUP, vec![], WITHIN).await, Err(ProposeError::Stopped));
    assert!(node.consensus.replica(GROUP).is_some(), "it is known who is broken");
    assert_eq!(node.digest(OTHER).await, digest);
    cluster.check_health();
    node.consensus.stop_group(GROUP).await;
    node.consensus.forget_group(GROUP).await.unwrap();
}

#[tokio::test]
async fn an_entry_that_no_replica_can_apply_breaks_its_group_only() {
    let cluster = Cluster::start(1, 0, &[GROUP, OTHER]).await;
    cluster.propose(GROUP, entry("key", "val")).await;
    cluster.propose(OTHER, entry("key", "val")).await;
    let node = &cluster.nodes[&name(1)];
    let mut events = node.consensus.events();
    let poisoned = node.consensus.propose(GROUP, b"poison".to_vec(), Duration::from_secs(5)).await;
    assert!(matches!(poisoned, Err(ProposeError::Unknown { .. })), "{poisoned:?}");
    let what = loop {
        let event = event(&mut events).await;
        if event.what != What::Restarted {
            break event.what;
        }
    };
    assert!(matches!(what, What::Broken { .. }), "{what:?}");
    cluster.propose(OTHER, entry("key", "two")).await;
    cluster.check_health();
}

/// Spoils the places of a file where these bytes lie, of `of` that follow each other the one with this number.
fn rot(cluster: &Cluster, node: usize, path: &str, needle: &[u8], number: usize, of: usize) {
    let disk = &cluster.disks[&name(node)];
    let path = std::path::Path::new(path);
    let file = Host::real().with_files(Arc::new(disk.clone())).files().open(path, Open::Read).unwrap();
    let mut bytes = vec![0; file.len().unwrap() as usize];
    file.read_exact_at(&mut bytes, 0).unwrap();
    let places: Vec<usize> = (0..bytes.len() - needle.len()).filter(|&at| bytes[at..].starts_with(needle)).collect();
    assert!(!places.is_empty() && places.len().is_multiple_of(of), "nothing to spoil");
    for &at in places.iter().skip(number).step_by(of) {
        disk.damage(path, at as u64, &[0]).unwrap();
    }
}

#[tokio::test]
async fn a_row_that_rotted_on_the_disk_is_found_and_the_state_made_again() {
    let mut cluster = Cluster::start(3, 0, &[GROUP]).await;
    let value = "c5".repeat(40);
    let mut last = cluster.propose(GROUP, entry("rots", &value)).await;
    for number in 0..20 {
        last = cluster.propose(GROUP, entry(&format!("key{number}"), "value")).await;
    }
    cluster.agree(GROUP, last).await;
    let leader = cluster.leader(GROUP).await;
    let number = (1..=3).find(|number| name(*number) == leader).unwrap();
    let node = &cluster.nodes[&leader];
    node.consensus.snapshot_and_purge(GROUP, last).await.unwrap();
    node.consensus.shutdown().await;
    cluster.kill(&leader);
    rot(&cluster, number, "/data/state/1.redb", value.as_bytes(), 0, 1);
    cluster.restart(&leader).await;
    let node = &cluster.nodes[&leader];
    let mut events = node.consensus.events();
    let key = format!("{:<80}", "rots");
    assert!(node.consensus.read_local(GROUP, key.clone().into_bytes()).await.is_err(), "it is no value");
    assert_eq!(event(&mut events).await, restarted(GROUP));
    let index = cluster.propose(GROUP, entry("after", "it")).await;
    cluster.agree(GROUP, index).await;
    let found = cluster.nodes[&leader].consensus.read_local(GROUP, key.into_bytes()).await.unwrap();
    assert_eq!(found, value.as_bytes());
}

/// redb looks at the tables that it keeps for itself when something is made durable, and not before.
#[tokio::test]
async fn a_state_that_turns_out_damaged_at_a_checkpoint_is_made_again_and_does_not_end_the_node() {
    let mut cluster = Cluster::start(3, 0, &[GROUP]).await;
    let mut last = 0;
    for number in 0..20 {
        last = cluster.propose(GROUP, entry(&format!("key{number}"), "value")).await;
    }
    cluster.agree(GROUP, last).await;
    let node = &cluster.nodes[&name(2)];
    node.consensus.snapshot_and_purge(GROUP, last).await.unwrap();
    node.consensus.shutdown().await;
    cluster.kill(&name(2));
    rot(&cluster, 2, "/data/state/1.redb", b"redb::TransactionIdWithPagination", 0, 3);
    cluster.restart(&name(2)).await;
    let node = &cluster.nodes[&name(2)];
    let mut events = node.consensus.events();
    let index = cluster.propose(GROUP, entry("after", "it")).await;
    cluster.agree(GROUP, index).await;
    let made = node.consensus.snapshot_and_purge(GROUP, index).await;
    assert!(made.is_err(), "its tables are damaged");
    assert_eq!(event(&mut events).await, restarted(GROUP));
    let index = cluster.propose(GROUP, entry("after", "that")).await;
    cluster.agree(GROUP, index).await;
    node.consensus.snapshot_and_purge(GROUP, index).await.unwrap();
    cluster.check_health();
}

#[tokio::test]
async fn a_state_that_nothing_can_make_again_is_not_made_up() {
    let mut cluster = Cluster::start(3, 0, &[GROUP]).await;
    let mut last = 0;
    for number in 0..20 {
        last = cluster.propose(GROUP, entry(&format!("key{number}"), "value")).await;
    }
    cluster.agree(GROUP, last).await;
    let node = &cluster.nodes[&name(3)];
    node.consensus.snapshot_and_purge(GROUP, last).await.unwrap();
    let mut events = node.consensus.events();
    cluster.disks[&name(3)].remove(std::path::Path::new("/data/state/1.snapshot")).unwrap();
    assert!(node.consensus.read_local(GROUP, b"halt".to_vec()).await.is_err());
    let what = event(&mut events).await.what;
    assert!(matches!(&what, What::Broken { why } if why.contains("no state reaches it")), "{what:?}");
    // a snapshot went and the log is short: neither does a restart invent anything
    cluster.kill(&name(3));
    let node = cluster.start_node(&name(3)).await;
    let started = node.try_run(GROUP, ReplicaId(768)).await;
    assert!(started.is_err(), "{started:?}");
}

/// Rules whose digest is the sum over the rows, as the real ones keep it; the entry `lie` writes a row that does not count.
struct Summed;

impl Machine for Summed {
    fn apply(&self, tables: &mut dyn Tables, index: u64, entry: &[u8]) -> Result<Vec<u8>, Halt> {
        let mut rows: Vec<(Vec<u8>, Vec<u8>)> = tables.range(ROWS, b"", &[0xff; 9], usize::MAX)?;
        let row = (index.to_be_bytes().to_vec(), entry.to_vec());
        tables.put(ROWS, &row.0, &row.1)?;
        if entry != b"lie" {
            rows.push(row);
        }
        let digest = recompute(GROUP, rows.iter().map(|(key, value)| (ROWS, key.as_slice(), value.as_slice())));
        tables.put(DIGEST_TABLE, b"", digest.as_bytes())?;
        Ok(Vec::new())
    }

    fn query(&self, _: &dyn Reads, _: &[u8]) -> Result<Vec<u8>, Halt> {
        Ok(Vec::new())
    }

    fn summed_as(&self) -> Option<GroupId> {
        Some(GROUP)
    }
}

const ROWS: Table = Table(1);

#[tokio::test]
async fn a_scrub_reads_every_row_and_finds_rows_that_the_digest_does_not_have() {
    let cluster = Cluster::start(1, 0, &[]).await;
    let consensus = &cluster.nodes[&name(1)].consensus;
    let replica = ReplicaId(256);
    consensus.start_group(GROUP, replica, Arc::new(Summed)).await.unwrap();
    consensus.admit(GROUP);
    let alone = [(replica, Member { node: name(1), voter: true })].into();
    consensus.initialize(GROUP, alone).await.unwrap();
    cluster.leader(GROUP).await;
    // more than one piece
    for number in 0..1100_u32 {
        consensus.propose(GROUP, number.to_le_bytes().to_vec(), WITHIN).await.unwrap();
    }
    assert_eq!(consensus.scrub(GROUP).await, Ok(1101));
    let mut events = consensus.events();
    consensus.propose(GROUP, b"lie".to_vec(), WITHIN).await.unwrap();
    assert_eq!(consensus.scrub(GROUP).await, Err(ReadError::Stopped));
    assert_eq!(event(&mut events).await, restarted(GROUP));
    cluster.check_health();
}
