//! `doctor`, shell completions and manual pages: what helps people to help themselves.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::cluster::{cluster, strongroomd};
use crate::program::{Ran, run, run_json};

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A copy of a profile of `dev` that can be spoilt, with some lines replaced.
fn copy(home: &Path, profile: &str, changes: &[(&str, &str)]) -> PathBuf {
    let original = cluster().profile(profile);
    let beside = original.parent().unwrap();
    let lines = fs::read_to_string(&original).unwrap();
    let lines = lines.lines().map(|line| {
        let key = line.split(" = ").next().unwrap();
        match changes.iter().find(|(changed, _)| *changed == key) {
            Some((key, value)) => format!("{key} = {value}"),
            None => match line.split_once(" = \"") {
                // Paths are relative to where the profile was.
                Some((key, value)) if beside.join(value.trim_end_matches('"')).exists() => {
                    format!("{key} = \"{}\"", beside.join(value.trim_end_matches('"')).display())
                }
                Some(_) | None => line.to_owned(),
            },
        }
    });
    let path = home.join(format!("{profile}.toml"));
    fs::write(&path, lines.collect::<Vec<_>>().join("\n")).unwrap();
    path
}

fn doctor(profile: &Path) -> Ran {
    run_json(profile, ["doctor", "--deadline", "20s"])
}

fn findings(ran: &Ran, verdict: &str) -> Vec<Value> {
    ran.lines().into_iter().filter(|line| line["type"] == "finding" && line["verdict"] == verdict).collect()
}

/// The finding whose subject or message holds this, which is not good.
fn found(ran: &Ran, verdict: &str, says: &str) -> Value {
    let all = findings(ran, verdict);
    let says_it =
        |one: &&Value| one["about"].as_str().unwrap().contains(says) || one["message"].as_str().unwrap().contains(says);
    let one = all.iter().find(says_it).unwrap_or_else(|| panic!("no {verdict} about {says}: {}", ran.stdout)).clone();
    assert!(verdict == "ok" || !one["next"].as_str().unwrap().is_empty(), "{one}");
    one
}

#[test]
fn a_profile_that_is_well_is_said_to_be() {
    let cluster = cluster();
    for profile in ["acme-writer", "acme-restorer", "acme-admin", "operator"] {
        let ran = doctor(&cluster.profile(profile));
        let done = ran.done();
        assert_eq!(
            (&done["type"], &done["ok"], &done["wrong"]),
            (&"doctor".into(), &true.into(), &0.into()),
            "{}",
            ran.stdout
        );
        found(&ran, "ok", "certificate");
        found(&ran, "ok", "endpoint");
        found(&ran, "ok", "its clock agrees");
    }
    let people = cluster.run("acme-writer", ["status"]);
    people.done();
    let for_people = run(["doctor", "--profile", text(&cluster.profile("acme-writer"))]);
    assert_eq!(for_people.code, 0, "{}", for_people.stdout);
    assert!(for_people.stdout.lines().any(|line| line.starts_with("ok       certificate")), "{}", for_people.stdout);
}

#[test]
fn keys_that_belong_apart_and_a_verification_that_never_was_are_worth_a_word() {
    let (cluster, home) = (cluster(), tempfile::tempdir().unwrap());
    // `dev` keeps all keys of a tenant in one directory.
    found(&doctor(&cluster.profile("acme-writer")), "warning", "can read all that it ever backed up");
    let state = home.path().join("state");
    let profile = copy(home.path(), "acme-restorer", &[("state", &format!("\"{}\"", state.display()))]);
    found(&doctor(&profile), "warning", "ever verified");
    assert!(!state.exists(), "a look makes nothing");
    fs::create_dir(&state).unwrap();
    let line = format!("{} {} 1577836800000 10000 whole\n", "aa".repeat(16), "3f".repeat(16));
    fs::write(state.join("last-verify"), line).unwrap();
    found(&doctor(&profile), "warning", "days ago");
}

