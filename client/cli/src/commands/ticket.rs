//! `ticket`: several writers make one snapshot: open a ticket, see who joined, commit, drop one, give up.
//!
//! Not here: joining (`backup --join`), restoring (`restore`).

use serde::Serialize;
use strongroom::tickets::{Standing, StreamInfo, Ticket, TicketInfo};
use strongroom_format::gathered::ExpectedStream;
use strongroom_format::id::{StreamName, VaultName};
use strongroom_format::label::Label;

use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::output::Item;
use crate::text::{base64, count, span};

/// Flags of `ticket open`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Several writers, in as many processes and on as many machines as they like, make one snapshot: whoever opens the ticket
hands it to them, each joins with `backup --join` under its own identity and a name of its own, and `ticket commit` shows
all of them in one moment, or none. A ticket is no secret: only writers with a card in the vault can join.

With --expect only the named streams may join, each by its own writer, and the commit waits for all of them. Without, any
writer of the vault may join. At most 256 streams. A ticket that nobody uses for six hours ends with its streams.

Examples:
  T=$(strongroom ticket open --vault papers --name shop)
  strongroom backup /var/shop/rows-1 --join \"$T\" --stream rows-1      (on each machine, with its own profile)
  strongroom ticket commit \"$T\"
  strongroom ticket open --vault papers --name shop --expect rows-1=db-1 --expect rows-2=db-2")]
pub struct TicketOpen {
    /// The vault of the snapshot.
    #[arg(long, env = "STRONGROOM_VAULT")]
    vault: VaultName,

    /// What the snapshot will be called within this writer.
    #[arg(long, env = "STRONGROOM_NAME", value_name = "LABEL")]
    name: Label,

    /// A stream that must be there, and its writer; may be repeated.
    #[arg(long, env = "STRONGROOM_EXPECT", value_name = "STREAM=WRITER", value_parser = parse_expected)]
    expect: Vec<ExpectedStream>,
}

/// Flags of `ticket show`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Whoever opened the ticket sees all streams, another writer of the vault its own.

Example:
  strongroom ticket show papers:0123456789abcdef0123456789abcdef --json | jq -r 'select(.ready == false) | .name'")]
pub struct TicketShow {
    /// As `ticket open` printed it.
    #[arg(value_name = "TICKET")]
    ticket: Ticket,
}

/// Flags of `ticket commit`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Shows every stream in one moment. It is refused while one that joined is not ready, or an expected one is not there: wait
for it, or drop it. Whether it was done after an unknown outcome, `ticket show` says.

Example:
  strongroom ticket commit papers:0123456789abcdef0123456789abcdef --json | jq -r .snapshot")]
pub struct TicketCommit {
    /// As `ticket open` printed it.
    #[arg(value_name = "TICKET")]
    ticket: Ticket,
}

/// Flags of `ticket drop`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
For a stream whose writer died, or that shall not be in the snapshot. Its name is free again. Whoever opened the ticket may
drop any stream, another writer its own. What is shown is never dropped.

Example:
  strongroom ticket drop papers:0123456789abcdef0123456789abcdef rows-2")]
pub struct TicketDrop {
    /// As `ticket open` printed it.
    #[arg(value_name = "TICKET")]
    ticket: Ticket,

    /// Which stream.
    #[arg(value_name = "STREAM")]
    stream: StreamName,
}

/// Flags of `ticket abort`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
None of its streams will ever be shown. What was sent is known to the next backups of the same writers for some hours.

Example:
  strongroom ticket abort papers:0123456789abcdef0123456789abcdef")]
pub struct TicketAbort {
    /// As `ticket open` printed it.
    #[arg(value_name = "TICKET")]
    ticket: Ticket,
}

/// A ticket as it stands.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename = "ticket")]
struct Shown {
    ticket: String,
    vault: String,
    name: String,
    opener: String,
    state: &'static str,
    whole: Option<String>,
    streams: u64,
    expected: Vec<Expected>,
    /// People get nothing but the ticket.
    #[serde(skip)]
    is_new: bool,
}

