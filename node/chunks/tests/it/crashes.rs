//! The store on a disk that crashes: at any call, with any outcome for what was not synced, also during recovery.

use std::collections::BTreeMap;
use std::path::Path;

use proptest::prelude::*;
use strongroom_chunks::store::{ChunkStore, ChunksError, NewCopy};
use strongroom_format::id::{BlobId, TenantId};
use strongroom_host::Host;
use strongroom_host::clock::SimClock;
use strongroom_host::sim_disk::SimDisk;

use crate::releases::Rules;
use crate::store::{copy, list_all, open, tag, tenant};

#[derive(Clone, Debug)]
enum Step {
    /// One put of some copies, awaited.
    Put {
        tenant: u8,
        sizes: Vec<usize>,
    },
    /// Several puts at once.
    Burst {
        sizes: Vec<usize>,
    },
    /// Some of the copies are freed: those whose number has one of these remainders by four.
    Free {
        tenant: u8,
        which: u8,
    },
    /// Segments without copies are unlinked.
    Unlink {
        tenant: u8,
    },
    Tidy,
    Kill,
    Crash(u64),
    /// Power goes after some more calls to the disk, recovery's included.
    CutPower {
        calls: u64,
        seed: u64,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let sizes = || prop::collection::vec(1_usize..30_000, 1..4);
    prop_oneof![
        6 => (0_u8..3, sizes()).prop_map(|(tenant, sizes)| Step::Put { tenant, sizes }),
        3 => sizes().prop_map(|sizes| Step::Burst { sizes }),
        3 => (0_u8..3, 1_u8..16).prop_map(|(tenant, which)| Step::Free { tenant, which }),
        2 => (0_u8..3).prop_map(|tenant| Step::Unlink { tenant }),
        1 => Just(Step::Tidy),
        1 => Just(Step::Kill),
        2 => any::<u64>().prop_map(Step::Crash),
        3 => (0_u64..20, any::<u64>()).prop_map(|(calls, seed)| Step::CutPower { calls, seed }),
    ]
}

/// What was put, and what is known of it.
#[derive(Default)]
struct Expected {
    copies: BTreeMap<(TenantId, BlobId), (NewCopy, Known)>,
    serial: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Known {
    /// It may be there.
    Perhaps,
    /// It was acknowledged or seen.
    There,
    /// It was freed, or is being freed: if it is there, it is whole.
    Going,
}

impl Expected {
    fn next(&mut self, who: u8, size: usize) -> NewCopy {
        self.serial += 1;
        let new = copy(self.serial, size, self.serial);
        self.copies.insert((tenant(who), new.copy.blob), (new.clone(), Known::Perhaps));
        new
    }

    fn acknowledge(&mut self, who: u8, copies: &[NewCopy]) {
        for copy in copies {
            self.copies.get_mut(&(tenant(who), copy.copy.blob)).unwrap().1 = Known::There;
        }
    }

    /// Those that are to be freed now.
    fn going(&mut self, who: u8, which: u8) -> Vec<NewCopy> {
        let chosen = |new: &NewCopy| which & (1 << (new.copy.lease.0 % 4)) != 0;
        let of = self.copies.iter_mut().filter(|((of, _), (new, _))| *of == tenant(who) && chosen(new));
        of.map(|(_, (new, known))| {
            *known = Known::Going;
            new.clone()
        })
        .collect()
    }

    fn gone(&mut self, who: u8, copies: &[NewCopy]) {
        for copy in copies {
            self.copies.remove(&(tenant(who), copy.copy.blob));
        }
    }

