//! Backups that are stopped in the middle, and continued.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::cluster::cluster;
use crate::program::{Ran, strongroom};
use crate::trees::{Machine, assert_restores, noise, text, wait_until};

/// A backup that takes long: at 1 MiB a second.
fn start(machine: &Machine, tree: &Path, vault: &str) -> Child {
    let mut command = strongroom();
    command.args(["--json", "--profile", text(&machine.profile), "backup", text(tree), "--vault", vault]);
    command.args(["--name", "tree", "--limit-upload", "1MiB"]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn signal(child: &Child, signal: &str) {
    let sent = Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
}

fn tree(home: &Path) -> std::path::PathBuf {
    let top = home.join("tree");
    fs::create_dir_all(&top).unwrap();
    for file in 0..12 {
        fs::write(top.join(format!("f{file:02}")), noise(500 + file, 2 << 20)).unwrap();
    }
    top
}

/// Waits until the backup reads: what it will remember is being written.
fn wait_until_it_reads(machine: &Machine) {
    wait_until("the backup reads", || machine.caches().iter().any(|path| text(path).contains(".new-")));
}

#[test]
fn a_backup_that_is_interrupted_ends_cleanly_and_goes_on_when_run_again() {
    let (vault, home, machine) = (cluster().vault(), tempfile::tempdir().unwrap(), Machine::new("interrupted"));
    let top = tree(home.path());
    let child = start(&machine, &top, &vault);
    wait_until_it_reads(&machine);
    signal(&child, "-INT");
    let ended = child.wait_with_output().map(Ran::from).unwrap();
    let error = ended.error(130);
    assert_eq!(error["reason"], "INTERRUPTED");
    assert!(error["next"].as_str().unwrap().contains("goes on"), "{error}");
    let caches = machine.caches();
    assert!(caches.iter().all(|path| text(path).contains(".new-")), "what was not committed is believed: {caches:?}");
    assert_eq!(machine.run(["snapshots", "--vault", &vault]).done()["count"], 0);
    let (backup, _) = machine.back_up(&top, &vault);
    assert_restores(&backup, &top);
}

#[test]
fn n147_a_killed_backup_leaves_no_key_behind_and_is_continued_whole() {
    let (vault, home, machine) = (cluster().vault(), tempfile::tempdir().unwrap(), Machine::new("n147"));
    let top = tree(home.path());
    for _ in 0..3 {
        let before = machine.caches().len();
        let mut child = start(&machine, &top, &vault);
        wait_until("the backup reads", || before < machine.caches().len());
        signal(&child, "-KILL");
        child.wait().unwrap();
    }
    let (backup, _) = machine.back_up(&top, &vault);
    assert_restores(&backup, &top);
    // All that is on the machine: what it saw, and what it remembers of files. Keys are nowhere.
    let kinds: BTreeSet<String> = fs::read_dir(&machine.state)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .map(|name| name.split('-').next().unwrap().to_owned())
        .collect();
    let known = ["cache", "lock", "log", "receipts", "statement", "voters"];
    assert!(kinds.iter().all(|kind| known.contains(&kind.as_str())), "{kinds:?}");
}
