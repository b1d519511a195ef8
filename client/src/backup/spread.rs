//! A snapshot over the shards of its tenant: opened at home, joined elsewhere, written side by side, sealed, committed.
//!
//! Promises: one commit shows all parts or none; a failed try is aborted, so that nothing waits for its lease; sessions
//! are kept open while nothing goes to their shard. Not here: what fits into one entry (`small.rs`).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use strongroom_format::code::Strength;
use strongroom_format::command::{Attested, BlobRef, Body, Opened, Sealed};
use strongroom_format::envelope::Envelope;
use strongroom_format::id::{Digest, GroupId, LeaseId};
use strongroom_format::outcome::Done;
use strongroom_format::seal::Kind;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::distrust::Distrust;
use super::draft::{Draft, Roots, manifest_root, part_root};
use super::place::Placer;
use super::read::{Chunk, Origin, Step};
use super::reading::{Next, Reading};
use super::scribe::{Counted, Scribe};
use super::stream::{Shared, Stream, Tree};
use super::tally::Tally;
use super::upload::{PartPlace, Upload};
use crate::error::{Error, Result};
use crate::session::{Session, unexpected};

/// What a snapshot may write in a shard before its budget is raised. Quotas count it until it is written or given back, so
/// it is small.
const BUDGET_BYTES: u64 = 128 << 20;
/// Sessions are used at least so often; they end after an hour without use.
const KEEP_OPEN: Duration = Duration::from_secs(15 * 60);

/// A snapshot that was committed, or a stream that is ready.
pub(crate) struct Committed {
    pub envelope: Digest,
    pub counted: Counted,
    /// What it survives, as the node says.
    pub strength: Strength,
}

/// A snapshot open in several shards.
pub(crate) struct Spread<'a> {
    draft: &'a Draft,
    tally: Arc<Tally>,
    distrust: Arc<Distrust>,
    home: Arc<Session>,
    sessions: BTreeMap<GroupId, Arc<Session>>,
    uploads: BTreeMap<GroupId, Upload>,
    /// Tasks that keep sessions and leases open while nothing else uses them.
    kept_open: JoinSet<()>,
}

/// What the streams left behind.
struct Written {
    counted: Counted,
    contents: BTreeMap<GroupId, Tree>,
    manifest: Tree,
    nodes: BTreeMap<GroupId, Vec<Bytes>>,
    foreign_wraps: Vec<Bytes>,
}

impl<'a> Spread<'a> {
    /// Opens the snapshot at home and a part in every other of these groups.
    pub(crate) async fn open(
        draft: &'a Draft,
        home: Arc<Session>,
        groups: Vec<GroupId>,
        tally: Arc<Tally>,
        distrust: Arc<Distrust>,
    ) -> Result<Self> {
        let opened = home.call(Body::OpenSnapshot(draft.opening(groups.clone(), BUDGET_BYTES))).await?;
        let Done::SnapshotOpened { lease, opened, budget_bytes } = opened else { return Err(unexpected(&opened)) };
        let mut spread = Self {
            draft,
            tally,
            distrust,
            home: Arc::clone(&home),
            sessions: BTreeMap::new(),
            uploads: BTreeMap::new(),
            kept_open: JoinSet::new(),
        };
        spread.add_part(home, lease, budget_bytes);
        if let Err(error) = spread.join_others(&groups, &opened).await {
            spread.abort().await;
            return Err(error);
        }
        Ok(spread)
    }

    async fn join_others(&mut self, groups: &[GroupId], opened: &Opened) -> Result<()> {
        let others = groups.iter().filter(|group| **group != self.draft.topology.home);
        let joins = others.map(|group| {
            let claim = Attested { value: opened.clone(), signatures: Vec::new() };
            Session::join(&self.draft.client, *group, claim)
        });
        for session in futures_util::future::try_join_all(joins).await? {
            let (lease, budget_bytes) = (session.lease(), session.budget_bytes());
            self.add_part(Arc::new(session), lease, budget_bytes);
        }
        Ok(())
    }

