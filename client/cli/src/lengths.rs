//! Lengths of locks as people type them: `30d`, `12h`, `1w`, `1y` (366 days), or any duration.

use std::time::Duration;

use strongroom_format::lock::{LockMode, LockTerms};

use crate::text::parse_duration;

const DAY_S: u64 = 86_400;

/// A length.
pub fn parse(text: &str) -> Result<Duration, String> {
    let days = |unit: u64| {
        let number: u64 = text[..text.len() - 1].parse().ok()?;
        number.checked_mul(unit)?.checked_mul(DAY_S).filter(|seconds| *seconds != 0).map(Duration::from_secs)
    };
    let in_days = match text.as_bytes().last() {
        Some(b'd') => days(1),
        Some(b'w') => days(7),
        Some(b'y') => days(366),
        _ => None,
    };
    in_days.map_or_else(
        || parse_duration(text).map_err(|_| format!("`{text}` is no length; write for instance 30d, 12h, 1w or 1y")),
        Ok,
    )
}

/// The same, or `never`.
pub fn parse_or_never(text: &str) -> Result<Option<Duration>, String> {
    if text == "never" { Ok(None) } else { parse(text).map(Some) }
}

/// A default lock, `governance:30d` or `compliance:1y`, or `none`.
pub fn parse_lock(text: &str) -> Result<Option<LockTerms>, String> {
    if text == "none" {
        return Ok(None);
    }
    let (mode, length) = text.split_once(':').ok_or("write governance:30d, compliance:1y or none")?;
    let mode = match mode {
        "governance" => LockMode::Governance,
        "compliance" => LockMode::Compliance,
        _ => return Err("the mode of a lock is governance or compliance".into()),
    };
    Ok(Some(LockTerms { mode, length_ms: milliseconds(parse(length)?) }))
}

/// In milliseconds; what does not fit is as long as anything.
pub fn milliseconds(length: Duration) -> u64 {
    u64::try_from(length.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_days_weeks_years_or_any_duration() {
        for (text, seconds) in
            [("30d", 30 * DAY_S), ("2w", 14 * DAY_S), ("1y", 366 * DAY_S), ("12h", 43_200), ("90s", 90)]
        {
            assert_eq!(parse(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for bad in ["", "d", "0d", "-1d", "30", "18446744073709551615y", "ü", "30 days ago"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        assert_eq!(parse_or_never("never"), Ok(None));
    }

    #[test]
    fn a_default_lock_has_a_mode_and_a_length() {
        let terms = LockTerms { mode: LockMode::Compliance, length_ms: 366 * 86_400_000 };
        assert_eq!(parse_lock("compliance:1y"), Ok(Some(terms)));
        assert_eq!(parse_lock("none"), Ok(None));
        for bad in ["", "30d", "king:30d", "compliance:", "compliance:0d"] {
            assert!(parse_lock(bad).is_err(), "{bad}");
        }
    }
}
