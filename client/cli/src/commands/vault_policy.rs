//! `vault policy get|set|dry-run`: what a vault promises for its snapshots, and what a change of that would do.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use strongroom::error::Error;
use strongroom_format::id::{PolicyVersion, VaultName};
use strongroom_format::lock::LockTerms;
use strongroom_format::policy::Policy;
use strongroom_format::policy_view::{Fate, Period, PolicyView, Previewed};

use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::lengths;
use crate::lock_item;
use crate::output::Item;
use crate::text::{count, length, time_of_ms};

const DAY_MS: u64 = 86_400_000;

/// Flags of `vault policy get`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Names of which no good snapshot came in the expected interval are listed as overdue, with the time of the newest.

Example:
  strongroom vault policy get papers")]
pub struct PolicyGet {
    /// Which vault.
    #[arg(value_name = "NAME")]
    vault: VaultName,
}

/// Flags of `vault policy set`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Needs an admin's profile. What no flag names stays as it is. A keep rule that promises a period locks the first snapshot
of each such period at its commit; so what was promised is kept, whatever is backed up or set later. What no lock, hold or
keep rule keeps ends by itself, within minutes and for ever; the newest of a name never does. Without any keep rule
everything stays. Look at `vault policy dry-run` first: it says what would end.

Examples:
  strongroom vault policy set papers --lock governance:30d --max 1y --reason 'as agreed'
  strongroom vault policy set papers --every 1d --keep-last 7 --keep-weekly 5 --keep-monthly 12 --max 400d --reason new")]
pub struct PolicySet {
    /// What to set.
    #[command(flatten)]
    wish: Wish,

    /// Why, for the audit log.
    #[arg(long, env = "STRONGROOM_REASON", value_name = "TEXT")]
    reason: String,
}

/// Flags of `vault policy dry-run`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Needs an admin's, an auditor's or a legal profile; changes nothing. Each snapshot is listed with what would become of it
under the policy that is in force with these flags, and why; then how many would go on which day, so that bursts show.

Example:
  strongroom vault policy dry-run papers --every 1d --keep-last 7 --keep-monthly 12")]
pub struct PolicyDryRun {
    /// What to look at.
    #[command(flatten)]
    wish: Wish,
}

/// A policy by what differs from the one in force.
#[derive(Debug, clap::Args)]
struct Wish {
    /// Which vault.
    #[arg(value_name = "NAME")]
    vault: VaultName,

    /// The lock that a snapshot gets unless its writer may choose: governance:30d, compliance:1y, or none.
    #[arg(long, env = "STRONGROOM_LOCK", value_name = "MODE:LENGTH", value_parser = lengths::parse_lock)]
    lock: Option<std::option::Option<LockTerms>>,

    /// The least length of a lock.
    #[arg(long, env = "STRONGROOM_MIN", value_name = "LENGTH", value_parser = lengths::parse)]
    min: Option<Duration>,

    /// The greatest length of a lock; raised by itself to what the lock and the keep rules need.
    #[arg(long, env = "STRONGROOM_MAX", value_name = "LENGTH", value_parser = lengths::parse)]
    max: Option<Duration>,

    /// Refuse a backup that would survive the loss of fewer regions than this.
    #[arg(long, env = "STRONGROOM_LEAST_REGIONS", value_name = "N")]
    least_regions: Option<u8>,

    /// How often a snapshot of each name is expected: 1d, 6h, or never.
    #[arg(long, env = "STRONGROOM_EVERY", value_name = "LENGTH", value_parser = lengths::parse_or_never)]
    every: Option<std::option::Option<Duration>>,

    /// Keep what came since the last N intervals in which one was expected; needs --every.
    #[arg(long, env = "STRONGROOM_KEEP_LAST", value_name = "N")]
    keep_last: Option<u32>,

    /// Keep the first snapshot of each hour for N hours.
    #[arg(long, env = "STRONGROOM_KEEP_HOURLY", value_name = "N")]
    keep_hourly: Option<u32>,

    /// Keep the first snapshot of each day for N days.
    #[arg(long, env = "STRONGROOM_KEEP_DAILY", value_name = "N")]
    keep_daily: Option<u32>,

