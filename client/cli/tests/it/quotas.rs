//! Quotas and rates on the command line: set by whom, shown to whom, and what a backup beyond one is told.

use std::fs;
use std::num::NonZeroU64;
use std::path::Path;

use serde_json::{Value, json};

use crate::cluster::{Cluster, until};
use crate::program::Ran;
use crate::trees::{noise, text};

fn usage(cluster: &Cluster, profile: &str) -> Vec<Value> {
    let ran = cluster.run(profile, ["usage"]);
    ran.done();
    let mut lines = ran.lines();
    let end = lines.pop().unwrap();
    assert_eq!(end, json!({"type": "end", "count": lines.len()}));
    lines
}

fn of<'a>(lines: &'a [Value], kind: &str, name: &str) -> &'a Value {
    let found = lines.iter().find(|line| line["of"] == kind && line["name"] == name);
    found.unwrap_or_else(|| panic!("no {kind} {name}: {lines:?}"))
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value}"))
}

fn back_up(cluster: &Cluster, tree: &Path, vault: &str, name: &str) -> Ran {
    cluster.run("acme-writer", ["backup", text(tree), "--vault", vault, "--name", name])
}

#[test]
fn n117_quotas_are_set_shown_and_kept_and_a_refused_backup_says_whose_and_how_much() {
    // A cluster of its own: a tenant's limit would be everybody's.
    let (cluster, home) = (Cluster::alone(), tempfile::tempdir().unwrap());
    let (vault, other) = (cluster.vault(), cluster.vault());
    let tree = |name: &str, seed, bytes| {
        let top = home.path().join(name);
        fs::create_dir(&top).unwrap();
        fs::write(top.join("noise"), noise(seed, bytes)).unwrap();
        top
    };
    let (small, large) = (tree("small", 1, 6 << 20), tree("large", 2, 96 << 20));
    back_up(&cluster, &small, &vault, "one").done();

    // What is there adds up: the same for the tenant, its one vault with something in it, and its one writer.
    let lines = usage(&cluster, "acme-admin");
    let shown = [of(&lines, "tenant", ""), of(&lines, "vault", &vault), of(&lines, "writer", "writer")];
    for field in ["logical_bytes", "stored_bytes", "snapshots"] {
        let used = shown.map(|one| number(&one[field]["used"]));
        assert!(0 < used[0] && used.iter().all(|one| *one == used[0]), "{field}: {used:?}");
    }
    let stored = number(&shown[0]["stored_bytes"]["used"]);
    assert!((6 << 20..7 << 20).contains(&stored), "{stored}");
    assert_eq!(number(&of(&lines, "vault", &other)["stored_bytes"]["used"]), 0);
    assert!(shown.iter().all(|one| one["exceeded"] == false && one["stored_bytes"]["hard"].is_null()));
    // A writer sees its own, and nobody else anything of this tenant.
    let own = usage(&cluster, "acme-writer");
    assert_eq!((own.len(), &own[0]["of"]), (1, &json!("writer")), "{own:?}");
    assert!(usage(&cluster, "globex-admin").iter().all(|one| one["stored_bytes"]["used"] == 0));

    // A soft one only shows; a hard one refuses.
    let set = ["vault", "quota", "set", &vault, "--snapshots", "2", "--soft-stored", "1MiB"];
    let said = cluster.run("acme-admin", set).done();
    assert_eq!((&said["type"], &said["snapshots"]["hard"]), (&json!("quota"), &json!(2)));
    back_up(&cluster, &small, &vault, "two").done();
    let lines = usage(&cluster, "acme-admin");
    assert_eq!(of(&lines, "vault", &vault)["exceeded"], true);
    let refused = back_up(&cluster, &small, &vault, "three").error(3);
    assert_eq!((&refused["code"], &refused["reason"]), (&json!("RESOURCE_EXHAUSTED"), &json!("QUOTA")), "{refused}");
    let message = refused["message"].as_str().unwrap();
    assert!(message.contains("the vault may have 2 snapshots; 2 are there"), "{message}");
    assert!(refused["next"].as_str().unwrap().contains("strongroom usage"), "{refused}");
    back_up(&cluster, &small, &other, "elsewhere").done();
    assert_eq!(cluster.run("acme-writer", ["snapshots", "--vault", &vault]).done()["count"], 2);

    // A writer's bytes, over all vaults: it fills its share and stops, and what was sent is not there.
    cluster.run("acme-admin", ["identity", "quota", "set", "writer", "--stored", "64MiB"]).done();
    let refused = back_up(&cluster, &large, &other, "large").error(3);
    assert_eq!(refused["reason"], "QUOTA", "{refused}");
    assert!(refused["message"].as_str().unwrap().contains("the writer may have"), "{refused}");
    let lines = usage(&cluster, "acme-admin");
    let writer = &of(&lines, "writer", "writer")["stored_bytes"];
    assert!(number(&writer["used"]) + number(&writer["under_way"]) <= 64 << 20, "{writer}");
    cluster.run("acme-admin", ["identity", "quota", "set", "writer", "--unlimited"]).done();
    back_up(&cluster, &large, &other, "large").done();

    // Of the tenant an operator decides, and nobody else.
    let tenant = fs::read_to_string(cluster.profile("acme-admin")).unwrap();
    let tenant = tenant.lines().find_map(|line| line.strip_prefix("id = \"")?.strip_suffix('"')).unwrap();
    let limit = ["tenant", "quota", "set", tenant, "--snapshots", "4", "--upload-rate", "2MiB", "--reason", "contract"];
    cluster.run("operator", limit).done();
    until("the shards have heard of it", || of(&usage(&cluster, "acme-admin"), "tenant", "")["snapshots"]["hard"] == 4);
    let refused = back_up(&cluster, &small, &other, "five").error(3);
    assert!(refused["message"].as_str().unwrap().contains("the tenant may have 4 snapshots"), "{refused}");
    let log = cluster.run("acme-admin", ["audit", "list"]);
    let told = log.lines().iter().any(|leaf| leaf["command"] == "limit-tenant" && leaf["reason"] == "contract");
    assert!(told, "{}", log.stdout);
    let rate = NonZeroU64::new(2 << 20).unwrap().get();
    assert_eq!(of(&usage(&cluster, "acme-admin"), "tenant", "")["upload_bytes_per_second"], rate);

    // It comes as slowly as it may, and whole.
    let limit = ["tenant", "quota", "set", tenant, "--upload-rate", "2MiB", "--reason", "more"];
    cluster.run("operator", limit).done();
    until("the shards have heard of it", || {
        of(&usage(&cluster, "acme-admin"), "tenant", "")["snapshots"]["hard"].is_null()
    });
    let slow = tree("slow", 3, 40 << 20);
    let done = back_up(&cluster, &slow, &other, "slow").done();
    // Three nodes, each with a bucket of 8 MiB and 2 MiB a second: 40 MiB take at least 2 seconds.
    assert!(2.0 < done["seconds"].as_f64().unwrap(), "{done}");
    let to = home.path().join("to");
    cluster.run("acme-restorer", ["restore", done["snapshot"].as_str().unwrap(), "--to", text(&to)]).done();
    assert!(fs::read(to.join("noise")).unwrap() == fs::read(slow.join("noise")).unwrap());
    // Restores are not held up, and nor is another tenant.
    assert!(usage(&cluster, "globex-admin").iter().all(|one| one["upload_bytes_per_second"].is_null()));
}

