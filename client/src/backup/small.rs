//! A small snapshot that lies in its tenant's home shard alone: from opening to commit one entry, one Raft round.
//!
//! ```text
//!   all that was read, all at home ─▶ which? ─▶ seal ─▶ trees ─▶ envelope ─▶ records
//!        blobs ═▶ stream ─▶ one entry: OpenSnapshot · RegisterChunks · PutNodes · SealPart · CommitSnapshot
//! ```
//!
//! Its fragments are written under the session's own lease. Promises: whether the entry was applied is asked, not
//! guessed; what was refused for a reason that passes is tried again the long way, under another id. A session that was kept
//! and has ended in the meantime is replaced, once the log has said that nothing was and nothing will be done in it.
//! Not here: the long way (`spread.rs`), who keeps sessions (`backup.rs`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use strongroom_format::codec;
use strongroom_format::command::Body;
use strongroom_format::id::{ChunkId, DekId, Digest, GroupId};
use strongroom_format::keys::LengthKey;
use strongroom_format::manifest::entry::Run;
use strongroom_format::outcome::{Done, Outcome, Refusal};
use strongroom_format::seal::Kind;
use strongroom_format::tree::{Cutter, LeafEntry, Root, TreeBuilder};
use strongroom_proto::v1 as pb;
use strongroom_proto::v1::upload_reply::What as Answer;
use strongroom_proto::v1::upload_request::What as Ask;
use tokio::sync::mpsc;

use super::distrust::Distrust;
use super::draft::{Draft, Roots, manifest_root, part_root};
use super::place::Place;
use super::read::{Chunk, Origin, Step};
use super::scribe::{Counted, Scribe};
use super::spread::Committed;
use super::tally::Tally;
use super::upload::Outgoing;
use super::which::{Known, Shelf};
use crate::error::{Answered, Error, Result, answered};
use crate::session::{Session, outcome, unexpected};

/// What may be written under the session's own lease.
pub(crate) const BUDGET_BYTES: u64 = 32 << 20;
/// Of these, what a session that was kept must have left: a first look's bytes, and what comes with them.
pub(crate) const KEPT_BYTES_MIN: u64 = 12 << 20;
/// The entry is waited for so long; then the session is asked.
const PATIENCE: Duration = Duration::from_secs(20);
/// No command carries more nodes than this in bytes.
const NODES_BYTES_MAX: usize = 1 << 20;
/// Chunks are registered behind the command that opens the snapshot.
const REGISTER_AT: usize = 1;

/// The shards in which the runs of what was read lie, and the home shard, sorted.
pub(crate) fn groups(draft: &Draft, steps: &[Step]) -> Vec<GroupId> {
    let begun = steps.iter().filter_map(|step| match step {
        Step::Chunk(Chunk { place: Place::Begins(group), .. }) => Some(*group),
        Step::Chunk(Chunk { place: Place::Follows, .. })
        | Step::Top(_)
        | Step::Entry(_)
        | Step::Skipped
        | Step::Changed
        | Step::Owners(_) => None,
    });
    let mut groups: BTreeSet<GroupId> = begun.collect();
    groups.insert(draft.topology.home);
    groups.into_iter().collect()
}

