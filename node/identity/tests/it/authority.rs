//! What the built-in authority issues, and for whom it does not.

use std::os::unix::fs::PermissionsExt;

use strongroom_format::role::Plane;
use strongroom_identity::ca::{Ca, CaFault, write_private};
use strongroom_proto_identity::certificate::Purpose;
use strongroom_proto_identity::tls::{Credentials, CredentialsFault};

use crate::world::{NODE, OPERATOR, WRITER, World, credentials, id, life, name};

#[test]
fn an_authority_issues_for_its_own_plane_and_for_nodes() {
    let world = World::new();
    for (plane, uri, may) in [
        (Plane::Peer, NODE, true),
        (Plane::Tenant, NODE, true),
        (Plane::Operator, NODE, true),
        (Plane::Tenant, WRITER, true),
        (Plane::Operator, OPERATOR, true),
        (Plane::Peer, WRITER, false),
        (Plane::Operator, WRITER, false),
        (Plane::Tenant, OPERATOR, false),
        (Plane::Tenant, "spiffe://other/tenant/acme/id/db-1/role/writer", false),
    ] {
        let issued = world.ca(plane).issue(&id(uri), life(0, 365));
        match issued {
            Ok(_) => assert!(may, "{uri} by {plane}"),
            Err(CaFault::NotMine) => assert!(!may, "{uri} by {plane}"),
            Err(other) => panic!("{other}"),
        }
    }
}

#[test]
fn nothing_lives_longer_than_verifiers_accept_or_than_its_authority() {
    let ca = Ca::create(&name("vault"), Plane::Tenant, life(0, 100)).unwrap();
    assert!(ca.issue(&id(WRITER), life(0, 100)).is_ok());
    for bad in [life(0, 101), life(-1, 50), life(50, 49)] {
        assert!(matches!(ca.issue(&id(WRITER), bad), Err(CaFault::Life)), "{bad:?}");
    }
    let ca = Ca::create(&name("vault"), Plane::Tenant, life(0, 1000)).unwrap();
    assert!(matches!(ca.issue(&id(WRITER), life(0, 401)), Err(CaFault::Life)));
}

#[test]
fn an_authority_comes_back_from_its_files() {
    let world = World::new();
    let again =
        Ca::from_pem(&name("vault"), Plane::Tenant, world.tenant.certificate_pem(), &world.tenant.key_pem()).unwrap();
    assert_eq!(again.certificate(), world.tenant.certificate());
    let issued = again.issue(&id(WRITER), life(0, 365)).unwrap();
    let now = rustls::pki_types::UnixTime::since_unix_epoch(std::time::Duration::from_secs(crate::world::NOW));
    let leaf = world.issuers.judge(Plane::Tenant, &issued.certificate, &[], now).unwrap();
    assert_eq!(leaf.id, id(WRITER));

    let leaf_as_ca = Ca::from_pem(&name("vault"), Plane::Tenant, &issued.certificate_pem, &issued.key_pem);
    assert!(matches!(leaf_as_ca, Err(CaFault::NotAnAuthority(_))));
    let foreign_key =
        Ca::from_pem(&name("vault"), Plane::Tenant, world.tenant.certificate_pem(), &world.peer.key_pem());
    assert!(matches!(foreign_key, Err(CaFault::NotAnAuthority(_))), "certificate and key must be a pair");
}

#[test]
fn n89_a_key_that_others_can_read_is_refused() {
    let world = World::new();
    let issued = world.tenant.issue(&id(WRITER), life(0, 365)).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = (folder.path().join("tls.crt"), folder.path().join("tls.key"));
    std::fs::write(&certificate, &issued.certificate_pem).unwrap();
    write_private(&key, issued.key_pem.as_bytes()).unwrap();
    assert_eq!(std::fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
    let read = Credentials::read(&certificate, &key, Purpose::Client).unwrap();
    assert_eq!(read.leaf().id, id(WRITER));

    assert!(write_private(&key, b"another").is_err(), "an existing key stays");
    for mode in [0o640, 0o604, 0o660] {
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(mode)).unwrap();
        let refused = Credentials::read(&certificate, &key, Purpose::Client).unwrap_err();
        assert!(matches!(refused, CredentialsFault::Exposed { .. }));
        assert!(refused.to_string().contains(&format!("chmod 600 {}", key.display())), "{refused}");
    }
}

#[test]
fn n19_a_certificate_with_another_certificates_key_is_refused() {
    let world = World::new();
    let issue = || world.tenant.issue(&id(WRITER), life(0, 365)).unwrap();
    let (old, new) = (issue(), issue());
    let mixed = Credentials::from_pem(new.certificate_pem.as_bytes(), old.key_pem.as_bytes(), Purpose::Client);
    assert!(matches!(mixed, Err(CredentialsFault::NotAPair)), "{mixed:?}");
    let half = &new.key_pem.as_bytes()[..60];
    let cut = Credentials::from_pem(new.certificate_pem.as_bytes(), half, Purpose::Client);
    assert!(matches!(cut, Err(CredentialsFault::NoKey)), "{cut:?}");
}

#[test]
fn n94_keys_are_never_printed() {
    let world = World::new();
    let issued = world.tenant.issue(&id(WRITER), life(0, 365)).unwrap();
    let printed = format!("{:?} {:?} {:?}", world.tenant, issued, credentials(&issued, Purpose::Client));
    for line in issued.key_pem.lines().chain(world.tenant.key_pem().lines()).filter(|line| 8 < line.len()) {
        assert!(!printed.contains(line));
    }
    assert!(printed.contains("[redacted]"));
    let acceptor = format!("{:?}", world.acceptor(Plane::Tenant));
    assert!(acceptor.len() < 300, "{acceptor}");
}
