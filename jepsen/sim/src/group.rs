//! What the images of groups share: opening the stores of a node, and not waiting for a log that has ended.

use std::future::Future;
use std::io;
use std::path::Path;

use strongroom_consensus::fatal::Fatal;
use strongroom_consensus::stores::Stores;
use strongroom_host::Host;
use tokio::sync::watch;

use crate::finding::{Broken, Finding};

const DATA_DIRECTORY: &str = "/node";

/// Tells when the stores have ended the process.
#[derive(Clone, Debug)]
pub(crate) struct End(watch::Receiver<bool>);

impl End {
    /// Waits for the work, or for the end of the process.
    pub(crate) async fn or<T, E: From<io::Error>>(&mut self, work: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        tokio::select! {
            biased;
            done = work => done,
            _ = self.0.wait_for(|ended| *ended) => Err(io::Error::other("the process has ended").into()),
        }
    }
}

/// Opens the stores of a node.
pub(crate) async fn open(host: &Host, log_file_bytes_max: u64) -> Result<(Stores, End), String> {
    let (ended, end) = watch::channel(false);
    let fatal = Fatal::new(move |_| {
        ended.send_replace(true);
    });
    let stores = Stores::open(host, Path::new(DATA_DIRECTORY), log_file_bytes_max, fatal).await;
    Ok((stores.map_err(|error| report(&error))?, End(end)))
}

/// What a task gives back; its panic is a finding.
pub(crate) async fn join<T>(task: tokio::task::JoinHandle<T>) -> Result<T, Finding> {
    task.await.map_err(|panic| Finding::new(Broken::Panic, format!("in a task: {panic}")))
}

/// An error with its causes.
pub(crate) fn report(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(&format!(": {inner}"));
        cause = inner.source();
    }
    text
}