#[test]
fn what_is_wrong_with_a_profile_is_found_with_what_to_do() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let wrong = |changes: &[(&str, &str)], says: &str| {
        let ran = doctor(&copy(home, "acme-writer", changes));
        assert_eq!((ran.code, &ran.last()["ok"]), (1, &false.into()), "{changes:?}: {}", ran.stdout);
        found(&ran, "wrong", says)
    };
    // Port 9 discards, and nobody listens there.
    wrong(&[("endpoints", "[\"127.0.0.1:9\"]")], "none of the endpoints answers");
    wrong(&[("certificate", "\"absent.pem\"")], "absent.pem");
    wrong(&[("root", &format!("\"{}\"", "9c".repeat(32)))], "tenant acme");
    wrong(&[("id", &format!("\"{}\"", "9c".repeat(16)))], "another tenant");
    fs::write(home.join("file"), "").unwrap();
    wrong(&[("state", "\"file\"")], "no directory that can be written");
    fs::write(home.join("weak.writer"), "strongroom-writer-key-1\n").unwrap();
    fs::set_permissions(home.join("weak.writer"), fs::Permissions::from_mode(0o600)).unwrap();
    wrong(&[("writer", "\"weak.writer\"")], "weak.writer");
    let restorer = cluster().profile("acme-restorer");
    let other = fs::read_to_string(&restorer).unwrap();
    let certificate = other.lines().find_map(|line| line.strip_prefix("certificate = ")).unwrap().trim_matches('"');
    let certificate = restorer.parent().unwrap().join(certificate);
    wrong(&[("certificate", &format!("\"{}\"", certificate.display()))], "does not belong to the certificate");
    // One endpoint of several that is down is no reason to stop.
    let endpoints = fs::read_to_string(cluster().profile("acme-writer")).unwrap();
    let endpoints = endpoints.lines().find_map(|line| line.strip_prefix("endpoints = [")).unwrap();
    let ran = doctor(&copy(home, "acme-writer", &[("endpoints", &format!("[\"127.0.0.1:9\", {endpoints}"))]));
    ran.done();
    found(&ran, "warning", "does not answer");
    // A profile that others can change, and one that is none.
    let profile = copy(home, "acme-writer", &[]);
    fs::set_permissions(&profile, fs::Permissions::from_mode(0o666)).unwrap();
    let ran = doctor(&profile);
    assert_eq!(ran.code, 1);
    assert!(found(&ran, "wrong", "others can change")["next"].as_str().unwrap().contains("chmod go-w"));
    fs::write(&profile, "[cluster]\nnme = \"x\"\n").unwrap();
    let ran = doctor(&profile);
    assert_eq!(ran.code, 1);
    assert!(found(&ran, "wrong", "cluster.nme")["next"].as_str().unwrap().contains("`name`"));
    run(["doctor", "--json"]).error(2);
}

#[test]
fn shells_get_completions_and_people_get_manual_pages_of_both_programs() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = run(["completions", shell]);
        assert_eq!((script.code, script.stderr.as_str()), (0, ""), "{shell}");
        assert!(script.stdout.contains("recover") && script.stdout.contains("exclude-caches"), "{shell}");
        let script = strongroomd(["completions", shell]);
        assert_eq!((script.code, script.stderr.as_str()), (0, ""), "{shell}");
        assert!(script.stdout.contains("ca-revoke"), "{shell}");
    }
    let home = tempfile::tempdir().unwrap();
    let out = text(home.path());
    let made = run(["man", "--json", "--out", out]).done();
    assert_eq!(strongroomd(["man", "--out", out]).code, 0);
    let page = |name: &str| fs::read_to_string(home.path().join(name)).unwrap_or_else(|why| panic!("{name}: {why}"));
    assert!(page("strongroom.1").contains("Exit codes"));
    assert!(page("strongroom-backup.1").contains("\\-\\-exclude\\-caches"));
    assert!(page("strongroom-key-recover.1").contains("acme.root"));
    assert!(page("strongroomd-doctor.8").contains("node.toml"));
    assert_eq!(
        made["files"].as_array().unwrap().len(),
        fs::read_dir(out).unwrap().filter(|entry| entry.as_ref().unwrap().path().extension().unwrap() == "1").count()
    );
    assert!(run(["man"]).stdout.contains(".TH"));
    assert!(run(["man", "--json"]).done()["page"].as_str().unwrap().contains(".TH"));
    run(["man", "--json", "--out", "/absent/directory"]).error(1);
    assert_eq!(strongroomd(["man", "--out", "/absent/directory"]).code, 1);
}
