//! What `backup` takes in: what is left out on request, what comes by a pipe, what is noted about it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::{Value, json};

use crate::cluster::cluster;
use crate::program::{Ran, run, run_json, run_with_input, strongroom};
use crate::trees::{noise, text};

fn tree(home: &Path) -> PathBuf {
    let top = home.join("www");
    for (file, bytes) in [("index.html", "hello"), ("a.o", "o"), ("src/b.o", "o"), ("src/b.c", "c"), ("tmp/x", "x")] {
        fs::create_dir_all(top.join(file).parent().unwrap()).unwrap();
        fs::write(top.join(file), bytes).unwrap();
    }
    top
}

fn names(backup: &Value) -> Vec<String> {
    let listed = cluster().run("acme-restorer", ["ls", backup["snapshot"].as_str().unwrap()]);
    listed.done();
    let entries = listed.lines().into_iter().filter(|line| line["type"] == "entry");
    entries.map(|entry| entry["path"].as_str().unwrap().to_owned()).collect()
}

fn writer(arguments: &[&str]) -> Ran {
    run_json(&cluster().profile("acme-writer"), arguments)
}

#[test]
fn what_is_excluded_is_not_in_the_snapshot_and_not_counted_as_skipped() {
    let (vault, home) = (cluster().vault(), tempfile::tempdir().unwrap());
    let top = tree(home.path());
    let file = home.path().join("exclude");
    fs::write(&file, "# objects\n*.o\n").unwrap();
    let backup = |flags: &[&str]| {
        let arguments = [&["backup", text(&top), "--vault", &vault][..], flags].concat();
        names(&writer(&arguments).done())
    };
    assert_eq!(backup(&["--exclude", "*.o", "--exclude", "/tmp"]), ["index.html", "src", "src/b.c"]);
    assert_eq!(
        backup(&["--exclude-file", text(&file), "--exclude", "!/a.o", "--exclude", "src/"]),
        ["a.o", "index.html", "tmp", "tmp/x"]
    );
    let planned = writer(&["backup", text(&top), "--vault", &vault, "--exclude", "*.o", "--dry-run"]).done();
    assert_eq!((&planned["files"], &planned["dirs"], &planned["bytes"]), (&json!(3), &json!(2), &json!(7)));
}

#[test]
fn a_dry_run_commits_nothing() {
    let (cluster, home) = (cluster(), tempfile::tempdir().unwrap());
    let (vault, top) = (cluster.vault(), tree(home.path()));
    let planned = writer(&["backup", text(&top), "--vault", &vault, "--dry-run", "--one-file-system"]).done();
    assert_eq!((&planned["files"], &planned["bytes_to_read"]), (&json!(5), &json!(9)));
    assert_eq!(cluster.run("acme-writer", ["snapshots", "--vault", &vault]).done()["count"], 0);
    writer(&["backup", text(&top), "--vault", "absent", "--dry-run"]).error(3);
}

#[test]
fn what_comes_on_stdin_is_one_file() {
    let (cluster, home) = (cluster(), tempfile::tempdir().unwrap());
    let vault = cluster.vault();
    let profile = cluster.profile("acme-writer");
    for (input, name) in [(String::new(), "nothing"), ("select 1;\n".repeat(500_000), "shop.sql")] {
        let arguments = ["--profile", text(&profile), "backup", "--stdin", name, "--vault", &vault];
        let backup = run_with_input(arguments, &input).done();
        assert_eq!((&backup["name"], &backup["files"], &backup["dirs"]), (&json!(name), &json!(1), &json!(0)));
        assert_eq!((&backup["bytes"], &backup["bytes_read"]), (&json!(input.len()), &json!(input.len())));
        let to = home.path().join(format!("restored-{name}"));
        let snapshot = backup["snapshot"].as_str().unwrap();
        cluster.run("acme-restorer", ["restore", snapshot, "--to", text(&to)]).done();
        assert!(fs::read_to_string(to.join(name)).unwrap() == input);
    }
}

