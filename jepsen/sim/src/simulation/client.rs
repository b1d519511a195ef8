//! What clients of a simulation do: backups over all shards of their tenant, looks at what was acknowledged, longer locks,
//! holds, and ends that come too early or not.
//!
//! It follows the scripts of the rules' own tests (`node/core/tests/it/backup.rs`): rows are made as a backup makes them,
//! and no fragment is written. Not here: whom to ask, unknown outcomes (`caller.rs`), what must be true (`promises.rs`).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use strongroom_core::query::{Answer, Query, SnapshotRef};
use strongroom_format::codec;
use strongroom_format::command::{Attested, BlobRef, Body, OpenSnapshot, OperatorBody, RegisteredChunk, Sealed};
use strongroom_format::ending::EndOrder;
use strongroom_format::envelope::{Envelope, Mac, ManifestRoot, PartRoot};
use strongroom_format::gathered::Gathered;
use strongroom_format::id::{
    BlobId, ChunkId, DekId, GroupId, KeyEpoch, LeaseId, PolicyVersion, SetVersion, SnapshotId, StatementVersion, TreeId,
};
use strongroom_format::lock::{LockMode, LockTerms, Longer};
use strongroom_format::lock_order::LockOrder;
use strongroom_format::outcome::{Done, Outcome, Refusal};
use strongroom_format::sign::Signed;
use strongroom_format::tree::{LeafEntry, Node, tree_id};

use crate::simulation::caller::{Caller, GaveUp, Session};
use crate::simulation::tenant::{self, ADMIN, LEGAL, Tenant, Writer, fixed};
use crate::simulation::wires::Ask;

/// A tenant as the cluster placed it.
#[derive(Clone, Debug)]
pub(crate) struct Placed {
    pub(crate) home: GroupId,
    pub(crate) groups: Vec<GroupId>,
    pub(crate) set_version: SetVersion,
}

/// How far all clients have come. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Progress {
    /// Commits that were acknowledged.
    pub(crate) commits: Arc<AtomicU64>,
    /// Questions that were answered.
    pub(crate) reads: Arc<AtomicU64>,
}

/// Has a tenant admitted, and its vault made with locks of so long.
pub(crate) async fn settle(caller: &mut Caller, number: u64, width: u16, lock_ms: u64) -> Result<Placed, GaveUp> {
    let tenant = Arc::clone(&caller.tenant);
    let body = OperatorBody::CreateTenant {
        name: tenant.name.parse().map_err(|_| GaveUp)?,
        founding: tenant.founding.clone(),
        issuers: vec![format!("ca of {}", tenant.name).into_bytes()],
        home: None,
        width,
    };
    let placed = loop {
        match caller.until_known(Ask::Operate(tenant::operator_command(number, body.clone()))).await? {
            Outcome::Done(Done::TenantCreated { home, groups, set_version, .. }) => {
                break Placed { home, groups, set_version };
            }
            // whoever leads has not founded the cluster yet: an election took longer
            Outcome::Refused(Refusal::NotFound) => tokio::time::sleep(Duration::from_secs(1)).await,
            other => {
                caller.say(format_args!("is not admitted: {other:?}"));
                return Err(GaveUp);
            }
        }
    };
    caller.say(format_args!("lives in group {} and {:?}", placed.home, placed.groups));
    // the shard hears of the tenant a moment later
    let mut admin = loop {
        match caller.open_session(placed.home).await {
            Ok(session) => break session,
            Err(GaveUp) => tokio::time::sleep(Duration::from_secs(1)).await,
        }
    };
    let vault = Body::CreateVault { statement: tenant.statement.clone(), policy: tenant::policy(lock_ms) };
    let cards = tenant.writers.values().map(|writer| Body::PutCard { card: writer.card.clone() });
    for body in [vault].into_iter().chain(cards) {
        let outcome = caller.command(&mut admin, &body).await?;
        if !matches!(outcome, Outcome::Done(_)) {
            caller.say(format_args!("cannot settle: {outcome:?}"));
            return Err(GaveUp);
        }
    }
    Ok(placed)
}

