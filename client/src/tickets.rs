//! Tickets: several writers, in as many processes and on as many machines as they like, make one snapshot.
//!
//! ```text
//!   opener:   open_ticket ─▶ ticket ──────────────────────────────────────▶ commit_ticket ─▶ all of it is shown
//!                               │ a text, handed to whoever writes              ▲        or abort_ticket: none is
//!   writers:                    └─▶ join(ticket, name, request) ─▶ ready ──────┘
//! ```
//!
//! Each stream is a snapshot of its own writer, sealed under that writer's keys; a restorer opens it as it opens any. The
//! whole is one more snapshot, the opener's, that names every stream by the digest of its envelope. Promises: before the
//! commit nothing is shown; the commit names just what the opener saw ready, and the rules refuse it if that is not all. A
//! ticket is no secret: it gives nobody a right. Not here: restoring a whole (`restore/streams.rs`).
//!
//! ```no_run
//! # use strongroom::backup::BackupRequest;
//! # use strongroom::client::Client;
//! # use strongroom::tickets::Ticket;
//! # async fn example(opener: Client, rows: Client, paths: [std::path::PathBuf; 1]) -> Result<(), Box<dyn std::error::Error>> {
//! // The opener, say a database's coordinator.
//! let ticket = opener.open_ticket(&"papers".parse()?, "shop".parse()?, Vec::new()).await?;
//! let text = ticket.to_string();
//!
//! // Each writer, in its own process, under its own identity.
//! let ticket: Ticket = text.parse()?;
//! let request = BackupRequest::new(&paths, ticket.vault.clone(), "shop rows".parse()?)?;
//! rows.join(&ticket, "rows-1".parse()?, request).await?;
//!
//! // The opener again, when all have said that they are ready.
//! let whole = opener.commit_ticket(&ticket).await?;
//! println!("snapshot {} has all of it", whole.snapshot);
//! # Ok(())
//! # }
//! ```

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use bytes::Bytes;
use strongroom_format::command::Body;
use strongroom_format::gathered::{ExpectedStream, Gathered, NamedStream, OpenTicket, StreamOf, Whole};
use strongroom_format::id::{Digest, IdentityId, LeaseId, SnapshotId, StreamName, TicketId, VaultName};
use strongroom_format::label::Label;
use strongroom_format::outcome::Done;
use strongroom_proto::v1 as pb;

use crate::backup::{Backup, BackupRequest};
use crate::client::Client;
use crate::error::{Error, Result};
use crate::random::random;
use crate::session::{Session, unexpected};
use crate::vault::{VerifiedVault, Wanted};

/// A ticket, as it is handed to writers: `VAULT:ID`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// The vault of the whole and of all its streams.
    pub vault: VaultName,
    /// The ticket in its tenant.
    pub id: TicketId,
}

/// A text is no ticket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a ticket is VAULT:ID, as `strongroom ticket open` printed it")]
pub struct NotATicket;

/// How a ticket stands.
#[derive(Clone, Debug)]
pub struct TicketInfo {
    /// What the whole will be called.
    pub label: Label,
    /// Who opened it and alone may commit.
    pub opener: IdentityId,
    /// What became of it.
    pub standing: Standing,
    /// The streams under it by name: all of them for its opener, its own for anybody else.
    pub streams: Vec<StreamInfo>,
    /// Which streams must be there; empty: any.
    pub expected: Vec<ExpectedStream>,
    lease: LeaseId,
}

/// What became of a ticket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Writers may join.
    Open,
    /// This whole shows all of its streams.
    Committed(SnapshotId),
    /// It was given up, or nobody used it for six hours.
    Aborted,
}

/// A stream under a ticket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamInfo {
    /// Its name.
    pub name: StreamName,
    /// Who writes it.
    pub writer: IdentityId,
    /// The snapshot that it is, or will be.
    pub snapshot: SnapshotId,
    /// The digest of its envelope, once it is ready.
    pub ready: Option<Digest>,
}

/// A stream that is ready.
#[derive(Clone, Debug)]
pub struct Joined {
    /// Its name in the whole.
    pub stream: StreamName,
    /// What it took to make it. It has no receipt before the whole is committed; then [`Client::receipt`] fetches it.
    pub backup: Backup,
}

impl fmt::Display for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.vault, self.id)
    }
}

impl FromStr for Ticket {
    type Err = NotATicket;

    fn from_str(text: &str) -> std::result::Result<Self, NotATicket> {
        let (vault, id) = text.split_once(':').ok_or(NotATicket)?;
        Ok(Self { vault: vault.parse().map_err(|_| NotATicket)?, id: id.parse().map_err(|_| NotATicket)? })
    }
}

