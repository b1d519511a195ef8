//! Snapshots whose contents were sealed under many keys: what many backups added, one after another.

use std::fs;

use crate::cluster::cluster;
use crate::trees::{assert_restores, noise, text};

/// More bytes than all connections have room for, and more keys than anybody asks for at once.
const BACKUPS: u64 = 20;
const BYTES_EACH: usize = 3_000_000;

/// Blobs whose keys are not there yet fill the windows: the keys must not have to come through these.
#[test]
fn what_many_backups_added_is_restored_though_each_has_a_key_of_its_own() {
    let (vault, home) = (cluster().vault(), tempfile::tempdir().unwrap());
    let top = home.path().join("tree");
    fs::create_dir(&top).unwrap();
    let mut last = serde_json::Value::Null;
    for number in 0..BACKUPS {
        fs::write(top.join(format!("f{number:02}")), noise(9_000 + number, BYTES_EACH)).unwrap();
        last = cluster().run("acme-writer", ["backup", text(&top), "--vault", &vault, "--name", "many"]).done();
    }
    assert_restores(&last, &top);
}