/// One writer of a tenant, until all is quiet.
pub(crate) async fn write(mut caller: Caller, placed: Placed, lock_ms: u64, progress: Progress) {
    let mut number = 0;
    let mut session = None;
    loop {
        let pause = 200 + caller.dice.below(3000);
        tokio::time::sleep(Duration::from_millis(pause)).await;
        if caller.world.is_quiet() {
            return;
        }
        let open = match session.take() {
            Some(open) => open,
            None => match caller.open_session(placed.home).await {
                Ok(open) => open,
                Err(GaveUp) => continue,
            },
        };
        number += 1;
        let mut backup = Backup::new(&mut caller, &placed, open, number);
        let made = backup.make(lock_ms).await;
        let open = backup.sessions.get(&placed.home).copied();
        // whatever is wrong with one that was not made: another session
        if made == Ok(true) {
            progress.commits.fetch_add(1, Ordering::Relaxed);
            session = open.filter(|_| !caller.dice.one_in(8));
        }
        if caller.dice.one_in(3) {
            look(&mut caller, &placed, &progress).await;
        }
    }
}

/// Looks at some acknowledged snapshot.
async fn look(caller: &mut Caller, placed: &Placed, progress: &Progress) {
    let all = caller.promises.snapshots(caller.tenant.id);
    let Some(snapshot) = all.get(caller.dice.below(all.len() as u64) as usize).copied() else { return };
    if show(caller, placed, snapshot).await.is_ok() {
        progress.reads.fetch_add(1, Ordering::Relaxed);
    }
}

/// Asks for a snapshot and judges what is shown.
pub(crate) async fn show(caller: &mut Caller, placed: &Placed, snapshot: SnapshotId) -> Result<(), GaveUp> {
    let Some(before) = caller.promises.before(snapshot) else { return Ok(()) };
    let query =
        Query::Snapshot { tenant: caller.tenant.id, snapshot: SnapshotRef::Id(snapshot), vault: None, by: None };
    match caller.read(placed.home, &query).await? {
        Answer::Snapshots(page) => match page.snapshots.iter().find(|shown| shown.snapshot == snapshot) {
            Some(shown) => caller.promises.shown(snapshot, &before, &shown.kept),
            None => caller.promises.missing(snapshot, caller.now.ms()),
        },
        Answer::NotFound => caller.promises.missing(snapshot, caller.now.ms()),
        _ => {}
    }
    Ok(())
}

/// Whoever keeps order in a tenant, until all is quiet: longer locks, holds, ends.
pub(crate) async fn keep_order(mut caller: Caller, placed: Placed) {
    let mut holds = 0_u64;
    let mut held: Vec<(SnapshotId, strongroom_format::id::HoldName)> = Vec::new();
    loop {
        let pause = 2000 + caller.dice.below(6000);
        tokio::time::sleep(Duration::from_millis(pause)).await;
        if caller.world.is_quiet() {
            return;
        }
        let all = caller.promises.snapshots(caller.tenant.id);
        let Some(snapshot) = all.get(caller.dice.below(all.len() as u64) as usize).copied() else { continue };
        let (who, body, told) = match caller.dice.below(8) {
            0 => {
                let length_ms = 60_000 + caller.dice.below(600_000);
                let order = LockOrder::ExtendLock {
                    snapshot,
                    mode: LockMode::Compliance,
                    longer: Longer::Length { length_ms },
                    reason: "simulation".into(),
                };
                (ADMIN, Body::Lock(order), Told::Extended(length_ms))
            }
            1 => {
                holds += 1;
                let Ok(hold) = format!("case-{holds}").parse::<strongroom_format::id::HoldName>() else { continue };
                let order = LockOrder::AddHold { snapshot, hold: hold.clone(), reason: "a case".into() };
                (LEGAL, Body::Lock(order), Told::Held(hold))
            }
            2 if !held.is_empty() => {
                let (snapshot, hold) = held.swap_remove(caller.dice.below(held.len() as u64) as usize);
                caller.promises.may_let_go(snapshot, &hold);
                let order = LockOrder::RemoveHold { snapshot, hold, reason: "it ended".into(), approvals: Vec::new() };
                (LEGAL, Body::Lock(order), Told::Nothing)
            }
            _ => {
                let order = EndOrder::DeleteSnapshot { snapshot, reason: "simulation".into() };
                (ADMIN, Body::End(order), Told::Ended)
            }
        };
        caller.who = who;
        let Ok(mut session) = caller.open_session(placed.home).await else { continue };
        if matches!(told, Told::Ended) {
            caller.promises.may_end(snapshot);
        }
        let Ok(outcome) = caller.command(&mut session, &body).await else { continue };
        match (told, outcome) {
            (Told::Extended(length_ms), Outcome::Done(_)) => {
                caller.promises.extended(snapshot, LockTerms { mode: LockMode::Compliance, length_ms });
            }
            (Told::Held(hold), Outcome::Done(_)) => {
                caller.promises.held(snapshot, hold.clone());
                held.push((snapshot, hold));
            }
            (Told::Ended, Outcome::Done(_)) => {
                caller.say(format_args!("ended {snapshot}"));
                caller.promises.ended(snapshot, caller.now.ms());
            }
            // a session that ended in between may have been told no more what came of it
            (Told::Ended, Outcome::Refused(refusal)) if refusal != Refusal::SessionEnded => {
                caller.promises.not_ended(snapshot);
            }
            _ => {}
        }
        // sessions are few: this one goes
        let _ = caller.command(&mut session, &Body::EndSession).await;
    }
}

