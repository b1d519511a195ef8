//! The store on a disk that crashes: at any call, with any outcome for what was not synced, also during recovery.

use std::collections::BTreeMap;
use std::path::Path;

use proptest::prelude::*;
use strongroom_chunks::store::{ChunkStore, ChunksError, NewCopy};
use strongroom_format::id::{BlobId, TenantId};
use strongroom_host::Host;
use strongroom_host::clock::SimClock;
use strongroom_host::sim_disk::SimDisk;

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
        1 => Just(Step::Tidy),
        1 => Just(Step::Kill),
        2 => any::<u64>().prop_map(Step::Crash),
        3 => (0_u64..20, any::<u64>()).prop_map(|(calls, seed)| Step::CutPower { calls, seed }),
    ]
}

/// What was put, and whether it was acknowledged or seen.
#[derive(Default)]
struct Expected {
    copies: BTreeMap<(TenantId, BlobId), (NewCopy, bool)>,
    serial: u64,
}

impl Expected {
    fn next(&mut self, who: u8, size: usize) -> NewCopy {
        self.serial += 1;
        let new = copy(self.serial, size, self.serial);
        self.copies.insert((tenant(who), new.copy.blob), (new.clone(), false));
        new
    }

    fn acknowledge(&mut self, who: u8, copies: &[NewCopy]) {
        for copy in copies {
            self.copies.get_mut(&(tenant(who), copy.copy.blob)).unwrap().1 = true;
        }
    }

    /// Everything that was acknowledged is there and good; what is there was put, and stays from now on.
    async fn check(&mut self, store: &ChunkStore) {
        let listed = list_all(store).await;
        for found in &listed {
            let (new, kept) = self.copies.get_mut(&(found.tenant, found.copy.blob)).expect("nothing is invented");
            assert_eq!(found.copy, new.copy);
            let fragment = store.get(found.tenant, found.copy.blob, None).await.unwrap();
            assert!(fragment.payload == new.payload);
            *kept = true;
        }
        let kept = self.copies.values().filter(|(_, kept)| *kept).count();
        assert_eq!(listed.len(), kept, "everything acknowledged is there");
        self.copies.retain(|_, (_, kept)| *kept);
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
