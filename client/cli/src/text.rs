//! How values look: names, times, sizes, for scripts and for people.

use std::ffi::OsStr;
use std::num::NonZeroU64;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde::ser::{Serialize, SerializeMap as _, Serializer};
use strongroom_format::manifest::entry::Moment;

/// A file name or path of any bytes. In JSON a string, or `{"b64":"…"}` where it is not UTF-8; for people with escapes
/// for what does not print.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileName(pub Vec<u8>);

impl FileName {
    /// Of a path of this system.
    pub fn of(path: &Path) -> Self {
        Self(path.as_os_str().as_bytes().to_vec())
    }
}

impl Serialize for FileName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match std::str::from_utf8(&self.0) {
            Ok(text) => serializer.serialize_str(text),
            Err(_) => {
                let mut map = serializer.serialize_map(Some(1))?;
                map.serialize_entry("b64", &base64(&self.0))?;
                map.end()
            }
        }
    }
}

impl std::fmt::Display for FileName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for chunk in self.0.utf8_chunks() {
            for character in chunk.valid().chars() {
                match character {
                    // A name must not be able to speak to the terminal.
                    c if c.is_control() => write!(f, "{}", c.escape_default())?,
                    c => write!(f, "{c}")?,
                }
            }
            write!(f, "{}", chunk.invalid().escape_ascii())?;
        }
        Ok(())
    }
}

/// Text from a name of this system, for labels.
pub fn utf8(name: &OsStr) -> Option<&str> {
    std::str::from_utf8(name.as_bytes()).ok()
}

/// Base64 with the usual alphabet and padding.
pub fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// What is encoded in base64 with the usual alphabet and padding.
pub fn from_base64(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}

/// Lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Milliseconds since 1970 from RFC 3339, or from a date: its beginning in UTC.
pub fn moment_of(text: &str) -> Result<i64, String> {
    let day = || format!("{text}T00:00:00Z").parse::<Timestamp>();
    let time = text.parse::<Timestamp>().or_else(|_| day());
    let time = time.map_err(|_| "not a time such as 2026-11-26T08:00:00Z, nor a date such as 2026-11-26")?;
    Ok(time.as_millisecond())
}

/// RFC 3339 in UTC, from milliseconds since 1970 or before.
pub fn time_of_signed_ms(unix_ms: i64) -> Option<String> {
    Timestamp::from_millisecond(unix_ms).ok().map(|time| time.to_string())
}

/// RFC 3339 in UTC, from milliseconds since 1970.
pub fn time_of_ms(unix_ms: u64) -> Option<String> {
    Timestamp::from_millisecond(i64::try_from(unix_ms).ok()?).ok().map(|time| time.to_string())
}

/// RFC 3339 in UTC, from a time in a manifest; `None` beyond the years that it can write.
pub fn time_of(moment: Moment) -> Option<String> {
    let nanos = i32::try_from(moment.nanos).ok()?;
    Timestamp::new(moment.seconds, nanos).ok().map(|time| time.to_string())
}

/// Bytes for people: three figures and a unit.
pub fn size(bytes: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut unit = 0;
    let mut whole = bytes;
    let mut rest = 0;
    while 1024 <= whole && unit + 1 < units.len() {
        rest = whole % 1024;
        whole /= 1024;
        unit += 1;
    }
    match (unit, whole) {
        (0, _) | (_, 100..) => format!("{whole} {}", units[unit]),
        (_, _) => format!("{whole}.{} {}", rest * 10 / 1024, units[unit]),
    }
}

/// A duration for people: seconds with one decimal, minutes above.
pub fn span(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..60 => format!("{:.1} s", duration.as_secs_f64()),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
    }
}

/// A length in milliseconds for people, in the largest unit that fits it exactly.
pub fn length(milliseconds: u64) -> String {
    let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "min"), (1000, "s")];
    match units.into_iter().find(|(unit, _)| milliseconds.is_multiple_of(*unit)) {
        Some((unit, name)) => format!("{} {name}", milliseconds / unit),
        None => format!("{milliseconds} ms"),
    }
}

/// One thing or several.
pub fn count(number: u64, one: &str, several: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { several })
}

/// A duration as people type it: `60s`, `5m`, `1h30m`, `500ms`.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let span: jiff::SignedDuration =
        text.parse().map_err(|_| format!("`{text}` is no duration; write for instance 60s, 5m or 1h30m"))?;
    match Duration::try_from(span) {
        Ok(duration) if !duration.is_zero() => Ok(duration),
        Ok(_) | Err(_) => Err("a duration is longer than nothing".into()),
    }
}

