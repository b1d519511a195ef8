//! House rules that the compiler cannot hold: every file says what it is, files inside a package make no circle,
//! packages keep to the tower, young libraries stay behind their doors, metrics are described.
//!
//! Not here: formatting and lints (rustfmt, clippy).

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Packages from the ground up: a package may use what stands on a lower floor.
const TOWER: &[(&str, u8)] = &[
    ("proto", 1),
    ("proto/format", 1),
    ("proto/identity", 1),
    ("node/core", 2),
    ("node/host", 3),
    ("node/chunks", 4),
    ("node/identity", 4),
    ("node/peers", 5),
    ("node/consensus", 6),
    ("client", 6),
    ("node/service", 7),
    ("node/api", 8),
    ("node", 9),
    ("client/cli", 9),
    ("bench", 9),
    ("jepsen/sim", 9),
    // the command for people over what is below it
    ("jepsen", 10),
];

/// Crates and calls that may be named in few places only.
const DOORS: &[(&str, &[&str])] = &[
    ("openraft::", &["node/consensus/"]),
    ("redb::", &["node/consensus/", "node/chunks/"]),
    ("rustls::", &["proto/identity/", "node/identity/", "client/src/connect.rs", "client/src/enrol.rs"]),
    ("std::thread", &["node/host/", "client/", "bench/", "jepsen/"]),
    ("spawn_blocking", &["node/host/", "client/", "bench/", "jepsen/"]),
    ("SystemTime::now", &["node/host/", "client/", "bench/", "jepsen/"]),
    ("getrandom::", &["node/host/", "client/", "bench/", "jepsen/"]),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("node/ lies in the workspace").to_path_buf()
}

fn rust_files_below(dir: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries.map(|e| e.expect("readable directory")) {
        let path = entry.path();
        let name = entry.file_name().into_string().expect("source files have UTF-8 names");
        if path.is_dir() {
            if name != "target" && !name.starts_with('.') {
                rust_files_below(&path, found);
            }
        } else if name.ends_with(".rs") {
            found.push(path);
        }
    }
}

/// All source files, by their path from the root.
fn sources() -> BTreeMap<String, String> {
    let root = root();
    let mut files = Vec::new();
    for top in ["node", "client", "proto", "bench", "jepsen"] {
        rust_files_below(&root.join(top), &mut files);
    }
    let relative = |path: &PathBuf| path.strip_prefix(&root).expect("below the root").to_string_lossy().into_owned();
    let sources: BTreeMap<_, _> =
        files.iter().map(|path| (relative(path), fs::read_to_string(path).expect("readable source"))).collect();
    assert!(sources.len() > 50, "the walk found the sources");
    sources
}

fn package_of(file: &str) -> &'static str {
    let packages = TOWER.iter().map(|(package, _)| *package);
    packages
        .filter(|package| file.starts_with(&format!("{package}/")))
        .max_by_key(|package| package.len())
        .unwrap_or_else(|| panic!("{file} belongs to no package of the tower"))
}

fn is_production(file: &str) -> bool {
    !file.contains("/tests/")
        && !file.ends_with("/tests.rs")
        && !file.contains("/examples/")
        && !file.ends_with("build.rs")
}

