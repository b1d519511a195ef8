//! Whether a register's history is linearizable: just-in-time linearization.
//!
//! The events of one register pass by in order. At each moment there is a set of *possibilities*: a state, and which of the
//! calls that are open have already taken effect. A call must take effect at last when it returns, and nothing is lost by
//! waiting until some call returns; so possibilities are only made there: all sequences of open calls that end with the one
//! that returns. None left: not linearizable. What is kept is bounded by what is open at once, not by the history's length.
//!
//! - A read that agrees with the state takes effect at once: it changes nothing, so nothing is lost.
//! - Calls without a known end stay open for ever. Of two possibilities that differ only in them, the one that has used
//!   fewer can do all that the other can; so only that one is kept. One whose effect nobody ever saw is not followed at all,
//!   or, where versions are known, only counted: they are all alike. One that nobody will see any more is dropped.
//! - A value that only one call sets is not overwritten while somebody has still to see it: it would never come again.
//! - A write whose value nobody ever sees takes effect just before another write: nothing shows it there.
//!
//! Wing and Gong, *Testing and verifying concurrent objects* (1993); Lowe, *Testing for linearizability* (2016).

use std::collections::{HashMap, VecDeque};

/// The value before the first write.
pub const NOTHING: u32 = 0;
/// A value that nobody saw.
const UNSEEN: u32 = u32::MAX;
/// So many calls may be open at once, those without a known end among them.
const OPEN_MAX: usize = 128;
/// More possibilities are not followed.
const POSSIBILITIES_MAX: usize = 200_000;
/// Nor more than this only for clearer words.
const PLAIN_MAX: usize = 5_000;

/// What a call does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// It saw this value.
    Read(u32),
    /// It sets this one.
    Write(u32),
    /// It sets the second, which was possible because the first was there.
    Cas(u32, u32),
}

/// A call that was done, or may have been. Reads without an answer and what was surely not done are left out.
#[derive(Clone, Copy, Debug)]
pub struct Op {
    /// When it began; all moments of a register are different.
    pub began: u64,
    /// When it ended; nobody knows whether it was done: `None`.
    pub ended: Option<u64>,
    /// What it does.
    pub action: Action,
    /// The register's version after it, or as it was read.
    pub version: Option<u64>,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// It is; so many possibilities there were at most.
    Linearizable(usize),
    /// This call, by its place, fits nowhere; the states that there could be before it returned.
    Stuck(usize, Vec<(u32, Option<u64>)>),
    /// Too much is open at once.
    GaveUp(&'static str),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Possibility {
    value: u32,
    version: Option<u64>,
    /// By slot: which open calls have taken effect.
    done: u128,
    /// So many unseen writes have.
    unseen: u32,
}

/// Searches.
pub fn search(ops: &[Op]) -> Found {
    let found = run(ops, true, POSSIBILITIES_MAX);
    if let Found::Stuck(..) = found
        && let plain @ Found::Stuck(..) = run(ops, false, PLAIN_MAX)
    {
        // Who looks ahead is stuck earlier than a reader understands.
        return plain;
    }
    found
}

fn run(ops: &[Op], looks_ahead: bool, most: usize) -> Found {
    let mut search = Search::new(ops, looks_ahead, most);
    let mut moments: Vec<(u64, usize, bool)> = Vec::with_capacity(ops.len() * 2);
    for (at, op) in ops.iter().enumerate() {
        moments.push((op.began, at, false));
        moments.extend(op.ended.map(|ended| (ended, at, true)));
    }
    moments.sort_unstable();
    for (moment, at, is_end) in moments {
        if is_end {
            search.end(at);
            if search.now.is_empty() {
                return Found::Stuck(at, search.before);
            }
            search.drop_what_nobody_will_see(moment);
        } else if !search.begin(at) {
            return Found::GaveUp("too many calls without a known end");
        }
        if most < search.most {
            return Found::GaveUp("too many possibilities");
        }
    }
    Found::Linearizable(search.most)
}

struct Search<'a> {
    ops: &'a [Op],
    /// Whether what comes later is used to leave possibilities out.
    looks_ahead: bool,
    possibilities_max: usize,
    /// Whether versions count: every call with a known end has one.
    versions: bool,
    /// When the value that a call without a known end sets is seen for the last time.
    last_seen: HashMap<usize, u64>,
    slots: [Option<usize>; OPEN_MAX],
    slot_of: Vec<u8>,
    /// By value: how many calls set it, and how many that saw it have not begun yet.
    values: Vec<Seen>,
    /// Slots in use; those of reads, and of writes that nobody ever sees; those of calls without a known end.
    used: u128,
    reads: u128,
    blind: u128,
    unknown: u128,
    /// Unseen writes so far.
    unseen: u32,
    now: Vec<Possibility>,
    /// The states before the last return, when nothing is left after it.
    before: Vec<(u32, Option<u64>)>,
    most: usize,
}

