//! The contract of the command line: every command ends in time, with a code that it may have, and its last line is
//! its result. A crash of the client is found here.

use crate::client::AGAINST_CONTRACT;
use crate::history::{Event, Process};
use crate::verdict::Verdict;

/// Judges the history.
pub fn judge(events: &[Event]) -> Verdict {
    let of_clients = || events.iter().filter(|event| matches!(event.process, Process::Client(_)));
    let broken = of_clients().filter(|event| event.error.as_deref().is_some_and(|why| why.contains(AGAINST_CONTRACT)));
    let evidence = broken
        .map(|event| format!("event {}: {}: {}", event.index, event.f, event.error.as_deref().unwrap_or_default()));
    let evidence: Vec<String> = evidence.collect();
    if of_clients().next().is_none() {
        return Verdict::Unknown("no command was run".to_owned());
    }
    Verdict::from_evidence(evidence, format!("{} answers", of_clients().count() / 2))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::history::Kind;
    use crate::history::made_up::{event, history};
    use crate::verdict::Word;

    #[test]
    fn a_crashed_client_is_caught_and_an_unknown_outcome_is_not_a_crash() {
        let ends = |error: &str| {
            let info = event(Kind::Info, "backup", "l", Value::Null, Value::Null);
            judge(&history([Event { error: Some(error.into()), ..info }])).word()
        };
        assert_eq!(ends("UNAVAILABLE/DEADLINE: x"), Word::Pass);
        assert_eq!(ends(&format!("{AGAINST_CONTRACT}it ended with 101")), Word::Fail);
        assert_eq!(judge(&[]).word(), Word::Unknown);
    }
}