impl Client {
    /// Opens a ticket for a whole that will be called `label` within this writer. With `expected` only these streams may
    /// join, each by its own writer, and all of them must be ready before the commit; they are sorted by name here.
    ///
    /// # Errors
    /// `Refused` with `NOT_FOUND` if there is no such vault or this writer has no card in it, `LIMIT` if it has 64 open
    /// tickets; `Unknown` if nobody answered in time: a ticket that nobody uses ends by itself.
    pub async fn open_ticket(
        &self,
        vault: &VaultName,
        label: Label,
        mut expected: Vec<ExpectedStream>,
    ) -> Result<Ticket> {
        self.refresh_topology().await?;
        let verified = VerifiedVault::fetch(self, Wanted::Name(vault)).await?;
        let ticket = Ticket { vault: vault.clone(), id: TicketId::from_bytes(random()?) };
        expected.sort_by(|one, other| one.name.cmp(&other.name));
        let open = OpenTicket { ticket: ticket.id, vault: verified.statement.vault, label, expected };
        match self.decide(Body::OpenTicket(open)).await? {
            Done::TicketOpened { .. } => Ok(ticket),
            other => Err(unexpected(&other)),
        }
    }

    /// How a ticket stands.
    ///
    /// # Errors
    /// `Refused` with `NOT_FOUND` if there is none in the ticket's vault for a writer of it.
    pub async fn ticket(&self, ticket: &Ticket) -> Result<TicketInfo> {
        let vault = VerifiedVault::fetch(self, Wanted::Name(&ticket.vault)).await?;
        let request = pb::GetTicketRequest { ticket: Bytes::copy_from_slice(ticket.id.as_bytes()) };
        let reply = self
            .read(self.topology().home, |mut vaults| {
                let request = request.clone();
                async move { vaults.get_ticket(request).await }
            })
            .await?;
        if reply.vault.as_ref() != vault.statement.vault.as_bytes() {
            return Err(Error::refused(
                "NOT_FOUND",
                "NOT_FOUND",
                format_args!("vault {} has no such ticket", ticket.vault),
                "give the ticket as `strongroom ticket open` printed it",
            ));
        }
        info(reply)
    }

    /// Backs up as one stream of a whole: ready, and not shown, when this returns. The request's vault is the ticket's.
    ///
    /// # Errors
    /// As [`Client::back_up`]; `Refused` with `TICKET_ENDED`, `STREAM_TAKEN`, `STREAMS_DIFFER` if another writer is
    /// expected under that name.
    pub async fn join(&self, ticket: &Ticket, name: StreamName, mut request: BackupRequest) -> Result<Joined> {
        request.vault = ticket.vault.clone();
        request.gathered = Gathered::Stream(StreamOf { ticket: ticket.id, name: name.clone() });
        let backup = self.back_up(request).await?;
        Ok(Joined { stream: name, backup })
    }

    /// Gives up one stream of this opener's ticket, or this writer's own: its name is free again. For a writer that died:
    /// without it the whole cannot be committed for six hours.
    ///
    /// # Errors
    /// `Refused` with `NOT_FOUND` if there is no such stream that this caller may give up, `IMMUTABLE` if it is shown.
    pub async fn drop_stream(&self, ticket: &Ticket, name: &StreamName) -> Result<SnapshotId> {
        let found = self.ticket(ticket).await?.streams.into_iter().find(|stream| stream.name == *name);
        let stream = found.ok_or_else(|| {
            Error::refused(
                "NOT_FOUND",
                "NOT_FOUND",
                format_args!("the ticket has no stream {name}, or it is not yours"),
                "see `strongroom ticket show`",
            )
        })?;
        match self.decide(Body::AbortSnapshot { snapshot: stream.snapshot }).await? {
            Done::Done => Ok(stream.snapshot),
            other => Err(unexpected(&other)),
        }
    }

    /// Keeps this opener's ticket open for six hours more. Every stream that joins or becomes ready does so too.
    ///
    /// # Errors
    /// `Refused` with `LEASE_ENDED` if it is not open, or not this caller's.
    pub async fn keep_ticket(&self, ticket: &Ticket) -> Result<()> {
        let lease = self.ticket(ticket).await?.lease;
        self.decide(Body::TopUp { lease, bytes: 0 }).await.map(drop)
    }

