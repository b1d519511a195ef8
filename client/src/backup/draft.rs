//! A snapshot that is being made: whose it is, into which vault, under which keys, and what it will say of itself.
//!
//! Promises: nothing exists to seal with before the vault's statement and this writer's card were verified (N119); the
//! envelope is MACed and signed here and nowhere else. Not here: reading, storing, committing.

use std::sync::Arc;

use bytes::Bytes;
use strongroom_format::codec;
use strongroom_format::command::{BlobRef, OpenSnapshot};
use strongroom_format::envelope::{Envelope, Mac, ManifestRoot, PartRoot};
use strongroom_format::id::{DekId, GroupId, SnapshotId, VaultName};
use strongroom_format::keys::{DomainKeys, WriterKey};
use strongroom_format::records::{RecordItem, Records, RecordsOf};
use strongroom_format::seal::{BlobHeader, blob_id, record_blob};
use strongroom_format::sign::Signed;
use strongroom_format::summary::{Summary, seal_summary};
use strongroom_format::tree::Root;
use strongroom_format::wrap::DekWrap;
use strongroom_proto::v1 as pb;

use super::cache::CachePlace;
use super::clock::now;
use super::request::BackupRequest;
use super::sealer::Sealer;
use super::upload::Outgoing;
use crate::client::Client;
use crate::error::{Error, Result};
use crate::keyring;
use crate::random::random;
use crate::throttle::Throttle;
use crate::topology::Topology;
use crate::vault::{VerifiedCard, VerifiedVault, Wanted};

/// A snapshot that is being made: one id, one key, one try.
pub(crate) struct Draft {
    pub client: Client,
    pub request: BackupRequest,
    pub topology: Arc<Topology>,
    pub vault: VerifiedVault,
    pub keys: DomainKeys,
    pub sealer: Arc<Sealer>,
    pub snapshot: SnapshotId,
    /// Where what was read before is remembered.
    pub cache: Option<CachePlace>,
    pub throttle: Arc<Throttle>,
    card: VerifiedCard,
    writer: WriterKey,
    wrap: DekWrap,
}

/// Where the tenant lives, and the vault. Both are asked for at once; what was asked of those who led before is asked again
/// of those who lead now.
async fn look(client: &Client, name: &VaultName) -> Result<(Arc<Topology>, VerifiedVault)> {
    let before = client.topology();
    let fetch = || VerifiedVault::fetch(client, Wanted::Name(name));
    let is_as_before =
        |now: &Topology| (now.home, now.endpoints(now.home)) == (before.home, before.endpoints(before.home));
    let (topology, early) = (client.refresh_topology(), fetch());
    tokio::pin!(topology, early);
    let (topology, early) = tokio::select! {
        biased;
        topology = &mut topology => {
            let topology = topology?;
            if !is_as_before(&topology) {
                return Ok((topology, fetch().await?));
            }
            (topology, early.await)
        }
        vault = &mut early => (topology.await?, vault),
    };
    let vault = if is_as_before(&topology) { early? } else { fetch().await? };
    Ok((topology, vault))
}

/// What a committed snapshot's trees are.
pub(crate) struct Roots {
    /// One for each group that takes a part, sorted.
    pub parts: Vec<PartRoot>,
    pub manifest: ManifestRoot,
}

impl Draft {
    /// Verifies everything, then makes a key.
    pub(crate) async fn begin(client: &Client, request: BackupRequest) -> Result<Self> {
        let (topology, vault) = look(client, &request.vault).await?;
        let writer = keyring::writer(client.profile())?;
        if writer.tenant != topology.tenant || writer.writer != *client.identity() {
            return Err(Error::refused(
                "FAILED_PRECONDITION",
                "KEY_FILE",
                "the writer key is another identity's",
                "use the profile of the writer whose key it is",
            ));
        }
        let keys = writer.in_vault(&vault.statement.vault);
        let card = own_card(client, &vault, &writer, &keys)?;
        let (sealer, wrap) = Sealer::new(topology.cluster, &vault.statement, &card.card.place(), &keys)?;
        let state = &client.profile().tenant()?.state;
        let cache = CachePlace::of(&request, state, &topology, &vault, &writer)?;
        let throttle = Arc::new(Throttle::new(request.upload_bytes_per_second));
        Ok(Self {
            client: client.clone(),
            request,
            topology,
            vault,
            keys,
            sealer: Arc::new(sealer),
            snapshot: SnapshotId::from_bytes(random()?),
            cache,
            throttle,
            card,
            writer,
            wrap,
        })
    }

    /// Whether it is one stream of a whole.
    pub(crate) fn is_stream(&self) -> bool {
        self.request.gathered.stream().is_some()
    }

    /// What asks the home shard to open it, with a part in each of these groups.
    pub(crate) fn opening(&self, groups: Vec<GroupId>, budget_bytes: u64) -> OpenSnapshot {
        OpenSnapshot {
            snapshot: self.snapshot,
            vault: self.vault.statement.vault,
            label: self.request.name.clone(),
            domain: self.keys.domain,
            key_epoch: self.writer.epoch,
            set_version: self.topology.set_version,
            groups,
            budget_bytes,
            wraps: vec![codec::encode(&self.wrap)],
            stream: self.request.gathered.stream().cloned(),
        }
    }

