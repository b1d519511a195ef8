//! Command lines without a cluster: help, usage errors, profiles that are none, a cluster that does not answer.

use std::path::Path;
use std::process::Stdio;

use crate::program::{Ran, run, run_json, strongroom};

#[test]
fn help_is_on_stdout_and_shows_examples() {
    for command in [
        &["--help"][..],
        &["backup", "--help"],
        &["restore", "--help"],
        &["vault", "create", "--help"],
        &["init-key", "root", "--help"],
    ] {
        let ran = run(command);
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{command:?}");
        assert!(ran.stdout.contains("strongroom "), "{command:?}: {}", ran.stdout);
    }
    assert!(run(["init-key", "--help"]).stdout.contains("step by step"));
}

#[test]
fn what_makes_no_sense_ends_with_2_and_leaves_stdout_alone() {
    for command in [&["backup"][..], &["bakup", "/srv"], &["ls", "0123"], &["snapshots", "--vault", "Papers"]] {
        let ran = run(command);
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{command:?}");
        assert!(!ran.stderr.is_empty(), "{command:?}");
    }
}

#[test]
fn a_usage_error_is_an_object_for_scripts() {
    let error = run(["backup", "--json"]).error(2);
    assert_eq!(
        (&error["outcome"], &error["code"], &error["reason"]),
        (&"refused".into(), &"INVALID_ARGUMENT".into(), &"USAGE".into())
    );
    let by_variable = strongroom().arg("bakup").env("STRONGROOM_JSON", "1").output().map(Ran::from).unwrap();
    assert_eq!(by_variable.error(2)["reason"], "USAGE");
}

#[test]
fn commands_of_a_node_are_named_kindly() {
    for command in ["run", "init", "dev", "demo", "inspect"] {
        let ran = run([command, "--json"]);
        let error = ran.error(2);
        assert_eq!(error["next"], format!("run `strongroomd {command}`"));
        assert!(ran.stderr.contains(&format!("strongroomd {command}")), "{}", ran.stderr);
    }
}

#[test]
fn a_profile_must_be_named_and_be_one() {
    let error = run(["snapshots", "--json"]).error(2);
    assert!(error["next"].as_str().unwrap().contains("STRONGROOM_PROFILE"), "{error}");
    let home = tempfile::tempdir().unwrap();
    let profile = home.path().join("p.toml");
    run_json(&profile, ["snapshots"]).error(1);
    std::fs::write(&profile, "[cluster]\nname = \"dev\"\n").unwrap();
    assert_eq!(run_json(&profile, ["snapshots"]).error(3)["reason"], "PROFILE");
}

#[test]
fn a_profile_that_is_wrong_says_where_and_what_would_be_right() {
    let home = tempfile::tempdir().unwrap();
    let profile = home.path().join("p.toml");
    let example =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/profile.example.toml"));
    let example = example.unwrap();
    for (from, to, says, next) in [
        ("endpoints = ", "endpoint = ", "cluster.endpoint is no key", "`endpoints`"),
        ("roots = \"web-1.roots.pem\"\n", "", "cluster.roots is missing", "add `roots"),
        ("\n[identity]\n", "\n[identiy]\n", "there is no section [identiy]", "[identity]"),
        ("name = \"acme\"", "name = \"Acme Inc.\"", "tenant.name", "tenant's name"),
        ("name = \"acme\"", "name = acme", "line ", "quotes"),
        ("\"10.77.1.10:7701\"", "\"10.77.1.10\"", "is not host:port", "host:port"),
        ("root = \"5f", "root = \"", "tenant.root", ".pub"),
        ("[tenant]\nname = \"acme\"", "[tenant]", "tenant.name is missing", "add `name"),
        ("key = \"web-1.key\"", "key = \"web-1.pem\"", "name the same file", "of its own"),
    ] {
        let text = example.replacen(from, to, 1);
        assert_ne!(text, example, "{from}");
        std::fs::write(&profile, text).unwrap();
        for command in [&["snapshots"][..], &["status"], &["backup", "/", "--vault", "v", "--name", "n"]] {
            let error = run_json(&profile, command).error(3);
            assert_eq!(error["reason"], "PROFILE", "{to}");
            assert!(error["message"].as_str().unwrap().contains(says), "{to}: {error}");
            assert!(error["next"].as_str().unwrap().contains(next), "{to}: {error}");
        }
    }
    // Files that are no profile at all.
    for content in [&b"\xff\xfe"[..], b"\0\0\0", b"{\"cluster\": 1}", &[b'#'; 300_000], b""] {
        std::fs::write(&profile, content).unwrap();
        let error = run_json(&profile, ["snapshots"]).error(3);
        assert_eq!(error["reason"], "PROFILE", "{error}");
    }
    run_json(home.path(), ["snapshots"]).error(1);
    assert_eq!(run_json(Path::new("/dev/zero"), ["snapshots"]).error(3)["reason"], "PROFILE");
    std::fs::write(&profile, example).unwrap();
    let error = run_json(&profile, ["snapshots"]).error(1);
    assert!(error["message"].as_str().unwrap().contains("web-1.pem"), "what it names is not there: {error}");
}