    /// Keep the first snapshot of each week for N weeks.
    #[arg(long, env = "STRONGROOM_KEEP_WEEKLY", value_name = "N")]
    keep_weekly: Option<u32>,

    /// Keep the first snapshot of each month for N months of 31 days.
    #[arg(long, env = "STRONGROOM_KEEP_MONTHLY", value_name = "N")]
    keep_monthly: Option<u32>,

    /// Keep the first snapshot of each year for N years of 366 days.
    #[arg(long, env = "STRONGROOM_KEEP_YEARLY", value_name = "N")]
    keep_yearly: Option<u32>,
}

impl Wish {
    /// Whether no flag names anything.
    fn is_empty(&self) -> bool {
        let Self { vault: _, lock, min, max, least_regions, every, keep_last, .. } = self;
        let keeps = [self.keep_hourly, self.keep_daily, self.keep_weekly, self.keep_monthly, self.keep_yearly];
        lock.is_none()
            && min.is_none()
            && max.is_none()
            && least_regions.is_none()
            && every.is_none()
            && keep_last.is_none()
            && keeps.iter().all(Option::is_none)
    }

    /// The longest lock that keep rules make.
    fn longest_promise_ms(policy: &Policy) -> u64 {
        let keep = &policy.keep;
        let promises = [
            (keep.hourly, DAY_MS / 24),
            (keep.daily, DAY_MS),
            (keep.weekly, 7 * DAY_MS),
            (keep.monthly, 31 * DAY_MS),
            (keep.yearly, 366 * DAY_MS),
        ];
        let longest = promises.iter().map(|(number, period)| u64::from(*number).saturating_mul(*period)).max();
        longest.unwrap_or(0)
    }

    fn next(&self, old: &Policy) -> Policy {
        let mut policy = old.clone();
        policy.version = PolicyVersion(old.version.0.saturating_add(1));
        policy.default_lock = self.lock.unwrap_or(old.default_lock);
        policy.lock_min_ms = self.min.map_or(old.lock_min_ms, lengths::milliseconds);
        policy.least_regions = self.least_regions.unwrap_or(old.least_regions);
        policy.expected_every_ms = self.every.map_or(old.expected_every_ms, |every| every.map(lengths::milliseconds));
        let keep = &mut policy.keep;
        for (rule, wish) in [
            (&mut keep.last, self.keep_last),
            (&mut keep.hourly, self.keep_hourly),
            (&mut keep.daily, self.keep_daily),
            (&mut keep.weekly, self.keep_weekly),
            (&mut keep.monthly, self.keep_monthly),
            (&mut keep.yearly, self.keep_yearly),
        ] {
            *rule = wish.unwrap_or(*rule);
        }
        let needed = Self::longest_promise_ms(&policy).max(policy.default_lock.map_or(0, |lock| lock.length_ms));
        policy.lock_max_ms = self.max.map_or_else(|| old.lock_max_ms.max(needed), lengths::milliseconds);
        policy
    }
}

/// A refusal for a policy's lengths, with these lengths.
fn with_lengths(policy: &Policy, error: Error) -> Error {
    if error.reason() != Some("LOCK_OUT_OF_RANGE") {
        return error;
    }
    let (least, most) = (length(policy.lock_min_ms), length(policy.lock_max_ms));
    let lock = policy.default_lock.map_or("none".into(), |lock| length(lock.length_ms));
    let kept = length(Wish::longest_promise_ms(policy));
    Error::Refused {
        code: "INVALID_ARGUMENT",
        reason: "LOCK_OUT_OF_RANGE".into(),
        message: format!(
            "the lengths do not fit: locks of {least} to {most}, the default lock {lock}, the longest keep rule {kept}"
        ),
        next: "choose --min at most --max, --lock between them, keep rules at most --max, and nothing beyond 200 years"
            .into(),
    }
}