#[test]
fn a_command_is_backed_up_if_it_ends_well_and_only_then() {
    let cluster = cluster();
    let vault = cluster.vault();
    let from = |command: &[&str]| {
        writer(&[&["backup", "--from-command", "out.txt", "--vault", &vault, "--"][..], command].concat())
    };
    let backup = from(&["printf", "%s-%s", "a", "b"]).done();
    assert_eq!((names(&backup), &backup["bytes"]), (vec!["out.txt".to_owned()], &json!(3)));
    for (command, says) in [
        (&["sh", "-c", "head -c 20000000 /dev/urandom; exit 3"][..], "exit status: 3"),
        (&["sh", "-c", "echo half; exit 1"], "exit status: 1"),
        (&["sh", "-c", "echo half; kill -KILL $$"], "signal: 9"),
        (&["/absent/program"], "/absent/program"),
    ] {
        let error = from(command).error(1);
        assert!(error["message"].as_str().unwrap().contains(says), "{error}");
    }
    assert_eq!(cluster.run("acme-writer", ["snapshots", "--vault", &vault]).done()["count"], 1);
}

#[test]
fn the_name_of_what_is_piped_is_that_of_one_file() {
    let vault = cluster().vault();
    for bad in ["", "a/b", ".."] {
        let error = writer(&["backup", "--from-command", bad, "--vault", &vault, "--", "true"]).error(3);
        assert_eq!(error["reason"], "SOURCES", "{bad}");
    }
}

#[test]
fn what_makes_no_sense_together_is_a_usage_error() {
    let home = tempfile::tempdir().unwrap();
    let (absent, bad) = (home.path().join("absent"), home.path().join("bad"));
    fs::write(&bad, "*.o\n[\n").unwrap();
    for flags in [
        &["/srv", "--stdin", "x"][..],
        &["--from-command", "x"],
        &["--stdin", "x", "--dry-run"],
        &["--stdin", "x", "--exclude", "*.o"],
        &["--stdin", "x", "--one-file-system"],
        &["/", "--exclude", "["],
        &["/", "--exclude", ""],
        &["/", "--exclude-file", text(&absent)],
        &["/", "--exclude-file", text(&bad)],
        &["/", "--tag", "host"],
        &["/", "--tag", "a=1", "--tag", "a=2"],
        &["/", "--limit-upload", "0"],
        &["/", "--limit-upload", "5 parsecs"],
    ] {
        let arguments = [&["--json", "--profile", "/absent.toml", "backup", "--vault", "v"][..], flags].concat();
        let error = run(&arguments).error(2);
        assert_eq!(error["reason"], "USAGE", "{flags:?}");
    }
    let named = run(["--json", "backup", "/", "--vault", "v", "--exclude-file", text(&bad)]).error(2);
    assert!(named["message"].as_str().unwrap().contains("line 2"), "{named}");
}

#[test]
fn a_limited_upload_arrives_whole_and_takes_its_time() {
    let (cluster, home) = (cluster(), tempfile::tempdir().unwrap());
    let vault = cluster.vault();
    let file = home.path().join("noise");
    fs::write(&file, noise(77, 6 << 20)).unwrap();
    let backup = writer(&["backup", text(&file), "--vault", &vault, "--limit-upload", "2MiB"]).done();
    assert_eq!(backup["bytes"], 6 << 20);
    // Not faster than the rate; how much slower is the machine's affair.
    assert!(2.0 < backup["seconds"].as_f64().unwrap(), "{backup}");
    cluster.run("acme-restorer", ["verify", backup["snapshot"].as_str().unwrap()]).done();
}

#[test]
fn tags_are_taken() {
    let (vault, home) = (cluster().vault(), tempfile::tempdir().unwrap());
    let top = tree(home.path());
    writer(&["backup", text(&top), "--vault", &vault, "--tag", "host=web-1", "--tag", "note=größe = 5"]).done();
}

#[test]
fn stdin_that_nobody_writes_to_is_an_empty_file() {
    let vault = cluster().vault();
    let mut command = strongroom();
    command.args(["--json", "--profile", text(&cluster().profile("acme-writer")), "backup", "--stdin", "x"]);
    let ran = command.args(["--vault", &vault]).stdin(Stdio::null()).output().map(Ran::from).unwrap();
    assert_eq!(ran.done()["bytes"], 0);
}
