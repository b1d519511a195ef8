//! Nodes that dial nodes, and clients that dial nodes.

use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use strongroom_format::role::Plane;
use strongroom_host::Host;
use strongroom_identity::acceptor::{Accepted, Acceptor, HandshakeLimits};
use strongroom_identity::connect::{ConnectFault, Connector};
use strongroom_proto_identity::certificate::Purpose;
use strongroom_proto_identity::tls::client_config_with_time;
use strongroom_proto_identity::verify::{Anchors, ExpectedNode, NodeVerifier};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsConnector;

use crate::world::{NODE, WRITER, World, any_name, connection, credentials, id, life, name};

const DEADLINE: Duration = Duration::from_secs(60);

/// A node that answers on loopback and greets whoever gets in.
async fn answering(world: &World, plane: Plane, uri: &str, issued_by: Plane) -> String {
    let issued = world.ca(issued_by).issue(&id(uri), life(0, 365)).unwrap();
    let credentials = credentials(&issued, Purpose::Server);
    let acceptor = Acceptor::new(&world.host, plane, &credentials, &world.issuers, HandshakeLimits::default());
    let listener = Host::real().connections().listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = listener.address().unwrap().to_string();
    tokio::spawn(async move {
        let mut incoming = acceptor.serve(listener);
        loop {
            let mut accepted: Accepted = incoming.next().await;
            let _ = accepted.write_all(b"!").await;
            let _ = accepted.flush().await;
        }
    });
    address
}

fn connector(world: &World) -> Connector {
    let issued = world.peer.issue(&id("spiffe://vault/node/us/n2"), life(0, 365)).unwrap();
    Connector::new(&world.host, &credentials(&issued, Purpose::Client), &world.issuers)
}

#[tokio::test]
async fn a_node_reaches_the_node_that_it_means() {
    let world = World::new();
    let address = answering(&world, Plane::Peer, NODE, Plane::Peer).await;
    let mut dialled = connector(&world).connect(&address, &name("eu"), &name("n1"), DEADLINE).await.unwrap();
    let mut greeting = [0];
    dialled.read_exact(&mut greeting).await.unwrap();
    assert_eq!(&greeting, b"!");
}

#[tokio::test]
async fn n95_another_node_at_the_address_gets_nothing() {
    let world = World::new();
    let address = answering(&world, Plane::Peer, NODE, Plane::Peer).await;
    for (region, node) in [("eu", "n3"), ("us", "n1")] {
        let dialled = connector(&world).connect(&address, &name(region), &name(node), DEADLINE).await;
        assert!(matches!(dialled, Err(ConnectFault::Tls { .. })), "{dialled:?}");
    }
}

#[tokio::test]
async fn a_node_that_presents_another_planes_certificate_gets_nothing() {
    let world = World::new();
    let address = answering(&world, Plane::Peer, NODE, Plane::Tenant).await;
    let dialled = connector(&world).connect(&address, &name("eu"), &name("n1"), DEADLINE).await;
    assert!(matches!(dialled, Err(ConnectFault::Tls { .. })), "{dialled:?}");
}

#[tokio::test]
async fn dialling_ends_at_its_deadline() {
    let world = World::new();
    let listener = Host::real().connections().listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = listener.address().unwrap().to_string();
    let deadline = Duration::from_millis(50);
    let dialled = connector(&world).connect(&address, &name("eu"), &name("n1"), deadline).await;
    assert!(matches!(dialled, Err(ConnectFault::Deadline { .. })), "{dialled:?}");
}

/// Lets a client with this configuration talk to a server that presents what was issued; says whether it got through.
async fn client_gets_through(world: &World, config: ClientConfig, uri: &str, issued_by: Plane) -> bool {
    let issued = world.ca(issued_by).issue(&id(uri), life(0, 365)).unwrap();
    let credentials = credentials(&issued, Purpose::Server);
    let acceptor = Acceptor::new(&world.host, Plane::Tenant, &credentials, &world.issuers, HandshakeLimits::default());
    let (here, there) = tokio::io::duplex(64 * 1024);
    let connector = TlsConnector::from(Arc::new(config));
    let (client, server) = tokio::join!(connector.connect(any_name(), here), acceptor.accept(connection(there)));
    assert_eq!(client.is_ok(), server.is_ok());
    client.is_ok()
}

#[tokio::test]
async fn a_client_believes_nodes_that_its_pinned_roots_vouch_for_and_nobody_else() {
    let world = World::new();
    let issued = world.tenant.issue(&id(WRITER), life(0, 365)).unwrap();
    let credentials = credentials(&issued, Purpose::Client);
    let config = |cluster| {
        let anchors = Anchors::read(&[world.tenant.certificate().clone()]).unwrap();
        let verifier = NodeVerifier::new(anchors, name(cluster), ExpectedNode::Any);
        client_config_with_time(verifier, &credentials, Arc::new(Fixed))
    };
    assert!(client_gets_through(&world, config("vault"), NODE, Plane::Tenant).await);
    assert!(!client_gets_through(&world, config("vault"), NODE, Plane::Peer).await);
    assert!(!client_gets_through(&world, config("other"), NODE, Plane::Tenant).await);
}

#[tokio::test]
async fn a_tenants_certificate_answers_for_no_node() {
    let world = World::new();
    let issued = world.tenant.issue(&id(WRITER), life(0, 365)).unwrap();
    let as_server = strongroom_proto_identity::tls::Credentials::from_pem(
        issued.certificate_pem.as_bytes(),
        issued.key_pem.as_bytes(),
        Purpose::Server,
    );
    assert!(as_server.is_err());
    let anchors = Anchors::read(&[world.tenant.certificate().clone()]).unwrap();
    let verifier = NodeVerifier::new(anchors, name("vault"), ExpectedNode::Any);
    assert!(verifier.judge(&issued.certificate, &[], Fixed::now()).is_err());
}

/// The tests' own day.
#[derive(Debug)]
struct Fixed;

impl Fixed {
    fn now() -> rustls::pki_types::UnixTime {
        rustls::pki_types::UnixTime::since_unix_epoch(Duration::from_secs(crate::world::NOW))
    }
}

impl rustls::time_provider::TimeProvider for Fixed {
    fn current_time(&self) -> Option<rustls::pki_types::UnixTime> {
        Some(Self::now())
    }
}
