//! Power cuts and partitions under load: what was acknowledged is there, once, where it was said to be.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use strongroom_consensus::groups::Consensus;
use strongroom_format::id::{GroupId, NodeName};

use crate::cluster::{Cluster, GROUP, WITHIN, entry, name};

const GROUPS: [GroupId; 2] = [GROUP, GroupId(2)];

type Acknowledged = Arc<Mutex<BTreeMap<(GroupId, u64), String>>>;

/// Proposes one key after another wherever a leader may be.
async fn propose(
    caller: usize,
    nodes: Arc<Mutex<BTreeMap<NodeName, Consensus>>>,
    acknowledged: Acknowledged,
    is_over: Arc<AtomicBool>,
) {
    for number in 0.. {
        if is_over.load(Ordering::Relaxed) {
            return;
        }
        let group = GROUPS[number % GROUPS.len()];
        let there: Vec<Consensus> = nodes.lock().unwrap().values().cloned().collect();
        let Some(leader) = there.into_iter().find(|node| node.leads(group)) else {
            tokio::time::sleep(Duration::from_millis(5)).await;
            continue;
        };
        let key = format!("c{caller}-{number}");
        if let Ok(applied) = leader.propose(group, entry(&key, &key), Duration::from_millis(500)).await {
            let before = acknowledged.lock().unwrap().insert((group, applied.index), key.clone());
            assert_eq!(before, None, "index {} was given twice", applied.index);
        }
    }
}

async fn chaos(seed: u64) {
    let mut dice = seed;
    let mut below = move |bound: u64| {
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (dice >> 33) % bound
    };
    let mut cluster = Cluster::start(3, 0, &GROUPS).await;
    for group in GROUPS {
        cluster.propose(group, entry("first", "entry")).await;
    }
    let acknowledged: Acknowledged = Arc::default();
    let is_over = Arc::new(AtomicBool::new(false));
    let nodes: Arc<Mutex<BTreeMap<NodeName, Consensus>>> = Arc::default();
    let publish = |cluster: &Cluster| {
        *nodes.lock().unwrap() =
            cluster.nodes.iter().map(|(name, node)| (name.clone(), node.consensus.clone())).collect();
    };
    publish(&cluster);
    let callers: Vec<_> = (0..6)
        .map(|caller| tokio::spawn(propose(caller, nodes.clone(), acknowledged.clone(), is_over.clone())))
        .collect();
    for _ in 0..6 {
        tokio::time::sleep(Duration::from_millis(100 + below(400))).await;
        let node = name(1 + below(3) as usize);
        match below(3) {
            0 => {
                cluster.net.isolate(&node);
                tokio::time::sleep(Duration::from_millis(500 + below(1000))).await;
                cluster.net.heal();
            }
            1 => {
                for number in 1..=3 {
                    cluster.kill(&name(number));
                }
                for number in 1..=3 {
                    cluster.restart(&name(number)).await;
                }
                publish(&cluster);
            }
            _ => {
                cluster.kill(&node);
                publish(&cluster);
                tokio::time::sleep(Duration::from_millis(below(1500))).await;
                cluster.restart(&node).await;
                publish(&cluster);
            }
        }
    }
    // On a slow machine most of it may be to come yet.
    let begin = tokio::time::Instant::now();
    while acknowledged.lock().unwrap().len() <= 100 {
        assert!(begin.elapsed() < WITHIN, "seed {seed}: nothing goes on after the faults");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    is_over.store(true, Ordering::Relaxed);
    for caller in callers {
        caller.await.unwrap();
    }
    for group in GROUPS {
        let index = cluster.propose(group, entry("last", "entry")).await;
        cluster.agree(group, index).await;
    }
    let acknowledged = acknowledged.lock().unwrap().clone();
    println!("seed {seed}: {} proposals were acknowledged", acknowledged.len());
    for ((group, index), key) in acknowledged {
        let found = cluster.nodes[&name(1)].consensus.read_local(group, key.clone().into_bytes()).await.unwrap();
        assert_eq!(found, key.as_bytes(), "seed {seed} group {group} index {index}: an acknowledged entry is lost");
    }
    let leader = cluster.leader(GROUP).await;
    cluster.nodes[&leader].consensus.read(GROUP, b"last".to_vec(), WITHIN).await.unwrap();
}

#[tokio::test]
async fn what_was_acknowledged_under_power_cuts_and_partitions_is_there() {
    let seed = std::env::var("STRONGROOM_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    chaos(seed).await;
}
