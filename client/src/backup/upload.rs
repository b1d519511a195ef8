//! The way of one part's bytes into its shard: one stream, blobs and tree nodes in order, in batches.
//!
//! ```text
//!   blobs ═▶ stream ─┐
//!   nodes ─▶ batch ──┴─ submit ─▶ durable? register, put nodes ─▶ outcome ─▶ batch forgotten
//!                         stream breaks ─▶ another node: ask what became of each batch, send the rest again
//! ```
//!
//! Promises: a blob is kept until its registration is known; nodes are proposed with or after the chunks that they
//! name; nothing is registered twice, because a batch whose fate is unknown is asked about first; memory is bounded by
//! the queue and the batches in flight. Not here: sealing (`sealer.rs`), which shard (`stream.rs`).

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use strongroom_format::codec;
use strongroom_format::command::Body;
use strongroom_format::id::{BlobId, DomainId, LeaseId, VaultId};
use strongroom_format::outcome::{Done, Outcome, Refusal};
use strongroom_proto::payload::Incoming;
use strongroom_proto::v1 as pb;
use strongroom_proto::v1::upload_reply::What as Answer;
use strongroom_proto::v1::upload_request::What as Ask;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tonic::Status;

use super::distrust::Distrust;
use super::tally::Tally;
use crate::connect::Deadline;
use crate::error::{Answered, Error, Result, answered};
use crate::session::{Session, outcome};
use crate::throttle::Throttle;

/// A batch is submitted when it has so many bytes,
const BATCH_BYTES: usize = 16 << 20;
/// so many blobs,
const BATCH_BLOBS: usize = 64;
/// or so many bytes of nodes.
const BATCH_NODE_BYTES: usize = 512 << 10;
/// If nothing is under way, what there is of it waits so long for more: each batch is a Raft round, and blobs that are made
/// one by one would be one each.
const LINGER: Duration = Duration::from_millis(100);
/// So many batches wait for their outcome at once.
const BATCHES_IN_FLIGHT: usize = 3;
/// A lease's budget grows by what was used of it, at least so much
const TOP_UP_BYTES_MIN: u64 = 128 << 20;
/// and at most so much,
const TOP_UP_BYTES_MAX: u64 = 4 << 30;
/// when less than this is left.
const TOP_UP_BELOW_BYTES: u64 = 64 << 20;
/// A node that is silent for so long while it owes an answer, or takes nothing, is given up.
const SILENCE: Duration = Duration::from_secs(20);

/// A sealed chunk on its way.
pub(crate) struct Outgoing {
    pub blob: BlobId,
    pub bytes: Bytes,
    /// What the blob takes of the memory bound, until it is registered.
    pub _room: Option<OwnedSemaphorePermit>,
}

enum Item {
    Blob(Outgoing),
    Node(Vec<u8>),
    /// Answered when all before it is registered and put.
    Flush(oneshot::Sender<()>),
}

/// Where a part lies.
#[derive(Clone)]
pub(crate) struct PartPlace {
    pub throttle: Arc<Throttle>,
    pub session: Arc<Session>,
    pub lease: LeaseId,
    pub budget_bytes: u64,
    pub vault: VaultId,
    pub domain: DomainId,
}

/// One part's upload, running.
pub(crate) struct Upload {
    queue: mpsc::Sender<Item>,
    task: JoinHandle<Result<()>>,
}

/// The sending end, for several senders.
#[derive(Clone)]
pub(crate) struct Sender(mpsc::Sender<Item>);

impl Upload {
    /// Starts the task that owns the stream.
    pub(crate) fn start(place: PartPlace, tally: Arc<Tally>, distrust: Arc<Distrust>) -> Self {
        let (queue, items) = mpsc::channel(16);
        let task = tokio::spawn(Courier::new(place, tally, distrust).run(items));
        Self { queue, task }
    }

    /// An end to send blobs by.
    pub(crate) fn sender(&self) -> Sender {
        Sender(self.queue.clone())
    }

