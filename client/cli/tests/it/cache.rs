//! The local cache: what did not change is not read again, and nothing is believed that this writer did not write here.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::cluster::cluster;
use crate::trees::{Machine, assert_restores, noise, text};

const SMALL: usize = 8 << 10;
const LARGE: usize = 5 << 20;

/// 400 small files in ten directories, and a large one between them.
fn tree(home: &Path) -> PathBuf {
    let top = home.join("tree");
    for directory in 0..10 {
        let path = top.join(format!("d{directory}"));
        fs::create_dir_all(&path).unwrap();
        for file in 0..40 {
            let seed = 1 + directory * 40 + file;
            fs::write(path.join(format!("f{file:02}")), noise(seed, SMALL)).unwrap();
        }
    }
    fs::write(top.join("d5/large"), noise(1000, LARGE)).unwrap();
    fs::write(top.join("d5/nothing"), "").unwrap();
    top
}

/// What is done to a cache, and its name.
type Edit = (&'static str, fn(&Path));

fn numbers(backup: &Value, names: [&str; 4]) -> [u64; 4] {
    names.map(|name| backup[name].as_u64().unwrap_or_else(|| panic!("{name}: {backup}")))
}

const COUNTS: [&str; 4] = ["files", "files_unchanged", "bytes", "bytes_read"];
const ALL: u64 = 400 * SMALL as u64 + LARGE as u64;

#[test]
fn what_did_not_change_is_neither_read_nor_sent_again() {
    let (vault, home, machine) = (cluster().vault(), tempfile::tempdir().unwrap(), Machine::new("unchanged"));
    let top = tree(home.path());
    let (first, _) = machine.back_up(&top, &vault);
    assert_eq!(numbers(&first, COUNTS), [402, 0, ALL, ALL]);
    let (second, said) = machine.back_up(&top, &vault);
    assert_eq!(numbers(&second, COUNTS), [402, 402, ALL, 0]);
    assert!(second["bytes_sent"].as_u64().unwrap() < ALL / 100, "{second}");
    assert!(!said.stdout.contains("cache_ignored"), "{}", said.stdout);
    assert_restores(&second, &top);

    let planned = machine.run(["backup", text(&top), "--vault", &vault, "--dry-run"]).done();
    assert_eq!(
        (&planned["type"], &planned["files_unchanged"], &planned["bytes_to_read"]),
        (&json!("dry_run"), &json!(402), &json!(0))
    );
}

#[test]
fn what_is_packed_beside_something_changed_is_not_read_again_either() {
    let (vault, home, machine) = (cluster().vault(), tempfile::tempdir().unwrap(), Machine::new("changed"));
    let top = tree(home.path());
    machine.back_up(&top, &vault);
    // Generations, each with files changed, gone and new, of which later ones find parts in several packs.
    for generation in 1..4_u64 {
        for file in 0..3 {
            let path = top.join(format!("d{}/f{:02}", 2 * file + 1, 7 * generation));
            fs::write(path, noise(2000 + 10 * generation + file, SMALL)).unwrap();
        }
        fs::remove_file(top.join(format!("d4/f{generation:02}"))).unwrap();
        fs::write(top.join(format!("d6/new-{generation}")), noise(3000 + generation, SMALL)).unwrap();
        let (backup, _) = machine.back_up(&top, &vault);
        let changed = 4 * SMALL as u64;
        let [files, unchanged, _, read] = numbers(&backup, COUNTS);
        assert_eq!((files - unchanged, read), (4, changed), "{backup}");
        // And the manifest: about a hundred bytes a file, hashes do not shrink.
        let sent = backup["bytes_sent"].as_u64().unwrap();
        assert!((changed..changed + 200_000).contains(&sent), "{backup}");
        assert_restores(&backup, &top);
    }
    // A name that moves keeps its inode but not its place.
    fs::rename(top.join("d0/f00"), top.join("d9/moved")).unwrap();
    let (backup, _) = machine.back_up(&top, &vault);
    assert_eq!(numbers(&backup, COUNTS)[3], SMALL as u64, "{backup}");
    assert_restores(&backup, &top);
}

#[test]
fn a_large_file_that_grew_sends_what_grew() {
    let (vault, home, machine) = (cluster().vault(), tempfile::tempdir().unwrap(), Machine::new("grew"));
    let top = tree(home.path());
    machine.back_up(&top, &vault);
    let grown = [noise(1000, LARGE), noise(1001, 100_000)].concat();
    fs::write(top.join("d5/large"), &grown).unwrap();
    let (backup, _) = machine.back_up(&top, &vault);
    let [files, unchanged, _, read] = numbers(&backup, COUNTS);
    assert_eq!((files - unchanged, read), (1, grown.len() as u64), "{backup}");
    assert!(backup["bytes_sent"].as_u64().unwrap() < LARGE as u64, "{backup}");
    assert_restores(&backup, &top);
}

#[test]
fn a_file_that_was_only_touched_is_read_and_not_sent() {
    let (vault, home, machine) = (cluster().vault(), tempfile::tempdir().unwrap(), Machine::new("touched"));
    let top = tree(home.path());
    machine.back_up(&top, &vault);
    for path in ["d1/f01", "d5/large"] {
        let bytes = fs::read(top.join(path)).unwrap();
        fs::write(top.join(path), bytes).unwrap();
    }
    let (backup, _) = machine.back_up(&top, &vault);
    assert_eq!(numbers(&backup, COUNTS), [402, 400, ALL, (SMALL + LARGE) as u64]);
    assert!(backup["bytes_sent"].as_u64().unwrap() < 200_000, "{backup}");
    assert_restores(&backup, &top);
}

#[test]
fn a_lost_cache_has_all_files_read_and_none_sent() {
    let (vault, home, machine) = (cluster().vault(), tempfile::tempdir().unwrap(), Machine::new("lost"));
    let top = tree(home.path());
    machine.back_up(&top, &vault);
    fs::remove_file(machine.cache()).unwrap();
    let (backup, said) = machine.back_up(&top, &vault);
    assert_eq!(numbers(&backup, COUNTS), [402, 0, ALL, ALL]);
    assert!(backup["bytes_sent"].as_u64().unwrap() < 200_000, "{backup}");
    assert!(!said.stdout.contains("cache_ignored"), "what is absent is no alarm: {}", said.stdout);
    let (backup, _) = machine.back_up(&top, &vault);
    assert_eq!(numbers(&backup, COUNTS), [402, 402, ALL, 0]);
}

#[test]
fn n124_a_cache_that_was_edited_or_copied_is_ignored_and_alarms() {
    let (vault, home, machine) = (cluster().vault(), tempfile::tempdir().unwrap(), Machine::new("n124"));
    let top = tree(home.path());
    machine.back_up(&top, &vault);
    let edits: [Edit; 4] = [
        ("a bit flipped", |cache| {
            let mut bytes = fs::read(cache).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            fs::write(cache, bytes).unwrap();
        }),
        ("cut short", |cache| {
            let bytes = fs::read(cache).unwrap();
            fs::write(cache, &bytes[..bytes.len() - 100]).unwrap();
        }),
        ("something appended", |cache| {
            let bytes = fs::read(cache).unwrap();
            fs::write(cache, [&bytes[..], b"x"].concat()).unwrap();
        }),
        ("copied", |cache| {
            let copy = cache.with_extension("copy");
            fs::copy(cache, &copy).unwrap();
            fs::rename(&copy, cache).unwrap();
        }),
    ];
    for (what, edit) in edits {
        edit(&machine.cache());
        let (backup, said) = machine.back_up(&top, &vault);
        let alarm = said.lines().into_iter().find(|line| line["type"] == "cache_ignored");
        assert!(alarm.is_some_and(|alarm| alarm["why"].is_string()), "{what}: {}", said.stdout);
        assert!(said.stderr.contains("ignored"), "{what}: {}", said.stderr);
        assert_eq!(numbers(&backup, COUNTS), [402, 0, ALL, ALL], "{what}");
        // It is made again.
        let (backup, said) = machine.back_up(&top, &vault);
        assert_eq!(numbers(&backup, COUNTS), [402, 402, ALL, 0], "{what}");
        assert!(!said.stdout.contains("cache_ignored"), "{what}: {}", said.stdout);
    }
}
