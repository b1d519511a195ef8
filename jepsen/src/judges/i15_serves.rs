//! I15: after healing, every shard serves reads and writes within a deadline; and so did every node that was brought
//! back during the run.
//!
//! Looked at: each node ready by its own word, a leader in each shard, a backup and its restore for each tenant.
//! Not looked at here: redundancy, which returns with the repair that is not built yet.

use std::collections::BTreeSet;

use crate::history::{Event, Kind};
use crate::verdict::Verdict;
use crate::words::{HEALED, LED, MEND, READY, SERVES};

/// Judges the history.
pub fn judge(events: &[Event]) -> Verdict {
    let Some(healed) = events.iter().find(|event| event.is(HEALED, Kind::Ok)) else {
        return Verdict::Unknown("the cluster was never healed".to_owned());
    };
    let names = |what: &str| -> BTreeSet<&str> {
        healed.value[what].as_array().into_iter().flatten().filter_map(serde_json::Value::as_str).collect()
    };
    let (nodes, tenants) = (names("nodes"), names("tenants"));
    let Some(deadline_s) = healed.value["deadline_s"].as_u64().filter(|_| !nodes.is_empty() && !tenants.is_empty())
    else {
        return Verdict::Unknown("it is not said who must serve, and when".to_owned());
    };
    let mut evidence = Vec::new();
    let mut slowest = 0.0_f64;
    let mut must = |f: &str, key: Option<&str>, what: String| {
        let ok = events.iter().find(|event| {
            healed.index < event.index && event.is(f, Kind::Ok) && (key.is_none() || event.key.as_deref() == key)
        });
        let Some(ok) = ok else {
            evidence.push(format!("{what}: not within {deadline_s} s, or never"));
            return;
        };
        let seconds = ok.time_ns.saturating_sub(healed.time_ns) as f64 / 1e9;
        slowest = slowest.max(seconds);
        if deadline_s as f64 <= seconds {
            evidence.push(format!("{what}: only after {seconds:.1} s, not within {deadline_s} s"));
        }
    };
    for node in &nodes {
        must(READY, Some(node), format!("node {node} is ready"));
    }
    must(LED, None, "every shard has a leader".to_owned());
    for tenant in &tenants {
        must(SERVES, Some(tenant), format!("{tenant} backs up and restores"));
    }
    let mended = events.iter().filter(|event| event.is(MEND, Kind::Ok)).count();
    for event in events.iter().filter(|event| event.is(MEND, Kind::Fail)) {
        let why = event.error.as_deref().unwrap_or("no reason");
        evidence.push(format!("event {}: after an attack: {why}", event.index));
    }
    Verdict::from_evidence(evidence, format!("all serve {slowest:.1} s after healing; {mended} times before"))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::history::made_up::{history, operation};
    use crate::verdict::Word;

    fn healed() -> [Event; 2] {
        operation(Kind::Ok, HEALED, "all", Value::Null, json!({"nodes": ["n1"], "tenants": ["acme"], "deadline_s": 20}))
    }

    fn ok(f: &str, key: &str) -> [Event; 2] {
        operation(Kind::Ok, f, key, Value::Null, Value::Null)
    }

    fn word(events: &[[Event; 2]]) -> Word {
        judge(&history(events.concat())).word()
    }

    #[test]
    fn all_in_time_passes() {
        assert_eq!(
            word(&[ok(MEND, "kill"), healed(), ok(READY, "n1"), ok(LED, "all"), ok(SERVES, "acme")]),
            Word::Pass
        );
    }

    #[test]
    fn whoever_does_not_serve_is_caught() {
        for missing in 1..4 {
            let mut events = vec![healed(), ok(READY, "n1"), ok(LED, "all"), ok(SERVES, "acme")];
            events.remove(missing);
            assert_eq!(word(&events), Word::Fail, "{missing}");
        }
        let before = [ok(READY, "n1"), ok(LED, "all"), ok(SERVES, "acme"), healed()];
        assert_eq!(word(&before), Word::Fail, "what served before it was healed does not count");
    }

    #[test]
    fn a_second_too_late_is_caught() {
        let events = |waits: usize| {
            let mut events = vec![healed(), ok(READY, "n1"), ok(LED, "all")];
            events.extend((0..waits).map(|_| ok("other", "x")));
            events.push(ok(SERVES, "acme"));
            word(&events)
        };
        // Two events, a second each, per operation; acme serves 6 + 2 · waits seconds after healing.
        assert_eq!(events(6), Word::Pass);
        assert_eq!(events(7), Word::Fail);
    }

    #[test]
    fn a_node_that_did_not_come_back_is_caught_and_a_run_that_never_healed_is_unknown() {
        let late = operation(Kind::Fail, MEND, "kill", Value::Null, Value::Null);
        assert_eq!(word(&[late, healed(), ok(READY, "n1"), ok(LED, "all"), ok(SERVES, "acme")]), Word::Fail);
        assert_eq!(word(&[ok(READY, "n1")]), Word::Unknown);
    }
}