/// Commits what was read, all of which lies at home. The session may be another one afterwards.
pub(crate) async fn commit(
    draft: &Draft,
    session: &mut Arc<Session>,
    steps: &[Step],
    tally: &Tally,
    distrust: &Distrust,
) -> Result<Committed> {
    let plan = Plan::of(draft, steps)?;
    let shelf = Shelf {
        client: &draft.client,
        group: session.group(),
        vault: draft.vault.statement.vault,
        domain: draft.keys.domain,
    };
    let is_asked = |id: &ChunkId, origin: &Origin| matches!(origin, Origin::Read(_)) && distrust.trusts(id);
    let ids = plan.chunks.iter().filter(|(id, (_, origin))| is_asked(id, origin)).map(|(id, _)| *id);
    let mut known = shelf.which(&ids.collect::<Vec<_>>()).await?;
    known.extend(plan.chunks.iter().filter_map(|(id, (_, origin))| match origin {
        Origin::Kept { known, .. } => Some((*id, *known)),
        Origin::Read(_) => None,
    }));
    let foreign: BTreeSet<DekId> =
        known.values().map(|known| known.dek).filter(|dek| *dek != draft.sealer.dek()).collect();
    let (entries, mut blobs) = seal(draft, &plan, &known, tally).await?;
    let foreign_wraps = draft.foreign_wraps(foreign.into_iter().collect()).await?;

    let length_key = &draft.keys.length_key;
    let (mut nodes, content) = tree(length_key, &plan.contents, &entries, &plan)?;
    let (manifest_nodes, manifest) = tree(length_key, &plan.manifest, &entries, &plan)?;
    nodes.extend(manifest_nodes);
    let manifest = manifest.ok_or_else(|| Error::broken("a manifest has at least its header"))?;
    let home = session.group();
    let roots = Roots { parts: vec![part_root(home, content.as_ref())], manifest: manifest_root(&manifest) };
    let (envelope, envelope_bytes) = draft.envelope(roots, &plan.counted.summary)?;
    let records = draft.records(home, &nodes, &foreign_wraps, &envelope_bytes)?;
    let (refs, record_blobs): (Vec<_>, Vec<_>) = records.into_iter().unzip();
    blobs.extend(record_blobs);

    let blob_bytes: usize = blobs.iter().map(|blob| blob.bytes.len()).sum();
    let node_bytes: usize = nodes.iter().map(Bytes::len).sum();
    let bytes = (blob_bytes + node_bytes) as u64;
    if session.was_kept() && session.left_bytes() < bytes {
        session.end().await;
        *session = Arc::new(Session::open(&draft.client, home, BUDGET_BYTES).await?);
    }
    loop {
        session.uses(bytes);
        let mut bodies = vec![Body::OpenSnapshot(draft.opening(vec![home], BUDGET_BYTES))];
        bodies.extend(put_nodes(draft, session, &nodes));
        let (roots, records) = (envelope.roots_in(home, home), refs.clone());
        bodies.push(Body::SealPart { snapshot: draft.snapshot, roots, records });
        bodies.push(Body::CommitSnapshot { envelope: envelope_bytes.clone(), sealed: Vec::new() });
        let said = match submit(draft, session, &blobs, bodies).await {
            Ok(submitted) => said(session, submitted, distrust).await?,
            // Where the session has ended, the door finds no lease.
            Err(error) if session.was_kept() && matches!(error.reason(), Some("NOT_FOUND" | "LEASE_ENDED")) => {
                Some(Outcome::Forgotten)
            }
            Err(error) => return Err(error),
        };
        match said {
            Some(Outcome::Forgotten) if session.was_kept() => {
                tracing::debug!("the session that was kept has ended");
                *session = Arc::new(replaced(draft, session).await?);
            }
            said => return judge(draft, session, said, envelope.digest(), plan.counted).await,
        }
    }
}

/// A session in place of one that has ended, for the same snapshot: none of the old one's numbers is executed any more, so if
/// the log does not know the snapshot now, nothing was done and nothing will be.
async fn replaced(draft: &Draft, ended: &Session) -> Result<Session> {
    let unknown = |error: Error| match error {
        Error::Unavailable { message } | Error::Unknown { message } => Error::Unknown { message },
        error @ (Error::Refused { .. } | Error::Failed { .. }) => Error::Unknown { message: error.to_string() },
    };
    ended.end_for_certain().await.map_err(unknown)?;
    let session = Session::open(&draft.client, ended.group(), BUDGET_BYTES).await.map_err(unknown)?;
    let aborted = session.outcome_of(Body::AbortSnapshot { snapshot: draft.snapshot }).await.map_err(unknown)?;
    match aborted {
        Outcome::Refused(Refusal::NotFound) => Ok(session),
        // It was opened, and now it is not: another try takes another id.
        Outcome::Done(_) => Err(Refusal::Withdrawn.into()),
        Outcome::Refused(_) | Outcome::Forgotten => {
            Err(Error::Unknown { message: "the session has ended, and the log knows the snapshot".into() })
        }
    }
}

/// What was read, as far as it is the same for every shard.
struct Plan {
    /// Every chunk once.
    chunks: BTreeMap<ChunkId, (Kind, Origin)>,
    /// The runs of the contents.
    contents: Vec<Vec<ChunkId>>,
    /// The runs of the manifest.
    manifest: Vec<Vec<ChunkId>>,
    counted: Counted,
}

