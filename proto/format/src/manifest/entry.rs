//! What stands in a manifest: its header, its entries, the order of its runs, its end.
//!
//! | record | tag | value |
//! |---|---|---|
//! | header | 1 | chunking u8 (`chunk.rs`) |
//! | | 2, 3 | mode and time of the directory that was backed up itself; both or none |
//! | entry | 1 | path |
//! | | 2 | kind u8: 1 file, 2 directory, 3 symbolic link |
//! | | 3 | mode varint: the 12 permission bits |
//! | | 4 | time of modification: seconds signed varint ‖ nanoseconds varint |
//! | | 5 | file: size varint, below 2⁶³ |
//! | | 6 | pieces: (ordinal as difference, signed varint ‖ offset varint ‖ length varint) … |
//! | | 7 | symbolic link: target |
//! | | 8 | file: BLAKE3 of all of it |
//! | | 9 | file: when its bytes were last read, as 4 |
//! | end | 1, 2, 3, 4 | entries, bytes of all files, runs, chunk references; varints |
//!
//! A file has 5, 8, 9, and 6 unless it is empty; a link has 7; neither has more of these. What a reader does not know,
//! be it a tag or a kind, it keeps. A difference is to the ordinal of the piece before, in whichever entry; field 6 is
//! read for every kind.

use crate::chunk::{CHUNK_BYTES_MAX, Chunking};
use crate::id::{Digest, GroupId};
use crate::manifest::RECORD_BYTES_MAX;
use crate::manifest::field::{Field, Reader, Why, put_field, put_signed, put_varint};
use crate::manifest::path::{EntryPath, PATH_BYTES_MAX};

/// Permission bits, set-uid, set-gid and sticky.
pub const MODE_MAX: u32 = 0o7777;
/// From this tag on, a field that a reader does not know makes the entry one that it does not understand.
pub const TAG_MUST_KNOW: u8 = 128;

/// A point in time since 1970-01-01, as file systems keep it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment {
    /// Whole seconds; negative before 1970.
    pub seconds: i64,
    /// Nanoseconds after them, below 10⁹.
    pub nanos: u32,
}

/// Mode and time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attributes {
    /// The 12 permission bits.
    pub mode: u32,
    /// When it was last changed.
    pub modified: Moment,
}

/// The first record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// How contents were cut.
    pub chunking: Chunking,
    /// Of the directory that was backed up, which has no entry of its own.
    pub root: Option<Attributes>,
    /// Fields that this version does not know, ascending.
    pub unknown: Vec<Field>,
}

/// One thing in a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where.
    pub path: EntryPath,
    /// Mode and time.
    pub attributes: Attributes,
    /// What.
    pub content: Content,
    /// Fields that this version does not know, ascending.
    pub unknown: Vec<Field>,
}

/// What an entry is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// A regular file.
    File(File),
    /// A directory; what is inside follows.
    Directory,
    /// A symbolic link.
    Symlink {
        /// Where it points: 1 to 4096 bytes, no NUL, otherwise anything. Never followed.
        target: Vec<u8>,
    },
    /// A kind that this version does not know. What else it has is among the unknown fields.
    Other {
        /// Its number.
        kind: u8,
        /// Its pieces, if it has any.
        pieces: Vec<Piece>,
    },
}

/// A regular file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Its length: the sum of the pieces'.
    pub size: u64,
    /// Its contents, in order.
    pub pieces: Vec<Piece>,
    /// BLAKE3 of all of it.
    pub hash: Digest,
    /// When its bytes were last read from the source.
    pub last_read: Moment,
}

/// A stretch of a file: `length` bytes from `offset` in chunk `first`, on over the chunks that follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// The ordinal of the first chunk in the snapshot's sequence.
    pub first: u64,
    /// Where it begins in that chunk, below 4 MiB.
    pub offset: u32,
    /// Its bytes, at least 1.
    pub length: u64,
}

/// One run of the snapshot's sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// The shard in which it is the next leaf.
    pub group: GroupId,
    /// How many chunk references it has, 1 to 1024.
    pub chunks: u32,
}