#[test]
fn quotas_that_make_no_sense_or_are_not_ones_own_are_refused() {
    let cluster = crate::cluster::cluster();
    let vault = cluster.vault();
    let run = |profile: &str, arguments: &[&str]| {
        let mut all = vec!["--json", "--profile"];
        let profile = cluster.profile(profile);
        all.push(text(&profile));
        all.extend(arguments);
        crate::program::run(all)
    };
    for (profile, arguments, code, reason) in [
        ("acme-admin", &["vault", "quota", "set", &vault][..], 2, "USAGE"),
        ("acme-admin", &["vault", "quota", "set", &vault, "--unlimited", "--stored", "5"], 2, "USAGE"),
        ("acme-admin", &["vault", "quota", "set", &vault, "--stored", "5", "--soft-stored", "6"], 2, "USAGE"),
        ("acme-admin", &["vault", "quota", "set", &vault, "--stored", "lots"], 2, "USAGE"),
        ("acme-admin", &["vault", "quota", "set", &vault, "--sessions", "5"], 3, "INVALID"),
        ("acme-admin", &["vault", "quota", "set", "absent", "--stored", "5"], 3, "NOT_FOUND"),
        ("acme-admin", &["identity", "quota", "set", "nobody", "--stored", "5"], 3, "NOT_FOUND"),
        ("acme-writer", &["identity", "quota", "set", "writer", "--unlimited"], 3, "ROLE"),
        ("acme-restorer", &["vault", "quota", "set", &vault, "--stored", "5"], 3, "ROLE"),
        ("operator", &["tenant", "quota", "set", &"0".repeat(32), "--stored", "5", "--reason", "x"], 3, "NOT_FOUND"),
        (
            "operator",
            &["tenant", "quota", "set", &"0".repeat(32), "--unlimited", "--upload-rate", "1K", "--reason", "x"],
            2,
            "USAGE",
        ),
    ] {
        assert_eq!(run(profile, arguments).error(code)["reason"], reason, "{arguments:?}");
    }
}
