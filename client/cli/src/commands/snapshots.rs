//! `snapshots`: what is in a vault, or in all of them.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;

use serde::Serialize;
use strongroom::snapshots::SnapshotInfo;
use strongroom_format::id::{IdentityId, VaultName};

use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::lock_item::Lock;
use crate::output::Item;
use crate::text::{count, moment_of, size, time_of_ms};

/// Flags of `snapshots`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Oldest first. A writer sees its own snapshots, a restorer those of the tenant.

Examples:
  strongroom snapshots
  strongroom snapshots --vault papers --name web-1/nightly --since 2026-11-01
  strongroom snapshots --latest 1
  strongroom snapshots --tag host=web-1
  strongroom snapshots --vault papers --json | jq -r 'select(.name == \"nightly\") | .id'")]
pub struct Snapshots {
    /// Only this vault.
    #[arg(long, env = "STRONGROOM_VAULT")]
    vault: Option<VaultName>,

    /// Only of this name, LABEL or WRITER/LABEL.
    #[arg(long, env = "STRONGROOM_NAME", value_name = "LABEL")]
    name: Option<String>,

    /// Only of this writer.
    #[arg(long, env = "STRONGROOM_WRITER", value_name = "ID")]
    writer: Option<IdentityId>,

    /// Only those with this tag; KEY alone: with any value. May be repeated: those with all of them.
    #[arg(long, env = "STRONGROOM_TAG", value_name = "KEY[=VALUE]")]
    tag: Vec<String>,

    /// Only those committed at this time or later (RFC 3339 or a date).
    #[arg(long, env = "STRONGROOM_SINCE", value_name = "TIME", value_parser = moment_of)]
    since: Option<i64>,

    /// Only those committed before this time.
    #[arg(long, env = "STRONGROOM_UNTIL", value_name = "TIME", value_parser = moment_of)]
    until: Option<i64>,

    /// Only the last N of each name of each writer in each vault.
    #[arg(long, env = "STRONGROOM_LATEST", value_name = "N")]
    latest: Option<NonZeroUsize>,
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
    /// How many, where it is a whole of several writers' streams.
    #[serde(skip_serializing_if = "Option::is_none")]
    streams: Option<u64>,
    /// What it is called in its whole, where it is a stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    stream: Option<String>,
    tags: BTreeMap<String, String>,
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
        let snapshots = self.filtered(snapshots);
        let count = snapshots.len() as u64;
        for snapshot in snapshots {
            context.output.item(&Shown::from(snapshot))?;
        }
        context.output.end(count, "snapshots")?;
        Ok(Exit::Done)
    }

    /// Those that are asked for, in the same order.
    fn filtered(&self, mut snapshots: Vec<SnapshotInfo>) -> Vec<SnapshotInfo> {
        snapshots.retain(|info| {
            let created_ms = i64::try_from(info.created_unix_ms).unwrap_or(i64::MAX);
            let is_named =
                |name: &String| name == info.name.as_str() || *name == format!("{}/{}", info.writer, info.name);
            self.name.as_ref().is_none_or(is_named)
                && self.writer.as_ref().is_none_or(|writer| *writer == info.writer)
                && self.tag.iter().all(|wanted| has_tag(&info.tags, wanted))
                && self.since.is_none_or(|since| since <= created_ms)
                && self.until.is_none_or(|until| created_ms < until)
        });
        let Some(latest) = self.latest else { return snapshots };
        let mut seen: BTreeMap<(String, String, String), usize> = BTreeMap::new();
        let mut kept: Vec<SnapshotInfo> = snapshots.into_iter().rev().collect();
        kept.retain(|info| {
            let key = (info.vault.to_string(), info.writer.to_string(), info.name.to_string());
            let count = seen.entry(key).or_default();
            *count += 1;
            *count <= latest.get()
        });
        kept.reverse();
        kept
    }
}

/// Whether a snapshot has the tag `KEY` or `KEY=VALUE`. A key never has a `=` in it: it is written in front of one.
fn has_tag(tags: &BTreeMap<String, String>, wanted: &str) -> bool {
    match wanted.split_once('=') {
        Some((key, value)) => tags.get(key).is_some_and(|has| has == value),
        None => tags.contains_key(wanted),
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
            lock: Lock::of(snapshot.kept),
            strength: Strength { regions: snapshot.strength.regions, nodes: snapshot.strength.nodes },
            streams: snapshot.gathered.whole().map(|whole| whole.streams.len() as u64),
            stream: snapshot.gathered.stream().map(|of| of.name.to_string()),
            tags: snapshot.tags,
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
        if let Some(streams) = self.streams {
            text.push_str(&format!("  {}", count(streams, "stream", "streams")));
        }
        if let Some(stream) = &self.stream {
            text.push_str(&format!("  stream {stream}"));
        }
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
            streams: None,
            stream: None,
            tags: BTreeMap::from([("host".into(), "web-1".into())]),
            writer: "web-1".into(),
            damaged: true,
        };
        let expected = format!(
            r#"{{"type":"snapshot","id":"{}","vault":"papers","name":"etc","created":"1970-01-01T00:00:00Z","bytes":5,"files":1,"lock":null,"strength":{{"regions":1,"nodes":2}},"tags":{{"host":"web-1"}}}}"#,
            "ab".repeat(16)
        );
        assert_eq!(serde_json::to_string(&shown).unwrap(), expected);
        assert!(shown.text().ends_with("papers: web-1/etc  DAMAGED"), "{}", shown.text());
    }
}