impl Plan {
    fn of(draft: &Draft, steps: &[Step]) -> Result<Self> {
        let home = draft.topology.home;
        let mut chunks = BTreeMap::new();
        let mut scribe = Scribe::new(draft.vault.statement.chunking);
        let (mut contents, mut manifest) = (Vec::<Vec<ChunkId>>::new(), Vec::new());
        for step in steps {
            match step {
                Step::Top(attributes) => scribe.top(attributes.clone()),
                Step::Skipped => scribe.skipped(),
                Step::Changed => scribe.changed(),
                Step::Owners(names) => scribe.owners(names.clone())?,
                Step::Chunk(chunk) => {
                    match chunk.place {
                        Place::Begins(_home) => contents.push(vec![chunk.id]),
                        Place::Follows => contents.last_mut().expect("a run has begun").push(chunk.id),
                    }
                    chunks.insert(chunk.id, (Kind::Data, chunk.origin.clone()));
                }
                Step::Entry(entry) => manifest.extend(scribe.entry(entry)?),
            }
        }
        let order: Vec<Run> = contents
            .iter()
            .map(|run| Run { group: home, chunks: u32::try_from(run.len()).expect("at most 1024") })
            .collect();
        let (rest, counted) = scribe.finish(&order)?;
        manifest.extend(rest);
        let mut names = Vec::with_capacity(manifest.len());
        for plaintext in manifest {
            let id = draft.sealer.name(Kind::Manifest, &plaintext);
            names.push(id);
            chunks.insert(id, (Kind::Manifest, Origin::Read(plaintext.into())));
        }
        Ok(Self { chunks, contents, manifest: runs(names), counted })
    }
}

fn runs(chunks: Vec<ChunkId>) -> Vec<Vec<ChunkId>> {
    let mut cutter = Cutter::new();
    let mut runs = Vec::new();
    let mut run = Vec::new();
    for chunk in chunks {
        run.push(chunk);
        if cutter.is_border_behind(chunk.as_bytes()) {
            runs.push(std::mem::take(&mut run));
        }
    }
    if !run.is_empty() {
        runs.push(run);
    }
    runs
}

/// Seals what is not known.
async fn seal(
    draft: &Draft,
    plan: &Plan,
    known: &BTreeMap<ChunkId, Known>,
    tally: &Tally,
) -> Result<(BTreeMap<ChunkId, LeafEntry>, Vec<Outgoing>)> {
    let mut entries = BTreeMap::new();
    let mut unknown = Vec::new();
    for (id, (kind, origin)) in &plan.chunks {
        match (known.get(id), origin) {
            (Some(known), _) | (None, Origin::Kept { known, .. }) => {
                let Known { blob, stored_bytes, .. } = *known;
                entries.insert(*id, LeafEntry { chunk: *id, blob, stored_bytes });
            }
            (None, Origin::Read(plaintext)) => unknown.push((*id, *kind, plaintext.clone())),
        }
    }
    let references: usize = plan.contents.iter().chain(&plan.manifest).map(Vec::len).sum();
    tally.known((references - unknown.len()) as u64);
    let sealer = Arc::clone(&draft.sealer);
    let sealing = tokio::task::spawn_blocking(move || {
        let sealed = unknown.into_iter().map(|(id, kind, plaintext)| Ok((id, sealer.seal(kind, id, &plaintext)?)));
        sealed.collect::<Result<Vec<_>>>()
    });
    let sealed = sealing.await.map_err(|panic| Error::failed("sealing broke", panic))??;
    let mut blobs = Vec::with_capacity(sealed.len());
    for (id, sealed) in sealed {
        let stored_bytes = u32::try_from(sealed.bytes.len()).expect("a blob is hardly longer than its chunk");
        tally.sent(stored_bytes.into());
        entries.insert(id, LeafEntry { chunk: id, blob: sealed.blob, stored_bytes });
        blobs.push(Outgoing { blob: sealed.blob, bytes: sealed.bytes, _room: None });
    }
    Ok((entries, blobs))
}

