//! The port itself: slow callers, shortages, many at once, simulated connections.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use strongroom_format::role::Plane;
use strongroom_host::connections::{Connection, Listener};
use strongroom_identity::acceptor::{Acceptor, HandshakeFault, HandshakeLimits};
use strongroom_proto_identity::certificate::Purpose;
use strongroom_proto_identity::verify::Refused;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio_rustls::TlsConnector;

use crate::world::{NODE, OPERATOR, WRITER, World, any_name, client_config, connection, credentials, id, life};

/// A port where exactly these arrive, and then nobody.
#[derive(Debug)]
struct Scripted(Mutex<VecDeque<io::Result<Connection>>>);

#[async_trait]
impl Listener for Scripted {
    async fn accept(&self) -> io::Result<Connection> {
        let next = self.0.lock().unwrap().pop_front();
        match next {
            Some(arrival) => arrival,
            None => std::future::pending().await,
        }
    }

    fn address(&self) -> io::Result<SocketAddr> {
        Ok("192.0.2.2:1".parse().unwrap())
    }
}

fn acceptor(world: &World, limits: HandshakeLimits) -> Acceptor {
    let issued = world.tenant.issue(&id(NODE), life(0, 365)).unwrap();
    let credentials = credentials(&issued, Purpose::Server);
    Acceptor::new(&world.host, Plane::Tenant, &credentials, &world.issuers, limits)
}

async fn call(world: &World, stream: DuplexStream) -> io::Result<()> {
    let bearer = world.bearer(Plane::Tenant, WRITER);
    let config = client_config(world, Plane::Tenant, Some(&bearer), &[&rustls::version::TLS13]);
    let mut stream = TlsConnector::from(Arc::new(config)).connect(any_name(), stream).await?;
    stream.read_exact(&mut [0]).await?;
    Ok(())
}

#[tokio::test]
async fn n84_a_half_open_handshake_ends_at_its_deadline() {
    let world = World::new();
    let limits = HandshakeLimits { deadline: Duration::from_millis(50), ..HandshakeLimits::default() };
    let (_silent, there) = tokio::io::duplex(1024);
    let ended = acceptor(&world, limits).accept(connection(there)).await;
    assert!(matches!(ended, Err(HandshakeFault::Deadline)), "{ended:?}");
}

#[tokio::test]
async fn n84_the_port_outlives_shortages_and_silent_callers() {
    let world = World::new();
    let (_silent, first) = tokio::io::duplex(1024);
    let (caller, last) = tokio::io::duplex(64 * 1024);
    let shortage = || Err(io::Error::from_raw_os_error(24));
    let arrivals = VecDeque::from([shortage(), Ok(connection(first)), shortage(), Ok(connection(last))]);
    let port = Scripted(Mutex::new(arrivals));
    let mut incoming = acceptor(&world, HandshakeLimits::default()).serve(Box::new(port));
    let server = async {
        let mut accepted = incoming.next().await;
        accepted.write_all(b"!").await.unwrap();
        accepted.flush().await.unwrap();
        accepted.peer().id().to_string()
    };
    let (called, who) = tokio::join!(call(&world, caller), server);
    called.unwrap();
    assert_eq!(who, WRITER);
}

#[tokio::test]
async fn one_address_cannot_fill_all_places() {
    let world = World::new();
    let limits = HandshakeLimits { at_once_per_address_max: 2, ..HandshakeLimits::default() };
    let (mut silent, mut arrivals) = (Vec::new(), VecDeque::new());
    for _ in 0..3 {
        let (here, there) = tokio::io::duplex(1024);
        silent.push(here);
        arrivals.push_back(Ok(connection(there)));
    }
    let (caller, there) = tokio::io::duplex(64 * 1024);
    let elsewhere = Connection { peer: "192.0.2.3:1".parse().unwrap(), ..connection(there) };
    arrivals.push_back(Ok(elsewhere));
    let mut incoming = acceptor(&world, limits).serve(Box::new(Scripted(Mutex::new(arrivals))));
    let server = async {
        let mut accepted = incoming.next().await;
        accepted.write_all(b"!").await.unwrap();
        accepted.flush().await.unwrap();
    };
    let (called, ()) = tokio::join!(call(&world, caller), server);
    called.unwrap();
    // The third was closed unheard; the first two still wait.
    assert_eq!(silent[2].read(&mut [0]).await.unwrap(), 0);
    let waits = tokio::time::timeout(Duration::from_millis(20), silent[0].read(&mut [0])).await;
    assert!(waits.is_err());
}

#[tokio::test]
async fn a_medium_that_proves_identity_needs_no_tls_but_opens_no_other_door() {
    let world = World::new();
    let acceptor = acceptor(&world, HandshakeLimits::default());
    for (identity, refused) in [
        (WRITER, None),
        (NODE, Some(Refused::Name)),
        (OPERATOR, Some(Refused::Name)),
        ("spiffe://other/tenant/acme/id/db-1/role/writer", Some(Refused::Name)),
        ("spiffe://vault/tenant/nobody/id/db-1/role/writer", Some(Refused::Name)),
    ] {
        let (_here, there) = tokio::io::duplex(1024);
        let simulated = Connection { identity: Some(identity.into()), ..connection(there) };
        match acceptor.accept(simulated).await {
            Ok(accepted) => {
                assert_eq!(refused, None);
                assert_eq!(accepted.peer().id().to_string(), identity);
                assert_eq!(accepted.peer().check(), Ok(()));
            }
            Err(HandshakeFault::Refused(why)) => assert_eq!(Some(why), refused, "{identity}"),
            Err(other) => panic!("{other}"),
        }
    }
}
