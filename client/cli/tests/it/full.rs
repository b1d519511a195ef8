//! Restores where there is no room: looked at first, refused with both numbers, and nothing is written.
//!
//! The small file system is a tmpfs in a mount namespace of its own, which goes with the process that has it; where
//! the kernel gives no such thing, the test says so and ends.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::cluster::cluster;
use crate::program::Ran;
use crate::trees::{noise, text};

/// Runs a script in a namespace in which `at` is a tmpfs of 4 MiB.
fn on_a_small_disk(at: &Path, script: &str, arguments: &[&str]) -> Option<Output> {
    let mounted = format!("mount -t tmpfs -o size=4m none \"$0\" || exit 99\n{script}");
    let mut command = Command::new("unshare");
    command.args(["-r", "-m", "sh", "-c", &mounted]).arg(at).args(arguments).stdin(Stdio::null());
    let output = command.output().ok()?;
    let is_there = output.status.code() != Some(99) && !String::from_utf8_lossy(&output.stderr).contains("unshare: ");
    is_there.then_some(output)
}

#[test]
fn a_restore_that_does_not_fit_is_refused_before_anything_is_written() {
    let home = tempfile::tempdir().unwrap();
    let (top, disk) = (home.path().join("tree"), home.path().join("disk"));
    fs::create_dir(&top).unwrap();
    fs::create_dir(&disk).unwrap();
    fs::write(top.join("large"), noise(1, 6 << 20)).unwrap();
    fs::write(top.join("small"), noise(2, 100_000)).unwrap();
    let done = cluster().run("acme-writer", ["backup", text(&top), "--vault", &cluster().vault()]).done();
    let (id, profile) = (done["snapshot"].as_str().unwrap(), cluster().profile("acme-restorer"));
    let program = env!("CARGO_BIN_EXE_strongroom");
    // What is there afterwards, the staging directory too, is counted on stderr.
    let restore = r#""$1" --json --profile "$2" restore "$3" --to "$0/to" $4; code=$?; echo "left: $(ls -A "$0" | tr '\n' ' ')" >&2; exit $code"#;
    let Some(output) = on_a_small_disk(&disk, restore, &[program, text(&profile), id, ""]) else {
        eprintln!("not tested, because this kernel gives no mount namespace: a full disk");
        return;
    };
    let ran = Ran::from(output);
    let error = ran.error(3);
    assert_eq!((&error["code"], &error["reason"]), (&"RESOURCE_EXHAUSTED".into(), &"NO_SPACE".into()), "{error}");
    let message = error["message"].as_str().unwrap();
    assert!(message.contains("6391456 bytes are needed") && message.contains("bytes free"), "{message}");
    assert!(ran.stderr.ends_with("left: \n"), "nothing is left: {}", ran.stderr);

    // What fits is restored.
    let fits = on_a_small_disk(&disk, restore, &[program, text(&profile), id, "small"]).map(Ran::from).unwrap();
    assert_eq!(fits.done()["files"], 1, "{}", fits.stderr);
    assert!(fits.stderr.contains("left: to"), "{}", fits.stderr);
}