/// A stream that must be there.
#[derive(Debug, Serialize)]
struct Expected {
    name: String,
    writer: String,
}

/// A stream under a ticket, or of a whole.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename = "stream")]
pub struct StreamItem {
    name: String,
    writer: String,
    snapshot: String,
    ready: bool,
}

/// A whole that was committed.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename = "whole")]
struct Committed {
    snapshot: String,
    vault: String,
    name: String,
    streams: u64,
    seconds: f64,
    code: String,
    handed_over: Option<u64>,
    survives: Survives,
    receipt: Option<String>,
}

/// What may still be lost.
#[derive(Debug, Serialize)]
struct Survives {
    regions: u8,
    nodes: u8,
}

/// A stream that was dropped.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename = "dropped")]
struct Dropped {
    ticket: String,
    stream: String,
    snapshot: String,
}

/// A ticket that was given up.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename = "aborted")]
struct Aborted {
    ticket: String,
}

impl TicketOpen {
    /// Opens it.
    pub async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let client = context.client().await?;
        let ticket = client.open_ticket(&self.vault, self.name, self.expect).await?;
        let info = client.ticket(&ticket).await?;
        context.output.item(&Shown { is_new: true, ..Shown::of(&ticket, &info) })?;
        Ok(Exit::Done)
    }
}

impl TicketShow {
    /// Shows it and its streams.
    pub async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let info = context.client().await?.ticket(&self.ticket).await?;
        for stream in &info.streams {
            context.output.item(&StreamItem::of(stream))?;
        }
        context.output.item(&Shown::of(&self.ticket, &info))?;
        Ok(Exit::Done)
    }
}

impl TicketCommit {
    /// Commits the whole.
    pub async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let client = context.client().await?;
        let streams = client.ticket(&self.ticket).await?.streams.len() as u64;
        let done = client.commit_ticket(&self.ticket).await?;
        context.output.item(&Committed {
            snapshot: done.snapshot.to_string(),
            vault: done.vault.to_string(),
            name: done.name.to_string(),
            streams,
            seconds: done.duration.as_secs_f64(),
            code: done.code.to_string(),
            handed_over: done.handed_over,
            survives: Survives { regions: done.survives.regions, nodes: done.survives.nodes },
            receipt: done.receipt.map(|proof| base64(&proof.bytes)),
        })?;
        Ok(Exit::Done)
    }
}

impl TicketDrop {
    /// Drops a stream.
    pub async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let snapshot = context.client().await?.drop_stream(&self.ticket, &self.stream).await?;
        context.output.item(&Dropped {
            ticket: self.ticket.to_string(),
            stream: self.stream.to_string(),
            snapshot: snapshot.to_string(),
        })?;
        Ok(Exit::Done)
    }
}

impl TicketAbort {
    /// Gives it up.
    pub async fn run(self, context: &Context) -> Result<Exit, Failure> {
        context.client().await?.abort_ticket(&self.ticket).await?;
        context.output.item(&Aborted { ticket: self.ticket.to_string() })?;
        Ok(Exit::Done)
    }
}

impl Shown {
    fn of(ticket: &Ticket, info: &TicketInfo) -> Self {
        let (state, whole) = match info.standing {
            Standing::Open => ("open", None),
            Standing::Committed(whole) => ("committed", Some(whole.to_string())),
            Standing::Aborted => ("aborted", None),
        };
        let expected = |one: &ExpectedStream| Expected { name: one.name.to_string(), writer: one.writer.to_string() };
        Self {
            ticket: ticket.to_string(),
            vault: ticket.vault.to_string(),
            name: info.label.to_string(),
            opener: info.opener.to_string(),
            state,
            whole,
            streams: info.streams.len() as u64,
            expected: info.expected.iter().map(expected).collect(),
            is_new: false,
        }
    }
}

impl StreamItem {
    fn of(stream: &StreamInfo) -> Self {
        Self {
            name: stream.name.to_string(),
            writer: stream.writer.to_string(),
            snapshot: stream.snapshot.to_string(),
            ready: stream.ready.is_some(),
        }
    }
}