/// What is promised if an order is done.
enum Told {
    Extended(u64),
    Held(strongroom_format::id::HoldName),
    Ended,
    Nothing,
}

/// A chunk of a backup.
#[derive(Clone, Copy)]
struct Piece {
    of: BlobRef,
    stored_bytes: u32,
}

impl Piece {
    fn new(name: &str) -> Self {
        let stored_bytes = 1000 + u32::from(fixed::<1>(name)[0]);
        let of = BlobRef {
            chunk: ChunkId::from_bytes(fixed(&format!("chunk {name}"))),
            blob: BlobId::from_bytes(fixed(&format!("blob {name}"))),
        };
        Self { of, stored_bytes }
    }

    fn registered(self, dek: DekId) -> RegisteredChunk {
        let (chunk, blob, stored_bytes) = (self.of.chunk, self.of.blob, self.stored_bytes);
        RegisteredChunk { chunk, blob, stored_bytes, dek, handed_over: Vec::new(), missing: Vec::new() }
    }
}

/// A backup, step by step.
struct Backup<'c> {
    caller: &'c mut Caller,
    tenant: Arc<Tenant>,
    placed: &'c Placed,
    snapshot: SnapshotId,
    sessions: BTreeMap<GroupId, Session>,
    leases: BTreeMap<GroupId, LeaseId>,
    contents: BTreeMap<GroupId, Node>,
    sealed: BTreeMap<GroupId, Sealed>,
    manifest: Option<Node>,
}

impl<'c> Backup<'c> {
    fn new(caller: &'c mut Caller, placed: &'c Placed, session: Session, number: u64) -> Self {
        let tenant = Arc::clone(&caller.tenant);
        let snapshot = SnapshotId::from_bytes(fixed(&format!("snapshot {} {number}", caller.name)));
        Self {
            caller,
            tenant,
            placed,
            snapshot,
            sessions: BTreeMap::from([(placed.home, session)]),
            leases: BTreeMap::new(),
            contents: BTreeMap::new(),
            sealed: BTreeMap::new(),
            manifest: None,
        }
    }

    fn writer(&self) -> &Writer {
        &self.tenant.writers[self.caller.who]
    }

    async fn command(&mut self, group: GroupId, body: Body) -> Result<Outcome, GaveUp> {
        let mut session = self.sessions.get(&group).copied().ok_or(GaveUp)?;
        let outcome = self.caller.command(&mut session, &body).await;
        self.sessions.insert(group, session);
        if let Ok(Outcome::Refused(refusal)) = &outcome {
            self.caller.say(format_args!("is refused in group {group}: {refusal:?}"));
        }
        outcome
    }

