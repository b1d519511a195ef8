//! What was found, one line of JSON a bug, so that a run that was stopped goes on and nothing is tried twice.
//!
//! A line counts for one bug as its file stands and for the sources that its tier is made of, as they stand: whatever of
//! them changes, it is tried again. (A commit would not do: sources change without one.)

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::Path;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

/// What became of a bug.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Kept {
    /// Its name, or the tier of a run without any.
    pub name: String,
    /// BLAKE3 of its patch; empty: none was planted.
    pub patch: String,
    /// BLAKE3 of the sources.
    pub sources: String,
    /// Whether it was caught; without a bug: never.
    pub caught: bool,
    /// By what.
    pub by: Option<String>,
    /// Which law speaks.
    pub law: Option<String>,
    /// How long that took.
    pub seconds: f64,
}

/// All lines of a file, and the way to add some.
#[derive(Debug)]
pub struct Results {
    file: File,
    kept: BTreeMap<(String, String, String), Kept>,
}

impl Results {
    /// Opens the file, or makes it. A last line that was cut off counts for nothing.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let kept = text.lines().filter_map(|line| serde_json::from_str::<Kept>(line).ok());
        let kept = kept.map(|one| (key(&one.name, &one.patch, &one.sources), one)).collect();
        let mut file = OpenOptions::new().create(true).append(true).open(path);
        if let (Ok(file), false) = (&mut file, text.is_empty() || text.ends_with('\n')) {
            file.write_all(b"\n")?;
        }
        Ok(Self { file: file.with_context(|| format!("cannot write {}", path.display()))?, kept })
    }

    /// What was found of a bug in these sources.
    pub fn find(&self, name: &str, patch: &str, sources: &str) -> Option<&Kept> {
        self.kept.get(&key(name, patch, sources))
    }

    /// Adds a line.
    pub fn add(&mut self, one: Kept) -> anyhow::Result<()> {
        let mut line = serde_json::to_string(&one)?;
        line.push('\n');
        self.file.write_all(line.as_bytes()).context("cannot keep a result")?;
        self.kept.insert(key(&one.name, &one.patch, &one.sources), one);
        Ok(())
    }
}

fn key(name: &str, patch: &str, sources: &str) -> (String, String, String) {
    (name.to_owned(), patch.to_owned(), sources.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_found_is_there_again_for_the_same_patch_and_sources_only() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("results.jsonl");
        let one = Kept {
            name: "a".into(),
            patch: "p".into(),
            sources: "s".into(),
            caught: true,
            by: Some("core it x".into()),
            law: None,
            seconds: 1.5,
        };
        Results::open(&path).unwrap().add(one.clone()).unwrap();
        let cut = format!("{}{{\"name\":\"b\",\"pa", std::fs::read_to_string(&path).unwrap());
        std::fs::write(&path, cut).unwrap();
        let mut results = Results::open(&path).unwrap();
        results.add(Kept { name: "c".into(), ..one.clone() }).unwrap();
        let results = Results::open(&path).unwrap();
        assert_eq!(results.find("a", "p", "s"), Some(&one));
        assert!(results.find("c", "p", "s").is_some());
        assert!(results.find("a", "q", "s").is_none() && results.find("a", "p", "t").is_none());
        assert!(results.find("b", "p", "s").is_none());
    }
}
