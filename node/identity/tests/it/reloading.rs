//! Certificates that are replaced in their files while connections live (REFUSALS.md, N19).

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use strongroom_format::role::Plane;
use strongroom_identity::acceptor::{Accepted, Acceptor, HandshakeLimits};
use strongroom_identity::ca::Issued;
use strongroom_identity::connect::Connector;
use strongroom_identity::reload::{NotTaken, Pair};
use strongroom_proto_identity::certificate::Purpose;
use strongroom_proto_identity::tls::CredentialsFault;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::world::{NODE, WRITER, World, any_name, client_config, connection, crafted_for, day, id, issuer, life, uri};

/// A pair of files.
struct Files {
    _home: TempDir,
    chain: PathBuf,
    key: PathBuf,
}

impl Files {
    fn with(issued: &Issued) -> Self {
        let home = tempfile::tempdir().unwrap();
        let (chain, key) = (home.path().join("tenant.pem"), home.path().join("tenant.key"));
        let files = Self { _home: home, chain, key };
        files.put_chain(&issued.certificate_pem);
        files.put_key(&issued.key_pem);
        files
    }

    fn put_chain(&self, pem: &str) {
        replace(&self.chain, pem, 0o644);
    }

    fn put_key(&self, pem: &str) {
        replace(&self.key, pem, 0o600);
    }

    fn open(&self) -> Pair {
        Pair::open("tenant", self.chain.clone(), self.key.clone(), &[Purpose::Server]).unwrap()
    }
}

/// As tools do it: a new file takes the place of the old one.
fn replace(path: &Path, text: &str, mode: u32) {
    let new = path.with_extension("new");
    fs::write(&new, text).unwrap();
    fs::set_permissions(&new, fs::Permissions::from_mode(mode)).unwrap();
    fs::rename(new, path).unwrap();
}

fn node(world: &World) -> Issued {
    world.tenant.issue(&id(NODE), life(0, 365)).unwrap()
}

/// Gets in, and says which certificate the node presented.
async fn enter(
    world: &World,
    acceptor: &Acceptor,
) -> (CertificateDer<'static>, TlsStream<tokio::io::DuplexStream>, Accepted) {
    let bearer = world.bearer(Plane::Tenant, WRITER);
    let config = client_config(world, Plane::Tenant, Some(&bearer), &[&rustls::version::TLS13]);
    let (here, there) = tokio::io::duplex(64 * 1024);
    let connector = TlsConnector::from(Arc::new(config));
    let (client, server) = tokio::join!(connector.connect(any_name(), here), acceptor.accept(connection(there)));
    let client = client.unwrap();
    let presented = client.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned();
    (presented, client, server.unwrap())
}

#[tokio::test]
async fn n19_a_new_pair_is_presented_and_open_connections_stay() {
    let world = World::new();
    let (old, new) = (node(&world), node(&world));
    let files = Files::with(&old);
    let mut pair = files.open();
    let acceptor =
        Acceptor::new(&world.host, Plane::Tenant, pair.presented(), &world.issuers, HandshakeLimits::default());
    let (presented, mut client, mut server) = enter(&world, &acceptor).await;
    assert_eq!(presented, old.certificate);
    assert!(!pair.look(&world.host).unwrap(), "the same files");
    files.put_chain(&new.certificate_pem);
    files.put_key(&new.key_pem);
    assert!(pair.look(&world.host).unwrap());
    assert_eq!(enter(&world, &acceptor).await.0, new.certificate);
    // The connection from before goes on.
    server.write_all(b"still here").await.unwrap();
    server.flush().await.unwrap();
    let mut heard = [0; 10];
    client.read_exact(&mut heard).await.unwrap();
    assert_eq!(&heard, b"still here");
    assert_eq!(server.peer().check(), Ok(()));
}

