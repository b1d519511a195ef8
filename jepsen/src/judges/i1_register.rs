//! I1, registers: what is read, written and swapped is linearizable, register by register; a call whose outcome nobody
//! knows may take effect at any time after its beginning, once, or never.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value;

use crate::calls::{Call, calls};
use crate::history::{Event, Kind};
use crate::judges::linear::{Action, Found, NOTHING, Op, search};
use crate::verdict::Verdict;
use crate::words::{CAS, READ, WRITE};

/// Its words.
pub const WORDS: [&str; 3] = [READ, WRITE, CAS];

/// Judges the history.
pub fn judge(events: &[Event]) -> Verdict {
    let mut registers: BTreeMap<(&str, &str), Vec<Call<'_>>> = BTreeMap::new();
    for call in calls(events, &WORDS) {
        registers.entry((call.tenant(), call.key())).or_default().push(call);
    }
    let (mut evidence, mut gave_up) = (Vec::new(), Vec::new());
    let (mut judged, mut most) = (0, 0);
    for ((tenant, key), calls) in &registers {
        let mut values = Values::default();
        let (ops, of): (Vec<Op>, Vec<&Call<'_>>) =
            calls.iter().filter_map(|call| Some((values.op(call)?, call))).unzip();
        judged += ops.len();
        match search(&ops) {
            Found::Linearizable(possibilities) => most = most.max(possibilities),
            Found::GaveUp(why) => gave_up.push(format!("register {key} of {tenant}: {why}")),
            Found::Stuck(at, states) => {
                let call = of[at];
                let states: Vec<String> = states.iter().map(|state| values.state(*state)).collect();
                evidence.push(format!(
                    "register {key} of {tenant}: {}, {}, is possible in no order; before it ended the register held {}",
                    call.name(),
                    said(call),
                    states.join(" or ")
                ));
            }
        }
    }
    if evidence.is_empty() {
        if !gave_up.is_empty() {
            return Verdict::Unknown(gave_up.join("; "));
        }
        let done = |f: &[&str]| events.iter().any(|event| f.contains(&event.f.as_str()) && event.kind == Kind::Ok);
        if !done(&[READ]) || !done(&[WRITE, CAS]) {
            return Verdict::Unknown("registers: nothing was written, or nothing was read".to_owned());
        }
    }
    let figures = format!("{judged} calls on {} registers linearizable, {most} possibilities at most", registers.len());
    Verdict::from_evidence(evidence, figures)
}

fn said(call: &Call<'_>) -> String {
    let argument = &call.invoke.argument;
    let value = call.end.map_or(&Value::Null, |end| &end.value["value"]);
    match call.invoke.f.as_str() {
        READ => format!("a read of {value}"),
        CAS => format!("a swap of {} for {}", argument["from"], argument["value"]),
        _ => format!("a write of {}", argument["value"]),
    }
}

/// Values as numbers.
#[derive(Default)]
struct Values {
    numbers: HashMap<String, u32>,
    names: Vec<String>,
}

impl Values {
    fn number(&mut self, value: &Value) -> u32 {
        if value.is_null() {
            return NOTHING;
        }
        let name = value.to_string();
        if let Some(number) = self.numbers.get(&name) {
            return *number;
        }
        self.names.push(name.clone());
        let number = u32::try_from(self.names.len()).expect("a history has fewer values");
        self.numbers.insert(name, number);
        number
    }

    fn state(&self, (value, version): (u32, Option<u64>)) -> String {
        let at = (value as usize).checked_sub(1);
        let value = at.map_or("null", |at| self.names.get(at).map_or("something unseen", String::as_str));
        version.map_or_else(|| value.to_owned(), |version| format!("{value} (version {version})"))
    }

    /// What a call does; nothing where it was surely not done, or a read that nobody answered.
    fn op(&mut self, call: &Call<'_>) -> Option<Op> {
        if call.is_refused() {
            return None;
        }
        let argument = &call.invoke.argument;
        let action = match call.invoke.f.as_str() {
            READ => Action::Read(self.number(&call.done()?.value["value"])),
            WRITE => Action::Write(self.number(&argument["value"])),
            _ => Action::Cas(self.number(&argument["from"]), self.number(&argument["value"])),
        };
        let done = call.done();
        // An ending without a beginning has one index for both.
        let (began, ended) = (call.began() * 2, done.map(|end| end.index * 2 + 1));
        Some(Op { began, ended, action, version: done.and_then(|end| end.version) })
    }
}