impl From<strongroom_format::gathered::NamedStream> for StreamItem {
    fn from(stream: strongroom_format::gathered::NamedStream) -> Self {
        Self {
            name: stream.name.to_string(),
            writer: stream.writer.to_string(),
            snapshot: stream.snapshot.to_string(),
            ready: true,
        }
    }
}

/// A stream that must be there, as people type it.
fn parse_expected(text: &str) -> Result<ExpectedStream, String> {
    let (name, writer) = text.split_once('=').ok_or("write it as STREAM=WRITER")?;
    let name = name.parse().map_err(|fault| format!("{name}: {fault}"))?;
    let writer = writer.parse().map_err(|fault| format!("{writer}: {fault}"))?;
    Ok(ExpectedStream { name, writer })
}

impl Item for Shown {
    fn text(&self) -> String {
        if self.is_new {
            return self.ticket.clone();
        }
        let whole = self.whole.as_ref().map_or(String::new(), |whole| format!(" as snapshot {whole}"));
        let mut text = format!(
            "ticket {} of {} for `{}`: {}{whole}, {}",
            self.ticket,
            self.opener,
            self.name,
            self.state,
            count(self.streams, "stream", "streams"),
        );
        for Expected { name, writer } in &self.expected {
            text.push_str(&format!("\n  expects {name} of {writer}"));
        }
        text
    }
}

impl Item for StreamItem {
    fn text(&self) -> String {
        let ready = if self.ready { "" } else { "  NOT READY" };
        format!("{}  {}  {}{ready}", &self.snapshot[..12], self.name, self.writer)
    }
}

impl Item for Committed {
    fn text(&self) -> String {
        format!(
            "snapshot {} of `{}` in vault {}: {} in {}; it survives the loss of {} and of {}",
            self.snapshot,
            self.name,
            self.vault,
            count(self.streams, "stream", "streams"),
            span(std::time::Duration::from_secs_f64(self.seconds)),
            count(self.survives.regions.into(), "region", "regions"),
            count(self.survives.nodes.into(), "node", "nodes"),
        )
    }
}

impl Item for Dropped {
    fn text(&self) -> String {
        format!("stream {} is dropped; its name is free again", self.stream)
    }
}

impl Item for Aborted {
    fn text(&self) -> String {
        format!("ticket {} is given up; nothing of it is shown", self.ticket)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_and_its_streams_have_the_fields_of_the_page() {
        let shown = Shown {
            ticket: "papers:07".into(),
            vault: "papers".into(),
            name: "shop".into(),
            opener: "db-1".into(),
            state: "committed",
            whole: Some("08".into()),
            streams: 2,
            expected: vec![Expected { name: "rows-1".into(), writer: "db-1".into() }],
            is_new: false,
        };
        let expected = r#"{"type":"ticket","ticket":"papers:07","vault":"papers","name":"shop","opener":"db-1","state":"committed","whole":"08","streams":2,"expected":[{"name":"rows-1","writer":"db-1"}]}"#;
        assert_eq!(serde_json::to_string(&shown).unwrap(), expected);
        assert!(shown.text().ends_with("as snapshot 08, 2 streams\n  expects rows-1 of db-1"), "{}", shown.text());
        assert_eq!(Shown { is_new: true, ..shown }.text(), "papers:07");
        let stream =
            StreamItem { name: "rows-1".into(), writer: "db-1".into(), snapshot: "ab".repeat(16), ready: false };
        let expected = format!(
            r#"{{"type":"stream","name":"rows-1","writer":"db-1","snapshot":"{}","ready":false}}"#,
            "ab".repeat(16)
        );
        assert_eq!(serde_json::to_string(&stream).unwrap(), expected);
        assert_eq!(stream.text(), "abababababab  rows-1  db-1  NOT READY");
    }

    #[test]
    fn what_is_expected_is_a_stream_and_its_writer() {
        assert!(parse_expected("rows-1=db-1").is_ok());
        for bad in ["rows-1", "=db-1", "rows-1=", "Rows=db-1", "rows-1=DB"] {
            assert!(parse_expected(bad).is_err(), "{bad}");
        }
    }
}
