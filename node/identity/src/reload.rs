//! Certificates and keys that are replaced in their files while connections live (N19).
//!
//! ```text
//!   <name>.pem, <name>.key ──other files than before?──▶ a pair, ours, alive? ─ yes ─▶ presented from now on
//!                                                                             └ no ──▶ alarm; the old pair stays
//! ```
//!
//! Promises: what was refused changes nothing, and is looked at again until it is good; new handshakes get the new pair,
//! connections that are open stay; a replacement has the name that the pair before it had.
//! Not here: who issues certificates (`ca.rs`), which issuers are believed (`issuers.rs`).

use std::fmt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use strongroom_host::Host;
use strongroom_proto_identity::certificate::Purpose;
use strongroom_proto_identity::spiffe::SpiffeId;
use strongroom_proto_identity::tls::{Credentials, CredentialsFault};

use crate::metrics::{self, Reloaded};
use crate::time::now;

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// What we present to others now. Clones are the same.
#[derive(Clone)]
pub struct Presented(Arc<RwLock<Credentials>>);

impl Presented {
    /// The pair in force.
    #[must_use]
    pub fn now(&self) -> Credentials {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn replace(&self, credentials: Credentials) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = credentials;
    }
}

impl From<&Credentials> for Presented {
    /// A pair that somebody else may replace.
    fn from(credentials: &Credentials) -> Self {
        Self(Arc::new(RwLock::new(credentials.clone())))
    }
}

impl From<&Presented> for Presented {
    fn from(presented: &Presented) -> Self {
        presented.clone()
    }
}

impl fmt::Debug for Presented {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Presented").field(&self.now()).finish()
    }
}

impl ResolvesServerCert for Presented {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.now().certified_key())
    }
}

/// Why a pair is not taken.
#[derive(Debug, thiserror::Error)]
pub enum NotTaken {
    /// Unreadable, no pair, or not made for its part.
    #[error(transparent)]
    Credentials(#[from] CredentialsFault),
    /// The certificate names somebody else than the one before.
    #[error("the certificate names {found} instead of {expected}")]
    OtherName {
        /// Who we are.
        expected: Box<SpiffeId>,
        /// Who it names.
        found: Box<SpiffeId>,
    },
    /// Nobody would accept it: it has ended.
    #[error("the certificate has ended")]
    Ended,
}

/// A pair of files and what is presented from them.
#[derive(Debug)]
pub struct Pair {
    /// For metrics and logs: of which listener it is.
    label: &'static str,
    chain: PathBuf,
    key: PathBuf,
    /// All parts in which it must be usable.
    purposes: &'static [Purpose],
    presented: Presented,
    seen: Seen,
    /// The last look found something that cannot be used.
    is_refused: bool,
}

impl Pair {
    /// Reads the pair; `label` is a fixed word, `purposes` are the parts in which it is presented, at least one.
    pub fn open(
        label: &'static str,
        chain: PathBuf,
        key: PathBuf,
        purposes: &'static [Purpose],
    ) -> Result<Self, CredentialsFault> {
        // Before reading: what changes meanwhile is looked at again.
        let seen = Seen::of(&chain, &key);
        let credentials = read(&chain, &key, purposes)?;
        metrics::reloaded(label, Reloaded::Taken);
        Ok(Self { label, chain, key, purposes, presented: (&credentials).into(), seen, is_refused: false })
    }

    /// What is presented, now and after each replacement.
    #[must_use]
    pub fn presented(&self) -> Presented {
        self.presented.clone()
    }

    /// Looks once: `Ok(true)` if another pair is presented from now on. A fault leaves the old one in force, and is
    /// looked at again.
    pub fn look(&mut self, host: &Host) -> Result<bool, NotTaken> {
        let seen = Seen::of(&self.chain, &self.key);
        if seen == self.seen && !self.is_refused {
            return Ok(false);
        }
        let is_news = seen != self.seen;
        self.seen = seen;
        let taken = self.take(host);
        self.is_refused = taken.is_err();
        match &taken {
            Ok(credentials) => {
                metrics::reloaded(self.label, Reloaded::Taken);
                let not_after_unix_s = credentials.leaf().not_after_unix_s;
                tracing::info!(listener = self.label, not_after_unix_s, "a new certificate is presented");
            }
            Err(fault) => {
                metrics::reloaded(self.label, Reloaded::Refused);
                if is_news {
                    let fault: &dyn fmt::Display = fault;
                    tracing::error!(listener = self.label, file = %self.chain.display(), %fault, "a new certificate is not usable; the old one stays");
                }
            }
        }
        taken.map(|credentials| self.presented.replace(credentials)).map(|()| true)
    }

    fn take(&self, host: &Host) -> Result<Credentials, NotTaken> {
        let credentials = read(&self.chain, &self.key, self.purposes)?;
        let before = self.presented.now();
        let (expected, found) = (&before.leaf().id, &credentials.leaf().id);
        if expected != found {
            let [expected, found] = [expected, found].map(|id| Box::new(id.clone()));
            return Err(NotTaken::OtherName { expected, found });
        }
        if credentials.leaf().not_after_unix_s < now(host).as_secs() {
            return Err(NotTaken::Ended);
        }
        Ok(credentials)
    }
}

/// Looks at all pairs, for as long as it runs.
pub async fn watch(host: Host, mut pairs: Vec<Pair>) {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        for pair in &mut pairs {
            // Told by the look itself, and counted.
            let _looked = pair.look(&host);
        }
    }
}

fn read(chain: &Path, key: &Path, purposes: &[Purpose]) -> Result<Credentials, CredentialsFault> {
    let (first, others) = purposes.split_first().expect("a pair is presented in some part");
    for purpose in others {
        Credentials::read(chain, key, *purpose)?;
    }
    Credentials::read(chain, key, *first)
}

/// Which files they are: another one has another number, time or length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen([Option<File>; 2]);

/// Device, inode, seconds and nanoseconds of the last change, length.
type File = (u64, u64, i64, i64, u64);

impl Seen {
    fn of(chain: &Path, key: &Path) -> Self {
        let of = |path: &Path| {
            let metadata = std::fs::metadata(path).ok()?;
            Some((metadata.dev(), metadata.ino(), metadata.mtime(), metadata.mtime_nsec(), metadata.len()))
        };
        Self([of(chain), of(key)])
    }
}
