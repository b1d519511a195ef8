//! Blobs: sealed chunks, and the open records beside them.
//!
//! ```text
//! blob        = header(136) ‖ ciphertext ‖ tag(16)                 suite 1
//!             = header(136) ‖ payload                              suite 0, open
//! header      = "SRBL" ‖ version u8 ‖ suite u8 ‖ kind u8 ‖ 0 u8 ‖ vault tag(16) ‖ DEK id(16) ‖ chunk id(32)
//!               ‖ salt(32) ‖ commitment(32)
//! salt        = counter of the DEK, u64 little-endian ‖ 24 random bytes
//! key(32) ‖ nonce(12) ‖ commitment(32)
//!             = HKDF-Expand-SHA-512(DEK(64), "strongroom/1" ‖ 0 ‖ kind ‖ salt ‖ context)
//! context     = cluster epoch(16) ‖ tenant(16) ‖ vault(16) ‖ domain(16) ‖ DEK id(16) ‖ chunk id(32)
//!               ‖ plaintext bytes, u32 little-endian
//! ciphertext  = AES-256-GCM(key, nonce, body ‖ packing u8), no additional data
//! body        = the plaintext (packing 0), or one zstd frame of it (packing 1)
//! BlobId      = BLAKE3(blob)
//! ```
//!
//! Promises: nothing that is not authenticated steers the opener. It derives from the context that it *expects*;
//! of the header it uses only the salt, and compares the commitment, in constant time, before anything is opened.
//! Whether the plaintext was compressed stands inside of what is sealed, as its last byte, so that neither can a node
//! choose it nor learn it. What comes out is bounded by the expected length, 4 MiB at most, before a byte of it is
//! inflated. No key encrypts twice: a [`Salt`] is used up by the sealing, and comes from a counter that a
//! [`SealingDek`] only has in the process that made it.
//!
//! Not here: how a DEK travels (`wrap.rs`), whether the plaintext is the chunk that its id names (`chunk.rs`; who
//! opens compares).

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use hkdf::Hkdf;
use sha2::Sha512;
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};
use zstd::zstd_safe::{self, CCtx};

use crate::aead::{Aead, TAG_BYTES};
use crate::chunk::CHUNK_BYTES_MAX;
use crate::id::{BlobId, ChunkId, ClusterEpoch, DekId, DomainId, TenantId, VaultId, VaultTag};
use crate::secret::{Secret, WeakKey};

/// Bytes of a blob's open header.
pub const HEADER_BYTES: usize = 136;
/// How much longer a blob of suite 1 is than its chunk, at most: header, packing byte, tag.
pub const OVERHEAD_BYTES: usize = HEADER_BYTES + 1 + TAG_BYTES;
/// The longest blob of any suite.
pub const BLOB_BYTES_MAX: u32 = CHUNK_BYTES_MAX + OVERHEAD_BYTES as u32;
/// The longest payload of an open record blob (§4: at most 1 MiB).
pub const RECORD_BYTES_MAX: usize = 1 << 20;

const MAGIC: [u8; 4] = *b"SRBL";
const VERSION: u8 = 1;
/// A zstd frame needs at most this window: as much as the longest chunk.
const WINDOW_BYTES_MAX: u64 = CHUNK_BYTES_MAX as u64;
const ZSTD_LEVEL: i32 = 1;

/// How the bytes behind a header are protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Suite {
    /// Suite 0: not at all. The chunk id is the payload's BLAKE3 hash.
    Open,
    /// Suite 1: HKDF-SHA-512, AES-256-GCM, explicit commitment.
    HkdfAes256Gcm,
}

impl Suite {
    /// Its number in the header.
    pub fn number(self) -> u8 {
        match self {
            Suite::Open => 0,
            Suite::HkdfAes256Gcm => 1,
        }
    }
}

/// What a blob holds. The kind enters the key, so one kind never opens as another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A chunk of file contents. Suite 1.
    Data,
    /// A chunk of a manifest. Suite 1.
    Manifest,
    /// Open records of a part (§4). Suite 0.
    Records,
}

