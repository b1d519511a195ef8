//! The commands that read: what they show, what they refuse, and that nothing is shown unproved.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

use crate::cluster::cluster;
use crate::program::{Ran, fields, strongroom};

/// A tree that an archive has trouble with: long names, any bytes, links, nothing, much.
fn tree(home: &Path) -> PathBuf {
    let top = home.join("srv");
    let deep = top.join("a-rather-long-name-".repeat(9)).join("and-another-long-name-".repeat(9));
    fs::create_dir_all(&deep).unwrap();
    fs::create_dir(top.join("empty")).unwrap();
    fs::write(deep.join("f.txt"), "deep").unwrap();
    fs::write(top.join("nothing"), "").unwrap();
    fs::write(top.join("small.log"), "small").unwrap();
    let noise: Vec<u8> = (0..2_500_000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    fs::write(top.join("large"), noise).unwrap();
    fs::write(top.join(std::ffi::OsStr::from_bytes(b"not-\xff-text")), "odd").unwrap();
    std::os::unix::fs::symlink("x".repeat(300), top.join("link")).unwrap();
    top
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn back_up(path: &Path, vault: &str) -> String {
    let done = cluster().run("acme-writer", ["backup", text(path), "--vault", vault]).done();
    done["snapshot"].as_str().unwrap().to_owned()
}

/// Runs it where stdout holds bytes.
fn bytes(arguments: &[&str]) -> Output {
    let profile = cluster().profile("acme-restorer");
    strongroom().args(["--json", "--profile", text(&profile)]).args(arguments).output().unwrap()
}

/// The last line of stderr: there the object is where stdout holds bytes.
fn told(output: &Output) -> Value {
    let stderr = std::str::from_utf8(&output.stderr).unwrap();
    serde_json::from_str(stderr.lines().last().unwrap_or_else(|| panic!("nothing was told"))).unwrap()
}

fn assert_equal(a: &Path, b: &Path) {
    let diff = Command::new("diff").arg("-r").arg("--no-dereference").arg(a).arg(b).output().unwrap();
    assert!(diff.status.success(), "{}", String::from_utf8_lossy(&diff.stdout));
}

#[test]
fn a_file_and_ranges_of_it_are_written_to_stdout() {
    let home = tempfile::tempdir().unwrap();
    let top = tree(home.path());
    let id = back_up(&top, &cluster().vault());
    let large = fs::read(top.join("large")).unwrap();
    let whole = bytes(&["cat", &id, "large"]);
    assert!(whole.status.success() && whole.stdout == large, "{}", String::from_utf8_lossy(&whole.stderr));
    assert_eq!(told(&whole)["size"], 10_000_000);
    assert_eq!(fields(&told(&whole)), ["blobs_rebuilt", "bytes", "fragments_bad", "size", "snapshot", "type"]);
    for (range, expected) in [
        ("0-0", &large[..1]),
        ("3000000-3999999", &large[3_000_000..4_000_000]),
        ("9999990-", &large[9_999_990..]),
        ("9999999-99999999999", &large[9_999_999..]),
    ] {
        let some = bytes(&["cat", &id, "/large", "--range", range]);
        assert!(some.status.success() && some.stdout == expected, "{range}: {} bytes", some.stdout.len());
    }
    assert_eq!(bytes(&["cat", &id, "nothing"]).stdout, b"");
    for (arguments, code, reason) in [
        (&["cat", &id, "absent"][..], 3, "NOT_FOUND"),
        (&["cat", &id, "empty"], 3, "NOT_A_FILE"),
        (&["cat", &id, "large", "--range", "10000000-"], 3, "OUT_OF_RANGE"),
        (&["cat", &id, "../x"], 3, "SELECTION"),
        (&["cat", &"0".repeat(32), "large"], 3, "NOT_FOUND"),
    ] {
        let refused = bytes(arguments);
        assert_eq!((refused.status.code(), refused.stdout.len()), (Some(code), 0), "{arguments:?}");
        assert_eq!(told(&refused)["reason"], reason, "{arguments:?}");
    }
}

#[test]
fn an_archive_is_what_tar_reads_with_all_names_and_times() {
    let home = tempfile::tempdir().unwrap();
    let top = tree(home.path());
    let id = back_up(&top, &cluster().vault());
    let dumped = bytes(&["dump", &id]);
    assert!(dumped.status.success(), "{}", String::from_utf8_lossy(&dumped.stderr));
    assert_eq!((&told(&dumped)["type"], &told(&dumped)["files"]), (&json!("dump"), &json!(5)));
    let (archive, to) = (home.path().join("x.tar"), home.path().join("to"));
    fs::write(&archive, &dumped.stdout).unwrap();
    fs::create_dir(&to).unwrap();
    let tar = Command::new("tar").args(["-x", "-f"]).arg(&archive).arg("-C").arg(&to).output().unwrap();
    assert!(tar.status.success() && tar.stderr.is_empty(), "{}", String::from_utf8_lossy(&tar.stderr));
    assert_equal(&top, &to);
    let modified = |at: &Path| fs::metadata(at.join("large")).unwrap().modified().unwrap();
    assert_eq!(modified(&top), modified(&to), "to the nanosecond");

    let some = bytes(&["dump", &id, "empty", "small.log"]);
    let names = Command::new("tar").arg("-t").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    std::io::Write::write_all(&mut names.stdin.as_ref().unwrap(), &some.stdout).unwrap();
    assert_eq!(names.wait_with_output().unwrap().stdout, b"empty/\nsmall.log\n");
    let refused = bytes(&["dump", &id, "absent"]);
    assert_eq!((refused.status.code(), refused.stdout.len()), (Some(3), 0));
}

#[test]
fn holes_read_as_zeros_and_further_names_as_the_file() {
    use std::os::unix::fs::{FileExt as _, FileTypeExt as _, MetadataExt as _};
    let home = tempfile::tempdir().unwrap();
    let top = home.path().join("odd");
    fs::create_dir(&top).unwrap();
    let sparse = fs::File::create(top.join("sparse")).unwrap();
    sparse.set_len(3 << 20).unwrap();
    sparse.write_all_at(b"head", 0).unwrap();
    sparse.write_all_at(b"tail", 2 << 20).unwrap();
    fs::hard_link(top.join("sparse"), top.join("twin")).unwrap();
    assert!(Command::new("mkfifo").arg(top.join("pipe")).status().unwrap().success());
    let id = back_up(&top, &cluster().vault());
    let content = fs::read(top.join("sparse")).unwrap();
    for path in ["sparse", "twin"] {
        let whole = bytes(&["cat", &id, path]);
        assert!(whole.status.success() && whole.stdout == content, "{}", String::from_utf8_lossy(&whole.stderr));
        let some = bytes(&["cat", &id, path, "--range", "2097000-2097160"]);
        assert!(some.stdout == content[2_097_000..=2_097_160], "{} bytes", some.stdout.len());
        let hole = bytes(&["cat", &id, path, "--range", "1048576-1048579"]);
        assert_eq!(hole.stdout, [0; 4]);
    }
    assert_eq!(told(&bytes(&["cat", &id, "pipe"]))["reason"], "NOT_A_FILE");
    let untar = |paths: &[&str], name: &str| {
        let (archive, to) = (home.path().join("x.tar"), home.path().join(name));
        let dumped = bytes(&[&["dump", &*id], paths].concat());
        assert!(dumped.status.success(), "{}", String::from_utf8_lossy(&dumped.stderr));
        fs::write(&archive, &dumped.stdout).unwrap();
        fs::create_dir(&to).unwrap();
        let tar = Command::new("tar").args(["-x", "-f"]).arg(&archive).arg("-C").arg(&to).output().unwrap();
        assert!(tar.status.success() && tar.stderr.is_empty(), "{}", String::from_utf8_lossy(&tar.stderr));
        to
    };
    let all = untar(&[], "all");
    assert!(fs::read(all.join("twin")).unwrap() == content);
    let look = |path: PathBuf| fs::symlink_metadata(path).unwrap();
    assert_eq!(look(all.join("twin")).ino(), look(all.join("sparse")).ino());
    assert_eq!(look(all.join("twin")).uid(), look(top.join("twin")).uid());
    assert!(look(all.join("pipe")).file_type().is_fifo());
    let one = untar(&["twin"], "one");
    assert!(fs::read(one.join("twin")).unwrap() == content && !one.join("sparse").exists());
    let find = |kind: &str| cluster().run("acme-restorer", ["find", &id, "--kind", kind]).lines()[0]["path"].clone();
    assert_eq!((find("hardlink"), find("fifo")), (json!("twin"), json!("pipe")));
}

#[test]
fn entries_are_found_by_name_kind_and_size() {
    let home = tempfile::tempdir().unwrap();
    let id = back_up(&tree(home.path()), &cluster().vault());
    let find = |arguments: &[&str]| {
        let mut command = strongroom();
        command.args(["--json", "--profile", text(&cluster().profile("acme-restorer")), "find", &id]);
        let ran = command.args(arguments).output().map(Ran::from).unwrap();
        ran.done();
        ran.lines().iter().filter_map(|line| line["path"].as_str().map(str::to_owned)).collect::<Vec<_>>()
    };
    assert_eq!(find(&["--name", "*.log"]), ["small.log"]);
    assert_eq!(find(&["--name", "/*/*/f.txt", "--name", "small*"]).len(), 2);
    assert_eq!(find(&["--kind", "link"]), ["link"]);
    assert_eq!(find(&["--larger", "1M"]), ["large"]);
    assert_eq!(find(&["--kind", "file", "--smaller", "1"]), ["nothing"]);
    assert_eq!(find(&["--newer", "2100-01-01"]), Vec::<String>::new());
    cluster().run("acme-restorer", ["find", &id, "--name", "[a"]).error(2);
}

#[test]
fn two_snapshots_are_compared() {
    let home = tempfile::tempdir().unwrap();
    let (top, vault) = (tree(home.path()), cluster().vault());
    let older = back_up(&top, &vault);
    let same = cluster().run("acme-restorer", ["diff", &older, "latest", "--vault", &vault]);
    assert_eq!(same.done(), json!({"type": "end", "count": 0}));
    fs::write(top.join("small.log"), "other").unwrap();
    fs::remove_file(top.join("nothing")).unwrap();
    fs::write(top.join("zoo"), "new").unwrap();
    let large = fs::File::open(top.join("large")).unwrap();
    large.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000)).unwrap();
    let newer = back_up(&top, &vault);
    let diff = cluster().run("acme-restorer", ["diff", &older, &newer]);
    assert_eq!(diff.done()["count"], 4);
    let found: Vec<(String, String, bool)> = diff.lines()[..4]
        .iter()
        .map(|line| {
            assert_eq!(fields(line), ["change", "content", "metadata", "path", "type"]);
            let word = |name: &str| line[name].as_str().unwrap().to_owned();
            (word("path"), word("change"), line["content"].as_bool().unwrap())
        })
        .collect();
    let expected = [
        ("large", "changed", false),
        ("nothing", "removed", true),
        ("small.log", "changed", true),
        ("zoo", "added", true),
    ];
    assert_eq!(found, expected.map(|(path, change, content)| (path.to_owned(), change.to_owned(), content)));
}