/// The code of a file without its unit tests, which stand at its foot, and without comments.
fn production_code(text: &str) -> String {
    let body = text.split("#[cfg(test)]").next().expect("split gives one piece at least");
    body.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

#[test]
fn every_file_says_what_it_is() {
    let silent: Vec<_> = sources().into_iter().filter(|(_, text)| !text.starts_with("//!")).map(|(f, _)| f).collect();
    assert!(silent.is_empty(), "files that do not open with //!: {silent:#?}");
}

#[test]
fn packages_keep_to_the_tower() {
    let root = root();
    let name_of = |dir: &str| {
        let manifest = fs::read_to_string(root.join(dir).join("Cargo.toml")).expect("every package has a manifest");
        let line = manifest.lines().find(|l| l.starts_with("name = ")).expect("a manifest names its package");
        line.trim_start_matches("name = ").trim_matches('"').to_owned()
    };
    let floors: BTreeMap<String, (u8, &str)> =
        TOWER.iter().map(|(dir, floor)| (name_of(dir), (*floor, *dir))).collect();
    for (dir, floor) in TOWER {
        let manifest = fs::read_to_string(root.join(dir).join("Cargo.toml")).expect("every package has a manifest");
        let production = manifest.split("[dev-dependencies]").next().expect("split gives one piece at least");
        for line in production.lines() {
            let Some((dependency, _)) = line.split_once(".workspace") else { continue };
            let Some((below, its_dir)) = floors.get(dependency) else { continue };
            // Floor 1 has three packages; they may use proto/format, which names what all agree on.
            let inside_the_ground = *floor == 1 && *its_dir == "proto/format";
            assert!(below < floor || inside_the_ground, "{dir} (floor {floor}) uses {its_dir} (floor {below})");
            let nodes_see_no_client = !(*its_dir == "client" && dir.starts_with("node/"));
            assert!(nodes_see_no_client, "{dir} uses the client");
        }
    }
}

#[test]
fn young_libraries_stay_behind_their_doors() {
    for (file, text) in sources().iter().filter(|(file, _)| is_production(file)) {
        let code = production_code(text);
        for (what, where_) in DOORS {
            let allowed = where_.iter().any(|door| file.starts_with(door));
            assert!(allowed || !code.contains(what), "{file} names {what}; its doors are {where_:?}");
        }
    }
}

/// `use crate::a::…` in file b is an arrow from b to a. A circle means that a third concept waits for its name.
#[test]
fn files_inside_a_package_make_no_circle() {
    let sources = sources();
    for (package, _) in TOWER {
        let prefix = format!("{package}/src/");
        let module_of = |file: &str| -> Option<String> {
            let inner = file.strip_prefix(&prefix)?.strip_suffix(".rs")?;
            let root_file = matches!(inner, "lib" | "main") || inner.starts_with("bin/");
            (package_of(file) == *package && !root_file).then(|| inner.replace('/', "::"))
        };
        let modules: BTreeSet<String> = sources.keys().filter_map(|f| module_of(f)).collect();
        let mut arrows: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (file, text) in &sources {
            let Some(from) = module_of(file) else { continue };
            if from.ends_with("::tests") {
                continue;
            }
            let code = production_code(text);
            for path in crate_paths(&code) {
                // The longest module that the path names; a parent's own children are its inside.
                let target = modules
                    .iter()
                    .filter(|m| path == **m || path.starts_with(&format!("{m}::")))
                    .max_by_key(|m| m.len());
                if let Some(to) = target.filter(|to| **to != from) {
                    arrows.entry(from.clone()).or_default().insert(to.clone());
                }
            }
        }
        for start in arrows.keys() {
            let circle = walk_back_to(start, &arrows);
            assert!(circle.is_none(), "{package}: files in a circle: {circle:?}");
        }
    }
}

/// The paths behind every `crate::` in the code, braces opened.
fn crate_paths(code: &str) -> Vec<String> {
    let mut paths = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let preceded = code[..at].chars().next_back().is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '$');
        if preceded {
            continue;
        }
        let rest = &code[at + "crate::".len()..];
        let path: String = rest.chars().take_while(|c| c.is_alphanumeric() || matches!(c, '_' | ':')).collect();
        if path.is_empty() && rest.starts_with('{') {
            let inside = &rest[1..rest.find('}').unwrap_or(rest.len())];
            paths.extend(inside.split(',').map(|p| p.trim().to_owned()));
        } else {
            paths.push(path.trim_end_matches(':').to_owned());
        }
    }
    paths
}

fn walk_back_to(start: &str, arrows: &BTreeMap<String, BTreeSet<String>>) -> Option<Vec<String>> {
    let mut seen = BTreeSet::new();
    let mut open = vec![vec![start.to_owned()]];
    while let Some(path) = open.pop() {
        let here = path.last().expect("a path has a start");
        for next in arrows.get(here).into_iter().flatten() {
            let mut longer = path.clone();
            longer.push(next.clone());
            if next == start {
                return Some(longer);
            }
            if seen.insert(next.clone()) {
                open.push(longer);
            }
        }
    }
    None
}

#[test]
fn every_metric_is_described() {
    let sources = sources();
    let described: String =
        sources.iter().filter(|(file, _)| file.ends_with("/metrics.rs")).map(|(_, text)| text.as_str()).collect();
    for (file, text) in sources.iter().filter(|(file, _)| is_production(file) && file.starts_with("node/")) {
        for piece in production_code(text).split('"').skip(1).step_by(2) {
            let is_metric = piece.starts_with("strongroom_")
                && piece.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
                && ["_total", "_seconds", "_bytes"].iter().any(|end| piece.ends_with(end));
            assert!(!is_metric || described.contains(piece), "{file}: {piece} is described in no metrics.rs");
        }
    }
}

#[test]
fn the_top_level_holds_only_what_it_should() {
    let allowed =
        ["Cargo.toml", "Cargo.lock", "node", "client", "proto", "deploy", "jepsen", "bench", "README.md", "target"];
    for entry in fs::read_dir(root()).expect("readable root") {
        let name = entry.expect("readable entry").file_name().into_string().expect("UTF-8");
        assert!(name.starts_with('.') || allowed.contains(&name.as_str()), "{name} does not belong at the top level");
    }
}
