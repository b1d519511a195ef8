//! Judges: each a pure function over a history, one law, one file.
//!
//! Promises: what a judge cannot tell is `unknown`, and that fails the run; the harness's own word is not believed
//! where the history can show the thing itself.

mod contract;
mod effect;
mod i15_serves;
mod i2_bytes;
mod i6_tenants;
mod i8_once;

use std::collections::BTreeMap;

use crate::history::Event;
use crate::verdict::Verdict;

/// What every judge says, by law. Where the run itself is void, no law has passed.
pub fn judge(events: &[Event]) -> BTreeMap<&'static str, Verdict> {
    let mut verdicts = BTreeMap::from([
        ("I2", i2_bytes::judge(events)),
        ("I6", i6_tenants::judge(events)),
        ("I8", i8_once::judge(events)),
        ("I15", i15_serves::judge(events)),
        ("contract", contract::judge(events)),
    ]);
    let effect = effect::judge(events);
    if !effect.is_pass() {
        for verdict in verdicts.values_mut().filter(|verdict| verdict.is_pass()) {
            *verdict = Verdict::Unknown("the run is void (see effect): passing it proves nothing".to_owned());
        }
    }
    verdicts.insert("effect", effect);
    verdicts
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::history::Kind;
    use crate::history::made_up::{history, operation};

    #[test]
    fn a_run_without_a_fault_passes_no_law() {
        let quiet = history(
            [
                operation(Kind::Ok, "backup", "l", json!({"digest": "d"}), json!({"snapshot": "s"})),
                operation(Kind::Ok, "restore", "l", json!({"snapshot": "s", "final": true}), json!({"digest": "d"})),
                operation(Kind::Ok, "list", "v", json!({"final": true}), json!({"labels": {"l": ["s"]}})),
            ]
            .concat(),
        );
        assert!(i2_bytes::judge(&quiet).is_pass() && i8_once::judge(&quiet).is_pass());
        assert!(judge(&quiet).values().all(|verdict| !verdict.is_pass()));
        assert!(judge(&history(operation(Kind::Ok, "ls", "l", Value::Null, Value::Null))).len() == 6);
    }
}
