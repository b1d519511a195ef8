//! Opening one blob: everything that it must be, or why it is not.
//!
//! Promises: what comes out is the chunk that the tree names, by its length and keyed hash; a blob of another tenant,
//! vault, domain, chunk or kind does not open, however good it is elsewhere (N41); nothing is inflated beyond what was
//! declared (N114). Not here: where else to look (`fetch.rs`).

use bytes::Bytes;
use strongroom_format::chunk::{chunk_id, manifest_chunk_id};
use strongroom_format::id::DekId;
use strongroom_format::keys::IdKey;
use strongroom_format::seal::{BlobError, BlobHeader, Context, Dek, HEADER_BYTES, Kind, blob_id, open, open_body};
use strongroom_format::tree::LeafEntry;

use crate::aead::Fast;

/// Why a blob was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NotTaken {
    /// It is not the blob that the tree names: another member may have that.
    AnotherBlob(String),
    /// It is, and it does not open to its chunk: its writer, or the node that took it in, spoilt it (N110).
    BadBlob(String),
}

/// A blob as it came.
pub(crate) enum Sealed {
    /// In one piece.
    Whole(Bytes),
    /// Its data fragments in order, the last ones padded.
    Pieces(Vec<Bytes>),
}

impl Sealed {
    /// The key that it says it is sealed under; believed only after it opened.
    pub(crate) fn dek(&self) -> Result<DekId, BlobError> {
        let header = match self {
            Self::Whole(blob) => BlobHeader::parse(blob)?,
            Self::Pieces(pieces) => BlobHeader::parse(&lay(pieces, HEADER_BYTES).0)?,
        };
        Ok(header.dek)
    }

    /// How many bytes it holds.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Whole(blob) => blob.len(),
            Self::Pieces(pieces) => pieces.iter().map(Bytes::len).sum(),
        }
    }
}

/// Puts the first bytes of pieces together: those of the header, and those behind it.
fn lay(pieces: &[Bytes], bytes: usize) -> (Vec<u8>, Vec<u8>) {
    let mut header = Vec::with_capacity(HEADER_BYTES);
    let mut body = Vec::with_capacity(bytes.saturating_sub(HEADER_BYTES));
    for piece in pieces {
        let left = bytes - header.len() - body.len();
        let piece = &piece[..piece.len().min(left)];
        let (first, rest) = piece.split_at(piece.len().min(HEADER_BYTES - header.len()));
        header.extend_from_slice(first);
        body.extend_from_slice(rest);
    }
    (header, body)
}

/// The chunk of a blob. Of pieces that do not open nobody knows whether they are the blob: that shows when it comes whole.
pub(crate) fn take(
    dek: &Dek,
    kind: Kind,
    id_key: &IdKey,
    context: &Context,
    entry: &LeafEntry,
    sealed: &Sealed,
) -> Result<Vec<u8>, NotTaken> {
    let opened = match sealed {
        Sealed::Whole(blob) => open(&Fast, dek, kind, context, blob),
        Sealed::Pieces(pieces) => {
            let (header, body) = lay(pieces, entry.stored_bytes as usize);
            BlobHeader::parse(&header).and_then(|header| open_body(&Fast, dek, kind, context, &header, body))
        }
    };
    let fault = match opened {
        Ok(plaintext) => {
            let id = match kind {
                Kind::Manifest => manifest_chunk_id(id_key, &plaintext),
                Kind::Data | Kind::Records => chunk_id(id_key, &plaintext),
            };
            if id == entry.chunk {
                return Ok(plaintext);
            }
            "it opens to another chunk".to_owned()
        }
        Err(fault) => fault.to_string(),
    };
    Err(match sealed {
        Sealed::Whole(blob) if blob_id(blob) == entry.blob => NotTaken::BadBlob(fault),
        Sealed::Whole(_) | Sealed::Pieces(_) => NotTaken::AnotherBlob(fault),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use strongroom_format::id::{ChunkId, ClusterEpoch, DomainId, TenantId, VaultId, VaultTag};
    use strongroom_format::seal::{Compression, SealingDek, seal};

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        /// However small the pieces are, they are laid out as the blob lies, without its padding.
        #[test]
        fn pieces_are_laid_out_as_the_blob_lies(
            blob in proptest::collection::vec(any::<u8>(), HEADER_BYTES..2000), piece_bytes in 1_usize..700
        ) {
            let mut padded = blob.clone();
            padded.resize(blob.len().next_multiple_of(piece_bytes) + piece_bytes, 0);
            let pieces: Vec<Bytes> = padded.chunks(piece_bytes).map(Bytes::copy_from_slice).collect();
            let (header, body) = lay(&pieces, blob.len());
            prop_assert_eq!(&header, &blob[..HEADER_BYTES]);
            prop_assert_eq!(&body, &blob[HEADER_BYTES..]);
        }
    }

    /// Whoever holds a writer's keys can seal anything under the name of anything.
    #[test]
    fn n110_a_blob_that_opens_to_another_chunk_than_the_tree_names_is_not_given() {
        let bytes = |first: u8| std::array::from_fn(|at| first.wrapping_add(u8::try_from(at).unwrap()));
        let id_key = IdKey::from_secret(bytes(1)).unwrap();
        let mut random = [0; 64];
        random.iter_mut().zip(5..).for_each(|(byte, value)| *byte = value);
        let dek = SealingDek::new(DekId::from_bytes([3; 16]), random).unwrap();
        for kind in [Kind::Data, Kind::Manifest] {
            let name = |plaintext: &[u8]| match kind {
                Kind::Manifest => manifest_chunk_id(&id_key, plaintext),
                Kind::Data | Kind::Records => chunk_id(&id_key, plaintext),
            };
            let sealed = |chunk: ChunkId, plaintext: &[u8]| {
                let context = Context {
                    cluster: ClusterEpoch::from_bytes([4; 16]),
                    tenant: TenantId::from_bytes([5; 16]),
                    vault: VaultId::from_bytes([6; 16]),
                    domain: DomainId::from_bytes([7; 16]),
                    dek: dek.dek().id(),
                    chunk,
                    plaintext_bytes: u32::try_from(plaintext.len()).unwrap(),
                };
                let (tag, salt) = (VaultTag::from_bytes([8; 16]), dek.salt([9; 24]));
                let blob = seal(&Fast, salt, kind, tag, &context, plaintext, Compression::Never).unwrap();
                let stored_bytes = u32::try_from(blob.len()).unwrap();
                let entry = LeafEntry { chunk, blob: blob_id(&blob), stored_bytes };
                take(dek.dek(), kind, &id_key, &context, &entry, &Sealed::Whole(blob.into()))
            };
            assert_eq!(sealed(name(b"right"), b"right").as_deref(), Ok(&b"right"[..]));
            let spoilt = sealed(name(b"right"), b"wrong");
            assert!(matches!(&spoilt, Err(NotTaken::BadBlob(why)) if why.contains("another chunk")), "{spoilt:?}");
        }
    }
}
