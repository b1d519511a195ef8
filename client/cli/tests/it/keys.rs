//! `init-key`: which files it makes, what is in them, and that it writes over nothing.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use strongroom::keyring::read_key;
use strongroom::tenants::read_founding;
use strongroom_format::keys::{KeyFile as _, RestorerKey, RestorerPublicKey, RootKey, WriterKey};
use strongroom_format::role::Role;
use strongroom_format::sign::SigningKey;

use crate::program::{Ran, run, strongroom};

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn init_key(home: &Path, line: &str) -> Ran {
    let ran = strongroom().current_dir(home).args(["init-key", "--json"]).args(line.split(' ')).output();
    ran.map(Ran::from).unwrap()
}

#[test]
fn a_signing_key_is_its_owners_only_and_has_a_public_half() {
    let home = tempfile::tempdir().unwrap();
    let made = init_key(home.path(), "signing --out anna.signing").done();
    let file = home.path().join("anna.signing");
    assert_eq!(mode(&file), 0o600);
    let key: SigningKey = read_key(&file).unwrap();
    let public = std::fs::read_to_string(home.path().join("anna.signing.pub")).unwrap();
    assert_eq!(public, format!("{}\n", key.public_key()));
    assert_eq!(made["type"], "key");
    assert_eq!(made["kind"], "signing");
    assert_eq!(made["public"], key.public_key().to_string());
    assert_eq!(made["files"], serde_json::json!(["anna.signing", "anna.signing.pub"]));
}

#[test]
fn a_tenant_is_founded_by_hand_as_the_help_says() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    for who in ["anna", "web-1", "rita"] {
        init_key(home, &format!("signing --out {who}.signing")).done();
    }
    init_key(home, "restorer --identity rita --out rita.restorer").done();
    let made = init_key(
        home,
        "root --tenant acme --identity anna:admin+auditor:anna.signing.pub --identity web-1:writer:web-1.signing.pub \
         --identity rita:restorer:rita.signing.pub --approver anna:anna.signing.pub --out acme.root",
    )
    .done();
    init_key(home, "writer --founding acme.root.founding --writer web-1 --out web-1.writer").done();

    let root: RootKey = read_key(&home.join("acme.root")).unwrap();
    let record = read_founding(&std::fs::read(home.join("acme.root.founding")).unwrap()).unwrap();
    assert_eq!(record.root, root.public_key());
    assert_eq!(made["public"], root.public_key().to_string());
    assert_eq!(made["tenant"], record.tenant.to_string());
    assert_eq!(record.name.to_string(), "acme");
    let identities: Vec<_> = record.identities.iter().map(|one| (one.identity.to_string(), &one.roles[..])).collect();
    assert_eq!(
        identities,
        [
            ("anna".to_owned(), &[Role::Admin, Role::Auditor][..]),
            ("rita".to_owned(), &[Role::Restorer]),
            ("web-1".to_owned(), &[Role::Writer]),
        ]
    );
    let anna: SigningKey = read_key(&home.join("anna.signing")).unwrap();
    assert_eq!(record.identities[0].signing_key, anna.public_key());
    assert_eq!(record.approvers[0].signing_key, anna.public_key());

    let writer: WriterKey = read_key(&home.join("web-1.writer")).unwrap();
    assert_eq!((writer.tenant, writer.writer.to_string(), writer.epoch.0), (record.tenant, "web-1".to_owned(), 1));
    let restorer: RestorerKey = read_key(&home.join("rita.restorer")).unwrap();
    let public = std::fs::read_to_string(home.join("rita.restorer.pub")).unwrap();
    assert_eq!(RestorerPublicKey::from_text(&public).unwrap(), restorer.public_key());
    for secret in ["acme.root", "web-1.writer", "rita.restorer"] {
        assert_eq!(mode(&home.join(secret)), 0o600, "{secret}");
    }
}

#[test]
fn nothing_is_written_over() {
    let home = tempfile::tempdir().unwrap();
    init_key(home.path(), "signing --out a").done();
    let before = std::fs::read(home.path().join("a")).unwrap();
    let error = init_key(home.path(), "signing --out a").error(3);
    assert_eq!(error["code"], "ALREADY_EXISTS");
    assert_eq!(std::fs::read(home.path().join("a")).unwrap(), before);
    // Nor where only the public half is there, or a link that leads elsewhere.
    std::fs::write(home.path().join("b.pub"), "x").unwrap();
    init_key(home.path(), "signing --out b").error(3);
    std::os::unix::fs::symlink("elsewhere", home.path().join("c")).unwrap();
    init_key(home.path(), "signing --out c").error(3);
    assert!(!home.path().join("b").exists() && !home.path().join("elsewhere").exists());
}

#[test]
fn a_record_that_no_cluster_would_take_is_not_made() {
    let home = tempfile::tempdir().unwrap();
    init_key(home.path(), "signing --out a").done();
    let twice = init_key(home.path(), "root --tenant acme --identity a:admin:a.pub --identity a:writer:a.pub --out r");
    assert_eq!(twice.error(3)["reason"], "FOUNDING");
    let zero = format!("root --tenant acme --identity a:admin:{} --out r", "00".repeat(32));
    assert_eq!(init_key(home.path(), &zero).error(3)["reason"], "FOUNDING");
    init_key(home.path(), "root --tenant acme --identity a:king:a.pub --out r").error(2);
    init_key(home.path(), "root --tenant acme --out r").error(2);
    init_key(home.path(), "writer --writer a --out w").error(2);
    assert!(!home.path().join("r").exists());
}

#[test]
fn a_key_goes_where_it_can_be_written_or_nowhere() {
    let home = tempfile::tempdir().unwrap();
    init_key(home.path(), "signing --out a").done();
    for out in ["absent/b", "a/b", ""] {
        let ran = strongroom()
            .current_dir(home.path())
            .args(["init-key", "--json", "signing", "--out", out])
            .output()
            .map(Ran::from)
            .unwrap();
        assert!([1, 2].contains(&ran.code), "{out}: {}", ran.stdout);
        assert!(!ran.last()["next"].as_str().unwrap().is_empty());
    }
    // What is no founding record, or no public half, founds nothing.
    std::fs::write(home.path().join("record"), "hello").unwrap();
    init_key(home.path(), "writer --founding record --writer w --out w").error(3);
    init_key(home.path(), "writer --founding absent --writer w --out w").error(1);
    let half = "root --tenant acme --identity a:admin:a --out r";
    assert_eq!(init_key(home.path(), half).error(3)["reason"], "PUBLIC_KEY", "the secret half is no public one");
    init_key(home.path(), "root --tenant acme --identity a:admin:absent.pub --out r").error(1);
    let left: Vec<_> = std::fs::read_dir(home.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 3, "{left:?}");
}

#[test]
fn people_are_told_what_was_written() {
    let home = tempfile::tempdir().unwrap();
    let out = home.path().join("a");
    let ran = run(["init-key", "signing", "--out", out.to_str().unwrap()]);
    assert!(ran.stdout.contains(&format!("wrote {}.pub", out.display())), "{}", ran.stdout);
    assert!(!ran.stdout.contains(std::fs::read_to_string(&out).unwrap().lines().nth(1).unwrap()), "no secret");
}