impl Kind {
    /// Its number in the header and in the key's derivation.
    pub fn number(self) -> u8 {
        match self {
            Kind::Data => 1,
            Kind::Manifest => 2,
            Kind::Records => 3,
        }
    }

    /// The suite that blobs of this kind have. No other is read: an open blob never passes for sealed data.
    pub fn suite(self) -> Suite {
        match self {
            Kind::Data | Kind::Manifest => Suite::HkdfAes256Gcm,
            Kind::Records => Suite::Open,
        }
    }
}

/// Whether sealing tries to compress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Where a probe says that it pays.
    Auto,
    /// Never, so that the stored length says nothing about the content (`hardened` vaults).
    Never,
}

/// Why bytes are not the blob that was expected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BlobError {
    /// A version that this reader does not know, or unversioned bytes (N36).
    #[error("blob: version {found} is not supported, this reader knows version {VERSION}")]
    UnsupportedVersion {
        /// What stands there.
        found: u8,
    },
    /// A suite that this reader does not know, or another than the blob's kind has (N36).
    #[error("blob: suite {found} is not supported here")]
    UnsupportedSuite {
        /// What stands there.
        found: u8,
    },
    /// A kind that this reader does not know (N36).
    #[error("blob: kind {found} is not supported")]
    UnsupportedKind {
        /// What stands there.
        found: u8,
    },
    /// A good blob perhaps, but not of this key, kind and context: of another tenant, vault, domain, chunk or length
    /// (N41, N52). Try another copy.
    #[error("blob: the commitment does not fit the key and context")]
    CommitmentMismatch,
    /// Cut off, altered, or not a blob. Try another copy.
    #[error("blob: damaged: {why}")]
    Damaged {
        /// What is wrong, for people.
        why: &'static str,
    },
    /// The plaintext is longer or shorter than declared, or a length outside 1 ..= 4 MiB was asked for.
    #[error("blob: {found} bytes of plaintext where {expected} were declared")]
    LengthMismatch {
        /// What was declared.
        expected: u64,
        /// What was found; where it is longer than declared, how much is not looked at.
        found: u64,
    },
}

/// A session's data encryption key, to open with. 64 random bytes: a pseudorandom key of full length for HKDF-SHA-512,
/// so there is no extract step.
#[derive(Clone, PartialEq, Eq)]
pub struct Dek {
    id: DekId,
    key: Secret<64>,
}

impl Dek {
    /// From an opened wrap.
    pub fn load(id: DekId, bytes: &[u8]) -> Result<Dek, WeakKey> {
        Ok(Dek { id, key: Secret::from_slice(bytes)? })
    }

    /// Its id.
    pub fn id(&self) -> DekId {
        self.id
    }

    /// The key's bytes, to be wrapped.
    pub fn key(&self) -> &Secret<64> {
        &self.key
    }
}

impl fmt::Debug for Dek {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Dek({}, [redacted])", self.id)
    }
}

/// A DEK in the process that made it: the only thing that seals. It cannot be cloned or loaded, so its counter is one.
#[derive(Debug)]
pub struct SealingDek {
    dek: Dek,
    next: AtomicU64,
}

impl SealingDek {
    /// A new key from 64 fresh random bytes, which are wiped here.
    pub fn new(id: DekId, mut random: [u8; 64]) -> Result<SealingDek, WeakKey> {
        let dek = Dek::load(id, &random);
        random.zeroize();
        Ok(SealingDek { dek: dek?, next: AtomicU64::new(0) })
    }

    /// The key, to be wrapped, or to open what it has just sealed.
    pub fn dek(&self) -> &Dek {
        &self.dek
    }

    /// A salt that this key never had and never will have, even if `random` repeats (N50).
    pub fn salt(&self, random: [u8; 24]) -> Salt<'_> {
        let counter = self.next.fetch_add(1, Ordering::Relaxed);
        assert_ne!(counter, u64::MAX, "nobody seals 2^64 blobs");
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&counter.to_le_bytes());
        bytes[8..].copy_from_slice(&random);
        Salt { dek: &self.dek, bytes }
    }
}

