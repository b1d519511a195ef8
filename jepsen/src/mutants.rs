//! `mutants`: does the suite see bugs? Each of a catalogue is planted in a copy of the tree, built there, and tested.
//!
//! ```text
//!   jepsen/mutants/*.patch ─▶ chosen ─▶ per tier: no bug, all green? ─▶ per bug: planted ─▶ its commands, until one fails
//!                                            └ no: the run ends            │                  ├ a test failed: caught
//!          copy of the tree ◀── pulled out ◀───────────────────────────────┘                  ├ all passed: missed
//!                                                                                             └ no build: void
//! ```
//!
//! A green suite says little before it was red for a reason. The measure is how many bugs it catches; a missed one wants a
//! test, a void one another patch. Production code stays as it is. Not here: the bugs (`jepsen/mutants`).

mod catalogue;
mod kept;
mod law;
mod patch;
mod suite;
mod tree;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, bail, ensure};
use clap::{Args, ValueEnum as _};
use serde_json::json;

use self::catalogue::Mutant;
use self::kept::{Kept, Results};
use self::suite::{Cargo, Ran, Tier};
use self::tree::Tree;
use crate::binaries::{target_directory, workspace};

/// Where the catalogue lies, from the root of the tree.
const CATALOGUE: &str = "jepsen/mutants";

/// What is planted, and where.
#[derive(Args)]
pub struct Options {
    /// Only these; by default all.
    names: Vec<String>,
    /// Only so many, others for other sources.
    #[arg(long)]
    sample: Option<usize>,
    /// Only bugs of these tiers; by default all.
    #[arg(long, value_enum, value_delimiter = ',')]
    tier: Vec<Tier>,
    /// Begin with no other bug after so long: 90s, 45m, 2h. The same command goes on later.
    #[arg(long, value_parser = duration)]
    budget: Option<Duration>,
    /// Where the copy is built and results are kept; by default `jepsen/mutants-tree` in Cargo's target directory.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Run only the tests that each patch names, and before the first of them the same without a bug. What they do not see
    /// is missed here and not kept: the rest of its tier was not asked.
    #[arg(long)]
    named: bool,
    /// Show the catalogue and see that every patch applies; nothing is built.
    #[arg(long)]
    list: bool,
}

/// How many ended how.
#[derive(Default)]
struct Tally {
    caught: usize,
    missed: Vec<String>,
    void: Vec<String>,
    left: usize,
}

/// Plants bugs; true if each was caught.
pub fn run(options: &Options) -> anyhow::Result<bool> {
    let began = Instant::now();
    let catalogue = catalogue::read(&workspace().join(CATALOGUE))?;
    // Also of bugs that are not chosen: a catalogue that is not looked after is worth nothing.
    catalogue.iter().try_for_each(|mutant| mutant.planted(workspace()).map(drop))?;
    if options.list {
        list(&catalogue);
        return Ok(true);
    }
    let dir = match &options.dir {
        Some(dir) => std::path::absolute(dir)?,
        None => target_directory()?.join("jepsen/mutants-tree"),
    };
    let tree = Tree::copy(workspace(), &dir.join("source"))?;
    let cargo = Cargo { tree: tree.root().to_owned(), target: dir.join("target") };
    let said = dir.join("said");
    std::fs::create_dir_all(&said).with_context(|| format!("cannot make {}", said.display()))?;
    let mut results = Results::open(&dir.join("results.jsonl"))?;
    let sources: BTreeMap<Tier, String> = Tier::value_variants()
        .iter()
        .map(|tier| Ok((*tier, tree.digest(tier.sources())?)))
        .collect::<anyhow::Result<_>>()?;
    let named = options.named.then(|| named(&catalogue));
    let chosen = choose(options, catalogue, &sources)?;
    eprintln!("{} planted bugs, in {}", chosen.len(), dir.display());

    let (count, mut tally) = (chosen.len(), Tally::default());
    for (number, mutant) in (1..).zip(chosen) {
        let sources = &sources[&mutant.tier];
        let known = results.find(&mutant.name, &mutant.digest, sources).cloned();
        let found = match known {
            Some(known) => Ok(known),
            None if options.budget.is_some_and(|budget| budget <= began.elapsed()) => {
                tally.left += 1;
                continue;
            }
            None => {
                let green = Green::of(&mutant, named.as_ref());
                green.assure(&cargo, sources, &said, &mut results)?;
                eprintln!("{number}/{count} {}: {}", mutant.name, mutant.breaks);
                let found = attempt(&cargo, &tree, &mutant, sources, options.named, &said)?;
                if let Ok(kept) = &found
                    && (kept.caught || !options.named)
                {
                    results.add(kept.clone())?;
                }
                found
            }
        };
        tell(&mutant, found, &mut tally);
    }
    Ok(summary(&tally, count, began.elapsed()))
}

