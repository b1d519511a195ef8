//! Locks, holds and policies on the command line, against a running cluster.

use std::path::Path;

use serde_json::{Value, json};

use crate::cluster::{cluster, until};
use crate::program::fields;

fn words(error: &Value) -> (&str, &str) {
    (error["code"].as_str().unwrap(), error["reason"].as_str().unwrap())
}

/// A new vault with one snapshot in it: their names.
fn backed_up() -> (String, String) {
    let cluster = cluster();
    let vault = cluster.vault();
    let source = tempfile::tempdir().unwrap();
    std::fs::write(source.path().join("file"), b"contents").unwrap();
    let snapshot = back_up(&vault, source.path());
    (vault, snapshot)
}

fn back_up(vault: &str, source: &Path) -> String {
    let done = cluster()
        .run("acme-writer", ["backup", source.to_str().unwrap(), "--vault", vault, "--name", "nightly"])
        .done();
    done["snapshot"].as_str().unwrap().to_owned()
}

#[test]
fn a_policy_is_shown_set_and_looked_at_before_it_is_set() {
    let cluster = cluster();
    let (vault, snapshot) = backed_up();
    let first = cluster.run("acme-auditor", ["vault", "policy", "get", &vault]).done();
    assert_eq!((&first["version"], &first["lock"], &first["overdue"]), (&json!(1), &Value::Null, &json!([])));
    let flags = ["--keep-last", "7", "--every", "1d", "--lock", "governance:30d"];
    let dry =
        cluster.run("acme-auditor", ["vault", "policy", "dry-run", &vault, flags[0], flags[1], flags[2], flags[3]]);
    let lines = dry.lines();
    assert_eq!(lines[0]["snapshot"], json!(snapshot));
    assert_eq!((&lines[0]["goes"], &lines[0]["why"]), (&json!(false), &json!("the newest of its name")));
    assert_eq!(lines.last().unwrap()["count"], 0);
    // A dry run refuses what setting would refuse, and nothing silently.
    let refused = cluster.run("acme-admin", ["vault", "policy", "dry-run", &vault, "--keep-last", "7"]).error(3);
    assert_eq!(refused["reason"], "INVALID", "{refused}");
    for profile in ["acme-writer", "acme-restorer"] {
        let refused = cluster.run(profile, ["vault", "policy", "dry-run", &vault]).error(3);
        assert_eq!(words(&refused), ("PERMISSION_DENIED", "ROLE"), "{profile}");
    }
    for profile in ["acme-auditor", "acme-legal", "acme-restorer"] {
        let refused =
            cluster.run(profile, ["vault", "policy", "set", &vault, "--keep-daily", "1", "--reason", "x"]).error(3);
        assert_eq!(words(&refused), ("PERMISSION_DENIED", "ROLE"), "{profile}");
    }
    let set = cluster.run(
        "acme-admin",
        [
            "vault",
            "policy",
            "set",
            &vault,
            flags[0],
            flags[1],
            flags[2],
            flags[3],
            flags[4],
            flags[5],
            "--reason",
            "as agreed",
        ],
    );
    let set = set.done();
    assert_eq!((&set["version"], &set["keep"]["last"]), (&json!(2), &json!(7)));
    assert_eq!(set["lock"], json!({"mode": "governance", "seconds": 2_592_000.0}));
    assert_eq!(set["max_seconds"], 2_592_000.0, "raised to what the lock needs");
    // What is backed up from now on is under it.
    let source = tempfile::tempdir().unwrap();
    std::fs::write(source.path().join("file"), b"more").unwrap();
    let locked = back_up(&vault, source.path());
    let listed = cluster.run("acme-writer", ["snapshots", "--vault", &vault]).lines();
    assert_eq!(listed[0]["lock"], Value::Null);
    assert_eq!((&listed[1]["id"], &listed[1]["lock"]["mode"]), (&json!(locked), &json!("governance")));
    assert!(listed[1]["lock"]["until"].as_str().unwrap().contains('T'));
}

