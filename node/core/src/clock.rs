//! A group's time: `E` and the compliance clock (DESIGN.md §7.2). Both move by committed ticks only, each vouched for by
//! signed reports of a majority of the voters, and nothing else moves them.
//!
//!     tick(previous = digest of the last, reports) ──verify──▶ votes ─a majority reaches v─▶ E' = max(E, v)
//!                                                        wall clocks ─a majority reaches w─▶ clock' = max(clock, min(E', w))
//!                                                           └─no majority within 5 min─────▶ HELD: it stands
//!
//! Here `E` counts from the founding of the group; for the comparison with `w` it begins where the compliance clock began.
//! Fenced voters never count. Laws: neither is ever ahead of true time, whoever of a minority lies and however clocks are
//! set (`tests/it/clock.rs`); `laws/time_never_goes_back.rs`, `laws/clock_is_never_ahead.rs`. Locks err late, rights err
//! early: leases, sessions and grants end on `E`, locks on the compliance clock. Not here: what a voter votes for
//! (`baselines.rs`), whether wall clocks agree (`walls.rs`), what reports say about states (`reports.rs`), when a leader
//! proposes a tick (`node/service`).

use borsh::{BorshDeserialize, BorshSerialize};
use strongroom_format::id::Digest;
use strongroom_format::outcome::Refusal;

use crate::baselines::Baseline;
use crate::digest;
use crate::entry::{Report, ReportFacts, Tick};
use crate::reports::{self, DISPUTES_MAX};
use crate::row::{Space, rows};
use crate::stop::{Ruled, impossible, invalid};
use crate::tables::{Halt, Reads, Tables};
use crate::voters::{self, Electorate, VoterRow};
use crate::walls;

/// The time of a group.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct ClockRow {
    /// `E`: what the votes gave since the group was founded, in milliseconds. Rights run on it.
    pub elapsed_ms: u64,
    /// What the compliance clock showed when the group was founded, in milliseconds since 1970.
    pub began_unix_ms: u64,
    /// The compliance clock, in milliseconds since 1970: never ahead of `began_unix_ms + elapsed_ms`. Locks end on it.
    pub clock_ms: u64,
    /// Since which `E` the compliance clock stands because no majority of wall clocks agrees; `None`: it runs.
    pub held_since_ms: Option<u64>,
    /// What the next tick must name.
    pub last_tick: Digest,
    /// The digest of the state as it was just before the entry of the last tick was applied; zeros before the first tick.
    /// Voters report their own for the next one.
    pub digest: Digest,
    /// How many ticks there were.
    pub ticks: u64,
    /// How many ticks in a row had reports of all voters and no digest of a majority.
    pub disputes: u8,
    /// The wall clock of the last tick's leader, in milliseconds since 1970: a label.
    pub wall_unix_ms: u64,
}

rows! {
    named CLOCK_TABLES;
    ClockRow: "clock row", 192, 2, ();
}

/// No clock begins behind this: the year 10000, in milliseconds since 1970.
const CLOCK_MS_MAX: u64 = 253_402_300_800_000;

const ZEROS: Digest = Digest::from_bytes([0; 32]);

impl ClockRow {
    /// A group's time as it is founded, with the compliance clock where another's or a person's word puts it.
    pub fn founded(began_unix_ms: u64) -> Self {
        Self {
            elapsed_ms: 0,
            began_unix_ms,
            clock_ms: began_unix_ms,
            held_since_ms: None,
            last_tick: ZEROS,
            digest: ZEROS,
            ticks: 0,
            disputes: 0,
            wall_unix_ms: 0,
        }
    }

    /// Whether the group decides nothing: its voters hold different states and none has a majority.
    pub fn is_disputed(&self) -> bool {
        DISPUTES_MAX <= self.disputes
    }
}

/// The group's time now.
pub(crate) fn now(reads: &dyn Reads) -> Result<ClockRow, Halt> {
    Ok(Space::whole().get::<ClockRow>(reads, &())?.unwrap_or_else(|| ClockRow::founded(0)))
}

/// Time begins: once, with the group's first entry.
pub(crate) fn found(tables: &mut dyn Tables, began_unix_ms: u64) -> Ruled<()> {
    if CLOCK_MS_MAX < began_unix_ms {
        return Err(invalid("the clock would begin too late"));
    }
    Ok(Space::whole().put(tables, &(), &ClockRow::founded(began_unix_ms))?)
}

/// Whether the next tick should come within a second although nothing ends: until there were two of them, no time has
/// passed, because the first one only shows where the voters' running clocks stand.
pub(crate) fn waits(clock: &ClockRow) -> bool {
    clock.ticks < 2
}

/// Lets time pass, unless the tick is not the one that follows or too few voters vouch for it.
pub(crate) fn advance(
    tables: &mut dyn Tables,
    electorate: &Electorate,
    index: u64,
    wall_unix_ms: u64,
    tick: &Tick,
) -> Ruled<ClockRow> {
    let before = now(&*tables)?;
    if tick.previous != before.last_tick {
        return Err(Refusal::VersionConflict.into());
    }
    reports::verify(&*tables, electorate, tick)?;
    let ticks = before.ticks.checked_add(1).ok_or_else(|| impossible("there were too many ticks"))?;
    let disputes = reports::compare(tables, electorate, ticks, before.disputes, &tick.reports)?;

    let (mut said, mut votes, mut walls) = (Vec::new(), Vec::new(), Vec::new());
    for Report { value, .. } in &tick.reports {
        let last = Space::whole().get::<VoterRow>(&*tables, &(value.replica,))?;
        let ran_on = last.filter(|last| last.ran_on(value, ticks)).map(|last| last.baseline);
        let baseline = Baseline::of(ran_on, value.running_ms, before.elapsed_ms);
        if !voters::is_fenced(&*tables, value.replica)? {
            votes.push(baseline.vote_ms(value.running_ms));
            walls.push(value.wall_unix_ms);
        }
        said.push((value, baseline));
    }
    let majority = electorate.majority();
    let elapsed_ms =
        walls::reached(votes, majority).map_or(before.elapsed_ms, |vote_ms| before.elapsed_ms.max(vote_ms));
    for (value, baseline) in said {
        note(tables, value, ticks, baseline.cut(value.running_ms, elapsed_ms))?;
    }

    let running_ms = before.began_unix_ms.saturating_add(elapsed_ms);
    let wall_ms = walls::reached(walls.clone(), majority).filter(|_| walls::agree(walls, majority));
    let clock = ClockRow {
        elapsed_ms,
        began_unix_ms: before.began_unix_ms,
        clock_ms: wall_ms.map_or(before.clock_ms, |wall_ms| before.clock_ms.max(running_ms.min(wall_ms))),
        held_since_ms: match wall_ms {
            Some(_) => None,
            None => Some(before.held_since_ms.unwrap_or(elapsed_ms)),
        },
        last_tick: tick.digest(index),
        digest: digest::recorded(&*tables)?,
        ticks,
        disputes,
        wall_unix_ms,
    };
    Space::whole().put(tables, &(), &clock)?;
    Ok(clock)
}

/// Remembers what a voter said in the tick of this number.
fn note(tables: &mut dyn Tables, said: &ReportFacts, tick: u64, baseline: Baseline) -> Result<(), Halt> {
    let row = VoterRow {
        incarnation: said.incarnation,
        running_ms: said.running_ms,
        wall_unix_ms: said.wall_unix_ms,
        durable_index: said.durable_index,
        vote_term: said.vote_term,
        digest: said.digest,
        tick,
        baseline,
    };
    Space::whole().put(tables, &(said.replica,), &row)
}
