//! One member of a shard, asked for whole blobs: it gathers them from the others.
//!
//! Promises: a bad member costs what it was asked for a second try and nothing else (N41, N98, N146); what lies with
//! members that are away is waited for as long as the client has patience, and is never called lost. Not here: what is
//! asked for (`work.rs`), what comes of blobs (`opening.rs`).

use std::sync::Arc;
use std::time::Duration;

use strongroom_format::seal::blob_id;
use strongroom_proto::v1 as pb;
use strongroom_proto::v1::fetch_run_reply::What;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tonic::Code;

use super::opening::{Jobs, Opening, Ready, Stats, finish};
use super::work::{Asked, Group, Run};
use crate::error::{Answered, Error, Result, answered, is_told};
use crate::restore::open::Sealed;

/// A member that is silent for so long is passed over.
const SILENCE: Duration = Duration::from_secs(10);
/// A member that failed rests so long, twice as long each time,
const REST: Duration = Duration::from_millis(200);
/// at most so long.
const REST_MAX: Duration = Duration::from_secs(5);
/// Who has nothing to do looks again after so long: what others hold may come back.
const IDLE: Duration = Duration::from_millis(100);

/// Asks one member until nothing is open.
#[derive(Clone)]
pub(crate) struct Worker {
    pub opening: Opening,
    pub work: Arc<Group>,
    /// The member's number in the shard.
    pub number: usize,
    pub endpoint: String,
    /// Of this member, over all shards.
    pub streams: Arc<Semaphore>,
}

/// Why a member gave no more.
enum Silent {
    /// For now.
    Now(String),
    /// For good: nobody else would.
    Refused(Error),
}

impl From<Error> for Silent {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}

impl Worker {
    /// Works until nothing is open.
    ///
    /// # Errors
    /// What nobody would give, a sink that takes no more, or that nobody has answered for as long as the client waits.
    pub(crate) async fn run(self) -> Result<()> {
        let mut rest = REST;
        while !self.work.is_done() {
            let Some(asked) = self.work.next(self.number) else {
                self.work.wait(IDLE).await;
                continue;
            };
            let ended = self.ask(&asked).await;
            self.work.give_back(asked.ticket);
            match ended {
                Ok(()) => rest = REST,
                Err(Silent::Refused(error)) => return Err(error),
                Err(Silent::Now(text)) => {
                    tracing::debug!(endpoint = self.endpoint, text, "a member gave no run");
                    if self.opening.gate().client.patience() < self.work.silent_for() {
                        return Err(Error::Unavailable { message: format!("{}: {text}", self.endpoint) });
                    }
                    self.work.wait(rest).await;
                    rest = (2 * rest).min(REST_MAX);
                }
            }
        }
        Ok(())
    }

    /// Asks the member for some chunks of a run, and takes what it gives.
    async fn ask(&self, asked: &Asked) -> std::result::Result<(), Silent> {
        let Asked { ticket, run, positions } = asked;
        let gate = self.opening.gate();
        let nodes = &gate.client.0.nodes;
        let request = self.opening.request(&self.work, run, positions);
        let _stream = self.streams.acquire().await.map_err(|_| Error::broken("fetching ended"))?;
        let silent = || Silent::Now("no answer in time".into());
        let opened = timeout(SILENCE, nodes.fetch_run(&self.endpoint, &request)).await.map_err(|_| silent())??;
        let mut stream = opened.map_err(|status| self.broken(&status))?;
        let mut jobs = Jobs::new();
        let mut to_come = positions.clone();
        let ended = loop {
            // Others have taken the rest: what it would still send has come already, or comes from them.
            if !to_come.is_empty() && !self.work.wants(*ticket) {
                break Ok(());
            }
            let message = match timeout(SILENCE, stream.message()).await {
                Ok(Ok(Some(message))) => message,
                Ok(Ok(None)) if to_come.is_empty() => break Ok(()),
                Ok(Ok(None)) => break Err(Silent::Now("it ended before it had answered all".into())),
                Ok(Err(status)) => break Err(self.broken(&status)),
                Err(_elapsed) => break Err(silent()),
            };
            self.work.came(*ticket);
            match message.what {
                // One answer for each, so that nobody is heard twice about the same in one breath.
                Some(What::Blob(blob)) => {
                    if !to_come.remove(&(blob.position as usize)) {
                        break Err(Silent::Now("it gave what nobody asked for".into()));
                    }
                    gate.throttle.take(blob.blob.len() as u64).await;
                    if let Err(silent) = self.take(run, blob, &mut jobs).await {
                        break Err(silent);
                    }
                }
                Some(What::Lost(lost)) => {
                    let position = lost.position as usize;
                    match (to_come.remove(&position), lost.away) {
                        (true, true) => self.wait_for(run, position, &lost.why)?,
                        (true, false) => self.fail(run, position, &lost.why)?,
                        (false, _) => break Err(Silent::Now("it answered what nobody asked for".into())),
                    }
                }
                // The last thing that a member says.
                Some(What::Stats(_)) if !to_come.is_empty() => {
                    break Err(Silent::Now("it ended before it had answered all".into()));
                }
                Some(What::Stats(pb::FetchStats { fragments_bad, blobs_rebuilt })) => {
                    self.opening.count(Stats { fragments_bad, blobs_rebuilt });
                    break Ok(());
                }
                Some(What::Fragment(_)) => break Err(Silent::Now("it gave a fragment, and a blob was wanted".into())),
                None => break Err(Silent::Now("it said what nobody knows".into())),
            }
        };
        drop(stream);
        finish(jobs).await?;
        if ended.is_ok() {
            nodes.answered(&self.endpoint);
        }
        ended
    }

