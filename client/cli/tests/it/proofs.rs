//! The audit log and receipts on the command line: listed, fetched, verified without a cluster, and refused where
//! somebody has touched them.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::cluster::{cluster, until};
use crate::program::{Ran, fields, run_json};

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn words(error: &Value) -> (&str, &str) {
    (error["code"].as_str().unwrap(), error["reason"].as_str().unwrap())
}

/// A backup of something small.
fn backed_up(home: &Path) -> Value {
    let source = home.join("source");
    fs::create_dir_all(&source).unwrap();
    fs::write(source.join("file"), text(home)).unwrap();
    cluster().run("acme-writer", ["backup", text(&source), "--vault", &cluster().vault()]).done()
}

fn leaves(ran: &Ran) -> Vec<Value> {
    ran.done();
    let mut lines = ran.lines();
    let end = lines.pop().unwrap();
    assert_eq!(end, json!({"type": "end", "count": lines.len()}));
    assert!(lines.iter().all(|line| line["type"] == "leaf"), "{}", ran.stdout);
    lines
}

#[test]
fn the_audit_log_is_listed_from_a_leaf_or_a_time_on_to_who_may_read_it() {
    let (cluster, home) = (cluster(), tempfile::tempdir().unwrap());
    let backup = backed_up(home.path());
    let list = |since: &str| cluster.run("acme-admin", ["audit", "list", "--since", since]);
    let all = leaves(&cluster.run("acme-admin", ["audit", "list"]));
    assert!(all.iter().zip(0..).all(|(leaf, index)| leaf["index"] == index), "none is missing");
    let committed = all.iter().find(|leaf| leaf["snapshot"] == backup["snapshot"]).expect("the commit is a leaf");
    assert_eq!(
        fields(committed),
        ["allowed", "command", "digest", "event", "group", "index", "log_index", "snapshot", "time", "type"]
    );
    assert_eq!((&committed["event"], &committed["command"]), (&json!("committed"), &json!("commit-snapshot")));
    assert!(committed["time"].as_str().unwrap().ends_with('Z'));
    let opened = all.iter().find(|leaf| leaf["command"] == "open-session").expect("a session was opened");
    assert_eq!(
        fields(opened),
        ["allowed", "command", "event", "group", "index", "log_index", "principal", "subject", "time", "type"]
    );

    let index = committed["index"].as_u64().unwrap();
    let later = leaves(&list(&index.to_string()));
    assert_eq!(&later[0], committed);
    assert!(leaves(&list("9999999")).is_empty());
    assert!(leaves(&list("2999-01-01")).is_empty());
    assert_eq!(leaves(&list("1970-01-01"))[0]["index"], 0);
    let from = committed["time"].as_str().unwrap();
    assert!(leaves(&list(from)).iter().any(|leaf| leaf["snapshot"] == backup["snapshot"]), "from its own moment on");
    list("yesterday").error(2);
    for profile in ["acme-writer", "acme-restorer"] {
        let refused = cluster.run(profile, ["audit", "list"]).error(3);
        assert_eq!(words(&refused), ("PERMISSION_DENIED", "ROLE"), "{profile}");
    }
    // A refusal is in it too: of the caller, with its reason, or counted with others of its kind within a minute (N145).
    cluster.run("acme-writer", ["identity", "token", "x", "--role", "writer"]).error(3);
    let is_told = |leaf: &Value| {
        let is_refused = leaf["command"] == "issue-token" && leaf["allowed"] == false;
        let alone = leaf["principal"] == "writer" && leaf["reason"] == "ROLE";
        is_refused && (alone || leaf["count"].is_u64())
    };
    until("a refusal is told", || leaves(&list(&index.to_string())).iter().any(is_told));
}

/// A profile like acme's writer's, of a machine that reaches no node; its state is that directory.
fn alone(home: &Path, state: &Path) -> PathBuf {
    let text = fs::read_to_string(cluster().profile("acme-writer")).unwrap();
    let line = |line: &str| match line.split(' ').next() {
        Some("endpoints") => "endpoints = [\"127.0.0.1:9\"]".to_owned(),
        Some("state") => format!("state = \"{}\"", state.display()),
        _ => line.to_owned(),
    };
    let profile = home.join("alone.toml");
    fs::write(&profile, text.lines().map(line).collect::<Vec<_>>().join("\n")).unwrap();
    profile
}

