//! `audit list`: the tenant's audit log, leaf by leaf, each proved before it is shown.

use serde::Serialize;
use strongroom::audit::{Leaf, Since};
use strongroom::error::Error;
use strongroom_format::ending::EndOrder;
use strongroom_format::lock_order::LockOrder;
use strongroom_format::receipt::{AuditEvent, Expired};

use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::output::Item;
use crate::text::{count, hex, moment_of, time_of_signed_ms};

/// Flags of `audit list`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Oldest first. The leaves are added up to the root that a majority of the home shard's voters signed, and that root must
continue the one that this machine saw last: what is shown was neither changed nor left out. Needs an auditor's or an
admin's profile.

Examples:
  strongroom audit list
  strongroom audit list --since 2026-11-01
  strongroom audit list --since 1200 --json | jq -c 'select(.allowed == false)'")]
pub struct AuditList {
    /// From this time on (RFC 3339 or a date), or from the leaf with this number.
    #[arg(long, env = "STRONGROOM_SINCE", value_name = "T", value_parser = parse_since)]
    since: Option<From>,
}

/// Where the list begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct From(Since);

fn parse_since(text: &str) -> Result<From, String> {
    if let Ok(leaf) = text.parse() {
        return Ok(From(Since::Leaf(leaf)));
    }
    moment_of(text).map(|ms| From(Since::UnixMs(ms)))
}

/// One leaf.
#[derive(Debug, Default, Serialize)]
#[serde(tag = "type", rename = "leaf")]
struct Shown {
    index: u64,
    time: Option<String>,
    group: u32,
    log_index: u64,
    event: &'static str,
    command: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    principal: Option<String>,
    allowed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    snapshot: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<String>,
}

impl AuditList {
    /// Lists it.
    pub async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let client = context.client().await?;
        let since = self.since.map_or(Since::Leaf(0), |from| from.0);
        let mut shown = 0;
        // What stdout says ends the list; the SDK only carries it through.
        let mut broken = None;
        let show = |leaf: Leaf| {
            shown += 1;
            context.output.item(&Shown::of(leaf)).map_err(|failure| {
                broken = Some(failure);
                Error::Failed { message: "the list was not read to its end".into(), cause: None }
            })
        };
        let listed = client.audit(since, show).await;
        if let Some(failure) = broken {
            return Err(failure);
        }
        listed?;
        context.output.end(shown, "leaves")?;
        Ok(Exit::Done)
    }
}

impl Shown {
    fn of(Leaf { index, record }: Leaf) -> Self {
        let base = Self {
            index,
            time: time_of_signed_ms(record.wall_unix_ms),
            group: record.group.0,
            log_index: record.place.index,
            ..Self::default()
        };
        match record.event {
            AuditEvent::Committed(committed) => Self {
                event: "committed",
                command: "commit-snapshot".into(),
                allowed: true,
                snapshot: Some(committed.snapshot.to_string()),
                digest: Some(committed.envelope.to_string()),
                ..base
            },
            AuditEvent::Decision { kind, principal, subject, allowed, reason } => Self {
                event: "decision",
                command: command_of(kind),
                principal: Some(principal.to_string()),
                allowed,
                reason: Some(reason).filter(|reason| !reason.is_empty()),
                subject: Some(hex(&subject)).filter(|subject| !subject.is_empty()),
                ..base
            },
            AuditEvent::Expired(expired) => Self {
                event: "expired",
                command: "expire".into(),
                principal: Some(expired.by()),
                allowed: true,
                reason: Some(Expired::REASON.to_owned()),
                subject: Some(hex(expired.vault.as_bytes())),
                snapshot: Some(expired.snapshot.to_string()),
                ..base
            },
            AuditEvent::Batch { kind, count, digest } => Self {
                event: "batch",
                command: command_of(kind & !REFUSED),
                allowed: kind & REFUSED == 0,
                count: Some(count),
                digest: Some(digest.to_string()),
                ..base
            },
        }
    }
}

/// Marks a batch of refusals.
const REFUSED: u16 = 0x4000;
/// Marks what an operator decided.
const OPERATORS: u16 = 0x8000;
/// The redemption of a token.
const REDEEM: u16 = 0x2000;

/// Names of the tenants' commands, by their number (`strongroom_format::command::Body::kind`).
const COMMANDS: [&str; 25] = [
    "open-session",
    "end-session",
    "ask",
    "enrol-identity",
    "close-identity",
    "create-vault",
    "update-statement",
    "put-card",
    "open-snapshot",
    "join-snapshot",
    "top-up",
    "register-chunks",
    "put-nodes",
    "seal-part",
    "commit-snapshot",
    "abort-snapshot",
    "open-restore",
    "end-restore",
    "report-blob",
    "issue-token",
    "open-ticket",
    "abort-ticket",
    // By what is ordered: `END_ORDERS` and `LOCK_ORDERS`.
    "end",
    "lock",
    "set-quotas",
];
/// Names of the orders to end something (`strongroom_format::ending`).
const END_ORDERS: [&str; 2] = ["delete-snapshot", "delete-vault"];
/// Names of the orders about policies, locks and holds (`strongroom_format::lock_order`).
const LOCK_ORDERS: [&str; 8] = [
    "set-policy",
    "lock-vault",
    "withdraw-vault-lock",
    "extend-lock",
    "weaken-lock",
    "cancel-weakening",
    "add-hold",
    "remove-hold",
];
/// Names of the operators' commands, by their number.
const OPERATORS_COMMANDS: [&str; 10] = [
    "create-tenant",
    "register-issuer",
    "retire-issuer",
    "put-revocations",
    "suspend-tenant",
    "resume-tenant",
    "end-tenant",
    "issue-node-token",
    "create-shard",
    "limit-tenant",
];

