//! SIGINT and SIGTERM: the run ends early, but the cluster is stopped and the data removed.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, ensure};

static ASKED: AtomicBool = AtomicBool::new(false);

/// From now on these signals only set a mark.
pub fn catch() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start")?;
    let mut terminate = {
        let _inside = runtime.enter();
        tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).context("cannot catch SIGTERM")?
    };
    std::thread::spawn(move || {
        runtime.block_on(async {
            loop {
                tokio::select! {
                    _ = tokio::signal::ctrl_c() => {}
                    _ = terminate.recv() => {}
                }
                ASKED.store(true, Ordering::Relaxed);
            }
        });
    });
    Ok(())
}

/// Whether somebody asked for the end.
pub fn asked() -> bool {
    ASKED.load(Ordering::Relaxed)
}

/// An error if somebody asked for the end.
pub fn check() -> anyhow::Result<()> {
    ensure!(!asked(), "interrupted");
    Ok(())
}
