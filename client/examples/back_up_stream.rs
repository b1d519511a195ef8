//! What an application makes, backed up while it makes it: no file in between. Not here: files that are there already
//! (`watch_progress.rs`), the output of a command (`Piped::command`).
//!
//!     cargo run -p strongroom --example back_up_stream -- web-1.toml papers 100000
//!
//! The application writes at one end of a pipe; the SDK reads at the other, no faster than the cluster takes it, so that
//! neither holds more than a few mebibytes.

use std::io::{BufWriter, PipeWriter, Write as _, pipe};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::{io, thread};

use strongroom::backup::{BackupRequest, Piped};
use strongroom::client::{Client, PATIENCE};
use strongroom::profile::Profile;

/// What stands for an application: so many orders, one a line.
fn export(orders: u64, to: PipeWriter) -> io::Result<()> {
    let mut to = BufWriter::new(to);
    for order in 0..orders {
        writeln!(to, "order {order}, {} pieces", order % 7 + 1)?;
    }
    to.flush()
}

/// The reader's end. The end of a pipe is no proof that all was written: its writer may have failed.
struct Whole {
    from: io::PipeReader,
    is_written: Arc<AtomicBool>,
}

impl io::Read for Whole {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self.from.read(into)? {
            0 if !into.is_empty() && !self.is_written.load(Ordering::Acquire) => {
                Err(io::Error::other("the export broke off: nothing of it is committed"))
            }
            bytes => Ok(bytes),
        }
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(profile), Some(vault), Some(orders)) = (arguments.next(), arguments.next(), arguments.next()) else {
        return Err("usage: back_up_stream PROFILE VAULT ORDERS".into());
    };
    let orders = orders.parse()?;
    let client = Client::connect(Profile::read(Path::new(&profile))?, PATIENCE).await?;

    let (from, to) = pipe()?;
    let is_written = Arc::new(AtomicBool::new(false));
    let written = Arc::clone(&is_written);
    let exporter = thread::spawn(move || {
        // The writer's end closes when `export` returns; what is true by then must be said before.
        let kept_open = to.try_clone()?;
        export(orders, to)?;
        written.store(true, Ordering::Release);
        drop(kept_open);
        io::Result::Ok(())
    });
    // The bytes come once, so this is tried once; whoever wants to try again makes them again.
    let piped = Piped::reader("orders.txt", Whole { from, is_written })?;
    let mut request = BackupRequest::piped(piped, vault.parse()?, "orders".parse()?);
    request.tags.insert("source".into(), "shop".into());
    let done = client.back_up(request).await?;
    exporter.join().map_err(|_| "the export broke")??;
    println!("snapshot {} has {} bytes in orders.txt", done.snapshot, done.bytes);
    // An application that goes on would keep it open for the next one.
    client.close().await;
    Ok(())
}
