//! What becomes of connections that are open when the world changes.

use std::time::Duration;

use rustls::pki_types::CertificateDer;
use strongroom_format::role::Plane;
use strongroom_identity::issuers::{Issuer, IssuerFault, Skipped, TenantState};
use strongroom_proto_identity::certificate::AuthorityFault;
use strongroom_proto_identity::verify::Refused;

use crate::world::{DAY, NODE, WRITER, World, name, names, revocations};

#[tokio::test]
async fn n17_revocation_is_seen_by_the_next_check() {
    let world = World::new();
    let bearer = world.bearer(Plane::Tenant, WRITER);
    let peer = world.knock(Plane::Tenant, &bearer).await.peer();
    let mut table = world.table();
    table.issuers[1].revocations = Some(revocations(&world.tenant, Vec::new(), -1, 10));
    world.issuers.replace(table.clone());
    assert_eq!(peer.check(), Ok(()));
    table.issuers[1].revocations = Some(revocations(&world.tenant, vec![bearer.serial()], -1, 10));
    world.issuers.replace(table);
    assert_eq!(peer.check(), Err(Refused::Revoked));
    assert_eq!(peer.check(), Err(Refused::Revoked), "and stays seen");
}

#[tokio::test]
async fn n18_a_certificate_ends_while_its_connection_is_open() {
    let world = World::new();
    let peer = world.knock(Plane::Tenant, &world.bearer(Plane::Tenant, WRITER)).await.peer();
    world.advance(365);
    assert_eq!(peer.check(), Ok(()));
    assert_eq!(peer.age(), Duration::from_secs(365 * DAY));
    world.advance(1);
    assert_eq!(peer.check(), Err(Refused::Expired));
}

#[tokio::test]
async fn an_issuer_that_is_taken_back_takes_its_connections_along() {
    let world = World::new();
    let peer = world.knock(Plane::Tenant, &world.bearer(Plane::Tenant, WRITER)).await.peer();
    let mut table = world.table();
    table.issuers[1].tenants = names(["globex"]);
    world.issuers.replace(table.clone());
    assert_eq!(peer.check(), Err(Refused::Name));
    table.issuers.remove(1);
    world.issuers.replace(table);
    assert_eq!(peer.check(), Err(Refused::UnknownIssuer));
}

#[tokio::test]
async fn n31_a_suspended_tenant_gets_in_to_be_told() {
    let world = World::new();
    let bearer = world.bearer(Plane::Tenant, WRITER);
    let open = world.knock(Plane::Tenant, &bearer).await.peer();
    assert_eq!(open.tenant().unwrap().state, TenantState::Active);
    let mut table = world.table();
    table.tenants.get_mut(&name("acme")).unwrap().state = TenantState::Suspended;
    world.issuers.replace(table);
    let fresh = world.knock(Plane::Tenant, &bearer).await.peer();
    for peer in [open, fresh] {
        assert_eq!(peer.check(), Ok(()));
        assert_eq!(peer.tenant().unwrap().state, TenantState::Suspended);
    }
}

#[tokio::test]
async fn one_bad_issuer_does_not_shut_the_others_out() {
    let world = World::new();
    let mut table = world.table();
    let tenants = names(["globex"]);
    let registered =
        |certificate| Issuer { plane: Plane::Tenant, certificate, tenants: tenants.clone(), revocations: None };
    // Junk, somebody's leaf, and the peer plane's issuer, which a tenant cannot take over by registering it.
    table.issuers.push(registered(CertificateDer::from(vec![0x30, 0x03, 1, 2, 3])));
    table.issuers.push(registered(world.bearer(Plane::Tenant, WRITER).chain[0].clone()));
    table.issuers.push(registered(world.peer.certificate().clone()));
    let skipped = world.issuers.replace(table);
    assert_eq!(
        skipped,
        [
            Skipped { issuer: 3, fault: IssuerFault::Authority(AuthorityFault::Unreadable) },
            Skipped { issuer: 4, fault: IssuerFault::Authority(AuthorityFault::NotAnAuthority) },
            Skipped { issuer: 5, fault: IssuerFault::OtherPlane },
        ]
    );
    world.knock(Plane::Tenant, &world.bearer(Plane::Tenant, WRITER)).await.peer();
    world.knock(Plane::Peer, &world.bearer(Plane::Peer, NODE)).await.peer();
}