    /// Commits the whole: every stream under this opener's ticket is shown, in one moment.
    ///
    /// # Errors
    /// `Refused` with `STREAMS_DIFFER` if a stream is not ready, or an expected one is not there; `TICKET_ENDED`; or as
    /// [`Client::back_up`]. After `Unknown`, [`Client::ticket`] says whether it was done.
    pub async fn commit_ticket(&self, ticket: &Ticket) -> Result<Backup> {
        let TicketInfo { label, streams, expected, standing, .. } = self.ticket(ticket).await?;
        if standing != Standing::Open {
            return Err(strongroom_format::outcome::Refusal::TicketEnded.into());
        }
        let lacks = |expected: &&ExpectedStream| streams.iter().all(|stream| stream.name != expected.name);
        let mut differing: Vec<StreamName> = expected.iter().filter(lacks).map(|one| one.name.clone()).collect();
        let mut named = Vec::new();
        for StreamInfo { name, writer, snapshot, ready } in streams {
            match ready {
                Some(envelope) => named.push(NamedStream { name, writer, snapshot, envelope }),
                None => differing.push(name),
            }
        }
        if !differing.is_empty() {
            differing.sort_unstable();
            return Err(strongroom_format::outcome::Refusal::StreamsDiffer { names: differing }.into());
        }
        if named.is_empty() {
            return Err(Error::refused(
                "FAILED_PRECONDITION",
                "STREAMS_DIFFER",
                "no stream has joined the ticket",
                "let writers join it first: `strongroom backup PATH --join TICKET --stream NAME`",
            ));
        }
        let whole = Whole { ticket: ticket.id, streams: named };
        self.back_up(BackupRequest::whole(ticket.vault.clone(), label, whole)).await
    }

    /// Gives this opener's ticket up: none of its streams will ever be shown.
    ///
    /// # Errors
    /// `Refused` with `NOT_FOUND` if it is not this caller's, `IMMUTABLE` if it is committed.
    pub async fn abort_ticket(&self, ticket: &Ticket) -> Result<()> {
        loop {
            match self.decide(Body::AbortTicket { ticket: ticket.id }).await? {
                Done::TicketAborted { left: 0 } => return Ok(()),
                // Decided; what is left is tidied up in steps.
                Done::TicketAborted { .. } => {}
                other => return Err(unexpected(&other)),
            }
        }
    }

    /// One decision at home, in a session of its own.
    async fn decide(&self, body: Body) -> Result<Done> {
        let session = Session::open(self, self.topology().home, 0).await?;
        let done = session.call(body).await;
        // A courtesy: it ends by itself.
        let _ended = tokio::time::timeout(Duration::from_secs(2), session.end()).await;
        done
    }
}

fn info(reply: pb::GetTicketReply) -> Result<TicketInfo> {
    let broken = |what: &str| Error::broken(format_args!("the node's answer about a ticket: {what}"));
    let snapshot = |bytes: &[u8]| SnapshotId::from_slice(bytes).map_err(|_| broken("no snapshot id"));
    let standing = match reply.state() {
        pb::TicketState::Open => Standing::Open,
        pb::TicketState::Committed => Standing::Committed(snapshot(&reply.whole)?),
        pb::TicketState::Aborted => Standing::Aborted,
        pb::TicketState::Unspecified => return Err(broken("no state")),
    };
    let stream = |said: &pb::TicketStream| {
        let ready = match said.envelope.as_ref() {
            [] => None,
            digest => Some(Digest::from_slice(digest).map_err(|_| broken("no digest"))?),
        };
        Ok::<_, Error>(StreamInfo {
            name: said.name.parse().map_err(|_| broken("no name of a stream"))?,
            writer: said.writer.parse().map_err(|_| broken("no writer"))?,
            snapshot: snapshot(&said.snapshot)?,
            ready,
        })
    };
    let expected = |said: &pb::TicketStream| {
        Ok::<_, Error>(ExpectedStream {
            name: said.name.parse().map_err(|_| broken("no name of a stream"))?,
            writer: said.writer.parse().map_err(|_| broken("no writer"))?,
        })
    };
    Ok(TicketInfo {
        label: reply.label.parse().map_err(|_| broken("no label"))?,
        opener: reply.opener.parse().map_err(|_| broken("no opener"))?,
        standing,
        streams: reply.streams.iter().map(stream).collect::<Result<_>>()?,
        expected: reply.expected.iter().map(expected).collect::<Result<_>>()?,
        lease: LeaseId(reply.lease),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_is_read_as_it_was_written_and_nothing_else_is_one() {
        let ticket = Ticket { vault: "papers".parse().unwrap(), id: TicketId::from_bytes([7; 16]) };
        assert_eq!(ticket.to_string().parse(), Ok(ticket.clone()));
        let id = ticket.id;
        for bad in [
            "",
            "papers",
            &id.to_string(),
            ":",
            &format!(":{id}"),
            &format!("Papers:{id}"),
            "papers:07",
            &format!("{ticket}0"),
        ] {
            assert_eq!(bad.parse::<Ticket>(), Err(NotATicket), "{bad}");
        }
    }
}