/// One sealing's salt under one key. [`seal`] uses it up.
#[derive(Debug)]
pub struct Salt<'dek> {
    dek: &'dek Dek,
    bytes: [u8; 32],
}

/// What a blob is bound to. Whoever opens says what it expects; random ids, never names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Context {
    /// The cluster epoch under which it was sealed.
    pub cluster: ClusterEpoch,
    /// The tenant.
    pub tenant: TenantId,
    /// The vault.
    pub vault: VaultId,
    /// The domain.
    pub domain: DomainId,
    /// The key.
    pub dek: DekId,
    /// The chunk.
    pub chunk: ChunkId,
    /// The length of the plaintext, 1 ..= 4 MiB.
    pub plaintext_bytes: u32,
}

impl Context {
    const BYTES: usize = 5 * 16 + 32 + 4;

    fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..16].copy_from_slice(self.cluster.as_bytes());
        bytes[16..32].copy_from_slice(self.tenant.as_bytes());
        bytes[32..48].copy_from_slice(self.vault.as_bytes());
        bytes[48..64].copy_from_slice(self.domain.as_bytes());
        bytes[64..80].copy_from_slice(self.dek.as_bytes());
        bytes[80..112].copy_from_slice(self.chunk.as_bytes());
        bytes[112..].copy_from_slice(&self.plaintext_bytes.to_le_bytes());
        bytes
    }
}

/// The open header of a blob. Nodes read it; nothing in it is believed by who opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlobHeader {
    /// What the blob holds; says the suite too.
    pub kind: Kind,
    /// Stands for the vault: random, opaque.
    pub vault_tag: VaultTag,
    /// The key; zero in an open blob.
    pub dek: DekId,
    /// The writer's claim of what it is; the payload's BLAKE3 hash in an open blob.
    pub chunk: ChunkId,
    /// Zero in an open blob.
    pub salt: [u8; 32],
    /// Zero in an open blob.
    pub commitment: [u8; 32],
}

impl BlobHeader {
    /// Reads the first [`HEADER_BYTES`] of `blob`; what follows is not looked at.
    pub fn parse(blob: &[u8]) -> Result<BlobHeader, BlobError> {
        let Some(header) = blob.first_chunk::<HEADER_BYTES>() else {
            return Err(BlobError::Damaged { why: "shorter than a header" });
        };
        if header[..4] != MAGIC {
            return Err(BlobError::Damaged { why: "not a blob" });
        }
        if header[4] != VERSION {
            return Err(BlobError::UnsupportedVersion { found: header[4] });
        }
        if header[5] > 1 {
            return Err(BlobError::UnsupportedSuite { found: header[5] });
        }
        let kind = match header[6] {
            1 => Kind::Data,
            2 => Kind::Manifest,
            3 => Kind::Records,
            found => return Err(BlobError::UnsupportedKind { found }),
        };
        if header[5] != kind.suite().number() {
            return Err(BlobError::UnsupportedSuite { found: header[5] });
        }
        let header = BlobHeader {
            kind,
            vault_tag: VaultTag::from_bytes(field(header, 8)),
            dek: DekId::from_bytes(field(header, 24)),
            chunk: ChunkId::from_bytes(field(header, 40)),
            salt: field(header, 72),
            commitment: field(header, 104),
        };
        if header.to_bytes() != blob[..HEADER_BYTES] {
            return Err(BlobError::Damaged { why: "a reserved byte is not zero" });
        }
        let open = header.dek == DekId::from_bytes([0; 16]) && header.salt == [0; 32] && header.commitment == [0; 32];
        match kind.suite() {
            Suite::Open if !open => Err(BlobError::Damaged { why: "an open blob with a key" }),
            Suite::Open | Suite::HkdfAes256Gcm => Ok(header),
        }
    }

