//! The voters' reports in a tick: who may say what, and what follows when their states differ (DESIGN.md §6).
//!
//!     reports ──verify: epoch, group, voter, tick before, signature, a majority──▶ tick counts
//!        └─digests─▶ a majority agrees ──▶ whoever said otherwise is fenced
//!                    none does ──▶ nobody is fenced; the third time that all have reported, a dispute
//!
//! A majority is always one of all voters, but a fenced voter is never counted into it. A report names the tick before,
//! whose digest nobody knows earlier, so none can be kept for later; and it names its group, voter and life of the
//! cluster, so none is good elsewhere. Law: `laws/fenced_are_a_minority.rs`. Not here: how time moves and what is remembered
//! of a report (`clock.rs`), who collects reports (`node/service`).

use std::collections::BTreeMap;

use strongroom_format::id::Digest;
use strongroom_format::outcome::Refusal;

use crate::entry::{Report, Tick};
use crate::row::Space;
use crate::stop::{Ruled, invalid, limit};
use crate::tables::{Halt, Reads, Tables};
use crate::voters::{self, Electorate, FencedRow};

/// So many ticks in a row with reports of all voters and no digest of a majority stop a group.
pub const DISPUTES_MAX: u8 = 3;

/// Refuses a tick that carries a report that is not right, or too few.
pub(crate) fn verify(reads: &dyn Reads, electorate: &Electorate, tick: &Tick) -> Ruled<()> {
    if Tick::REPORTS_MAX < tick.reports.len() {
        return Err(limit("reports in a tick"));
    }
    if !tick.reports.is_sorted_by(|a, b| a.value.replica < b.value.replica) {
        return Err(invalid("the reports are not sorted, or one voter reports twice"));
    }
    let mut counted = 0;
    for report in &tick.reports {
        let said = &report.value;
        if (said.epoch, said.group) != (electorate.epoch, electorate.group) {
            return Err(Refusal::WrongGroup.into());
        }
        if said.previous != tick.previous {
            return Err(Refusal::VersionConflict.into());
        }
        let voter = electorate.voter(said.replica).ok_or(Refusal::Identity)?;
        report.verify(&voter.signing_key).map_err(|_| Refusal::Signature)?;
        counted += usize::from(!voters::is_fenced(reads, said.replica)?);
    }
    if counted < electorate.majority() {
        return Err(invalid("fewer voters than a majority vouch for the tick"));
    }
    Ok(())
}

/// Fences who holds another state than the majority, by the reports in the tick of this number. Returns how many disputes
/// in a row there are now.
pub(crate) fn compare(
    tables: &mut dyn Tables,
    electorate: &Electorate,
    number: u64,
    disputes: u8,
    reports: &[Report],
) -> Result<u8, Halt> {
    let mut said: BTreeMap<Digest, usize> = BTreeMap::new();
    let mut counted = Vec::new();
    for Report { value, .. } in reports {
        if !voters::is_fenced(&*tables, value.replica)? {
            counted.push(value);
            *said.entry(value.digest).or_default() += 1;
        }
    }
    let right = said.into_iter().find(|(_, voters)| electorate.majority() <= *voters).map(|(digest, _)| digest);
    if let Some(right) = right {
        for other in counted.into_iter().filter(|report| report.digest != right) {
            Space::whole().put(tables, &(other.replica,), &FencedRow { tick: number })?;
        }
        return Ok(0);
    }
    let mut asked = 0;
    for voter in electorate.voters() {
        asked += usize::from(!voters::is_fenced(&*tables, voter.replica)?);
    }
    Ok(match counted.len() == asked {
        true => disputes.saturating_add(1),
        // The group decides again when a majority agrees, not when somebody stays silent.
        false if DISPUTES_MAX <= disputes => disputes,
        false => 0,
    })
}