/// The last record: what came before, counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct End {
    /// Entries.
    pub entries: u64,
    /// Bytes of all files.
    pub bytes: u64,
    /// Runs.
    pub runs: u64,
    /// Chunk references: the sum over the runs.
    pub chunks: u64,
    /// Fields that this version does not know, ascending.
    pub unknown: Vec<Field>,
}

impl Entry {
    /// Whether this version knows everything that must be known to restore it. Else it is left out, and named.
    pub fn is_understood(&self) -> bool {
        !matches!(self.content, Content::Other { .. }) && self.unknown.iter().all(|field| field.tag < TAG_MUST_KNOW)
    }

    /// Its pieces; none for what is neither a file nor unknown.
    pub fn pieces(&self) -> &[Piece] {
        match &self.content {
            Content::File(file) => &file.pieces,
            Content::Other { pieces, .. } => pieces,
            Content::Directory | Content::Symlink { .. } => &[],
        }
    }

    /// Bytes of contents: a file's size, else 0.
    pub fn bytes(&self) -> u64 {
        match &self.content {
            Content::File(file) => file.size,
            Content::Directory | Content::Symlink { .. } | Content::Other { .. } => 0,
        }
    }

    /// The body of its record. `previous` is the ordinal of the piece before.
    pub(super) fn encode(&self, previous: &mut u64) -> Result<Vec<u8>, Why> {
        self.check()?;
        let mut fields = Fields::new(&self.unknown);
        fields.put(1, self.path.as_bytes());
        fields.put(2, &[self.kind()]);
        fields.put_varint(3, self.attributes.mode.into());
        fields.put(4, &self.attributes.modified.encode());
        if let Content::File(file) = &self.content {
            fields.put_varint(5, file.size);
        }
        if !self.pieces().is_empty() {
            fields.put(6, &encode_pieces(self.pieces(), previous));
        }
        match &self.content {
            Content::File(file) => {
                fields.put(8, file.hash.as_bytes());
                fields.put(9, &file.last_read.encode());
            }
            Content::Symlink { target } => fields.put(7, target),
            Content::Directory | Content::Other { .. } => {}
        }
        fields.finish()
    }

    /// Reads the body of its record.
    pub(super) fn decode(body: &[u8], previous: &mut u64) -> Result<Entry, Why> {
        let (mut path, mut kind, mut mode, mut modified) = (None, None, None, None);
        let (mut size, mut pieces, mut target, mut hash, mut last_read) = (None, Vec::new(), None, None, None);
        let mut unknown = Vec::new();
        let (mut reader, mut tag_before) = (Reader(body), None);
        while let Some((tag, value)) = reader.field(&mut tag_before)? {
            let is_known_kind = matches!(kind, Some(1..=3));
            match tag {
                1 => path = Some(EntryPath::new(value).map_err(|_| "not a path")?),
                2 => kind = Some(decode_byte(value)?),
                3 => mode = Some(decode_mode(value)?),
                4 => modified = Some(Moment::decode(value)?),
                6 => pieces = decode_pieces(value, previous)?,
                5 if is_known_kind => size = Some(Reader::only_varint(value)?),
                7 if is_known_kind => target = Some(value.to_vec()),
                8 if is_known_kind => hash = Some(Digest::from_slice(value).map_err(|_| "not a hash")?),
                9 if is_known_kind => last_read = Some(Moment::decode(value)?),
                _ => unknown.push(Field { tag, value: value.to_vec() }),
            }
        }
        let missing = "a field is missing";
        let content = match (kind.ok_or(missing)?, size, target, hash, last_read) {
            (1, Some(size), None, Some(hash), Some(last_read)) => Content::File(File { size, pieces, hash, last_read }),
            (2, None, None, None, None) if pieces.is_empty() => Content::Directory,
            (3, None, Some(target), None, None) if pieces.is_empty() => Content::Symlink { target },
            (1..=3, ..) => return Err("the fields are not those of the kind"),
            (kind, ..) => Content::Other { kind, pieces },
        };
        let attributes = Attributes { mode: mode.ok_or(missing)?, modified: modified.ok_or(missing)? };
        let entry = Entry { path: path.ok_or(missing)?, attributes, content, unknown };
        entry.check().map(|()| entry)
    }