    /// Its bytes.
    pub fn to_bytes(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..4].copy_from_slice(&MAGIC);
        bytes[4] = VERSION;
        bytes[5] = self.kind.suite().number();
        bytes[6] = self.kind.number();
        bytes[8..24].copy_from_slice(self.vault_tag.as_bytes());
        bytes[24..40].copy_from_slice(self.dek.as_bytes());
        bytes[40..72].copy_from_slice(self.chunk.as_bytes());
        bytes[72..104].copy_from_slice(&self.salt);
        bytes[104..].copy_from_slice(&self.commitment);
        bytes
    }
}

fn field<const N: usize>(header: &[u8; HEADER_BYTES], at: usize) -> [u8; N] {
    *header[at..].first_chunk().expect("every field lies inside of the header")
}

/// The id of a blob: BLAKE3 over all of its bytes.
pub fn blob_id(blob: &[u8]) -> BlobId {
    BlobId::from_bytes(*blake3::hash(blob).as_bytes())
}

/// Seals one chunk. `context.dek` must be the salt's key and `context.plaintext_bytes` the plaintext's length, else
/// nothing is sealed. One allocation, of the blob; the plaintext is copied or compressed straight into it.
///
/// # Panics
/// If `kind` is not one of suite 1, or `context.dek` is another key: both are the caller's constants.
pub fn seal<A: Aead + ?Sized>(
    aead: &A,
    salt: Salt<'_>,
    kind: Kind,
    vault_tag: VaultTag,
    context: &Context,
    plaintext: &[u8],
    compression: Compression,
) -> Result<Vec<u8>, BlobError> {
    assert_eq!(kind.suite(), Suite::HkdfAes256Gcm, "open records are not sealed");
    assert_eq!(context.dek, salt.dek.id, "the context names the key that seals");
    check_length(context, plaintext.len())?;

    let once = Once::derive(salt.dek, kind, &salt.bytes, context);
    let header = BlobHeader {
        kind,
        vault_tag,
        dek: context.dek,
        chunk: context.chunk,
        salt: salt.bytes,
        commitment: once.commitment,
    };
    let mut blob = Vec::with_capacity(plaintext.len() + OVERHEAD_BYTES);
    blob.extend(header.to_bytes());
    let packing = match compression {
        Compression::Auto => pack(&mut blob, plaintext),
        Compression::Never => Packing::Stored,
    };
    if packing == Packing::Stored {
        blob.extend(plaintext);
    }
    blob.push(packing as u8);
    let tag = aead.seal_in_place(&once.key, &once.nonce, &mut blob[HEADER_BYTES..]);
    blob.extend(tag);
    Ok(blob)
}

/// Opens a blob that is expected to be of this key, kind and context, and gives back exactly
/// `context.plaintext_bytes` bytes. The caller compares them with the chunk id.
pub fn open<A: Aead + ?Sized>(
    aead: &A,
    dek: &Dek,
    kind: Kind,
    context: &Context,
    blob: &[u8],
) -> Result<Vec<u8>, BlobError> {
    let header = BlobHeader::parse(blob)?;
    open_body(aead, dek, kind, context, &header, blob[HEADER_BYTES..].to_vec())
}

/// [`open`] for a blob that lies in two parts, its header and what follows. It is opened where it lies.
pub fn open_body<A: Aead + ?Sized>(
    aead: &A,
    dek: &Dek,
    kind: Kind,
    context: &Context,
    header: &BlobHeader,
    mut body: Vec<u8>,
) -> Result<Vec<u8>, BlobError> {
    if kind.suite() != Suite::HkdfAes256Gcm {
        return Err(BlobError::UnsupportedSuite { found: kind.suite().number() });
    }
    check_length(context, context.plaintext_bytes as usize)?;
    let ours =
        header.kind == kind && header.chunk == context.chunk && header.dek == context.dek && dek.id == header.dek;
    let once = Once::derive(dek, kind, &header.salt, context);
    if !ours || !bool::from(once.commitment.ct_eq(&header.commitment)) {
        return Err(BlobError::CommitmentMismatch);
    }
    if HEADER_BYTES + body.len() > context.plaintext_bytes as usize + OVERHEAD_BYTES {
        return Err(BlobError::Damaged { why: "longer than its plaintext stored as it is" });
    }

    if aead.open_in_place(&once.key, &once.nonce, &mut body).is_err() {
        return Err(BlobError::Damaged { why: "the tag does not fit" });
    }
    body.truncate(body.len() - TAG_BYTES);
    match body.pop() {
        Some(packing) if packing == Packing::Stored as u8 => {
            check_length(context, body.len())?;
            Ok(body)
        }
        Some(packing) if packing == Packing::Zstd as u8 => unpack(&body, context),
        Some(_) => Err(BlobError::Damaged { why: "an unknown packing" }),
        None => Err(BlobError::Damaged { why: "no packing" }),
    }
}

