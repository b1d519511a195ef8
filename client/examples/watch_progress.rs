//! A backup of a directory that says how it goes, and what every error means for whoever asked. Not here: bars for people
//! (`client/cli/src/progress.rs`).
//!
//!     cargo run -p strongroom --example watch_progress -- web-1.toml papers /srv/www

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use strongroom::backup::BackupRequest;
use strongroom::client::{Client, PATIENCE};
use strongroom::error::Outcome;
use strongroom::profile::Profile;
use strongroom::progress::{Event, Progress};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(profile), Some(vault), Some(path)) = (arguments.next(), arguments.next(), arguments.next()) else {
        return Err("usage: watch_progress PROFILE VAULT PATH".into());
    };
    let client = Client::connect(Profile::read(Path::new(&profile))?, PATIENCE).await?;
    let mut request = BackupRequest::new(&[PathBuf::from(path)], vault.parse()?, "watched".parse()?)?;

    // Called from several threads, between two steps of the work: count and return. Counts are increments.
    let (read, sent) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let (reads, sends) = (Arc::clone(&read), Arc::clone(&sent));
    request.progress = Progress::to(move |event| match event {
        Event::Read { bytes } => {
            reads.fetch_add(bytes, Ordering::Relaxed);
        }
        Event::Sent { bytes } => {
            sends.fetch_add(bytes, Ordering::Relaxed);
        }
        Event::Skipped { path, why } => eprintln!("skipped {}: {why}", String::from_utf8_lossy(&path)),
        // There are others, and there will be more.
        _ => {}
    });
    let answer = client.back_up(request).await;
    println!("read {} bytes, sent {}", read.load(Ordering::Relaxed), sent.load(Ordering::Relaxed));

    match answer {
        Ok(done) => println!("snapshot {} survives the loss of {} nodes", done.snapshot, done.survives.nodes),
        Err(error) => {
            match error.outcome() {
                Outcome::Refused => println!("refused, and will be again: {error}"),
                Outcome::Failed => println!("not done; it may be asked for again: {error}"),
                Outcome::Unknown => println!("perhaps done: look before asking again: {error}"),
            }
            println!("next: {}", error.next());
            return Err(error.into());
        }
    }
    Ok(())
}