    /// Has one blob opened.
    async fn take(&self, run: &Arc<Run>, fetched: pb::FetchedBlob, jobs: &mut Jobs) -> std::result::Result<(), Silent> {
        let (position, blob) = (fetched.position as usize, fetched.blob);
        let entry = &run.node.entries[position];
        if blob.len() != entry.stored_bytes as usize {
            self.fail(run, position, "it has another length")?;
            return Ok(());
        }
        let sealed = Sealed::Whole(blob.clone());
        let dek = match sealed.dek() {
            Ok(dek) => dek,
            Err(fault) => {
                self.fail(run, position, &fault.to_string())?;
                return Ok(());
            }
        };
        // A blob that names a key nobody has is not the one that we want; if it is, and where the wrap is false, everything
        // stops.
        let dek = match self.opening.gate().dek(dek).await {
            Ok(dek) => dek,
            Err(Error::Refused { .. }) if blob_id(&blob) != entry.blob => {
                self.fail(run, position, "it is another blob")?;
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        if run.claim(position) {
            let (worker, of) = (self.clone(), Arc::clone(run));
            let wrong = move |why: &str| worker.fail(&of, position, why);
            let ready = Ready { run: Arc::clone(run), position, dek, sealed };
            self.opening.open(&self.work, ready, jobs, wrong).await?;
        }
        Ok(())
    }

    /// Notes that members which hold a chunk are away: others, and they, are asked again until patience ends.
    fn wait_for(&self, run: &Arc<Run>, position: usize, why: &str) -> Result<()> {
        let Some(since) = run.is_away(position, self.number) else { return Ok(()) };
        if self.opening.gate().client.patience() < since {
            return Err(Error::Unavailable { message: format!("{why}; start them and restore again") });
        }
        self.work.try_again(run, position);
        Ok(())
    }

    /// Notes that this member has no good copy of a chunk; after everybody failed it is lost.
    fn fail(&self, run: &Arc<Run>, position: usize, why: &str) -> Result<()> {
        match run.has_failed(position, self.number, self.work.members) {
            Some(true) => self.opening.lose(&self.work, run, position, why),
            Some(false) => {
                self.work.try_again(run, position);
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn broken(&self, status: &tonic::Status) -> Silent {
        match answered(status) {
            // What this member has lost or not yet heard of, another may have.
            Answered::No(error) if matches!(status.code(), Code::NotFound | Code::DataLoss) => {
                Silent::Now(error.to_string())
            }
            // No door said this: the member's answers are longer than any may be, or it knows no restores.
            Answered::No(error)
                if !is_told(status) && matches!(status.code(), Code::OutOfRange | Code::Unimplemented) =>
            {
                self.opening.gate().client.0.nodes.suspect(&self.endpoint);
                Silent::Now(error.to_string())
            }
            Answered::No(error) => Silent::Refused(error),
            Answered::NotNow(text) | Answered::Perhaps(text) => {
                self.opening.gate().client.0.nodes.suspect(&self.endpoint);
                Silent::Now(text)
            }
        }
    }
}
