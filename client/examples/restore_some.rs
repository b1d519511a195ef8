//! Some paths of the latest snapshot, into a directory that is absent or empty. Not here: everything (leave `paths` empty).
//!
//!     cargo run -p strongroom --example restore_some -- rita.toml papers /tmp/out srv/www/index.html

use std::path::{Path, PathBuf};

use strongroom::client::{Client, PATIENCE};
use strongroom::profile::Profile;
use strongroom::restore::RestoreRequest;
use strongroom::snapshots::SnapshotName;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(profile), Some(vault), Some(to)) = (arguments.next(), arguments.next(), arguments.next()) else {
        return Err("usage: restore_some PROFILE VAULT DIR PATH…".into());
    };
    let client = Client::connect(Profile::read(Path::new(&profile))?, PATIENCE).await?;
    let snapshot = client.find_snapshot(&SnapshotName::Latest { vault: vault.parse()?, name: None }).await?;
    let mut request = RestoreRequest::new(snapshot, PathBuf::from(to));
    // Paths are bytes, as `list_entries` shows them.
    request.paths = arguments.map(String::into_bytes).collect();

    // Everything is verified in a directory beside the target, which appears only whole.
    let restored = client.restore(request).await?;
    println!("restored {} files, {} bytes", restored.files, restored.bytes);
    // It succeeds also where files are damaged everywhere: they are left out, and named.
    for damaged in &restored.damaged {
        println!("damaged {}: {}", String::from_utf8_lossy(&damaged.path), damaged.why);
    }
    match restored.is_whole() {
        true => Ok(()),
        false => Err("some files are damaged".into()),
    }
}
