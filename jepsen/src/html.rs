//! The page of a run: one file that needs no other, for a browser. Verdicts with what they rest on, throughput and latency,
//! a timeline of operations and faults to zoom into, and how to run it again.
//!
//! Figures and plots are of all operations. The timeline has at most [`DRAWN_MAX`]: all that did not succeed, and of the
//! others every second, third, … ; the page says so. Where many are in view it draws how many there are.

mod plots;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde::Serialize;
use serde_json::{Value, json};

use crate::calls::{Call, calls};
use crate::history::{Event, Kind, Process};
use crate::report;
use crate::verdict::{Verdict, Word};
use crate::words::{FAULT, MEND, SKIPPED};

/// So many operations are in the timeline.
const DRAWN_MAX: usize = 60_000;
/// So many events are in the page as they stand in the history, those of evidence first.
const DETAILS_MAX: usize = 3000;
/// Longer texts in them are cut.
const DETAIL_CHARS: usize = 400;

const FITS: &str = "text grows in memory";
const STYLE: &str = include_str!("html/page.css");
const SCRIPT: &str = include_str!("html/page.js");

/// Sentences of the laws.
const LAWS: [(&str, &str); 14] = [
    ("I1", "Metadata is linearizable per name; listings and commits of several streams are strictly serializable."),
    ("I2", "An acknowledged snapshot restores byte for byte after every tolerated fault; never wrong bytes."),
    ("I3", "What is locked neither disappears nor changes before its lock is over in true time."),
    ("I4", "Locks only grow; holds dominate."),
    (
        "I5",
        "The compliance clock never runs ahead of true time, nor back; it is late only within bounds when all is well.",
    ),
    ("I6", "Nothing of one tenant ever reaches another; there is no oracle of existence."),
    ("I7", "The audit log is complete, gap-free and append-only: one leaf per decision."),
    ("I8", "A retried command takes effect once; what was seen does not flip."),
    ("I9", "What is charged is what is there; limits are never exceeded; nothing leaks from aborts."),
    ("I10", "Garbage ends."),
    ("I14", "States are equal where the same entries were applied, and never go back."),
    ("I15", "After healing everything serves within a deadline."),
    ("contract", "Every command ends in time, with a code of the contract and a result."),
    ("effect", "Every fault took effect, and clients succeeded meanwhile: else the run proves nothing."),
];

/// What the page's script reads.
#[derive(Serialize)]
struct Run<'a> {
    ms: u64,
    words: Vec<&'a str>,
    ops: Vec<(u64, i64, usize, u8, u64, u64, i64)>,
    faults: Vec<Fault<'a>>,
    details: BTreeMap<u64, Value>,
}

#[derive(Serialize)]
struct Fault<'a> {
    name: &'a str,
    node: &'a str,
    began: u64,
    ended: u64,
    mended: u64,
    ok: bool,
}

/// The page. `line` is the machine's line, which stands in it, too.
pub fn page(events: &[Event], verdicts: &BTreeMap<&'static str, Verdict>, line: &str) -> String {
    let mut words: Vec<&str> = events.iter().map(|event| event.f.as_str()).collect();
    words.sort_unstable();
    words.dedup();
    let clients = |event: &Event| matches!(event.process, Process::Client(_));
    let all: Vec<Call<'_>> = calls(events, &words).into_iter().filter(|call| clients(call.invoke)).collect();
    let end_ns = events.last().map_or(0, |last| last.time_ns);
    let faults = faults(events, end_ns);
    let (ops, words) = drawn(&all);
    let run = Run { ms: end_ns / 1_000_000, words, ops, faults, details: details(events, verdicts) };

    let mut page = String::with_capacity(1 << 20);
    let seed = events.first().map_or(0, |first| first.seed);
    let name = events.first().map_or("", |first| &first.run);
    write!(
        page,
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width\">\n\
         <title>jepsen {}</title>\n<style>\n{STYLE}</style></head>\n<body><main>\n",
        escaped(name)
    )
    .expect(FITS);
    head(&mut page, name, seed, &all, &run, verdicts);
    laws(&mut page, verdicts, events.len() as u64);
    plots::draw(&mut page, &all, &run.faults, end_ns);
    timeline(&mut page, &run, all.len());
    tables(&mut page, events);
    left_out(&mut page, events);
    again(&mut page, seed, name);
    let data = serde_json::to_string(&run).expect("a run is plain data");
    write!(
        page,
        "<script type=\"application/json\" id=\"summary\">{}</script>\n<script type=\"application/json\" id=\"run\">{}</script>\n\
         <script>\n{SCRIPT}</script>\n</main></body></html>\n",
        in_script(line),
        in_script(&data)
    )
    .expect(FITS);
    page
}

