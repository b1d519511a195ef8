//! Sealing chunks of one upload: a key of its own, made here and now, that never leaves this process unwrapped.
//!
//! Promises: what is sealed is opened again and hashed before anybody may send it (N112), so that a flipped bit in this
//! machine's memory is found while the source is still at hand; the public key that the DEK is wrapped to is the one
//! of a verified statement (N119). Not here: who verifies it (`vault.rs`), the blob's format.

use bytes::Bytes;
use strongroom_format::chunk::{chunk_id, manifest_chunk_id};
use strongroom_format::id::{BlobId, ChunkId, ClusterEpoch, DekId, VaultTag};
use strongroom_format::keys::DomainKeys;
use strongroom_format::seal::{Compression, Context, Kind, SealingDek, blob_id, open, seal};
use strongroom_format::statement::{VaultMode, VaultStatement};
use strongroom_format::wrap::{CardPlace, DekWrap};

use crate::aead::Fast;
use crate::error::{Error, Result};
use crate::random::random;

/// What seals the chunks of one upload.
pub(crate) struct Sealer {
    dek: SealingDek,
    keys: DomainKeys,
    vault_tag: VaultTag,
    compression: Compression,
    /// Of no chunk yet.
    context: Context,
}

/// A sealed chunk that opened to what it was made of.
#[derive(Clone, Debug)]
pub(crate) struct SealedChunk {
    pub blob: BlobId,
    pub bytes: Bytes,
}

impl Sealer {
    /// A new key for a vault, and its wrap.
    pub(crate) fn new(
        cluster: ClusterEpoch,
        statement: &VaultStatement,
        place: &CardPlace<'_>,
        keys: &DomainKeys,
    ) -> Result<(Self, DekWrap)> {
        let id = DekId::from_bytes(random()?);
        let dek = SealingDek::new(id, random()?).map_err(|fault| Error::failed("no key could be made", fault))?;
        let wrap = DekWrap::seal(dek.dek(), place, &keys.sender_key, &statement.public_key, random()?);
        let compression = match statement.mode {
            VaultMode::Default => Compression::Auto,
            VaultMode::Hardened => Compression::Never,
        };
        let context = Context {
            cluster,
            tenant: statement.tenant,
            vault: statement.vault,
            domain: keys.domain,
            dek: id,
            chunk: ChunkId::from_bytes([0; 32]),
            plaintext_bytes: 0,
        };
        Ok((Self { dek, keys: keys.clone(), vault_tag: statement.tag, compression, context }, wrap))
    }

    /// The key's name.
    pub(crate) fn dek(&self) -> DekId {
        self.context.dek
    }

    /// The name of a chunk.
    pub(crate) fn name(&self, kind: Kind, plaintext: &[u8]) -> ChunkId {
        match kind {
            Kind::Manifest => manifest_chunk_id(&self.keys.id_key, plaintext),
            Kind::Data | Kind::Records => chunk_id(&self.keys.id_key, plaintext),
        }
    }

    /// Seals a chunk that was named before.
    ///
    /// # Errors
    /// `Refused` with reason `SEALED_WRONG` if the sealed bytes do not open to what the name was taken of.
    pub(crate) fn seal(&self, kind: Kind, chunk: ChunkId, plaintext: &[u8]) -> Result<SealedChunk> {
        self.seal_salted(kind, chunk, plaintext, random()?)
    }

    /// The same with these random bytes, which need not be (N50): the key's counter stands beside them in the salt.
    fn seal_salted(&self, kind: Kind, chunk: ChunkId, plaintext: &[u8], random: [u8; 24]) -> Result<SealedChunk> {
        let context = Context {
            chunk,
            plaintext_bytes: u32::try_from(plaintext.len()).map_err(|_| Error::broken("a chunk is too long"))?,
            ..self.context
        };
        let salt = self.dek.salt(random);
        let bytes = seal(&Fast, salt, kind, self.vault_tag, &context, plaintext, self.compression)
            .map_err(|fault| Error::failed("a chunk could not be sealed", fault))?;
        self.check(kind, &context, &bytes)?;
        Ok(SealedChunk { blob: blob_id(&bytes), bytes: bytes.into() })
    }

