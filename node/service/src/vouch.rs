//! Vouching: before this node proposes a caller's command that says something about another group, it asks that group.
//!
//! What is so, this node stands for, and the rules take it; what is not, the rules refuse as hearsay (N34, N109): so is
//! what is said about a group that is not there. One that does not answer leaves it open, and nothing is proposed. From
//! the rules' version that verifies members' signatures over such claims on, nobody need stand for them. Not here: what a
//! claim is (`node/core/src/claims.rs`).

use std::time::Duration;

use strongroom_core::claims::Claim;
use strongroom_core::entry::EntryCommand;
use strongroom_format::command::SignedCommand;

use crate::reads::{ReadFault, Reads};
use crate::topology::InForce;

/// The commands as they may stand in an entry, in their order.
pub(crate) async fn vouch(
    topology: &InForce,
    reads: &Reads,
    commands: Vec<SignedCommand>,
    within: Duration,
) -> Result<Vec<EntryCommand>, ReadFault> {
    let mut entry = Vec::with_capacity(commands.len());
    for command in commands {
        let claims = Claim::of(&command);
        let mut all_so = !claims.is_empty();
        for claim in &claims {
            let (group, question) = claim.question();
            // Nobody waits for a group that a caller made up.
            all_so = all_so
                && topology.shard(group).is_some()
                && claim.is_borne_out(&reads.linearizable(group, &question, within).await?);
        }
        entry.push(if all_so { EntryCommand::Vouched(command) } else { EntryCommand::Client(command) });
    }
    Ok(entry)
}