#[test]
fn values_that_make_no_sense_are_usage_errors_with_a_word_about_them() {
    for (line, says) in [
        ("backup /srv --vault v --deadline soon", "60s"),
        ("backup /srv --vault v --deadline=-5s", "longer than nothing"),
        ("backup /srv --vault v --deadline 0s", "longer than nothing"),
        ("restore 0123 --to /tmp/x", "first 8 or more digits"),
        ("restore latest", "--to"),
        ("audit list --since yesterday", "2026-11-26"),
        ("init-key writer --tenant-id 00 --writer w --out x", "--tenant-id"),
        ("init-key writer --writer w --out x", "--founding"),
        ("init-key writer --tenant-id 0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f --writer w --epoch 0 --out x", "epoch"),
        ("init-key restorer --identity Rita --out x", "a-z"),
        ("identity token web-1 --role king", "is no role"),
        ("identity token web-1 --role writer --lifetime 1y", "no duration"),
        ("node token south-1", "--region"),
        ("issuer register ca.pem --plane moon", "plane"),
        ("enrol --renew --out x", "--renew"),
        ("completions tcsh", "possible values"),
        ("key recover", "--out"),
    ] {
        let ran = run(line.split(' '));
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{line}: {}", ran.stderr);
        assert!(ran.stderr.contains(says), "{line}: {}", ran.stderr);
        let error = run(line.split(' ').chain(["--json"])).error(2);
        assert_eq!(error["reason"], "USAGE", "{line}");
    }
}

#[test]
fn the_environment_says_nonsense_as_loudly_as_the_command_line() {
    for (variable, value) in [("STRONGROOM_DEADLINE", "soon"), ("STRONGROOM_VAULT", "Papers")] {
        let ran = strongroom().args(["snapshots", "--json"]).env(variable, value).output().map(Ran::from).unwrap();
        assert!(ran.error(2)["message"].as_str().unwrap().contains(value), "{}", ran.stdout);
    }
}

#[test]
fn a_profile_from_the_environment_is_taken() {
    let ran = strongroom().args(["snapshots", "--json"]).env("STRONGROOM_PROFILE", "/absent.toml").output().unwrap();
    let error = Ran::from(ran).error(1);
    assert!(error["message"].as_str().unwrap().contains("/absent.toml"), "{error}");
}

#[test]
fn quiet_errors_are_still_told() {
    let ran = strongroom()
        .args(["--quiet", "--profile", "/absent.toml", "status"])
        .stdin(Stdio::null())
        .output()
        .map(Ran::from)
        .unwrap();
    assert_eq!(ran.code, 1);
    assert!(ran.stderr.contains("/absent.toml") && ran.stderr.contains("next:"), "{}", ran.stderr);
    assert_eq!(ran.stdout, "");
}

#[test]
fn paths_that_are_not_there_fail_before_anybody_is_asked() {
    let error = run_json(Path::new("/absent.toml"), ["backup", "/absent/path", "--vault", "v", "--name", "n"]).error(1);
    assert!(error["message"].as_str().unwrap().contains("/absent/path"), "{error}");
}

#[test]
fn files_that_are_endless_or_directories_are_refused_with_their_names() {
    let home = tempfile::tempdir().unwrap();
    let out = home.path().join("out");
    let out = out.to_str().unwrap();
    let directory = home.path().to_str().unwrap();
    for file in ["/dev/zero", directory] {
        for (line, code) in [
            (&["backup", "/srv", "--vault", "v", "--name", "n", "--exclude-file", file][..], 2),
            (&["init-key", "writer", "--founding", file, "--writer", "w", "--out", out], 1),
            (&["tenant", "create", "acme", "--founding", file], 1),
            (&["receipt", "verify", file], 1),
            (&["key", "check", file], 1),
            (&["key", "recover", file, "--out", out], 1),
        ] {
            let ran = run([&["--json", "--profile", "/absent.toml"], line].concat());
            assert!([code, 2, 3].contains(&ran.code), "{line:?}: {}{}", ran.stdout, ran.stderr);
            let error = ran.error(ran.code);
            assert!(!error["message"].as_str().unwrap().is_empty(), "{line:?}: {error}");
        }
    }
    assert!(!Path::new(out).exists(), "nothing was made");
}