/// A policy for people.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename = "policy")]
struct Shown {
    vault: String,
    version: u32,
    lock: Option<DefaultLock>,
    min_seconds: f64,
    max_seconds: f64,
    least_regions: u8,
    keep: Keep,
    expected_every_seconds: Option<f64>,
    vault_lock: Option<VaultLock>,
    overdue: Vec<Overdue>,
    #[serde(skip)]
    policy: Policy,
}

#[derive(Debug, Serialize)]
struct DefaultLock {
    mode: &'static str,
    seconds: f64,
}

#[derive(Debug, Serialize)]
struct Keep {
    last: u32,
    hourly: u32,
    daily: u32,
    weekly: u32,
    monthly: u32,
    yearly: u32,
}

#[derive(Debug, Serialize)]
struct VaultLock {
    in_force: bool,
    due: Option<String>,
    by: String,
}

#[derive(Debug, Serialize)]
struct Overdue {
    writer: String,
    name: String,
    newest: Option<String>,
}

#[expect(clippy::cast_precision_loss, reason = "contracts want seconds as floats")]
fn seconds(milliseconds: u64) -> f64 {
    milliseconds as f64 / 1000.0
}

impl Shown {
    fn new(vault: &VaultName, view: PolicyView) -> Self {
        let PolicyView { policy, lock, overdue, clock_ms: _ } = view;
        let keep = policy.keep;
        Self {
            vault: vault.to_string(),
            version: policy.version.0,
            lock: policy
                .default_lock
                .map(|terms| DefaultLock { mode: lock_item::mode(terms.mode), seconds: seconds(terms.length_ms) }),
            min_seconds: seconds(policy.lock_min_ms),
            max_seconds: seconds(policy.lock_max_ms),
            least_regions: policy.least_regions,
            keep: Keep {
                last: keep.last,
                hourly: keep.hourly,
                daily: keep.daily,
                weekly: keep.weekly,
                monthly: keep.monthly,
                yearly: keep.yearly,
            },
            expected_every_seconds: policy.expected_every_ms.map(seconds),
            vault_lock: lock.map(|lock| VaultLock {
                in_force: lock.in_force,
                due: time_of_ms(lock.due_unix_ms),
                by: lock.by.to_string(),
            }),
            overdue: overdue
                .into_iter()
                .map(|overdue| Overdue {
                    writer: overdue.writer.to_string(),
                    name: overdue.label.to_string(),
                    newest: time_of_ms(overdue.newest_unix_ms),
                })
                .collect(),
            policy,
        }
    }
}

impl Item for Shown {
    fn text(&self) -> String {
        let lock = self.policy.default_lock.map_or_else(
            || "no lock".to_owned(),
            |terms| format!("{} lock of {}", lock_item::mode(terms.mode), length(terms.length_ms)),
        );
        let mut text = format!(
            "vault {}, policy {}: {lock}, at least {}, at most {}",
            self.vault,
            self.version,
            length(self.policy.lock_min_ms),
            length(self.policy.lock_max_ms)
        );
        if self.policy.keep.keep_everything() {
            text.push_str("\n  keeps everything");
        } else {
            let Keep { last, hourly, daily, weekly, monthly, yearly } = &self.keep;
            text.push_str(&format!(
                "\n  keeps the last {last}, hourly {hourly}, daily {daily}, weekly {weekly}, monthly {monthly}, yearly {yearly}"
            ));
        }
        if let Some(every_ms) = self.policy.expected_every_ms {
            text.push_str(&format!("\n  expects a snapshot of each name every {}", length(every_ms)));
        }
        if let Some(VaultLock { in_force, due, by }) = &self.vault_lock {
            let due = due.as_deref().unwrap_or("unknown");
            let how = if *in_force { "LOCKED since" } else { "will be LOCKED at" };
            text.push_str(&format!("\n  {how} {due}, by {by}"));
        }
        for Overdue { writer, name, newest } in &self.overdue {
            let newest = newest.as_deref().unwrap_or("unknown");
            text.push_str(&format!("\n  OVERDUE {writer}/{name}: no good snapshot since {newest}"));
        }
        text
    }
}