    /// Whether it was committed.
    async fn make(&mut self, lock_ms: u64) -> Result<bool, GaveUp> {
        let mut groups: Vec<GroupId> = self.placed.groups.iter().copied().chain([self.placed.home]).collect();
        groups.sort_unstable();
        groups.dedup();
        // small ones lie at home
        if self.caller.dice.one_in(2) {
            groups = vec![self.placed.home];
        }
        if !self.open(&groups).await? {
            return Ok(false);
        }
        for group in groups.iter().copied() {
            if !self.fill(group).await? {
                return Ok(false);
            }
        }
        if self.caller.dice.one_in(12) {
            let aborted = self.command(self.placed.home, Body::AbortSnapshot { snapshot: self.snapshot }).await?;
            self.caller.say(format_args!("gave {} up: {}", self.snapshot, matches!(aborted, Outcome::Done(_))));
            return Ok(false);
        }
        for group in groups {
            if !self.seal(group).await? {
                return Ok(false);
            }
        }
        self.commit(lock_ms).await
    }

    async fn open(&mut self, groups: &[GroupId]) -> Result<bool, GaveUp> {
        let home = self.placed.home;
        let writer = self.writer();
        let open = OpenSnapshot {
            snapshot: self.snapshot,
            vault: self.tenant.vault,
            label: "/srv".parse().map_err(|_| GaveUp)?,
            domain: writer.domain.domain,
            key_epoch: KeyEpoch(1),
            set_version: self.placed.set_version,
            groups: groups.to_vec(),
            budget_bytes: 1 << 20,
            wraps: vec![writer.wrap.clone()],
            stream: None,
        };
        let opened = match self.command(home, Body::OpenSnapshot(open)).await? {
            Outcome::Done(Done::SnapshotOpened { lease, opened, .. }) => {
                self.leases.insert(home, lease);
                opened
            }
            _ => return Ok(false),
        };
        for group in groups.iter().copied().filter(|group| *group != home) {
            let body = Body::JoinSnapshot { opened: Attested { value: opened.clone(), signatures: Vec::new() } };
            let command = self.tenant.command(group, self.caller.who, None, 0, body);
            match self.caller.until_known(Ask::Submit { group, commands: vec![command] }).await? {
                Outcome::Done(Done::Joined { session, lease, .. }) => {
                    self.sessions.insert(group, Session { group, session, next: 1 });
                    self.leases.insert(group, lease);
                }
                other => {
                    self.caller.say(format_args!("does not join in group {group}: {other:?}"));
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    async fn register(&mut self, group: GroupId, pieces: &[Piece], dek: DekId) -> Result<bool, GaveUp> {
        let body = Body::RegisterChunks {
            lease: self.leases[&group],
            vault: self.tenant.vault,
            domain: self.writer().domain.domain,
            chunks: pieces.iter().map(|piece| piece.registered(dek)).collect(),
        };
        Ok(matches!(self.command(group, body).await?, Outcome::Done(_)))
    }

    /// Registers pieces and puts a leaf over them.
    async fn leaf(&mut self, group: GroupId, pieces: &[Piece]) -> Result<Option<Node>, GaveUp> {
        let dek = self.writer().dek;
        if !self.register(group, pieces, dek).await? {
            return Ok(None);
        }
        let entry = |piece: &Piece| {
            let Piece { of, stored_bytes } = *piece;
            LeafEntry { chunk: of.chunk, blob: of.blob, stored_bytes }
        };
        let lengths = vec![900; pieces.len()];
        let keys = &self.writer().domain;
        let node = Node::leaf(&keys.length_key, pieces.iter().map(entry).collect(), &lengths).map_err(|_| GaveUp)?;
        let body = Body::PutNodes {
            lease: self.leases[&group],
            vault: self.tenant.vault,
            domain: keys.domain,
            nodes: vec![codec::encode(&node)],
        };
        Ok(matches!(self.command(group, body).await?, Outcome::Done(_)).then_some(node))
    }

    async fn fill(&mut self, group: GroupId) -> Result<bool, GaveUp> {
        // some of it other backups have too
        let count = 1 + self.caller.dice.below(3);
        let name = |dice: &mut crate::dice::Dice, name: &str| match dice.one_in(2) {
            true => format!("{name} shared {}", dice.below(8)),
            false => format!("{name} {}", dice.next()),
        };
        let whose = self.caller.name.clone();
        let mut names: Vec<String> =
            (0..count).map(|_| name(&mut self.caller.dice, &format!("{whose} {group}"))).collect();
        names.sort();
        names.dedup();
        let pieces: Vec<Piece> = names.iter().map(|name| Piece::new(name)).collect();
        let Some(node) = self.leaf(group, &pieces).await? else { return Ok(false) };
        self.contents.insert(group, node);
        if group == self.placed.home {
            let manifest = [Piece::new(&format!("manifest of {}", self.snapshot))];
            let Some(node) = self.leaf(group, &manifest).await? else { return Ok(false) };
            self.manifest = Some(node);
        }
        Ok(true)
    }

    async fn seal(&mut self, group: GroupId) -> Result<bool, GaveUp> {
        let record = Piece::new(&format!("records of {} in {group}", self.snapshot));
        if !self.register(group, &[record], DekId::from_bytes([0; 16])).await? {
            return Ok(false);
        }
        let content = self.contents.get(&group).map(id_of);
        let manifest = self.manifest.as_ref().filter(|_| group == self.placed.home).map(id_of);
        let roots = content.into_iter().chain(manifest).collect();
        let body = Body::SealPart { snapshot: self.snapshot, roots, records: vec![record.of] };
        match self.command(group, body).await? {
            Outcome::Done(Done::Sealed(sealed)) => {
                self.sealed.insert(group, sealed);
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    fn envelope(&self) -> Option<Envelope> {
        let (tenant, writer, manifest) = (&self.tenant, self.writer(), self.manifest.as_ref()?);
        let part = |(group, node): (&GroupId, &Node)| PartRoot {
            group: *group,
            root: Some(id_of(node)),
            stored_bytes: node.totals().stored_bytes,
            chunk_refs: node.totals().chunk_refs,
        };
        let envelope = Envelope {
            cluster: tenant::epoch(),
            tenant: tenant.id,
            vault: tenant.vault,
            snapshot: self.snapshot,
            writer: Tenant::identity(self.caller.who),
            key_epoch: KeyEpoch(1),
            domain: writer.domain.domain,
            card: writer.card_digest,
            statement_version: StatementVersion(1),
            policy_version: PolicyVersion(1),
            label: "/srv".parse().ok()?,
            classification: String::new(),
            purpose: String::new(),
            tags: BTreeMap::new(),
            requested_lock: None,
            deks: vec![writer.dek],
            set_version: self.placed.set_version,
            manifest: ManifestRoot {
                root: id_of(manifest),
                stored_bytes: manifest.totals().stored_bytes,
                chunk_refs: manifest.totals().chunk_refs,
            },
            parts: self.contents.iter().map(part).collect(),
            parent: None,
            gathered: Gathered::Alone,
            summary: Vec::new(),
            client_time_unix_ms: 0,
            mac: Mac::ZERO,
        };
        Some(envelope.with_mac(&writer.domain.sender_key))
    }

    async fn commit(&mut self, lock_ms: u64) -> Result<bool, GaveUp> {
        let home = self.placed.home;
        let envelope = self.envelope().ok_or(GaveUp)?;
        let envelope = Signed::new(&envelope, &self.tenant.key(self.caller.who)).map_err(|_| GaveUp)?;
        let others = self.sealed.iter().filter(|(group, _)| **group != home);
        let sealed = others.map(|(_, sealed)| Attested { value: sealed.clone(), signatures: Vec::new() }).collect();
        let asked_ms = self.caller.now.ms();
        let body = Body::CommitSnapshot { envelope: codec::encode(&envelope), sealed };
        let committed = matches!(self.command(home, body).await?, Outcome::Done(Done::Committed { .. }));
        if committed {
            let lock = LockTerms { mode: LockMode::Compliance, length_ms: lock_ms };
            self.caller.promises.committed(self.tenant.id, self.snapshot, asked_ms, lock);
            self.caller.say(format_args!("committed {}", self.snapshot));
        }
        Ok(committed)
    }
}

fn id_of(node: &Node) -> TreeId {
    tree_id(&codec::encode(node))
}
