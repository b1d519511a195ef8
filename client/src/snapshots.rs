//! Snapshots: what is in vaults, and which one is meant.
//!
//! Promises: an envelope that is shown was signed by the writer that its card names, for this tenant and vault;
//! `latest` never chooses between writers (N116); a list that lacks what this machine has a receipt for, or that comes with
//! an older log than it has seen, is refused (N135). A summary is shown where the caller's keys open it: a writer's its
//! own, a restorer's all. Not here: what is inside (`restore.rs`).

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use strongroom_format::code::Strength;
use strongroom_format::codec;
use strongroom_format::envelope::Envelope;
use strongroom_format::gathered::Gathered;
use strongroom_format::id::{DomainId, IdentityId, SnapshotId, VaultName};
use strongroom_format::keys::LengthKey;
use strongroom_format::label::Label;
use strongroom_format::policy_view::LockView;
use strongroom_format::sign::Signed;
use strongroom_format::summary::{Summary, open_summary};
use strongroom_proto::v1 as pb;

use crate::audit;
use crate::client::Client;
use crate::error::{Error, Result};
use crate::keyring;
use crate::vault::{VerifiedVault, Wanted};

/// A page of a list.
const PAGE: u32 = 1000;

/// A committed snapshot.
#[derive(Clone, Debug)]
pub struct SnapshotInfo {
    /// Its id.
    pub id: SnapshotId,
    /// Its vault.
    pub vault: VaultName,
    /// Its writer.
    pub writer: IdentityId,
    /// Its name within its writer.
    pub name: Label,
    /// When it was committed, in milliseconds since 1970, by the wall clock of a node: a label.
    pub created_unix_ms: u64,
    /// What is in it, where the caller's keys open that.
    pub summary: Option<Summary>,
    /// What keeps it.
    pub kept: LockView,
    /// What it survived when it was committed.
    pub strength: Strength,
    /// What was noted about it, in the open.
    pub tags: BTreeMap<String, String>,
    /// A restorer has met a blob in it that does not open.
    pub damaged: bool,
    /// Whether it stands alone, is a stream of a whole, or a whole.
    pub gathered: Gathered,
}

/// Which snapshot is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SnapshotName {
    /// This one.
    Id(SnapshotId),
    /// The one whose id begins with these hex digits, at least 8.
    Prefix {
        /// The digits, lower-case.
        digits: String,
        /// Only in this vault.
        vault: Option<VaultName>,
    },
    /// The last committed one.
    Latest {
        /// In this vault.
        vault: VaultName,
        /// Of this name: `LABEL` or `WRITER/LABEL`.
        name: Option<String>,
    },
}

impl Client {
    /// The snapshots of a vault, or of all vaults, in the order of their commits. A writer sees its own.
    ///
    /// # Errors
    /// `Refused` with `PROVENANCE_INVALID` if an envelope is not what it must be, `NOT_FOUND` if there is no such
    /// vault.
    pub async fn snapshots(&self, vault: Option<&VaultName>) -> Result<Vec<SnapshotInfo>> {
        let names = match vault {
            Some(name) => vec![name.clone()],
            None => self.vaults().await?.into_iter().map(|vault| vault.name).collect(),
        };
        let mut snapshots = Vec::new();
        for name in names {
            let vault = VerifiedVault::fetch(self, Wanted::Name(&name)).await?;
            snapshots.extend(self.snapshots_in(&vault, "").await?);
        }
        self.look_at_log().await?;
        Ok(snapshots)
    }

    /// The snapshot that a name means.
    ///
    /// # Errors
    /// `Refused` with `NOT_FOUND` if there is none, `AMBIGUOUS` if there are several, or if `latest` would have to
    /// choose between writers.
    pub async fn find_snapshot(&self, name: &SnapshotName) -> Result<SnapshotId> {
        match name {
            SnapshotName::Id(id) => Ok(*id),
            SnapshotName::Prefix { digits, vault } => self.by_prefix(digits, vault.as_ref()).await,
            SnapshotName::Latest { vault, name } => {
                let vault = VerifiedVault::fetch(self, Wanted::Name(vault)).await?;
                let found = match name {
                    None => self.snapshots_in(&vault, "").await?,
                    Some(name) => {
                        let mut found = self.snapshots_in(&vault, name).await?;
                        if let Some((_, label)) = writer_and_label(name) {
                            found.extend(self.snapshots_in(&vault, label).await?);
                        }
                        found
                    }
                };
                self.look_at_log().await?;
                latest(found, name.as_deref())
            }
        }
    }

