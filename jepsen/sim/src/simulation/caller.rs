//! How a client of a simulation asks: whom, for how long, and what it does when it does not know.
//!
//! ```text
//!   command ─▶ a node ─ done, refused ─▶ known
//!                 ├ nobody there, nobody leads ─▶ the next node      (surely nothing happened)
//!                 └ broken, late, unknown ─▶ the same again, or ask for its number ─▶ known, or never applied
//! ```
//!
//! It is what the SDK does (`client`), without its TLS. Every outcome is held against what was heard of the same number
//! before (`promises.rs`). Not here: what is asked for (`client.rs`).

use std::sync::Arc;
use std::time::Duration;

use strongroom_core::query::{Answer, Query};
use strongroom_format::codec;
use strongroom_format::command::{Body, SignedCommand};
use strongroom_format::id::{GroupId, Nonce, SessionId};
use strongroom_format::outcome::{Done, Outcome, Refusal};
use strongroom_service::propose::ProposeFault;

use crate::dice::Dice;
use crate::simulation::clocks::Now;
use crate::simulation::life::World;
use crate::simulation::promises::Promises;
use crate::simulation::tenant::Tenant;
use crate::simulation::trace::Weight;
use crate::simulation::wires::{Ask, Said, Station};

/// One attempt at one node takes no longer.
const ATTEMPT_WITHIN: Duration = Duration::from_secs(10);
/// The pause when nobody could take it.
const PAUSE: Duration = Duration::from_millis(300);
/// So many attempts make somebody give up.
const ATTEMPTS_MAX: u32 = 40;

/// An open session.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Session {
    pub(crate) group: GroupId,
    pub(crate) session: SessionId,
    pub(crate) next: u64,
}

/// Whoever asked does not know, or had no success, and gives up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GaveUp;

/// What came of one attempt.
enum Attempt {
    Known(Box<Outcome>),
    /// Surely nothing happened.
    Nothing,
    Unknown,
}

/// Somebody who asks.
pub(crate) struct Caller {
    pub(crate) world: Arc<World>,
    pub(crate) now: Now,
    pub(crate) promises: Promises,
    pub(crate) tenant: Arc<Tenant>,
    pub(crate) who: &'static str,
    /// What the trace calls it.
    pub(crate) name: String,
    pub(crate) dice: Dice,
    /// Whom it asked last with success.
    pub(crate) node: Station,
    pub(crate) nonces: u64,
}

impl Caller {
    /// Says something in the trace.
    pub(crate) fn say(&self, what: std::fmt::Arguments<'_>) {
        self.world.trace.say(self.now.ms(), &self.name, Weight::Event, what);
    }

    fn nodes(&self) -> usize {
        self.world.names.len()
    }

    async fn attempt(&mut self, ask: Ask) -> Option<Said> {
        let from = self.nodes();
        let answered = self.world.wires.ask(self.now.ms(), from, self.node, ask);
        match tokio::time::timeout(ATTEMPT_WITHIN, answered).await {
            Ok(Ok(said)) => Some(said),
            Ok(Err(_)) | Err(_) => None,
        }
    }

    async fn elsewhere(&mut self) {
        self.node = self.dice.below(self.nodes() as u64) as Station;
        tokio::time::sleep(PAUSE).await;
    }

    async fn entered(&mut self, ask: Ask) -> Attempt {
        match self.attempt(ask).await {
            Some(Said::Entered(Ok(applied))) => match applied.outcomes.into_iter().next() {
                Some(outcome) => Attempt::Known(Box::new(outcome)),
                None => Attempt::Unknown,
            },
            Some(Said::Entered(Err(fault))) => match fault {
                ProposeFault::NoLeader | ProposeFault::Busy | ProposeFault::DiskFull | ProposeFault::TooLong { .. } => {
                    Attempt::Nothing
                }
                ProposeFault::Unknown { .. } => Attempt::Unknown,
            },
            Some(Said::Refused) => Attempt::Nothing,
            Some(Said::Broken) | None => Attempt::Unknown,
            Some(Said::Peer(_) | Said::Read(_)) => Attempt::Unknown,
        }
    }

    /// The same again until its outcome is known: for what has the same outcome however often it is entered.
    pub(crate) async fn until_known(&mut self, ask: Ask) -> Result<Outcome, GaveUp> {
        for _ in 0..ATTEMPTS_MAX {
            match self.entered(ask.clone()).await {
                Attempt::Known(outcome) if is_unattested(&outcome) => self.elsewhere().await,
                Attempt::Known(outcome) => return Ok(*outcome),
                Attempt::Nothing | Attempt::Unknown => self.elsewhere().await,
            }
        }
        Err(GaveUp)
    }