    /// The envelope, and its canonical bytes, signed.
    pub(crate) fn envelope(&self, roots: Roots, summary: &Summary) -> Result<(Envelope, Vec<u8>)> {
        let envelope = Envelope {
            cluster: self.topology.cluster,
            tenant: self.topology.tenant,
            vault: self.vault.statement.vault,
            snapshot: self.snapshot,
            writer: self.writer.writer.clone(),
            key_epoch: self.writer.epoch,
            domain: self.keys.domain,
            card: self.card.card.digest(),
            statement_version: self.vault.statement.version,
            policy_version: self.vault.policy.version,
            label: self.request.name.clone(),
            classification: self.request.classification.clone(),
            purpose: self.request.purpose.clone(),
            tags: self.request.tags.clone(),
            requested_lock: self.request.lock,
            deks: vec![self.sealer.dek()],
            set_version: self.topology.set_version,
            manifest: roots.manifest,
            parts: roots.parts,
            parent: self.request.parent,
            gathered: self.request.gathered.clone(),
            summary: seal_summary(&self.keys.length_key, &self.snapshot, summary),
            client_time_unix_ms: unix_ms(),
            mac: Mac::ZERO,
        }
        .with_mac(&self.keys.sender_key);
        let signed = Signed::new(&envelope, &self.client.0.signing)?;
        Ok((envelope, codec::encode(&signed)))
    }

    /// The record blobs of a part: its tree nodes in order and, at home, all else that is needed to read the snapshot
    /// from disks with a restorer's key and nothing more.
    pub(crate) fn records(
        &self,
        group: GroupId,
        nodes: &[Bytes],
        foreign_wraps: &[Bytes],
        envelope: &[u8],
    ) -> Result<Vec<(BlobRef, Outgoing)>> {
        let mut items: Vec<RecordItem> = Vec::new();
        if group == self.topology.home {
            items.push(RecordItem::Founding(self.topology.founding_bytes.clone()));
            items.push(RecordItem::Statement(self.vault.statement_bytes.to_vec()));
            items.push(RecordItem::Card(self.card.bytes.to_vec()));
            items.push(RecordItem::Wrap(codec::encode(&self.wrap)));
            items.extend(foreign_wraps.iter().map(|wrap| RecordItem::Wrap(wrap.to_vec())));
            items.push(RecordItem::Envelope(envelope.to_vec()));
        }
        items.extend(nodes.iter().map(|node| RecordItem::Node(node.to_vec())));
        let of = RecordsOf {
            tenant: self.topology.tenant,
            vault: self.vault.statement.vault,
            snapshot: self.snapshot,
            group,
        };
        let payloads = Records::pack(of, items).map_err(|fault| Error::failed("a record is too long", fault))?;
        let blob = |payload: Vec<u8>| {
            let bytes = record_blob(self.vault.statement.tag, &payload);
            let header = BlobHeader::parse(&bytes).expect("a record blob has a header");
            let blob = blob_id(&bytes);
            (BlobRef { chunk: header.chunk, blob }, Outgoing { blob, bytes: bytes.into(), _room: None })
        };
        Ok(payloads.into_iter().map(blob).collect())
    }

    /// The wraps of other uploads' keys under which known chunks are sealed.
    pub(crate) async fn foreign_wraps(&self, deks: Vec<DekId>) -> Result<Vec<Bytes>> {
        let mut wraps = Vec::with_capacity(deks.len());
        for some in deks.chunks(256) {
            let request = pb::GetWrapsRequest {
                vault: Bytes::copy_from_slice(self.vault.statement.vault.as_bytes()),
                domain: Bytes::copy_from_slice(self.keys.domain.as_bytes()),
                deks: some.iter().map(|dek| Bytes::copy_from_slice(dek.as_bytes())).collect(),
            };
            let reply = self
                .client
                .read(self.topology.home, |mut client| {
                    let request = request.clone();
                    async move { client.get_wraps(request).await }
                })
                .await?;
            wraps.extend(reply.wraps);
        }
        Ok(wraps)
    }
}

/// What an envelope says of a content tree, if there is one.
pub(crate) fn part_root(group: GroupId, root: Option<&Root>) -> PartRoot {
    PartRoot {
        group,
        root: root.map(|root| root.id),
        stored_bytes: root.map_or(0, |root| root.totals.stored_bytes),
        chunk_refs: root.map_or(0, |root| root.totals.chunk_refs),
    }
}

/// What an envelope says of the manifest's tree.
pub(crate) fn manifest_root(root: &Root) -> ManifestRoot {
    ManifestRoot { root: root.id, stored_bytes: root.totals.stored_bytes, chunk_refs: root.totals.chunk_refs }
}

/// The card of this writer, epoch and domain: without it nobody could restore what is sealed now.
fn own_card(client: &Client, vault: &VerifiedVault, writer: &WriterKey, keys: &DomainKeys) -> Result<VerifiedCard> {
    let is_ours = |card: &&VerifiedCard| {
        let found = card.card.place();
        (found.domain, found.writer, found.epoch) == (keys.domain, &writer.writer, writer.epoch)
            && card.card.signing_key == client.0.signing.public_key()
    };
    vault.cards.iter().find(is_ours).cloned().ok_or_else(|| {
        Error::refused(
            "FAILED_PRECONDITION",
            "NO_CARD",
            format_args!("vault {} has no card for this writer's key", vault.statement.name),
            "have whoever holds the tenant's root key give this writer a card",
        )
    })
}

fn unix_ms() -> i64 {
    let now = now();
    now.seconds.saturating_mul(1000).saturating_add(i64::from(now.nanos / 1_000_000))
}