    async fn by_prefix(&self, digits: &str, vault: Option<&VaultName>) -> Result<SnapshotId> {
        let vault = match vault {
            Some(name) => {
                let vault = VerifiedVault::fetch(self, Wanted::Name(name)).await?;
                Bytes::copy_from_slice(vault.statement.vault.as_bytes())
            }
            None => Bytes::new(),
        };
        let request = pb::GetSnapshotRequest { id: Bytes::new(), prefix: digits.to_owned(), vault };
        let reply = self
            .read(self.topology().home, |mut vaults| {
                let request = request.clone();
                async move { vaults.get_snapshot(request).await }
            })
            .await
            .map_err(|error| match error.reason() {
                Some("NOT_FOUND") => audit::no_such_snapshot(&digits),
                _ => error,
            })?;
        let id = reply.snapshot.and_then(|snapshot| SnapshotId::from_slice(&snapshot.id).ok());
        match id {
            Some(id) if id.to_string().starts_with(digits) => Ok(id),
            Some(_) | None => Err(Error::broken("the node answered with another snapshot")),
        }
    }

    /// The snapshots of a vault with this label, or with any if it is empty.
    async fn snapshots_in(&self, vault: &VerifiedVault, label: &str) -> Result<Vec<SnapshotInfo>> {
        let keys = self.length_keys(vault);
        let mut snapshots = Vec::new();
        let mut page = Bytes::new();
        loop {
            let request = pb::ListSnapshotsRequest {
                vault: Bytes::copy_from_slice(vault.statement.vault.as_bytes()),
                label: label.to_owned(),
                page: page.clone(),
                limit: PAGE,
            };
            let reply = self
                .read(self.topology().home, |mut vaults| {
                    let request = request.clone();
                    async move { vaults.list_snapshots(request).await }
                })
                .await?;
            for said in reply.snapshots {
                let info = self.info(vault, &keys, said)?;
                if label.is_empty() || info.name.as_str() == label {
                    snapshots.push(info);
                }
            }
            if reply.next_page.is_empty() {
                let listed: BTreeSet<SnapshotId> = snapshots.iter().map(|info| info.id).collect();
                audit::require_listed(self, vault.statement.vault, label, |id| listed.contains(&id)).await?;
                return Ok(snapshots);
            }
            if reply.next_page == page {
                return Err(Error::broken("the node's list does not go on"));
            }
            page = reply.next_page;
        }
    }

    fn info(
        &self,
        vault: &VerifiedVault,
        keys: &BTreeMap<DomainId, LengthKey>,
        said: pb::Snapshot,
    ) -> Result<SnapshotInfo> {
        let signed: Signed<Envelope> = codec::decode(&said.envelope)?;
        let envelope = self.verified_envelope(vault, &signed)?;
        if said.id.as_ref() != envelope.snapshot.as_bytes() {
            return Err(Error::provenance("an envelope is about another snapshot than the node says"));
        }
        let summary =
            keys.get(&envelope.domain).and_then(|key| open_summary(key, &envelope.snapshot, &envelope.summary).ok());
        let strength = said.strength.unwrap_or_default();
        let kept = borsh::from_slice(&said.lock).map_err(|fault| Error::failed("a snapshot's lock", fault))?;
        Ok(SnapshotInfo {
            id: envelope.snapshot,
            vault: vault.statement.name.clone(),
            writer: envelope.writer,
            name: envelope.label,
            created_unix_ms: said.committed_unix_ms,
            summary,
            kept,
            strength: Strength {
                regions: u8::try_from(strength.regions).unwrap_or(u8::MAX),
                nodes: u8::try_from(strength.nodes).unwrap_or(u8::MAX),
            },
            tags: envelope.tags,
            damaged: said.damaged,
            gathered: envelope.gathered,
        })
    }

    /// The envelope, if the writer whose card it names signed it for this vault.
    pub(crate) fn verified_envelope(&self, vault: &VerifiedVault, signed: &Signed<Envelope>) -> Result<Envelope> {
        let card = vault
            .card(&signed.unverified()?.card)
            .ok_or_else(|| Error::provenance("the card that an envelope names is not in its vault"))?;
        let envelope = signed
            .open(&card.card.signing_key)
            .map_err(|fault| Error::provenance(format_args!("an envelope: {fault}")))?;
        let ours = envelope.tenant == self.tenant()
            && envelope.vault == vault.statement.vault
            && envelope.writer == card.card.writer;
        if ours { Ok(envelope) } else { Err(Error::provenance("an envelope is about another vault or writer")) }
    }

    /// The keys that open summaries, as far as the profile has them. Whoever has none sees no summaries.
    fn length_keys(&self, vault: &VerifiedVault) -> BTreeMap<DomainId, LengthKey> {
        let mut keys = BTreeMap::new();
        if let Ok(writer) = keyring::writer(self.profile()) {
            let own = writer.in_vault(&vault.statement.vault);
            keys.insert(own.domain, own.length_key);
        }
        let pair = keyring::restorer(self.profile()).ok().and_then(|key| vault.statement.open_vault_key(&key).ok());
        if let Some(pair) = pair {
            let opened = vault.cards.iter().filter_map(|card| card.card.open_keys(&pair).ok());
            keys.extend(opened.map(|opened| (opened.domain, opened.length_key)));
        }
        keys
    }
}

