//! Backup and restore by an ordinary user. Becoming one takes root: where these tests run as an ordinary user, they say
//! so, and every other test shows the same.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::cluster::cluster;
use crate::program::Ran;

/// `nobody`, on most machines; it need not have a name.
const USER: u32 = 65_534;

/// A user with a program and profiles of its own.
struct Ordinary {
    home: tempfile::TempDir,
}

impl Ordinary {
    /// `None` if we are no root.
    fn new() -> Option<Self> {
        let home = tempfile::tempdir().unwrap();
        if fs::metadata(home.path()).unwrap().uid() != 0 {
            eprintln!("not run by root: nothing was tested");
            return None;
        }
        // Where the program was built others may not go.
        fs::copy(env!("CARGO_BIN_EXE_strongroom"), home.path().join("strongroom")).unwrap();
        chown(home.path(), Some(USER), Some(USER)).unwrap();
        Some(Self { home })
    }

    fn at(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// Runs the program with a copy of a profile and of all that it names.
    fn run<const N: usize>(&self, profile: &str, arguments: [&str; N]) -> Ran {
        let copy = self.at(profile);
        if !copy.exists() {
            let text = fs::read_to_string(cluster().profile(profile)).unwrap();
            let take = |(number, part): (usize, &str)| {
                if number % 2 == 0 || !part.starts_with('/') {
                    return part.to_owned();
                }
                let to = self.at(&format!("{profile}-{number}"));
                match fs::copy(part, &to) {
                    Ok(_) => fs::set_permissions(&to, fs::Permissions::from_mode(0o600)).unwrap(),
                    Err(_) => fs::create_dir(&to).unwrap(),
                }
                chown(&to, Some(USER), Some(USER)).unwrap();
                to.into_os_string().into_string().unwrap()
            };
            let parts: Vec<String> = text.split('"').enumerate().map(take).collect();
            fs::write(&copy, parts.join("\"")).unwrap();
            chown(&copy, Some(USER), Some(USER)).unwrap();
        }
        let mut command = Command::new(self.at("strongroom"));
        command.env_clear().current_dir(self.home.path()).uid(USER).gid(USER);
        command.args(["--json", "--profile"]).arg(copy).args(arguments);
        command.output().map(Ran::from).unwrap()
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn of_type(ran: &Ran, kind: &str) -> Vec<Value> {
    ran.lines().into_iter().filter(|line| line["type"] == kind).collect()
}

#[test]
fn an_ordinary_user_gets_all_but_what_only_root_gives_and_is_told() {
    let Some(ordinary) = Ordinary::new() else { return };
    let (cluster, source) = (cluster(), tempfile::tempdir().unwrap());
    let at = |name: &str| source.path().join(name);
    fs::create_dir(at("inner")).unwrap();
    fs::write(at("inner/file"), "content").unwrap();
    fs::hard_link(at("inner/file"), at("its other name")).unwrap();
    fs::write(at("program"), "#!/bin/true").unwrap();
    chown(at("program"), Some(4242), Some(4242)).unwrap();
    fs::set_permissions(at("program"), fs::Permissions::from_mode(0o4755)).unwrap();
    assert!(Command::new("mkfifo").arg(at("pipe")).status().unwrap().success());
    // A container may forbid it.
    let has_device = Command::new("mknod").arg(at("disk")).args(["b", "7", "250"]).status().unwrap().success();
    let backup =
        cluster.run("acme-writer", ["backup", text(source.path()), "--vault", &cluster.vault(), "--name", "x"]).done();

    let to = ordinary.at("restored");
    let id = backup["snapshot"].as_str().unwrap();
    let ran = ordinary.run("acme-restorer", ["restore", id, "--to", text(&to), "--special"]);
    assert_eq!(ran.code, if has_device { 5 } else { 0 }, "{}{}", ran.stdout, ran.stderr);
    let skipped: Vec<Value> = of_type(&ran, "skipped").into_iter().map(|line| line["path"].clone()).collect();
    assert_eq!(skipped, if has_device { vec![Value::from("disk")] } else { vec![] });
    let lacks = of_type(&ran, "not_given");
    let lack = |what: &str| lacks.iter().find(|lack| lack["what"] == what).map(|lack| lack["entries"].clone());
    // The top, `inner`, `file`, `program`, `pipe`; and the bit that would lend nobody's rights.
    assert_eq!((lack("owner"), lack("power"), lacks.len()), (Some(5.into()), Some(1.into()), 2), "{}", ran.stdout);
    let notes: Vec<&str> = ran.stderr.lines().filter(|line| line.contains("restored without")).collect();
    assert_eq!(notes.len(), 2, "one line a reason: {}", ran.stderr);

    let about = |name: &str| fs::symlink_metadata(to.join(name)).unwrap();
    for name in ["", "inner", "inner/file", "its other name", "program", "pipe"] {
        assert_eq!((about(name).uid(), about(name).gid()), (USER, USER), "{name}");
    }
    assert_eq!(fs::read_to_string(to.join("its other name")).unwrap(), "content");
    assert_eq!(about("inner/file").ino(), about("its other name").ino());
    assert_eq!(about("program").permissions().mode() & 0o7777, 0o755);
    assert_eq!(about("program").mtime_nsec(), fs::metadata(at("program")).unwrap().mtime_nsec());
}

#[test]
fn an_ordinary_user_backs_up_what_it_may_read_and_the_rest_is_named() {
    let Some(ordinary) = Ordinary::new() else { return };
    let source = ordinary.at("source");
    fs::create_dir(&source).unwrap();
    fs::write(source.join("mine"), "mine").unwrap();
    fs::write(source.join("root's"), "secret").unwrap();
    fs::set_permissions(source.join("root's"), fs::Permissions::from_mode(0o600)).unwrap();
    for name in ["", "mine"] {
        chown(source.join(name), Some(USER), Some(USER)).unwrap();
    }
    let ran = ordinary.run("acme-writer", ["backup", text(&source), "--vault", &cluster().vault(), "--name", "x"]);
    assert_eq!((ran.code, &ran.last()["skipped"]), (5, &Value::from(1)), "{}{}", ran.stdout, ran.stderr);
    assert_eq!(of_type(&ran, "skipped")[0]["path"], "root's");

    let (to, id) = (ordinary.at("restored"), ran.last()["snapshot"].as_str().unwrap().to_owned());
    let ran = ordinary.run("acme-restorer", ["restore", &id, "--to", text(&to)]);
    ran.done();
    assert!(of_type(&ran, "not_given").is_empty(), "{}", ran.stdout);
    assert_eq!(fs::read_dir(&to).unwrap().count(), 1);
    assert_eq!(fs::read_to_string(to.join("mine")).unwrap(), "mine");
    assert_eq!(fs::metadata(to.join("mine")).unwrap().uid(), USER);
}
