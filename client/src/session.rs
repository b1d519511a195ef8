//! A client session: numbered commands to one group, each with exactly one outcome.
//!
//! ```text
//!   call ──▶ number n ──▶ submit ──silence──▶ the same bytes again ──▶ the remembered outcome of n
//! ```
//!
//! Promises: no command is executed twice, whatever is lost on the way, because a number stands for one command only;
//! what a session no longer remembers is *unknown*, never *done*; a session that is kept (`kept.rs`) goes on with its
//! numbers where it was, and has one user at a time. Not here: bulk (`backup/upload.rs`).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use strongroom_format::command::{Attested, Body, Command, Opened, SignedCommand};
use strongroom_format::id::{GroupId, LeaseId, Nonce, SessionId};
use strongroom_format::outcome::{Done, Outcome, Refusal};

use crate::client::Client;
use crate::error::{Error, Result};
use crate::kept::Kept;
use crate::random::random;

/// A session that is kept and not used for so long is ended. The shard would end it after an hour.
const KEPT_FOR: Duration = Duration::from_secs(60);

/// A session in one group.
#[derive(Debug)]
pub(crate) struct Session {
    client: Client,
    group: GroupId,
    id: SessionId,
    lease: LeaseId,
    budget_bytes: u64,
    used_bytes: AtomicU64,
    last: AtomicU64,
    was_kept: bool,
}

impl Session {
    /// Opens a session with a lease of its own. Where quotas or limits leave none, the one that this client keeps makes room.
    pub(crate) async fn open(client: &Client, group: GroupId, budget_bytes: u64) -> Result<Self> {
        match Self::open_new(client, group, budget_bytes).await {
            Err(error) if matches!(error.reason(), Some("QUOTA" | "LIMIT")) => {
                let Some(kept) = client.0.keep.take() else { return Err(error) };
                Self::of(client, kept).end().await;
                Self::open_new(client, group, budget_bytes).await
            }
            opened => opened,
        }
    }

    async fn open_new(client: &Client, group: GroupId, budget_bytes: u64) -> Result<Self> {
        let body = Body::OpenSession { nonce: Nonce::from_bytes(random()?), budget_bytes };
        match sessionless(client, group, body).await? {
            Done::SessionOpened { session, lease, .. } => Ok(Self::new(client, group, session, lease, budget_bytes)),
            other => Err(unexpected(&other)),
        }
    }

    /// The session that this client keeps, if it is in this group and so much may still be written under its lease. It may
    /// have ended without our doing: whoever uses it must know what to make of that.
    pub(crate) async fn kept(client: &Client, group: GroupId, bytes: u64) -> Option<Self> {
        let session = Self::of(client, client.0.keep.take()?);
        if session.group == group && bytes <= session.left_bytes() {
            return Some(session);
        }
        session.end().await;
        None
    }

    /// Opens a snapshot's part in another shard, with a session there.
    pub(crate) async fn join(client: &Client, group: GroupId, opened: Attested<Opened>) -> Result<Self> {
        match sessionless(client, group, Body::JoinSnapshot { opened }).await? {
            Done::Joined { session, lease, budget_bytes } => Ok(Self::new(client, group, session, lease, budget_bytes)),
            other => Err(unexpected(&other)),
        }
    }

    fn new(client: &Client, group: GroupId, id: SessionId, lease: LeaseId, budget_bytes: u64) -> Self {
        let (client, used_bytes, last) = (client.clone(), AtomicU64::new(0), AtomicU64::new(0));
        Self { client, group, id, lease, budget_bytes, used_bytes, last, was_kept: false }
    }