/// The tree over runs: its nodes in order, and its root if there is one.
fn tree(
    length_key: &LengthKey,
    runs: &[Vec<ChunkId>],
    entries: &BTreeMap<ChunkId, LeafEntry>,
    plan: &Plan,
) -> Result<(Vec<Bytes>, Option<Root>)> {
    if runs.is_empty() {
        return Ok((Vec::new(), None));
    }
    let failed = |fault| Error::failed("the tree cannot take a run", fault);
    let mut builder = TreeBuilder::new(length_key.clone());
    let mut made = Vec::new();
    for run in runs {
        let leaf = run.iter().map(|id| entries[id]).collect();
        let length = |id: &ChunkId| plan.chunks[id].1.plaintext_bytes();
        let lengths: Vec<u32> = run.iter().map(length).collect();
        made.extend(builder.push(leaf, &lengths).map_err(failed)?);
    }
    let (rest, root) = builder.finish().map_err(failed)?;
    made.extend(rest);
    Ok((made.into_iter().map(|node| node.bytes.into()).collect(), Some(root)))
}

fn put_nodes(draft: &Draft, session: &Session, nodes: &[Bytes]) -> Vec<Body> {
    let mut bodies = Vec::new();
    let mut some: Vec<Vec<u8>> = Vec::new();
    let body = |nodes| Body::PutNodes {
        lease: session.lease(),
        vault: draft.vault.statement.vault,
        domain: draft.keys.domain,
        nodes,
    };
    for node in nodes {
        let bytes: usize = some.iter().map(Vec::len).sum();
        if !some.is_empty() && (some.len() == Body::NODES_MAX || NODES_BYTES_MAX < bytes + node.len()) {
            bodies.push(body(std::mem::take(&mut some)));
        }
        some.push(node.to_vec());
    }
    if !some.is_empty() {
        bodies.push(body(some));
    }
    bodies
}

/// An entry that was sent.
struct Submitted {
    /// The number of the commit.
    commit: u64,
    /// The outcomes, if they came: of the registration and of the commands.
    outcomes: Option<Vec<Outcome>>,
}

/// Sends blobs and the entry to one node.
async fn submit(draft: &Draft, session: &Session, blobs: &[Outgoing], bodies: Vec<Body>) -> Result<Submitted> {
    let mut numbers = Vec::new();
    let mut commands = Vec::new();
    let mut register_sequence = 0;
    for (at, body) in bodies.into_iter().enumerate() {
        if at == REGISTER_AT {
            register_sequence = session.number();
        }
        let number = session.number();
        numbers.push(number);
        commands.push(codec::encode(&session.command(number, at != 0, body)).into());
    }
    let commit = numbers.last().copied().unwrap_or(0);
    let mut messages = vec![Ask::Open(pb::UploadOpen {
        group: session.group().0,
        lease: session.lease().0,
        vault: Bytes::copy_from_slice(draft.vault.statement.vault.as_bytes()),
        domain: Bytes::copy_from_slice(draft.keys.domain.as_bytes()),
        session: session.id().0,
    })];
    messages.extend(blobs.iter().map(|blob| {
        Ask::Blob(pb::UploadBlob { blob_id: Bytes::copy_from_slice(blob.blob.as_bytes()), blob: blob.bytes.clone() })
    }));
    messages.push(Ask::Submit(pb::UploadSubmit { commands, register_at: REGISTER_AT as u32, register_sequence }));

    let outcomes =
        match tokio::time::timeout(PATIENCE.min(draft.client.patience()), send(draft, session, messages)).await {
            Ok(Ok(outcomes)) => Some(outcomes),
            Ok(Err(error @ (Error::Refused { .. } | Error::Failed { .. }))) => return Err(error),
            Ok(Err(Error::Unknown { .. } | Error::Unavailable { .. })) | Err(_) => None,
        };
    Ok(Submitted { commit, outcomes })
}

/// Why a node gave no outcomes.
enum Sent {
    /// It took nothing: another may.
    NotTaken(String),
    /// It may have.
    Failed(Error),
}

/// To the leader; if a node takes nothing, to the next one.
async fn send(draft: &Draft, session: &Session, messages: Vec<Ask>) -> Result<Vec<Outcome>> {
    let nodes = &draft.client.0.nodes;
    let mut last = "no endpoint is known".to_owned();
    for endpoint in nodes.in_order(&draft.topology.endpoints(session.group())) {
        match send_to(draft, &endpoint, messages.clone()).await {
            Ok(outcomes) => return Ok(outcomes),
            Err(Sent::NotTaken(text)) => {
                nodes.suspect(&endpoint);
                last = format!("{endpoint}: {text}");
            }
            Err(Sent::Failed(error)) => return Err(error),
        }
    }
    Err(Error::Unavailable { message: last })
}

