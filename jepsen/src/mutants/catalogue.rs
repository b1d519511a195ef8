//! The catalogue: one planted bug a file, `jepsen/mutants/<name>.patch`.
//!
//! ```text
//!   What it breaks, in one sentence.
//!   law: I10                                    which law it breaks, or `contract`
//!   tier: core                                  where it should be seen (`suite.rs`)
//!   run: -p strongroom-core --test it -- …      arguments of `cargo test` that should fail, run first
//!
//!   --- a/… +++ b/… @@ …                        the bug
//! ```

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, anyhow, bail, ensure};

use crate::mutants::patch::Change;
use crate::mutants::suite::Tier;

/// The laws of RESILIENCE.md.
const LAWS: std::ops::RangeInclusive<u32> = 1..=16;

/// A planted bug.
#[derive(Clone, Debug)]
pub struct Mutant {
    /// The name of its file.
    pub name: String,
    /// What it breaks.
    pub breaks: String,
    /// Which law that is.
    pub law: String,
    /// Where it should be seen.
    pub tier: Tier,
    /// What is run first.
    pub run: Vec<String>,
    /// The bug.
    pub changes: Vec<Change>,
    /// BLAKE3 of its file.
    pub digest: String,
}

/// All planted bugs in a directory, by name.
pub fn read(dir: &Path) -> anyhow::Result<Vec<Mutant>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(dir).with_context(|| format!("cannot list {}", dir.display()))? {
        let path = entry?.path();
        let stem = path.file_stem().and_then(|stem| stem.to_str()).map(str::to_owned);
        match (stem, path.extension().and_then(|extension| extension.to_str())) {
            (Some(name), Some("patch")) => drop(files.insert(name, path)),
            _ => bail!("{} is no patch", path.display()),
        }
    }
    let one = |(name, path): (String, _)| {
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {name}"))?;
        mutant(&name, &text).with_context(|| format!("{name}.patch"))
    };
    files.into_iter().map(one).collect()
}

fn mutant(name: &str, text: &str) -> anyhow::Result<Mutant> {
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    ensure!(name.chars().all(is_plain), "a name has small letters, digits and `-`");
    let head: Vec<&str> = text.lines().take_while(|line| !line.is_empty() && !line.starts_with("---")).collect();
    let [said @ .., law, tier, run] = &head[..] else { bail!("its head is a sentence, `law:`, `tier:` and `run:`") };
    let field = |line: &&str, key: &str| {
        let value = line.strip_prefix(key).and_then(|rest| rest.strip_prefix(": ")).map(str::to_owned);
        value.ok_or_else(|| anyhow!("`{line}` should begin with `{key}: `"))
    };
    let breaks = said.join(" ");
    ensure!(breaks.ends_with('.') && 20 < breaks.len(), "it does not say in a sentence what it breaks");
    let law = field(law, "law")?;
    let number = law.strip_prefix('I').and_then(|number| number.parse().ok());
    ensure!(law == "contract" || number.is_some_and(|number| LAWS.contains(&number)), "there is no law {law}");
    let run: Vec<String> = field(run, "run")?.split_whitespace().map(str::to_owned).collect();
    ensure!(run.first().is_some_and(|first| first == "-p"), "`run:` names the packages that should fail");
    Ok(Mutant {
        name: name.to_owned(),
        breaks,
        law,
        tier: field(tier, "tier")?.parse().map_err(|why| anyhow!("{why}"))?,
        run,
        changes: Change::read(text).map_err(|why| anyhow!(why))?,
        digest: blake3::hash(text.as_bytes()).to_hex().to_string(),
    })
}

impl Mutant {
    /// The files of a tree as this bug leaves them.
    pub fn planted(&self, root: &Path) -> anyhow::Result<Vec<(String, String)>> {
        let one = |change: &Change| {
            let read = fs::read_to_string(root.join(&change.path));
            let text = read.with_context(|| format!("{}: cannot read {}", self.name, change.path))?;
            let planted = change.apply(&text).with_context(|| format!("{} does not apply any more", self.name))?;
            Ok((change.path.clone(), planted))
        };
        self.changes.iter().map(one).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "A row that was deleted\nstill counts.\nlaw: I14\ntier: core\nrun: -p a --test it -- b::\n\n\
        --- a/x.rs\n+++ b/x.rs\n@@ -1 +1 @@\n-a\n+b\n";

    #[test]
    fn a_head_says_what_is_broken_where_it_should_be_seen_and_by_what() {
        let read = mutant("a-row", GOOD).unwrap();
        assert_eq!((&*read.breaks, &*read.law, read.tier), ("A row that was deleted still counts.", "I14", Tier::Core));
        assert_eq!(read.run, ["-p", "a", "--test", "it", "--", "b::"]);
        for (from, to) in [
            ("law: I14\n", ""),
            ("I14", "I17"),
            ("I14", "14"),
            ("core", "somewhere"),
            ("run: -p a --test it -- b::\n", ""),
            ("-p a ", ""),
            ("A row that was deleted\nstill counts.\n", ""),
            ("counts.", "counts"),
        ] {
            assert!(mutant("a-row", &GOOD.replacen(from, to, 1)).is_err(), "{from} -> {to}");
        }
        assert!(mutant("A row", GOOD).is_err());
    }
}
