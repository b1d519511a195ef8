//! A backup that is stopped in the middle by whoever started it, and run again. Not here: signals (`client/cli`).
//!
//!     cargo run -p strongroom --example cancel -- web-1.toml papers /srv/www
//!
//! Stopping is dropping the future: tasks that it started end, nothing is committed, and what was sent already is known to
//! the next backup for as long as its lease lasts.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use strongroom::backup::BackupRequest;
use strongroom::client::{Client, PATIENCE};
use strongroom::profile::Profile;
use strongroom::progress::{Event, Progress};
use tokio::sync::Notify;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(profile), Some(vault), Some(path)) = (arguments.next(), arguments.next(), arguments.next()) else {
        return Err("usage: cancel PROFILE VAULT PATH".into());
    };
    let client = Client::connect(Profile::read(Path::new(&profile))?, PATIENCE).await?;
    let mut request = BackupRequest::new(&[PathBuf::from(path)], vault.parse()?, "cancelled".parse()?)?;
    let before = client.snapshots(Some(&request.vault)).await?.len();

    // Here the reason to stop is the first byte that is read; elsewhere it is a button, or a signal.
    let enough = Arc::new(Notify::new());
    let tell = Arc::clone(&enough);
    request.progress = Progress::to(move |event| {
        if matches!(event, Event::Read { .. }) {
            tell.notify_one();
        }
    });
    tokio::select! {
        biased;
        () = enough.notified() => println!("stopped"),
        done = client.back_up(request.clone()) => println!("it was faster: snapshot {}", done?.snapshot),
    }
    // A backup whose commit was under way when it was dropped may be there: only looking says.
    let after = client.snapshots(Some(&request.vault)).await?.len();
    println!("snapshots before {before}, after {after}");

    request.progress = Progress::silent();
    let done = client.back_up(request).await?;
    println!("snapshot {} has all of it", done.snapshot);
    Ok(())
}