    fn check(&self, kind: Kind, context: &Context, blob: &[u8]) -> Result<()> {
        match open(&Fast, self.dek.dek(), kind, context, blob) {
            Ok(opened) if self.name(kind, &opened) == context.chunk => Ok(()),
            Ok(_) | Err(_) => Err(Error::refused(
                "DATA_LOSS",
                "SEALED_WRONG",
                "sealed bytes do not open to what was read: this machine's memory or processor is faulty",
                "nothing of it was sent; test the machine's memory, then run the backup again",
            )),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use strongroom_format::chunk::Chunking;
    use strongroom_format::id::{IdentityId, KeyEpoch, StatementVersion, TenantId, VaultId};
    use strongroom_format::keys::{RestorerKey, WriterKey};
    use strongroom_format::seal::{BlobHeader, HEADER_BYTES};
    use strongroom_format::statement::{Custody, Recipient};
    use strongroom_format::wrap::VaultKeyPair;

    use super::*;

    /// A vault with one recipient, for tests of this package.
    pub(crate) fn vault(mode: VaultMode) -> (VaultStatement, VaultKeyPair, WriterKey, RestorerKey) {
        let tenant = TenantId::from_bytes([1; 16]);
        let vault = VaultId::from_bytes([2; 16]);
        let secret = |n: u8| std::array::from_fn(|at| n.wrapping_add(u8::try_from(at).unwrap()));
        let restorer = RestorerKey::from_secret("reader".parse().unwrap(), secret(5)).unwrap();
        let pair = VaultKeyPair::from_secret(secret(6)).unwrap();
        let recipient = Recipient::new(tenant, vault, &pair, &restorer.public_key(), [7; 64]);
        let writer: IdentityId = "writer".parse().unwrap();
        let writer = WriterKey::from_secret(tenant, writer, KeyEpoch(1), secret(8)).unwrap();
        let statement = VaultStatement {
            tenant,
            vault,
            name: "main".parse().unwrap(),
            tag: VaultTag::from_bytes([3; 16]),
            version: StatementVersion(1),
            mode,
            chunking: match mode {
                VaultMode::Default => Chunking::Default,
                VaultMode::Hardened => Chunking::Hardened,
            },
            suite: VaultStatement::SUITE,
            custody: Custody::Tenant,
            public_key: pair.public_key().clone(),
            recipients: vec![recipient],
        };
        (statement, pair, writer, restorer)
    }

    /// A sealer into that vault, with its wrap.
    pub(crate) fn sealer(statement: &VaultStatement, writer: &WriterKey) -> (Sealer, DekWrap) {
        let keys = writer.in_vault(&statement.vault);
        let place = CardPlace {
            tenant: statement.tenant,
            vault: statement.vault,
            domain: keys.domain,
            writer: &writer.writer,
            epoch: writer.epoch,
        };
        Sealer::new(ClusterEpoch::from_bytes([9; 16]), statement, &place, &keys).unwrap()
    }

    #[test]
    fn n112_sealed_bytes_that_do_not_open_to_what_was_hashed_are_not_given_out() {
        let (statement, _, writer, _) = vault(VaultMode::Default);
        let (sealer, _) = sealer(&statement, &writer);
        let plaintext = vec![5; 100_000];
        let chunk = sealer.name(Kind::Data, &plaintext);
        let sealed = sealer.seal(Kind::Data, chunk, &plaintext).unwrap();
        // A bit flipped between hashing and sealing.
        let mut flipped = plaintext.clone();
        flipped[70_000] ^= 4;
        assert_eq!(sealer.seal(Kind::Data, chunk, &flipped).unwrap_err().reason(), Some("SEALED_WRONG"));
        // A bit flipped behind sealing.
        let context = Context { chunk, plaintext_bytes: 100_000, ..sealer.context };
        let mut blob = sealed.bytes.to_vec();
        let last = blob.len() - 1;
        blob[last] ^= 1;
        assert_eq!(sealer.check(Kind::Data, &context, &blob).unwrap_err().reason(), Some("SEALED_WRONG"));
    }

    #[test]
    fn n50_with_a_stuck_random_source_no_two_chunks_of_an_upload_share_a_salt_or_a_key() {
        let (statement, _, writer, _) = vault(VaultMode::Default);
        let (sealer, _) = sealer(&statement, &writer);
        let plaintext = vec![5; 1000];
        let chunk = sealer.name(Kind::Data, &plaintext);
        let stuck = || sealer.seal_salted(Kind::Data, chunk, &plaintext, [0; 24]).unwrap().bytes;
        let sealed: Vec<Bytes> = (0..100).map(|_| stuck()).collect();
        let all =
            |part: fn(&Bytes) -> Vec<u8>| sealed.iter().map(part).collect::<std::collections::BTreeSet<_>>().len();
        assert_eq!(all(|blob| BlobHeader::parse(blob).unwrap().salt.to_vec()), sealed.len(), "no salt twice");
        // The commitment is derived with the key: where it differs, so does the key.
        assert_eq!(all(|blob| BlobHeader::parse(blob).unwrap().commitment.to_vec()), sealed.len(), "no key twice");
        assert_eq!(all(|blob| blob[HEADER_BYTES..].to_vec()), sealed.len(), "no ciphertext twice");
    }

    #[test]
    fn n147_every_upload_has_a_key_of_its_own() {
        let (statement, _, writer, _) = vault(VaultMode::Default);
        assert_ne!(sealer(&statement, &writer).0.dek(), sealer(&statement, &writer).0.dek());
    }
}
