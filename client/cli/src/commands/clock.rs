//! `clock`: the compliance clock of each shard. There is no command that sets it. Not here: why it moves (the rules).

use std::time::Duration;

use serde::Serialize;
use strongroom::status::{self, ClockState};

use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::output::Item;
use crate::text::{span, time_of_ms};

/// Flags of `clock`: none of its own.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Locks end on the compliance clock. It moves where a majority of a shard's nodes vouches for the time that passed, and
is never ahead of true time. Wall clocks that are set back delay it; if no majority of them agrees within five minutes
it is held, and no lock ends until they do. Nothing sets it.

With a tenant's profile it shows the tenant's shards, with an operator's all of them. How late it is compares it with
the wall clock of the node that answers.

Examples:
  strongroom clock
  strongroom clock --json | jq -e '.state == \"running\"'")]
pub struct Clock {}

/// The result.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename = "clock")]
struct Shown {
    #[serde(flatten)]
    clock: Shape,
    shards: Vec<Shard>,
}

#[derive(Debug, Serialize)]
struct Shard {
    id: u32,
    #[serde(flatten)]
    clock: Shape,
}

/// How a clock looks in this result and in that of `status`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Shape {
    /// What it shows, as RFC 3339; nothing if nobody said.
    pub time: Option<String>,
    /// How far it is behind the wall clock of the node that answered.
    pub wall_lag_s: f64,
    /// `running` or `held`.
    pub state: &'static str,
    /// How late it may be where all is well.
    pub bound_ms: u64,
    /// Why it is held, or later than that.
    pub why: String,
}

impl Clock {
    /// Asks and shows.
    pub async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let profile = context.profile()?;
        let status = match &profile.tenant {
            Some(_) => status::of_tenant(&context.client().await?).await?,
            None => status::of_cluster(&context.operator().await?).await?,
        };
        context.output.item(&Shown::from(status))?;
        Ok(Exit::Done)
    }
}

impl Shape {
    /// Of a clock that somebody told of, or of one of which nobody did: whoever waits for time waits.
    pub fn of(clock: Option<status::Clock>) -> Self {
        let Some(clock) = clock else {
            let why = "no shard answers".into();
            return Self { time: None, wall_lag_s: 0.0, state: "held", bound_ms: 0, why };
        };
        Self {
            time: time_of_ms(clock.unix_ms),
            wall_lag_s: clock.wall_lag_s,
            state: match clock.state {
                ClockState::Running => "running",
                ClockState::Held => "held",
            },
            bound_ms: u64::try_from(clock.bound.as_millis()).unwrap_or(u64::MAX),
            why: clock.why,
        }
    }

    /// As people read it; `why` on a line of its own.
    pub fn text(&self) -> String {
        let lag = span(Duration::try_from_secs_f64(self.wall_lag_s).unwrap_or_default());
        let time = self.time.as_deref().unwrap_or("unknown");
        let state = if self.state == "held" { "HELD" } else { self.state };
        format!("{state}, at {time}, {lag} behind the wall\n  {}", self.why).trim_end().to_owned()
    }
}

impl From<status::Status> for Shown {
    fn from(status: status::Status) -> Self {
        let shard = |shard: status::ShardStatus| Shard { id: shard.id.0, clock: Shape::of(shard.clock) };
        Self { clock: Shape::of(status.clock), shards: status.shards.into_iter().map(shard).collect() }
    }
}

impl Item for Shown {
    fn text(&self) -> String {
        let mut lines = vec![format!("clock: {}", self.clock.text())];
        lines.extend(self.shards.iter().map(|shard| format!("shard {}: {}", shard.id, shard.clock.text())));
        lines.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_looks_as_the_contract_says_and_says_why_it_is_held() {
        let held = status::Clock {
            elapsed: Duration::from_secs(5),
            unix_ms: 1_795_651_200_000,
            wall_lag_s: 90.5,
            state: ClockState::Held,
            bound: Duration::from_secs(62),
            why: "no majority of wall clocks agrees".into(),
        };
        let shown = Shown {
            clock: Shape::of(Some(held.clone())),
            shards: vec![Shard { id: 1, clock: Shape::of(Some(held)) }, Shard { id: 2, clock: Shape::of(None) }],
        };
        let clock = r#""time":"2026-11-26T00:00:00Z","wall_lag_s":90.5,"state":"held","bound_ms":62000,"why":"no majority of wall clocks agrees""#;
        let nobody = r#""time":null,"wall_lag_s":0.0,"state":"held","bound_ms":0,"why":"no shard answers""#;
        let expected = format!(r#"{{"type":"clock",{clock},"shards":[{{"id":1,{clock}}},{{"id":2,{nobody}}}]}}"#);
        assert_eq!(serde_json::to_string(&shown).unwrap(), expected);
        assert!(shown.text().contains("HELD, at 2026-11-26T00:00:00Z") && shown.text().contains("no majority"));
    }
}
