//! `crash-images`: the node's stores on a simulated disk, crashed at seeded moments (`jepsen/sim`), told on the terminal.
//!
//! The last line on stdout is the result; it names no images that do not come again from the same seed.

use std::panic;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::ensure;
use serde_json::{Map, Value, json};
use strongroom_sim::campaign::{Campaign, Count, Outcome};
use strongroom_sim::image::{Image, Store};
use strongroom_sim::lies::Lie;

/// How often progress is shown.
const PROGRESS_EVERY: Duration = Duration::from_secs(5);

/// Makes so many images and judges them; true if no promise was broken.
pub fn run(images: u64, seed: u64, stores: Vec<Store>) -> anyhow::Result<bool> {
    ensure!(images != 0, "no images are no proof");
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    let stores = if stores.is_empty() { Store::ALL.to_vec() } else { stores };
    eprintln!("{images} images from seed {seed} on {threads} threads");
    // a panic of the stores is a finding with its words; its backtrace would only hide the progress
    panic::set_hook(Box::new(|_| {}));
    let campaign = Campaign { images, seed, stores, threads, lie: Lie::None };
    let (began, made, shown) = (Instant::now(), AtomicU64::new(0), AtomicU64::new(0));
    let outcome = campaign.run(|image| {
        let made = made.fetch_add(1, Ordering::Relaxed) + 1;
        if image.finding.is_some() {
            eprintln!("{}", story(image));
        }
        let due = began.elapsed().as_secs() / PROGRESS_EVERY.as_secs();
        if shown.fetch_max(due, Ordering::Relaxed) < due {
            let rate = made as f64 / began.elapsed().as_secs_f64();
            eprintln!("{made} of {images} images, {rate:.0}/s");
        }
    });
    drop(panic::take_hook());
    let seconds = began.elapsed().as_secs_f64();
    for (store, count) in &outcome.stores {
        let Count { images, second_crashes, failed } = count;
        println!("{store:<9} {images:>8} images, {second_crashes:>8} with a second crash in recovery, {failed} failed");
    }
    println!("{seconds:.0} s, {:.0} images/s", images as f64 / seconds);
    println!("{}", line(&outcome, seed));
    Ok(outcome.total().failed == 0)
}

/// A failing image in one line, with what makes it again.
fn story(image: &Image) -> String {
    let Image { store, seed, story, .. } = image;
    let finding = image.finding.as_ref().map_or_else(String::new, ToString::to_string);
    format!("FAILED {store} --seed {seed}: {finding} [{story}]")
}

fn line(outcome: &Outcome, seed: u64) -> Value {
    let total = outcome.total();
    let stores: Map<String, Value> = outcome
        .stores
        .iter()
        .map(|(store, Count { images, second_crashes, failed })| {
            let count = json!({ "images": images, "second_crashes": second_crashes, "failed": failed });
            (store.name().to_owned(), count)
        })
        .collect();
    let failures: Vec<Value> = outcome
        .failures
        .iter()
        .map(|image| json!({ "store": image.store.name(), "seed": image.seed, "story": story(image) }))
        .collect();
    let mut line = json!({
        "type": "crash-images",
        "images": total.images,
        "seed": seed,
        "second_crashes": total.second_crashes,
        "stores": stores,
        "failed": total.failed,
    });
    if !failures.is_empty() {
        line["failures"] = failures.into();
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_counts_images_by_store_and_names_what_failed() {
        let campaign = Campaign { images: 10, seed: 3, stores: vec![Store::Append], threads: 1, lie: Lie::None };
        let told = line(&campaign.run(|_| {}), 3);
        assert_eq!(told["type"], "crash-images");
        assert_eq!((&told["images"], &told["failed"]), (&json!(10), &json!(0)));
        assert_eq!(told["stores"]["append"]["images"], 10);
        assert!(told.get("failures").is_none());

        let lying = Campaign { images: 100, lie: Lie::Directories, ..campaign };
        let outcome = lying.run(|_| {});
        let told = line(&outcome, 3);
        assert!(0 < told["failed"].as_u64().unwrap());
        let first = told["failures"][0]["story"].as_str().unwrap();
        assert!(first.starts_with("FAILED append --seed "), "{first}");
    }
}