/// An open blob of kind [`Kind::Records`]; its chunk id is the payload's BLAKE3 hash.
///
/// # Panics
/// If `payload` is empty or longer than [`RECORD_BYTES_MAX`]: records are cut into several before.
pub fn record_blob(vault_tag: VaultTag, payload: &[u8]) -> Vec<u8> {
    assert!((1..=RECORD_BYTES_MAX).contains(&payload.len()), "record blobs hold 1 byte to 1 MiB");
    let header = BlobHeader {
        kind: Kind::Records,
        vault_tag,
        dek: DekId::from_bytes([0; 16]),
        chunk: ChunkId::from_bytes(*blake3::hash(payload).as_bytes()),
        salt: [0; 32],
        commitment: [0; 32],
    };
    let mut blob = Vec::with_capacity(HEADER_BYTES + payload.len());
    blob.extend(header.to_bytes());
    blob.extend(payload);
    blob
}

/// The payload of an open record blob, after its hash was compared with its chunk id.
pub fn open_records(blob: &[u8]) -> Result<&[u8], BlobError> {
    let header = BlobHeader::parse(blob)?;
    if header.kind != Kind::Records {
        return Err(BlobError::UnsupportedSuite { found: header.kind.suite().number() });
    }
    let payload = &blob[HEADER_BYTES..];
    if !(1..=RECORD_BYTES_MAX).contains(&payload.len()) {
        return Err(BlobError::LengthMismatch { expected: RECORD_BYTES_MAX as u64, found: payload.len() as u64 });
    }
    if blake3::hash(payload).as_bytes() != header.chunk.as_bytes() {
        return Err(BlobError::Damaged { why: "the records are not those that the header names" });
    }
    Ok(payload)
}

fn check_length(context: &Context, found: usize) -> Result<(), BlobError> {
    let expected = context.plaintext_bytes;
    if expected == 0 || expected > CHUNK_BYTES_MAX || found != expected as usize {
        return Err(BlobError::LengthMismatch { expected: expected.into(), found: found as u64 });
    }
    Ok(())
}

/// What one blob is sealed with, once.
struct Once {
    key: Zeroizing<[u8; 32]>,
    nonce: [u8; 12],
    commitment: [u8; 32],
}

impl Once {
    fn derive(dek: &Dek, kind: Kind, salt: &[u8; 32], context: &Context) -> Once {
        let hkdf = Hkdf::<Sha512>::from_prk(dek.key.expose()).expect("64 bytes are a whole key for SHA-512");
        let context = context.to_bytes();
        let info = [b"strongroom/1\0".as_slice(), &[kind.number()], salt, &context];
        let mut okm = Zeroizing::new([0; 76]);
        hkdf.expand_multi_info(&info, okm.as_mut()).expect("76 bytes are far below HKDF's limit");
        let mut once = Once { key: Zeroizing::new([0; 32]), nonce: [0; 12], commitment: [0; 32] };
        once.key.copy_from_slice(&okm[..32]);
        once.nonce.copy_from_slice(&okm[32..44]);
        once.commitment.copy_from_slice(&okm[44..]);
        once
    }
}

/// How the plaintext lies in what is sealed: its last byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Packing {
    Stored = 0,
    Zstd = 1,
}

