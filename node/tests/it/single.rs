//! One node by itself, founded by `strongroomd init`: what it must not start with (N89), certificates that are replaced
//! while it runs (N19), and a process without file descriptors (N84).
//!
//! It is told apart from others by its directory; nobody shares it. Not here: what nodes say to tenants.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, prlimit};

use crate::cluster::{PATIENCE, ready_at, until};

fn strongroomd() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_strongroomd"));
    command.env_clear();
    command
}

/// Eight ports in a row that are free now, below those that the system hands out by itself.
fn ports() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let free = |port: u16| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
    loop {
        // No two of this process get the same, and other processes begin elsewhere.
        let step = NEXT.fetch_add(8, Ordering::SeqCst);
        let first = u16::try_from(10_000 + (std::process::id() * 97 + step) % 20_000).expect("a port");
        if (first..first + 8).all(free) {
            return first;
        }
    }
}

/// A founded node in a directory of its own.
struct Single {
    home: tempfile::TempDir,
    first_port: u16,
}

impl Single {
    fn found() -> Self {
        let home = tempfile::Builder::new().prefix("strongroom-single-").tempdir().expect("a temporary directory");
        let first_port = ports();
        let founded = strongroomd()
            .args(["init", "--cluster", "alone", "--region", "north", "--port", &first_port.to_string(), "--data"])
            .arg(home.path())
            .args(["--time", &jiff::Timestamp::now().to_string()])
            .output()
            .expect("strongroomd runs");
        assert!(founded.status.success(), "{}", String::from_utf8_lossy(&founded.stderr));
        Self { home, first_port }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.home.path().join("node").join(name)
    }

    fn at(&self, more: u16) -> SocketAddr {
        SocketAddr::new(Ipv4Addr::LOCALHOST.into(), self.first_port + more)
    }

    /// Where tenants, and the operator, reach it. (A cluster without tenants opens no door to them.)
    fn operator(&self) -> SocketAddr {
        self.at(2)
    }

    fn ops(&self) -> SocketAddr {
        self.at(3)
    }

    fn command(&self) -> Command {
        let mut command = strongroomd();
        command.args(["run", "--config"]).arg(self.file("node.toml")).stdin(Stdio::null()).stdout(Stdio::null());
        command
    }

    /// Starts it and waits until it serves.
    fn run(&self) -> Running {
        let log = self.home.path().join("log");
        let file = fs::File::create(&log).expect("a log can be made");
        let child = self.command().stderr(file).spawn().expect("strongroomd runs");
        let mut running = Running { child, log };
        until(
            || {
                let ended = running.child.try_wait().expect("our child");
                assert!(ended.is_none(), "the node ended with {ended:?}:\n{}", running.log());
                ready_at(self.ops())
            },
            || "the node serves".into(),
        );
        running
    }