/// Bytes a second as people type them: `500K`, `10MiB`, `1.5 MB/s`. K, M and G are powers of 1024, as KiB, MiB and GiB
/// are; KB, MB and GB are powers of 1000.
pub fn parse_rate(text: &str) -> Result<NonZeroU64, String> {
    let bad = || format!("`{text}` is no rate; write for instance 500K, 10MiB or 1.5MB/s: bytes a second");
    let number = text.strip_suffix("/s").unwrap_or(text).trim_end();
    let digits = number.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(number.len());
    let (number, unit) = number.split_at(digits);
    let unit: u64 = match unit.trim_start().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kib" => 1 << 10,
        "m" | "mib" => 1 << 20,
        "g" | "gib" => 1 << 30,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        _ => return Err(bad()),
    };
    // Digits behind the point, at most nine, so that all stays whole.
    let (whole, behind) = number.split_once('.').unwrap_or((number, "0"));
    let (whole, places) = (whole.parse::<u64>(), u32::try_from(behind.len()).ok().filter(|places| *places <= 9));
    let (Ok(whole), Ok(behind), Some(places)) = (whole, behind.parse::<u64>(), places) else { return Err(bad()) };
    let part = u128::from(behind) * u128::from(unit) / 10_u128.pow(places);
    let bytes = whole.checked_mul(unit).and_then(|bytes| bytes.checked_add(u64::try_from(part).ok()?));
    bytes.and_then(NonZeroU64::new).ok_or_else(|| format!("`{text}` is no rate that anything can be sent at"))
}

/// Bytes as people type them: `100`, `4K`, `1.5 GiB`; units as in [`parse_rate`].
pub fn parse_size(text: &str) -> Result<u64, String> {
    match text {
        "0" => Ok(0),
        _ if text.ends_with("/s") => Err(format!("`{text}` is a rate, not a size")),
        _ => parse_rate(text)
            .map(NonZeroU64::get)
            .map_err(|_| format!("`{text}` is no size; write for instance 100, 4K or 1.5GiB")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_not_utf8_are_base64_in_json_and_escaped_for_people() {
        let json = |name: &[u8]| serde_json::to_string(&FileName(name.to_vec())).unwrap();
        assert_eq!(json("größe".as_bytes()), "\"größe\"");
        assert_eq!(json(b"a\xffb"), r#"{"b64":"Yf9i"}"#);
        assert_eq!(FileName(b"a\xff\x1b[2J\nb".to_vec()).to_string(), "a\\xff\\u{1b}[2J\\nb");
    }

    #[test]
    fn times_are_rfc_3339_in_utc() {
        assert_eq!(time_of_ms(1_700_000_000_123).unwrap(), "2023-11-14T22:13:20.123Z");
        assert_eq!(time_of(Moment { seconds: 0, nanos: 0 }).unwrap(), "1970-01-01T00:00:00Z");
        assert_eq!(time_of(Moment { seconds: -1, nanos: 500_000_000 }).unwrap(), "1969-12-31T23:59:59.5Z");
        assert_eq!(time_of(Moment { seconds: i64::MAX, nanos: 0 }), None);
    }

    #[test]
    fn sizes_and_lengths_are_short() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1536, "1.5 KiB"),
            (200 << 20, "200 MiB"),
            (5 << 30, "5.0 GiB"),
            (u64::MAX, "16383 PiB"),
        ] {
            assert_eq!(size(bytes), text);
        }
        assert_eq!(length(30 * 86_400_000), "30 d");
        assert_eq!(length(90_000), "90 s");
        assert_eq!(length(1), "1 ms");
        assert_eq!(span(Duration::from_millis(1540)), "1.5 s");
        assert_eq!(span(Duration::from_secs(61)), "1 min 1 s");
    }

    #[test]
    fn durations_are_read_as_people_type_them() {
        assert_eq!(parse_duration("60s"), Ok(Duration::from_secs(60)));
        assert_eq!(parse_duration("1h30m"), Ok(Duration::from_secs(5400)));
        assert_eq!(parse_duration("500ms"), Ok(Duration::from_millis(500)));
        for bad in ["", "60", "0s", "-5s", "soon", "1y"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn rates_are_read_as_people_type_them() {
        for (text, bytes) in [
            ("1", 1),
            ("500K", 500 << 10),
            ("500k/s", 500 << 10),
            ("10MiB", 10 << 20),
            ("1.5 MB/s", 1_500_000),
            ("0.25g", 1 << 28),
        ] {
            assert_eq!(parse_rate(text).unwrap().get(), bytes, "{text}");
        }
        for bad in
            ["", "0", "0.0001", "-1M", "10 Mbit", "fast", "M", "1.", "1.2.3M", "99999999999999999999", "20000000000G"]
        {
            assert!(parse_rate(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes_are_read_as_people_type_them() {
        assert_eq!(parse_size("0"), Ok(0));
        assert_eq!(parse_size("4K"), Ok(4096));
        assert!(parse_size("4K/s").is_err());
        assert!(parse_size("big").is_err());
    }
}
