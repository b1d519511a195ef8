//! The CA process's one call, and how nodes make it.
//!
//! ```text
//!   node ──Authorities::issue──mTLS, peer plane──▶ AuthorityPlane: name, key, life ─▶ issued.log, durable ─▶ certificate
//! ```
//!
//! The CA believes that a node has let somebody in; what it checks is what it can: its own plane and cluster, the form of
//! the name, the key's strength, the life. A certificate alone decides nothing (DESIGN.md §8), so a node that lies here
//! gains a name without a row. Nothing is answered before the log has it.
//!
//! Not here: keys and signatures of the CA (`node/identity`, `ca.rs`), whether somebody may have a certificate
//! (`enrol.rs`).

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use rustls_pki_types::CertificateDer;
use strongroom_format::name::Name;
use strongroom_format::role::Plane;
use strongroom_host::Host;
use strongroom_host::lane::Lane;
use strongroom_identity::ca::{Ca, CaFault, process_name};
use strongroom_identity::connect::{ConnectFault, Connector};
use strongroom_proto::v1 as pb;
use strongroom_proto::v1::authority_client::AuthorityClient;
use strongroom_proto::v1::authority_server::Authority;
use strongroom_proto_identity::certificate::Life;
use strongroom_proto_identity::spiffe::SpiffeId;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Response, Status};

use crate::answers::{self, Answer};
use crate::callers;

/// Certificates live from an hour ago, so that a node whose clock is a little late takes them.
const SLACK_S: u64 = 3600;
/// How long a node waits for the CA.
const WITHIN: Duration = Duration::from_secs(8);
/// How long it waits for the connection.
const CONNECT_WITHIN: Duration = Duration::from_secs(4);

/// How long certificates live, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetimes {
    /// Where nothing is asked for.
    pub default_s: u64,
    /// Whatever is asked for.
    pub max_s: u64,
}

/// What a CA process serves.
#[derive(Clone)]
pub struct AuthorityPlane {
    host: Host,
    ca: Arc<Ca>,
    lifetimes: Lifetimes,
    log: PathBuf,
    lane: Lane,
}

impl AuthorityPlane {
    /// Issues with `ca`; what it issues stands in the file `log` first.
    #[must_use]
    pub fn new(host: &Host, ca: Ca, lifetimes: Lifetimes, log: PathBuf) -> Self {
        Self { host: host.clone(), ca: Arc::new(ca), lifetimes, log, lane: host.lane("issued-log") }
    }

    fn life(&self, asked_s: u64) -> Life {
        let now_s = self.host.clock().wall_unix_ns() / 1_000_000_000;
        let seconds = if asked_s == 0 { self.lifetimes.default_s } else { asked_s }.min(self.lifetimes.max_s);
        let Life { not_before_unix_s, not_after_unix_s } = self.ca.life();
        Life {
            not_before_unix_s: now_s.saturating_sub(SLACK_S).max(not_before_unix_s),
            not_after_unix_s: now_s.saturating_add(seconds).min(not_after_unix_s),
        }
    }

    async fn note(&self, line: String) -> Result<(), Status> {
        let path = self.log.clone();
        let written = self.lane.run(move || append(&path, &line)).await;
        let fault: String = match written {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(fault)) => fault.to_string(),
            Err(fault) => fault.to_string(),
        };
        tracing::error!(fault, "the log of issued certificates cannot be written; nothing is issued");
        Err(answers::status(Answer::new(Code::Unavailable, "AUTHORITY", "the CA cannot write its log")))
    }
}

fn append(path: &std::path::Path, line: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
    file.write_all(line.as_bytes())?;
    file.sync_data()
}

#[tonic::async_trait]
impl Authority for AuthorityPlane {
    async fn issue(&self, request: Request<pb::IssueRequest>) -> Result<Response<pb::IssueReply>, Status> {
        let peer = callers::admitted(&request, "/strongroom.v1.Authority/Issue")?;
        let pb::IssueRequest { name, key, lifetime_s } = request.into_inner();
        let id: SpiffeId = name.parse().map_err(|_| answers::invalid("this is no name of ours"))?;
        let life = self.life(lifetime_s);
        let mut serial = [0; 16];
        self.host.entropy().fill(&mut serial);
        let certificate = self.ca.certify(&id, &key, life, serial).map_err(|fault| {
            tracing::warn!(by = %peer.id(), %fault, "a certificate was refused");
            refused(&fault)
        })?;
        let serial = strongroom_proto_identity::certificate::serial(&certificate);
        let until = life.not_after_unix_s;
        let at = self.host.clock().wall_unix_ns() / 1_000_000_000;
        // Names hold no character that JSON would escape.
        self.note(format!(
            "{{\"at\":{at},\"serial\":\"{serial}\",\"name\":\"{id}\",\"until\":{until},\"by\":\"{}\"}}\n",
            peer.id()
        ))
        .await?;
        // Whose it is stands in the CA's own file: the log names no tenant (N94).
        tracing::info!(by = %peer.id(), serial, until_unix_s = until, "issued a certificate");
        Ok(Response::new(pb::IssueReply { certificate: certificate.to_vec().into() }))
    }
}

