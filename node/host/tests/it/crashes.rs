//! The log on a disk that crashes: at any call, with any outcome for what was not synced, also during recovery.

use std::path::Path;

use proptest::prelude::*;
use strongroom_host::Host;
use strongroom_host::append::AppendError;
use strongroom_host::clock::SimClock;
use strongroom_host::files::Open;
use strongroom_host::log::{AppendLog, Record};
use strongroom_host::sim_disk::{Call, Fails, SimDisk};

use crate::log::open;

const DIRECTORY: &str = "/node/log";
const FILE_BYTES_MAX: u64 = 24 << 10;

#[derive(Clone, Debug)]
enum Step {
    Append(Vec<usize>),
    Sync,
    Rotate,
    /// The process is killed: what the kernel has stays.
    Kill,
    /// Power goes at once.
    Crash(u64),
    /// Power goes after some more calls to the disk, recovery's included.
    CutPower {
        calls: u64,
        seed: u64,
    },
    /// A write or a sync fails; the process ends, as it must, and power goes too.
    Fail {
        call: Call,
        seed: u64,
    },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => prop::collection::vec(0_usize..6000, 1..5).prop_map(Step::Append),
        6 => Just(Step::Sync),
        1 => Just(Step::Rotate),
        1 => Just(Step::Kill),
        2 => any::<u64>().prop_map(Step::Crash),
        3 => (0_u64..12, any::<u64>()).prop_map(|(calls, seed)| Step::CutPower { calls, seed }),
        1 => (prop_oneof![Just(Call::Write), Just(Call::Sync)], any::<u64>())
            .prop_map(|(call, seed)| Step::Fail { call, seed }),
    ]
}

/// What the log must and may show.
#[derive(Default)]
struct Expected {
    /// Every group that the log may still have, in order; the first `durable` of them it must have.
    groups: Vec<Vec<Record>>,
    durable: usize,
    serial: u64,
}

impl Expected {
    fn next_group(&mut self, sizes: &[usize]) -> Vec<Record> {
        let group = sizes.iter().map(|&size| {
            self.serial += 1;
            let payload = self.serial.to_le_bytes().iter().copied().cycle().take(size).collect();
            Record { kind: self.serial as u8, payload }
        });
        group.collect()
    }

    /// Compares what was shown and goes on from there: what is seen now must be seen again.
    fn check(&mut self, seen: Vec<Record>) {
        let mut rest = seen.as_slice();
        let mut count = 0;
        while !rest.is_empty() {
            let group = self.groups.get(count).expect("nothing is invented");
            assert!(rest.starts_with(group), "a group comes back whole and in order, or not at all");
            rest = &rest[group.len()..];
            count += 1;
        }
        assert!(self.durable <= count, "{count} groups of {} durable ones are left", self.durable);
        self.groups.truncate(count);
        self.durable = count;
    }
}

/// Opens until it works, cutting power again where that was ordered, and twice to see the same.
fn reopen(host: &Host, disk: &SimDisk, expected: &mut Expected, seed: u64) -> AppendLog {
    for attempt in 0.. {
        match open(host, Path::new(DIRECTORY), FILE_BYTES_MAX) {
            Ok((log, seen)) => {
                let first: Vec<Record> = seen.into_iter().map(|(_, record)| record).collect();
                drop(log);
                let Ok((log, seen)) = open(host, Path::new(DIRECTORY), FILE_BYTES_MAX) else {
                    disk.crash(seed.wrapping_add(attempt));
                    continue;
                };
                let second: Vec<Record> = seen.into_iter().map(|(_, record)| record).collect();
                assert_eq!(first, second, "opening twice shows the same");
                expected.check(second);
                return log;
            }
            Err(AppendError::Damaged { path, offset }) => {
                panic!("nothing was damaged, but {} at {offset}", path.display())
            }
            // power was cut, or the injected failure hit recovery itself
            Err(_) => disk.crash(seed.wrapping_add(attempt)),
        }
    }
    unreachable!("opening works once power stays on")
}

