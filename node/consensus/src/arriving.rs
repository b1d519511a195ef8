//! A snapshot that arrives in pieces.
//!
//! ```text
//!   piece at 0                    of another snapshot: begin anew; of the same: say where to go on
//!   piece behind what is there    write it, say where to go on
//!   piece elsewhere               write nothing, say where to go on
//!   nothing, at the end           verify every byte ─▶ install ─▶ over
//! ```
//!
//! What has come stays when its sender goes: whoever sends the same snapshot next, after a broken connection or as another
//! leader, goes on behind it. The same: of the same last entry and of the same length; two that have that and differ are
//! found out at the end, by the hash over everything, and all begins anew. Over is said only when the snapshot is the
//! durable state here.
//!
//! Not here: how many arrive at once (`transfers.rs`), installing (`machine.rs`).

use std::sync::{Arc, TryLockError};
use std::time::Duration;

use tokio::time::Instant;

use crate::group::lock;
use crate::metrics;
use crate::plain::{PlainLogId, PlainVote};
use crate::running::Group;
use crate::snapshot::{Incoming, SnapshotFile, SnapshotPlace};
use crate::types::{Snapshot, Vote};
use crate::wire::{PieceAsk, PieceReply};

/// A snapshot of which nothing came for so long is given up.
const IDLE_MAX: Duration = Duration::from_secs(600);

/// Verifying and installing one takes so long, perhaps.
const INSTALL_WITHIN: Duration = Duration::from_secs(600);

/// Why a piece led to nothing.
#[derive(Debug)]
pub(crate) enum TakeError {
    /// No piece, or the snapshot that it ended is damaged.
    Malformed(String),
    /// Later.
    Busy(&'static str),
    /// The group has ended here, or its disk failed.
    Stopped(String),
}

/// What a piece led to.
enum Taken {
    Next(u64),
    Whole(SnapshotFile),
}

/// Takes a piece of a snapshot; installs the snapshot behind the last one.
pub(crate) async fn take_piece(group: &Group, ask: PieceAsk) -> Result<PieceReply, TakeError> {
    let rest = ask.of.checked_sub(ask.at).filter(|_| ask.of != 0);
    if rest.is_none_or(|rest| rest < ask.piece.len() as u64 || (rest == 0) != ask.piece.is_empty()) {
        return Err(TakeError::Malformed("a piece of a snapshot outside of it".into()));
    }
    let own_vote = group.vote();
    let (vote, transfer) = (Vote::from(ask.vote), ask.transfer);
    if vote < own_vote || has(group, transfer) {
        return Ok(PieceReply::Over(PlainVote::from(&own_vote)));
    }
    let within = if rest == Some(0) { INSTALL_WITHIN } else { Duration::ZERO };
    if !group.transfers.admits(group.id, within) {
        return Err(TakeError::Busy("others' snapshots are arriving"));
    }
    let (arriving, place) = (Arc::clone(&group.arriving), group.machine.snapshots.clone());
    let taken = group.snapshot_lane.run(move || take(&mut lock(&arriving), &place, ask)).await;
    let taken = taken.map_err(stopped)?.inspect_err(|_| group.transfers.ended(group.id))?;
    let snapshot = match taken {
        Taken::Next(next) => return Ok(PieceReply::Next(next)),
        Taken::Whole(snapshot) => Snapshot { meta: snapshot.meta(), snapshot },
    };
    let response = group.raft.install_full_snapshot(vote, snapshot).await.map_err(stopped)?;
    if has(group, transfer) {
        let (arriving, place) = (Arc::clone(&group.arriving), group.machine.snapshots.clone());
        let forget = move || forget(&mut lock(&arriving), &place, |incoming| incoming.transfer == transfer);
        group.snapshot_lane.run(forget).await.map_err(stopped)?.map_err(stopped)?;
        group.transfers.ended(group.id);
        return Ok(PieceReply::Over(PlainVote::from(&response.vote)));
    }
    match vote < response.vote {
        true => Ok(PieceReply::Over(PlainVote::from(&response.vote))),
        // it was given to openraft before, by an asker who went away
        false => Err(TakeError::Busy("the snapshot is being installed")),
    }
}

/// Whether everything up to this entry is the durable state here.
fn has(group: &Group, transfer: PlainLogId) -> bool {
    Some(transfer.index) <= group.machine.state.checkpointed()
}

/// The lane's work.
fn take(arriving: &mut Option<Incoming>, place: &SnapshotPlace, ask: PieceAsk) -> Result<Taken, TakeError> {
    let is_same = |incoming: &Incoming| incoming.transfer == ask.transfer && incoming.bytes == ask.of;
    if !arriving.as_ref().is_some_and(is_same) {
        if ask.at != 0 {
            return Ok(Taken::Next(0));
        }
        forget(arriving, place, |_| true).map_err(stopped)?;
        *arriving = Some(place.receive(ask.of, ask.transfer).map_err(stopped)?);
    }
    let Some(incoming) = arriving else { return Ok(Taken::Next(0)) };
    incoming.touched = Instant::now();
    if incoming.received != ask.at {
        if ask.at == 0 {
            metrics::transfer_resumed();
        }
        return Ok(Taken::Next(incoming.received));
    }
    if incoming.received < incoming.bytes {
        incoming.add(&ask.piece).map_err(stopped)?;
        metrics::snapshot_bytes_received(ask.piece.len());
        return Ok(Taken::Next(incoming.received));
    }
    match incoming.finish() {
        Ok(snapshot) => Ok(Taken::Whole(snapshot)),
        Err(damaged) => {
            forget(arriving, place, |_| true).map_err(stopped)?;
            Err(TakeError::Malformed(damaged.to_string()))
        }
    }
}

/// Removes what has come, if it is such.
fn forget(
    arriving: &mut Option<Incoming>,
    place: &SnapshotPlace,
    is_such: impl Fn(&Incoming) -> bool,
) -> std::io::Result<()> {
    match arriving.take_if(|incoming| is_such(incoming)) {
        Some(incoming) => place.give_up(incoming),
        None => Ok(()),
    }
}

/// Removes what came of a snapshot whose sender has gone for good. Called now and then.
pub(crate) fn forget_idle(group: &Group) {
    let is_idle = |incoming: &Incoming| IDLE_MAX < incoming.touched.elapsed();
    match group.arriving.try_lock() {
        Ok(arriving) if arriving.as_ref().is_some_and(is_idle) => {}
        // somebody writes it
        Ok(_) | Err(TryLockError::WouldBlock | TryLockError::Poisoned(_)) => return,
    }
    let (arriving, place, id) = (Arc::clone(&group.arriving), group.machine.snapshots.clone(), group.id);
    let job = move || {
        if let Err(error) = forget(&mut lock(&arriving), &place, is_idle) {
            tracing::warn!(group = %id, %error, "what came of a snapshot cannot be removed");
        }
    };
    if let Err(error) = group.snapshot_lane.post(job) {
        tracing::debug!(group = %group.id, %error, "what came of a snapshot is removed later");
    }
}

fn stopped(error: impl ToString) -> TakeError {
    TakeError::Stopped(error.to_string())
}