/// Tests by the targets that they are in: what patches name behind `--`; none: all of a target.
type Named = BTreeMap<(Tier, Vec<String>), BTreeSet<String>>;

/// Everything that the catalogue names.
fn named(catalogue: &[Mutant]) -> Named {
    let mut named: BTreeMap<_, Vec<BTreeSet<String>>> = BTreeMap::new();
    for mutant in catalogue {
        let (target, tests) = target_and_tests(&mutant.run);
        named.entry((mutant.tier, target)).or_default().push(tests.iter().cloned().collect());
    }
    let all = |of: Vec<BTreeSet<String>>| match of.iter().any(BTreeSet::is_empty) {
        true => BTreeSet::new(),
        false => of.into_iter().flatten().collect(),
    };
    named.into_iter().map(|(target, of)| (target, all(of))).collect()
}

fn target_and_tests(run: &[String]) -> (Vec<String>, &[String]) {
    let (target, tests) = run.split_at(run.iter().position(|argument| argument == "--").unwrap_or(run.len()));
    (target.to_vec(), tests.get(1..).unwrap_or_default())
}

/// What must be green without a bug before one is planted: what is red then is red for another reason.
struct Green {
    name: String,
    commands: Vec<Vec<String>>,
}

impl Green {
    /// The whole tier, or all that is named of the bug's target.
    fn of(mutant: &Mutant, named: Option<&Named>) -> Self {
        let owned = |command: &&str| command.split(' ').map(str::to_owned).collect();
        let Some(named) = named else {
            let tier = mutant.tier;
            return Self { name: tier.name().to_owned(), commands: tier.commands().iter().map(owned).collect() };
        };
        let (target, _) = target_and_tests(&mutant.run);
        let name = format!("{} {}", mutant.tier.name(), target.join(" "));
        let tests = &named[&(mutant.tier, target.clone())];
        let command =
            ["test".to_owned()].into_iter().chain(target).chain(["--".to_owned()]).chain(tests.iter().cloned());
        Self { name, commands: vec![command.collect()] }
    }

    /// Runs it, once for these sources.
    fn assure(&self, cargo: &Cargo, sources: &str, said: &Path, results: &mut Results) -> anyhow::Result<()> {
        if results.find(&self.name, "", sources).is_some() {
            return Ok(());
        }
        let began = Instant::now();
        for (number, command) in (1..).zip(&self.commands) {
            eprintln!("without a bug: cargo {}", command.join(" "));
            let said = said.join(format!("{}-without-a-bug-{number}", self.name.replace(' ', "_")));
            match cargo.run(&command.iter().map(String::as_str).collect::<Vec<_>>(), &said)? {
                Ran::Passed => {}
                Ran::Failed { by, .. } => bail!("{by} fails without any bug: see {}", said.display()),
                Ran::Void { why } => bail!("nothing is built: {why}: see {}", said.display()),
            }
        }
        let seconds = began.elapsed().as_secs_f64();
        let (name, patch, sources) = (self.name.clone(), String::new(), sources.to_owned());
        results.add(Kept { name, patch, sources, caught: false, by: None, law: None, seconds })
    }
}

/// Plants one bug and runs until something fails; the inner error says why nothing was tested.
fn attempt(
    cargo: &Cargo,
    tree: &Tree,
    mutant: &Mutant,
    sources: &str,
    only_named: bool,
    said: &Path,
) -> anyhow::Result<Result<Kept, String>> {
    let began = Instant::now();
    let planted = tree.plant(mutant.planted(tree.root())?)?;
    let said = said.join(&mutant.name);
    let expected: Vec<&str> = ["test"].into_iter().chain(mutant.run.iter().map(String::as_str)).collect();
    let others = mutant.tier.commands().iter().filter(|_| !only_named);
    let others = others.map(|command| command.split(' ').collect::<Vec<_>>());
    let mut failed = None;
    for command in [expected].into_iter().chain(others) {
        let void = |why: String| Ok(Err(format!("{why}: see {}", said.display())));
        // Built by itself: a compiler that does not end, or is killed, has seen no bug.
        match cargo.run(&built(&command), &said)? {
            Ran::Passed => {}
            Ran::Failed { by, .. } | Ran::Void { why: by } => return void(by),
        }
        match cargo.run(&command, &said)? {
            Ran::Passed => {}
            Ran::Failed { by, said: text } => {
                // What is red by chance has seen nothing either.
                match cargo.run(&command, &said)? {
                    Ran::Failed { .. } => {}
                    Ran::Passed => return void(format!("{by} failed, and then nothing did")),
                    Ran::Void { why } => return void(why),
                }
                failed = Some((law::of(&by, &text), by));
                break;
            }
            Ran::Void { why } => return void(why),
        }
    }
    drop(planted);
    let (law, by) = failed.unzip();
    Ok(Ok(Kept {
        name: mutant.name.clone(),
        patch: mutant.digest.clone(),
        sources: sources.to_owned(),
        caught: by.is_some(),
        by,
        law: law.flatten(),
        seconds: began.elapsed().as_secs_f64(),
    }))
}

