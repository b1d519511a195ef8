//! Histories for other people's checkers: Jepsen's EDN and Porcupine's list of operations.
//!
//! **EDN** (`history.edn`): one map a line, in the order of the history, with `:index :time :process :type :f :value` as
//! Jepsen has them: clients are numbers, what the harness does is `:nemesis` and always `:info`. `:value` is what Jepsen's
//! checkers expect of the word: `["TENANT/REGISTER" v]` for registers (`jepsen.independent`), transactions of `:append` and
//! `:r` for lists (Elle; `:f` is `:txn`), the element or all elements for sets. Everything else of the event is there as
//! well: `:argument`, `:answer`, `:key`, `:tenant`, `:node`, `:version`, `:error`.
//!
//! **Porcupine**: a JSON array of `{"ClientId", "Input", "Call", "Output", "Return"}`, the fields of `porcupine.Operation`;
//! times in nanoseconds since the run began. What was surely not done is left out. What nobody knows of returns after
//! everything else, with `"unknown": true` in its output: a model lets it take effect or not.
//!
//! Elements whose order is not known (inner arrays of `lists`) stand in some order in both.

use std::fmt::Write as _;

use serde::Serialize;
use serde_json::{Value, json};

use crate::calls::calls;
use crate::history::{Event, Kind, Process};
use crate::words::{ADD, APPEND, CAS, ELEMENTS, LISTS, READ, WRITE};

const FITS: &str = "text grows in memory";

/// Jepsen's history.
pub fn edn(events: &[Event]) -> String {
    let mut text = String::new();
    // What a read of lists named is known at its end, and said at its beginning, too.
    let lists = calls(events, &[LISTS]);
    let named = |event: &Event| lists.iter().find(|call| call.invoke.index == event.index).and_then(|call| call.done());
    for event in events {
        let (process, kind) = match (&event.process, event.kind) {
            (Process::Client(number), Kind::Invoke) => (number.to_string(), ":invoke"),
            (Process::Client(number), Kind::Ok) => (number.to_string(), ":ok"),
            (Process::Client(number), Kind::Fail) => (number.to_string(), ":fail"),
            (Process::Client(number), Kind::Info) => (number.to_string(), ":info"),
            (Process::Harness(_), _) => (":nemesis".to_owned(), ":info"),
        };
        let f = if matches!(event.f.as_str(), APPEND | LISTS) { "txn" } else { &event.f };
        let answer = if event.f == LISTS && event.kind == Kind::Invoke { named(event) } else { None };
        write!(
            text,
            "{{:index {}, :time {}, :process {process}, :type {kind}, :f :{f}, :value {}",
            event.index,
            event.time_ns,
            value(event, answer)
        )
        .expect(FITS);
        for (name, what) in
            [("key", &event.key), ("tenant", &event.tenant), ("node", &event.node), ("error", &event.error)]
        {
            if let Some(what) = what {
                write!(text, ", :{name} {}", of_json(&json!(what))).expect(FITS);
            }
        }
        if let Some(version) = event.version {
            write!(text, ", :version {version}").expect(FITS);
        }
        for (name, what) in [("argument", &event.argument), ("answer", &event.value)] {
            if !what.is_null() {
                write!(text, ", :{name} {}", of_json(what)).expect(FITS);
            }
        }
        text.push_str("}\n");
    }
    text
}

