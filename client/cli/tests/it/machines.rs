//! What a machine with a node's or a CA's disk does on the command line: another certificate for a CA process, a
//! certificate taken back, a look at a node.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::cluster::{cluster, strongroomd, until};
use crate::program::{Ran, run, run_json, strongroom};

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Somebody new of acme, with a certificate of the cluster's own CA; the profile's path.
fn enrolled(home: &Path, id: &str) -> std::path::PathBuf {
    let issued = cluster().run("acme-admin", ["identity", "token", id, "--role", "auditor"]).done();
    let profile = home.join(format!("{id}.toml"));
    let token = issued["token"].as_str().unwrap();
    let enrol = strongroom().args(["--json", "enrol", token, "--out", text(&profile)]).output().map(Ran::from);
    enrol.unwrap().done();
    profile
}

#[test]
fn a_ca_process_takes_its_next_certificate_while_it_runs_and_what_it_issued_is_taken_back() {
    let (cluster, home) = (cluster(), tempfile::tempdir().unwrap());
    let ca = |plane: &str| cluster.directory().join("ca").join(plane);
    let (peer, tenant) = (ca("peer"), ca("tenant"));
    let stolen = enrolled(home.path(), "olga-1");

    let before = fs::read(tenant.join("tls.pem")).unwrap();
    let log = || fs::read_to_string(tenant.join("issued.log")).unwrap();
    let renew = ["ca-tls", "--peer-dir", text(&peer), "--plane", "tenant", "--dir", text(&tenant)];
    let renewed = strongroomd(renew);
    assert_eq!(renewed.code, 0, "{}", renewed.stderr);
    assert!(renewed.stdout.contains("tls.pem") && renewed.stdout.contains("within seconds"), "{}", renewed.stdout);
    assert_ne!(fs::read(tenant.join("tls.pem")).unwrap(), before);
    let mode = fs::metadata(tenant.join("tls.key")).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o600);
    assert!(!tenant.join("tls.new").exists());
    // Made by the peer plane's CA and no other.
    let wrong = strongroomd(["ca-tls", "--peer-dir", text(&tenant), "--plane", "tenant", "--dir", text(&tenant)]);
    assert_eq!(wrong.code, 1, "{}{}", wrong.stdout, wrong.stderr);
    assert!(wrong.stderr.contains("not the CA of this cluster's nodes"), "{}", wrong.stderr);
    // It goes on issuing, before and after it has seen the new one.
    let began = Instant::now();
    for number in 2.. {
        enrolled(home.path(), &format!("olga-{number}"));
        if Duration::from_secs(3) < began.elapsed() {
            break;
        }
    }

    run_json(&stolen, ["identity", "list"]).done();
    let line = log().lines().find(|line| line.contains("/id/olga-1/")).unwrap().to_owned();
    let issued: serde_json::Value = serde_json::from_str(&line).unwrap();
    let serial = issued["serial"].as_str().unwrap();
    let made = strongroomd(["ca-revoke", "--plane", "tenant", "--dir", text(&tenant), "--serial", serial]);
    assert_eq!(made.code, 0, "{}", made.stderr);
    let list = made.stdout.lines().next().unwrap().split(' ').nth(1).unwrap().to_owned();
    let pem = tenant.join("ca.pem");
    cluster.run("operator", ["issuer", "revoke", text(&pem), "--list", &list]).done();
    let mut ran = run_json(&stolen, ["identity", "list"]);
    until("what was taken back does not get in", || {
        if ran.code != 3 {
            ran = run_json(&stolen, ["identity", "list"]);
        }
        ran.code == 3
    });
    let refused = ran.error(3);
    assert_eq!((&refused["code"], &refused["reason"]), (&"UNAUTHENTICATED".into(), &"TLS".into()), "{refused}");
    assert!(refused["message"].as_str().unwrap().contains("CertificateRevoked"), "{refused}");
    run_json(&home.path().join("olga-2.toml"), ["identity", "list"]).done();

    for (serial, says) in [("xyz", "no serial number"), ("", "no serial number"), (&"ab".repeat(21), "1 to 20 bytes")] {
        let bad = strongroomd(["ca-revoke", "--plane", "tenant", "--dir", text(&tenant), "--serial", serial]);
        assert_eq!(bad.code, 1, "{serial}");
        assert!(bad.stderr.contains(says), "{serial}: {}", bad.stderr);
    }
}

#[test]
fn a_look_at_a_node_says_what_is_well_and_what_is_wrong_and_what_to_do() {
    let (cluster, home) = (cluster(), tempfile::tempdir().unwrap());
    for node in ["north-1", "east-1", "south-1"] {
        let config = cluster.directory().join("nodes").join(node).join("node.toml");
        // A CA process that does not take a connection within seconds is reported, as it should be: then once more.
        let mut looked = strongroomd(["doctor", "--config", text(&config)]);
        until("nothing is wrong", || {
            if looked.code != 0 {
                eprintln!("{}{}", looked.stdout, looked.stderr);
                looked = strongroomd(["doctor", "--config", text(&config)]);
            }
            looked.code == 0
        });
        for good in ["configuration", "genesis", "certificate, tenant plane", "signing key", "CA process, peer plane"] {
            assert!(looked.stdout.lines().any(|line| line == format!("ok       {good}")), "{good}: {}", looked.stdout);
        }
        assert!(looked.stdout.contains("the node runs"), "{}", looked.stdout);
        assert!(!looked.stdout.contains("WRONG"), "{}", looked.stdout);
    }
    // One that is not well, and does not run.
    let founded = strongroomd([
        "init",
        "--cluster",
        "sick",
        "--region",
        "north",
        "--port",
        "9701",
        "--data",
        text(home.path()),
        "--time",
        &jiff::Timestamp::now().to_string(),
    ]);
    assert_eq!(founded.code, 0, "{}", founded.stderr);
    let node = home.path().join("node");
    let key = node.join("identity/signing.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).unwrap();
    fs::write(node.join("identity/peer.pem"), "half of a certificate").unwrap();
    let config = node.join("node.toml");
    let looked = strongroomd(["doctor", "--config", text(&config)]);
    assert_eq!(looked.code, 1, "{}", looked.stdout);
    let wrong: Vec<&str> = looked.stdout.lines().filter(|line| line.starts_with("WRONG")).collect();
    assert!(wrong.iter().any(|line| line.contains("signing key") && line.contains("chmod 600")), "{wrong:?}");
    assert!(wrong.iter().any(|line| line.contains("certificate, peer plane")), "{wrong:?}");
    assert!(looked.stderr.contains(&format!("{} things are wrong", wrong.len())), "{}", looked.stderr);
    let absent = strongroomd(["doctor", "--config", "/absent/node.toml"]);
    assert_eq!(absent.code, 1);
    assert!(absent.stderr.contains("/absent/node.toml"), "{}", absent.stderr);
}

#[test]
fn every_command_of_a_node_shows_an_example_and_names_the_other_program() {
    for command in ["run", "init", "join", "ca", "ca-tls", "ca-revoke", "doctor", "dev", "demo", "inspect"] {
        let help = strongroomd([command, "--help"]);
        assert_eq!((help.code, help.stderr.as_str()), (0, ""), "{command}");
        assert!(help.stdout.contains(&format!("strongroomd {command}")), "{command}: {}", help.stdout);
        assert!(help.stdout.contains("Example:"), "{command} shows no example: {}", help.stdout);
    }
    for command in ["ca", "ca-tls", "ca-revoke", "join"] {
        let error = run([command, "--json"]).error(2);
        assert_eq!(error["next"], format!("run `strongroomd {command}`"));
    }
}