fn command_of(kind: u16) -> String {
    let name = match kind {
        REDEEM => Some(&"redeem-token"),
        kind if kind & OPERATORS != 0 => OPERATORS_COMMANDS.get(usize::from(kind & !OPERATORS)),
        kind if LockOrder::FIRST_KIND <= kind => LOCK_ORDERS.get(usize::from(kind - LockOrder::FIRST_KIND)),
        kind if EndOrder::FIRST_KIND <= kind => END_ORDERS.get(usize::from(kind - EndOrder::FIRST_KIND)),
        kind => COMMANDS.get(usize::from(kind)),
    };
    name.map_or_else(|| format!("{kind:#06x}"), |name| (*name).to_owned())
}

impl Item for Shown {
    fn text(&self) -> String {
        let time = self.time.as_deref().unwrap_or("unknown");
        let who = self.principal.as_deref().unwrap_or("-");
        let mut text = format!("{:>8}  {time:24}  {who:16}  {}", self.index, self.command);
        if let Some(number) = self.count {
            text.push_str(&format!("  {}", count(number, "time", "times")));
        }
        if let Some(snapshot) = &self.snapshot {
            text.push_str(&format!("  snapshot {snapshot}"));
        }
        if !self.allowed {
            text.push_str("  REFUSED");
        }
        if let Some(reason) = &self.reason {
            text.push_str(&format!(": {}", reason.escape_debug()));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use strongroom_format::id::{Digest, GroupId, Place, PolicyVersion, SnapshotId, VaultId};
    use strongroom_format::receipt::AuditRecord;

    use super::*;

    fn leaf(event: AuditEvent) -> Leaf {
        let record = AuditRecord {
            group: GroupId(1),
            place: Place { index: 7, position: 0 },
            elapsed_ms: 5,
            wall_unix_ms: 0,
            event,
        };
        Leaf { index: 3, record }
    }

    #[test]
    fn a_leaf_has_the_fields_of_the_contract() {
        let decision = AuditEvent::Decision {
            kind: 5,
            principal: "ada".parse().unwrap(),
            subject: vec![1, 2],
            allowed: false,
            reason: "role".into(),
        };
        assert_eq!(
            serde_json::to_string(&Shown::of(leaf(decision))).unwrap(),
            r#"{"type":"leaf","index":3,"time":"1970-01-01T00:00:00Z","group":1,"log_index":7,"event":"decision","command":"create-vault","principal":"ada","allowed":false,"reason":"role","subject":"0102"}"#
        );
        let batch = AuditEvent::Batch { kind: 11 | REFUSED, count: 9, digest: Digest::from_bytes([0; 32]) };
        let shown = Shown::of(leaf(batch));
        assert_eq!((shown.command.as_str(), shown.allowed, shown.count), ("register-chunks", false, Some(9)));
        assert!(shown.text().ends_with("9 times  REFUSED"), "{}", shown.text());
        let expired = AuditEvent::Expired(Expired {
            snapshot: SnapshotId::from_bytes([0xab; 16]),
            vault: VaultId::from_bytes([1; 16]),
            policy: PolicyVersion(3),
            committed_clock_ms: 1,
            clock_ms: 2,
        });
        assert_eq!(
            serde_json::to_string(&Shown::of(leaf(expired))).unwrap(),
            format!(
                r#"{{"type":"leaf","index":3,"time":"1970-01-01T00:00:00Z","group":1,"log_index":7,"event":"expired","command":"expire","principal":"policy 3","allowed":true,"reason":"no lock, hold or keep rule kept it","subject":"{}","snapshot":"{}"}}"#,
                "01".repeat(16),
                "ab".repeat(16)
            )
        );
    }

    #[test]
    fn a_list_begins_at_a_leaf_a_date_or_a_time() {
        assert_eq!(parse_since("12"), Ok(From(Since::Leaf(12))));
        assert_eq!(parse_since("1970-01-02"), Ok(From(Since::UnixMs(86_400_000))));
        assert_eq!(parse_since("1970-01-01T00:00:01Z"), Ok(From(Since::UnixMs(1000))));
        assert!(parse_since("yesterday").is_err());
    }

    #[test]
    fn what_this_version_does_not_know_is_shown_by_its_number() {
        assert_eq!(command_of(0x1fff), "0x1fff");
        assert_eq!(command_of(OPERATORS | 4), "suspend-tenant");
        assert_eq!(command_of(REDEEM), "redeem-token");
    }
}
