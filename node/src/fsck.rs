//! `strongroomd fsck`: recounts what lies on stopped nodes' disks, and says what differs.
//!
//! ```text
//!   each group's rows ─▶ every law of one state: references, quotas, audit tree, digest, indexes, queues …
//!   several directories ─▶ replicas at the same entry have the same digest
//!   each directory's segments, read through ─▶ every copy that rows name for this node lies here and verifies; what lies
//!   here and is named by none is an orphan, which sweep will take: no damage
//! ```
//!
//! It reads; it changes nothing. What was applied behind the last checkpoint is in the log only and is not looked at: a node
//! that ends in order makes one first; of one that was killed, copies may lack that went in its last seconds, so let it start
//! and end first. A group's rows, then a node's names of copies lie in memory while they are judged. Not here: repairing
//! anything; comparing copies with rows (`copies.rs`).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use serde_json::json;
use strongroom_consensus::offline;
use strongroom_core::laws;
use strongroom_format::id::GroupId;
use strongroom_host::Host;

use crate::copies::{self, Fault};
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
    let (mut named, mut bad) = (0_u64, 0_u64);
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
        let settings = NodeSettings::read(&data_dir.join(NodeSettings::FILE))?;
        let compared = copies::compare(&host, &data_dir, &settings.node.parse().context("the node's name")?)?;
        let at = data_dir.display().to_string();
        for (tenant, copy, fault) in &compared.faults {
            let what = fault.label();
            print(
                json!({
                    "type": "copy",
                    "data_dir": at,
                    "tenant": tenant.to_string(),
                    "blob": copy.blob.to_string(),
                    "index": copy.index,
                    "group": copy.group.0,
                    "lease": copy.lease.0,
                    "fault": what,
                }),
                format!("BROKEN  {at}: fragment {} of blob {} is {what}", copy.index, copy.blob),
            );
        }
        let faults = |of: Fault| compared.faults.iter().filter(|(.., fault)| *fault == of).count() as u64;
        let (damaged, missing) = (faults(Fault::Damaged), faults(Fault::Missing));
        named += compared.named;
        bad += damaged + missing;
        print(
            json!({
                "type": "copies",
                "data_dir": at,
                "named": compared.named,
                "damaged": damaged,
                "missing": missing,
                "orphans": compared.orphans,
                "orphan_bytes": compared.orphan_bytes,
                "held": compared.held,
                "ok": damaged + missing == 0,
            }),
            format!(
                "{}{at}: {} copies named by rows, {damaged} damaged, {missing} missing; {} orphans of {} bytes, which sweep \
                 will take, and {} held by leases",
                if damaged + missing == 0 { "ok      " } else { "BROKEN  " },
                compared.named,
                compared.orphans,
                compared.orphan_bytes,
                compared.held
            ),
        );
    }
    print(
        json!({"type": "fsck", "groups": count, "broken": broken, "copies": named, "copies_broken": bad}),
        format!("{count} groups looked at, {broken} broken; {named} copies, {bad} broken"),
    );
    Ok(broken + bad == 0)
}

fn checked(data_dir: &Path) -> anyhow::Result<PathBuf> {
    let data_dir = std::path::absolute(data_dir).context("the data directory has no absolute path")?;
    ensure!(data_dir.join(NodeSettings::FILE).exists(), "{} is no node's data directory", data_dir.display());
    if let Some(pid) = running_pid(&data_dir) {
        anyhow::bail!("the node in {} runs as process {pid}; stop it first", data_dir.display());
    }
    Ok(data_dir)
}