async fn send_to(draft: &Draft, endpoint: &str, messages: Vec<Ask>) -> std::result::Result<Vec<Outcome>, Sent> {
    let nodes = &draft.client.0.nodes;
    let unknown = |text: String| {
        nodes.suspect(endpoint);
        Sent::Failed(Error::Unknown { message: format!("{endpoint}: {text}") })
    };
    let (out, requests) = mpsc::channel(4);
    let sending = async move {
        for what in messages {
            // Whoever took them says why not any more.
            if out.send(pb::UploadRequest { what: Some(what) }).await.is_err() {
                return;
            }
        }
    };
    let receiving = async {
        let mut answers = match nodes.upload(endpoint, requests).await.map_err(Sent::Failed)? {
            Ok(answers) => answers,
            Err(status) => {
                return Err(match answered(&status) {
                    Answered::No(error) => Sent::Failed(error),
                    Answered::NotNow(text) => Sent::NotTaken(text),
                    Answered::Perhaps(text) => unknown(text),
                });
            }
        };
        loop {
            let reply = answers.message().await.map_err(|status| match answered(&status) {
                Answered::No(error) => Sent::Failed(error),
                Answered::NotNow(text) | Answered::Perhaps(text) => unknown(text),
            });
            match reply?.and_then(|reply| reply.what) {
                Some(Answer::Durable(_)) => {}
                Some(Answer::Outcomes(outcomes)) => {
                    // In the order of the entry: registering comes behind what opens.
                    let mut all: Vec<_> = outcomes.outcomes.iter().collect();
                    all.insert(all.len().min(REGISTER_AT), &outcomes.register_outcome);
                    let present = all.into_iter().filter(|bytes| !bytes.is_empty());
                    let read = present.map(|bytes| codec::decode(bytes)).collect::<std::result::Result<_, _>>();
                    return read.map_err(|fault| Sent::Failed(fault.into()));
                }
                None => return Err(unknown("the stream ended".into())),
            }
        }
    };
    tokio::pin!(sending);
    tokio::pin!(receiving);
    tokio::select! {
        biased;
        outcomes = &mut receiving => outcomes,
        () = &mut sending => receiving.await,
    }
}

/// What the log says of the commit; `None`: it was not applied, and never will be.
async fn said(session: &Session, submitted: Submitted, distrust: &Distrust) -> Result<Option<Outcome>> {
    let Some(outcomes) = submitted.outcomes else { return session.ask(submitted.commit).await };
    for outcome in &outcomes {
        if let Outcome::Refused(Refusal::ManifestMismatch { missing_chunks, missing_nodes, .. }) = outcome {
            distrust.add(missing_chunks.iter().map(|missing| missing.chunk));
            distrust.missed_nodes(missing_nodes.len());
        }
    }
    // The first refusal says why; the rest only that the one before was not done.
    let refused = outcomes.iter().find(|outcome| matches!(outcome, Outcome::Refused(_)));
    Ok(refused.or(outcomes.last()).cloned())
}

/// Whether the snapshot is committed.
async fn judge(
    draft: &Draft,
    session: &Session,
    said: Option<Outcome>,
    envelope: Digest,
    counted: Counted,
) -> Result<Committed> {
    match said {
        Some(Outcome::Done(Done::Committed { envelope: found, strength, .. })) if found == envelope => {
            Ok(Committed { envelope, counted, strength })
        }
        Some(Outcome::Done(other)) => Err(unexpected(&other)),
        Some(refused @ Outcome::Refused(_)) => {
            // The opening may have been done.
            let abort = session.call(Body::AbortSnapshot { snapshot: draft.snapshot });
            let _aborted = tokio::time::timeout(Duration::from_secs(2), abort).await;
            Err(not_done(refused))
        }
        Some(forgotten @ Outcome::Forgotten) => Err(not_done(forgotten)),
        // It never will be, but its opening may: another try takes another id.
        None => Err(Refusal::Withdrawn.into()),
    }
}

fn not_done(found: Outcome) -> Error {
    match outcome(found) {
        Ok(done) => unexpected(&done),
        Err(error) => error,
    }
}