    fn of(client: &Client, kept: Kept) -> Self {
        let Kept { group, id, lease, budget_bytes, used_bytes, last } = kept;
        let (client, used_bytes, last) = (client.clone(), AtomicU64::new(used_bytes), AtomicU64::new(last));
        Self { client, group, id, lease, budget_bytes, used_bytes, last, was_kept: true }
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    pub(crate) fn group(&self) -> GroupId {
        self.group
    }

    pub(crate) fn id(&self) -> SessionId {
        self.id
    }

    /// The lease that came with the session: its own, or the joined part's.
    pub(crate) fn lease(&self) -> LeaseId {
        self.lease
    }

    /// What may be written under that lease; of a session's own, what was asked for.
    pub(crate) fn budget_bytes(&self) -> u64 {
        self.budget_bytes
    }

    /// What may still be written under it.
    pub(crate) fn left_bytes(&self) -> u64 {
        self.budget_bytes.saturating_sub(self.used_bytes.load(Ordering::Relaxed))
    }

    /// Notes that so much is written under it, or perhaps is.
    pub(crate) fn uses(&self, bytes: u64) {
        self.used_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Whether it was kept since an earlier use.
    pub(crate) fn was_kept(&self) -> bool {
        self.was_kept
    }

    /// The next number.
    pub(crate) fn number(&self) -> u64 {
        self.last.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// A command with a number, signed if it decides something.
    pub(crate) fn command(&self, sequence: u64, needs_previous: bool, body: Body) -> SignedCommand {
        let topology = self.client.topology();
        self.client.signed(&Command {
            cluster: topology.cluster,
            group: self.group,
            tenant: topology.tenant,
            principal: self.client.identity().clone(),
            session: Some(self.id),
            sequence,
            needs_previous,
            body,
        })
    }

    /// Has one command executed once.
    ///
    /// # Errors
    /// The rules' refusal; `Unknown` if the session forgot the outcome or nobody answered in time.
    pub(crate) async fn call(&self, body: Body) -> Result<Done> {
        outcome(self.outcome_of(body).await?)
    }

    /// The same, and what the log says of it.
    ///
    /// # Errors
    /// A door's refusal; `Unknown` if nobody answered in time.
    pub(crate) async fn outcome_of(&self, body: Body) -> Result<Outcome> {
        let command = self.command(self.number(), false, body);
        let mut outcomes = self.client.submit(self.group, &[command], self.client.deadline()).await?;
        Ok(outcomes.pop().expect("one outcome for one command"))
    }

    /// What became of a number. What was not applied before will never be.
    pub(crate) async fn ask(&self, sequence: u64) -> Result<Option<Outcome>> {
        match self.call(Body::Ask { sequence }).await? {
            Done::NeverApplied => Ok(None),
            Done::Asked { outcome } => Ok(Some(strongroom_format::codec::decode(&outcome)?)),
            other => Err(unexpected(&other)),
        }
    }

    /// Ends the session, as a courtesy: it would end by itself.
    pub(crate) async fn end(&self) {
        if let Err(error) = self.call(Body::EndSession).await {
            tracing::debug!(%error, "a session was not ended");
        }
    }

    /// Ends the session for certain: none of its numbers is executed any more.
    ///
    /// # Errors
    /// `Unknown` or `Unavailable` if nobody said so.
    pub(crate) async fn end_for_certain(&self) -> Result<()> {
        match self.outcome_of(Body::EndSession).await? {
            // An ended session forgets.
            Outcome::Done(_) | Outcome::Forgotten | Outcome::Refused(Refusal::SessionEnded) => Ok(()),
            Outcome::Refused(refusal) => Err(refusal.into()),
        }
    }

    /// Keeps the session for the next use, or ends it where the client keeps none or another. All that was asked of it has
    /// been answered.
    pub(crate) async fn keep(self) {
        let Self { client, group, id, lease, budget_bytes, used_bytes, last, was_kept: _ } = self;
        let (used_bytes, last) = (used_bytes.into_inner(), last.into_inner());
        let kept = Kept { group, id, lease, budget_bytes, used_bytes, last };
        let inner = Arc::downgrade(&client.0);
        let watch = tokio::spawn(async move {
            tokio::time::sleep(KEPT_FOR).await;
            let Some(client) = inner.upgrade().map(Client) else { return };
            if let Some(kept) = client.0.keep.take_this(id) {
                Self::of(&client, kept).end().await;
            }
        });
        if let Err(kept) = client.0.keep.put(kept, watch.abort_handle()) {
            Self::of(&client, kept).end().await;
        }
    }
}

impl Client {
    /// Ends what the client keeps open in the cluster between calls, keeps nothing from now on, and waits until what was
    /// left open by futures that were dropped has been ended too. The client may still be used.
    ///
    /// A process calls this before it ends. Without it a session counts among the writer's open ones for at most an hour, and
    /// a restore that was dropped holds its snapshot for at most a day. Nothing else hangs on it: cancelling it is safe.
    pub async fn close(&self) {
        let kept = async {
            if let Some(kept) = self.0.keep.close() {
                Session::of(self, kept).end().await;
            }
        };
        futures_util::future::join(kept, self.0.farewells.wait()).await;
    }
}

/// A command outside of any session.
pub(crate) async fn sessionless(client: &Client, group: GroupId, body: Body) -> Result<Done> {
    let topology = client.topology();
    let command = client.signed(&Command {
        cluster: topology.cluster,
        group,
        tenant: topology.tenant,
        principal: client.identity().clone(),
        session: None,
        sequence: 0,
        needs_previous: false,
        body,
    });
    let mut outcomes = client.submit(group, &[command], client.deadline()).await?;
    outcome(outcomes.pop().expect("one outcome for one command"))
}

/// What was done, or why not.
pub(crate) fn outcome(outcome: Outcome) -> Result<Done> {
    match outcome {
        Outcome::Done(done) => Ok(done),
        Outcome::Refused(refusal) => Err(refusal.into()),
        Outcome::Forgotten => Err(Error::Unknown { message: "the session no longer remembers the command".into() }),
    }
}

/// An outcome that belongs to another command.
pub(crate) fn unexpected(done: &Done) -> Error {
    Error::broken(format_args!("the node answered another command than was asked: {done:?}"))
}
