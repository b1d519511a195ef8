//! People and machines of a tenant on the command line: tokens, enrolment, renewal, the list, closing.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde_json::{Value, json};

use crate::cluster::{cluster, strongroomd};
use crate::program::{Ran, fields, run_json, run_with_input, strongroom};

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Runs the program without a profile.
fn plain(arguments: &[&str]) -> Ran {
    strongroom().arg("--json").args(arguments).output().map(Ran::from).unwrap()
}

/// What `identity list` shows of one.
fn listed(id: &str) -> Option<Value> {
    let listed = cluster().run("acme-admin", ["identity", "list"]);
    let count = listed.lines().len() as u64 - 1;
    assert_eq!(listed.done(), json!({"type": "end", "count": count}));
    listed.lines().into_iter().find(|line| line["type"] == "identity" && line["id"] == id)
}

fn words(error: &Value) -> (&str, &str) {
    (error["code"].as_str().unwrap(), error["reason"].as_str().unwrap())
}

/// A token for a writer.
fn token(id: &str) -> String {
    let issued = cluster().run("acme-admin", ["identity", "token", id, "--role", "writer"]).done();
    assert_eq!(fields(&issued), ["identity", "roles", "token", "type"]);
    assert_eq!(
        (&issued["type"], &issued["identity"], &issued["roles"]),
        (&json!("token"), &json!(id), &json!(["writer"]))
    );
    issued["token"].as_str().unwrap().to_owned()
}

#[test]
fn somebody_new_enrols_with_a_token_backs_up_and_is_closed_for_ever() {
    let (cluster, home) = (cluster(), tempfile::tempdir().unwrap());
    let (vault, id) = (cluster.vault(), "web-7");
    let token = token(id);
    assert_eq!(listed(id), None, "a token makes nobody");

    // On its machine; the token comes by stdin, where no list of processes shows it.
    let profile = home.path().join("web-7.toml");
    let enrolled = run_with_input(["enrol", "-", "--out", text(&profile)], &format!("{token}\n")).done();
    assert_eq!(fields(&enrolled), ["identity", "next", "profiles", "roles", "tenant", "type"]);
    assert_eq!((&enrolled["type"], &enrolled["identity"]), (&json!("enrolled"), &json!(id)));
    assert_eq!((&enrolled["tenant"], &enrolled["roles"]), (&json!("acme"), &json!(["writer"])));
    assert_eq!(enrolled["profiles"], json!([text(&profile)]));
    for secret in ["web-7.key", "web-7.signing"] {
        let mode = fs::metadata(home.path().join(secret)).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{secret}");
    }
    // Nothing is written over; but where the answer was lost, the same keys get it again.
    assert_eq!(words(&plain(&["enrol", &token, "--out", text(&profile)]).error(3)), ("ALREADY_EXISTS", "EXISTS"));
    fs::remove_file(&profile).unwrap();
    plain(&["enrol", &token, "--out", text(&profile)]).done();
    // On any other machine the token is used up.
    let thief = home.path().join("thief.toml");
    let refused = plain(&["enrol", &token, "--out", text(&thief)]).error(3);
    assert_eq!(words(&refused), ("UNAUTHENTICATED", "TOKEN_USED"));
    assert!(refused["next"].as_str().unwrap().contains("close that identity"), "{refused}");
    assert!(!thief.exists());

    let shown = listed(id).expect("it is there now");
    assert_eq!(fields(&shown), ["enrolled_by", "id", "open", "roles", "signing_key", "type"]);
    assert_eq!((&shown["open"], &shown["roles"]), (&json!(true), &json!(["writer"])));
    assert_eq!(shown["enrolled_by"], "administrator");
    let public = fs::read_to_string(home.path().join("web-7.signing.pub")).unwrap();
    assert_eq!(shown["signing_key"], public.trim());

    // What `enrol` says is next: its writer's key is made where the root key is, and it gets a card.
    let tenant = fs::read_to_string(&profile).unwrap();
    let tenant = tenant.lines().find_map(|line| line.strip_prefix("id = \"")?.strip_suffix('"')).unwrap().to_owned();
    let key = home.path().join("web-7.writer");
    plain(&["init-key", "writer", "--tenant-id", &tenant, "--writer", id, "--out", text(&key)]).done();
    let signing = home.path().join("web-7.signing.pub");
    let card = ["vault", "card", &vault, "--writer-key", text(&key), "--signing", text(&signing)];
    let card = cluster.run("acme-admin", card).done();
    assert_eq!((&card["type"], &card["writer"]), (&json!("card"), &json!(id)));
    let source = home.path().join("source");
    fs::create_dir(&source).unwrap();
    fs::write(source.join("file"), "what web-7 has").unwrap();
    let backup = || run_json(&profile, ["backup", text(&source), "--vault", &vault]);
    let snapshot = backup().done()["snapshot"].as_str().unwrap().to_owned();
    let to = home.path().join("restored");
    cluster.run("acme-restorer", ["restore", &snapshot, "--to", text(&to)]).done();
    assert_eq!(fs::read_to_string(to.join("file")).unwrap(), "what web-7 has");

    let closed = cluster.run("acme-admin", ["identity", "close", id, "--reason", "stolen"]).done();
    assert_eq!(closed, json!({"type": "identity_closed", "id": id}));
    assert_eq!(listed(id).expect("it stays in the list")["open"], false);
    assert_eq!(words(&backup().error(3)), ("UNAUTHENTICATED", "IDENTITY"));
    let again = cluster.run("acme-admin", ["identity", "close", id, "--reason", "stolen"]).error(3);
    assert_eq!(words(&again), ("NOT_FOUND", "NOT_FOUND"));
    let again = cluster.run("acme-admin", ["identity", "token", id, "--role", "writer"]).error(3);
    assert_eq!(words(&again), ("ALREADY_EXISTS", "IDENTITY_TAKEN"));
    // What it made stays.
    cluster.run("acme-restorer", ["verify", &snapshot]).done();
}