/// What is known of a value beforehand.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    setters: u32,
    seers: u32,
    to_come: u32,
}

impl<'a> Search<'a> {
    fn new(ops: &'a [Op], looks_ahead: bool, possibilities_max: usize) -> Self {
        let versions = ops.iter().all(|op| op.ended.is_none() || op.version.is_some());
        let mut seen: HashMap<u32, u64> = HashMap::new();
        for op in ops {
            // A call without a known end that needs a value can see it at any time.
            let moment = op.ended.unwrap_or(u64::MAX);
            if let Action::Read(value) | Action::Cas(value, _) = op.action {
                let last = seen.entry(value).or_default();
                *last = moment.max(*last);
            }
        }
        let sets = |action| match action {
            Action::Write(value) | Action::Cas(_, value) => Some(value),
            Action::Read(_) => None,
        };
        let needs = |action| match action {
            Action::Read(value) | Action::Cas(value, _) => Some(value),
            Action::Write(_) => None,
        };
        let count = ops.iter().flat_map(|op| [sets(op.action), needs(op.action)]).flatten().max().unwrap_or(NOTHING);
        let mut values = vec![Seen::default(); count as usize + 1];
        values[NOTHING as usize].setters = 1;
        for op in ops {
            if let Some(value) = sets(op.action) {
                values[value as usize].setters += 1;
            }
            if let Some(value) = needs(op.action) {
                let seen = &mut values[value as usize];
                seen.seers += 1;
                seen.to_come += u32::from(op.ended.is_some());
            }
        }
        let last_seen = ops
            .iter()
            .enumerate()
            .filter(|(_, op)| op.ended.is_none())
            .filter_map(|(at, op)| Some((at, *seen.get(&sets(op.action)?)?)))
            .collect();
        let nothing = Possibility { value: NOTHING, version: None, done: 0, unseen: 0 };
        Self {
            ops,
            looks_ahead,
            possibilities_max,
            versions,
            last_seen,
            slots: [None; OPEN_MAX],
            slot_of: vec![0; ops.len()],
            values,
            used: 0,
            reads: 0,
            blind: 0,
            unknown: 0,
            unseen: 0,
            now: vec![nothing],
            before: Vec::new(),
            most: 1,
        }
    }

    /// A call begins; false if there is no room for it.
    fn begin(&mut self, at: usize) -> bool {
        let op = self.ops[at];
        if let (Action::Read(value) | Action::Cas(value, _), Some(_)) = (op.action, op.ended) {
            self.values[value as usize].to_come -= 1;
        }
        let is_unseen = op.ended.is_none() && !self.last_seen.contains_key(&at);
        match (op.action, is_unseen) {
            (Action::Write(_), true) => {
                self.unseen += u32::from(self.versions);
                return true;
            }
            (Action::Cas(..), true) if !self.versions => return true,
            (Action::Read(_) | Action::Write(_) | Action::Cas(..), _) => {}
        }
        let slot = self.used.trailing_ones() as usize;
        if slot == OPEN_MAX {
            return false;
        }
        self.used |= 1 << slot;
        self.slots[slot] = Some(at);
        self.slot_of[at] = u8::try_from(slot).expect("there are fewer slots");
        if let Action::Read(_) = op.action {
            self.reads |= 1 << slot;
            for possibility in &mut self.now {
                if agrees(&op, possibility) {
                    possibility.done |= 1 << slot;
                }
            }
        }
        if let Action::Write(value) = op.action
            && op.ended.is_some()
            && self.values[value as usize].seers == 0
            && !self.versions
            && self.looks_ahead
        {
            self.blind |= 1 << slot;
        }
        if op.ended.is_none() {
            self.unknown |= 1 << slot;
        }
        true
    }

