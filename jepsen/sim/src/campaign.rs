//! Many images, spread over threads. Which images there are follows from the first seed and their number alone.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::image::{Image, Store};
use crate::lies::Lie;

/// So many failing images are kept with their stories.
const FAILURES_MAX: usize = 100;

/// What is to be made.
#[derive(Clone, Debug)]
pub struct Campaign {
    /// How many images.
    pub images: u64,
    /// The seed of the first; each further one has the next number.
    pub seed: u64,
    /// What is crashed, in turn.
    pub stores: Vec<Store>,
    /// How many threads make them.
    pub threads: usize,
    /// What the disk's files answer for without doing it.
    pub lie: Lie,
}

/// What has come so far, of one store or of all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Images made.
    pub images: u64,
    /// Those of them in which a recovery was cut off by another loss of power.
    pub second_crashes: u64,
    /// Those of them that broke a promise.
    pub failed: u64,
}

/// What came of a campaign.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// By store.
    pub stores: BTreeMap<Store, Count>,
    /// The first failing images, by seed.
    pub failures: Vec<Image>,
}

impl Outcome {
    /// All stores together.
    pub fn total(&self) -> Count {
        self.stores.values().fold(Count::default(), |sum, count| Count {
            images: sum.images + count.images,
            second_crashes: sum.second_crashes + count.second_crashes,
            failed: sum.failed + count.failed,
        })
    }

    fn add(&mut self, image: Image) {
        let count = self.stores.entry(image.store).or_default();
        count.images += 1;
        count.second_crashes += u64::from(image.second_crashes != 0);
        if image.finding.is_some() {
            count.failed += 1;
            if self.failures.len() < FAILURES_MAX {
                self.failures.push(image);
            }
        }
    }
}

impl Campaign {
    /// Makes all images. `seen` is told of each, from the thread that made it.
    pub fn run(&self, seen: impl Fn(&Image) + Sync) -> Outcome {
        let next = AtomicU64::new(0);
        let outcome = Mutex::new(Outcome::default());
        std::thread::scope(|scope| {
            for _ in 0..self.threads.max(1) {
                scope.spawn(|| {
                    while let Some(image) = self.image(next.fetch_add(1, Ordering::Relaxed)) {
                        seen(&image);
                        outcome.lock().unwrap_or_else(PoisonError::into_inner).add(image);
                    }
                });
            }
        });
        let mut outcome = outcome.into_inner().unwrap_or_else(PoisonError::into_inner);
        outcome.failures.sort_by_key(|image| image.seed);
        outcome
    }

    fn image(&self, number: u64) -> Option<Image> {
        let stores = u64::try_from(self.stores.len()).ok().filter(|&stores| stores != 0)?;
        let store = self.stores[usize::try_from(number % stores).ok()?];
        (number < self.images).then(|| Image::make(store, self.seed.wrapping_add(number), self.lie))
    }
}