    fn kind(&self) -> u8 {
        match &self.content {
            Content::File(_) => 1,
            Content::Directory => 2,
            Content::Symlink { .. } => 3,
            Content::Other { kind, .. } => *kind,
        }
    }

    fn check(&self) -> Result<(), Why> {
        self.attributes.check()?;
        for piece in self.pieces() {
            if piece.length == 0 || piece.offset >= CHUNK_BYTES_MAX || piece.first > i64::MAX as u64 {
                return Err("a piece is outside its range");
            }
        }
        let known = match &self.content {
            Content::File(file) => {
                file.last_read.check()?;
                let sum = file.pieces.iter().try_fold(0u64, |sum, piece| sum.checked_add(piece.length));
                if sum != Some(file.size) || file.size > i64::MAX as u64 {
                    return Err("the size is not the sum of the pieces");
                }
                1..=9
            }
            Content::Symlink { target } => {
                if !(1..=PATH_BYTES_MAX).contains(&target.len()) || target.contains(&0) {
                    return Err("not a link's target");
                }
                1..=9
            }
            Content::Directory => 1..=9,
            Content::Other { kind: 1..=3, .. } => return Err("a known kind as an unknown one"),
            Content::Other { .. } => 1..=4,
        };
        let pieces = 6;
        check_unknown(&self.unknown, |tag| known.contains(&tag) || tag == pieces)
    }
}

impl Header {
    pub(super) fn encode(&self) -> Result<Vec<u8>, Why> {
        self.check()?;
        let mut fields = Fields::new(&self.unknown);
        fields.put(1, &[self.chunking as u8]);
        if let Some(root) = self.root {
            fields.put_varint(2, root.mode.into());
            fields.put(3, &root.modified.encode());
        }
        fields.finish()
    }

    pub(super) fn decode(body: &[u8]) -> Result<Header, Why> {
        let (mut chunking, mut mode, mut modified, mut unknown) = (None, None, None, Vec::new());
        let (mut reader, mut tag_before) = (Reader(body), None);
        while let Some((tag, value)) = reader.field(&mut tag_before)? {
            match tag {
                1 => {
                    chunking = Some(match decode_byte(value)? {
                        0 => Chunking::Default,
                        1 => Chunking::Fixed,
                        2 => Chunking::Hardened,
                        _ => return Err("an unknown chunking"),
                    })
                }
                2 => mode = Some(decode_mode(value)?),
                3 => modified = Some(Moment::decode(value)?),
                _ => unknown.push(Field { tag, value: value.to_vec() }),
            }
        }
        let root = match (mode, modified) {
            (Some(mode), Some(modified)) => Some(Attributes { mode, modified }),
            (None, None) => None,
            (Some(_), None) | (None, Some(_)) => return Err("a field is missing"),
        };
        let header = Header { chunking: chunking.ok_or("a field is missing")?, root, unknown };
        header.check().map(|()| header)
    }

    fn check(&self) -> Result<(), Why> {
        self.root.map_or(Ok(()), |root| root.check())?;
        check_unknown(&self.unknown, |tag| (1..=3).contains(&tag))?;
        match self.unknown.last() {
            Some(field) if field.tag >= TAG_MUST_KNOW => Err("the header has a field that must be known"),
            _ => Ok(()),
        }
    }
}

impl End {
    pub(super) fn encode(&self) -> Result<Vec<u8>, Why> {
        check_unknown(&self.unknown, |tag| (1..=4).contains(&tag))?;
        let mut fields = Fields::new(&self.unknown);
        for (tag, count) in (1..).zip([self.entries, self.bytes, self.runs, self.chunks]) {
            fields.put_varint(tag, count);
        }
        fields.finish()
    }

    pub(super) fn decode(body: &[u8]) -> Result<End, Why> {
        let (mut counts, mut unknown) = ([None; 4], Vec::new());
        let (mut reader, mut tag_before) = (Reader(body), None);
        while let Some((tag, value)) = reader.field(&mut tag_before)? {
            match tag {
                1..=4 => counts[usize::from(tag) - 1] = Some(Reader::only_varint(value)?),
                _ => unknown.push(Field { tag, value: value.to_vec() }),
            }
        }
        let [Some(entries), Some(bytes), Some(runs), Some(chunks)] = counts else {
            return Err("a field is missing");
        };
        check_unknown(&unknown, |tag| (1..=4).contains(&tag))?;
        Ok(End { entries, bytes, runs, chunks, unknown })
    }
}

