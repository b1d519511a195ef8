//! `usage`: how much there is of the tenant, its vaults and writers, and how much there may be.

use serde::Serialize;
use strongroom::usage::{Charged, Measured};
use strongroom_format::id::VaultName;

use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::output::Item;
use crate::text::{count, size};

/// Flags of `usage`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Stored bytes are those of blobs and index nodes, each counted once, before erasure coding. Logical bytes are what the
snapshots would take without deduplication. What uploads that are under way may still write counts too: it is given back
when they end. A writer sees its own.

Examples:
  strongroom usage
  strongroom usage --vault papers
  strongroom usage --json | jq -r 'select(.exceeded) | .of + \" \" + .name'")]
pub struct Usage {
    /// Only this vault.
    #[arg(long, env = "STRONGROOM_VAULT")]
    vault: Option<VaultName>,
}

/// One tenant, vault or writer.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename = "usage")]
struct Shown {
    of: &'static str,
    name: String,
    logical_bytes: Shares,
    stored_bytes: Shares,
    snapshots: Shares,
    sessions: Shares,
    /// A soft quota is exceeded.
    exceeded: bool,
    upload_bytes_per_second: Option<u64>,
}

#[derive(Debug, Serialize)]
struct Shares {
    used: u64,
    under_way: u64,
    soft: Option<u64>,
    hard: Option<u64>,
}

impl Usage {
    /// Shows it.
    pub async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let client = context.client().await?;
        let vault = match &self.vault {
            Some(name) => Some(client.vault(name).await?.id),
            None => None,
        };
        let usage = client.usage().await?;
        let mut shown = Vec::new();
        if vault.is_none() {
            let tenant = usage.tenant.map(|charged| Shown::new("tenant", charged, usage.upload_bytes_per_second));
            shown.extend(tenant);
        }
        let vaults = usage.vaults.into_iter().filter(|(id, _)| vault.is_none_or(|vault| vault == *id));
        shown.extend(vaults.map(|(_, charged)| Shown::new("vault", charged, None)));
        if vault.is_none() {
            shown.extend(usage.writers.into_iter().map(|charged| Shown::new("writer", charged, None)));
        }
        for item in &shown {
            context.output.item(item)?;
        }
        context.output.end(shown.len() as u64, "usage that this profile may see")?;
        Ok(Exit::Done)
    }
}

impl Shown {
    fn new(of: &'static str, charged: Charged, upload_bytes_per_second: Option<u64>) -> Self {
        let Charged { name, logical_bytes, stored_bytes, snapshots, sessions } = charged;
        let all = [logical_bytes, stored_bytes, snapshots, sessions];
        let exceeded = all.iter().any(|measured| measured.quota.is_exceeded_by(measured.charged()));
        Self {
            of,
            name,
            logical_bytes: Shares::from(logical_bytes),
            stored_bytes: Shares::from(stored_bytes),
            snapshots: Shares::from(snapshots),
            sessions: Shares::from(sessions),
            exceeded,
            upload_bytes_per_second,
        }
    }
}

impl From<Measured> for Shares {
    fn from(measured: Measured) -> Self {
        let Measured { used, under_way, quota } = measured;
        Self { used, under_way, soft: quota.soft, hard: quota.hard }
    }
}

impl Shares {
    fn text(&self, in_units: impl Fn(u64) -> String) -> String {
        let mut text = in_units(self.used);
        if self.under_way != 0 {
            text.push_str(&format!(" (and {} under way)", in_units(self.under_way)));
        }
        if let Some(hard) = self.hard {
            text.push_str(&format!(" of {}", in_units(hard)));
        }
        if let Some(soft) = self.soft.filter(|soft| *soft < self.used.saturating_add(self.under_way)) {
            text.push_str(&format!(", MORE THAN {}", in_units(soft)));
        }
        text
    }
}

impl Item for Shown {
    fn text(&self) -> String {
        let name = if self.name.is_empty() { String::new() } else { format!(" {}", self.name) };
        let mut text = format!(
            "{}{name}: {} stored, {} logical, {}",
            self.of,
            self.stored_bytes.text(size),
            self.logical_bytes.text(size),
            self.snapshots.text(|number| count(number, "snapshot", "snapshots")),
        );
        if self.of != "vault" {
            text.push_str(&format!(
                ", {}",
                self.sessions.text(|number| count(number, "open session", "open sessions"))
            ));
        }
        if let Some(rate) = self.upload_bytes_per_second {
            text.push_str(&format!(", at most {}/s to a node", size(rate)));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use strongroom_format::quota::Quota;

    use super::*;

    #[test]
    fn usage_is_one_object_and_one_line_and_says_what_is_too_much() {
        let measured = |used, under_way, soft, hard| Measured { used, under_way, quota: Quota { soft, hard } };
        let charged = Charged {
            name: "papers".into(),
            logical_bytes: measured(5 << 20, 0, None, None),
            stored_bytes: measured(3 << 20, 1 << 20, Some(1 << 21), Some(1 << 23)),
            snapshots: measured(1, 0, Some(7), Some(7)),
            sessions: Measured::default(),
        };
        let shown = Shown::new("vault", charged, None);
        assert_eq!(
            shown.text(),
            "vault papers: 3.0 MiB (and 1.0 MiB under way) of 8.0 MiB, MORE THAN 2.0 MiB stored, 5.0 MiB logical, \
             1 snapshot of 7 snapshots"
        );
        let expected = r#"{"type":"usage","of":"vault","name":"papers","logical_bytes":{"used":5242880,"under_way":0,"soft":null,"hard":null},"stored_bytes":{"used":3145728,"under_way":1048576,"soft":2097152,"hard":8388608},"snapshots":{"used":1,"under_way":0,"soft":7,"hard":7},"sessions":{"used":0,"under_way":0,"soft":null,"hard":null},"exceeded":true,"upload_bytes_per_second":null}"#;
        assert_eq!(serde_json::to_string(&shown).unwrap(), expected);
    }
}