#[tokio::test]
async fn n19_a_half_written_pair_is_not_taken_until_it_is_whole() {
    let world = World::new();
    let (old, new) = (node(&world), node(&world));
    let files = Files::with(&old);
    let mut pair = files.open();
    let acceptor =
        Acceptor::new(&world.host, Plane::Tenant, pair.presented(), &world.issuers, HandshakeLimits::default());
    // Only the certificate is there, then only half of it, then nothing.
    files.put_chain(&new.certificate_pem);
    assert!(matches!(pair.look(&world.host), Err(NotTaken::Credentials(CredentialsFault::NotAPair))));
    files.put_chain(&new.certificate_pem[..new.certificate_pem.len() / 2]);
    assert!(matches!(pair.look(&world.host), Err(NotTaken::Credentials(CredentialsFault::NoCertificates))));
    fs::remove_file(&files.chain).unwrap();
    assert!(matches!(pair.look(&world.host), Err(NotTaken::Credentials(CredentialsFault::Read { .. }))));
    assert_eq!(enter(&world, &acceptor).await.0, old.certificate);
    // A key that others can read is not taken either.
    files.put_chain(&new.certificate_pem);
    replace(&files.key, &new.key_pem, 0o640);
    assert!(matches!(pair.look(&world.host), Err(NotTaken::Credentials(CredentialsFault::Exposed { .. }))));
    assert_eq!(enter(&world, &acceptor).await.0, old.certificate);
    // What was mended without another file is seen too.
    fs::set_permissions(&files.key, fs::Permissions::from_mode(0o600)).unwrap();
    assert!(pair.look(&world.host).unwrap());
    assert_eq!(enter(&world, &acceptor).await.0, new.certificate);
}

#[tokio::test]
async fn n19_a_pair_of_another_name_part_or_past_its_end_is_not_taken() {
    let world = World::new();
    let old = node(&world);
    let files = Files::with(&old);
    let mut pair = files.open();
    let put = |issued: &Issued| {
        files.put_chain(&issued.certificate_pem);
        files.put_key(&issued.key_pem);
    };
    put(&world.tenant.issue(&id("spiffe://vault/node/eu/n2"), life(0, 365)).unwrap());
    assert!(matches!(pair.look(&world.host), Err(NotTaken::OtherName { .. })));
    put(&world.tenant.issue(&id(WRITER), life(0, 365)).unwrap());
    assert!(matches!(pair.look(&world.host), Err(NotTaken::Credentials(CredentialsFault::Leaf(_)))));
    let key = rcgen::KeyPair::generate().unwrap();
    let ended = crafted_for(&issuer(&world.tenant), &key, |params| {
        params.subject_alt_names = vec![uri(NODE)];
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
        params.not_before = day!(-20);
        params.not_after = day!(-1);
    });
    let pem = format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", base64(&ended));
    files.put_chain(&pem);
    files.put_key(&key.serialize_pem());
    assert!(matches!(pair.look(&world.host), Err(NotTaken::Ended)));
    assert_eq!(pair.presented().now().leaf().serial, world_serial(&old));
}

fn world_serial(issued: &Issued) -> Vec<u8> {
    strongroom_proto_identity::certificate::Leaf::read(&issued.certificate, Purpose::Server).unwrap().serial
}

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let of = |group: &[u8]| {
        let word = group.iter().fold(0_usize, |word, byte| (word << 8) | usize::from(*byte)) << (8 * (3 - group.len()));
        let digits: String = (0..=group.len()).map(|at| char::from(ALPHABET[(word >> (18 - 6 * at)) & 63])).collect();
        format!("{digits:=<4}")
    };
    bytes.chunks(3).map(of).collect()
}

#[tokio::test]
async fn n19_whoever_dials_presents_the_new_pair_at_the_next_dial() {
    let world = World::new();
    let peer = |from, to| world.peer.issue(&id(NODE), life(from, to)).unwrap();
    let (old, new) = (peer(0, 10), peer(0, 365));
    let files = Files::with(&old);
    let mut pair =
        Pair::open("peer", files.chain.clone(), files.key.clone(), &[Purpose::Client, Purpose::Server]).unwrap();
    let connector = Connector::new(&world.host, pair.presented(), &world.issuers);
    let acceptor = world.acceptor(Plane::Peer);
    let listener = world.host.connections().listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = listener.address().unwrap().to_string();
    let mut incoming = acceptor.serve(listener);
    let (region, name) = (crate::world::name("eu"), crate::world::name("n1"));
    let within = std::time::Duration::from_secs(60);
    let dial = async || {
        let (dialled, accepted) = tokio::join!(connector.connect(&address, &region, &name, within), incoming.next());
        dialled.unwrap();
        accepted.peer().not_after_unix_s()
    };
    let mut dial = dial;
    assert_eq!(dial().await, Some(life(0, 10).not_after_unix_s));
    files.put_chain(&new.certificate_pem);
    files.put_key(&new.key_pem);
    assert!(pair.look(&world.host).unwrap());
    assert_eq!(dial().await, Some(life(0, 365).not_after_unix_s));
}
