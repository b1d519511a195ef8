//! `strongroomd fsck`: recounts what lies on stopped nodes' disks, and says what differs.
//!
//! ```text
//!   each group's rows ─▶ every law of one state: references, quotas, audit tree, digest, indexes, queues …
//!   several directories ─▶ replicas at the same entry have the same digest
//! ```
//!
//! It reads; it changes nothing. What was applied behind the last checkpoint is in the log only and is not looked at. A
//! group's rows lie in memory while they are judged. Not here: fragments (`inspect.rs`, scrub), repairing anything.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use serde_json::json;
use strongroom_consensus::offline;
use strongroom_core::laws;
use strongroom_format::id::GroupId;
use strongroom_host::Host;

use crate::processes::running_pid;
use crate::settings::NodeSettings;

/// Judges every group in these directories. `false`: something differs.
pub fn fsck(data_dirs: &[PathBuf], as_json: bool) -> anyhow::Result<bool> {
    let host = Host::real();
    let print = |object: serde_json::Value, text: String| match as_json {
        true => println!("{object}"),
        false => println!("{text}"),
    };
    let (mut count, mut broken) = (0_u64, 0_u64);
    // By group and last entry: the digest, and where it was found first.
    let mut digests: BTreeMap<(GroupId, u64), ([u8; 32], PathBuf)> = BTreeMap::new();
    for data_dir in data_dirs {
        let data_dir = checked(data_dir)?;
        for group in offline::groups(&host, &data_dir).context("the groups' states do not open")? {
            count += 1;
            let mut faults = Vec::new();
            match offline::state(&host, &data_dir, group.id) {
                Ok(state) => faults.extend(laws::check(&state).err().map(|broken| broken.to_string())),
                Err(halt) => faults.push(halt.to_string()),
            }
            if let Some(digest) = group.digest {
                let (first, at) =
                    digests.entry((group.id, group.applied)).or_insert_with(|| (digest, data_dir.clone()));
                if *first != digest {
                    faults.push(format!("another digest than {} has at the same entry", at.display()));
                }
            }
            broken += u64::from(!faults.is_empty());
            let (at, fault) = (data_dir.display().to_string(), faults.join("; "));
            print(
                json!({
                    "type": "group",
                    "data_dir": at,
                    "id": group.id.0,
                    "applied": group.applied,
                    "digest": group.digest.map(hex::encode),
                    "ok": faults.is_empty(),
                    "fault": faults,
                }),
                match faults.is_empty() {
                    true => format!("ok      {at}: group {} up to entry {}", group.id, group.applied),
                    false => format!("BROKEN  {at}: group {} up to entry {}: {fault}", group.id, group.applied),
                },
            );
        }
    }
    print(
        json!({"type": "fsck", "groups": count, "broken": broken}),
        format!("{count} groups looked at, {broken} broken"),
    );
    Ok(broken == 0)
}

fn checked(data_dir: &Path) -> anyhow::Result<PathBuf> {
    let data_dir = std::path::absolute(data_dir).context("the data directory has no absolute path")?;
    ensure!(data_dir.join(NodeSettings::FILE).exists(), "{} is no node's data directory", data_dir.display());
    if let Some(pid) = running_pid(&data_dir) {
        anyhow::bail!("the node in {} runs as process {pid}; stop it first", data_dir.display());
    }
    Ok(data_dir)
}