    /// Sends a node; its children were sent before.
    pub(crate) async fn node(&mut self, bytes: Vec<u8>) -> Result<()> {
        match self.queue.send(Item::Node(bytes)).await {
            Ok(()) => Ok(()),
            Err(_closed) => Err(self.failure().await),
        }
    }

    /// Waits until everything that was sent is registered and put.
    pub(crate) async fn flush(&mut self) -> Result<()> {
        let (done, wait) = oneshot::channel();
        if self.queue.send(Item::Flush(done)).await.is_err() || wait.await.is_err() {
            return Err(self.failure().await);
        }
        Ok(())
    }

    /// Why the task ended.
    pub(crate) async fn failure(&mut self) -> Error {
        match (&mut self.task).await {
            Ok(Err(error)) => error,
            Ok(Ok(())) => Error::broken("the upload ended early"),
            Err(panic) => Error::failed("the upload's task broke", panic),
        }
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The upload's task has ended; [`Upload::failure`] says why.
#[derive(Debug)]
pub(crate) struct Ended;

impl Sender {
    /// Sends a blob.
    pub(crate) async fn blob(&self, blob: Outgoing) -> std::result::Result<(), Ended> {
        self.0.send(Item::Blob(blob)).await.map_err(|_| Ended)
    }
}

/// What is submitted together.
#[derive(Default)]
struct Batch {
    blobs: Vec<Outgoing>,
    nodes: Vec<Vec<u8>>,
    flushes: Vec<oneshot::Sender<()>>,
    /// The number of the registration, once submitted.
    register: Option<u64>,
    blob_bytes: usize,
    node_bytes: usize,
    /// When the first of it came.
    since: Option<Instant>,
}

impl Batch {
    fn is_empty(&self) -> bool {
        self.blobs.is_empty() && self.nodes.is_empty() && self.flushes.is_empty()
    }

    fn is_full(&self) -> bool {
        BATCH_BYTES <= self.blob_bytes || BATCH_BLOBS <= self.blobs.len() || BATCH_NODE_BYTES <= self.node_bytes
    }

    /// When it is submitted though it is not full; at once if somebody waits for it.
    fn due(&self) -> Option<Instant> {
        let since = self.since?;
        Some(if self.flushes.is_empty() { since + LINGER } else { since })
    }

    fn take_in(&mut self, item: Item) {
        self.since.get_or_insert_with(Instant::now);
        match item {
            Item::Blob(blob) => {
                self.blob_bytes += blob.bytes.len();
                self.blobs.push(blob);
            }
            Item::Node(node) => {
                self.node_bytes += node.len();
                self.nodes.push(node);
            }
            Item::Flush(done) => self.flushes.push(done),
        }
    }
}

struct Wire {
    out: mpsc::Sender<pb::UploadRequest>,
    answers: Incoming<pb::UploadReply>,
    endpoint: String,
}

/// The task's state.
struct Courier {
    place: PartPlace,
    tally: Arc<Tally>,
    distrust: Arc<Distrust>,
    /// Submitted, in order, without outcome yet.
    sent: VecDeque<Batch>,
    /// Its blobs are on the stream, it is not submitted.
    open: Batch,
    used_bytes: u64,
    /// Quotas leave no more than the budget.
    is_last: bool,
}

/// Why a stream is given up.
enum Break {
    /// Another may do.
    Lost(String),
    /// None will.
    Fatal(Error),
}

impl From<Error> for Break {
    fn from(error: Error) -> Self {
        match error {
            Error::Unavailable { message } | Error::Unknown { message } => Self::Lost(message),
            error @ (Error::Refused { .. } | Error::Failed { .. }) => Self::Fatal(error),
        }
    }
}

impl Courier {
    fn new(place: PartPlace, tally: Arc<Tally>, distrust: Arc<Distrust>) -> Self {
        Self { place, tally, distrust, sent: VecDeque::new(), open: Batch::default(), used_bytes: 0, is_last: false }
    }

    async fn run(mut self, mut items: mpsc::Receiver<Item>) -> Result<()> {
        // Nobody is dialled for a part that stays empty.
        let Some(first) = items.recv().await else { return Ok(()) };
        let mut waiting = Some(first);
        let mut deadline = self.place.session.client().deadline();
        loop {
            let (lost, progressed) = match self.connect(deadline).await {
                Ok(wire) => {
                    let before = self.tally.batches();
                    match self.serve(wire, &mut waiting, &mut items).await {
                        Ok(()) => return Ok(()),
                        Err(Break::Fatal(error)) => return Err(error),
                        Err(Break::Lost(text)) => (text, before != self.tally.batches()),
                    }
                }
                Err(Break::Fatal(error)) => return Err(error),
                Err(Break::Lost(text)) => (text, false),
            };
            tracing::debug!(group = %self.place.session.group(), lost, "an upload stream broke");
            if progressed {
                deadline = self.place.session.client().deadline();
            }
            if deadline.is_over() {
                return Err(Error::Unavailable { message: lost });
            }
            self.recover(deadline).await?;
        }
    }

    /// Opens a stream at the leader, or where it failed lately at another member: whoever does not take it is asked last.
    async fn connect(&self, deadline: Deadline) -> std::result::Result<Wire, Break> {
        let PartPlace { session, lease, vault, domain, .. } = &self.place;
        let client = session.client();
        let nodes = &client.0.nodes;
        let endpoints = nodes.in_order(&client.topology().endpoints(session.group()));
        let Some(endpoint) = endpoints.first() else {
            return Err(Break::Fatal(Error::broken("no endpoint is known")));
        };
        let (out, requests) = mpsc::channel(4);
        let open = pb::UploadOpen {
            group: session.group().0,
            lease: lease.0,
            vault: Bytes::copy_from_slice(vault.as_bytes()),
            domain: Bytes::copy_from_slice(domain.as_bytes()),
            session: session.id().0,
        };
        out.try_send(pb::UploadRequest { what: Some(Ask::Open(open)) }).expect("the channel is new and has room");
        let until = deadline.instant().min(Instant::now() + Duration::from_secs(10));
        match tokio::time::timeout_at(until, nodes.upload(endpoint, requests)).await {
            Ok(Ok(Ok(answers))) => {
                nodes.answered(endpoint);
                Ok(Wire { out, answers, endpoint: endpoint.clone() })
            }
            Ok(Ok(Err(status))) => Err(self.broken(endpoint, &status)),
            Ok(Err(error)) => Err(error.into()),
            Err(_elapsed) => Err(self.broken(endpoint, &Status::deadline_exceeded("no answer in time"))),
        }
    }

    fn broken(&self, endpoint: &str, status: &Status) -> Break {
        match answered(status) {
            Answered::No(error) => Break::Fatal(error),
            Answered::NotNow(text) | Answered::Perhaps(text) => {
                self.place.session.client().0.nodes.suspect(endpoint);
                Break::Lost(format!("{endpoint}: {text}"))
            }
        }
    }

    /// Moves items over one stream until they end.
    async fn serve(
        &mut self,
        mut wire: Wire,
        waiting: &mut Option<Item>,
        items: &mut mpsc::Receiver<Item>,
    ) -> std::result::Result<(), Break> {
        // What an earlier stream left.
        for at in 0..self.sent.len() {
            for blob in 0..self.sent[at].blobs.len() {
                let message = blob_message(&self.sent[at].blobs[blob]);
                self.send(&mut wire, message).await?;
            }
            let submit = self.number(at);
            self.send(&mut wire, submit).await?;
        }
        for blob in 0..self.open.blobs.len() {
            let message = blob_message(&self.open.blobs[blob]);
            self.send(&mut wire, message).await?;
        }
        let mut ended = false;
        loop {
            let idle = waiting.is_none() && (ended || items.is_empty()) && self.sent.is_empty();
            let due = self.open.due().filter(|_| idle);
            let ready = self.open.is_full() || due.is_some_and(|due| ended || due <= Instant::now());
            if ready && self.sent.len() < BATCHES_IN_FLIGHT {
                self.sent.push_back(std::mem::take(&mut self.open));
                let submit = self.number(self.sent.len() - 1);
                self.send(&mut wire, submit).await?;
                continue;
            }
            if ended && waiting.is_none() && self.sent.is_empty() && self.open.is_empty() {
                return Ok(());
            }
            let takes = !self.open.is_full() && !ended && waiting.is_none();
            tokio::select! {
                biased;
                answer = heard(&mut wire.answers, !self.sent.is_empty()) => self.answer(&wire, answer)?,
                item = items.recv(), if takes => match item {
                    None => ended = true,
                    Some(item) => *waiting = Some(item),
                },
                () = std::future::ready(()), if waiting.is_some() && !self.open.is_full() => {}
                () = tokio::time::sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
            }
            if !self.open.is_full()
                && let Some(item) = waiting.take()
            {
                let (bytes, message) = match &item {
                    Item::Blob(blob) => (blob.bytes.len(), Some(blob_message(blob))),
                    Item::Node(node) => (node.len(), None),
                    Item::Flush(_) => (0, None),
                };
                self.open.take_in(item);
                self.afford(bytes as u64).await?;
                if let Some(message) = message {
                    self.send(&mut wire, message).await?;
                }
            }
        }
    }

    async fn send(&self, wire: &mut Wire, message: Ask) -> std::result::Result<(), Break> {
        if let Ask::Blob(blob) = &message {
            self.place.throttle.take(blob.blob.len() as u64).await;
        }
        let request = pb::UploadRequest { what: Some(message) };
        match wire.out.send_timeout(request, SILENCE).await {
            Ok(()) => Ok(()),
            Err(_closed_or_full) => Err(self.lost(wire, "the stream takes nothing")),
        }
    }

    /// Another node is asked next.
    fn lost(&self, wire: &Wire, why: &str) -> Break {
        self.place.session.client().0.nodes.suspect(&wire.endpoint);
        Break::Lost(format!("{}: {why}", wire.endpoint))
    }

    /// Raises the lease's budget before it is used up. Nodes of the tree count too.
    async fn afford(&mut self, bytes: u64) -> Result<()> {
        self.used_bytes += bytes;
        while self.is_short() {
            let bytes = self.used_bytes.clamp(TOP_UP_BYTES_MIN, TOP_UP_BYTES_MAX);
            let body = Body::TopUp { lease: self.place.lease, bytes };
            match self.place.session.call(body).await {
                Ok(Done::ToppedUp { budget_bytes }) => {
                    // Less than what was asked for: that is all that quotas leave.
                    self.is_last = budget_bytes < self.place.budget_bytes + bytes;
                    self.place.budget_bytes = budget_bytes;
                }
                Ok(_other) => self.place.budget_bytes += bytes,
                // What is left may be enough.
                Err(error) if error.reason() == Some("QUOTA") && self.used_bytes <= self.place.budget_bytes => {
                    self.is_last = true;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Whether the lease needs more: soon, or at once where quotas leave no more.
    fn is_short(&self) -> bool {
        let ahead = if self.is_last { 0 } else { TOP_UP_BELOW_BYTES };
        self.place.budget_bytes < self.used_bytes + ahead
    }

    /// Numbers a batch's commands and makes its submission.
    fn number(&mut self, at: usize) -> Ask {
        let PartPlace { session, lease, vault, domain, .. } = &self.place;
        let batch = &mut self.sent[at];
        let register_sequence = if batch.blobs.is_empty() { 0 } else { session.number() };
        batch.register = (register_sequence != 0).then_some(register_sequence);
        let mut commands = Vec::new();
        let mut rest = batch.nodes.as_slice();
        while !rest.is_empty() {
            let mut count = 0;
            let mut bytes = 0;
            while count < rest.len().min(Body::NODES_MAX) && (count == 0 || bytes + rest[count].len() <= 1 << 20) {
                bytes += rest[count].len();
                count += 1;
            }
            let (nodes, later) = rest.split_at(count);
            let body = Body::PutNodes { lease: *lease, vault: *vault, domain: *domain, nodes: nodes.to_vec() };
            let follows = !commands.is_empty() || register_sequence != 0;
            commands.push(codec::encode(&session.command(session.number(), follows, body)).into());
            rest = later;
        }
        Ask::Submit(pb::UploadSubmit { commands, register_at: 0, register_sequence })
    }

    fn answer(
        &mut self,
        wire: &Wire,
        answer: std::result::Result<Option<pb::UploadReply>, Status>,
    ) -> std::result::Result<(), Break> {
        let reply = match answer {
            Ok(Some(reply)) => reply,
            Ok(None) => return Err(self.lost(wire, "the stream ended")),
            Err(status) => return Err(self.broken(&wire.endpoint, &status)),
        };
        let outcomes = match reply.what {
            Some(Answer::Durable(_)) | None => return Ok(()),
            Some(Answer::Outcomes(outcomes)) => outcomes,
        };
        let Some(batch) = self.sent.pop_front() else {
            return Err(self.lost(wire, "an answer that nobody asked for"));
        };
        if batch.register.is_some() {
            let registered: Outcome = codec::decode(&outcomes.register_outcome).map_err(Error::from)?;
            self.done(registered)?;
        }
        for bytes in &outcomes.outcomes {
            self.done(codec::decode(bytes).map_err(Error::from)?)?;
        }
        self.tally.submitted(batch.blob_bytes as u64);
        if outcomes.fragments_missing != 0 {
            tracing::warn!(
                group = %self.place.session.group(),
                missing = outcomes.fragments_missing,
                slots = ?outcomes.slots_missed,
                "fragments lie nowhere yet: members are down or slow"
            );
        }
        for flush in batch.flushes {
            // Whoever waited may be gone.
            let _ = flush.send(());
        }
        Ok(())
    }

    fn done(&self, found: Outcome) -> std::result::Result<(), Break> {
        if let Outcome::Refused(Refusal::ManifestMismatch { missing_chunks, missing_nodes, .. }) = &found {
            self.distrust.add(missing_chunks.iter().map(|missing| missing.chunk));
            self.distrust.missed_nodes(missing_nodes.len());
        }
        outcome(found).map(|_| ()).map_err(Break::Fatal)
    }

    /// Finds out what became of the batches that a broken stream left, and drops the blobs that are registered. What
    /// remains is sent again under new numbers; nodes are, in any case: putting them twice changes nothing.
    async fn recover(&mut self, deadline: Deadline) -> Result<()> {
        // The leader may be another one now.
        if let Err(error) = self.place.session.client().refresh_topology().await {
            tracing::debug!(%error, "the topology was not refreshed");
        }
        for at in 0..self.sent.len() {
            let Some(register) = self.sent[at].register else { continue };
            match self.place.session.ask(register).await {
                Ok(Some(Outcome::Done(_))) => {
                    let batch = &mut self.sent[at];
                    batch.blobs.clear();
                    batch.register = None;
                }
                Ok(Some(Outcome::Refused(_) | Outcome::Forgotten) | None) => {}
                Err(error) => match Break::from(error) {
                    Break::Fatal(error) => return Err(error),
                    Break::Lost(text) if deadline.is_over() => return Err(Error::Unavailable { message: text }),
                    // The next round asks again; meanwhile nothing was sent.
                    Break::Lost(_) => {}
                },
            }
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        Ok(())
    }
}

/// The next answer. Silence is an answer too, where one is owed.
async fn heard(
    answers: &mut Incoming<pb::UploadReply>,
    is_owed: bool,
) -> std::result::Result<Option<pb::UploadReply>, Status> {
    if !is_owed {
        return answers.message().await;
    }
    match tokio::time::timeout(SILENCE, answers.message()).await {
        Ok(answer) => answer,
        Err(_elapsed) => Err(Status::unavailable("no answer in time")),
    }
}

fn blob_message(blob: &Outgoing) -> Ask {
    Ask::Blob(pb::UploadBlob { blob_id: Bytes::copy_from_slice(blob.blob.as_bytes()), blob: blob.bytes.clone() })
}
