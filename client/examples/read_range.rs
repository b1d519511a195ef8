//! Some bytes of one file of the latest snapshot, without restoring it. Not here: files on a disk (`restore_some.rs`).
//!
//!     cargo run -p strongroom --example read_range -- rita.toml papers srv/www/index.html 0 99
//!
//! Only the chunks that these bytes lie in are fetched. What is given out was verified: if it does not answer with an error,
//! it is what was backed up.

use std::path::Path;

use strongroom::client::{Client, PATIENCE};
use strongroom::profile::Profile;
use strongroom::progress::Progress;
use strongroom::restore::ByteRange;
use strongroom::snapshots::SnapshotName;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [profile, vault, path, first, last] = &arguments[..] else {
        return Err("usage: read_range PROFILE VAULT PATH FIRST LAST".into());
    };
    let client = Client::connect(Profile::read(Path::new(profile))?, PATIENCE).await?;
    let snapshot = client.find_snapshot(&SnapshotName::Latest { vault: vault.parse()?, name: None }).await?;

    // Both ends are in it, and counted from 0. A range that ends behind the file ends with it.
    let range = ByteRange { first: first.parse()?, last: Some(last.parse()?) };
    let mut bytes = Vec::new();
    let read = client.read_file(snapshot, path.as_bytes(), range, &mut bytes, Progress::silent()).await?;
    println!("{} of {} bytes: {}", read.bytes, read.size, String::from_utf8_lossy(&bytes));
    Ok(())
}
