//! A client session: numbered commands to one group, each with exactly one outcome.
//!
//! ```text
//!   call ──▶ number n ──▶ submit ──silence──▶ the same bytes again ──▶ the remembered outcome of n
//! ```
//!
//! Promises: no command is executed twice, whatever is lost on the way, because a number stands for one command only;
//! what a session no longer remembers is *unknown*, never *done*. Not here: bulk (`backup/upload.rs`).

use std::sync::atomic::{AtomicU64, Ordering};

use strongroom_format::command::{Attested, Body, Command, Opened, SignedCommand};
use strongroom_format::id::{GroupId, LeaseId, Nonce, SessionId};
use strongroom_format::outcome::{Done, Outcome};

use crate::client::Client;
use crate::error::{Error, Result};
use crate::random::random;

/// A session in one group.
#[derive(Debug)]
pub(crate) struct Session {
    client: Client,
    group: GroupId,
    id: SessionId,
    lease: LeaseId,
    budget_bytes: u64,
    last: AtomicU64,
}

impl Session {
    /// Opens a session with a lease of its own.
    pub(crate) async fn open(client: &Client, group: GroupId, budget_bytes: u64) -> Result<Self> {
        let body = Body::OpenSession { nonce: Nonce::from_bytes(random()?), budget_bytes };
        match sessionless(client, group, body).await? {
            Done::SessionOpened { session, lease, .. } => Ok(Self::new(client, group, session, lease, budget_bytes)),
            other => Err(unexpected(&other)),
        }
    }

    /// Opens a snapshot's part in another shard, with a session there.
    pub(crate) async fn join(client: &Client, group: GroupId, opened: Attested<Opened>) -> Result<Self> {
        match sessionless(client, group, Body::JoinSnapshot { opened }).await? {
            Done::Joined { session, lease, budget_bytes } => Ok(Self::new(client, group, session, lease, budget_bytes)),
            other => Err(unexpected(&other)),
        }
    }

    fn new(client: &Client, group: GroupId, id: SessionId, lease: LeaseId, budget_bytes: u64) -> Self {
        Self { client: client.clone(), group, id, lease, budget_bytes, last: AtomicU64::new(0) }
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
        let command = self.command(self.number(), false, body);
        let mut outcomes = self.client.submit(self.group, &[command], self.client.deadline()).await?;
        outcome(outcomes.pop().expect("one outcome for one command"))
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
