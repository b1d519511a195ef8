//! Restores that are stopped in the middle, and continued: really killed, and what they left really looked at.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::cluster::cluster;
use crate::program::{Ran, strongroom};

/// Bytes of the large file, and how often the restore is killed.
const LARGE: usize = 24 << 20;
const KILLS: usize = 5;

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as u8
    };
    (0..bytes).map(|_| next()).collect()
}

fn tree(home: &Path) -> PathBuf {
    let top = home.join("tree");
    fs::create_dir_all(top.join("d/closed")).unwrap();
    fs::write(top.join("d/large"), noise(1, LARGE)).unwrap();
    for n in 0..60 {
        fs::write(top.join(format!("d/closed/f{n}")), noise(100 + n, 30_000)).unwrap();
    }
    fs::write(top.join("empty"), "").unwrap();
    std::os::unix::fs::symlink("d/large", top.join("link")).unwrap();
    top
}

fn start(id: &str, to: &Path, flags: &[&str]) -> Child {
    let mut command = strongroom();
    command.args(["--json", "--profile", text(&cluster().profile("acme-restorer")), "restore", id, "--to", text(to)]);
    command.args(flags).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < Duration::from_secs(60), "{what} did not come to pass");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Bytes on the disk below a directory.
fn bytes_below(at: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    let Ok(entries) = fs::read_dir(at) else { return 0 };
    let below = entries.filter_map(Result::ok).map(|entry| match entry.file_type() {
        Ok(kind) if kind.is_dir() => bytes_below(&entry.path()),
        Ok(kind) if kind.is_file() => entry.metadata().map_or(0, |metadata| metadata.blocks() * 512),
        _ => 0,
    });
    below.sum()
}

fn staging(to: &Path) -> Option<PathBuf> {
    let prefix = format!(".{}.strongroom-", to.file_name().unwrap().to_str().unwrap());
    let entries = fs::read_dir(to.parent().unwrap()).unwrap().filter_map(Result::ok);
    entries.map(|entry| entry.path()).find(|path| path.file_name().unwrap().to_string_lossy().starts_with(&prefix))
}

fn assert_equal(a: &Path, b: &Path) {
    let diff = Command::new("diff").arg("-r").arg("--no-dereference").arg(a).arg(b).output().unwrap();
    assert!(diff.status.success(), "{}", String::from_utf8_lossy(&diff.stdout));
}

fn back_up(top: &Path) -> String {
    let done = cluster().run("acme-writer", ["backup", text(top), "--vault", &cluster().vault()]).done();
    done["snapshot"].as_str().unwrap().to_owned()
}

#[test]
fn a_restore_killed_again_and_again_goes_on_and_what_it_left_is_proved_before_it_is_kept() {
    let home = tempfile::tempdir().unwrap();
    let top = tree(home.path());
    let (id, to) = (back_up(&top), home.path().join("to"));
    for _ in 0..KILLS {
        let before = staging(&to).map_or(0, |staging| bytes_below(&staging));
        let mut child = start(&id, &to, &["--resume", "--limit-download", "1MiB"]);
        // Until more is there than before, or it is done in spite of the brake.
        wait_until("the restore goes on", || {
            to.exists() || staging(&to).is_some_and(|staging| before + (1 << 20) < bytes_below(&staging))
        });
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert!(!to.exists(), "nothing is shown before the end");
    let left = staging(&to).unwrap();
    // Somebody was at it meanwhile: a garbled stretch, a link in a file's place, a file that is in no snapshot.
    let garbled = fs::OpenOptions::new().write(true).open(left.join("d/large")).unwrap();
    garbled.write_all_at(b"garbled", 5_000_000).unwrap();
    let _absent = fs::remove_file(left.join("d/closed/f7"));
    std::os::unix::fs::symlink(top.join("empty"), left.join("d/closed/f7")).unwrap();
    fs::write(left.join("d/planted"), "planted").unwrap();

    let ran = Ran::from(start(&id, &to, &["--resume"]).wait_with_output().unwrap());
    ran.done();
    let lines = ran.lines();
    let resumed = lines.iter().find(|line| line["type"] == "resumed").unwrap_or_else(|| panic!("{}", ran.stdout));
    assert!(resumed["bytes"].as_u64().unwrap() > 0, "what was there is not fetched again: {resumed}");
    assert_equal(&top, &to);
    assert_eq!(fs::read(top.join("empty")).unwrap(), b"", "nothing was written through the link");
    assert!(staging(&to).is_none());
}

#[test]
fn an_interrupted_restore_shows_nothing_and_says_how_to_go_on() {
    let home = tempfile::tempdir().unwrap();
    let top = tree(home.path());
    let (id, to) = (back_up(&top), home.path().join("to"));
    let child = start(&id, &to, &["--limit-download", "256K"]);
    wait_until("the restore writes", || staging(&to).is_some_and(|staging| 0 < bytes_below(&staging)));
    // A second one keeps its hands off.
    let busy = Ran::from(start(&id, &to, &["--resume"]).wait_with_output().unwrap()).error(3);
    assert_eq!(busy["reason"], "BUSY");
    assert_eq!(delete(&id).error(3)["reason"], "PINNED", "it reads the snapshot");
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let error = Ran::from(child.wait_with_output().unwrap()).error(130);
    assert_eq!(error["reason"], "INTERRUPTED");
    assert!(error["next"].as_str().unwrap().contains("--resume"), "{error}");
    assert!(!to.exists() && staging(&to).is_some());
    // Without --resume the next one begins anew.
    Ran::from(start(&id, &to, &[]).wait_with_output().unwrap()).done();
    assert_equal(&top, &to);
    assert!(staging(&to).is_none());
    delete(&id).done();
}

/// An admin ends the snapshot, if no restore has it open.
fn delete(id: &str) -> Ran {
    cluster().run("acme-admin", ["delete", id, "--reason", "a test"])
}

#[test]
fn an_interrupted_restore_leaves_nothing_open_and_that_of_a_killed_one_is_ended_by_the_next() {
    let home = tempfile::tempdir().unwrap();
    let top = tree(home.path());
    let begin = |id: &str, to: &Path| {
        let child = start(id, to, &["--limit-download", "256K"]);
        wait_until("the restore writes", || staging(to).is_some_and(|staging| 0 < bytes_below(&staging)));
        child
    };
    for signal in ["-INT", "-TERM"] {
        let (id, to) = (back_up(&top), home.path().join(format!("to{signal}")));
        let child = begin(&id, &to);
        assert!(Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap().success());
        let error = Ran::from(child.wait_with_output().unwrap()).error(130);
        assert_eq!(error["reason"], "INTERRUPTED", "{signal}");
        delete(&id).done();
    }
    for (name, flags) in [("resumed", &["--resume"][..]), ("anew", &[])] {
        let (id, to) = (back_up(&top), home.path().join(name));
        let mut child = begin(&id, &to);
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(delete(&id).error(3)["reason"], "PINNED", "nobody knows that it was killed");
        Ran::from(start(&id, &to, flags).wait_with_output().unwrap()).done();
        assert_equal(&top, &to);
        delete(&id).done();
    }
    // One that is refused before it writes leaves nothing open either.
    let id = back_up(&top);
    fs::create_dir(home.path().join("full")).unwrap();
    fs::write(home.path().join("full/of"), "things").unwrap();
    let refused = Ran::from(start(&id, &home.path().join("full"), &[]).wait_with_output().unwrap()).error(3);
    assert_eq!(refused["reason"], "TARGET_MISMATCH");
    delete(&id).done();
}
