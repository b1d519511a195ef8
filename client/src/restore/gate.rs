//! The client's half of the gate (DESIGN.md §5.2): what must hold before a byte of a snapshot is believed.
//!
//! ```text
//!   envelope ─names─▶ card ─root signature─▶ signing key ─verifies─▶ envelope: tenant, vault, snapshot, writer
//!   restorer key ─opens─▶ vault key ─opens─▶ card's keys ─MAC─▶ envelope, PSK ─▶ session keys
//! ```
//!
//! Promises: the first check that fails stops everything; keys come from cards with a good root signature and nowhere
//! else (N44, N120). The node's checks protect others, these protect us. Not here: fetching (`fetch.rs`).

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use strongroom_format::codec;
use strongroom_format::envelope::Envelope;
use strongroom_format::id::{ChunkId, DekId, SessionId, SnapshotId};
use strongroom_format::keys::DomainKeys;
use strongroom_format::seal::{Context, Dek};
use strongroom_format::sign::Signed;
use strongroom_format::statement::WriterCard;
use strongroom_format::wrap::{DekWrap, VaultKeyPair};
use strongroom_proto::v1 as pb;

use crate::client::Client;
use crate::error::{Error, Result};
use crate::keyring;
use crate::throttle::Throttle;
use crate::vault::{VerifiedCard, VerifiedVault, Wanted};

/// A snapshot that may be believed, and the keys to it.
pub(crate) struct Gate {
    pub client: Client,
    pub envelope: Envelope,
    pub keys: DomainKeys,
    card: WriterCard,
    pair: VaultKeyPair,
    deks: Mutex<BTreeMap<DekId, Dek>>,
    /// The restore session that pins the snapshot.
    pub restore: SessionId,
    /// How fast blobs may come.
    pub throttle: Throttle,
}

impl Gate {
    /// Verifies what a node says about a snapshot.
    pub(crate) async fn pass(client: &Client, id: SnapshotId, reply: pb::GetSnapshotReply) -> Result<Self> {
        let said = reply.snapshot.ok_or_else(|| Error::broken("the node's answer has no snapshot"))?;
        let signed: Signed<Envelope> = codec::decode(&said.envelope)?;
        let claimed = signed.unverified()?;
        let vault = VerifiedVault::fetch(client, Wanted::Id(claimed.vault)).await?;
        let card = match vault.card(&claimed.card) {
            Some(card) => card.card.clone(),
            None => find_card(client, &vault, &claimed, reply.cards)?,
        };
        let restorer = keyring::restorer(client.profile())?;
        let envelope = verify_envelope(&signed, &card)?;
        if envelope.snapshot != id || envelope.tenant != client.tenant() {
            return Err(Error::provenance("the node answered with another snapshot's envelope"));
        }
        let pair = vault.statement.open_vault_key(&restorer).map_err(|fault| {
            Error::refused(
                "PERMISSION_DENIED",
                "NO_RECIPIENT",
                format_args!("vault {}: {fault}", vault.statement.name),
                "use the key of one of the vault's recipients (`strongroom vault show`)",
            )
        })?;
        let keys =
            card.open_keys(&pair).map_err(|fault| Error::provenance(format_args!("the writer's card: {fault}")))?;
        envelope.verify_mac(&keys.sender_key).map_err(Error::provenance)?;
        Ok(Self {
            client: client.clone(),
            envelope,
            keys,
            card,
            pair,
            deks: Mutex::new(BTreeMap::new()),
            restore: SessionId(0),
            throttle: Throttle::new(None),
        })
    }

    /// What a chunk's blob must have been sealed for.
    pub(crate) fn context(&self, dek: DekId, chunk: ChunkId, plaintext_bytes: u32) -> Context {
        Context {
            cluster: self.envelope.cluster,
            tenant: self.envelope.tenant,
            vault: self.envelope.vault,
            domain: self.envelope.domain,
            dek,
            chunk,
            plaintext_bytes,
        }
    }

