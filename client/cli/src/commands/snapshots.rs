//! `snapshots`: what is in a vault, or in all of them.

use serde::Serialize;
use strongroom::snapshots::SnapshotInfo;
use strongroom_format::id::VaultName;

use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::output::Item;
use crate::text::{count, size, time_of_ms};
use crate::vault_item::Lock;

/// Flags of `snapshots`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Oldest first. A writer sees its own snapshots, a restorer those of the tenant.

Examples:
  strongroom snapshots
  strongroom snapshots --vault papers --json | jq -r 'select(.name == \"nightly\") | .id'")]
pub struct Snapshots {
    /// Only this vault.
    #[arg(long, env = "STRONGROOM_VAULT")]
    vault: Option<VaultName>,
}

/// One snapshot.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename = "snapshot")]
struct Shown {
    id: String,
    vault: String,
    name: String,
    created: Option<String>,
    bytes: Option<u64>,
    files: Option<u64>,
    lock: Option<Lock>,
    strength: Strength,
    #[serde(skip)]
    writer: String,
    #[serde(skip)]
    damaged: bool,
}

/// What may still be lost.
#[derive(Debug, Serialize)]
struct Strength {
    regions: u8,
    nodes: u8,
}

impl Snapshots {
    /// Lists them.
    pub async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let snapshots = context.client().await?.snapshots(self.vault.as_ref()).await?;
        let count = snapshots.len() as u64;
        for snapshot in snapshots {
            context.output.item(&Shown::from(snapshot))?;
        }
        context.output.end(count, "snapshots")?;
        Ok(Exit::Done)
    }
}

impl From<SnapshotInfo> for Shown {
    fn from(snapshot: SnapshotInfo) -> Self {
        Self {
            id: snapshot.id.to_string(),
            vault: snapshot.vault.to_string(),
            name: snapshot.name.to_string(),
            created: time_of_ms(snapshot.created_unix_ms),
            bytes: snapshot.summary.map(|summary| summary.bytes),
            files: snapshot.summary.map(|summary| summary.files),
            lock: snapshot.lock.map(Lock::from),
            strength: Strength { regions: snapshot.strength.regions, nodes: snapshot.strength.nodes },
            writer: snapshot.writer.to_string(),
            damaged: snapshot.damaged,
        }
    }
}

impl Item for Shown {
    fn text(&self) -> String {
        let created = self.created.as_deref().unwrap_or("unknown");
        let bytes = self.bytes.map_or_else(|| "-".to_owned(), size);
        let files = self.files.map_or_else(|| "-".to_owned(), |files| count(files, "file", "files"));
        let mut text = format!(
            "{}  {created:24}  {bytes:>9}  {files:>12}  {}: {}/{}",
            &self.id[..12],
            self.vault,
            self.writer,
            self.name
        );
        if let Some(lock) = &self.lock {
            text.push_str(&format!("  {lock}"));
        }
        if self.strength.regions == 0 {
            text.push_str(&format!("  THIN: survives {}", count(self.strength.nodes.into(), "node", "nodes")));
        }
        if self.damaged {
            text.push_str("  DAMAGED");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_has_the_fields_of_the_contract() {
        let shown = Shown {
            id: "ab".repeat(16),
            vault: "papers".into(),
            name: "etc".into(),
            created: time_of_ms(0),
            bytes: Some(5),
            files: Some(1),
            lock: None,
            strength: Strength { regions: 1, nodes: 2 },
            writer: "web-1".into(),
            damaged: true,
        };
        let expected = format!(
            r#"{{"type":"snapshot","id":"{}","vault":"papers","name":"etc","created":"1970-01-01T00:00:00Z","bytes":5,"files":1,"lock":null,"strength":{{"regions":1,"nodes":2}}}}"#,
            "ab".repeat(16)
        );
        assert_eq!(serde_json::to_string(&shown).unwrap(), expected);
        assert!(shown.text().ends_with("papers: web-1/etc  DAMAGED"), "{}", shown.text());
    }
}
