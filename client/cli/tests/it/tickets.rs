//! Several writers, one snapshot, on the command line: opened, joined by processes, committed, shown, restored.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::cluster::cluster;
use crate::program::{fields, strongroom};

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn assert_equal(a: &Path, b: &Path) {
    let diff = Command::new("diff").arg("-r").arg(a).arg(b).output().unwrap();
    assert!(diff.status.success(), "{}", String::from_utf8_lossy(&diff.stdout));
}

#[test]
fn processes_join_a_ticket_and_one_command_shows_all_of_them() {
    let (cluster, home) = (cluster(), tempfile::tempdir().unwrap());
    let vault = cluster.vault();
    let names = ["rows-1", "rows-2", "rows-3"];
    for name in names {
        let top = home.path().join(name);
        fs::create_dir(&top).unwrap();
        fs::write(top.join("rows"), format!("rows of {name}\n").repeat(1000)).unwrap();
        let noise: Vec<u8> = (0..400_000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
        fs::write(top.join("same everywhere"), noise).unwrap();
    }
    let expects: Vec<String> = names.iter().map(|name| format!("{name}=writer")).collect();
    let [one, two, three] = &expects[..] else { panic!() };
    let opened = cluster
        .run(
            "acme-writer",
            [
                "ticket", "open", "--vault", &vault, "--name", "shop", "--expect", one, "--expect", two, "--expect",
                three,
            ],
        )
        .done();
    assert_eq!((&opened["state"], &opened["streams"]), (&json!("open"), &json!(0)));
    let ticket = opened["ticket"].as_str().unwrap().to_owned();

    // Three processes at once.
    let profile = cluster.profile("acme-writer");
    let join = |name: &str| {
        let mut command = strongroom();
        command.args(["--json", "--profile", text(&profile), "backup", text(&home.path().join(name))]);
        command.args(["--join", &ticket, "--stream", name]);
        command
    };
    let started = |name: &&str| join(name).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let running: Vec<Child> = names[..2].iter().map(started).collect();
    for process in running {
        let output = process.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let last: Value = serde_json::from_slice(output.stdout.trim_ascii()).unwrap();
        assert_eq!((&last["type"], &last["receipt"]), (&json!("backup"), &Value::Null));
    }
    // Not before all are there.
    let refused = cluster.run("acme-writer", ["ticket", "commit", &ticket]).error(3);
    assert_eq!(refused["reason"], "STREAMS_DIFFER");
    assert!(refused["message"].as_str().unwrap().contains("rows-3"), "{refused}");
    let taken = cluster
        .run("acme-writer", ["backup", text(&home.path().join("rows-1")), "--join", &ticket, "--stream", "rows-1"])
        .error(3);
    assert_eq!(taken["reason"], "STREAM_TAKEN");
    let other = cluster
        .run("acme-writer", ["backup", text(&home.path().join("rows-1")), "--join", &ticket, "--stream", "rows-9"])
        .error(3);
    assert_eq!(other["reason"], "STREAMS_DIFFER");
    assert_eq!(cluster.run("acme-writer", ["snapshots", "--vault", &vault]).done()["count"], 0);
    let path = home.path().join("rows-3");
    let joined = cluster.run("acme-writer", ["backup", text(&path), "--join", &ticket, "--stream", "rows-3"]).done();
    assert_eq!(joined["stream"], "rows-3");
    // Once more, in place of itself.
    let again = ["backup", text(&path), "--join", &ticket, "--stream", "rows-3", "--replace"];
    assert_ne!(cluster.run("acme-writer", again).done()["snapshot"], joined["snapshot"]);
    let shown = cluster.run("acme-writer", ["ticket", "show", &ticket]);
    let lines = shown.lines();
    assert_eq!(lines.len(), 4);
    assert!(lines[..3].iter().all(|stream| stream["ready"] == true), "{lines:?}");

    let committed = cluster.run("acme-writer", ["ticket", "commit", &ticket]).done();
    let all = ["code", "handed_over", "name", "receipt", "seconds", "snapshot", "streams", "survives", "type", "vault"];
    assert_eq!(fields(&committed), all);
    let whole = committed["snapshot"].as_str().unwrap().to_owned();
    let late = cluster.run("acme-writer", ["ticket", "commit", &ticket]).error(3);
    assert_eq!(late["reason"], "TICKET_ENDED");
    assert_eq!(cluster.run("acme-writer", ["ticket", "show", &ticket]).done()["whole"], whole.as_str());
    let abort = cluster.run("acme-writer", ["ticket", "abort", &ticket]).error(3);
    assert_eq!(abort["reason"], "IMMUTABLE");

    // The latest is the whole.
    let listed = cluster.run("acme-restorer", ["ls", "latest", "--vault", &vault, "--name", "shop"]);
    let streams: Vec<Value> = listed.lines().into_iter().filter(|line| line["type"] == "stream").collect();
    assert_eq!(streams.iter().map(|stream| stream["name"].as_str().unwrap()).collect::<Vec<_>>(), names);
    let listed = cluster.run("acme-restorer", ["snapshots", "--vault", &vault]).lines();
    assert_eq!(listed.iter().filter(|line| line["stream"].is_string()).count(), 3);
    assert_eq!(listed.iter().filter(|line| line["streams"] == 3).count(), 1);
    let to = home.path().join("all");
    let restored = cluster.run("acme-restorer", ["restore", &whole, "--to", text(&to)]).done();
    assert_eq!(restored["files"], 6);
    for name in names {
        assert_equal(&home.path().join(name), &to.join(name));
    }
    assert_eq!(fs::read_dir(&to).unwrap().count(), 3, "and nothing else");
    let to = home.path().join("one");
    cluster.run("acme-restorer", ["restore", &whole, "--stream", "rows-2", "--to", text(&to)]).done();
    assert_equal(&home.path().join("rows-2"), &to);
    let profile = cluster.profile("acme-restorer");
    let range = ["cat", &whole, "rows", "--stream", "rows-3", "--range", "17-33"];
    let range = strongroom().args(["--profile", text(&profile)]).args(range).output().unwrap();
    assert_eq!(range.stdout, &"rows of rows-3\n".repeat(3).as_bytes()[17..=33]);
    let verified = cluster.run("acme-restorer", ["verify", &whole]);
    assert_eq!(verified.done()["count"], 4, "the whole and its streams");
    for (arguments, reason) in [
        (["cat", &whole, "rows"].to_vec(), "STREAMS"),
        (["ls", &whole, "--stream", "rows-7"].to_vec(), "NO_SUCH_STREAM"),
        (["ls", streams[0]["snapshot"].as_str().unwrap(), "--stream", "rows-1"].to_vec(), "NO_SUCH_STREAM"),
    ] {
        let refused = crate::program::run_json(&profile, &arguments);
        assert_eq!(refused.code, 3, "{arguments:?}: {}{}", refused.stdout, refused.stderr);
        let said = if refused.stdout.is_empty() { &refused.stderr } else { &refused.stdout };
        assert!(said.contains(&format!("\"reason\":\"{reason}\"")), "{arguments:?}: {said}");
    }
    let again = cluster.run("acme-restorer", ["restore", &whole, "--to", text(&home.path().join("all"))]).error(3);
    assert_eq!(again["reason"], "TARGET_MISMATCH");
    let resumed =
        cluster.run("acme-restorer", ["restore", &whole, "--to", text(&home.path().join("new")), "--resume"]).error(3);
    assert_eq!(resumed["reason"], "STREAMS");
    assert!(!home.path().join("new").exists());
    // A receipt of a stream, once the whole is there.
    let stream = streams[0]["snapshot"].as_str().unwrap();
    assert_eq!(cluster.run("acme-writer", ["receipt", "get", stream]).done()["snapshot"], stream);
}

#[test]
fn what_is_given_up_is_never_shown_and_another_tenant_finds_no_ticket() {
    let (cluster, home) = (cluster(), tempfile::tempdir().unwrap());
    let vault = cluster.vault();
    let path = home.path().join("rows");
    fs::write(&path, "rows").unwrap();
    let opened = cluster.run("acme-writer", ["ticket", "open", "--vault", &vault, "--name", "shop"]).done();
    let ticket = opened["ticket"].as_str().unwrap();
    let empty = cluster.run("acme-writer", ["ticket", "commit", ticket]).error(3);
    assert_eq!(empty["reason"], "STREAMS_DIFFER");
    cluster.run("acme-writer", ["backup", text(&path), "--join", ticket, "--stream", "one"]).done();
    cluster.run("globex-admin", ["vault", "create", &vault]).done();
    let foreign = cluster.run("globex-writer", ["ticket", "show", ticket]).error(3);
    assert_eq!(foreign["reason"], "NOT_FOUND");
    let foreign = cluster.run("globex-writer", ["backup", text(&path), "--join", ticket, "--stream", "two"]).error(3);
    assert_eq!(foreign["reason"], "NOT_FOUND");
    let dropped = cluster.run("acme-writer", ["ticket", "drop", ticket, "one"]).done();
    assert_eq!(dropped["stream"], "one");
    cluster.run("acme-writer", ["backup", text(&path), "--join", ticket, "--stream", "one"]).done();
    cluster.run("acme-writer", ["ticket", "abort", ticket]).done();
    let late = cluster.run("acme-writer", ["backup", text(&path), "--join", ticket, "--stream", "two"]).error(3);
    assert_eq!(late["reason"], "TICKET_ENDED");
    let shown = cluster.run("acme-writer", ["ticket", "show", ticket]).done();
    assert_eq!((&shown["state"], &shown["streams"]), (&json!("aborted"), &json!(0)));
    assert_eq!(cluster.run("acme-writer", ["snapshots", "--vault", &vault]).done()["count"], 0);
}
