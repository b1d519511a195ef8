//! `strongroomd inspect`: what lies on a stopped node's disk.
//!
//! Not here: judging it (`fsck.rs` recounts).

use std::path::Path;

use anyhow::{Context as _, ensure};
use serde_json::json;
use strongroom_chunks::survey::survey;
use strongroom_consensus::offline;
use strongroom_host::Host;

use crate::processes::running_pid;
use crate::settings::NodeSettings;

/// Prints fragments, then groups with their applied index and digest. As JSON, the last line counts them.
pub fn inspect(data_dir: &Path, as_json: bool) -> anyhow::Result<()> {
    let data_dir = std::path::absolute(data_dir).context("the data directory has no absolute path")?;
    ensure!(data_dir.join(NodeSettings::FILE).exists(), "{} is no node's data directory", data_dir.display());
    if let Some(pid) = running_pid(&data_dir) {
        anyhow::bail!("the node runs as process {pid}; stop it first");
    }
    let data_dir = data_dir.as_path();
    let host = Host::real();
    let mut count = 0_u64;
    let print = |object: serde_json::Value, text: String| match as_json {
        true => println!("{object}"),
        false => println!("{text}"),
    };
    let segments = data_dir.join("segments");
    survey(&**host.files(), data_dir, |fragment| {
        let (file, copy) = (segments.join(&fragment.file).display().to_string(), &fragment.copy);
        count += 1;
        print(
            json!({
                "type": "fragment",
                "file": file,
                "offset": fragment.payload_offset,
                "bytes": fragment.payload_bytes,
                "blob": copy.blob.to_string(),
                "index": copy.index,
                "group": copy.group.0,
                "lease": copy.lease.0,
                "tenant": fragment.tenant.to_string(),
                "code": fragment.code.to_string(),
            }),
            format!(
                "{file} {} +{} blob {} fragment {} of {}",
                fragment.payload_offset, fragment.payload_bytes, copy.blob, copy.index, fragment.code
            ),
        );
    })
    .context("the segments cannot be read")?;
    for group in offline::groups(&host, data_dir).context("the groups' states do not open")? {
        count += 1;
        print(
            json!({
                "type": "group",
                "id": group.id.0,
                "applied": group.applied,
                "term": group.term,
                "digest": group.digest.map(hex::encode),
            }),
            format!(
                "group {} applied {} term {} digest {}",
                group.id,
                group.applied,
                group.term,
                group.digest.map_or("none".into(), hex::encode)
            ),
        );
    }
    if as_json {
        println!("{}", json!({"type": "end", "count": count}));
    }
    Ok(())
}