    /// A call returns: it has taken effect in every possibility that is left.
    fn end(&mut self, at: usize) {
        let slot = usize::from(self.slot_of[at]);
        let bit = 1_u128 << slot;
        let op = self.ops[at];
        let mut next = Kept::default();
        let mut tried = Kept::default();
        let mut open: VecDeque<Possibility> = self.now.iter().copied().collect();
        while let Some(possibility) = open.pop_front() {
            if possibility.done & bit != 0 {
                // A read that agreed with the state after another call.
                next.add(Possibility { done: possibility.done & !bit, ..possibility }, self.better(), self.unknown);
                continue;
            }
            if !tried.add(possibility, self.better(), self.unknown) {
                continue;
            }
            if let Some(mut after) = self.apply(&op, slot, possibility) {
                after.done &= !bit;
                next.add(after, self.better(), self.unknown);
            }
            let mut others = self.used & !self.better() & !possibility.done & !bit;
            while others != 0 {
                let other = others.trailing_zeros() as usize;
                others &= others - 1;
                let other_at = self.slots[other].expect("a used slot has a call");
                if let Some(mut after) = self.apply(&self.ops[other_at], other, possibility) {
                    after.done |= 1 << other;
                    if self.leads_to(&op, after) {
                        open.push_back(after);
                    }
                }
            }
            if possibility.unseen < self.unseen {
                let unseen = Op { began: 0, ended: None, action: Action::Write(UNSEEN), version: None };
                if let Some(mut after) = self.apply(&unseen, OPEN_MAX, possibility) {
                    after.unseen += 1;
                    if self.leads_to(&op, after) {
                        open.push_back(after);
                    }
                }
            }
            self.most = self.most.max(tried.count);
            if self.possibilities_max < tried.count {
                break;
            }
        }
        if next.count == 0 {
            self.before = self.now.iter().map(|possibility| (possibility.value, possibility.version)).collect();
            self.before.sort_unstable();
            self.before.dedup();
        }
        self.now = next.all();
        self.most = self.most.max(self.now.len());
        self.free(slot);
    }

    /// Slots whose calls had better have taken effect: that takes no other possibility away.
    fn better(&self) -> u128 {
        self.reads | self.blind
    }

    /// Whether a value must stay, since only one call sets it, and somebody else than this slot has still to see it.
    fn must_stay(&self, slot: usize, state: &Possibility) -> bool {
        let seen = self.values.get(state.value as usize).filter(|seen| seen.setters == 1 && self.looks_ahead);
        let Some(seen) = seen else { return false };
        if 0 < seen.to_come {
            return true;
        }
        let mut others = self.used & !self.reads & !self.unknown & !self.blind & !state.done;
        while others != 0 {
            let other = others.trailing_zeros() as usize;
            others &= others - 1;
            let needs = self.slots[other].map(|at| self.ops[at].action);
            if other != slot && matches!(needs, Some(Action::Cas(from, _)) if from == state.value) {
                return true;
            }
        }
        false
    }

    /// The state after the call in a slot, if it is possible there; what had better take effect then does so, too.
    fn apply(&self, op: &Op, slot: usize, before: Possibility) -> Option<Possibility> {
        if self.must_stay(slot, &before) {
            return None;
        }
        let set = |value: u32| {
            let counted = before.version.map(|version| version + 1);
            // Without versions there is none before; before the first write any fits.
            let fits = op.version.is_none() || counted.is_none() || op.version == counted;
            let version = op.version.or(counted).filter(|_| self.versions);
            fits.then_some(Possibility { value, version, ..before })
        };
        let mut after = match op.action {
            // All that agree have taken effect already.
            Action::Read(_) => return None,
            Action::Write(value) => {
                let after = set(value)?;
                Possibility { done: after.done | self.blind, ..after }
            }
            Action::Cas(from, value) => {
                if from != before.value {
                    return None;
                }
                set(value)?
            }
        };
        let mut reads = self.reads & !after.done;
        while reads != 0 {
            let read = reads.trailing_zeros() as usize;
            reads &= reads - 1;
            if agrees(&self.ops[self.slots[read].expect("a used slot has a call")], &after) {
                after.done |= 1 << read;
            }
        }
        Some(after)
    }