    /// What it says when it must not start.
    fn refuses(&self) -> String {
        let mut child = self.command().stderr(Stdio::piped()).spawn().expect("strongroomd runs");
        let began = Instant::now();
        while child.try_wait().expect("our child").is_none() {
            if PATIENCE < began.elapsed() {
                child.kill().expect("our child can be killed");
                panic!("the node started");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let Output { status, stderr, .. } = child.wait_with_output().expect("our child");
        assert_eq!(status.code(), Some(1), "a clear end");
        let said = String::from_utf8(stderr).expect("UTF-8");
        assert!(!said.contains("panicked"), "{said}");
        said.lines().last().unwrap_or_default().to_owned()
    }
}

/// A node at work. Dropping it ends it.
struct Running {
    child: Child,
    log: PathBuf,
}

impl Running {
    fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        kill_process(self.pid(), Signal::TERM).ok();
        self.child.wait().ok();
    }
}

fn set_mode(file: &Path, mode: u32) {
    fs::set_permissions(file, fs::Permissions::from_mode(mode)).expect("a mode can be set");
}

/// A signing key's file with this secret, as if it had been written by the product.
fn key_file(secret: &[u8; 32]) -> String {
    let text = format!("strongroom-signing-key-1\nsecret {}\n", hex::encode(secret));
    let check = hex::encode(&blake3::hash(text.as_bytes()).as_bytes()[..8]);
    format!("{text}check {check}\n")
}

#[test]
fn n89_a_node_does_not_start_with_keys_that_are_weak_empty_or_open_to_others() {
    let single = Single::found();
    drop(single.run());
    for key in ["identity/signing.key", "identity/peer.key", "identity/tenant.key", "identity/operator.key"] {
        let file = single.file(key);
        let good = fs::read(&file).expect("a key");
        // Whoever is in the file's group, or anybody.
        for mode in [0o640, 0o604, 0o660, 0o644] {
            set_mode(&file, mode);
            let said = single.refuses();
            let open = said.contains(key) && said.contains("can be read by others") && said.contains("chmod 600");
            assert!(open, "{key} with {mode:o}: {said}");
        }
        set_mode(&file, 0o600);
        for (what, bytes) in [("empty", &b""[..]), ("an example", b"changeme\n"), ("garbled", &good[..good.len() / 2])]
        {
            fs::write(&file, bytes).expect("a key can be written");
            let said = single.refuses();
            assert!(said.contains("key"), "{key}, {what}: {said}");
        }
        fs::write(&file, good).expect("a key can be written");
    }
    // Secrets that everybody would try first, in files that are well made.
    let file = single.file("identity/signing.key");
    let good = fs::read(&file).expect("a key");
    let counted: [u8; 32] = std::array::from_fn(|at| u8::try_from(at).expect("below 32"));
    for (what, secret, says) in [
        ("zeros", [0; 32], "one byte repeated"),
        ("one byte", [0x41; 32], "one byte repeated"),
        // Well made, and not this node's: the cluster has another.
        ("somebody's", counted, "not the one that the cluster has"),
    ] {
        fs::write(&file, key_file(&secret)).expect("a key can be written");
        let said = single.refuses();
        assert!(said.contains("signing key") && said.contains(says), "{what}: {said}");
    }
    fs::write(&file, good).expect("a key can be written");
    // Another node's certificate of the plane, another cluster's genesis, a key that is no pair with the certificate.
    let other = Single::found();
    for (what, files, says) in [
        ("no pair", &["identity/peer.key"][..], "does not belong"),
        ("another's genesis", &["genesis"], "the one that the cluster has"),
    ] {
        let kept: Vec<Vec<u8>> = files.iter().map(|name| fs::read(single.file(name)).expect("a file")).collect();
        files.iter().for_each(|name| {
            fs::write(single.file(name), fs::read(other.file(name)).expect("a file")).expect("a file")
        });
        let said = single.refuses();
        assert!(said.contains(says), "{what}: {said}");
        files.iter().zip(kept).for_each(|(name, bytes)| fs::write(single.file(name), bytes).expect("a file"));
    }
    drop(single.run());
}

#[test]
fn n89_a_ca_process_does_not_start_with_a_key_that_others_can_read() {
    let single = Single::found();
    let dir = single.home.path().join("ca/tenant");
    for key in ["ca.key", "tls.key"] {
        let file = dir.join(key);
        set_mode(&file, 0o640);
        let ended = strongroomd()
            .args(["ca", "--plane", "tenant", "--listen", &single.at(6).to_string(), "--dir"])
            .arg(&dir)
            .output()
            .expect("strongroomd runs");
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert_eq!(ended.status.code(), Some(1), "{said}");
        assert!(said.contains(key) && said.contains("can be read by others"), "{said}");
        set_mode(&file, 0o600);
    }
}

#[test]
fn n89_the_example_configuration_is_no_node_and_an_unknown_key_is_named() {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/node.example.toml");
    let ended = strongroomd().args(["run", "--config"]).arg(&example).output().expect("strongroomd runs");
    assert_eq!(ended.status.code(), Some(1));
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(said.contains("/var/lib/strongroom") && !said.contains("panicked"), "{said}");
    let single = Single::found();
    let file = single.file("node.toml");
    let text = fs::read_to_string(&file).expect("settings");
    fs::write(&file, format!("secret = \"changeme\"\n{text}")).expect("settings can be written");
    let said = strongroomd().args(["run", "--config"]).arg(&file).output().expect("strongroomd runs");
    assert_eq!(said.status.code(), Some(1));
    let said = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(said.contains("node.toml") && said.contains("secret"), "{said}");
}

/// The certificate that a listener shows, whoever asks.
fn shown_at(at: SocketAddr) -> Option<Vec<u8>> {
    use std::io::{Read as _, Write as _};
    use std::sync::{Arc, Mutex};

    use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
    use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
    use strongroom_proto_identity::verify::provider;

    #[derive(Debug)]
    struct Looks(Mutex<Option<Vec<u8>>>);

    impl ServerCertVerifier for Looks {
        fn verify_server_cert(
            &self,
            leaf: &CertificateDer<'_>,
            _behind: &[CertificateDer<'_>],
            _name: &ServerName<'_>,
            _stapled: &[u8],
            _now: UnixTime,
        ) -> Result<ServerCertVerified, rustls::Error> {
            *self.0.lock().expect("nobody panics inside") = Some(leaf.to_vec());
            Ok(ServerCertVerified::assertion())
        }

        fn verify_tls12_signature(
            &self,
            _message: &[u8],
            _leaf: &CertificateDer<'_>,
            _signed: &rustls::DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            Err(rustls::Error::General("TLS 1.3 only".into()))
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            leaf: &CertificateDer<'_>,
            signed: &rustls::DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            let known = provider().signature_verification_algorithms;
            rustls::crypto::verify_tls13_signature(message, leaf, signed, &known)
        }

        fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
            provider().signature_verification_algorithms.supported_schemes()
        }
    }

    let looks = Arc::new(Looks(Mutex::new(None)));
    let mut config = rustls::ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("the provider speaks TLS 1.3")
        .dangerous()
        .with_custom_certificate_verifier(Arc::clone(&looks) as Arc<dyn ServerCertVerifier>)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let name = ServerName::try_from("nobody.invalid").expect("a DNS name");
    let mut session = rustls::ClientConnection::new(Arc::new(config), name).expect("a configuration");
    let mut tcp = TcpStream::connect_timeout(&at, PATIENCE).ok()?;
    tcp.set_read_timeout(Some(PATIENCE)).ok()?;
    let mut stream = rustls::Stream::new(&mut session, &mut tcp);
    // Without a certificate of ours it ends with an alert, behind the one that is shown to us.
    stream.write_all(b"x").ok();
    stream.read_exact(&mut [0]).ok();
    looks.0.lock().expect("nobody panics inside").clone()
}

/// The first certificate of a PEM file.
fn certificate(file: &Path) -> Vec<u8> {
    strongroom_proto_identity::tls::read_certificates(file).expect("certificates").remove(0).to_vec()
}

#[test]
fn n19_a_half_replaced_certificate_is_not_shown_and_raises_an_alarm_until_it_is_whole() {
    use strongroom_identity::ca::Ca;
    use strongroom_proto_identity::certificate::Life;

    let single = Single::found();
    let running = single.run();
    let (chain, key) = (single.file("identity/operator.pem"), single.file("identity/operator.key"));
    let old = certificate(&chain);
    assert_eq!(shown_at(single.operator()).as_ref(), Some(&old));

    // Another pair of the same node, from the plane's own CA.
    let dir = single.home.path().join("ca/operator");
    let read = |name: &str| fs::read_to_string(dir.join(name)).expect("a CA's file");
    let name = strongroom_format::name::Name::try_from("alone").expect("a name");
    let ca = Ca::from_pem(&name, strongroom_format::role::Plane::Operator, &read("ca.pem"), &read("ca.key"));
    let now_s = std::time::SystemTime::UNIX_EPOCH.elapsed().expect("the clock is past 1970").as_secs();
    let life = Life { not_before_unix_s: now_s - 60, not_after_unix_s: now_s + 30 * 24 * 3600 };
    let id = "spiffe://alone/node/north/north-1".parse().expect("a name");
    let new = ca.expect("a CA").issue(&id, life).expect("a certificate");
    assert_ne!(new.certificate.to_vec(), old);

    let alarm = || crate::cluster::value_of(&crate::cluster::get(single.ops(), "/metrics"), REFUSED, OPERATOR);
    assert_eq!(alarm(), 0.0);
    // Half of the certificate; then all of it, and still the old key.
    for half in [&new.certificate_pem[..new.certificate_pem.len() / 2], &new.certificate_pem] {
        fs::write(&chain, half).expect("a certificate can be written");
        until(|| alarm() == 1.0, || "the alarm is raised".into());
        assert_eq!(shown_at(single.operator()).as_ref(), Some(&old), "the old one is shown");
    }
    until(|| running.log().contains("a new certificate is not usable; the old one stays"), || "the log says so".into());
    fs::write(&key, new.key_pem.as_bytes()).expect("a key can be written");
    until(|| alarm() == 0.0, || "the alarm ends".into());
    until(
        || shown_at(single.operator()).is_some_and(|shown| shown == new.certificate.to_vec()),
        || "the new one is shown".into(),
    );
}

const REFUSED: &str = "strongroom_identity_reload_refused_count";
const OPERATOR: &str = "listener=\"operator\"";

#[test]
fn n84_a_node_without_file_descriptors_serves_again_when_it_has_some() {
    let single = Single::found();
    let running = single.run();
    let before = shown_at(single.operator());
    assert!(before.is_some());
    // What it has open, and a few more.
    let open = fs::read_dir(format!("/proc/{}/fd", running.pid().as_raw_nonzero())).expect("our child's").count();
    let few = Rlimit { current: Some(open as u64 + 8), ..getrlimit(Resource::Nofile) };
    let before_limit = prlimit(Some(running.pid()), Resource::Nofile, few).expect("a limit of our child's");
    let callers: Vec<TcpStream> =
        (0..64).filter_map(|_| TcpStream::connect_timeout(&single.operator(), PATIENCE).ok()).collect();
    assert!(!callers.is_empty());
    until(
        || running.log().contains("a connection could not be accepted"),
        || "the node has no descriptors left".into(),
    );
    // Whoever holds them goes: it is there for others, under the same limit.
    drop(callers);
    until(|| shown_at(single.operator()) == before, || "the node serves again".into());
    prlimit(Some(running.pid()), Resource::Nofile, before_limit).expect("a limit of our child's");
    until(|| ready_at(single.ops()), || "it is ready".into());
    assert!(!running.log().contains("panicked"), "{}", running.log());
}

#[test]
fn a_node_bounds_its_allocator_and_leaves_it_alone_where_somebody_else_did() {
    let single = Single::found();
    let arenas = |running: &Running| {
        let environment = fs::read(format!("/proc/{}/environ", running.child.id())).expect("our child's environment");
        let named = environment.split(|byte| *byte == 0).find_map(|set| set.strip_prefix(b"MALLOC_ARENA_MAX="));
        String::from_utf8(named.expect("it is set").to_vec()).expect("UTF-8")
    };
    let cores = std::thread::available_parallelism().expect("cores can be counted");
    let running = single.run();
    assert_eq!(arenas(&running), cores.to_string());
    drop(running);
    let log = single.home.path().join("log");
    let child = single.command().env("MALLOC_ARENA_MAX", "9").spawn().expect("strongroomd runs");
    let running = Running { child, log };
    until(|| ready_at(single.ops()), || "the node serves".into());
    assert_eq!(arenas(&running), "9");
}
