//! `JSON.md`, held against what the program prints: every object that a test of this package reads must be on the page, with
//! all its fields.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::OnceLock;

use serde_json::Value;

/// The page.
pub fn text() -> &'static str {
    include_str!("../../JSON.md")
}

/// The types on the page with the paths of their fields, of all examples together.
fn documented() -> &'static BTreeMap<String, BTreeSet<String>> {
    static TYPES: OnceLock<BTreeMap<String, BTreeSet<String>>> = OnceLock::new();
    TYPES.get_or_init(|| {
        let mut types: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for line in text().lines().filter(|line| line.starts_with('{')) {
            let object: Value = serde_json::from_str(line).unwrap_or_else(|why| panic!("{line}: {why}"));
            let paths = types.entry(object["type"].as_str().expect("a type").to_owned()).or_default();
            collect(&object, "", paths);
        }
        types
    })
}

/// The paths of an object's fields; lists add nothing to a path.
fn collect(value: &Value, path: &str, paths: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields.iter().filter(|(name, _)| *name != "b64") {
                let path = format!("{path}.{name}");
                // The names of tags are whose they are.
                if name != "tags" {
                    collect(value, &path, paths);
                }
                paths.insert(path);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, path, paths)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Whether a printed object is on the page.
pub fn explains(object: &Value) -> Result<(), String> {
    let kind = object["type"].as_str().ok_or("it has no type")?;
    let known = documented().get(kind).ok_or_else(|| format!("JSON.md does not know \"type\":\"{kind}\""))?;
    let mut printed = BTreeSet::new();
    collect(object, "", &mut printed);
    match printed.difference(known).next() {
        Some(field) => Err(format!("JSON.md does not know {field} of \"type\":\"{kind}\"")),
        None => Ok(()),
    }
}

/// The types that the sources print, by their serde attributes.
fn printed_by_the_sources(directory: &Path, types: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            printed_by_the_sources(&path, types);
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        for (_, rest) in
            text.match_indices("tag = \"type\", rename = \"").map(|(at, found)| (at, &text[at + found.len()..]))
        {
            types.insert(rest.split('"').next().unwrap().to_owned());
        }
    }
}

#[test]
fn the_page_knows_every_type_that_the_sources_print_and_no_other() {
    let mut types = BTreeSet::new();
    printed_by_the_sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut types);
    assert!(types.contains("backup") && types.contains("error"), "{types:?}");
    // Printed by hand: progress here, `strongroomd inspect` and `strongroomd fsck`.
    types.extend(
        ["skipped", "changed", "cache_ignored", "damaged", "fragment", "group", "fsck", "copy", "copies"]
            .map(String::from),
    );
    let known: BTreeSet<String> = documented().keys().cloned().collect();
    assert_eq!(types, known);
}

#[test]
fn what_is_not_on_the_page_is_noticed() {
    let backup =
        |more: &str| serde_json::from_str(&format!(r#"{{"type":"backup","survives":{{"regions":1{more}}}}}"#)).unwrap();
    assert_eq!(explains(&backup("")), Ok(()));
    assert!(explains(&backup(r#","planets":1"#)).unwrap_err().contains(".survives.planets"));
    assert!(explains(&serde_json::json!({"type": "poem"})).is_err());
    assert!(explains(&serde_json::json!({})).is_err());
}

#[test]
fn the_page_names_every_exit_code() {
    for code in [0, 1, 2, 3, 4, 5, 6, 7, 130] {
        assert!(text().contains(&format!("\n| {code} |")), "{code}");
    }
}