fn refused(fault: &CaFault) -> Status {
    match fault {
        CaFault::NotMine => answers::status(Answer::new(Code::PermissionDenied, "NAME", fault.to_string())),
        CaFault::Key | CaFault::Life => answers::invalid(fault.to_string()),
        CaFault::NotAnAuthority(_) | CaFault::Make(_) => {
            answers::status(Answer::new(Code::Internal, "INTERNAL", "see the CA's log"))
        }
    }
}

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityFault {
    /// No CA process is named in this node's settings.
    #[error("this node knows no CA process of the {0} plane")]
    Unknown(Plane),
    /// It does not answer: try again later.
    #[error("the CA process of the {plane} plane does not answer: {why}")]
    Unavailable {
        /// Which.
        plane: Plane,
        /// What came instead.
        why: String,
    },
    /// It says no.
    #[error("the CA process of the {plane} plane refused: {why}")]
    Refused {
        /// Which.
        plane: Plane,
        /// What it says.
        why: String,
    },
}

/// The CA processes, as a node asks them. Clones share the connections.
#[derive(Clone)]
pub struct Authorities(BTreeMap<Plane, Place>);

#[derive(Clone)]
struct Place {
    endpoint: String,
    client: AuthorityClient<Channel>,
}

impl Authorities {
    /// Dials nobody yet. `places` are `host:port`.
    pub fn new(connector: &Connector, places: BTreeMap<Plane, String>) -> Self {
        let place = |(plane, endpoint): (Plane, String)| {
            let client = AuthorityClient::new(channel(connector.clone(), endpoint.clone(), process_name(plane)));
            (plane, Place { endpoint, client })
        };
        Self(places.into_iter().map(place).collect())
    }

    /// Where they are.
    pub fn places(&self) -> impl Iterator<Item = (Plane, &str)> {
        self.0.iter().map(|(plane, place)| (*plane, place.endpoint.as_str()))
    }

    /// Whether it is known where a plane's is.
    #[must_use]
    pub fn knows(&self, plane: Plane) -> bool {
        self.0.contains_key(&plane)
    }

    /// Has a certificate issued for this key, for as long as the CA likes.
    pub async fn issue(
        &self,
        plane: Plane,
        id: &SpiffeId,
        key: &[u8],
    ) -> Result<CertificateDer<'static>, AuthorityFault> {
        let mut client = self.0.get(&plane).ok_or(AuthorityFault::Unknown(plane))?.client.clone();
        let key = bytes::Bytes::copy_from_slice(key);
        let request = pb::IssueRequest { name: id.to_string(), key, lifetime_s: 0 };
        let unavailable = |why: String| AuthorityFault::Unavailable { plane, why };
        let reply = tokio::time::timeout(WITHIN, client.issue(request)).await;
        let reply = reply.map_err(|_elapsed| unavailable("no answer in time".into()))?;
        let reply = reply.map_err(|status| match status.code() {
            Code::InvalidArgument | Code::PermissionDenied | Code::Unauthenticated => {
                AuthorityFault::Refused { plane, why: status.message().to_owned() }
            }
            _ => unavailable(status.message().to_owned()),
        })?;
        Ok(reply.into_inner().certificate.to_vec().into())
    }
}

impl From<AuthorityFault> for Answer {
    fn from(fault: AuthorityFault) -> Self {
        let text = fault.to_string();
        match fault {
            AuthorityFault::Unknown(_) => Self::new(Code::FailedPrecondition, "NO_AUTHORITY", text),
            AuthorityFault::Unavailable { .. } => Self::new(Code::Unavailable, "AUTHORITY", text),
            AuthorityFault::Refused { .. } => Self::new(Code::InvalidArgument, "AUTHORITY_REFUSED", text),
        }
    }
}

fn channel(connector: Connector, endpoint: String, expected: (Name, Name)) -> Channel {
    let dial = tower::service_fn(move |_: http::Uri| {
        let (connector, endpoint, expected) = (connector.clone(), endpoint.clone(), expected.clone());
        async move {
            let (region, node) = expected;
            let dialled = connector.connect(&endpoint, &region, &node, CONNECT_WITHIN).await?;
            Ok::<_, ConnectFault>(TokioIo::new(dialled))
        }
    });
    // The authority of the URI plays no part: the connector knows where to go and whom to expect there.
    Endpoint::from_static("http://ca").connect_with_connector_lazy(dial)
}
