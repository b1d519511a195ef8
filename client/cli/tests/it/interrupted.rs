//! Backups that are stopped in the middle, and continued; restores that are stopped twice.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

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

/// Interrupts it, waits until it says so, and interrupts it again. Gives how it ended.
fn interrupt_twice(mut child: Child) -> Ran {
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    signal(&child, "-INT");
    let mut said = String::new();
    while !said.contains("interrupt again to end at once") {
        assert_ne!(stderr.read_line(&mut said).unwrap(), 0, "it ends without a word about the first: {said}");
    }
    // It may have ended by now: then there is nobody to interrupt.
    let _sent = Command::new("kill").args(["-INT", &child.id().to_string()]).stderr(Stdio::null()).status().unwrap();
    stderr.read_to_string(&mut said).unwrap();
    let Output { status, stdout, .. } = child.wait_with_output().unwrap();
    Ran::from(Output { status, stdout, stderr: said.into_bytes() })
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
fn a_backup_that_is_interrupted_twice_ends_at_once_with_its_last_line_and_goes_on_when_run_again() {
    let (vault, home, machine) = (cluster().vault(), tempfile::tempdir().unwrap(), Machine::new("interrupted-twice"));
    let top = tree(home.path());
    let child = start(&machine, &top, &vault);
    wait_until_it_reads(&machine);
    let error = interrupt_twice(child).error(130);
    assert_eq!((&error["outcome"], &error["reason"]), (&"unknown".into(), &"INTERRUPTED".into()), "{error}");
    assert!(error["next"].as_str().unwrap().contains("goes on"), "{error}");
    assert_eq!(machine.run(["snapshots", "--vault", &vault]).done()["count"], 0);
    let (backup, _) = machine.back_up(&top, &vault);
    assert_restores(&backup, &top);

    // What waits for bytes that do not come cannot end by itself: the second interrupt ends it.
    let (reader, mut writer) = std::io::pipe().unwrap();
    let mut command = strongroom();
    command.args(["--json", "--profile", text(&machine.profile), "backup", "--stdin", "never", "--vault", &vault]);
    let waiting = command.stdin(reader).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // No pipe holds as much: when it is written, somebody reads.
    writer.write_all(&noise(9, 1 << 20)).unwrap();
    let error = interrupt_twice(waiting).error(130);
    assert_eq!(error["reason"], "INTERRUPTED", "{error}");
    assert_eq!(machine.run(["snapshots", "--vault", &vault]).done()["count"], 1);
}

#[test]
fn a_restore_that_is_interrupted_twice_shows_nothing_and_goes_on_with_resume() {
    let (vault, home, machine) = (cluster().vault(), tempfile::tempdir().unwrap(), Machine::new("restore-twice"));
    let top = tree(home.path());
    let (backup, _) = machine.back_up(&top, &vault);
    let (id, to) = (backup["snapshot"].as_str().unwrap(), home.path().join("to"));
    let restore = |flags: &[&str]| {
        let mut command = strongroom();
        command.args(["--json", "--profile", text(&cluster().profile("acme-restorer"))]);
        command.args(["restore", id, "--to", text(&to)]).args(flags);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let staged =
        || fs::read_dir(home.path()).unwrap().any(|entry| text(&entry.unwrap().path()).contains(".strongroom-"));
    let child = restore(&["--limit-download", "512K"]);
    wait_until("the restore writes", staged);
    let error = interrupt_twice(child).error(130);
    assert_eq!((&error["outcome"], &error["reason"]), (&"failed".into(), &"INTERRUPTED".into()), "{error}");
    assert!(!to.exists() && staged(), "nothing is shown, and what was fetched is kept");
    Ran::from(restore(&["--resume"]).wait_with_output().unwrap()).done();
    let diff = Command::new("diff").arg("-r").arg(&top).arg(&to).output().unwrap();
    assert!(diff.status.success(), "{}", String::from_utf8_lossy(&diff.stdout));
    assert!(!staged());
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