fn run(steps: Vec<Step>) {
    let disk = SimDisk::new();
    let host = Host::simulated(1, disk.clone(), SimClock::new(0));
    let mut expected = Expected::default();
    let mut log = reopen(&host, &disk, &mut expected, 0);
    let mut crash_seed = 0;
    for step in steps {
        let mut failed = false;
        match step {
            Step::Append(sizes) => {
                let group = expected.next_group(&sizes);
                let records: Vec<(u8, &[u8])> =
                    group.iter().map(|record| (record.kind, record.payload.as_slice())).collect();
                let before = log.current_file();
                match log.append(&records) {
                    Ok(positions) => {
                        // a full file was synced before the next one took this group
                        if before != log.current_file() {
                            expected.durable = expected.groups.len();
                        }
                        for (position, record) in positions.iter().zip(&group) {
                            if !disk.is_without_power() {
                                assert_eq!(log.reader().read(*position).unwrap(), *record);
                            }
                        }
                    }
                    Err(_) => failed = true,
                }
                expected.groups.push(group);
            }
            Step::Sync => match log.sync() {
                Ok(()) => expected.durable = expected.groups.len(),
                Err(_) => failed = true,
            },
            Step::Rotate => match log.rotate() {
                Ok(()) => expected.durable = expected.groups.len(),
                Err(_) => failed = true,
            },
            Step::Kill => {
                drop(log);
                log = reopen(&host, &disk, &mut expected, crash_seed);
            }
            Step::Crash(seed) => {
                drop(log);
                disk.crash(seed);
                log = reopen(&host, &disk, &mut expected, seed);
            }
            Step::CutPower { calls, seed } => {
                disk.cut_power_after(calls);
                crash_seed = seed;
            }
            Step::Fail { call, seed } => {
                disk.fail(call, "log", Fails::Once);
                crash_seed = seed;
            }
        }
        if failed {
            drop(log);
            disk.crash(crash_seed);
            log = reopen(&host, &disk, &mut expected, crash_seed);
        }
    }
    drop(log);
    disk.crash(crash_seed);
    reopen(&host, &disk, &mut expected, crash_seed);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_crashes_what_was_synced_is_there_and_nothing_is_invented(
        steps in prop::collection::vec(step(), 1..40)
    ) {
        run(steps);
    }
}

#[test]
fn a_full_disk_stops_the_log_without_harm() {
    let disk = SimDisk::new();
    let host = Host::simulated(1, disk.clone(), SimClock::new(0));
    let (mut log, _) = open(&host, Path::new(DIRECTORY), 1 << 20).unwrap();
    disk.set_capacity(64 << 10);
    let mut kept = 0;
    let refused = loop {
        match log.append(&[(1, &[kept; 5000])]) {
            Ok(_) => kept += 1,
            Err(refused) => break refused,
        }
        log.sync().unwrap();
    };
    assert!(matches!(refused, AppendError::Full { .. }));
    assert_eq!(kept, 8);
    disk.set_capacity(1 << 20);
    log.append(&[(1, &[kept; 5000])]).unwrap();
    log.sync().unwrap();
    drop(log);
    disk.crash(3);
    let (_, seen) = open(&host, Path::new(DIRECTORY), 1 << 20).unwrap();
    assert_eq!(seen.len(), 9);
}

#[test]
fn a_crash_while_old_files_are_removed_leaves_no_gap() {
    for seed in 0..60 {
        let disk = SimDisk::new();
        let host = Host::simulated(1, disk.clone(), SimClock::new(0));
        let (mut log, _) = open(&host, Path::new(DIRECTORY), 4096).unwrap();
        for byte in 0..6 {
            log.append(&[(byte, &[byte; 100])]).unwrap();
            log.sync().unwrap();
        }
        disk.cut_power_after(seed % 10);
        let removed = log.remove_before(5);
        drop(log);
        disk.crash(seed);
        let (_, seen) = open(&host, Path::new(DIRECTORY), 4096).unwrap();
        let kinds: Vec<u8> = seen.iter().map(|(_, record)| record.kind).collect();
        assert!([0, 1, 2, 3, 4, 5].ends_with(&kinds), "seed {seed}: {kinds:?}");
        assert!(2 <= kinds.len() && (removed.is_err() || kinds.len() == 2), "seed {seed}: {kinds:?}");
    }
}

#[test]
fn the_same_seeds_leave_the_same_bytes() {
    let trace = |seed| {
        let disk = SimDisk::new();
        let host = Host::simulated(seed, disk.clone(), SimClock::new(0));
        let (mut log, _) = open(&host, Path::new(DIRECTORY), FILE_BYTES_MAX).unwrap();
        for byte in 0..20 {
            log.append(&[(byte, &[byte; 3000])]).unwrap();
            if byte % 3 == 0 {
                log.sync().unwrap();
            }
        }
        disk.crash(seed);
        let mut trace = Vec::new();
        for path in disk.paths() {
            let file = host.files().open(&path, Open::Read).unwrap();
            let mut bytes = vec![0; file.len().unwrap() as usize];
            file.read_exact_at(&mut bytes, 0).unwrap();
            trace.push((path, bytes));
        }
        trace
    };
    assert!(trace(7) == trace(7));
    assert!(trace(7) != trace(8));
}
