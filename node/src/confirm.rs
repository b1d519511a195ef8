//! Confirming the time at which a cluster's compliance clock begins: a person's word, once, at `init`.
//!
//! Nothing sets that clock later, so a founding machine whose wall clock is wrong would make every lock wrong: too late by
//! as much as it is ahead. Whoever founds the cluster says what the time is by a clock that they trust, or looks at this
//! machine's and says that it is right. Not here: how the clock moves from there (`node/core`, `clock.rs`).

use std::io::{IsTerminal as _, Write as _};

use anyhow::{Context as _, bail, ensure};
use jiff::Timestamp;
use strongroom_host::Host;

/// The machine's clock and the person's may differ by so much, in milliseconds.
const AGREE_WITHIN_MS: u64 = 60_000;

/// The machine's wall clock in milliseconds since 1970, confirmed: by `said`, a time as RFC 3339, or by whoever sits at
/// the terminal.
pub fn confirmed(host: &Host, said: Option<&str>) -> anyhow::Result<u64> {
    let now_ms = host.clock().wall_unix_ns() / 1_000_000;
    match said {
        Some(said) => agrees(said, now_ms)?,
        None => ask(&text(now_ms)?)?,
    }
    Ok(now_ms)
}

fn text(unix_ms: u64) -> anyhow::Result<String> {
    let seconds = i64::try_from(unix_ms / 1000).context("the wall clock is beyond all calendars")?;
    Ok(Timestamp::from_second(seconds).context("the wall clock is beyond all calendars")?.to_string())
}

fn agrees(said: &str, now_ms: u64) -> anyhow::Result<()> {
    let time: Timestamp = said.parse().with_context(|| format!("`{said}` is no time such as 2026-11-27T08:00:00Z"))?;
    let said_ms = u64::try_from(time.as_millisecond()).context("that time was before 1970")?;
    ensure!(
        said_ms.abs_diff(now_ms) <= AGREE_WITHIN_MS,
        "this machine's clock says {}, you say {said}: they differ by more than a minute; set the machine's clock first",
        text(now_ms)?
    );
    Ok(())
}

fn ask(now: &str) -> anyhow::Result<()> {
    if !std::io::stdin().is_terminal() {
        bail!(
            "somebody must confirm the time, because locks are measured by it for ever: this machine's clock says {now}; \
             say what a clock that you trust says with --time, to the minute"
        );
    }
    eprint!(
        "this machine's clock says {now}; locks are measured by it for ever.\nIs that right, to the minute? [yes/no] "
    );
    std::io::stderr().flush().context("the terminal is gone")?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).context("the terminal is gone")?;
    ensure!(answer.trim() == "yes", "not confirmed; set this machine's clock and try again");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_that_is_said_agrees_within_a_minute_or_nothing_is_founded() {
        let now_ms = 1_795_766_400_000;
        assert_eq!(text(now_ms).unwrap(), "2026-11-27T08:00:00Z");
        for good in ["2026-11-27T08:00:00Z", "2026-11-27T08:01:00Z", "2026-11-27T09:59:00+02:00"] {
            agrees(good, now_ms).unwrap();
        }
        for bad in ["2026-11-27T08:01:01Z", "2025-11-27T08:00:00Z", "1969-01-01T00:00:00Z", "08:00", "yes", ""] {
            assert!(agrees(bad, now_ms).is_err(), "{bad}");
        }
    }
}
