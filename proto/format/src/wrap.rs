//! What is sealed to whom: a vault's private key to each recipient, a writer's keys to the vault, and session keys to
//! the vault as coming from one writer.
//!
//!     recipient's key ─opens─▶ vault's private key ─opens─▶ writer card's keys ─prove─▶ session keys (DEKs)
//!
//! Each wrap is bound to its place: opened as anything else, or for another tenant, vault, domain, writer or epoch, it
//! does not open. A session key's wrap needs the sender key too, which only the writer and restorers have, so nobody
//! makes one from public knowledge. Not here: HPKE itself (`xwing.rs`), who signs what (`statement.rs`).

use borsh::{BorshDeserialize, BorshSerialize};
use zeroize::Zeroizing;

use crate::codec::Format;
use crate::id::{DekId, DomainId, IdentityId, KeyEpoch, TenantId, VaultId};
use crate::keys::{DomainKeys, IdKey, LengthKey, SenderKey};
use crate::seal::Dek;
use crate::secret::{Secret, WeakKey};
use crate::xwing::{DoesNotOpen, Entropy, Psk, TAG_BYTES, Wrapped, XWingKey, XWingPublicKey};

/// The key pair of a vault. The public half stands in its statement, the private one wrapped for each recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VaultKeyPair {
    private: XWingKey,
    public: XWingPublicKey,
}

impl VaultKeyPair {
    /// From 32 random bytes.
    pub fn from_secret(secret: [u8; 32]) -> Result<Self, WeakKey> {
        XWingKey::from_secret(secret).map(Self::from)
    }

    /// The public half.
    pub fn public_key(&self) -> &XWingPublicKey {
        &self.public
    }

    /// Wraps the private half for one recipient.
    pub fn wrap_for(&self, place: &VaultKeyPlace<'_>, recipient_key: &XWingPublicKey, entropy: Entropy) -> Wrapped {
        recipient_key.seal(&place.info(), self.private.secret().expose(), entropy)
    }

    /// Opens a wrap that is meant for `recipient_key`, and compares the public half with the one in `place`.
    pub fn open(place: &VaultKeyPlace<'_>, recipient_key: &XWingKey, wrapped: &Wrapped) -> Result<Self, DoesNotOpen> {
        let secret = recipient_key.open(&place.info(), wrapped)?;
        let pair = Self::from(XWingKey::from(loaded(&secret)?));
        if pair.public == *place.vault_key { Ok(pair) } else { Err(DoesNotOpen) }
    }
}

impl From<XWingKey> for VaultKeyPair {
    fn from(private: XWingKey) -> Self {
        let public = private.public_key();
        Self { private, public }
    }
}

/// Where a wrap of a vault's private key belongs.
#[derive(Clone, Copy, Debug, BorshSerialize)]
pub struct VaultKeyPlace<'a> {
    /// The tenant.
    pub tenant: TenantId,
    /// The vault.
    pub vault: VaultId,
    /// The recipient.
    pub recipient: &'a IdentityId,
    /// The vault's public key.
    pub vault_key: &'a XWingPublicKey,
}

impl VaultKeyPlace<'_> {
    fn info(&self) -> Vec<u8> {
        info("strongroom/vault-key/1", self)
    }
}

/// Where a writer's wrapped keys belong.
#[derive(Clone, Copy, Debug, BorshSerialize)]
pub struct CardPlace<'a> {
    /// The tenant.
    pub tenant: TenantId,
    /// The vault.
    pub vault: VaultId,
    /// The domain.
    pub domain: DomainId,
    /// The writer.
    pub writer: &'a IdentityId,
    /// The writer's key epoch.
    pub epoch: KeyEpoch,
}

impl CardPlace<'_> {
    /// Seals a writer's keys to the vault: id key, length key and sender key, 32 bytes each.
    pub fn wrap(&self, keys: &DomainKeys, vault_key: &XWingPublicKey, entropy: Entropy) -> Wrapped {
        let plain = [keys.id_key.expose().as_slice(), keys.length_key.expose(), keys.sender_key.expose()].concat();
        let plain = Zeroizing::new(plain);
        vault_key.seal(&info("strongroom/card/1", self), &plain, entropy)
    }

    /// Opens what [`CardPlace::wrap`] sealed.
    pub fn open(&self, wrapped: &Wrapped, vault: &VaultKeyPair) -> Result<DomainKeys, DoesNotOpen> {
        let plain = vault.private.open(&info("strongroom/card/1", self), wrapped)?;
        if plain.len() != 96 {
            return Err(DoesNotOpen);
        }
        Ok(DomainKeys {
            domain: self.domain,
            id_key: IdKey::from(loaded(&plain[..32])?),
            length_key: LengthKey::from(loaded(&plain[32..64])?),
            sender_key: SenderKey::from(loaded(&plain[64..])?),
        })
    }
}

