//! What people and scripts get wrong: each case ends with the code that says what to do, an error object that names what is
//! wrong and what would be right, and changes nothing.
//!
//! Not here: command lines without a cluster that are covered by their own tests (`arguments.rs`), paths of a snapshot
//! (`reading.rs`).

use std::ffi::OsStr;
use std::fs;
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::cluster::cluster;
use crate::program::{Ran, run, run_json, run_with_input, strongroom};

/// A command line, the code with which it ends, its reason, and what its message and its next step say.
type Case<'a> = (&'a [&'a str], i32, &'a str, &'a str, &'a str);

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[track_caller]
fn says(ran: &Ran, (line, code, reason, message, next): Case<'_>) {
    assert!(!ran.stderr.contains("panicked"), "{line:?}: {}", ran.stderr);
    assert_eq!(ran.code, code, "{line:?}: {}{}", ran.stdout, ran.stderr);
    let error = ran.error(code);
    assert_eq!(error["reason"], reason, "{line:?}: {error}");
    for (field, part) in [("message", message), ("next", next)] {
        let told = error[field].as_str().unwrap();
        assert!(told.contains(part), "{line:?}: {field} lacks {part:?}: {error}");
        assert!(told.chars().count() < 1000 && !told.contains('\n'), "{line:?}: {error}");
    }
}

/// A vault with one snapshot, and a directory to work in.
struct Ground {
    home: tempfile::TempDir,
    vault: String,
    snapshot: String,
}

impl Ground {
    fn new() -> Self {
        let (home, vault) = (tempfile::tempdir().unwrap(), cluster().vault());
        let source = home.path().join("source");
        fs::create_dir(&source).unwrap();
        fs::write(source.join("a"), "contents").unwrap();
        fs::write(home.path().join("file"), "x").unwrap();
        let done =
            cluster().run("acme-writer", ["backup", text(&source), "--vault", &vault, "--name", "nightly"]).done();
        Self { vault, snapshot: done["snapshot"].as_str().unwrap().to_owned(), home }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.home.path()).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    fn snapshots(&self) -> Vec<Value> {
        cluster().run("acme-writer", ["snapshots", "--vault", &self.vault]).lines()
    }

