//! Opening one blob: everything that it must be, or why it is not.
//!
//! Promises: what comes out is the chunk that the tree names, by its length and keyed hash; a blob of another tenant,
//! vault, domain, chunk or kind does not open, however good it is elsewhere (N41); nothing is inflated beyond what was
//! declared (N114). Not here: where else to look (`fetch.rs`).

use strongroom_format::chunk::{chunk_id, manifest_chunk_id};
use strongroom_format::id::DekId;
use strongroom_format::keys::IdKey;
use strongroom_format::seal::{BlobError, BlobHeader, Context, Dek, Kind, blob_id, open};
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

/// The key that a blob says it is sealed under; believed only after it opened.
pub(crate) fn dek_of(blob: &[u8]) -> Result<DekId, BlobError> {
    Ok(BlobHeader::parse(blob)?.dek)
}

/// The chunk of a blob.
pub(crate) fn take(
    dek: &Dek,
    kind: Kind,
    id_key: &IdKey,
    context: &Context,
    entry: &LeafEntry,
    blob: &[u8],
) -> Result<Vec<u8>, NotTaken> {
    let fault = match open(&Fast, dek, kind, context, blob) {
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
    Err(if blob_id(blob) == entry.blob { NotTaken::BadBlob(fault) } else { NotTaken::AnotherBlob(fault) })
}