    /// Everything that was acknowledged and not freed is there; what is there was put, is good, and stays from now on; what
    /// was freed is not there.
    async fn check(&mut self, store: &ChunkStore) {
        let listed = list_all(store).await;
        for found in &listed {
            let found_here = self.copies.get_mut(&(found.tenant, found.copy.blob));
            let (new, known) = found_here.expect("nothing is invented, and nothing comes back");
            assert_eq!(found.copy, new.copy);
            let fragment = store.get(found.tenant, found.copy.blob, None).await.unwrap();
            assert!(fragment.payload == new.payload);
            if *known == Known::Perhaps {
                *known = Known::There;
            }
        }
        let is_listed =
            |of: &TenantId, blob: &BlobId| listed.iter().any(|one| (one.tenant, one.copy.blob) == (*of, *blob));
        for ((of, blob), (_, known)) in &self.copies {
            assert!(*known != Known::There || is_listed(of, blob), "everything acknowledged is there");
        }
        self.copies.retain(|(of, blob), _| is_listed(of, blob));
        // What is still there may be freed once more, or not; until then it stays.
        self.copies.values_mut().for_each(|(_, known)| *known = Known::There);
    }
}

/// Opens until it works, cutting power again where that was ordered, and twice to see the same.
async fn reopen(host: &Host, disk: &SimDisk, expected: &mut Expected, mut seed: u64) -> ChunkStore {
    loop {
        match open(host, Path::new("/node")).await {
            Ok(store) => {
                if disk.is_without_power() {
                    drop(store);
                } else {
                    let first = list_all(&store).await;
                    drop(store);
                    settle().await;
                    match open(host, Path::new("/node")).await {
                        Ok(store) if !disk.is_without_power() => {
                            assert_eq!(list_all(&store).await, first, "opening twice shows the same");
                            expected.check(&store).await;
                            return store;
                        }
                        Ok(store) => drop(store),
                        Err(error) => assert!(disk.is_without_power(), "{error}"),
                    }
                }
            }
            Err(error) => assert!(disk.is_without_power(), "{error}"),
        }
        settle().await;
        seed = seed.wrapping_add(1);
        disk.crash(seed);
    }
}

/// Lets the lanes of a dropped store end.
async fn settle() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

async fn run(steps: Vec<Step>) {
    let disk = SimDisk::new();
    let host = Host::simulated(1, disk.clone(), SimClock::new(0));
    let mut expected = Expected::default();
    let rules = Rules::new();
    let mut store = reopen(&host, &disk, &mut expected, 0).await;
    let mut crash_seed = 0;
    for step in steps {
        let result = match step {
            Step::Put { tenant: who, sizes } => {
                let copies: Vec<NewCopy> = sizes.into_iter().map(|size| expected.next(who, size)).collect();
                let result = store.put(tenant(who), tag(who), copies.clone()).await;
                if result.is_ok() {
                    expected.acknowledge(who, &copies);
                }
                result
            }
            Step::Burst { sizes } => {
                let mut tasks = Vec::new();
                for (who, size) in sizes.into_iter().enumerate() {
                    let who = who as u8 % 2;
                    let new = expected.next(who, size);
                    let store = store.clone();
                    let copies = vec![new.clone()];
                    let task = tokio::spawn(async move { store.put(tenant(who), tag(who), copies).await });
                    tasks.push((who, new, task));
                }
                let mut all = Ok(());
                for (who, new, task) in tasks {
                    match task.await.unwrap() {
                        Ok(()) => expected.acknowledge(who, &[new]),
                        failed => all = failed,
                    }
                }
                all
            }
            Step::Free { tenant: who, which } => {
                let going = expected.going(who, which);
                let freed = store.free(going.iter().map(|new| rules.release(tenant(who), new.copy)).collect()).await;
                if freed.is_ok() {
                    expected.gone(who, &going);
                }
                freed.map(|_| ())
            }
            Step::Unlink { tenant: who } => store.unlink_empty(tenant(who)).await.map(|_| ()),
            Step::Tidy => store.tidy().await,
            Step::Kill => Err(ChunksError::NotHere),
            Step::Crash(seed) => {
                disk.crash(seed);
                crash_seed = seed;
                Err(ChunksError::NotHere)
            }
            Step::CutPower { calls, seed } => {
                disk.cut_power_after(calls);
                crash_seed = seed;
                Ok(())
            }
        };
        if result.is_err() {
            drop(store);
            settle().await;
            if disk.is_without_power() {
                disk.crash(crash_seed);
            }
            store = reopen(&host, &disk, &mut expected, crash_seed).await;
        }
    }
    drop(store);
    settle().await;
    disk.crash(crash_seed);
    reopen(&host, &disk, &mut expected, crash_seed).await;
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_crashes_what_was_acknowledged_is_there_and_verifies(
        steps in prop::collection::vec(step(), 1..25)
    ) {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(run(steps));
    }
}