    /// Tries all of them, and looks whether anything changed.
    fn try_all(&self, profile: &str, cases: &[Case<'_>]) {
        let before = (self.names(), self.snapshots());
        for case in cases {
            let mut command = strongroom();
            command.arg("--json").arg("--profile").arg(cluster().profile(profile)).args(case.0);
            command.current_dir(self.home.path()).stdin(Stdio::null());
            says(&command.output().map(Ran::from).unwrap(), *case);
        }
        assert_eq!((self.names(), self.snapshots()), before, "nothing is made and nothing is lost");
    }
}

const HELP: &str = "strongroom backup --help";

#[test]
fn backups_that_make_no_sense_say_what_would() {
    let ground = Ground::new();
    let vault = ground.vault.as_str();
    let v = "v".repeat(9000);
    let (many, named, long) = (format!("k={v}"), ["--vault", vault, "--name", "n"], "x".repeat(300));
    let with = |more: &[&'static str]| -> Vec<&str> { [&["backup"][..], more, &named[..]].concat() };
    let lines: Vec<(Vec<&str>, i32, &str, &str, &str)> = vec![
        (vec!["backup", "--wat"], 2, "USAGE", "'--wat'", HELP),
        (vec!["backup", "source"], 2, "USAGE", "--vault <VAULT>", HELP),
        (vec!["backup", "source", "--vault"], 2, "USAGE", "--vault", HELP),
        (vec!["backup", "source", "--vault", ""], 2, "USAGE", "at least one character", HELP),
        (vec!["backup", "source", "--vault", vault, "--name", ""], 2, "USAGE", "at least one character", HELP),
        (vec!["backup", "source", "--vault", vault, "--name", "a\nb"], 2, "USAGE", "--name <LABEL>", HELP),
        (vec!["backup", "source", "--vault", "nosuch", "--name", "n"], 3, "NOT_FOUND", "no vault nosuch", "vault list"),
        (with(&["", "source"]), 2, "USAGE", "PATH", HELP),
        (with(&["absent"]), 1, "FAILED", "absent", "mend"),
        (with(&["source", "./source"]), 3, "SOURCES", "same base name", "different base names"),
        (with(&["source", "--limit-upload", "0"]), 2, "USAGE", "is no rate", HELP),
        (with(&["source", "--limit-upload", "-1"]), 2, "USAGE", "'-1'", HELP),
        (with(&["source", "--limit-upload=-5K"]), 2, "USAGE", "10MiB", HELP),
        (with(&["source", "--limit-upload", "99999999999999999999T"]), 2, "USAGE", "is no rate", HELP),
        (with(&["source", "--limit-upload", ""]), 2, "USAGE", "is no rate", HELP),
        (with(&["source", "--stdin", "x"]), 2, "USAGE", "cannot be used with '--stdin <NAME>'", HELP),
        (with(&["--stdin", "a/b"]), 3, "SOURCES", "no `/`", "db.sql"),
        (with(&["--stdin", ""]), 3, "SOURCES", "1 to 255 bytes", "db.sql"),
        (with(&["--from-command", "x"]), 2, "USAGE", "PATH", HELP),
        (with(&["source", "--exclude", "["]), 2, "USAGE", "not closed", HELP),
        (with(&["source", "--exclude-file", "absent"]), 2, "USAGE", "absent", "one glob a line"),
        (with(&["source", "--exclude-file", "source"]), 2, "USAGE", "directory", "one glob a line"),
        (with(&["source", "--tag", "novalue"]), 2, "USAGE", "KEY=VALUE", HELP),
        (with(&["source", "--tag", "k=1", "--tag", "k=2"]), 2, "USAGE", "given twice", "once"),
        (with(&["source", "--join", "nope"]), 2, "USAGE", "VAULT:ID", HELP),
        (with(&["source", "--deadline", "0"]), 2, "USAGE", "60s", HELP),
    ];
    let cases: Vec<Case<'_>> = lines.iter().map(|(line, code, r, m, n)| (&line[..], *code, *r, *m, *n)).collect();
    ground.try_all("acme-writer", &cases);
    ground.try_all(
        "acme-writer",
        &[
            (&["backup", "source", "--vault", vault, "--name", "n", "--tag", &many], 2, "USAGE", "--tag", HELP),
            (
                &["backup", "--vault", vault, "--name", "n", "--from-command", "x", "--", "/absent"],
                1,
                "FAILED",
                "cannot start /absent",
                "mend",
            ),
            (
                &["backup", "--vault", vault, "--name", "n", "--from-command", "x", "--", "false"],
                1,
                "FAILED",
                "nothing of it was committed",
                "mend",
            ),
            (&["backup", "--stdin", &long, "--vault", vault, "--name", "n"], 3, "SOURCES", "255 bytes", "db.sql"),
        ],
    );
    for profile in ["acme-restorer", "acme-admin"] {
        ground.try_all(profile, &[(&with(&["source"]), 3, "NO_KEY", "no writer key", "[keys]")]);
    }
    ground.try_all("operator", &[(&with(&["source"]), 3, "PROFILE", "not that of a tenant", "profile of the tenant")]);
    // Bytes that are no text, where a text belongs.
    let odd: [&OsStr; 6] = ["backup", "source", "--vault", vault, "--name", ""].map(OsStr::new);
    let odd: Vec<&OsStr> = odd.into_iter().take(5).chain([OsStr::from_bytes(b"\xff\xfe")]).collect();
    assert_eq!(run_json(&cluster().profile("acme-writer"), odd).error(2)["reason"], "USAGE");
}

#[test]
fn restores_that_make_no_sense_say_what_would_and_write_nothing() {
    let ground = Ground::new();
    let (vault, id, long) = (ground.vault.as_str(), ground.snapshot.as_str(), "x".repeat(300));
    let help = "strongroom restore --help";
    fs::create_dir(ground.at("full")).unwrap();
    fs::write(ground.at("full/of"), "things").unwrap();
    ground.try_all(
        "acme-restorer",
        &[
            (&["restore", id], 2, "USAGE", "--to <DIR>", help),
            (&["restore", "--to", "new"], 2, "USAGE", "<SNAPSHOT>", help),
            (&["restore", id, "--to", ""], 2, "USAGE", "--to <DIR>", help),
            (&["restore", id, "--to", "file"], 3, "TARGET_MISMATCH", "no directory", "--into"),
            (&["restore", id, "--to", "file/x"], 1, "FAILED", "file", "mend"),
            (&["restore", id, "--to", "full"], 3, "TARGET_MISMATCH", "not empty", "--into"),
            (&["restore", id, "--to", "/"], 3, "TARGET_MISMATCH", "no place to restore to", "name a directory"),
            (&["restore", id, "--to", "/proc/x"], 1, "FAILED", "/proc/x", "mend"),
            (&["restore", id, "--to", &long], 1, "FAILED", "too long", "mend"),
            (&["restore", id, "absent", "--to", "new"], 3, "NOT_FOUND", "absent", "strongroom ls"),
            (&["restore", id, "", "--to", "new"], 3, "SELECTION", "empty path", "strongroom ls"),
            (&["restore", id, "a", "", "--to", "new"], 3, "SELECTION", "empty path", "strongroom ls"),
            (&["restore", id, "../a", "--to", "new"], 3, "SELECTION", "`..`", "strongroom ls"),
            (&["restore", id, "--path", "no*", "--to", "new"], 3, "NOT_FOUND", "nothing in the snapshot", "find"),
            (&["restore", id, "--path", "[", "--to", "new"], 3, "SELECTION", "not closed", help),
            (&["restore", id, "--path", "", "--to", "new"], 3, "SELECTION", "names nothing", help),
            (&["restore", id, "a", "--path", "a", "--to", "new"], 2, "USAGE", "--path <GLOB>", help),
            (&["restore", id, "--to", "new", "--limit-download", "0"], 2, "USAGE", "is no rate", help),
            (&["restore", "latest", "--to", "new"], 2, "USAGE", "which vault", "--vault"),
            (&["restore", "LATEST", "--to", "new"], 2, "USAGE", "`latest`", help),
            (&["restore", &id[..7], "--to", "new"], 2, "USAGE", "first 8", help),
            (&["restore", &"f".repeat(33), "--to", "new"], 2, "USAGE", "32 hex digits", help),
            (&["restore", "ffffffff", "--to", "new"], 3, "NOT_FOUND", "ffffffff", "strongroom snapshots"),
            (&["restore", &"f".repeat(32), "--to", "new"], 3, "NOT_FOUND", "ffffffff", "strongroom snapshots"),
            (&["restore", "latest", "--vault", "nosuch", "--to", "new"], 3, "NOT_FOUND", "nosuch", "vault list"),
            (
                &["restore", "latest", "--vault", vault, "--name", "nosuch", "--to", "new"],
                3,
                "NOT_FOUND",
                "no such snapshot",
                "strongroom snapshots",
            ),
            (&["verify", id, "--sample", "0"], 2, "USAGE", "5%", "strongroom verify --help"),
            (&["verify", id, "--sample", "101%"], 2, "USAGE", "up to 100", "strongroom verify --help"),
            (&["diff", id], 2, "USAGE", "required", "strongroom diff --help"),
            (&["diff", id, "ffffffff"], 3, "NOT_FOUND", "ffffffff", "strongroom snapshots"),
            (&["find", id, "--newer", "soon"], 2, "USAGE", "2026-11-26", "strongroom find --help"),
            (&["find", id, "--name", "["], 2, "USAGE", "not closed", "strongroom find --help"),
            (&["dump", id, "--format", "zip"], 2, "USAGE", "possible values", "strongroom dump --help"),
        ],
    );
    ground.try_all("acme-writer", &[(&["restore", id, "--to", "new"], 3, "NO_KEY", "no restorer key", "[keys]")]);
    // Where stdout holds contents, the error is stderr's last line.
    for (path, reason, says) in [("/", "NOT_A_FILE", "the top"), ("absent", "NOT_FOUND", "absent")] {
        let ran = run_json(&cluster().profile("acme-restorer"), ["cat", id, path]);
        let error: Value = serde_json::from_str(ran.stderr.lines().last().unwrap()).unwrap();
        assert_eq!((ran.code, ran.stdout.as_str(), &error["reason"]), (3, "", &Value::from(reason)), "{error}");
        assert!(error["message"].as_str().unwrap().contains(says), "{error}");
    }
}

#[test]
fn orders_of_admins_that_make_no_sense_say_what_would_and_change_nothing() {
    let ground = Ground::new();
    let (vault, id, long) = (ground.vault.as_str(), ground.snapshot.as_str(), "x".repeat(5000));
    let set = "strongroom vault policy set";
    let open = ground.at("open.key");
    fs::write(&open, "anything").unwrap();
    fs::set_permissions(&open, fs::Permissions::from_mode(0o644)).unwrap();
    ground.try_all(
        "acme-admin",
        &[
            (&["delete", id], 2, "USAGE", "--reason <TEXT>", "strongroom delete --help"),
            (&["delete", id, "--reason", ""], 3, "INVALID", "says why", "correct"),
            (&["delete", id, "--reason", &long], 3, "INVALID", "too long", "correct"),
            (&["delete", id, "--reason", "a\x07b"], 3, "INVALID", "control characters", "correct"),
            (&["delete", "ffffffff", "--reason", "x"], 3, "NOT_FOUND", "ffffffff", "strongroom snapshots"),
            (&["vault", "create"], 2, "USAGE", "<NAME>", "strongroom vault create --help"),
            (&["vault", "create", ""], 2, "USAGE", "at least one", "strongroom vault create --help"),
            (&["vault", "create", vault], 3, "NAME_RETIRED", "used before", "another"),
            (&["vault", "create", &long[..64]], 2, "USAGE", "at most 63", "strongroom vault create --help"),
            (&["vault", "create", "y", "--root-key", "absent"], 1, "FAILED", "absent", "mend"),
            (&["vault", "create", "y", "--root-key", "source"], 1, "FAILED", "directory", "mend"),
            (&["vault", "create", "y", "--root-key", "open.key"], 3, "KEY_FILE", "read by others", "chmod 600"),
            (&["vault", "create", "y", "--recipient", "file"], 3, "KEY_FILE", "file", "right key file"),
            (&["vault", "create", "y", "--least-regions", "9"], 3, "TOO_THIN", "9 regions", "or fewer"),
            (&["vault", "show", "nosuch"], 3, "NOT_FOUND", "no vault nosuch", "vault list"),
            (&["vault", "delete", vault, "--reason", "x"], 3, "VAULT_NOT_EMPTY", "snapshots are left", "delete"),
            (&["vault", "policy", "set", vault, "--reason", "x"], 2, "USAGE", "nothing is to be set", set),
            (
                &["vault", "policy", "set", vault, "--least-regions", "9", "--reason", "x"],
                3,
                "TOO_THIN",
                "9",
                "or fewer",
            ),
            (&["vault", "policy", "set", vault, "--max", "1d"], 2, "USAGE", "--reason", set),
            (&["vault", "policy", "set", vault, "--max", "0", "--reason", "x"], 2, "USAGE", "30d", set),
            (
                &["vault", "policy", "set", vault, "--max", "99999y", "--reason", "x"],
                3,
                "LOCK_OUT_OF_RANGE",
                "36599634 d",
                "200 years",
            ),
            (
                &["vault", "policy", "set", vault, "--min", "5d", "--max", "1d", "--reason", "x"],
                3,
                "LOCK_OUT_OF_RANGE",
                "5 d to 1 d",
                "--min at most --max",
            ),
            (
                &["vault", "policy", "set", vault, "--keep-daily", "7", "--max", "1d", "--reason", "x"],
                3,
                "LOCK_OUT_OF_RANGE",
                "keep rule 7 d",
                "keep rules at most --max",
            ),
            (
                &["vault", "policy", "set", vault, "--keep-last", "7", "--reason", "x"],
                3,
                "INVALID",
                "say how often",
                "correct",
            ),
            (&["vault", "policy", "set", vault, "--lock", "governance", "--reason", "x"], 2, "USAGE", "30d", set),
            (&["vault", "quota", "set", vault], 2, "USAGE", "something is", "--unlimited"),
            (&["vault", "quota", "set", vault, "--stored", "x"], 2, "USAGE", "1.5GiB", "strongroom vault quota set"),
            (&["vault", "quota", "set", vault, "--sessions", "3"], 3, "INVALID", "no sessions", "correct"),
            (&["identity", "token", "w", "--role", "node"], 2, "USAGE", "is no role", "strongroom identity token"),
            (&["identity", "token", "writer", "--role", "writer"], 3, "IDENTITY_TAKEN", "writer", "another id"),
            (&["identity", "close", "nosuch", "--reason", "x"], 3, "NOT_FOUND", "no such thing", "check"),
            (&["lock", "extend", id], 2, "USAGE", "--length", "strongroom lock extend --help"),
            (
                &["lock", "extend", id, "--length", "1d"],
                3,
                "LOCK_OUT_OF_RANGE",
                "permits no locks",
                "strongroom vault policy set",
            ),
            (
                &["lock", "extend", id, "--length", "1d", "--until-date", "2030-01-01"],
                2,
                "USAGE",
                "cannot be used with",
                "strongroom lock extend --help",
            ),
            (
                &["lock", "extend", id, "--until-date", "2030-13-45"],
                2,
                "USAGE",
                "2026-11-26",
                "strongroom lock extend --help",
            ),
            (&["lock", "weaken", id, "--length", "1d", "--reason", "x"], 3, "NOT_FOUND", "no lock", "lock show"),
            (&["lock", "cancel", id], 3, "NOT_FOUND", "no wish to weaken", "lock show"),
            (&["audit", "list", "--since", "2026-02-30"], 2, "USAGE", "2026-11-26", "strongroom audit list --help"),
        ],
    );
    ground.try_all(
        "acme-legal",
        &[
            (&["hold", "add", id, "Case 7"], 2, "USAGE", "a-z", "strongroom hold add --help"),
            (
                &["hold", "remove", id, "nosuch", "--reason", "x"],
                3,
                "NOT_FOUND",
                "no hold of the name nosuch",
                "lock show",
            ),
        ],
    );
    ground.try_all(
        "acme-writer",
        &[
            (&["delete", id, "--reason", "x"], 3, "ROLE", "role", "profile"),
            (&["receipt", "verify", "file"], 3, "UNSUPPORTED_FORMAT", "receipt", "update"),
            (&["receipt", "get", id, "--out", "file"], 3, "EXISTS", "file", "another file"),
            (&["receipt", "get", id, "--out", "-"], 2, "USAGE", "`-` is no file", "name a file"),
            (&["ticket", "show", "nope"], 2, "USAGE", "VAULT:ID", "strongroom ticket show --help"),
        ],
    );
    ground.try_all(
        "operator",
        &[
            (&["issuer", "register", "file", "--plane", "tenant"], 3, "ISSUER", "no certificates", "PEM"),
            (&["tenant", "create", "x", "--founding", "file"], 3, "FOUNDING", "founding record", "init-key root"),
            (&["tenant", "suspend", "x", "--reason", "y"], 2, "USAGE", "32 lower-case hex digits", "tenant suspend"),
            (&["node", "token", "n", "--region", "eu", "--lifetime", "2h"], 3, "INVALID", "1 h", "correct"),
            (&["shard", "create", "nosuch"], 3, "INVALID", "nosuch", "correct"),
            (&["usage"], 3, "PROFILE", "not that of a tenant", "profile of the tenant"),
        ],
    );
}

#[test]
fn commands_that_need_no_cluster_say_what_is_wrong_too() {
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join("file"), "x").unwrap();
    let out = home.path().join("out");
    let out = text(&out);
    let dash = ["init-key", "signing", "--out", "-"];
    for case in [
        (&["init-key"][..], 2, "USAGE", "`strongroom init-key` needs a command", "strongroom init-key --help"),
        (&["vault", "policy"], 2, "USAGE", "`strongroom vault policy` needs a command", "vault policy --help"),
        (&[], 2, "USAGE", "strongroom", "strongroom --help"),
        (&[""], 2, "USAGE", "unrecognized subcommand", "strongroom --help"),
        (&["backpu"], 2, "USAGE", "unrecognized subcommand 'backpu'", "similar"),
        (&["--profile", "", "status"], 2, "USAGE", "--profile <FILE>", "--help"),
        (&["status"], 2, "USAGE", "no profile", "STRONGROOM_PROFILE"),
        (&dash[..], 2, "USAGE", "`-` is no file", "name a file"),
        (&["init-key", "signing", "--out", "/absent/x"], 1, "FAILED", "/absent/x", "mend"),
        (&["init-key", "signing", "--out", text(home.path())], 3, "EXISTS", "nothing is written over", "another"),
        (
            &["init-key", "writer", "--founding", text(home.path()), "--writer", "w", "--out", out],
            1,
            "FAILED",
            "directory",
            "mend",
        ),
        (&["key", "sheet", text(home.path())], 1, "FAILED", "directory", "mend"),
        (&["enrol", "garbage", "--out", out], 3, "TOKEN_TEXT", "begins with", "copy all"),
        (&["completions", "fishh"], 2, "USAGE", "possible values", "completions --help"),
        (&["man", "--out", "/absent"], 1, "FAILED", "/absent", "mend"),
    ] {
        says(&run([&["--json"], case.0].concat()), case);
    }
    says(
        &run_with_input(["key", "recover", "-", "--out", out], ""),
        (&["key", "recover"], 3, "SHEET", "no recovery sheet", "compare"),
    );
    assert!(!Path::new(out).exists() && !Path::new("-").exists(), "nothing was made");
}

#[test]
fn a_profile_whose_files_are_not_what_they_should_be_names_them() {
    let home = tempfile::tempdir().unwrap();
    let at = |name: &str| home.path().join(name);
    let text_of = fs::read_to_string(cluster().profile("acme-writer")).unwrap();
    let secret = |name: &str, content: &[u8], mode: u32| {
        fs::write(at(name), content).unwrap();
        fs::set_permissions(at(name), fs::Permissions::from_mode(mode)).unwrap();
    };
    secret("garbage", b"garbage\n", 0o600);
    secret("empty", b"", 0o600);
    let writer = fs::read(cluster().tenant_file("acme", "writer.writer")).unwrap();
    secret("open", &writer, 0o640);
    let of_globex = |name: &str| cluster().tenant_file("globex", name);
    let (source, vault) = (at("garbage"), cluster().vault());
    let backup = ["backup", text(&source), "--vault", &vault, "--name", "n"];
    for (key, file, code, reason, says_what) in [
        ("certificate", at("absent"), 1, "FAILED", "absent"),
        ("certificate", home.path().to_path_buf(), 1, "FAILED", "directory"),
        ("certificate", at("garbage"), 3, "KEY_FILE", "garbage: no certificates"),
        ("key", at("garbage"), 3, "KEY_FILE", "garbage: no private key"),
        ("key", of_globex("writer.key"), 3, "KEY_FILE", "does not belong to the certificate"),
        ("roots", at("empty"), 3, "KEY_FILE", "empty: no certificates"),
        ("writer", at("garbage"), 3, "KEY_FILE", "garbage"),
        ("writer", at("empty"), 3, "KEY_FILE", "empty"),
        ("writer", at("open"), 3, "KEY_FILE", "read by others"),
        ("writer", home.path().to_path_buf(), 1, "FAILED", "directory"),
        ("writer", of_globex("writer.writer"), 3, "KEY_FILE", "another tenant"),
        ("signing", of_globex("writer.signing"), 3, "NO_CARD", "card"),
        ("state", at("garbage"), 1, "FAILED", "garbage"),
    ] {
        let lines = text_of.lines().map(|line| match line.split_once(" = ") {
            Some((name, _)) if name == key => format!("{key} = {file:?}\n"),
            Some(_) | None => format!("{line}\n"),
        });
        let changed: String = lines.collect();
        assert_ne!(changed, text_of, "{key}");
        let profile = at("profile.toml");
        fs::write(&profile, changed).unwrap();
        let ran = run_json(&profile, backup);
        says(&ran, (&[key, text(&file)], code, reason, says_what, ""));
    }
}

/// A key file that is a pipe to which nobody writes: the program waits for it, but not against an interrupt.
#[test]
fn a_program_that_waits_for_a_file_ends_when_it_is_interrupted() {
    let home = tempfile::tempdir().unwrap();
    let fifo = home.path().join("fifo");
    assert!(std::process::Command::new("mkfifo").args(["-m", "600", text(&fifo)]).status().unwrap().success());
    for signal in ["-INT", "-TERM"] {
        let mut command = strongroom();
        command.args(["--json", "key", "sheet", text(&fifo)]);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        // It has opened it for reading when we can for writing; then it waits for what we do not write.
        let writing = fs::OpenOptions::new().write(true).open(&fifo).unwrap();
        let pid = child.id().to_string();
        assert!(std::process::Command::new("kill").args([signal, &pid]).status().unwrap().success());
        assert_eq!(ended(&mut child), Some(130), "{signal}");
        let mut said = String::new();
        child.stdout.take().unwrap().read_to_string(&mut said).unwrap();
        assert!(said.lines().last().unwrap().contains("INTERRUPTED"), "{said}");
        drop(writing);
    }
}

fn ended(child: &mut Child) -> Option<i32> {
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(60) {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code();
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    child.kill().unwrap();
    None
}
