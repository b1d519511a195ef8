//! Callers' commands as they may stand in an entry: where one says something about another group, a majority of that
//! group's voters signs it first.
//!
//! What they sign, the rules take; what is not so nobody signs, and the rules refuse it as hearsay (N34, N109): so is what
//! is said about a group that is not there. Where too few answer it stays open, and nothing is proposed. Not here: what a
//! claim is (`node/core/src/claims.rs`), asking voters (`majority.rs`).

use std::time::Duration;

use strongroom_core::claims::Claim;
use strongroom_core::entry::EntryCommand;
use strongroom_format::command::SignedCommand;
use strongroom_format::id::GroupId;

use crate::majority::{Known, Majority, Word};

/// The commands as they may stand in an entry of `group`, in their order; `None`: too few voters have answered.
pub(crate) async fn vouch(
    majority: &Majority,
    group: GroupId,
    commands: Vec<SignedCommand>,
    known: Known,
    within: Duration,
) -> Option<Vec<EntryCommand>> {
    let claims: Vec<Vec<Claim>> = commands.iter().map(Claim::of).collect();
    let all = claims.concat();
    let mut words = match all.is_empty() {
        true => Vec::new(),
        false => majority.collect(group, &all, known, within).await,
    }
    .into_iter();
    let mut entry = Vec::with_capacity(commands.len());
    for (command, claims) in commands.into_iter().zip(claims) {
        let mut signatures = Vec::with_capacity(claims.len());
        let mut all_so = !claims.is_empty();
        for word in words.by_ref().take(claims.len()) {
            match word {
                Word::Signed(signed) => signatures.push(signed),
                Word::NotSo => all_so = false,
                Word::Silence => return None,
            }
        }
        entry.push(if all_so { EntryCommand::Attested { command, signatures } } else { EntryCommand::Client(command) });
    }
    Some(entry)
}