#[test]
fn a_receipt_is_fetched_verified_without_the_cluster_and_refused_when_somebody_touched_it() {
    let (cluster, home) = (cluster(), tempfile::tempdir().unwrap());
    let backup = backed_up(home.path());
    let snapshot = backup["snapshot"].as_str().unwrap();
    let file = home.path().join("www.receipt");
    let got = cluster.run("acme-writer", ["receipt", "get", snapshot, "--out", text(&file)]).done();
    assert_eq!(fields(&got), ["receipt", "signatures", "snapshot", "type"]);
    assert_eq!((&got["type"], &got["snapshot"]), (&json!("receipt"), &json!(snapshot)));
    assert!(2 <= got["signatures"].as_u64().unwrap(), "a majority of three");
    assert_eq!(fs::read_to_string(&file).unwrap().trim(), got["receipt"].as_str().unwrap());
    let again = cluster.run("acme-writer", ["receipt", "get", snapshot, "--out", text(&file)]).error(3);
    assert_eq!(again["code"], "ALREADY_EXISTS");
    cluster.run("acme-writer", ["receipt", "get", &"ab".repeat(16)]).error(3);

    // The cluster is out of reach: what this machine has believed before is enough.
    let state = cluster.tenant_file("acme", "state-writer");
    let profile = alone(home.path(), &state);
    let verify = |file: &Path| run_json(&profile, ["receipt", "verify", text(file)]);
    let proved = verify(&file).done();
    assert_eq!(
        fields(&proved),
        ["committed", "envelope", "leaf", "log_size", "ok", "signatures", "snapshot", "survives", "type", "voters"]
    );
    assert_eq!((&proved["ok"], &proved["snapshot"]), (&json!(true), &json!(snapshot)));
    assert_eq!((&proved["voters"], &proved["survives"]), (&json!(3), &backup["survives"]));
    // The one that `backup` printed says the same of the same snapshot.
    let printed = home.path().join("printed.receipt");
    fs::write(&printed, backup["receipt"].as_str().unwrap()).unwrap();
    assert_eq!(verify(&printed).done()["snapshot"], snapshot);
    // So does a saved copy of the log, on a machine that has no state at all; without one it knows nobody.
    let saved = home.path().join("saved-log");
    fs::copy(state.join("log"), &saved).unwrap();
    let bare = alone(home.path(), &home.path().join("no-state"));
    let with_saved = ["receipt", "verify", text(&file), "--voters", text(&saved)];
    assert_eq!(run_json(&bare, with_saved).done()["ok"], true);
    let refused = run_json(&bare, ["receipt", "verify", text(&file)]).error(3);
    assert_eq!(words(&refused), ("FAILED_PRECONDITION", "NO_CHECKPOINT"));

    // Any byte of it, turned; cut; or no receipt at all.
    let profile = alone(home.path(), &state);
    let good = decoded(got["receipt"].as_str().unwrap());
    let touched = home.path().join("touched.receipt");
    let mut unsigned = 0;
    for at in (0..good.len()).step_by(7).chain([good.len() - 1]) {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        fs::write(&touched, &bytes).unwrap();
        let ran = run_json(&profile, ["receipt", "verify", text(&touched)]);
        // One that does not even read is damaged (6); one that reads proves nothing (3). The home shard's code is the
        // answering node's word: nobody signs it, and nothing is shown of it.
        if ran.code == 0 {
            unsigned += 1;
            assert_eq!(ran.last(), proved, "byte {at}");
        } else {
            assert!([3, 6].contains(&ran.code), "byte {at}: {}{}", ran.stdout, ran.stderr);
            ran.error(ran.code);
        }
    }
    assert!(unsigned <= 1, "two bytes are nobody's word, side by side");
    let mut forged = good.clone();
    let last = forged.len() - 1;
    forged[last] ^= 1;
    fs::write(&touched, &forged).unwrap();
    let refused = run_json(&profile, ["receipt", "verify", text(&touched)]).error(3);
    assert_eq!(words(&refused), ("FAILED_PRECONDITION", "RECEIPT_INVALID"));
    fs::write(&touched, &good[..good.len() / 2]).unwrap();
    run_json(&profile, ["receipt", "verify", text(&touched)]).error(6);
    run_json(&profile, ["receipt", "verify", "/absent.receipt"]).error(1);
}

/// Base64 as everybody writes it, read without the program's own code.
fn decoded(text: &str) -> Vec<u8> {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let value = |byte: u8| DIGITS.iter().position(|digit| *digit == byte).unwrap() as u32;
    let mut bytes = Vec::new();
    for four in text.trim_end_matches('=').as_bytes().chunks(4) {
        let bits = four.iter().fold(0, |bits, byte| bits << 6 | value(*byte)) << (6 * (4 - four.len()));
        bytes.extend_from_slice(&bits.to_be_bytes()[1..four.len()]);
    }
    bytes
}
