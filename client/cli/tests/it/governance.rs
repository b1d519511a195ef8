//! What operators decide on the command line: tenants admitted, suspended, resumed, ended; CAs accepted, registered,
//! their lists, retired.

use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};

use crate::cluster::{cluster, strongroomd, until};
use crate::program::{Ran, fields, run_json, strongroom};

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn words(error: &Value) -> (&str, &str) {
    (error["code"].as_str().unwrap(), error["reason"].as_str().unwrap())
}

fn plain(arguments: &[&str]) -> Ran {
    strongroom().arg("--json").args(arguments).output().map(Ran::from).unwrap()
}

/// Runs something until it ends in this way: nodes learn what an operator decided one by one.
fn ends_with(code: i32, run: impl Fn() -> Ran) -> Ran {
    let mut ran = run();
    until("it ends as it should", || {
        if ran.code != code {
            eprintln!("it ends with {}: {}{}", ran.code, ran.stdout, ran.stderr);
            ran = run();
        }
        ran.code == code
    });
    ran
}

/// A tenant founded by hand with one admin, `anna`: its founding record, and her profile's path.
fn founded(home: &Path, name: &str) -> (PathBuf, PathBuf) {
    let file = |name: &str| home.join(name);
    plain(&["init-key", "signing", "--out", text(&file("anna.signing"))]).done();
    let anna = format!("anna:admin:{}", text(&file("anna.signing.pub")));
    plain(&["init-key", "root", "--tenant", name, "--identity", &anna, "--out", text(&file("root"))]).done();
    (file("root.founding"), file("anna.toml"))
}

#[test]
fn a_founder_enrols_at_the_door_that_tenant_create_names_and_a_tenant_is_suspended_resumed_and_ended() {
    let (cluster, home) = (cluster(), tempfile::tempdir().unwrap());
    let (founding, profile) = founded(home.path(), "hooli");
    // Without a CA of its own the cluster's issues for it, and its founders enrol.
    let admitted = cluster.run("operator", ["tenant", "create", "hooli", "--founding", text(&founding)]).done();
    assert_eq!(fields(&admitted), ["door", "home", "id", "name", "set_version", "shards", "type"]);
    let (id, door) = (admitted["id"].as_str().unwrap(), admitted["door"].as_str().unwrap());
    let signing = home.path().join("anna.signing");
    let enrol = |identity: &str, role: &str, out: &Path| {
        plain(&[
            "enrol",
            "--door",
            door,
            "--founding",
            text(&founding),
            "--identity",
            identity,
            "--role",
            role,
            "--signing",
            text(&signing),
            "--out",
            text(out),
        ])
    };
    let enrolled = ends_with(0, || enrol("anna", "admin", &profile)).done();
    assert_eq!((&enrolled["identity"], &enrolled["roles"]), (&json!("anna"), &json!(["admin"])));
    let other = home.path().join("other.toml");
    for (identity, role) in [("anna", "restorer"), ("otto", "admin")] {
        let refused = enrol(identity, role, &other).error(3);
        assert_eq!(words(&refused), ("UNAUTHENTICATED", "IDENTITY"), "{identity} as {role}");
        assert!(refused["next"].as_str().unwrap().contains("--role"), "{refused}");
    }
    let list = || run_json(&profile, ["identity", "list"]);
    assert_eq!(ends_with(0, list).done()["count"], 1);

    let standing = |word: &str, more: &[&str]| {
        let mut arguments = vec!["tenant", word, id, "--reason", "under review"];
        arguments.extend(more);
        run_json(&cluster.profile("operator"), arguments)
    };
    let shown = |standing: &str| json!({"type": "tenant_standing", "id": id, "standing": standing});
    assert_eq!(standing("suspend", &[]).done(), shown("suspended"));
    let refused = ends_with(3, list).error(3);
    assert_eq!(words(&refused), ("FAILED_PRECONDITION", "TENANT_SUSPENDED"));
    assert_eq!(standing("resume", &[]).done(), shown("active"));
    ends_with(0, list);
    // The tenant's log says who did it and why.
    let log = run_json(&profile, ["audit", "list"]);
    log.done();
    for command in ["suspend-tenant", "resume-tenant"] {
        let leaf = log.lines().into_iter().find(|line| line["command"] == command);
        let leaf = leaf.unwrap_or_else(|| panic!("{command}: {}", log.stdout));
        assert_eq!((&leaf["principal"], &leaf["reason"]), (&json!("platform"), &json!("under review")));
    }
    // Nobody of a tenant decides such things.
    run_json(&profile, ["tenant", "suspend", id, "--reason", "x"]).error(3);
    cluster.run("operator", ["tenant", "suspend", &"ab".repeat(16), "--reason", "x"]).error(3);

    // For ever is said twice.
    standing("end", &[]).error(2);
    assert_eq!(standing("end", &["--for-ever"]).done(), shown("ended"));
    assert_eq!(words(&ends_with(3, list).error(3)), ("FAILED_PRECONDITION", "TENANT_SUSPENDED"));
    standing("resume", &[]).error(3);
    let heir = tempfile::tempdir().unwrap();
    let (again, _) = founded(heir.path(), "hooli");
    let refused = cluster.run("operator", ["tenant", "create", "hooli", "--founding", text(&again)]).error(3);
    assert_eq!(words(&refused), ("ALREADY_EXISTS", "NAME_RETIRED"));
}