/// What Jepsen's checkers look at.
fn value(event: &Event, answer: Option<&Event>) -> String {
    let tenant = event.tenant.as_deref().unwrap_or_default();
    let of = |name: &str| of_json(&json!(format!("{tenant}/{name}")));
    let key = event.key.as_deref().unwrap_or_default();
    let argument = |name: &str| of_json(&event.argument[name]);
    match event.f.as_str() {
        READ => format!("[{} {}]", of(key), of_json(&event.value["value"])),
        WRITE => format!("[{} {}]", of(key), argument("value")),
        CAS => format!("[{} [{} {}]]", of(key), argument("from"), argument("value")),
        ADD => argument("element"),
        ELEMENTS => of_json(&event.value["elements"]),
        APPEND => {
            let lists = event.argument["elements"].as_object().into_iter().flatten();
            let appends = lists.flat_map(|(list, elements)| {
                let elements = elements.as_array().map_or(std::slice::from_ref(elements), Vec::as_slice);
                elements.iter().map(move |element| (list, element))
            });
            let appends = appends.map(|(list, element)| format!("[:append {} {}]", of(list), of_json(element)));
            format!("[{}]", appends.collect::<Vec<_>>().join(" "))
        }
        LISTS => {
            let is_end = event.kind == Kind::Ok;
            let lists = answer.unwrap_or(event).value["lists"].as_object().into_iter().flatten();
            let reads = lists.map(|(list, elements)| {
                let elements = elements.as_array().into_iter().flatten();
                let flat =
                    elements.flat_map(|group| group.as_array().map_or(std::slice::from_ref(group), Vec::as_slice));
                let read = Value::Array(flat.cloned().collect());
                format!("[:r {} {}]", of(list), if is_end { of_json(&read) } else { "nil".to_owned() })
            });
            format!("[{}]", reads.collect::<Vec<_>>().join(" "))
        }
        _ => of_json(if event.kind == Kind::Ok { &event.value } else { &event.argument }),
    }
}

/// JSON as EDN: names in objects stay text, since not every text is a keyword.
fn of_json(value: &Value) -> String {
    match value {
        Value::Null => "nil".to_owned(),
        Value::Bool(bool) => bool.to_string(),
        // A long in Clojure ends at 2^63 - 1.
        Value::Number(number) if number.as_u64().is_some_and(|number| i64::MAX as u64 <= number) => {
            format!("{number}N")
        }
        Value::Number(number) => number.to_string(),
        // The escapes of JSON text are EDN's, too.
        Value::String(_) => value.to_string(),
        Value::Array(values) => format!("[{}]", values.iter().map(of_json).collect::<Vec<_>>().join(" ")),
        Value::Object(fields) => {
            let fields = fields.iter().map(|(name, value)| format!("{} {}", of_json(&json!(name)), of_json(value)));
            format!("{{{}}}", fields.collect::<Vec<_>>().join(", "))
        }
    }
}

/// As Go reads it.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Operation {
    client_id: u64,
    input: Value,
    call: u64,
    output: Value,
    #[serde(rename = "Return")]
    returned: u64,
}