impl Moment {
    fn encode(self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(12);
        put_signed(&mut bytes, self.seconds);
        put_varint(&mut bytes, self.nanos.into());
        bytes
    }

    fn decode(value: &[u8]) -> Result<Moment, Why> {
        let mut reader = Reader(value);
        let (seconds, nanos) = (reader.signed()?, reader.varint()?);
        reader.end()?;
        let moment = Moment { seconds, nanos: u32::try_from(nanos).unwrap_or(u32::MAX) };
        moment.check().map(|()| moment)
    }

    fn check(self) -> Result<(), Why> {
        if self.nanos < 1_000_000_000 { Ok(()) } else { Err("a second has 10⁹ nanoseconds") }
    }
}

impl Attributes {
    fn check(self) -> Result<(), Why> {
        if self.mode > MODE_MAX {
            return Err("a mode has 12 bits");
        }
        self.modified.check()
    }
}

fn decode_byte(value: &[u8]) -> Result<u8, Why> {
    match value {
        [byte] => Ok(*byte),
        _ => Err("a value of one byte has another length"),
    }
}

fn decode_mode(value: &[u8]) -> Result<u32, Why> {
    u32::try_from(Reader::only_varint(value)?).map_err(|_| "a mode has 12 bits")
}

fn encode_pieces(pieces: &[Piece], previous: &mut u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(pieces.len() * 8);
    for piece in pieces {
        // Both are at most 2⁶³ - 1, so the difference fits.
        put_signed(&mut bytes, piece.first as i64 - *previous as i64);
        put_varint(&mut bytes, piece.offset.into());
        put_varint(&mut bytes, piece.length);
        *previous = piece.first;
    }
    bytes
}

fn decode_pieces(value: &[u8], previous: &mut u64) -> Result<Vec<Piece>, Why> {
    let outside = "a piece is outside its range";
    let mut reader = Reader(value);
    let mut pieces = Vec::new();
    if reader.is_empty() {
        return Err("no pieces are no field");
    }
    while !reader.is_empty() {
        let first = previous.checked_add_signed(reader.signed()?).ok_or(outside)?;
        let offset = u32::try_from(reader.varint()?).map_err(|_| outside)?;
        let length = reader.varint()?;
        if first > i64::MAX as u64 {
            return Err(outside);
        }
        *previous = first;
        pieces.push(Piece { first, offset, length });
    }
    Ok(pieces)
}

fn check_unknown(unknown: &[Field], is_known: impl Fn(u8) -> bool) -> Result<(), Why> {
    if !unknown.is_sorted_by(|a, b| a.tag < b.tag) {
        return Err("fields are not in ascending order");
    }
    if unknown.iter().any(|field| is_known(field.tag)) { Err("a known field as an unknown one") } else { Ok(()) }
}

/// Writes known fields, in ascending order, and unknown ones between them.
struct Fields<'unknown> {
    bytes: Vec<u8>,
    unknown: std::iter::Peekable<std::slice::Iter<'unknown, Field>>,
}

impl<'unknown> Fields<'unknown> {
    fn new(unknown: &'unknown [Field]) -> Self {
        Fields { bytes: Vec::with_capacity(160), unknown: unknown.iter().peekable() }
    }

    fn put(&mut self, tag: u8, value: &[u8]) {
        while let Some(field) = self.unknown.next_if(|field| field.tag < tag) {
            put_field(&mut self.bytes, field.tag, &field.value);
        }
        put_field(&mut self.bytes, tag, value);
    }

    fn put_varint(&mut self, tag: u8, number: u64) {
        let mut value = Vec::with_capacity(10);
        put_varint(&mut value, number);
        self.put(tag, &value);
    }

    fn finish(mut self) -> Result<Vec<u8>, Why> {
        for field in self.unknown {
            put_field(&mut self.bytes, field.tag, &field.value);
        }
        if self.bytes.len() > RECORD_BYTES_MAX { Err("a record has at most 1 MiB") } else { Ok(self.bytes) }
    }
}