/// Appends a zstd frame of `plaintext` if that saves at least a sixteenth; else appends nothing.
fn pack(blob: &mut Vec<u8>, plaintext: &[u8]) -> Packing {
    let room = plaintext.len() - plaintext.len() / 16;
    let mut zstd = CCtx::create();
    if room == plaintext.len() || !seems_compressible(&mut zstd, plaintext) {
        return Packing::Stored;
    }
    let start = blob.len();
    blob.resize(start + room, 0);
    // A frame that does not fit into the room does not pay.
    match zstd.compress(&mut blob[start..], plaintext, ZSTD_LEVEL) {
        Ok(packed) => {
            blob.truncate(start + packed);
            Packing::Zstd
        }
        Err(_) => {
            blob.truncate(start);
            Packing::Stored
        }
    }
}

/// Compresses three samples of a long plaintext: at its start, where formats have their headers, and in the middle
/// and at the end, where they have not.
fn seems_compressible(zstd: &mut CCtx<'_>, plaintext: &[u8]) -> bool {
    const SAMPLE: usize = 16 << 10;
    if plaintext.len() <= 4 * SAMPLE {
        return true;
    }
    let mut room = [0; SAMPLE];
    let mut packed = 0;
    for start in [0, (plaintext.len() - SAMPLE) / 2, plaintext.len() - SAMPLE] {
        packed += zstd.compress(&mut room[..], &plaintext[start..start + SAMPLE], ZSTD_LEVEL).unwrap_or(SAMPLE);
    }
    packed < 3 * SAMPLE / 32 * 31
}

/// Inflates exactly one frame into exactly the declared length. Memory is the output's and zstd's fixed state: in one
/// call the output is the window.
fn unpack(frame: &[u8], context: &Context) -> Result<Vec<u8>, BlobError> {
    let expected = u64::from(context.plaintext_bytes);
    let declared = frame_content_bytes(frame)?;
    if declared != expected {
        return Err(BlobError::LengthMismatch { expected, found: declared });
    }
    if zstd_safe::find_frame_compressed_size(frame) != Ok(frame.len()) {
        return Err(BlobError::Damaged { why: "not exactly one zstd frame" });
    }
    let mut plaintext = Vec::with_capacity(context.plaintext_bytes as usize);
    match zstd_safe::decompress(&mut plaintext, frame) {
        Ok(_) => check_length(context, plaintext.len()).map(|()| plaintext),
        Err(_) => Err(BlobError::Damaged { why: "zstd cannot inflate it" }),
    }
}

/// The content size that a zstd frame's header (RFC 8878 §3.1.1.1) declares. Refused are frames that we never write:
/// without a declared size, with a dictionary, with reserved bits, with a window above 4 MiB.
fn frame_content_bytes(frame: &[u8]) -> Result<u64, BlobError> {
    const CUT: BlobError = BlobError::Damaged { why: "not a zstd frame" };
    let rest = frame.strip_prefix(&[0x28, 0xb5, 0x2f, 0xfd]).ok_or(CUT)?;
    let (&descriptor, mut rest) = rest.split_first().ok_or(CUT)?;
    let is_single_segment = descriptor & 0x20 != 0;
    if descriptor & 0b0001_1011 != 0 {
        return Err(BlobError::Damaged { why: "a zstd frame with a dictionary or reserved bits" });
    }
    if !is_single_segment {
        let (&window, after) = rest.split_first().ok_or(CUT)?;
        rest = after;
        let base = 1u64 << (10 + (window >> 3));
        if base + base / 8 * u64::from(window & 7) > WINDOW_BYTES_MAX {
            return Err(BlobError::Damaged { why: "a zstd window above 4 MiB" });
        }
    }
    let size_bytes = match (descriptor >> 6, is_single_segment) {
        (0, true) => 1,
        (0, false) => return Err(BlobError::Damaged { why: "a zstd frame without a declared size" }),
        (flag, _) => 1 << flag,
    };
    let mut size = [0; 8];
    size[..size_bytes].copy_from_slice(rest.get(..size_bytes).ok_or(CUT)?);
    let size = u64::from_le_bytes(size);
    Ok(if size_bytes == 2 { size + 256 } else { size })
}

#[cfg(test)]
mod tests;
