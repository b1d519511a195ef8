//! `delete`: ends snapshots for ever.

use std::collections::BTreeMap;

use serde::Serialize;
use strongroom::snapshots::SnapshotInfo;
use strongroom_format::id::{SnapshotId, VaultName};

use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::lock_item::Lock;
use crate::output::Item;
use crate::which::{Named, Which};

/// Flags of `delete`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Needs an admin's profile. A deleted snapshot never comes back and its id is never given again; what other snapshots
share with it stays. What a lock keeps is refused, and so is what a restore reads just now. Space comes back later: what
nothing names waits a day, then it leaves the disks.

Examples:
  strongroom delete 6f1d… 81ab… --reason 'the project ended'
  strongroom delete 6f1d… --reason test --dry-run")]
pub struct Delete {
    /// Which: ids, or their first 8 or more digits.
    #[arg(value_name = "SNAPSHOT", required = true, num_args = 1..)]
    snapshots: Vec<Named>,

    /// The vault, for `latest`.
    #[arg(long, env = "STRONGROOM_VAULT")]
    vault: Option<VaultName>,

    /// Why, for the audit log.
    #[arg(long, env = "STRONGROOM_REASON", value_name = "TEXT")]
    reason: String,

    /// Only say what would be deleted, and what is kept.
    #[arg(long, env = "STRONGROOM_DRY_RUN", value_parser = clap::builder::FalseyValueParser::new())]
    dry_run: bool,
}

/// A snapshot that is deleted, or would be.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename = "deleted")]
struct Deleted {
    id: String,
    vault: String,
    name: String,
    /// What keeps it, as far as the listing says.
    lock: Option<Lock>,
    dry_run: bool,
}

impl Delete {
    /// Deletes them.
    pub async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let client = context.client().await?;
        let mut ids: Vec<SnapshotId> = Vec::new();
        for snapshot in &self.snapshots {
            let which = Which { snapshot: snapshot.clone(), vault: self.vault.clone(), name: None, stream: None };
            ids.push(which.resolve(&client).await?);
        }
        let infos: BTreeMap<SnapshotId, SnapshotInfo> =
            client.snapshots(self.vault.as_ref()).await?.into_iter().map(|info| (info.id, info)).collect();
        let shown = |id: SnapshotId| Deleted::of(id, infos.get(&id), self.dry_run);
        if self.dry_run {
            for id in &ids {
                context.output.item(&shown(*id))?;
            }
        } else {
            let mut gone = Vec::new();
            let deleted = client
                .delete_snapshots(&ids, &self.reason, |id| {
                    gone.push(id);
                    Ok(())
                })
                .await;
            for id in &gone {
                context.output.item(&shown(*id))?;
            }
            deleted?;
        }
        context.output.end(ids.len() as u64, "snapshots")?;
        Ok(Exit::Done)
    }
}

impl Deleted {
    fn of(id: SnapshotId, info: Option<&SnapshotInfo>, dry_run: bool) -> Self {
        Self {
            id: id.to_string(),
            vault: info.map(|info| info.vault.to_string()).unwrap_or_default(),
            name: info.map(|info| info.name.to_string()).unwrap_or_default(),
            lock: info.and_then(|info| Lock::of(info.kept.clone())),
            dry_run,
        }
    }
}

impl Item for Deleted {
    fn text(&self) -> String {
        let Self { id, vault, name, lock, dry_run } = self;
        match (dry_run, lock) {
            (false, _) => format!("deleted {id}  {vault}  {name}"),
            (true, None) => format!("would delete {id}  {vault}  {name}"),
            (true, Some(lock)) => format!("stays {id}  {vault}  {name}  {lock}"),
        }
    }
}