/// `WRITER/LABEL`, if it can be read so.
fn writer_and_label(name: &str) -> Option<(IdentityId, &str)> {
    let (writer, label) = name.split_once('/')?;
    Some((writer.parse().ok()?, label)).filter(|(_, label)| !label.is_empty())
}

/// The last of those that a name means, if they are of one writer.
fn latest(found: Vec<SnapshotInfo>, name: Option<&str>) -> Result<SnapshotId> {
    let meant = |info: &SnapshotInfo| match name {
        None => true,
        Some(name) => {
            info.name.as_str() == name
                || writer_and_label(name)
                    .is_some_and(|(writer, label)| info.writer == writer && info.name.as_str() == label)
        }
    };
    // A stream is named through its whole, or by its id.
    let found = found.into_iter().filter(|info| info.gathered.stream().is_none());
    let found: Vec<SnapshotInfo> = found.filter(meant).collect();
    let names: BTreeSet<(&IdentityId, Option<&Label>)> =
        found.iter().map(|info| (&info.writer, name.map(|_| &info.name))).collect();
    match (names.len(), found.last()) {
        (0, _) | (_, None) => {
            Err(Error::refused("NOT_FOUND", "NOT_FOUND", "there is no such snapshot", "see `strongroom snapshots`"))
        }
        (1, Some(last)) => Ok(last.id),
        (_, Some(_)) => {
            let names: Vec<String> = found.iter().map(|info| format!("{}/{}", info.writer, info.name)).collect();
            let names: BTreeSet<&str> = names.iter().map(String::as_str).collect();
            let names: Vec<&str> = names.into_iter().take(8).collect();
            Err(Error::refused(
                "FAILED_PRECONDITION",
                "AMBIGUOUS",
                format_args!("`latest` could mean {}", names.join(", ")),
                "name the snapshot as WRITER/LABEL",
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use strongroom_format::gathered::StreamOf;
    use strongroom_format::id::TicketId;

    use super::*;

    fn info(n: u8, writer: &str, name: &str) -> SnapshotInfo {
        SnapshotInfo {
            id: SnapshotId::from_bytes([n; 16]),
            vault: "main".parse().unwrap(),
            writer: writer.parse().unwrap(),
            name: name.parse().unwrap(),
            created_unix_ms: 0,
            summary: None,
            kept: LockView { lock: None, holds: Vec::new(), weakening: None, behind: Vec::new() },
            strength: Strength::BOUNDLESS,
            tags: BTreeMap::new(),
            damaged: false,
            gathered: Gathered::Alone,
        }
    }

    fn meant(found: &[SnapshotInfo], name: Option<&str>) -> std::result::Result<u8, String> {
        latest(found.to_vec(), name).map(|id| id.as_bytes()[0]).map_err(|error| error.reason().unwrap().to_owned())
    }

    #[test]
    fn n116_latest_never_chooses_between_writers() {
        let found = [info(1, "web", "etc"), info(2, "web", "home"), info(3, "web", "etc"), info(4, "db", "etc")];
        assert_eq!(meant(&found[..3], None), Ok(3));
        assert_eq!(meant(&found[..3], Some("etc")), Ok(3));
        assert_eq!(meant(&found[..3], Some("home")), Ok(2));
        assert_eq!(meant(&found, Some("etc")), Err("AMBIGUOUS".into()));
        assert_eq!(meant(&found, None), Err("AMBIGUOUS".into()));
        assert_eq!(meant(&found, Some("web/etc")), Ok(3));
        assert_eq!(meant(&found, Some("db/etc")), Ok(4));
        assert_eq!(meant(&found, Some("db/home")), Err("NOT_FOUND".into()));
    }

    #[test]
    fn the_latest_is_a_whole_and_none_of_its_streams() {
        let stream = StreamOf { ticket: TicketId::from_bytes([9; 16]), name: "rows-1".parse().unwrap() };
        let stream = SnapshotInfo { gathered: Gathered::Stream(stream), ..info(2, "db", "shop") };
        let found = [info(1, "web", "shop"), stream];
        assert_eq!(meant(&found, Some("shop")), Ok(1));
        assert_eq!(meant(&found, None), Ok(1));
        assert_eq!(meant(&found[1..], Some("db/shop")), Err("NOT_FOUND".into()));
    }

    #[test]
    fn a_label_with_a_slash_is_not_taken_for_a_writer() {
        let found = [info(1, "web", "db/etc"), info(2, "db", "etc")];
        assert_eq!(meant(&found[..1], Some("db/etc")), Ok(1));
        assert_eq!(meant(&found, Some("db/etc")), Err("AMBIGUOUS".into()));
        assert_eq!(meant(&found, Some("web/db/etc")), Ok(1));
    }
}
