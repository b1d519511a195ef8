//! Whether replicas of one group that have applied as much have the same digest, looked at while all nodes are stopped.
//!
//! Not here: what a digest is (`node/core`), what makes replicas differ (`foundation.rs`).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use crate::cluster::{Cluster, PATIENCE};

/// Every node of three is in the cluster group and in three shards.
pub const GROUPS: usize = 4;

/// Stops all nodes at once and compares the digests of replicas that have applied as much, until those of all these nodes
/// were compared with another's in every group; then all run again. Where a node stopped an entry behind the others there
/// is nothing to compare, so it is done again.
pub fn assert_digests_equal(cluster: &mut Cluster, nodes: &[String]) {
    let names = cluster.names();
    let mut left: BTreeSet<(u64, &String)> =
        nodes.iter().flat_map(|node| (0..GROUPS as u64).map(move |group| (group, node))).collect();
    let began = Instant::now();
    while !left.is_empty() {
        assert!(began.elapsed() < 2 * PATIENCE, "these were never as far as others: {left:?}");
        cluster.stop_together(&names);
        let mut digests: BTreeMap<(u64, u64), Vec<(String, String)>> = BTreeMap::new();
        let mut groups = 0;
        for name in &names {
            for object in cluster.inspect(name).iter().filter(|object| object["type"] == "group") {
                groups += 1;
                let key = (object["id"].as_u64().expect("an id"), object["applied"].as_u64().expect("an index"));
                let digest = object["digest"].as_str().expect("a digest").to_owned();
                digests.entry(key).or_default().push((name.clone(), digest));
            }
        }
        assert_eq!(groups, GROUPS * names.len(), "every node has a replica of every group");
        for ((group, applied), replicas) in digests {
            assert!(replicas.iter().all(|(_, digest)| *digest == replicas[0].1), "{group} at {applied}: {replicas:?}");
            if 1 < replicas.len() {
                left.retain(|(of, node)| *of != group || !replicas.iter().any(|(name, _)| name == *node));
            }
        }
        names.iter().for_each(|name| cluster.restart(name));
        names.iter().for_each(|name| cluster.await_ready(name));
    }
}