    fn add_part(&mut self, session: Arc<Session>, lease: LeaseId, budget_bytes: u64) {
        let throttle = Arc::clone(&self.draft.throttle);
        let place = PartPlace {
            throttle,
            session: Arc::clone(&session),
            lease,
            budget_bytes,
            vault: self.draft.vault.statement.vault,
            domain: self.draft.keys.domain,
        };
        self.kept_open.spawn(keep_open(Arc::clone(&session), lease));
        let upload = Upload::start(place, Arc::clone(&self.tally), Arc::clone(&self.distrust));
        self.uploads.insert(session.group(), upload);
        self.sessions.insert(session.group(), session);
    }

    /// Writes everything and commits.
    pub(crate) async fn commit(mut self, reading: &mut Reading) -> Result<Committed> {
        let done = self.write_and_commit(reading).await;
        self.kept_open.abort_all();
        if let Err(error) = &done
            && !matches!(error, Error::Unknown { .. })
        {
            self.abort().await;
        }
        // A courtesy: they end by themselves. The home session is its opener's.
        let others = self.sessions.values().filter(|session| session.group() != self.home.group());
        let ends = futures_util::future::join_all(others.map(|session| session.end()));
        let _ended = tokio::time::timeout(Duration::from_secs(2), ends).await;
        done
    }

    /// Says that the snapshot will not be, as a courtesy: its lease would say so in some hours.
    async fn abort(&self) {
        let abort = self.home.call(Body::AbortSnapshot { snapshot: self.draft.snapshot });
        if let Ok(Err(error)) = tokio::time::timeout(Duration::from_secs(2), abort).await {
            tracing::debug!(%error, "the snapshot was not aborted; its lease ends by itself");
        }
    }

    async fn write_and_commit(&mut self, reading: &mut Reading) -> Result<Committed> {
        let written = self.write(reading).await?;
        let part = |group: &GroupId| part_root(*group, written.contents.get(group).map(|tree| &tree.root));
        let roots =
            Roots { parts: self.sessions.keys().map(part).collect(), manifest: manifest_root(&written.manifest.root) };
        let (envelope, envelope_bytes) = self.draft.envelope(roots, &written.counted.summary)?;
        let records = self.send_records(&written, &envelope_bytes).await?;
        for upload in self.uploads.values_mut() {
            upload.flush().await?;
        }
        let sealed = self.seal_parts(&envelope, &records).await?;
        let committed = self.home.call(Body::CommitSnapshot { envelope: envelope_bytes, sealed }).await?;
        let (digest, strength) = match committed {
            Done::Committed { envelope, strength, .. } if !self.draft.is_stream() => (envelope, strength),
            Done::Ready { envelope, strength } if self.draft.is_stream() => (envelope, strength),
            other => return Err(unexpected(&other)),
        };
        if digest != envelope.digest() {
            return Err(Error::provenance("the shard committed another envelope than was signed"));
        }
        Ok(Committed { envelope: digest, counted: written.counted, strength })
    }

