//! The kill switch of tests: kills the task of one group of this node, as a bug in it would, while the node runs.
//!
//! ```text
//!   DATA_DIR/kill-group appears (a group's number, by rename) ─▶ removed ─▶ a panic in that group's task
//! ```
//!
//! Promise: nobody listens for it unless the settings say so, and settings that do are refused where anybody from another
//! machine could reach the node (`settings.rs`). Not here: what becomes of the group (`node/consensus`, `supervise.rs`).

use std::path::PathBuf;
use std::time::Duration;

use strongroom_consensus::groups::Consensus;
use strongroom_format::id::GroupId;

/// The file's name in a data directory.
const FILE: &str = "kill-group";
/// How often it is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Worker *kill switch*.
pub async fn watch(data_dir: PathBuf, consensus: Consensus) {
    let file = data_dir.join(FILE);
    tracing::warn!(file = %file.display(), "a test may kill groups of this node");
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let Ok(text) = tokio::fs::read_to_string(&file).await else { continue };
        if let Err(error) = tokio::fs::remove_file(&file).await {
            tracing::error!(%error, "the kill switch cannot be put back");
            continue;
        }
        let group = text.trim().parse().map(GroupId);
        let was_killed = match &group {
            Ok(group) => consensus.kill_group(*group).await,
            Err(_) => false,
        };
        tracing::warn!(?group, was_killed, "a test has thrown the kill switch");
    }
}