    /// A question, until somebody answers.
    pub(crate) async fn read(&mut self, group: GroupId, query: &Query) -> Result<Answer, GaveUp> {
        let query = bytes::Bytes::from(codec::encode(query));
        for _ in 0..ATTEMPTS_MAX {
            match self.attempt(Ask::Read { group, query: query.clone() }).await {
                Some(Said::Read(Some(answer))) => return codec::decode(&answer).map_err(|_| GaveUp),
                _ => self.elsewhere().await,
            }
        }
        Err(GaveUp)
    }

    /// Opens a session in a group.
    pub(crate) async fn open_session(&mut self, group: GroupId) -> Result<Session, GaveUp> {
        self.nonces += 1;
        let nonce =
            Nonce::from_bytes(crate::simulation::tenant::fixed(&format!("{} nonce {}", self.name, self.nonces)));
        let body = Body::OpenSession { nonce, budget_bytes: 0 };
        let command = self.tenant.command(group, self.who, None, 0, body);
        match self.until_known(Ask::Submit { group, commands: vec![command] }).await? {
            Outcome::Done(Done::SessionOpened { session, .. }) => Ok(Session { group, session, next: 1 }),
            other => {
                self.say(format_args!("is given no session: {other:?}"));
                Err(GaveUp)
            }
        }
    }

    /// The next command of a session; what it came to. What was never applied is entered again under another number.
    pub(crate) async fn command(&mut self, session: &mut Session, body: &Body) -> Result<Outcome, GaveUp> {
        for _ in 0..ATTEMPTS_MAX {
            let sequence = session.next;
            session.next += 1;
            let command = self.tenant.command(session.group, self.who, Some(session.session), sequence, body.clone());
            match self.one(session, sequence, command, body).await? {
                Outcome::Refused(Refusal::Withdrawn) => {}
                outcome => return Ok(outcome),
            }
        }
        Err(GaveUp)
    }

    async fn one(
        &mut self,
        session: &mut Session,
        sequence: u64,
        command: SignedCommand,
        body: &Body,
    ) -> Result<Outcome, GaveUp> {
        let ask = match body {
            Body::RegisterChunks { .. } => Ask::Register { group: session.group, command: command.clone() },
            _ => Ask::Submit { group: session.group, commands: vec![command] },
        };
        for _ in 0..ATTEMPTS_MAX {
            match self.entered(ask.clone()).await {
                Attempt::Known(outcome) if is_unattested(&outcome) => self.elsewhere().await,
                Attempt::Nothing => self.elsewhere().await,
                Attempt::Known(outcome) => {
                    self.heard(session, sequence, &outcome);
                    // now and then somebody is told twice
                    if self.dice.one_in(10) {
                        self.elsewhere().await;
                        if let Attempt::Known(again) = self.entered(ask.clone()).await {
                            self.heard(session, sequence, &again);
                        }
                    }
                    return Ok(*outcome);
                }
                Attempt::Unknown => {
                    self.elsewhere().await;
                    if self.dice.one_in(2) {
                        continue;
                    }
                    if let Some(outcome) = self.asked(session, sequence).await {
                        return Ok(outcome);
                    }
                }
            }
        }
        Err(GaveUp)
    }

    /// Asks for the outcome of a number; `None`: that is not known either.
    async fn asked(&mut self, session: &mut Session, sequence: u64) -> Option<Outcome> {
        let asks = session.next;
        session.next += 1;
        let body = Body::Ask { sequence };
        let command = self.tenant.command(session.group, self.who, Some(session.session), asks, body);
        let ask = Ask::Submit { group: session.group, commands: vec![command] };
        let Attempt::Known(outcome) = self.entered(ask).await else { return None };
        let outcome = match *outcome {
            Outcome::Done(Done::Asked { outcome }) => codec::decode::<Outcome>(&outcome).ok()?,
            Outcome::Done(Done::NeverApplied) => Outcome::Refused(Refusal::Withdrawn),
            other @ (Outcome::Refused(Refusal::SessionEnded) | Outcome::Forgotten) => other,
            Outcome::Done(_) | Outcome::Refused(_) => return None,
        };
        self.heard(session, sequence, &outcome);
        Some(outcome)
    }

    fn heard(&self, session: &Session, sequence: u64, outcome: &Outcome) {
        self.promises.outcome(session.group, session.session, sequence, outcome);
    }
}

/// Nothing was decided: whoever entered it collects signatures again.
fn is_unattested(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Refused(Refusal::Unattested))
}