/// A snapshot in a preview.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename = "preview")]
struct Line {
    snapshot: String,
    writer: String,
    name: String,
    committed: Option<String>,
    goes: bool,
    why: &'static str,
    until: Option<String>,
}

/// How many go on a day.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename = "day")]
struct Day {
    day: Option<String>,
    goes: u64,
}

impl Line {
    fn of(previewed: &Previewed) -> Self {
        let Previewed { snapshot, writer, label, committed_unix_ms, fate } = previewed;
        let (why, until_unix_ms) = match fate {
            Fate::Goes => ("no lock, hold or rule keeps it", None),
            Fate::Held => ("a legal hold", None),
            Fate::Locked { until_unix_ms } => ("a lock", *until_unix_ms),
            Fate::Behind => ("a shard has not heard yet what keeps it", None),
            Fate::OfWhole { .. } => ("a stream of a whole that stands", None),
            Fate::Pinned => ("a restore reads it", None),
            Fate::NoRules => ("the policy has no keep rules", None),
            Fate::NewestDamaged => ("the newest of its name is damaged", None),
            Fate::Newest => ("the newest of its name", None),
            Fate::Last => ("among the last that count", None),
            Fate::First { period, until_unix_ms } => (first_of(*period), Some(*until_unix_ms)),
        };
        Self {
            snapshot: snapshot.to_string(),
            writer: writer.to_string(),
            name: label.to_string(),
            committed: time_of_ms(*committed_unix_ms),
            goes: *fate == Fate::Goes,
            why,
            until: until_unix_ms.and_then(time_of_ms),
        }
    }
}

fn first_of(period: Period) -> &'static str {
    match period {
        Period::Hour => "the first of its hour",
        Period::Day => "the first of its day",
        Period::Week => "the first of its week",
        Period::Month => "the first of its month",
        Period::Year => "the first of its year",
    }
}

/// On which day a snapshot goes, as far as that is known now.
fn day_of(fate: &Fate, now_ms: u64) -> Option<u64> {
    match fate {
        Fate::Goes => Some(now_ms / DAY_MS),
        Fate::Locked { until_unix_ms } => until_unix_ms.map(|until_ms| until_ms / DAY_MS),
        Fate::First { until_unix_ms, .. } => Some(until_unix_ms / DAY_MS),
        Fate::Held
        | Fate::Behind
        | Fate::OfWhole { .. }
        | Fate::Pinned
        | Fate::NoRules
        | Fate::NewestDamaged
        | Fate::Newest
        | Fate::Last => None,
    }
}

impl Item for Line {
    fn text(&self) -> String {
        let committed = self.committed.as_deref().unwrap_or("unknown");
        let fate = if self.goes { "GOES " } else { "stays" };
        let until = self.until.as_ref().map_or_else(String::new, |until| format!(", until {until}"));
        format!("{}  {committed:24}  {fate}  {}/{}: {}{until}", &self.snapshot[..12], self.writer, self.name, self.why)
    }
}

impl Item for Day {
    fn text(&self) -> String {
        let day = self.day.as_deref().map_or("unknown", |day| day.split('T').next().unwrap_or(day));
        format!("{day}  {} may go, if nothing else keeps them", count(self.goes, "snapshot", "snapshots"))
    }
}

impl PolicyGet {
    /// Shows it.
    pub async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let view = context.client().await?.policy(&self.vault).await?;
        context.output.item(&Shown::new(&self.vault, view))?;
        Ok(Exit::Done)
    }
}

impl PolicySet {
    /// Puts it in force.
    pub async fn run(self, context: &Context) -> Result<Exit, Failure> {
        if self.wish.is_empty() {
            return Err(Failure::usage(
                "nothing is to be set",
                "name what changes; see `strongroom vault policy set --help`",
            ));
        }
        let client = context.client().await?;
        let old = client.policy(&self.wish.vault).await?.policy;
        let next = self.wish.next(&old);
        client
            .set_policy(&self.wish.vault, next.clone(), self.reason)
            .await
            .map_err(|error| with_lengths(&next, error))?;
        let view = client.policy(&self.wish.vault).await?;
        context.output.item(&Shown::new(&self.wish.vault, view))?;
        Ok(Exit::Done)
    }
}