#[test]
fn globs_restore_what_they_match_under_its_whole_path() {
    let home = tempfile::tempdir().unwrap();
    let top = tree(home.path());
    let id = back_up(&top, &cluster().vault());
    let to = home.path().join("to");
    let restore = |globs: [&str; 2], to: &Path| {
        cluster().run("acme-restorer", ["restore", &id, "--to", text(to), "--path", globs[0], "--path", globs[1]])
    };
    assert_eq!(restore(["*.txt", "small*"], &to).done()["files"], 2);
    assert_eq!(fs::read_dir(&to).unwrap().count(), 2);
    assert_eq!(fs::read_to_string(to.join("small.log")).unwrap(), "small");
    assert_eq!(restore(["absent", "*.nothing"], &home.path().join("none")).error(3)["reason"], "NOT_FOUND");
    assert_eq!(restore(["[a", "b"], &home.path().join("none")).error(3)["reason"], "SELECTION");
    assert!(!home.path().join("none").exists());
}

#[test]
fn snapshots_are_filtered() {
    let home = tempfile::tempdir().unwrap();
    let (top, vault) = (tree(home.path()), cluster().vault());
    let tagged = ["backup", text(&top), "--vault", &vault, "--tag", "host=web-1", "--tag", "why=before=after"];
    let first = cluster().run("acme-writer", tagged).done();
    let last = back_up(&top, &vault);
    let list = |arguments: &[&str]| {
        let mut command = strongroom();
        command.args([
            "--json",
            "--profile",
            text(&cluster().profile("acme-restorer")),
            "snapshots",
            "--vault",
            &vault,
        ]);
        command.args(arguments).output().map(Ran::from).unwrap()
    };
    assert_eq!(list(&[]).done()["count"], 2);
    let latest = list(&["--latest", "1"]);
    assert_eq!((&latest.done()["count"], &latest.lines()[0]["id"]), (&json!(1), &json!(last)));
    for (arguments, count) in [
        (["--name", "srv"], 2),
        (["--name", "writer/srv"], 2),
        (["--name", "other"], 0),
        (["--writer", "writer"], 2),
        (["--writer", "nobody"], 0),
        (["--since", "2100-01-01"], 0),
        (["--until", "2000-01-01"], 0),
        (["--since", "2000-01-01"], 2),
        (["--tag", "host"], 1),
        (["--tag", "host=web-1"], 1),
        (["--tag", "host=web-2"], 0),
        (["--tag", "why=before=after"], 1),
        (["--tag", "absent"], 0),
    ] {
        assert_eq!(list(&arguments).done()["count"], count, "{arguments:?}");
    }
    // What was noted is read back as it was given, and only of the snapshot that has it.
    assert_eq!(list(&["--tag", "host", "--tag", "absent"]).done()["count"], 0);
    let all = list(&[]).lines();
    assert_eq!(all[0]["id"], first["snapshot"]);
    assert_eq!(all[0]["tags"], json!({"host": "web-1", "why": "before=after"}));
    assert_eq!(all[1]["tags"], json!({}));
}