/// Text in HTML.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// JSON in a script element, which ends at the first `</`.
fn in_script(json: &str) -> String {
    json.replace("</", "<\\/").replace("<!--", "<\\u0021--")
}

fn ms(event: &Event) -> u64 {
    event.time_ns / 1_000_000
}

fn faults(events: &[Event], end_ns: u64) -> Vec<Fault<'_>> {
    let mends = calls(events, &[MEND]);
    let faults = calls(events, &[FAULT]).into_iter().map(|fault| {
        let ended = fault.end.map_or(end_ns / 1_000_000, ms);
        let mend = mends.iter().find(|mend| fault.began() < mend.began() && mend.key() == fault.key());
        let mended = mend.and_then(|mend| mend.end).map_or(ended, ms);
        let node = fault.invoke.node.as_deref().unwrap_or_default();
        Fault { name: fault.key(), node, began: ms(fault.invoke), ended, mended, ok: fault.kind() == Kind::Ok }
    });
    faults.collect()
}

/// Operations of the timeline, and the words that they are of.
#[expect(clippy::type_complexity, reason = "a row is what the script reads")]
fn drawn<'a>(all: &[Call<'a>]) -> (Vec<(u64, i64, usize, u8, u64, u64, i64)>, Vec<&'a str>) {
    let mut words: Vec<&str> = all.iter().map(|call| call.invoke.f.as_str()).collect();
    words.sort_unstable();
    words.dedup();
    let good = all.iter().filter(|call| call.kind() == Kind::Ok).count();
    let room = DRAWN_MAX.saturating_sub(all.len() - good).max(1);
    let every = good.div_ceil(room).max(1);
    let mut seen = 0_usize;
    let mut ops = Vec::new();
    for call in all {
        let outcome = match (call.kind(), call.end) {
            (Kind::Ok, _) => 0,
            (Kind::Fail, _) => 1,
            (Kind::Info | Kind::Invoke, Some(_)) => 2,
            (Kind::Info | Kind::Invoke, None) => 3,
        };
        seen += usize::from(outcome == 0);
        if DRAWN_MAX <= ops.len() || (outcome == 0 && !seen.is_multiple_of(every)) {
            continue;
        }
        let Process::Client(process) = call.invoke.process else { continue };
        let word = words.binary_search(&call.invoke.f.as_str()).expect("it is one of them");
        let (ended, end) = call.end.map_or((-1, -1), |end| (ms(end).cast_signed(), end.index.cast_signed()));
        ops.push((ms(call.invoke), ended, word, outcome, process, call.began(), end));
    }
    (ops, words)
}

/// Events that somebody may want to read: what evidence names, faults, what did not succeed.
fn details(events: &[Event], verdicts: &BTreeMap<&'static str, Verdict>) -> BTreeMap<u64, Value> {
    let mut wanted: BTreeSet<u64> = BTreeSet::new();
    for verdict in verdicts.values() {
        if let Verdict::Fail(evidence) = verdict {
            wanted.extend(evidence.iter().flat_map(|piece| named(piece)).map(|(_, index)| index));
        }
    }
    // The beginning of what is named, too.
    let begun = |index: u64| {
        let end = usize::try_from(index).ok().and_then(|at| events.get(at))?;
        let same = |event: &&Event| event.process == end.process && event.f == end.f && event.key == end.key;
        events[..usize::try_from(index).ok()?].iter().rev().find(same).map(|event| event.index)
    };
    wanted.extend(wanted.clone().into_iter().filter_map(begun));
    let others = events
        .iter()
        .filter(|event| matches!(event.process, Process::Harness(_)) || matches!(event.kind, Kind::Fail | Kind::Info));
    let room = DETAILS_MAX.saturating_sub(wanted.len());
    wanted.extend(others.take(room).map(|event| event.index));
    let detail = |index: u64| {
        let event = events.get(usize::try_from(index).ok()?)?;
        let mut detail = serde_json::to_value(event).expect("an event is plain data");
        let fields = detail.as_object_mut().expect("an event has fields");
        fields.retain(|name, value| !value.is_null() && !matches!(name.as_str(), "run" | "seed" | "wall_ns"));
        for value in fields.values_mut() {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            if DETAIL_CHARS < text.chars().count() {
                *value = json!(text.chars().take(DETAIL_CHARS).chain("…".chars()).collect::<String>());
            }
        }
        Some((index, detail))
    };
    wanted.into_iter().filter_map(detail).collect()
}

