//! Whether the run can prove anything: every fault took effect, there were some, and clients succeeded, also during
//! faults that leave a majority.

use crate::history::{Event, Kind, Process};
use crate::verdict::Verdict;
use crate::words::{FAULT, MEND};

/// The attack after which nobody can answer.
const TOTAL: &str = "all";

/// Judges the run.
pub fn judge(events: &[Event]) -> Verdict {
    let faults = events.iter().filter(|event| event.is(FAULT, Kind::Ok)).count();
    let mut evidence: Vec<String> = events
        .iter()
        .filter(|event| event.is(FAULT, Kind::Fail) || event.is(FAULT, Kind::Info))
        .map(|event| {
            let why = event.error.as_deref().unwrap_or("no reason");
            format!("event {}: the attack had no effect: {why}", event.index)
        })
        .collect();
    if faults == 0 {
        evidence.push("no fault took effect".to_owned());
    }
    let (mut under_fault, mut tolerable) = (false, 0);
    let (mut succeeded, mut meanwhile) = (0, 0);
    for event in events {
        match (event.f.as_str(), event.kind, &event.process) {
            (FAULT, Kind::Invoke, _) => {
                let takes_all = event.argument["takes_all"] == true || event.key.as_deref() == Some(TOTAL);
                under_fault = !takes_all;
                tolerable += usize::from(under_fault);
            }
            (MEND, Kind::Invoke, _) => under_fault = false,
            (_, Kind::Ok, Process::Client(_)) => {
                succeeded += 1;
                meanwhile += usize::from(under_fault);
            }
            _ => {}
        }
    }
    if succeeded == 0 {
        evidence.push("no client succeeded with anything".to_owned());
    }
    if 0 < tolerable && meanwhile == 0 {
        evidence.push("no client succeeded during any fault that leaves a majority".to_owned());
    }
    Verdict::from_evidence(
        evidence,
        format!("{faults} faults took effect, {meanwhile} of {succeeded} successes meanwhile"),
    )
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::history::made_up::{event, history};

    fn harness(kind: Kind, f: &str, key: &str) -> Event {
        Event { process: Process::Harness("nemesis".into()), ..event(kind, f, key, Value::Null, Value::Null) }
    }

    fn run(fault: &str, ends: Kind, client: Kind) -> bool {
        judge(&history([
            harness(Kind::Invoke, FAULT, fault),
            event(client, "backup", "l", Value::Null, Value::Null),
            harness(ends, FAULT, fault),
            harness(Kind::Invoke, MEND, fault),
            harness(Kind::Ok, MEND, fault),
            event(Kind::Ok, "restore", "l", Value::Null, Value::Null),
        ]))
        .is_pass()
    }

    #[test]
    fn a_run_counts_if_its_faults_took_effect_and_clients_succeeded_meanwhile() {
        assert!(run("kill", Kind::Ok, Kind::Ok));
        assert!(run("all", Kind::Ok, Kind::Info), "nobody can answer when all nodes are gone");
        assert!(!run("kill", Kind::Ok, Kind::Info), "nothing succeeded under the fault");
        assert!(!run("kill", Kind::Fail, Kind::Ok), "the fault had no effect");
        assert!(!judge(&[]).is_pass());
    }
}