#[test]
fn several_snapshots_or_a_sample_are_verified_and_when_is_remembered() {
    let home = tempfile::tempdir().unwrap();
    let (top, vault) = (tree(home.path()), cluster().vault());
    let ids = [back_up(&top, &vault), back_up(&top, &vault)];
    let all = cluster().run("acme-restorer", ["verify", "--all", "--vault", &vault]);
    assert_eq!(all.done(), json!({"type": "end", "count": 2}));
    assert!(all.lines()[..2].iter().all(|line| line["type"] == "verify" && line["ok"] == true), "{}", all.stdout);
    let sample = cluster().run("acme-restorer", ["verify", &ids[0], &ids[1], "--sample", "10%"]);
    assert_eq!(sample.done()["count"], 2);
    let first = &sample.lines()[0];
    assert_eq!((&first["sample"], &first["ok"]), (&json!(10.0), &json!(true)));
    let read = first["bytes"].as_u64().unwrap();
    assert!(0 < read && read < 10_000_000, "{first}");
    let profile = fs::read_to_string(cluster().profile("acme-restorer")).unwrap();
    let state = profile.lines().find_map(|line| line.strip_prefix("state = \"")?.strip_suffix('"')).unwrap();
    let noted = fs::read_to_string(Path::new(state).join("last-verify")).unwrap();
    let line = noted.lines().find(|line| line.contains(&ids[1])).unwrap_or_else(|| panic!("{noted}"));
    assert!(line.ends_with(" 1000 whole"), "{line}");
    cluster().run("acme-writer", ["verify", "--all", "--vault", &vault]).error(3);
    cluster().run("acme-restorer", ["verify"]).error(2);
}