    /// Takes everything that is read, and has contents and manifest stored.
    async fn write(&mut self, reading: &mut Reading) -> Result<Written> {
        let draft = self.draft;
        let shared = Arc::new(Shared {
            client: draft.client.clone(),
            sealer: Arc::clone(&draft.sealer),
            vault: draft.vault.statement.vault,
            domain: draft.keys.domain,
            distrust: Arc::clone(&self.distrust),
            tally: Arc::clone(&self.tally),
            memory: Arc::clone(reading.memory()),
            sealing: Semaphore::new(std::thread::available_parallelism().map_or(2, usize::from)),
            senders: self.uploads.iter().map(|(group, upload)| (*group, upload.sender())).collect(),
            foreign_deks: Mutex::default(),
        });
        let length_key = &draft.keys.length_key;
        let mut contents = Stream::new(Arc::clone(&shared), Kind::Data, length_key.clone());
        let mut manifest = Stream::new(Arc::clone(&shared), Kind::Manifest, length_key.clone());
        let mut placer = Placer::at(draft.topology.home);
        let mut scribe = Scribe::new(draft.vault.statement.chunking);
        loop {
            let step = match reading.try_next() {
                Next::Step(step) => step,
                Next::End => break,
                Next::NotYet => {
                    contents.hurry();
                    match reading.next().await {
                        Some(step) => step,
                        None => break,
                    }
                }
            };
            match step {
                Step::Top(attributes) => scribe.top(attributes),
                Step::Skipped => scribe.skipped(),
                Step::Changed => scribe.changed(),
                Step::Owners(names) => scribe.owners(names)?,
                Step::Chunk(chunk) => contents.push(chunk, &mut self.uploads).await?,
                Step::Entry(entry) => {
                    if let Some(bytes) = scribe.entry(&entry)? {
                        manifest.push(manifest_chunk(draft, &mut placer, bytes), &mut self.uploads).await?;
                    }
                }
            }
        }
        reading.finish().await?;

        let (runs, contents, mut nodes) = contents.finish(&mut self.uploads).await?;
        let (chunks, counted) = scribe.finish(&runs)?;
        for bytes in chunks {
            manifest.push(manifest_chunk(draft, &mut placer, bytes), &mut self.uploads).await?;
        }
        let (_, mut manifests, manifest_nodes) = manifest.finish(&mut self.uploads).await?;
        for (group, more) in manifest_nodes {
            nodes.entry(group).or_default().extend(more);
        }
        let manifest =
            manifests.remove(&draft.topology.home).ok_or_else(|| Error::broken("the manifest lies in no shard"))?;
        let foreign = std::mem::take(&mut *shared.foreign_deks.lock().unwrap_or_else(PoisonError::into_inner));
        let foreign_wraps = draft.foreign_wraps(foreign.into_iter().collect()).await?;
        Ok(Written { counted, contents, manifest, nodes, foreign_wraps })
    }

    /// Sends each part's record blobs and says what they are.
    async fn send_records(&mut self, written: &Written, envelope: &[u8]) -> Result<BTreeMap<GroupId, Vec<BlobRef>>> {
        let mut records = BTreeMap::new();
        for (group, upload) in &mut self.uploads {
            let nodes = written.nodes.get(group).map_or(&[][..], Vec::as_slice);
            let mut refs = Vec::new();
            for (blob, outgoing) in self.draft.records(*group, nodes, &written.foreign_wraps, envelope)? {
                refs.push(blob);
                if upload.sender().blob(outgoing).await.is_err() {
                    return Err(upload.failure().await);
                }
            }
            records.insert(*group, refs);
        }
        Ok(records)
    }

    /// Ends every part's lease and collects what the other shards sealed.
    async fn seal_parts(
        &self,
        envelope: &Envelope,
        records: &BTreeMap<GroupId, Vec<BlobRef>>,
    ) -> Result<Vec<Attested<Sealed>>> {
        let home = self.home.group();
        let seals = self.sessions.iter().map(|(group, session)| {
            let body = Body::SealPart {
                snapshot: self.draft.snapshot,
                roots: envelope.roots_in(*group, home),
                records: records.get(group).cloned().unwrap_or_default(),
            };
            async move {
                match session.call(body).await {
                    Ok(Done::Sealed(sealed)) => Ok(sealed),
                    Ok(other) => Err(unexpected(&other)),
                    Err(error) => {
                        if error.reason() == Some("MANIFEST_MISMATCH") {
                            // A root or a record was collected since it was sent: both are sent with every attempt.
                            self.distrust.missed_nodes(1);
                        }
                        Err(error)
                    }
                }
            }
        });
        let sealed = futures_util::future::try_join_all(seals).await?;
        let others = sealed.into_iter().filter(|sealed| sealed.group != home);
        Ok(others.map(|value| Attested { value, signatures: Vec::new() }).collect())
    }
}

fn manifest_chunk(draft: &Draft, placer: &mut Placer, plaintext: Vec<u8>) -> Chunk {
    let id = draft.sealer.name(Kind::Manifest, &plaintext);
    let (_home, place) = placer.read(&id);
    Chunk { id, place, origin: Origin::Read(plaintext.into()) }
}

/// Uses a session and a lease from time to time: a shard to which nothing goes for hours must not take us for gone.
async fn keep_open(session: Arc<Session>, lease: LeaseId) {
    loop {
        tokio::time::sleep(KEEP_OPEN).await;
        if let Err(error) = session.call(Body::TopUp { lease, bytes: 0 }).await {
            tracing::debug!(%error, "a lease was not kept open; whoever uses it next will be told why");
        }
    }
}