/// Where a text says `event N`, and which.
fn named(text: &str) -> Vec<(std::ops::Range<usize>, u64)> {
    let found = text.match_indices("event ").filter_map(|(at, word)| {
        let digits = text[at + word.len()..].bytes().take_while(u8::is_ascii_digit).count();
        let end = at + word.len() + digits;
        Some((at..end, text[at + word.len()..end].parse().ok()?))
    });
    found.collect()
}

fn head(
    page: &mut String,
    name: &str,
    seed: u64,
    all: &[Call<'_>],
    run: &Run<'_>,
    verdicts: &BTreeMap<&'static str, Verdict>,
) {
    let worst = verdicts.values().map(Verdict::word).max_by_key(|word| match word {
        Word::Pass => 0,
        Word::Unknown => 1,
        Word::Fail => 2,
    });
    let (word, says) = match worst {
        Some(Word::Pass) => ("pass", "Every law held, as far as this run can show."),
        Some(Word::Fail) => ("fail", "At least one law was broken."),
        Some(Word::Unknown) | None => ("unknown", "Something could not be shown, which fails the run."),
    };
    write!(
        page,
        "<h1><span class=\"word {word}\">{word}</span> Run {}</h1>\n<p class=\"soft\">{says}</p>\n<div class=\"figures\">",
        escaped(name)
    )
    .expect(FITS);
    let count = |kind| all.iter().filter(|call| call.kind() == kind).count();
    let took_effect = run.faults.iter().filter(|fault| fault.ok).count();
    let seconds = run.ms as f64 / 1000.0;
    let figures = [
        (format!("{}:{:02}", run.ms / 60_000, run.ms / 1000 % 60), "minutes"),
        (all.len().to_string(), "operations"),
        (count(Kind::Ok).to_string(), "ok"),
        (count(Kind::Fail).to_string(), "refused"),
        (count(Kind::Info).to_string(), "unknown"),
        (format!("{:.1}", count(Kind::Ok) as f64 / seconds.max(1.0)), "ok per second"),
        (format!("{took_effect} of {}", run.faults.len()), "faults took effect"),
        (seed.to_string(), "seed"),
    ];
    for (figure, what) in figures {
        write!(page, "<div class=\"figure\"><b>{figure}</b><span>{what}</span></div>").expect(FITS);
    }
    page.push_str("</div>\n");
}

fn laws(page: &mut String, verdicts: &BTreeMap<&'static str, Verdict>, events: u64) {
    page.push_str("<h2>Laws</h2>\n");
    for (law, sentence) in LAWS {
        let Some(verdict) = verdicts.get(law) else { continue };
        let word = match verdict.word() {
            Word::Pass => "pass",
            Word::Fail => "fail",
            Word::Unknown => "unknown",
        };
        write!(
            page,
            "<div class=\"law\"><b>{law}</b><span class=\"word {word}\">{word}</span><div class=\"what\">{}",
            escaped(sentence)
        )
        .expect(FITS);
        match verdict {
            Verdict::Pass(text) | Verdict::Unknown(text) => {
                write!(page, "<p class=\"soft\">{}</p>", linked(text, events)).expect(FITS);
            }
            Verdict::Fail(evidence) => {
                page.push_str("<ul>");
                evidence.iter().for_each(|piece| write!(page, "<li>{}</li>", linked(piece, events)).expect(FITS));
                page.push_str("</ul>");
            }
        }
        page.push_str("</div></div>\n");
    }
    let silent: Vec<&str> = LAWS.iter().map(|(law, _)| *law).filter(|law| !verdicts.contains_key(law)).collect();
    if !silent.is_empty() {
        writeln!(page, "<p class=\"soft\">Not part of this run: {}.</p>", silent.join(", ")).expect(FITS);
    }
}

/// Text with links to the events that it names.
fn linked(text: &str, events: u64) -> String {
    let mut linked = String::new();
    let mut at = 0;
    for (range, index) in named(text).into_iter().filter(|(_, index)| *index < events) {
        linked.push_str(&escaped(&text[at..range.start]));
        write!(linked, "<a class=\"event\" data-event=\"{index}\">event {index}</a>").expect(FITS);
        at = range.end;
    }
    linked.push_str(&escaped(&text[at..]));
    linked
}

const KEY_OUTCOMES: &str = "<span><i style=\"background:var(--ok)\"></i>ok</span>\
    <span><i style=\"background:var(--fail)\"></i>refused</span><span><i style=\"background:var(--info)\"></i>unknown</span>\
    <span><i style=\"background:var(--fault-band)\"></i>fault</span><span><i style=\"background:var(--mend-band)\"></i>until all nodes serve again</span>";
fn timeline(page: &mut String, run: &Run<'_>, all: usize) {
    let drawn = run.ops.len();
    let some = if drawn < all {
        format!("{drawn} of {all} operations: all that did not succeed, and a share of the others. ")
    } else {
        String::new()
    };
    write!(
        page,
        "<h2>Operations and faults</h2>\n<p class=\"soft\">{some}Drag to zoom, or turn the wheel with Shift or Ctrl; click an \
         operation to read it. Below: each answer by how long it took.</p>\n<div class=\"plot\"><button id=\"all\">whole run</button>\
         <div class=\"key\">{KEY_OUTCOMES}</div><canvas id=\"timeline\"></canvas><noscript>The timeline is drawn by a script.</noscript></div>\n\
         <div id=\"tip\"></div><div id=\"detail\"><button>close</button><b></b><pre></pre></div>\n"
    )
    .expect(FITS);
}

fn tables(page: &mut String, events: &[Event]) {
    page.push_str("<div class=\"tables\"><div><h2>Operations</h2><table><tr><th>word</th><th>ok</th><th>refused</th><th>unknown</th></tr>");
    for (f, counts) in report::outcomes(events) {
        write!(
            page,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            escaped(f),
            counts[0],
            counts[1],
            counts[2]
        )
        .expect(FITS);
    }
    page.push_str("</table></div>");
    let again = report::recovery(events);
    if !again.is_empty() {
        page.push_str("<div><h2>Attacks</h2><table><tr><th>attack</th><th>times</th><th>median</th><th>most</th></tr>");
        for (attack, mut seconds) in again {
            seconds.sort_by(f64::total_cmp);
            let (median, most) = (seconds[seconds.len() / 2], seconds[seconds.len() - 1]);
            let attack = escaped(attack);
            write!(
                page,
                "<tr><td>{attack}</td><td>{}</td><td>{median:.1} s</td><td>{most:.1} s</td></tr>",
                seconds.len()
            )
            .expect(FITS);
        }
        page.push_str(
            "</table><p class=\"soft\">To the end of the next backup that was begun after it and succeeded.</p></div>",
        );
    }
    let reasons = report::reasons(events);
    if !reasons.is_empty() {
        page.push_str("<div class=\"scroll\"><h2>Why not</h2><table>");
        for (reason, count) in reasons {
            write!(page, "<tr><td>{count}</td><td class=\"left mono\">{}</td></tr>", escaped(&reason)).expect(FITS);
        }
        page.push_str("</table></div>");
    }
    page.push_str("</div>\n");
}

/// Attacks that this host cannot make: nobody may think that they were made.
fn left_out(page: &mut String, events: &[Event]) {
    let skipped: BTreeMap<&str, &str> = events
        .iter()
        .filter(|event| event.f == SKIPPED)
        .filter_map(|event| Some((event.key.as_deref()?, event.error.as_deref().unwrap_or_default())))
        .collect();
    if !skipped.is_empty() {
        page.push_str("<h2>Left out on this host</h2><table>");
        for (attack, why) in skipped {
            write!(page, "<tr><td>{}</td><td class=\"left\">{}</td></tr>", escaped(attack), escaped(why)).expect(FITS);
        }
        page.push_str("</table>\n");
    }
}

fn again(page: &mut String, seed: u64, name: &str) {
    write!(
        page,
        "<h2>Again</h2>\n<pre>cargo run --release -p strongroom-jepsen -- run --seed {seed}      # the same choices; timing is real\n\
         cargo run --release -p strongroom-jepsen -- judge {0}/history.jsonl\n\
         cargo run --release -p strongroom-jepsen -- export {0}/history.jsonl --edn history.edn --porcupine operations.json</pre>\n\
         <p class=\"soft\">Beside this page: <code>history.jsonl</code>, <code>report.txt</code>, <code>nodes.log</code>, \
         <code>transcript-*.log</code>, <code>metrics.txt</code>.</p>\n",
        escaped(name)
    )
    .expect(FITS);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::made_up::{event, history};

    fn client(process: u64, event: Event) -> Event {
        Event { process: Process::Client(process), ..event }
    }

    fn harness(event: Event) -> Event {
        Event { process: Process::Harness("nemesis".into()), node: Some("north-1".into()), ..event }
    }

    fn verdicts() -> BTreeMap<&'static str, Verdict> {
        BTreeMap::from([
            ("I2", Verdict::Fail(vec!["event 3: <label> came back as other bytes".into()])),
            ("I6", Verdict::Unknown("not searched".into())),
            ("effect", Verdict::Pass("1 faults took effect".into())),
        ])
    }

    fn some() -> Vec<Event> {
        let nothing = Value::Null;
        let skipped = event(Kind::Info, SKIPPED, "slow-disk", nothing.clone(), nothing.clone());
        let skipped = harness(Event { error: Some("no strace".into()), ..skipped });
        history([
            client(1, event(Kind::Invoke, "backup", "a</script>", json!({"digest": "d"}), nothing.clone())),
            harness(event(Kind::Invoke, FAULT, "kill", nothing.clone(), nothing.clone())),
            client(2, event(Kind::Invoke, "restore", "a", nothing.clone(), nothing.clone())),
            client(2, event(Kind::Ok, "restore", "a", nothing.clone(), json!({"digest": "e"}))),
            harness(event(Kind::Ok, FAULT, "kill", nothing.clone(), nothing.clone())),
            harness(event(Kind::Invoke, MEND, "kill", nothing.clone(), nothing.clone())),
            harness(event(Kind::Ok, MEND, "kill", nothing.clone(), nothing.clone())),
            client(1, event(Kind::Info, "backup", "a</script>", json!({"digest": "d"}), nothing)),
            skipped,
        ])
    }

    /// What stands in a script element.
    fn script<'a>(page: &'a str, id: &str) -> &'a str {
        let begin = format!("<script type=\"application/json\" id=\"{id}\">");
        let (_, rest) = page.split_once(&begin).unwrap();
        rest.split_once("</script>").unwrap().0
    }

    #[test]
    fn the_page_needs_no_other_file_and_its_data_can_be_read() {
        let page = page(&some(), &verdicts(), r#"{"type":"run"}"#);
        for outside in ["http:", "https:", "src=", "<link", "@import", "url("] {
            assert!(!page.contains(outside), "{outside}");
        }
        assert_eq!(serde_json::from_str::<Value>(script(&page, "summary")).unwrap(), json!({"type": "run"}));
        let run: Value = serde_json::from_str(script(&page, "run")).unwrap();
        assert_eq!(run["words"], json!(["backup", "restore"]));
        assert_eq!(run["ops"], json!([[0, 7000, 0, 2, 1, 0, 7], [2000, 3000, 1, 0, 2, 2, 3]]));
        let fault =
            json!({"name": "kill", "node": "north-1", "began": 1000, "ended": 4000, "mended": 6000, "ok": true});
        assert_eq!(run["faults"], json!([fault]));
        let indexes: Vec<&String> = run["details"].as_object().unwrap().keys().collect();
        assert_eq!(
            indexes,
            ["1", "2", "3", "4", "5", "6", "7", "8"],
            "what evidence names and its beginning, faults, unknown"
        );
        assert_eq!(run["details"]["7"]["key"], "a</script>");
    }

    #[test]
    fn verdicts_stand_in_it_with_links_to_events_and_nothing_unescaped() {
        let page = page(&some(), &verdicts(), "{}");
        assert!(page.contains("<span class=\"word fail\">fail</span> Run made-up"));
        assert!(page.contains("<a class=\"event\" data-event=\"3\">event 3</a>: &lt;label&gt; came back"));
        assert!(page.contains("<td>slow-disk</td><td class=\"left\">no strace</td>"));
        assert!(page.contains("not searched") && page.contains("1 faults took effect"));
        assert!(page.contains("Not part of this run: I1, I3, I4, I5, I7, I8, I9, I10, I14, I15, contract."));
        assert_eq!(linked("event 9: x", 9), "event 9: x", "there is no such event");
    }

    #[test]
    fn of_many_operations_all_that_failed_are_drawn_and_a_share_of_the_rest() {
        let count = 100_000;
        let events = history((0..count).flat_map(|number| {
            let kind = if number % 1000 == 0 { Kind::Fail } else { Kind::Ok };
            let of = |kind| client(number, event(kind, "ls", "a", Value::Null, Value::Null));
            [of(Kind::Invoke), of(kind)]
        }));
        let all = calls(&events, &["ls"]);
        let (ops, _) = drawn(&all);
        assert!((DRAWN_MAX / 3..=DRAWN_MAX).contains(&ops.len()), "{}", ops.len());
        assert_eq!(ops.iter().filter(|op| op.3 == 1).count(), 100);
        let page = page(&events, &verdicts(), "{}");
        assert!(page.contains(&format!("{} of {count} operations", ops.len())));
        assert!(page.len() < 5_000_000, "{} bytes", page.len());
    }
}
