//! Moments as RFC 3339 has them, in UTC: as much as the judge of clocks reads.

/// Milliseconds since 1970 of `2026-11-26T08:00:00.123Z`; nothing where it is something else.
pub fn unix_ms(text: &str) -> Option<i64> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let mut date = date.splitn(3, '-').map(str::parse::<i64>);
    let (year, month, day) = (date.next()?.ok()?, date.next()?.ok()?, date.next()?.ok()?);
    let (time, fraction) = time.split_once('.').unwrap_or((time, ""));
    let mut time = time.splitn(3, ':').map(str::parse::<i64>);
    let (hour, minute, second) = (time.next()?.ok()?, time.next()?.ok()?, time.next()?.ok()?);
    if !fraction.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let milliseconds: i64 = format!("{fraction:0<3}").get(..3)?.parse().ok()?;
    Some((((days(year, month, day)? * 24 + hour) * 60 + minute) * 60 + second) * 1000 + milliseconds)
}

/// Days since 1970-01-01 (Hinnant, *chrono-compatible low-level date algorithms*).
fn days(year: i64, month: i64, day: i64) -> Option<i64> {
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || !(1..=9999).contains(&year) {
        return None;
    }
    // Years begin in March, so that the day that comes and goes is the last one.
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    Some(era * 146_097 + day_of_era - 719_468)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read_to_the_millisecond() {
        assert_eq!(unix_ms("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(unix_ms("1970-01-02T00:00:00.5Z"), Some(86_400_500));
        assert_eq!(unix_ms("2000-02-29T12:00:00.001Z"), Some(951_825_600_001));
        assert_eq!(unix_ms("2000-03-01T00:00:00.123456789Z"), Some(951_868_800_123));
        assert_eq!(unix_ms("2026-11-26T08:00:00Z"), Some(1_795_680_000_000));
        for other in ["", "2026-11-26", "2026-11-26T08:00:00", "2026-13-26T08:00:00Z", "2026-11-26T08:00:00.xZ"] {
            assert_eq!(unix_ms(other), None, "{other}");
        }
    }
}
