//! The commands against a running cluster.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::cluster::{cluster, until};
use crate::program::{Ran, fields, strongroom};

/// A small tree with what trees have: nested directories, an empty file, a larger one, a link, a name of any bytes.
fn tree(home: &Path) -> PathBuf {
    let top = home.join("www");
    fs::create_dir_all(top.join("inner/deeper")).unwrap();
    fs::create_dir(top.join("empty")).unwrap();
    fs::write(top.join("index.html"), "<p>hello</p>").unwrap();
    fs::write(top.join("inner/nothing"), "").unwrap();
    let noise: Vec<u8> = (0..3_000_000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    fs::write(top.join("inner/deeper/noise"), noise).unwrap();
    fs::write(top.join(std::ffi::OsStr::from_bytes(b"not-\xff-text")), "odd").unwrap();
    std::os::unix::fs::symlink("../index.html", top.join("inner/link")).unwrap();
    top
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn assert_equal(a: &Path, b: &Path) {
    let diff = Command::new("diff").arg("-r").arg("--no-dereference").arg(a).arg(b).output().unwrap();
    assert!(diff.status.success(), "{}", String::from_utf8_lossy(&diff.stdout));
}

fn back_up(path: &Path, vault: &str) -> Value {
    cluster().run("acme-writer", ["backup", text(path), "--vault", vault]).done()
}

fn id(backup: &Value) -> &str {
    backup["snapshot"].as_str().unwrap()
}

#[test]
fn a_backup_is_listed_verified_and_restored() {
    let (cluster, home) = (cluster(), tempfile::tempdir().unwrap());
    let top = tree(home.path());
    // A node that is slow for a moment takes no part, and the receipt says so: then into another vault.
    let (mut vault, mut backup) = (String::new(), Value::Null);
    until("every node takes part", || {
        vault = cluster.vault();
        backup = back_up(&top, &vault);
        backup["handed_over"] == 0 && backup["survives"] == json!({"regions": 1, "nodes": 1})
    });
    assert_eq!(
        fields(&backup),
        [
            "bytes",
            "bytes_read",
            "bytes_sent",
            "changed",
            "chunks_known",
            "chunks_new",
            "code",
            "dirs",
            "files",
            "files_unchanged",
            "handed_over",
            "links",
            "name",
            "receipt",
            "seconds",
            "skipped",
            "snapshot",
            "special",
            "survives",
            "type",
            "vault",
        ]
    );
    assert_eq!((&backup["type"], &backup["vault"], &backup["name"]), (&json!("backup"), &json!(vault), &json!("www")));
    assert_eq!((&backup["files"], &backup["dirs"], &backup["links"]), (&json!(4), &json!(3), &json!(1)));
    assert_eq!(backup["bytes_read"], 12_000_015);
    assert_eq!(backup["code"], "2+1");
    assert!(backup["seconds"].is_f64() && backup["receipt"].is_string());

    let snapshots = cluster.run("acme-restorer", ["snapshots", "--vault", &vault]);
    snapshots.done();
    let [shown, end] = &snapshots.lines()[..] else { panic!("{}", snapshots.stdout) };
    assert_eq!(fields(shown), ["bytes", "created", "files", "id", "lock", "name", "strength", "tags", "type", "vault"]);
    assert_eq!(
        (&shown["type"], &shown["id"], &shown["vault"]),
        (&json!("snapshot"), &backup["snapshot"], &json!(vault))
    );
    assert_eq!((&shown["name"], &shown["bytes"], &shown["files"]), (&json!("www"), &json!(12_000_015), &json!(4)));
    assert_eq!((&shown["lock"], &shown["strength"]), (&Value::Null, &json!({"regions": 1, "nodes": 1})));
    assert!(shown["created"].as_str().unwrap().ends_with('Z'));
    assert_eq!(*end, json!({"type": "end", "count": 1}));

    let entries = cluster.run("acme-restorer", ["ls", id(&backup)]);
    assert_eq!(entries.done(), json!({"type": "end", "count": 8}));
    for entry in entries.lines().iter().filter(|line| line["type"] == "entry") {
        let is_link = entry["kind"] == "link";
        let known = ["bytes", "kind", "mode", "mtime", "owner", "path", "target", "type"];
        let expected = known.into_iter().filter(|field| is_link || *field != "target");
        assert_eq!(fields(entry), expected.collect::<Vec<_>>());
    }
    assert!(
        entries.lines().iter().any(|line| line["path"] == json!({"b64": "bm90Lf8tdGV4dA=="})),
        "{}",
        entries.stdout
    );
    let inner = cluster.run("acme-restorer", ["ls", &id(&backup)[..8], "inner"]);
    assert_eq!(inner.done()["count"], 5);

    let verified = cluster.run("acme-restorer", ["verify", "latest", "--vault", &vault]).done();
    assert_eq!(
        fields(&verified),
        ["blobs_rebuilt", "bytes", "files", "fragments_bad", "ok", "seconds", "snapshot", "type",]
    );
    assert_eq!((&verified["ok"], &verified["files"]), (&json!(true), &json!(4)));

    let to = home.path().join("restored");
    let restored = cluster
        .run("acme-restorer", ["restore", "latest", "--vault", &vault, "--name", "www", "--to", text(&to)])
        .done();
    assert_eq!(
        fields(&restored),
        ["blobs_rebuilt", "bytes", "files", "fragments_bad", "seconds", "snapshot", "to", "type",]
    );
    assert_eq!((&restored["to"], &restored["snapshot"]), (&json!(text(&to)), &backup["snapshot"]));
    assert_equal(&top, &to);
}

#[test]
fn paths_of_a_snapshot_lie_where_the_contract_says() {
    let (cluster, home) = (cluster(), tempfile::tempdir().unwrap());
    let backup = back_up(&tree(home.path()), &cluster.vault());
    let to = |name: &str| home.path().join(name);
    let restore = |paths: &[&str], name: &str, flags: &[&str]| {
        let to = to(name);
        let mut command = strongroom();
        command.args(["--json", "--profile", text(&cluster.profile("acme-restorer")), "restore", id(&backup)]);
        command.args(paths).args(["--to", text(&to)]).args(flags);
        command.output().map(Ran::from).unwrap()
    };
    restore(&["inner"], "one", &[]).done();
    assert_equal(&to("one"), &to("www/inner"));
    restore(&["index.html"], "file", &[]).done();
    assert_eq!(fs::read_to_string(to("file/index.html")).unwrap(), "<p>hello</p>");
    restore(&["inner/deeper", "index.html"], "several", &[]).done();
    assert_equal(&to("several/deeper"), &to("www/inner/deeper"));
    assert_eq!(fs::read_dir(to("several")).unwrap().count(), 2);

    fs::write(to("file/mine"), "kept").unwrap();
    restore(&["inner"], "file", &[]).error(3);
    assert_eq!(fs::read_dir(to("file")).unwrap().count(), 2, "nothing was added");
    restore(&["inner"], "file", &["--into"]).done();
    assert_eq!(fs::read_to_string(to("file/mine")).unwrap(), "kept");
    restore(&["absent"], "none", &[]).error(3);
    assert!(!to("none").exists());
}

#[test]
fn a_second_backup_sends_what_is_new_and_is_the_latest() {
    let (cluster, home) = (cluster(), tempfile::tempdir().unwrap());
    let (vault, top) = (cluster.vault(), tree(home.path()));
    let first = back_up(&top, &vault);
    fs::write(top.join("index.html"), "<p>bye</p>").unwrap();
    let second = back_up(&top, &vault);
    assert_ne!(id(&first), id(&second));
    let sent = |backup: &Value| backup["bytes_sent"].as_u64().unwrap();
    assert!(sent(&second) * 10 < sent(&first), "{} {}", sent(&first), sent(&second));
    assert!(second["chunks_known"].as_u64().unwrap() > 0);
    let verified = cluster.run("acme-restorer", ["verify", "latest", "--vault", &vault]).done();
    assert_eq!(verified["snapshot"], second["snapshot"]);
}

#[test]
fn what_cannot_be_backed_up_is_named_and_the_code_is_5() {
    let (cluster, home) = (cluster(), tempfile::tempdir().unwrap());
    let top = tree(home.path());
    let _socket = std::os::unix::net::UnixListener::bind(top.join("socket")).unwrap();
    let ran = cluster.run("acme-writer", ["backup", text(&top), "--vault", &cluster.vault()]);
    assert_eq!(ran.code, 5, "{}{}", ran.stdout, ran.stderr);
    assert_eq!(ran.last()["skipped"], 1);
    assert!(ran.lines().iter().any(|line| line["type"] == "skipped" && line["path"] == "socket"), "{}", ran.stdout);
    assert!(ran.stderr.contains("skipped: socket"), "{}", ran.stderr);
}

#[test]
fn n115_power_comes_back_only_when_asked_and_kinds_have_their_names() {
    use std::os::unix::fs::PermissionsExt as _;
    let (cluster, home) = (cluster(), tempfile::tempdir().unwrap());
    let top = tree(home.path());
    assert!(Command::new("mkfifo").arg(top.join("pipe")).status().unwrap().success());
    fs::hard_link(top.join("index.html"), top.join("inner/again")).unwrap();
    fs::write(top.join("program"), "#!/bin/true").unwrap();
    fs::set_permissions(top.join("program"), fs::Permissions::from_mode(0o4755)).unwrap();
    let backup = back_up(&top, &cluster.vault());
    assert_eq!((&backup["special"], &backup["links"], &backup["changed"]), (&json!(1), &json!(2), &json!(0)));

    let entries = cluster.run("acme-restorer", ["ls", id(&backup)]);
    let kind = |path: &str| entries.lines().iter().find(|line| line["path"] == path).unwrap()["kind"].clone();
    assert_eq!(
        (kind("pipe"), kind("inner/again"), kind("inner/link")),
        ("fifo".into(), "hardlink".into(), "link".into())
    );

    let mode = |to: &Path| fs::metadata(to.join("program")).unwrap().permissions().mode() & 0o7777;
    let (plain, special) = (home.path().join("plain"), home.path().join("special"));
    let ran = cluster.run("acme-restorer", ["restore", id(&backup), "--to", text(&plain)]);
    ran.done();
    assert_eq!(mode(&plain), 0o755);
    let lacks: Vec<Value> = ran.lines().into_iter().filter(|line| line["type"] == "not_given").collect();
    assert_eq!((lacks.len(), &lacks[0]["what"], &lacks[0]["entries"]), (1, &json!("power"), &json!(1)));
    assert!(ran.stderr.contains("1 entry was restored without set-uid bits"), "{}", ran.stderr);
    let ran = cluster.run("acme-restorer", ["restore", id(&backup), "--to", text(&special), "--special"]);
    ran.done();
    assert_eq!(mode(&special), 0o4755);
    assert!(!ran.stdout.contains("not_given"), "{}", ran.stdout);
    let same = |one: &str, other: &str| {
        use std::os::unix::fs::MetadataExt as _;
        fs::metadata(special.join(one)).unwrap().ino() == fs::metadata(special.join(other)).unwrap().ino()
    };
    assert!(same("index.html", "inner/again") && !same("index.html", "program"));
}

#[test]
fn several_paths_need_different_base_names() {
    let (cluster, home) = (cluster(), tempfile::tempdir().unwrap());
    let (vault, top) = (cluster.vault(), tree(home.path()));
    let (a, b) = (top.join("inner"), top.join("empty"));
    let done = cluster.run("acme-writer", ["backup", text(&a), text(&b), "--vault", &vault]).done();
    assert_eq!(done["name"], "inner+empty");
    fs::create_dir_all(home.path().join("other/inner")).unwrap();
    let twice = home.path().join("other/inner");
    cluster.run("acme-writer", ["backup", text(&a), text(&twice), "--vault", &vault]).error(3);
}

#[test]
fn n20_another_tenant_sees_nothing_and_learns_nothing() {
    let (cluster, home) = (cluster(), tempfile::tempdir().unwrap());
    let vault = cluster.vault();
    let backup = back_up(&tree(home.path()), &vault);
    let to = home.path().join("stolen");
    let foreign = cluster.run("globex-restorer", ["restore", id(&backup), "--to", text(&to)]).error(3);
    let absent = cluster.run("globex-restorer", ["restore", &"ab".repeat(16), "--to", text(&to)]).error(3);
    assert_eq!((&foreign["code"], &foreign["reason"]), (&absent["code"], &absent["reason"]));
    assert!(!to.exists());
    cluster.run("globex-restorer", ["snapshots", "--vault", &vault]).error(3);
    let list = cluster.run("globex-admin", ["vault", "list"]);
    list.done();
    assert!(!list.stdout.contains(&vault), "{}", list.stdout);
}

#[test]
fn a_writer_reads_nothing_back() {
    let (cluster, home) = (cluster(), tempfile::tempdir().unwrap());
    let backup = back_up(&tree(home.path()), &cluster.vault());
    let to = home.path().join("stolen");
    cluster.run("acme-writer", ["restore", id(&backup), "--to", text(&to)]).error(3);
    cluster.run("acme-writer", ["verify", id(&backup)]).error(3);
    cluster.run("acme-restorer", ["backup", text(home.path()), "--vault", "absent"]).error(3);
    assert!(!to.exists());
}

#[test]
fn a_snapshot_that_is_not_there_is_refused() {
    let cluster = cluster();
    let vault = cluster.vault();
    cluster.run("acme-restorer", ["verify", "latest"]).error(2);
    cluster.run("acme-restorer", ["verify", "latest", "--vault", &vault]).error(3);
    cluster.run("acme-restorer", ["verify", "00000000"]).error(3);
    cluster.run("acme-restorer", ["verify", "latest", "--vault", "absent"]).error(3);
    let none = cluster.run("acme-restorer", ["snapshots", "--vault", &vault]);
    assert_eq!(none.done(), json!({"type": "end", "count": 0}));
}

#[test]
fn a_vault_is_created_once_listed_and_shown() {
    let cluster = cluster();
    let vault = cluster.vault();
    cluster.run("acme-admin", ["vault", "create", &vault]).error(3);
    cluster.run("acme-writer", ["vault", "create", "mine"]).error(3);
    let listed = cluster.run("acme-admin", ["vault", "list"]);
    listed.done();
    assert!(listed.lines().iter().any(|line| line["type"] == "vault" && line["name"] == vault.as_str()));
    let shown = cluster.run("acme-admin", ["vault", "show", &vault]).done();
    assert_eq!((&shown["type"], &shown["name"]), (&json!("vault"), &json!(vault)));
    assert_eq!(shown["recipients"][0], "restorer");
    assert_eq!(shown["writers"][0]["writer"], "writer");
}

#[test]
fn status_shows_tenants_their_shards_and_operators_all() {
    let cluster = cluster();
    for profile in ["acme-writer", "operator"] {
        let mut status = Value::Null;
        until("every node is up, as far as the one that is asked has heard", || {
            status = cluster.run(profile, ["status"]).done();
            let nodes = status["nodes"].as_array().unwrap();
            !status["clock"].is_null() && nodes.iter().all(|node| node["up"] == true)
        });
        assert_eq!(fields(&status), ["blobs", "clock", "cluster", "nodes", "shards", "type"]);
        assert_eq!(fields(&status["nodes"][0]), ["name", "region", "up", "version"]);
        assert_eq!(fields(&status["shards"][0]), ["applied", "code", "id", "leader", "members"]);
        assert_eq!(fields(&status["blobs"]), ["full", "lost", "thin", "total"]);
        assert_eq!(fields(&status["clock"]), ["bound_ms", "state", "time", "wall_lag_s", "why"]);
        assert_eq!(status["nodes"].as_array().unwrap().len(), 3);
    }
}

#[test]
fn admitting_a_tenant_again_answers_the_same_and_in_another_way_is_refused() {
    let cluster = cluster();
    let home = tempfile::tempdir().unwrap();
    let key = |name: &str| text(&home.path().join(name)).to_owned();
    let made = |arguments: &[&str]| {
        let ran = strongroom().arg("--json").args(arguments).output().map(Ran::from).unwrap();
        ran.done()
    };
    made(&["init-key", "signing", "--out", &key("anna")]);
    let anna = format!("anna:admin:{}", key("anna.pub"));
    let founded = made(&["init-key", "root", "--tenant", "initech", "--identity", &anna, "--out", &key("root")]);
    let (founding, issuer) = (key("root.founding"), cluster.tenant_file("globex", "ca.pem"));
    let admit = |name: &str, width: &str| {
        cluster.run(
            "operator",
            ["tenant", "create", name, "--founding", &founding, "--issuer", text(&issuer), "--width", width],
        )
    };
    let first = admit("initech", "2").done();
    assert_eq!((&first["type"], &first["id"]), (&json!("tenant"), &founded["tenant"]));
    assert_eq!(first["shards"].as_array().unwrap().len(), 2);
    assert_eq!(admit("initech", "2").done(), first);
    admit("initech", "1").error(3);
    admit("other", "2").error(3);
    let by_tenant = cluster.run(
        "globex-admin",
        ["tenant", "create", "initech", "--founding", &founding, "--issuer", text(&issuer), "--width", "2"],
    );
    by_tenant.error(3);
}

#[test]
fn a_cluster_that_does_not_answer_is_unavailable_at_the_deadline() {
    let cluster = cluster();
    let home = tempfile::tempdir().unwrap();
    let profile = fs::read_to_string(cluster.profile("acme-restorer")).unwrap();
    // Port 9 discards, and nobody listens there.
    let endpoints = profile.lines().map(|line| match line.starts_with("endpoints") {
        true => "endpoints = [\"127.0.0.1:9\"]",
        false => line,
    });
    let path = home.path().join("p.toml");
    fs::write(&path, endpoints.collect::<Vec<_>>().join("\n")).unwrap();
    // The one with the usual deadline, a minute, is begun first and still tries when the other has given up.
    let mut patient = strongroom();
    patient.args(["--json", "--profile", text(&path), "snapshots"]).stdout(Stdio::null()).stderr(Stdio::null());
    let mut patient = patient.spawn().unwrap();
    let error = crate::program::run_json(&path, ["snapshots", "--deadline", "1s"]).error(7);
    let ended = patient.try_wait().unwrap();
    patient.kill().unwrap();
    patient.wait().unwrap();
    assert!(ended.is_none(), "a deadline of a second is not one of a minute: {ended:?}");
    assert_eq!((&error["outcome"], &error["code"]), (&json!("failed"), &json!("UNAVAILABLE")));
}

#[test]
fn an_interrupted_backup_ends_with_130() {
    let (cluster, home) = (cluster(), tempfile::tempdir().unwrap());
    let vault = cluster.vault();
    // Large enough that it cannot be done before the signal, and no two of its chunks alike.
    let large = home.path().join("large");
    let mut noise: Vec<u8> = (0..1_u32 << 22).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    let mut file = fs::File::create(&large).unwrap();
    for round in 0..192_u64 {
        noise.chunks_mut(1 << 16).for_each(|some| some[..8].copy_from_slice(&round.to_le_bytes()));
        std::io::Write::write_all(&mut file, &noise).unwrap();
    }
    let large = fs::canonicalize(large).unwrap();
    let mut child = strongroom()
        .args(["--json", "--profile", text(&cluster.profile("acme-writer")), "backup", text(&large), "--vault", &vault])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    until("the backup has the file open", || {
        assert!(child.try_wait().unwrap().is_none(), "it runs");
        let open = fs::read_dir(format!("/proc/{}/fd", child.id())).unwrap();
        open.flatten().any(|one| fs::read_link(one.path()).is_ok_and(|file| file == large))
    });
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    until("it ends", || child.try_wait().unwrap().is_some());
    let error = Ran::from(child.wait_with_output().unwrap()).error(130);
    assert_eq!(error["reason"], "INTERRUPTED");
}
