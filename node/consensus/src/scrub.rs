//! Reads all rows of a group now and then: each must be as it was written, and together they must have the digest that the
//! rules kept while they applied.
//!
//! It reads one view in pieces, on a lane of its own, and rests four times as long as it read. What is found wrong ends the
//! group, whose state is then made again (`supervise.rs`). Not here: what the digest is (`strongroom-core`), whose digest
//! is right among replicas (the rules, with each tick).

use std::sync::Arc;
use std::time::Duration;

use strongroom_core::digest::{Recount, recorded};
use strongroom_core::tables::{Halt, Table};
use strongroom_host::lane::Lane;
use tokio::time::Instant;

use crate::health::{Death, run_shared};
use crate::metrics;
use crate::running::Group;

/// Each group is read through so often.
const EVERY: Duration = Duration::from_secs(3600);

/// So many rows are read in one go.
const PIECE_ROWS: usize = 1024;

/// So many times as long as it reads, it rests.
const REST: u32 = 4;

/// Scrubs a group each hour, not all groups at the same minute. Never ends.
pub(crate) async fn now_and_then(group: &Group, lane: &Lane) {
    let mut rest = EVERY * (1 + group.id.0 % 60) / 60;
    loop {
        tokio::time::sleep(rest).await;
        rest = EVERY;
        match scrub(group, lane).await {
            Ok(rows) => tracing::debug!(group = %group.id, rows, "a state is as it was written"),
            Err(halt) => tracing::error!(group = %group.id, %halt, "a state is not what was written"),
        }
    }
}

/// Reads all rows once and says how many there are. What is wrong is reported as the group's death.
pub(crate) async fn scrub(group: &Group, lane: &Lane) -> Result<u64, Halt> {
    let read = read_all(group, lane).await;
    metrics::scrubbed(read.is_ok());
    read.inspect_err(|halt| group.health.report(Death::State(halt.why.clone())))
}

async fn read_all(group: &Group, lane: &Lane) -> Result<u64, Halt> {
    let state = group.machine.state.clone();
    let view = Arc::new(run_shared(lane, move || state.view()).await?);
    let mut recount = group.machine.rules.summed_as().map(Recount::new);
    let mut last: Option<Vec<u8>> = None;
    let mut count = 0;
    loop {
        let (began, from, piece) = (Instant::now(), last.take(), Arc::clone(&view));
        let rows = run_shared(lane, move || piece.rows.piece(from.as_deref(), PIECE_ROWS)).await?;
        count += rows.len() as u64;
        let Some((key, _)) = rows.last() else { break };
        last = Some(key.clone());
        if let Some(recount) = &mut recount {
            for (key, value) in &rows {
                if let Some((&table, key)) = key.split_first() {
                    recount.add(Table(table), key, value);
                }
            }
        }
        tokio::time::sleep(began.elapsed() * REST).await;
    }
    match recount.map(|recount| recount.digest()) {
        Some(digest) => {
            run_shared(lane, move || {
                if recorded(&view.rows)? != digest {
                    return Err(Halt { why: "the rows do not have the digest that was kept".into() });
                }
                Ok(count)
            })
            .await
        }
        None => Ok(count),
    }
}
