//! What people at a terminal and machines read of a run. The page with pictures is `html.rs`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use serde::Serialize;

use crate::history::{Event, Kind, Process};
use crate::verdict::{Verdict, Word};
use crate::words::{BACKUP, FAULT};

/// The last line of a run (CONTRACTS, "jepsen … run").
#[derive(Serialize)]
#[serde(tag = "type", rename = "run")]
struct Line<'a> {
    seed: u64,
    ops: usize,
    ok: usize,
    faults: usize,
    laws: BTreeMap<&'a str, Word>,
    report: String,
}

/// The machine's line.
pub fn line(events: &[Event], verdicts: &BTreeMap<&'static str, Verdict>, report: &Path) -> String {
    let of_clients = |kind| events.iter().filter(|e| e.kind == kind && matches!(e.process, Process::Client(_))).count();
    let line = Line {
        seed: events.first().map_or(0, |event| event.seed),
        ops: of_clients(Kind::Invoke),
        ok: of_clients(Kind::Ok),
        faults: events.iter().filter(|event| event.is(FAULT, Kind::Ok)).count(),
        laws: verdicts.iter().map(|(law, verdict)| (*law, verdict.word())).collect(),
        report: report.display().to_string(),
    };
    serde_json::to_string(&line).expect("a line is plain data")
}

/// The page for people: verdicts with what they rest on, outcomes, attacks with how soon a backup succeeded again.
pub fn text(events: &[Event], verdicts: &BTreeMap<&'static str, Verdict>) -> String {
    let fits = "text grows in memory";
    let mut text = String::new();
    if let Some(first) = events.first() {
        let seconds = events.last().map_or(0, |last| last.time_ns) / 1_000_000_000;
        writeln!(text, "run {} seed {}: {} events in {seconds} s\n", first.run, first.seed, events.len()).expect(fits);
    }
    for (law, verdict) in verdicts {
        match verdict {
            Verdict::Pass(figures) => writeln!(text, "{law:9} pass     {figures}").expect(fits),
            Verdict::Unknown(why) => writeln!(text, "{law:9} UNKNOWN  {why}").expect(fits),
            Verdict::Fail(evidence) => {
                writeln!(text, "{law:9} FAIL").expect(fits);
                evidence.iter().for_each(|piece| writeln!(text, "          {piece}").expect(fits));
            }
        }
    }
    writeln!(text, "\n{:10} {:>7} {:>7} {:>7}", "operation", "ok", "fail", "info").expect(fits);
    for (f, counts) in outcomes(events) {
        writeln!(text, "{f:10} {:>7} {:>7} {:>7}", counts[0], counts[1], counts[2]).expect(fits);
    }
    let again = recovery(events);
    if !again.is_empty() {
        writeln!(text, "\nfrom an attack to the end of the next backup that was begun after it and succeeded")
            .expect(fits);
        for (attack, mut seconds) in again {
            seconds.sort_by(f64::total_cmp);
            let (median, most) = (seconds[seconds.len() / 2], seconds[seconds.len() - 1]);
            writeln!(text, "{attack:10} {:>3} times, median {median:.1} s, most {most:.1} s", seconds.len())
                .expect(fits);
        }
    }
    let reasons = reasons(events);
    if !reasons.is_empty() {
        writeln!(text, "\nwhy not").expect(fits);
        for (reason, count) in reasons {
            writeln!(text, "{count:>6}  {reason}").expect(fits);
        }
    }
    text
}

/// Endings of clients by word: ok, fail, info.
pub fn outcomes(events: &[Event]) -> BTreeMap<&str, [usize; 3]> {
    let mut outcomes: BTreeMap<&str, [usize; 3]> = BTreeMap::new();
    for event in events.iter().filter(|event| matches!(event.process, Process::Client(_))) {
        let at = match event.kind {
            Kind::Invoke => continue,
            Kind::Ok => 0,
            Kind::Fail => 1,
            Kind::Info => 2,
        };
        outcomes.entry(&event.f).or_default()[at] += 1;
    }
    outcomes
}

/// Seconds from each attack to the end of the next backup that was begun after it and succeeded, by attack.
pub fn recovery(events: &[Event]) -> BTreeMap<&str, Vec<f64>> {
    let mut again: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for (at, fault) in events.iter().enumerate().filter(|(_, event)| event.is(FAULT, Kind::Invoke)) {
        let begun_later: Vec<&str> = events[at..]
            .iter()
            .filter(|event| event.is(BACKUP, Kind::Invoke))
            .filter_map(|event| event.key.as_deref())
            .collect();
        let next = events[at..].iter().find(|event| {
            event.is(BACKUP, Kind::Ok) && event.key.as_deref().is_some_and(|label| begun_later.contains(&label))
        });
        if let (Some(next), Some(attack)) = (next, fault.key.as_deref()) {
            again.entry(attack).or_default().push((next.time_ns - fault.time_ns) as f64 / 1e9);
        }
    }
    again
}

/// Errors of clients, what differs from case to case cut off, most frequent first.
pub fn reasons(events: &[Event]) -> Vec<(String, usize)> {
    let mut reasons: BTreeMap<String, usize> = BTreeMap::new();
    for event in events.iter().filter(|event| matches!(event.process, Process::Client(_))) {
        if let Some(why) = &event.error {
            let short: String = why.chars().filter(|c| !c.is_ascii_digit()).take(120).collect();
            *reasons.entry(format!("{} {:?}: {short}", event.f, event.kind)).or_default() += 1;
        }
    }
    let mut reasons: Vec<(String, usize)> = reasons.into_iter().collect();
    reasons.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    reasons.truncate(15);
    reasons
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::history::made_up::{history, operation};

    #[test]
    fn the_line_has_the_fields_of_the_contract() {
        let backup = operation(Kind::Ok, BACKUP, "l", Value::Null, Value::Null);
        let unknown = operation(Kind::Info, BACKUP, "m", Value::Null, Value::Null);
        let fault = operation(Kind::Ok, FAULT, "kill", Value::Null, Value::Null)
            .map(|event| Event { process: Process::Harness("nemesis".into()), ..event });
        let events = history([fault, backup, unknown].concat());
        let verdicts = BTreeMap::from([("I2", Verdict::Pass("x".into())), ("I6", Verdict::Unknown("y".into()))]);
        assert_eq!(
            line(&events, &verdicts, Path::new("/r")),
            r#"{"type":"run","seed":1,"ops":2,"ok":1,"faults":1,"laws":{"I2":"pass","I6":"unknown"},"report":"/r"}"#
        );
        let text = text(&events, &verdicts);
        assert!(text.contains("UNKNOWN  y") && text.contains("kill         1 times, median 3.0 s"), "{text}");
    }
}
