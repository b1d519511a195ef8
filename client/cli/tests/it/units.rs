//! The units and the profile in `deploy/`: what they start is a command line of this program, and systemd takes them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::program::{run, strongroom};

fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy")
}

/// The units of a client.
fn units() -> Vec<PathBuf> {
    let names = ["strongroom-backup@.service", "strongroom-backup@.timer", "strongroom-notify@.service"];
    names.map(|name| deploy().join(name)).into()
}

/// What follows each `BACKUP=` in the units and on the page.
fn examples() -> Vec<String> {
    let mut found = Vec::new();
    for file in ["strongroom-backup@.service", "client-backups.md"] {
        let text = fs::read_to_string(deploy().join(file)).unwrap();
        let lines = text.lines().filter_map(|line| line.split_once("BACKUP=")).map(|(_, rest)| rest);
        found.extend(lines.map(|rest| rest.split('\'').next().unwrap().to_owned()));
    }
    assert!(4 <= found.len(), "{found:?}");
    found
}

#[test]
fn the_unit_starts_a_backup_with_every_line_that_the_page_shows() {
    let unit = fs::read_to_string(deploy().join("strongroom-backup@.service")).unwrap();
    let line = unit.lines().find_map(|line| line.strip_prefix("ExecStart=/usr/local/bin/strongroom ")).unwrap();
    for example in examples() {
        let line = line.replace("$BACKUP", &example).replace("/etc/strongroom/%i.toml", "/absent/web-1.toml");
        let ran = strongroom().args(line.split_whitespace()).output().unwrap();
        // The command line makes sense; there is no such profile, or path, here.
        let stderr = String::from_utf8_lossy(&ran.stderr);
        assert_eq!(ran.status.code(), Some(1), "{line}: {stderr}");
        assert!(stderr.contains("/absent/web-1.toml") || stderr.contains("cannot read"), "{line}: {stderr}");
    }
}

#[test]
fn systemd_takes_the_units() {
    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        eprintln!("systemd-analyze is not installed: nobody reads the units here");
        return;
    }
    let home = tempfile::tempdir().unwrap();
    for unit in units() {
        let text =
            fs::read_to_string(&unit).unwrap().replace("/usr/local/bin/strongroom", env!("CARGO_BIN_EXE_strongroom"));
        fs::write(home.path().join(unit.file_name().unwrap()), text).unwrap();
    }
    let instances = ["strongroom-backup@web-1.service", "strongroom-backup@web-1.timer", "strongroom-notify@x.service"];
    let mut command = Command::new("systemd-analyze");
    // Alone: the units of this machine are not ours to judge.
    command.arg("verify").arg("--man=no").env("SYSTEMD_UNIT_PATH", format!("{}:", home.path().display()));
    let verified = command.args(instances.map(|name| home.path().join(name))).output().unwrap();
    let said = String::from_utf8_lossy(&verified.stderr);
    let ours: Vec<&str> = said.lines().filter(|line| line.contains("strongroom")).collect();
    assert!(ours.is_empty(), "{said}");
}

#[test]
fn the_example_of_a_profile_is_read_as_far_as_its_files() {
    let profile = deploy().join("profile.example.toml");
    let ran = run(["--json", "--profile", profile.to_str().unwrap(), "snapshots"]);
    let error = ran.error(1);
    assert!(error["message"].as_str().unwrap().contains("deploy/web-1.pem"), "{error}");
}