    /// A session key of this writer, as wrapped by a holder of the writer's sender key.
    ///
    /// # Errors
    /// `Refused` with `PROVENANCE_INVALID` if its wrap was made by anybody else (N120).
    pub(crate) async fn dek(&self, id: DekId) -> Result<Dek> {
        if let Some(dek) = self.deks.lock().unwrap_or_else(PoisonError::into_inner).get(&id) {
            return Ok(dek.clone());
        }
        let request = pb::GetWrapsRequest {
            vault: Bytes::copy_from_slice(self.envelope.vault.as_bytes()),
            domain: Bytes::copy_from_slice(self.envelope.domain.as_bytes()),
            deks: vec![Bytes::copy_from_slice(id.as_bytes())],
        };
        let reply = self
            .client
            .read(self.client.topology().home, |mut vaults| {
                let request = request.clone();
                async move { vaults.get_wraps(request).await }
            })
            .await?;
        let bytes = reply.wraps.first().filter(|bytes| !bytes.is_empty());
        let bytes = bytes.ok_or_else(|| Error::provenance(format_args!("session key {id} has no wrap")))?;
        let dek = open_wrap(bytes, id, &self.card, &self.keys, &self.pair)?;
        self.deks.lock().unwrap_or_else(PoisonError::into_inner).insert(id, dek.clone());
        Ok(dek)
    }
}

/// The envelope, if the card's writer signed it as itself.
fn verify_envelope(signed: &Signed<Envelope>, card: &WriterCard) -> Result<Envelope> {
    let envelope =
        signed.open(&card.signing_key).map_err(|fault| Error::provenance(format_args!("the envelope: {fault}")))?;
    let ours = (envelope.tenant, envelope.vault, envelope.domain, envelope.key_epoch)
        == (card.tenant, card.vault, card.domain, card.epoch)
        && envelope.writer == card.writer
        && envelope.card == card.digest();
    if ours { Ok(envelope) } else { Err(Error::provenance("the envelope names another writer than its card")) }
}

fn open_wrap(bytes: &[u8], id: DekId, card: &WriterCard, keys: &DomainKeys, pair: &VaultKeyPair) -> Result<Dek> {
    let wrap: DekWrap = codec::decode(bytes)?;
    wrap.open(id, &card.place(), &keys.sender_key, pair)
        .map_err(|fault| Error::provenance(format_args!("session key {id}: {fault}")))
}

fn find_card(client: &Client, vault: &VerifiedVault, claimed: &Envelope, cards: Vec<Bytes>) -> Result<WriterCard> {
    for bytes in cards {
        let VerifiedCard { card, .. } = VerifiedCard::verify(client, &vault.statement, bytes)?;
        if card.digest() == claimed.card {
            return Ok(card);
        }
    }
    Err(Error::provenance("the writer's card that the envelope names is not there"))
}

#[cfg(test)]
mod tests {
    use strongroom_format::keys::SenderKey;
    use strongroom_format::seal::SealingDek;
    use strongroom_format::sign::SigningKey;
    use strongroom_format::statement::VaultMode;

    use super::*;
    use crate::backup::sealer::tests::{sealer, vault};

    fn signing(n: u8) -> SigningKey {
        SigningKey::from_secret(std::array::from_fn(|at| n.wrapping_add(u8::try_from(at).unwrap()))).unwrap()
    }

    #[test]
    fn n120_a_key_wrapped_with_public_knowledge_only_is_refused() {
        let (statement, pair, writer, _) = vault(VaultMode::Default);
        let card = WriterCard::new(&writer, signing(1).public_key(), &statement, [4; 64]);
        let keys = card.open_keys(&pair).unwrap();
        let (good, wrap) = sealer(&statement, &writer);
        assert!(open_wrap(&codec::encode(&wrap), good.dek(), &card, &keys, &pair).is_ok());
        // Everybody knows the vault's public key and the writer's place; nobody else knows the sender key.
        let id = DekId::from_bytes([7; 16]);
        let dek = SealingDek::new(id, std::array::from_fn(|at| u8::try_from(at).unwrap())).unwrap();
        let guess = SenderKey::from_secret(std::array::from_fn(|at| u8::try_from(at + 3).unwrap())).unwrap();
        let forged = DekWrap::seal(dek.dek(), &card.place(), &guess, &statement.public_key, [6; 64]);
        let refused = open_wrap(&codec::encode(&forged), id, &card, &keys, &pair).unwrap_err();
        assert_eq!(refused.reason(), Some("PROVENANCE_INVALID"));
        // Nor is a good wrap another key's.
        assert!(open_wrap(&codec::encode(&wrap), id, &card, &keys, &pair).is_err());
    }
}