#[test]
fn what_is_no_token_of_a_person_is_refused_with_what_to_do() {
    let (cluster, home) = (cluster(), tempfile::tempdir().unwrap());
    let out = home.path().join("x.toml");
    let out = text(&out);
    let whole = token("web-8");
    for broken in ["strongroom-token-1.AAAA", "no token", &whole[..whole.len() - 7]] {
        assert_eq!(plain(&["enrol", broken, "--out", out]).error(3)["reason"], "TOKEN_TEXT", "{broken}");
    }
    let node = cluster.run("operator", ["node", "token", "west-8", "--region", "west"]).done();
    let node = node["token"].as_str().unwrap();
    let refused = plain(&["enrol", node, "--out", out]).error(3);
    assert_eq!(refused["reason"], "TOKEN_KIND");
    assert!(refused["next"].as_str().unwrap().contains("strongroomd join"), "{refused}");
    let joined = strongroomd(["join", &whole, "--data", text(home.path()), "--address", "127.0.0.1"]);
    assert_eq!(joined.code, 1);
    assert!(joined.stderr.contains("strongroom enrol"), "{}", joined.stderr);
    plain(&["enrol", "--out", out]).error(2);
    plain(&["enrol", &whole]).error(2);
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0, "nothing was made");
}

#[test]
fn an_admin_alone_gives_no_role_that_needs_others_and_nobody_else_gives_any() {
    let cluster = cluster();
    for role in ["restorer", "admin", "approver", "legal", "key-custodian", "gateway"] {
        let refused = cluster.run("acme-admin", ["identity", "token", "rita-2", "--role", role]).error(3);
        assert_eq!(words(&refused), ("FAILED_PRECONDITION", "NEEDS_APPROVAL"), "{role}");
    }
    let both = cluster.run("acme-admin", ["identity", "token", "rita-2", "--role", "writer,restorer"]).error(3);
    assert_eq!(words(&both), ("PERMISSION_DENIED", "FORBIDDEN_ROLES"));
    for profile in ["acme-writer", "acme-restorer"] {
        let refused = cluster.run(profile, ["identity", "token", "rita-2", "--role", "writer"]).error(3);
        assert_eq!(words(&refused), ("PERMISSION_DENIED", "ROLE"), "{profile}");
        let refused = cluster.run(profile, ["identity", "close", "administrator", "--reason", "x"]).error(3);
        assert_eq!(words(&refused), ("PERMISSION_DENIED", "ROLE"), "{profile}");
        assert_eq!(words(&cluster.run(profile, ["identity", "list"]).error(3)), ("PERMISSION_DENIED", "ROLE"));
    }
    // Nobody closes itself: then an admin is always left.
    let refused = cluster.run("acme-admin", ["identity", "close", "administrator", "--reason", "x"]).error(3);
    assert_eq!(words(&refused), ("FAILED_PRECONDITION", "NEEDS_APPROVAL"));
    assert_eq!(listed("rita-2"), None);
}

#[test]
fn a_profile_gets_its_next_certificate_and_goes_on_with_it() {
    let (cluster, home) = (cluster(), tempfile::tempdir().unwrap());
    let profile = home.path().join("web-9.toml");
    plain(&["enrol", &token("web-9"), "--out", text(&profile)]).done();
    let read = |name: &str| fs::read_to_string(home.path().join(name)).unwrap();
    let before = (read("web-9.pem"), read("web-9.key"), read("web-9.signing"));
    let renewed = run_json(&profile, ["enrol", "--renew"]).done();
    assert_eq!((&renewed["type"], &renewed["identity"]), (&json!("enrolled"), &json!("web-9")));
    let after = (read("web-9.pem"), read("web-9.key"), read("web-9.signing"));
    assert!(before.0 != after.0 && before.1 != after.1, "another certificate and another key");
    assert_eq!(before.2, after.2, "the same identity");
    let mode = fs::metadata(home.path().join("web-9.key")).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o600);
    assert_eq!(fs::read_dir(home.path()).unwrap().filter(|one| is_left_over(one.as_ref().unwrap())).count(), 0);
    run_json(&profile, ["status"]).done();
    // A closed one gets none.
    cluster.run("acme-admin", ["identity", "close", "web-9", "--reason", "gone"]).done();
    let refused = run_json(&profile, ["enrol", "--renew"]).error(3);
    assert_eq!(words(&refused), ("UNAUTHENTICATED", "IDENTITY"));
    assert_eq!(read("web-9.pem"), after.0, "its files are as they were");
}

fn is_left_over(entry: &fs::DirEntry) -> bool {
    entry.file_name().to_string_lossy().ends_with(".new")
}
