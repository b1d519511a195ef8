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
