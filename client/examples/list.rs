//! What is in a vault, and what is in its latest snapshot. Not here: the bytes (`restore_some.rs`).
//!
//!     cargo run -p strongroom --example list -- rita.toml papers

use std::path::Path;

use strongroom::client::{Client, PATIENCE};
use strongroom::profile::Profile;
use strongroom_format::id::VaultName;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(profile), Some(vault)) = (arguments.next(), arguments.next()) else {
        return Err("usage: list PROFILE VAULT".into());
    };
    let client = Client::connect(Profile::read(Path::new(&profile))?, PATIENCE).await?;
    let vault: VaultName = vault.parse()?;

    // Every envelope that comes back is proved against the tenant's root key before it is in this list.
    let snapshots = client.snapshots(Some(&vault)).await?;
    for snapshot in &snapshots {
        println!("snapshot {} of {}/{}", snapshot.id, snapshot.writer, snapshot.name);
    }
    // The order is that of the commits. Names inside are sealed: a restorer's key opens them.
    if let Some(latest) = snapshots.last() {
        for entry in client.list_entries(latest.id, b"").await? {
            println!("entry {} {} bytes", String::from_utf8_lossy(&entry.path), entry.bytes);
        }
    }
    Ok(())
}