/// The same command without running what it builds.
fn built<'a>(command: &[&'a str]) -> Vec<&'a str> {
    let arguments = command.split(|argument| *argument == "--").next().unwrap_or_default();
    match arguments {
        ["run", rest @ ..] => ["build"].into_iter().chain(rest.iter().copied()).collect(),
        _ => arguments.iter().copied().chain(["--no-run"]).collect(),
    }
}

/// Those that were asked for: the fastest tiers first, then package by package, so that little is built anew.
fn choose(options: &Options, catalogue: Vec<Mutant>, sources: &BTreeMap<Tier, String>) -> anyhow::Result<Vec<Mutant>> {
    for name in &options.names {
        ensure!(catalogue.iter().any(|mutant| mutant.name == *name), "there is no planted bug {name}: see --list");
    }
    let is_asked = |mutant: &Mutant| {
        (options.names.is_empty() || options.names.contains(&mutant.name))
            && (options.tier.is_empty() || options.tier.contains(&mutant.tier))
    };
    let mut chosen: Vec<Mutant> = catalogue.into_iter().filter(is_asked).collect();
    if let Some(sample) = options.sample {
        let lot =
            |mutant: &Mutant| *blake3::hash(format!("{}{}", mutant.name, sources[&mutant.tier]).as_bytes()).as_bytes();
        chosen.sort_by_key(lot);
        chosen.truncate(sample);
    }
    let first = |mutant: &Mutant| mutant.changes.first().map(|change| change.path.clone());
    chosen.sort_by_key(|mutant| (mutant.tier, first(mutant), mutant.name.clone()));
    ensure!(!chosen.is_empty(), "no bug is chosen, and none caught is no proof");
    Ok(chosen)
}

fn tell(mutant: &Mutant, found: Result<Kept, String>, tally: &mut Tally) {
    let name = &mutant.name;
    match found {
        Ok(Kept { caught, by, law, seconds, .. }) => {
            println!(
                "{}",
                json!({ "type": "mutant", "name": name, "caught": caught, "by": by, "law": law, "seconds": seconds })
            );
            match caught {
                true => tally.caught += 1,
                false => tally.missed.push(name.clone()),
            }
        }
        Err(why) => {
            println!("{}", json!({ "type": "mutant", "name": name, "caught": false, "by": null, "void": why }));
            tally.void.push(name.clone());
        }
    }
}

fn summary(tally: &Tally, count: usize, took: Duration) -> bool {
    let Tally { caught, missed, void, left } = tally;
    let line = json!({
        "type": "mutants",
        "commit": commit(),
        "bugs": count,
        "caught": caught,
        "missed": missed,
        "void": void,
        "left": left,
        "seconds": took.as_secs_f64(),
    });
    println!("{line}");
    *caught == count
}

fn list(catalogue: &[Mutant]) {
    for Mutant { name, breaks, law, tier, run, .. } in catalogue {
        let (tier, run) = (tier.name(), run.join(" "));
        println!(
            "{}",
            json!({ "type": "mutant", "name": name, "law": law, "tier": tier, "breaks": breaks, "run": run })
        );
    }
    println!("{}", json!({ "type": "end", "count": catalogue.len() }));
}

/// The commit that the tree was copied from, where git can say it: a label.
fn commit() -> Option<String> {
    let git = Command::new("git").args(["rev-parse", "HEAD"]).current_dir(workspace()).stderr(Stdio::null()).output();
    let said = String::from_utf8(git.ok().filter(|output| output.status.success())?.stdout).ok()?;
    Some(said.trim().to_owned())
}

fn duration(text: &str) -> Result<Duration, String> {
    let bad = || anyhow!("`{text}` is no duration: 90s, 45m, 2h").to_string();
    let (number, unit) = text.split_at_checked(text.len().saturating_sub(1)).ok_or_else(bad)?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return Err(bad()),
    };
    let number: u64 = number.parse().map_err(|_| bad())?;
    number.checked_mul(seconds).map(Duration::from_secs).ok_or_else(bad)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_run_is_built_first_with_the_same_packages() {
        assert_eq!(built(&["test", "-p", "a", "--lib", "--", "x::"]), ["test", "-p", "a", "--lib", "--no-run"]);
        assert_eq!(built(&["run", "-p", "b", "--", "crash-images", "9"]), ["build", "-p", "b"]);
    }

    #[test]
    fn durations_have_a_unit() {
        let read = |text| duration(text).map(|duration| duration.as_secs());
        assert_eq!([read("90s"), read("45m"), read("2h")], [Ok(90), Ok(2700), Ok(7200)]);
        assert!(
            ["", "45", "m", "-1m", "1d", "99999999999999999999h", "18446744073709551615h"]
                .map(read)
                .iter()
                .all(Result::is_err)
        );
    }
}