/// A session key (DEK), sealed to the vault by one writer: HPKE in PSK mode under the writer's sender key, with psk id
/// `writer ‖ epoch` and all other fields as context.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct DekWrap {
    /// The key's public name.
    pub dek: DekId,
    /// The tenant.
    pub tenant: TenantId,
    /// The vault.
    pub vault: VaultId,
    /// The domain.
    pub domain: DomainId,
    /// The writer that made it.
    pub writer: IdentityId,
    /// The writer's key epoch.
    pub epoch: KeyEpoch,
    /// The 64 bytes of the key, sealed.
    pub wrapped: Wrapped,
}

impl Format for DekWrap {
    const VERSION: u8 = 1;
    const BYTES_MAX: usize = 2048;
    const NAME: &'static str = "dek wrap";

    fn check(&self) -> Result<(), &'static str> {
        match self.wrapped.ciphertext.len() == 64 + TAG_BYTES {
            true => Ok(()),
            false => Err("the sealed key is not 64 bytes"),
        }
    }
}

impl DekWrap {
    /// Wraps a session key for the vault of `place`, as coming from its writer.
    pub fn seal(
        dek: &Dek,
        place: &CardPlace<'_>,
        sender_key: &SenderKey,
        vault_key: &XWingPublicKey,
        entropy: Entropy,
    ) -> Self {
        let psk_id = psk_id(place);
        let psk = Psk { key: sender_key.secret(), id: &psk_id };
        let wrapped = vault_key.seal_from(psk, &dek_info(dek.id(), place), dek.key().expose(), entropy);
        Self {
            dek: dek.id(),
            tenant: place.tenant,
            vault: place.vault,
            domain: place.domain,
            writer: place.writer.clone(),
            epoch: place.epoch,
            wrapped,
        }
    }

    /// Opens the wrap as that of `dek` in `place`, whatever it says about itself: what comes from elsewhere does not
    /// open. `sender_key` is from the writer's card and nowhere else.
    pub fn open(
        &self,
        dek: DekId,
        place: &CardPlace<'_>,
        sender_key: &SenderKey,
        vault: &VaultKeyPair,
    ) -> Result<Dek, DoesNotOpen> {
        let psk_id = psk_id(place);
        let psk = Psk { key: sender_key.secret(), id: &psk_id };
        let secret = vault.private.open_from(psk, &dek_info(dek, place), &self.wrapped)?;
        Dek::load(dek, &secret).map_err(|_| DoesNotOpen)
    }

    /// What the wrap says of its own place: enough for a node to compare, nothing that proves anything.
    pub fn place(&self) -> CardPlace<'_> {
        CardPlace {
            tenant: self.tenant,
            vault: self.vault,
            domain: self.domain,
            writer: &self.writer,
            epoch: self.epoch,
        }
    }
}

fn dek_info(dek: DekId, place: &CardPlace<'_>) -> Vec<u8> {
    info("strongroom/dek/1", &(place, dek))
}

fn psk_id(place: &CardPlace<'_>) -> Vec<u8> {
    borsh::to_vec(&(place.writer, place.epoch)).expect("writing to memory cannot fail")
}

/// The purpose, a zero byte, and the place's fields: fixed order, fixed or length-prefixed.
fn info(purpose: &str, place: &impl BorshSerialize) -> Vec<u8> {
    let mut bytes = [purpose.as_bytes(), &[0]].concat();
    place.serialize(&mut bytes).expect("writing to memory cannot fail");
    bytes
}

/// A key that was sealed by its owner is not weak; if it is, it was not.
fn loaded(bytes: &[u8]) -> Result<Secret<32>, DoesNotOpen> {
    Secret::from_slice(bytes).map_err(|_| DoesNotOpen)
}