#[test]
fn what_a_dry_run_says_would_go_goes_by_itself_once_the_policy_is_set() {
    let cluster = cluster();
    let (vault, first) = backed_up();
    let source = tempfile::tempdir().unwrap();
    let [second, third] = ["more", "still more"].map(|contents| {
        std::fs::write(source.path().join("file"), contents).unwrap();
        back_up(&vault, source.path())
    });
    let keep = ["--keep-yearly", "1"];
    let dry = cluster.run("acme-auditor", ["vault", "policy", "dry-run", &vault, keep[0], keep[1]]);
    let goes: Vec<_> = dry.lines().into_iter().filter(|line| line["goes"] == json!(true)).collect();
    assert_eq!(goes.len(), 1, "{}", dry.stdout);
    assert_eq!((&goes[0]["snapshot"], &goes[0]["why"]), (&json!(second), &json!("no lock, hold or rule keeps it")));
    cluster.run("acme-admin", ["vault", "policy", "set", &vault, keep[0], keep[1], "--reason", "as agreed"]).done();
    let listed = || -> Vec<Value> {
        let lines = cluster.run("acme-writer", ["snapshots", "--vault", &vault]).lines();
        lines.into_iter().filter(|line| line["type"] == "snapshot").map(|line| line["id"].clone()).collect()
    };
    until("it went", || listed() == [json!(first), json!(third)]);
    let to = source.path().join("restored");
    let refused = cluster.run("acme-restorer", ["restore", &second, "--to", to.to_str().unwrap()]).error(3);
    assert_eq!(words(&refused), ("NOT_FOUND", "ENDED"));
    let log = cluster.run("acme-auditor", ["audit", "list"]).lines();
    let leaf = log.iter().find(|leaf| leaf["event"] == "expired" && leaf["snapshot"] == json!(second)).unwrap();
    assert_eq!((&leaf["command"], &leaf["principal"]), (&json!("expire"), &json!("policy 2")));
}

#[test]
fn a_lock_begins_is_extended_and_never_shortened_but_by_a_wish_that_waits() {
    let cluster = cluster();
    let (vault, snapshot) = backed_up();
    let shown = cluster.run("acme-writer", ["lock", "show", &snapshot]).done();
    assert_eq!((fields(&shown), &shown["lock"]), (vec!["lock", "snapshot", "type"], &Value::Null));
    // No lock is longer than the vault's longest, and this one has none.
    let refused = cluster.run("acme-admin", ["lock", "extend", &snapshot, "--length", "1d"]).error(3);
    assert_eq!(words(&refused), ("INVALID_ARGUMENT", "LOCK_OUT_OF_RANGE"));
    let (message, next) = (refused["message"].as_str().unwrap(), refused["next"].as_str().unwrap());
    assert!(message.contains(&vault) && message.contains("permits no locks"), "{refused}");
    assert!(next.contains(&format!("vault policy set {vault} --max")), "{refused}");
    cluster.run("acme-admin", ["vault", "policy", "set", &vault, "--max", "400d", "--reason", "x"]).done();
    let refused = cluster.run("acme-legal", ["lock", "extend", &snapshot, "--length", "401d"]).error(3);
    assert!(refused["message"].as_str().unwrap().contains("0 d to 400 d"), "{refused}");
    let extended = cluster.run("acme-admin", ["lock", "extend", &snapshot, "--length", "30d", "--reason", "y"]).done();
    assert_eq!((&extended["lock"]["mode"], &extended["lock"]["pending"]), (&json!("governance"), &json!([])));
    until("the lock has begun", || {
        cluster.run("acme-legal", ["lock", "show", &snapshot]).done()["lock"]["begun"] == json!(true)
    });
    for (profile, flags) in [("acme-admin", ["--length", "29d"]), ("acme-legal", ["--until-date", "1999-01-01"])] {
        let refused = cluster.run(profile, ["lock", "extend", &snapshot, flags[0], flags[1]]).error(3);
        assert_eq!(words(&refused), ("FAILED_PRECONDITION", "LOCK_CANNOT_SHRINK"), "{flags:?}");
    }
    for profile in ["acme-writer", "acme-restorer", "acme-auditor", "acme-legal"] {
        let refused = cluster.run(profile, ["lock", "weaken", &snapshot, "--length", "1d", "--reason", "x"]).error(3);
        assert_eq!(words(&refused), ("PERMISSION_DENIED", "ROLE"), "{profile}");
    }
    let weaker = cluster.run("acme-admin", ["lock", "weaken", &snapshot, "--length", "1d", "--reason", "x"]).done();
    assert_eq!(weaker["lock"]["weakening"]["by"], "administrator");
    assert_eq!(weaker["lock"]["seconds"], 2_592_000.0, "not yet");
    let cancelled = cluster.run("acme-legal", ["lock", "cancel", &snapshot, "--reason", "no"]).done();
    assert!(cancelled["lock"].get("weakening").is_none(), "{cancelled}");
    let strict = cluster.run("acme-legal", ["lock", "extend", &snapshot, "--length", "30d", "--compliance"]).done();
    assert_eq!(strict["lock"]["mode"], "compliance");
    let refused = cluster.run("acme-admin", ["lock", "weaken", &snapshot, "--length", "1d", "--reason", "x"]).error(3);
    assert_eq!(words(&refused), ("FAILED_PRECONDITION", "RETENTION_ACTIVE"));
    assert!(cluster.run("acme-admin", ["audit", "list"]).lines().iter().any(|leaf| leaf["command"] == "weaken-lock"));
}