#[test]
fn a_ca_is_accepted_registered_told_of_what_it_took_back_and_retired() {
    let (cluster, home) = (cluster(), tempfile::tempdir().unwrap());
    // Somebody's CAs: those of another cluster, which is never started.
    let elsewhere = home.path().join("elsewhere");
    let founded = strongroomd([
        "init",
        "--cluster",
        "else",
        "--region",
        "north",
        "--data",
        text(&elsewhere),
        "--time",
        &jiff::Timestamp::now().to_string(),
    ]);
    assert_eq!(founded.code, 0, "{}", founded.stderr);
    let (pem, dir) = (elsewhere.join("ca/tenant.pem"), elsewhere.join("ca/tenant"));
    let acceptance = home.path().join("acme.acceptance");
    let accept = ["issuer", "accept", text(&pem), "--out", text(&acceptance)];
    let accepted = cluster.run("acme-admin", accept).done();
    assert_eq!(accepted, json!({"type": "issuer", "what": "accepted", "file": text(&acceptance)}));
    cluster.run("acme-admin", accept).error(3);

    let register = |plane: &str, more: &[&str]| {
        let mut arguments = vec!["issuer", "register", text(&pem), "--plane", plane];
        arguments.extend(more);
        run_json(&cluster.profile("operator"), arguments)
    };
    // A CA of the tenant plane without a tenant that accepted it, and an acceptance on another plane.
    assert_eq!(words(&register("tenant", &[]).error(3)), ("INVALID_ARGUMENT", "INVALID"));
    let with = ["--acceptance", text(&acceptance)];
    assert_eq!(words(&register("peer", &with).error(3)), ("INVALID_ARGUMENT", "INVALID"));
    register("moon", &[]).error(2);
    let registered = register("tenant", &with).done();
    assert_eq!(fields(&registered), ["issuer", "type", "what"]);
    assert_eq!(registered["what"], "registered");
    // Its acceptance, altered, is nobody's.
    let mut altered = fs::read(&acceptance).unwrap();
    let last = altered.len() - 1;
    altered[last] ^= 1;
    let forged = home.path().join("forged.acceptance");
    fs::write(&forged, altered).unwrap();
    let refused = register("tenant", &["--acceptance", text(&forged)]).error(3);
    assert_eq!(words(&refused), ("FAILED_PRECONDITION", "PROVENANCE_INVALID"));
    // A leaf is no CA.
    let leaf = cluster.tenant_file("acme", "writer.pem");
    let refused = cluster.run("operator", ["issuer", "register", text(&leaf), "--plane", "peer"]).error(3);
    assert_eq!(words(&refused), ("INVALID_ARGUMENT", "ISSUER"));

    let made = strongroomd(["ca-revoke", "--plane", "tenant", "--dir", text(&dir), "--serial", "4f21"]);
    assert_eq!(made.code, 0, "{}", made.stderr);
    assert!(made.stdout.contains("1 revoked") && made.stdout.contains("strongroom issuer revoke"), "{}", made.stdout);
    let list = fs::read_dir(&dir).unwrap().map(|one| one.unwrap().path());
    let list = list.filter(|path| path.extension().is_some_and(|end| end == "crl")).max().expect("a list");
    let revoke = |list: &Path| cluster.run("operator", ["issuer", "revoke", text(&pem), "--list", text(list)]);
    let told = revoke(&list).done();
    assert_eq!((&told["what"], told["number"].is_u64()), (&json!("revocations"), true));
    assert_eq!(words(&revoke(&list).error(3)), ("ABORTED", "VERSION_CONFLICT"));
    let garbage = home.path().join("garbage.crl");
    let mut torn = fs::read(&list).unwrap();
    let middle = torn.len() / 2;
    torn[middle] ^= 1;
    fs::write(&garbage, torn).unwrap();
    assert_eq!(words(&revoke(&garbage).error(3)), ("INVALID_ARGUMENT", "REVOCATIONS"));

    let retire = || cluster.run("operator", ["issuer", "retire", text(&pem)]);
    assert_eq!(retire().done()["what"], "retired");
    assert_eq!(words(&retire().error(3)), ("NOT_FOUND", "NOT_FOUND"));
    assert_eq!(words(&register("tenant", &with).error(3)), ("ALREADY_EXISTS", "NAME_RETIRED"));
}
