//! No image breaks a promise, and images are what their seeds say.

use strongroom_sim::campaign::{Campaign, Count};
use strongroom_sim::image::{Image, Store};
use strongroom_sim::lies::Lie;

/// The campaign's command makes as many as somebody waits for.
const IMAGES: u64 = 2000;

#[test]
fn a_few_thousand_images_break_no_promise() {
    let campaign = Campaign { images: IMAGES, seed: 1, stores: Store::ALL.to_vec(), threads: 2, lie: Lie::None };
    let outcome = campaign.run(|_| {});
    let stories: Vec<String> = outcome
        .failures
        .iter()
        .map(|image| format!("{} seed {}: {:?} [{}]", image.store, image.seed, image.finding, image.story))
        .collect();
    assert!(stories.is_empty(), "{stories:#?}");
    let Count { images, second_crashes, failed } = outcome.total();
    assert_eq!((images, failed), (IMAGES, 0));
    assert_eq!(outcome.stores.len(), Store::ALL.len());
    for (store, Count { images, second_crashes, .. }) in &outcome.stores {
        assert!(images / 3 < *second_crashes, "{store}: {second_crashes} of {images} crashed again in recovery");
    }
    assert!(images / 3 < second_crashes);
}

/// They failed in a long campaign. What a seed does changes with the stores; as long as these are cheap they stay.
#[test]
fn images_that_failed_once_break_no_promise() {
    for seed in [1_144_302, 1_199_012] {
        let image = Image::make(Store::State, seed, Lie::None);
        assert_eq!(image.finding, None, "seed {seed} [{}]", image.story);
    }
}

#[test]
fn the_same_seed_makes_the_same_image() {
    for store in Store::ALL {
        for seed in 100..106 {
            let (one, same) = (
                Image::make_with_fingerprint(store, seed, Lie::None),
                Image::make_with_fingerprint(store, seed, Lie::None),
            );
            assert_eq!(one, same, "{store} seed {seed}");
            let other = Image::make_with_fingerprint(store, seed + 1000, Lie::None);
            assert_ne!(one.fingerprint, other.fingerprint, "{store} seed {seed}");
        }
    }
}