    /// Whether a call with this version may still come after that state.
    fn leads_to(&self, op: &Op, state: Possibility) -> bool {
        match (self.versions, op.version, state.version) {
            (true, Some(wanted), Some(there)) => match op.action {
                Action::Read(_) => there <= wanted,
                Action::Write(_) | Action::Cas(..) => there < wanted,
            },
            _ => true,
        }
    }

    fn free(&mut self, slot: usize) {
        self.slots[slot] = None;
        self.used &= !(1 << slot);
        self.reads &= !(1 << slot);
        self.blind &= !(1 << slot);
        self.unknown &= !(1 << slot);
    }

    /// Calls without a known end that took effect in any case, and those whose value nobody will see any more.
    fn drop_what_nobody_will_see(&mut self, moment: u64) {
        if self.unknown == 0 {
            return;
        }
        let in_any_case = self.now.iter().fold(self.unknown, |done, possibility| done & possibility.done);
        let mut dropped = 0_u128;
        for slot in 0..OPEN_MAX {
            let bit = 1_u128 << slot;
            let Some(at) = self.slots[slot].filter(|_| self.unknown & bit != 0) else { continue };
            let is_over = !self.versions && self.last_seen.get(&at).is_none_or(|last| *last <= moment);
            if in_any_case & bit != 0 || is_over {
                dropped |= bit;
                self.free(slot);
            }
        }
        if dropped != 0 {
            let mut kept = Kept::default();
            for possibility in &self.now {
                kept.add(
                    Possibility { done: possibility.done & !dropped, ..*possibility },
                    self.better(),
                    self.unknown,
                );
            }
            self.now = kept.all();
        }
    }
}

fn agrees(read: &Op, state: &Possibility) -> bool {
    let Action::Read(value) = read.action else { return false };
    let same_version = match (read.version, state.version) {
        (Some(read), Some(there)) => read == there,
        _ => true,
    };
    value == state.value && same_version
}

/// Value, version, and what else was done: possibilities that agree in these can be compared.
type Rest = (u32, Option<u64>, u128);
/// Reads that took effect, unknown calls that were used, sets that nobody saw yet.
type Spent = (u128, u128, u32);

/// Possibilities of which none can do all that another can.
#[derive(Default)]
struct Kept {
    by_rest: HashMap<Rest, Vec<Spent>>,
    count: usize,
}

impl Kept {
    /// Adds it; false if one that is there can do all that it can.
    fn add(&mut self, new: Possibility, reads: u128, unknown: u128) -> bool {
        let rest = (new.value, new.version, new.done & !reads & !unknown);
        let there = self.by_rest.entry(rest).or_default();
        let (read, used) = (new.done & reads, new.done & unknown & !reads);
        if there.iter().any(|(r, u, n)| read & !r == 0 && u & !used == 0 && *n <= new.unseen) {
            return false;
        }
        let count = there.len();
        there.retain(|(r, u, n)| !(r & !read == 0 && used & !u == 0 && new.unseen <= *n));
        self.count = self.count + there.len() + 1 - count;
        there.push((read, used, new.unseen));
        true
    }

    fn all(self) -> Vec<Possibility> {
        let all = self.by_rest.into_iter().flat_map(|((value, version, done), kept)| {
            kept.into_iter().map(move |(read, used, unseen)| Possibility {
                value,
                version,
                done: done | read | used,
                unseen,
            })
        });
        let mut all: Vec<Possibility> = all.collect();
        // In one order always, so that the same history gives the same words.
        all.sort_unstable_by_key(|one| (one.value, one.version, one.done, one.unseen));
        all
    }
}

#[cfg(test)]
mod tests;
