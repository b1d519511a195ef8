//! The catalogue of planted bugs as it stands in the tree: every patch has its head and applies.
//!
//! Whether the suite catches them, `strongroom-jepsen mutants` finds out, which takes hours.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// The suite is measured by at least so many.
const LEAST: usize = 44;

fn mutants(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_strongroom-jepsen"));
    command.arg("mutants").args(arguments).stdin(Stdio::null()).output().unwrap()
}

#[test]
fn every_planted_bug_has_a_head_of_its_own_and_applies_to_the_tree() {
    let output = mutants(&["--list"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8(output.stdout).unwrap();
    let mut lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let end = lines.pop().unwrap();
    assert_eq!((&end["type"], end["count"].as_u64()), (&Value::from("end"), Some(lines.len() as u64)));
    assert!(LEAST <= lines.len(), "{} planted bugs", lines.len());

    let patches = Path::new(env!("CARGO_MANIFEST_DIR")).join("mutants").read_dir().unwrap().count();
    assert_eq!(patches, lines.len());
    let mut by_sentence = BTreeMap::new();
    let mut laws: BTreeMap<String, usize> = BTreeMap::new();
    for line in &lines {
        assert_eq!(line["type"], "mutant");
        let (name, breaks) = (line["name"].as_str().unwrap(), line["breaks"].as_str().unwrap());
        let other = by_sentence.insert(breaks.to_owned(), name.to_owned());
        assert_eq!(other, None, "{name} breaks the same");
        *laws.entry(line["law"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    // What can be lost for good.
    for law in ["I2", "I3", "I4", "I5", "I6", "I10", "I14"] {
        assert!(3 <= laws.get(law).copied().unwrap_or_default(), "{law}: {laws:?}");
    }
}

#[test]
fn a_bug_that_is_not_in_the_catalogue_is_not_planted() {
    let dir = tempfile::tempdir().unwrap();
    let output = mutants(&["no-such-bug", "--dir", dir.path().to_str().unwrap()]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("there is no planted bug no-such-bug"), "{said}");
}
