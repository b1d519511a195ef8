//! Records in numbered append-only files: groups of records appended, synced, files rotated and removed.
//!
//! Judged: what was synced is there, groups are whole and in order, none is doubled, only files that were given up are
//! missing, from the front.

use std::path::Path;

use strongroom_host::Host;
use strongroom_host::append::AppendError;
use strongroom_host::log::{AppendLog, Record};

use crate::dice::Dice;
use crate::finding::{Broken, Finding};
use crate::world::{World, life};

const DIRECTORY: &str = "/node/log";

/// How many changing calls a life has at most.
const CALLS: u64 = 70;
/// … and a recovery that is cut off.
const RECOVERY_CALLS: u64 = 3;

#[derive(Debug)]
struct Group {
    records: Vec<Record>,
    file: u64,
}

/// What the log must and may show.
#[derive(Debug, Default)]
struct Expected {
    groups: Vec<Group>,
    /// So many of them are durable.
    durable: usize,
    /// Files below it may be gone.
    given_up: u64,
    serial: u64,
    are_equal: bool,
}

pub(crate) fn image(world: &mut World) -> Result<(), Finding> {
    // in a quarter of the images every group is one block long, so that an old one may fit behind a new one
    let are_equal = world.dice.one_in(4);
    let file_bytes_max = if are_equal { 1 << 20 } else { (1 + world.dice.below(6)) << 12 };
    let mut expected = Expected { are_equal, ..Expected::default() };
    for _ in 0..1 + world.dice.below(3) {
        world.trouble(CALLS);
        let (host, mut dice) = (world.host.clone(), Dice::named(world.dice.next(), 2));
        life(async { live(&host, &mut expected, &mut dice, file_bytes_max) });
        world.end_life();
        let look =
            |host: Host| async move { open(&host, file_bytes_max).map(|(_, seen)| seen).map_err(|e| report(&e)) };
        let seen = world.recover(RECOVERY_CALLS, look)?;
        expected.check(&seen)?;
        if world.dice.one_in(3) {
            world.lose_power();
            let again = world.recover(RECOVERY_CALLS, look)?;
            if again != seen {
                let story = format!("{} records were there, then {}", seen.len(), again.len());
                return Err(Finding::new(Broken::Unstable, story));
            }
        }
    }
    Ok(())
}

fn open(host: &Host, file_bytes_max: u64) -> Result<(AppendLog, Vec<(u64, Record)>), AppendError> {
    let mut seen = Vec::new();
    let log = AppendLog::open(host, Path::new(DIRECTORY), file_bytes_max, |position, record| {
        seen.push((position.file, record));
    })?;
    Ok((log, seen))
}

/// Works until something fails or enough is done.
fn live(host: &Host, expected: &mut Expected, dice: &mut Dice, file_bytes_max: u64) {
    let Ok((mut log, _)) = open(host, file_bytes_max) else { return };
    for _ in 0..8 + dice.below(40) {
        let done = match dice.below(12) {
            0..=4 if expected.are_equal && !dice.one_in(4) => expected.append(&mut log, dice),
            0 => log.rotate().map(|()| expected.durable = expected.groups.len()),
            1 => {
                let keep = log.current_file().saturating_sub(dice.below(4));
                expected.given_up = expected.given_up.max(keep);
                log.remove_before(keep)
            }
            2..=5 => log.sync().map(|()| expected.durable = expected.groups.len()),
            _ => expected.append(&mut log, dice),
        };
        if done.is_err() {
            return;
        }
    }
}

impl Expected {
    fn append(&mut self, log: &mut AppendLog, dice: &mut Dice) -> Result<(), AppendError> {
        let (count, longest) = if self.are_equal { (1, 200) } else { (1 + dice.below(4), 6000) };
        let records: Vec<Record> = (0..count)
            .map(|_| {
                self.serial += 1;
                let length = dice.length(longest);
                Record { kind: self.serial as u8, payload: dice.bytes(self.serial, length) }
            })
            .collect();
        let parts: Vec<(u8, &[u8])> = records.iter().map(|record| (record.kind, record.payload.as_slice())).collect();
        let before = log.current_file();
        let appended = log.append(&parts);
        if before != log.current_file() {
            // a full file was made durable before the next one took this group
            self.durable = self.groups.len();
        }
        self.groups.push(Group { records, file: log.current_file() });
        appended.map(|_| ())
    }

    /// Compares what was shown, and goes on from there.
    fn check(&mut self, seen: &[(u64, Record)]) -> Result<(), Finding> {
        let first_file = seen.first().map_or(u64::MAX, |(file, _)| *file);
        let begin = self.groups.iter().take_while(|group| group.file < first_file).count();
        if self.groups[..begin.min(self.durable)].iter().any(|group| self.given_up <= group.file) {
            let story = format!("files below {} were given up, {first_file} is the first with a record", self.given_up);
            return Err(Finding::new(Broken::Lost, story));
        }
        let mut rest = seen;
        let mut found = begin;
        while !rest.is_empty() {
            let Some(group) = self.groups.get(found) else {
                return Err(Finding::new(Broken::Invented, format!("{} records too many", rest.len())));
            };
            let is_whole = group.records.len() <= rest.len()
                && group.records.iter().zip(rest).all(|(record, (file, there))| record == there && *file == group.file);
            if !is_whole {
                let story = format!("group {found} of {} is not whole or another one", self.groups.len());
                let broken = if found < self.durable { Broken::Lost } else { Broken::Invented };
                return Err(Finding::new(broken, story));
            }
            rest = &rest[group.records.len()..];
            found += 1;
        }
        if found < self.durable {
            let story = format!("{} groups were synced, {found} are there", self.durable);
            return Err(Finding::new(Broken::Lost, story));
        }
        self.groups = match seen.is_empty() {
            true => Vec::new(),
            false => self.groups.drain(begin..found).collect(),
        };
        self.durable = self.groups.len();
        Ok(())
    }
}

fn report(error: &AppendError) -> String {
    match error {
        AppendError::Damaged { .. } | AppendError::Full { .. } | AppendError::Poisoned { .. } => error.to_string(),
        AppendError::Failed { cause, .. } => format!("{error}: {cause}"),
    }
}