impl PolicyDryRun {
    /// Lists what would become of each snapshot, then the days on which some go.
    pub async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let client = context.client().await?;
        let view = client.policy(&self.wish.vault).await?;
        let policy = self.wish.next(&view.policy);
        let mut days: BTreeMap<u64, u64> = BTreeMap::new();
        let mut goes = 0;
        // What stdout says ends the list; the SDK only carries it through.
        let mut broken = None;
        let show = |previewed: Previewed| {
            if let Some(day) = day_of(&previewed.fate, view.clock_ms) {
                *days.entry(day).or_default() += 1;
            }
            let line = Line::of(&previewed);
            goes += u64::from(line.goes);
            context.output.item(&line).map_err(|failure| {
                broken = Some(failure);
                Error::Failed { message: "the list was not read to its end".into(), cause: None }
            })
        };
        let shown = client.preview_policy(&self.wish.vault, &policy, show).await;
        if let Some(failure) = broken {
            return Err(failure);
        }
        shown.map_err(|error| with_lengths(&policy, error))?;
        for (day, goes) in days {
            context.output.item(&Day { day: time_of_ms(day.saturating_mul(DAY_MS)), goes })?;
        }
        context.output.end(goes, "snapshots would go")?;
        Ok(Exit::Done)
    }
}

#[cfg(test)]
mod tests {
    use strongroom_format::policy::KeepRules;

    use super::*;

    fn wish(flags: &str) -> Wish {
        use clap::{Args as _, FromArgMatches as _};

        let line = format!("policy papers {flags}");
        let matches = Wish::augment_args(clap::Command::new("policy")).get_matches_from(line.split_whitespace());
        Wish::from_arg_matches(&matches).unwrap()
    }

    fn old() -> Policy {
        Policy {
            version: PolicyVersion(3),
            default_lock: None,
            lock_min_ms: 5,
            lock_max_ms: DAY_MS,
            least_regions: 1,
            keep: KeepRules { daily: 1, ..KeepRules::default() },
            expected_every_ms: Some(DAY_MS),
        }
    }

    #[test]
    fn what_no_flag_names_stays_and_the_longest_lock_grows_with_the_rules() {
        assert_eq!(wish("").next(&old()), Policy { version: PolicyVersion(4), ..old() });
        let next = wish("--keep-monthly 12 --every never --lock compliance:1y --min 1d").next(&old());
        assert_eq!(next.keep, KeepRules { daily: 1, monthly: 12, ..KeepRules::default() });
        assert_eq!((next.expected_every_ms, next.lock_min_ms), (None, DAY_MS));
        assert_eq!(next.lock_max_ms, 12 * 31 * DAY_MS);
        assert_eq!(wish("--keep-yearly 10 --max 1d").next(&old()).lock_max_ms, DAY_MS, "as it was asked for");
        assert_eq!(wish("--lock none").next(&old()).default_lock, None);
    }

    #[test]
    fn a_preview_says_why_and_until_when() {
        let previewed = Previewed {
            snapshot: strongroom_format::id::SnapshotId::from_bytes([0xab; 16]),
            writer: "web-1".parse().unwrap(),
            label: "www".parse().unwrap(),
            committed_unix_ms: 0,
            fate: Fate::First { period: Period::Month, until_unix_ms: 31 * DAY_MS },
        };
        let expected = format!(
            r#"{{"type":"preview","snapshot":"{}","writer":"web-1","name":"www","committed":"1970-01-01T00:00:00Z","goes":false,"why":"the first of its month","until":"1970-02-01T00:00:00Z"}}"#,
            "ab".repeat(16)
        );
        assert_eq!(serde_json::to_string(&Line::of(&previewed)).unwrap(), expected);
        assert_eq!(day_of(&previewed.fate, 0), Some(31));
        assert_eq!(day_of(&Fate::Held, 0), None);
        let goes = Line::of(&Previewed { fate: Fate::Goes, ..previewed });
        assert!(goes.goes && goes.text().contains("GOES"), "{}", goes.text());
    }
}