#[test]
fn n60_holds_are_added_and_removed_by_whoever_is_legal() {
    let cluster = cluster();
    let (_, snapshot) = backed_up();
    for profile in ["acme-admin", "acme-auditor", "acme-writer", "acme-restorer"] {
        let refused = cluster.run(profile, ["hold", "add", &snapshot, "case-7", "--reason", "x"]).error(3);
        assert_eq!(words(&refused), ("PERMISSION_DENIED", "ROLE"), "{profile}");
    }
    let held = cluster.run("acme-legal", ["hold", "add", &snapshot, "case-7", "--reason", "a letter"]).done();
    assert_eq!((&held["lock"]["holds"], &held["lock"]["pending"]), (&json!(["case-7"]), &json!([])));
    assert_eq!(held["lock"]["mode"], Value::Null);
    let refused = cluster.run("acme-admin", ["hold", "remove", &snapshot, "case-7", "--reason", "x"]).error(3);
    assert_eq!(words(&refused), ("PERMISSION_DENIED", "ROLE"));
    let free = cluster.run("acme-legal", ["hold", "remove", &snapshot, "case-7", "--reason", "closed"]).done();
    assert_eq!(free["lock"]["holds"].as_array().map_or(0, Vec::len), 0, "{free}");
}

#[test]
fn n64_a_vault_is_locked_after_a_cooling_off_in_which_it_can_be_withdrawn() {
    let cluster = cluster();
    let vault = cluster.vault();
    cluster.run("acme-admin", ["vault", "lock", &vault, "--reason", "x"]).error(2);
    let asked = cluster.run("acme-admin", ["vault", "lock", &vault, "--for-ever", "--reason", "law"]).done();
    assert_eq!(asked["in_force"], json!(false));
    let shown = cluster.run("acme-auditor", ["vault", "policy", "get", &vault]).done();
    assert_eq!(shown["vault_lock"]["due"], asked["due"]);
    let again = cluster.run("acme-admin", ["vault", "lock", &vault, "--for-ever", "--reason", "law"]).error(3);
    assert_eq!(words(&again), ("FAILED_PRECONDITION", "VAULT_LOCKED"));
    let free = cluster.run("acme-legal", ["vault", "lock", &vault, "--withdraw", "--reason", "wrong vault"]).done();
    assert_eq!(free["due"], Value::Null);
}