/// Porcupine's operations.
pub fn porcupine(events: &[Event]) -> String {
    let mut words: Vec<&str> = events.iter().map(|event| event.f.as_str()).collect();
    words.sort_unstable();
    words.dedup();
    let after_all = events.last().map_or(0, |last| last.time_ns) + 1;
    let operations = calls(events, &words).into_iter().filter_map(|call| {
        let Process::Client(client_id) = call.invoke.process else { return None };
        if call.is_refused() {
            return None;
        }
        let input = json!({
            "f": call.invoke.f, "tenant": call.invoke.tenant, "key": call.invoke.key, "argument": call.invoke.argument
        });
        let (output, returned) = match call.done() {
            Some(end) => (json!({"unknown": false, "value": end.value, "version": end.version}), end.time_ns),
            None => (json!({"unknown": true, "value": null, "version": null}), after_all),
        };
        Some(Operation { client_id, input, call: call.invoke.time_ns, output, returned })
    });
    let lines: Vec<String> =
        operations.map(|one| serde_json::to_string(&one).expect("an operation is plain data")).collect();
    format!("[{}]\n", lines.join(",\n "))
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::history::made_up::{event, history};

    fn client(number: u64, event: Event) -> Event {
        Event { process: Process::Client(number), ..event }
    }

    /// A register, lists, a set, a fault; one unknown, one refused.
    fn some() -> Vec<Event> {
        let nothing = Value::Null;
        let of = |number, kind, f: &str, key: &str, argument: &Value, value: &Value| {
            client(number, event(kind, f, key, argument.clone(), value.clone()))
        };
        let (one, swap) = (json!({"value": 1}), json!({"from": 1, "value": "zwei \"2\"\n"}));
        let append = json!({"elements": {"a": "a1", "b": ["b1", "b2"]}});
        let mut events = vec![
            of(0, Kind::Invoke, WRITE, "r", &one, &nothing),
            Event { version: Some(4), ..of(0, Kind::Ok, WRITE, "r", &one, &nothing) },
            of(0, Kind::Invoke, CAS, "r", &swap, &nothing),
            of(1, Kind::Invoke, READ, "r", &nothing, &nothing),
            of(1, Kind::Ok, READ, "r", &nothing, &json!({"value": 1})),
            Event { error: Some("nobody answered".into()), ..of(0, Kind::Info, CAS, "r", &swap, &nothing) },
            of(2, Kind::Invoke, APPEND, "-", &append, &nothing),
            of(2, Kind::Ok, APPEND, "-", &append, &nothing),
            of(2, Kind::Invoke, LISTS, "-", &nothing, &nothing),
            of(2, Kind::Ok, LISTS, "-", &nothing, &json!({"lists": {"a": ["a1"], "b": [["b1", "b2"]]}})),
            of(3, Kind::Invoke, ADD, "s", &json!({"element": "e"}), &nothing),
            Event { error: Some("no".into()), ..of(3, Kind::Fail, ADD, "s", &json!({"element": "e"}), &nothing) },
            of(3, Kind::Invoke, ELEMENTS, "s", &nothing, &nothing),
            of(3, Kind::Ok, ELEMENTS, "s", &nothing, &json!({"elements": []})),
        ];
        let fault = event(Kind::Ok, "fault", "kill", nothing, json!({"held_ms": 1.5, "big": u64::MAX}));
        events.push(Event { process: Process::Harness("nemesis".into()), tenant: None, ..fault });
        history(events)
    }

    #[test]
    fn edn_has_what_jepsens_checkers_expect() {
        let text = edn(&some());
        let lines: Vec<&str> = text.lines().collect();
        let golden = [
            (
                1,
                r#"{:index 1, :time 1000000000, :process 0, :type :ok, :f :write, :value ["acme/r" 1], :key "r", :tenant "acme", :version 4, :argument {"value" 1}}"#,
            ),
            (
                3,
                r#"{:index 3, :time 3000000000, :process 1, :type :invoke, :f :read, :value ["acme/r" nil], :key "r", :tenant "acme"}"#,
            ),
            (
                5,
                r#"{:index 5, :time 5000000000, :process 0, :type :info, :f :cas, :value ["acme/r" [1 "zwei \"2\"\n"]], :key "r", :tenant "acme", :error "nobody answered", :argument {"from" 1, "value" "zwei \"2\"\n"}}"#,
            ),
            (
                7,
                r#"{:index 7, :time 7000000000, :process 2, :type :ok, :f :txn, :value [[:append "acme/a" "a1"] [:append "acme/b" "b1"] [:append "acme/b" "b2"]], :key "-", :tenant "acme", :argument {"elements" {"a" "a1", "b" ["b1" "b2"]}}}"#,
            ),
            (
                8,
                r#"{:index 8, :time 8000000000, :process 2, :type :invoke, :f :txn, :value [[:r "acme/a" nil] [:r "acme/b" nil]], :key "-", :tenant "acme"}"#,
            ),
            (
                9,
                r#"{:index 9, :time 9000000000, :process 2, :type :ok, :f :txn, :value [[:r "acme/a" ["a1"]] [:r "acme/b" ["b1" "b2"]]], :key "-", :tenant "acme", :answer {"lists" {"a" ["a1"], "b" [["b1" "b2"]]}}}"#,
            ),
            (
                11,
                r#"{:index 11, :time 11000000000, :process 3, :type :fail, :f :add, :value "e", :key "s", :tenant "acme", :error "no", :argument {"element" "e"}}"#,
            ),
            (
                13,
                r#"{:index 13, :time 13000000000, :process 3, :type :ok, :f :elements, :value [], :key "s", :tenant "acme", :answer {"elements" []}}"#,
            ),
            (
                14,
                r#"{:index 14, :time 14000000000, :process :nemesis, :type :info, :f :fault, :value {"big" 18446744073709551615N, "held_ms" 1.5}, :key "kill", :answer {"big" 18446744073709551615N, "held_ms" 1.5}}"#,
            ),
        ];
        for (at, expected) in golden {
            assert_eq!(lines[at], expected);
        }
        assert_eq!(lines.len(), some().len());
    }

    #[test]
    fn edn_read_again_has_every_event_with_its_argument_and_answer() {
        let events = some();
        for (line, event) in edn(&events).lines().zip(&events) {
            let mut rest = line;
            let read = reader(&mut rest);
            assert_eq!(rest, "");
            assert_eq!(read[":index"], json!(event.index));
            assert_eq!(read[":time"], json!(event.time_ns));
            assert_eq!(read[":key"], json!(event.key));
            assert_eq!(read[":argument"], event.argument);
            assert_eq!(read[":answer"], event.value);
            assert_eq!(read[":error"], json!(event.error));
            assert_eq!(read[":version"], json!(event.version));
        }
    }

    /// As much of EDN as is written here; keywords are text with their colon.
    pub fn reader(rest: &mut &str) -> Value {
        let skip = |rest: &mut &str| *rest = rest.trim_start_matches([' ', ',']);
        skip(rest);
        let first = rest.chars().next().unwrap();
        match first {
            '[' => {
                *rest = &rest[1..];
                let mut values = Vec::new();
                loop {
                    skip(rest);
                    if let Some(after) = rest.strip_prefix(']') {
                        *rest = after;
                        return Value::Array(values);
                    }
                    values.push(reader(rest));
                }
            }
            '{' => {
                *rest = &rest[1..];
                let mut fields = serde_json::Map::new();
                loop {
                    skip(rest);
                    if let Some(after) = rest.strip_prefix('}') {
                        *rest = after;
                        return Value::Object(fields);
                    }
                    let name = reader(rest).as_str().unwrap().to_owned();
                    fields.insert(name, reader(rest));
                }
            }
            '"' => {
                let mut values = serde_json::Deserializer::from_str(rest).into_iter::<Value>();
                let text = values.next().unwrap().unwrap();
                *rest = &rest[values.byte_offset()..];
                text
            }
            _ => {
                let end = rest.find([' ', ',', ']', '}']).unwrap_or(rest.len());
                let word = rest[..end].trim_end_matches('N');
                *rest = &rest[end..];
                match word {
                    "nil" => Value::Null,
                    keyword if keyword.starts_with(':') => json!(keyword),
                    plain => serde_json::from_str(plain).unwrap(),
                }
            }
        }
    }

    #[test]
    fn porcupine_gets_calls_with_their_returns_and_the_unknown_at_the_end() {
        let text = porcupine(&some());
        let operations: Vec<Value> = serde_json::from_str(&text).unwrap();
        assert_eq!(
            text.lines().next().unwrap(),
            r#"[{"ClientId":0,"Input":{"argument":{"value":1},"f":"write","key":"r","tenant":"acme"},"Call":0,"Output":{"unknown":false,"value":null,"version":4},"Return":1000000000},"#
        );
        let (unknown, rest): (Vec<&Value>, Vec<&Value>) =
            operations.iter().partition(|operation| operation["Output"]["unknown"] == true);
        assert_eq!(unknown.len(), 1);
        assert_eq!(unknown[0]["Input"]["f"], "cas");
        assert!(rest.iter().all(|operation| operation["Return"].as_u64() < unknown[0]["Return"].as_u64()));
        assert!(operations.iter().all(|operation| operation["Input"]["f"] != "add"), "what was refused is left out");
        assert_eq!(operations.len(), 6, "the harness is no client");
    }
}
